/** Metrics of links to other regions: one table, read by `/metrics` and by the reference. */
import type { FetcherReport, LinkReport, LinksReport } from './links-view.ts';
import type { ExtraMetric } from './metric-sources.ts';

export interface LinkMetric {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly labels: readonly string[];
  readonly read: (report: LinksReport) => readonly (readonly [labels: string[], value: number])[];
}

function ofLink(
  name: string,
  type: 'counter' | 'gauge',
  help: string,
  value: (link: LinkReport) => number,
): LinkMetric {
  const read: LinkMetric['read'] = ({ links }) => links.map((one) => [[one.region], value(one)]);
  return { name: `causeway_link_${name}`, type, help, labels: ['region'], read };
}

function ofFetcher(
  name: string,
  type: 'counter' | 'gauge',
  help: string,
  value: (fetcher: FetcherReport) => number,
): LinkMetric {
  const read: LinkMetric['read'] = ({ fetchers }) =>
    fetchers.map((one) => [[one.region], value(one)]);
  return { name: `causeway_fetcher_${name}`, type, help, labels: ['region'], read };
}

function ofNode(
  name: string,
  type: 'counter' | 'gauge',
  help: string,
  value: (report: LinksReport) => number,
): LinkMetric {
  return { name, type, help, labels: [], read: (report) => [[[], value(report)]] };
}

export const linkMetricTable: readonly LinkMetric[] = [
  ofLink('up', 'gauge', 'The link to that region is up.', ({ isUp }) => Number(isUp)),
  ofLink('connects_total', 'counter', 'Times it came up.', (link) => link.connects),
  ofLink(
    'failures_total',
    'counter',
    'Connections lost, and attempts that failed.',
    (link) => link.failures,
  ),
  ofLink(
    'subscriptions',
    'gauge',
    'Filters that region serves over the link.',
    (link) => link.subscriptions,
  ),
  ofLink(
    'refused_filters',
    'gauge',
    'Filters that region has refused.',
    (link) => link.refusedFilters,
  ),
  ofLink('messages_total', 'counter', 'Messages taken from there.', (link) => link.received),
  ofLink('payload_bytes_total', 'counter', 'Their payload.', (link) => link.receivedBytes),
  ofLink(
    'duplicates_total',
    'counter',
    'Messages from there that had come before, over this or another way.',
    (link) => link.duplicates,
  ),
  ofLink(
    'deferred_total',
    'counter',
    'Messages from there of a third region whose own link brings them: taken from that one, as sessions roam.',
    (link) => link.deferred,
  ),
  ofLink(
    'loops_total',
    'counter',
    'Messages from there that had been in this region: not taken.',
    (link) => link.loops,
  ),
  ofLink(
    'refused_total',
    'counter',
    'Messages from there of topics the link may not bring: not taken.',
    (link) => link.refused,
  ),
  ofLink(
    'malformed_total',
    'counter',
    'Messages from there without a name that can be read: not taken.',
    (link) => link.malformed,
  ),
  ofLink(
    'failed_total',
    'counter',
    'Messages from there that could not be stored: they come again.',
    (link) => link.failed,
  ),
  ofLink(
    'gaps_total',
    'counter',
    'Times that region had lost the session, with all that was queued there.',
    (link) => link.gaps,
  ),
  ofLink(
    'lag_seconds',
    'gauge',
    'From the publication of the last message to its arrival, by the clocks of both.',
    (link) => link.lagMs / 1000,
  ),
  ofFetcher('connected', 'gauge', 'The link of that region to this one is up.', ({ isConnected }) =>
    Number(isConnected),
  ),
  ofFetcher('subscriptions', 'gauge', 'Filters it wants.', (one) => one.subscriptions),
  ofFetcher(
    'queued_messages',
    'gauge',
    'Messages that wait for it, or for its acknowledgement.',
    (one) => one.queuedMessages,
  ),
  ofFetcher('queued_bytes', 'gauge', 'Bytes of these.', (one) => one.queuedBytes),
  ofFetcher('budget_bytes', 'gauge', 'Bytes that may wait for it.', (one) => one.budgetBytes),
  ofFetcher('handed_total', 'counter', 'Messages given to its session.', (one) => one.handed),
  ofFetcher(
    'returned_total',
    'counter',
    'Messages not given to it as they came from there, or through there.',
    (one) => one.returned,
  ),
  ofFetcher(
    'withheld_total',
    'counter',
    'Messages not given to it as it may not have the topic.',
    (one) => one.withheld,
  ),
  ofFetcher(
    'dropped_total',
    'counter',
    'Messages for it that were dropped over its budget of age or bytes.',
    (one) => one.dropped,
  ),
  ofNode('causeway_links_held', 'gauge', 'This node has the links of its region.', ({ isHolder }) =>
    Number(isHolder),
  ),
  ofNode(
    'causeway_links_missing',
    'gauge',
    'Regions that are heard of without a link to them, where sessions roam: each two have to be linked.',
    ({ unlinked }) => unlinked.length,
  ),
  ofNode(
    'causeway_links_waiting_messages',
    'gauge',
    'Messages of other regions that are not safe here yet.',
    (report) => report.waiting,
  ),
  ofNode(
    'causeway_link_window_pages',
    'gauge',
    'Pages of names that are remembered, of 1024 messages each.',
    (report) => report.windowPages,
  ),
  ofNode(
    'causeway_link_window_overflows_total',
    'counter',
    'Pages forgotten before their time, as there were too many.',
    (report) => report.windowOverflows,
  ),
  ofNode(
    'causeway_link_connects_refused_total',
    'counter',
    'Clients that said to be the link of a region and had not proven it.',
    (report) => report.refusedConnects,
  ),
];

export function* linkMetrics(report: LinksReport): Iterable<ExtraMetric> {
  for (const { name, type, help, labels: names, read } of linkMetricTable) {
    for (const [values, value] of read(report)) {
      const labels = Object.fromEntries(names.map((label, index) => [label, values[index] ?? '']));
      yield { name, type, help, labels, value };
    }
  }
}
