/** Metrics of bridges to other brokers: one table, read by `/metrics` and by the reference. */
import type { BridgeReport, BridgesReport } from './bridges-view.ts';
import type { ExtraMetric } from './metric-sources.ts';

export interface BridgeMetric {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly labels: readonly string[];
  readonly read: (bridge: BridgeReport) => number;
}

function metric(
  name: string,
  type: 'counter' | 'gauge',
  help: string,
  read: BridgeMetric['read'],
): BridgeMetric {
  return { name: `causeway_bridge_${name}`, type, help, labels: ['bridge'], read };
}

export const bridgeMetricTable: readonly BridgeMetric[] = [
  metric('up', 'gauge', 'The bridge is up.', ({ isUp }) => Number(isUp)),
  metric('connects_total', 'counter', 'Times it came up.', ({ connects }) => connects),
  metric(
    'failures_total',
    'counter',
    'Connections lost, and attempts that failed.',
    ({ failures }) => failures,
  ),
  metric(
    'queued_messages',
    'gauge',
    'Messages that wait for the other broker, or for its acknowledgement.',
    ({ queuedMessages }) => queuedMessages,
  ),
  metric('queued_bytes', 'gauge', 'Bytes of these.', ({ queuedBytes }) => queuedBytes),
  metric('budget_bytes', 'gauge', 'Bytes that may wait.', ({ budgetBytes }) => budgetBytes),
  metric(
    'over_budget_total',
    'counter',
    'Messages this node has dropped over the budget, by bytes or by age.',
    ({ overBudget }) => overBudget,
  ),
  metric(
    'refused_filters',
    'gauge',
    'Filters the other broker has refused.',
    ({ refusedFilters }) => refusedFilters,
  ),
  metric('received_total', 'counter', 'Messages taken from there.', ({ received }) => received),
  metric('received_bytes_total', 'counter', 'Their payload.', ({ receivedBytes }) => receivedBytes),
  metric('sent_total', 'counter', 'Messages the other broker has taken.', ({ sent }) => sent),
  metric('sent_bytes_total', 'counter', 'Their payload.', ({ sentBytes }) => sentBytes),
  metric(
    'echoes_total',
    'counter',
    'Messages that came back from there: not taken.',
    ({ echoes }) => echoes,
  ),
  metric(
    'refused_in_total',
    'counter',
    'Messages from there that are not taken: not bridged any more, or refused here.',
    ({ refusedIn }) => refusedIn,
  ),
  metric(
    'refused_out_total',
    'counter',
    'Messages the other broker has refused for good: given up.',
    ({ refusedOut }) => refusedOut,
  ),
  metric(
    'dropped_total',
    'counter',
    'QoS 0 messages that came while the bridge was down.',
    ({ dropped }) => dropped,
  ),
  metric(
    'gaps_total',
    'counter',
    'Times the other broker had lost the session, with all that was queued there.',
    ({ gaps }) => gaps,
  ),
];

export function* bridgeMetrics({ bridges }: BridgesReport): Iterable<ExtraMetric> {
  for (const { name, type, help, read } of bridgeMetricTable) {
    for (const bridge of bridges) {
      yield { name, type, help, labels: { bridge: bridge.name }, value: read(bridge) };
    }
  }
}
