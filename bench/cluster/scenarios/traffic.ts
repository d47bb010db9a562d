// Messages from publishers at the first node to subscribers at the others: pairs, fan-out, durable
// sessions that are there.

import type { Columns } from '../../macro/access/table.ts';
import { percent, precise, whole } from '../../macro/access/table.ts';
import type { ClientSpec } from '../../macro/load/protocol.ts';
import type { Cast } from '../../macro/scenarios/clients.ts';
import { fanOut, pairs } from '../../macro/scenarios/clients.ts';
import type { ClusterContext, Measured } from '../cluster-context.ts';
import type { ClusterScenario, ClusterSizes } from '../scenario.ts';

const PILOT_DELIVERIES = 2000;

export const trafficColumns: Columns = {
  rate: { title: 'messages/s', write: whole, isCompared: true },
  cpuUs: { title: 'CPU µs per message, all nodes', write: precise, isCompared: true },
  redisUs: { title: 'Redis CPU µs per message', write: precise },
  p50: { title: 'p50 ms', write: precise },
  p99: { title: 'p99 ms', write: precise },
  busy: { title: 'nodes busy', write: percent },
  loadBusy: { title: 'load busy', write: percent },
};

interface TrafficOptions {
  readonly name: string;
  readonly title: string;
  readonly qos: number;
  readonly cast: (sizes: ClusterSizes) => Cast;
}

/** All nodes but the first, in turn. */
export async function openSubscribers(
  context: ClusterContext,
  subscribers: readonly ClientSpec[],
): Promise<void> {
  const others = context.nodes - 1;
  for (let other = 0; other < others; other++) {
    const own = subscribers.filter((_, index) => index % others === other);
    await context.openAt(1 + other, `subscribers ${1 + other}`, own);
  }
}

async function measure(
  { qos, cast }: TrafficOptions,
  context: ClusterContext,
  sizes: ClusterSizes,
): Promise<Measured> {
  const { publishers, subscribers, copies } = cast(sizes);
  await openSubscribers(context, subscribers);
  await context.openAt(0, 'publishers', publishers);
  const count = publishers.length;
  const messages = await context.warmUp(count, qos, copies, PILOT_DELIVERIES);
  const { phase, redisCpuS } = await context.measured(count, messages, qos, copies);
  context.expect('delivered', phase.received, phase.sent * copies);
  const stats = await context.load.stats();
  return {
    rate: phase.received / phase.elapsedS,
    cpuUs: (phase.usage.brokerCpuS * 1e6) / phase.received,
    redisUs: (redisCpuS * 1e6) / phase.received,
    p50: stats.latency.percentileMs(0.5),
    p99: stats.latency.percentileMs(0.99),
    busy: phase.usage.brokerCpuS / phase.elapsedS,
    loadBusy: stats.cpuS / phase.elapsedS,
  };
}

function traffic(options: TrafficOptions): ClusterScenario {
  const { name, title } = options;
  return {
    name,
    title,
    columns: trafficColumns,
    measure: (context, sizes) => measure(options, context, sizes),
  };
}

export const trafficScenarios: readonly ClusterScenario[] = [
  traffic({
    name: 'pairs0',
    title: 'pairs across nodes, QoS 0',
    qos: 0,
    cast: (sizes) => pairs(sizes.pairs, 0, false),
  }),
  traffic({
    name: 'pairs1',
    title: 'pairs across nodes, QoS 1',
    qos: 1,
    cast: (sizes) => pairs(sizes.pairs, 1, false),
  }),
  traffic({
    name: 'fanout0',
    title: 'one publisher, subscribers at the other nodes, QoS 0',
    qos: 0,
    cast: (sizes) => fanOut(sizes.fanOut, 0, false),
  }),
  traffic({
    name: 'fanout1',
    title: 'one publisher, subscribers at the other nodes, QoS 1',
    qos: 1,
    cast: (sizes) => fanOut(sizes.fanOut, 1, false),
  }),
  traffic({
    name: 'durable1',
    title: 'pairs across nodes, QoS 1, subscribers with durable sessions that are connected',
    qos: 1,
    cast: (sizes) => pairs(sizes.pairs, 1, true),
  }),
];
