/**
 * Every metric of a region's Cassandra: the connection, the retained messages written there, and the
 * rounds that compare them. A table like `metric-table.ts`, shown only where there is a Cassandra; a test
 * demands each counter of the rooms behind it.
 */
import { LATENCY_MS } from '../drivers/cassandra/cassandra-counters.ts';
import {
  type CassandraReport,
  type CassandraView,
  cassandraStates,
  type RetainedRecordCounts,
} from './cassandra-view.ts';
import type { HistogramValues } from './event-loop-delay.ts';
import type { Sample } from './metric-table.ts';

export interface CassandraMetricSpec {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly labels: readonly string[];
  /** `report` is one for all metrics of a scrape. */
  readonly read: (view: CassandraView, report: CassandraReport) => readonly Sample[];
}

const NO_LABELS: readonly string[] = [];

function gauge(
  name: string,
  help: string,
  read: (report: CassandraReport) => number,
): CassandraMetricSpec {
  const samples = (_view: CassandraView, report: CassandraReport): Sample[] => [
    [NO_LABELS, read(report)],
  ];
  return { name, type: 'gauge', help, labels: NO_LABELS, read: samples };
}

function counter(
  name: string,
  help: string,
  read: (view: CassandraView) => number,
): CassandraMetricSpec {
  const samples = (view: CassandraView): Sample[] => [[NO_LABELS, read(view)]];
  return { name, type: 'counter', help, labels: NO_LABELS, read: samples };
}

function ofRetained(
  name: string,
  help: string,
  field: keyof RetainedRecordCounts,
): CassandraMetricSpec {
  return counter(`causeway_cassandra_${name}_total`, help, ({ retained }) => retained[field]);
}

/** One series for each code that has occurred. */
function byCode(
  name: string,
  help: string,
  read: (view: CassandraView) => Readonly<Record<string, number>>,
): CassandraMetricSpec {
  const samples = (view: CassandraView): Sample[] =>
    Object.entries(read(view))
      .filter(([, count]) => count > 0)
      .map(([code, count]): Sample => [[code.toLowerCase()], count]);
  return { name, type: 'counter', help, labels: ['code'], read: samples };
}

export const cassandraMetricTable: readonly CassandraMetricSpec[] = [
  // The connection
  {
    name: 'causeway_cassandra_state',
    type: 'gauge',
    help: 'How Cassandra is: 1 for the state it is in, 0 for the others.',
    labels: ['state'],
    read: (_view, report) =>
      cassandraStates.map((state): Sample => [[state], report.state === state ? 1 : 0]),
  },
  gauge(
    'causeway_cassandra_requests',
    'Requests that are under way or wait, those for a retry included.',
    ({ requests }) => requests,
  ),
  gauge(
    'causeway_cassandra_request_bytes',
    'Bytes of these requests.',
    ({ requestBytes }) => requestBytes,
  ),
  counter(
    'causeway_cassandra_writes_total',
    'Writes that were asked for.',
    ({ link }) => link.writes,
  ),
  counter('causeway_cassandra_reads_total', 'Reads that were asked for.', ({ link }) => link.reads),
  byCode(
    'causeway_cassandra_failures_total',
    'Requests that failed for good; reads and writes are asked for again later.',
    ({ link }) => link.failures,
  ),
  byCode(
    'causeway_cassandra_attempt_failures_total',
    'Attempts at a request that failed, whatever became of the request.',
    ({ link }) => link.attemptFailures,
  ),
  counter(
    'causeway_cassandra_timeouts_total',
    'Attempts that nobody answered in time.',
    ({ link }) => link.timeouts,
  ),
  counter(
    'causeway_cassandra_retries_total',
    'Attempts that were repeated, with the timestamp they had.',
    ({ link }) => link.retries,
  ),
  counter(
    'causeway_cassandra_batches_total',
    'Attempts at several writes together.',
    ({ link }) => link.batches,
  ),
  counter(
    'causeway_cassandra_connects_total',
    'Sessions with Cassandra that were opened, the first one included.',
    ({ link }) => link.connects,
  ),
  counter(
    'causeway_cassandra_losses_total',
    'Sessions with Cassandra that were given up, and those that could not be opened.',
    ({ link }) => link.losses,
  ),

  // Retained messages on their way there
  gauge(
    'causeway_cassandra_retained_waiting_topics',
    'Retained topics with a change that Cassandra has not confirmed.',
    ({ waitingTopics }) => waitingTopics,
  ),
  gauge(
    'causeway_cassandra_retained_lag_seconds',
    'How long the oldest of these has waited.',
    ({ lagMs }) => lagMs / 1000,
  ),
  ofRetained('retained_writes', 'Retained changes handed to Cassandra.', 'writes'),
  ofRetained(
    'retained_coalesced',
    'Retained changes that a later one of the same topic replaced before they were written.',
    'coalesced',
  ),
  ofRetained(
    'retained_failures',
    'Writes of retained changes that failed; they are repeated until they succeed.',
    'failures',
  ),
  ofRetained(
    'retained_rejected',
    'Retained changes that Cassandra will never take, such as one that is too large.',
    'rejected',
  ),
  ofRetained(
    'retained_kept',
    'Acknowledged before Cassandra had them, as this node and another one did.',
    'kept',
  ),

  // Rounds
  gauge(
    'causeway_cassandra_filling',
    '1 while no listener is open, as retained messages are being read; else 0.',
    ({ isFilling }) => (isFilling ? 1 : 0),
  ),
  gauge(
    'causeway_cassandra_round_progress_ratio',
    'How much of the ring the round of this node has read; 1: it is on none.',
    ({ round }) => round?.progress ?? 1,
  ),
  gauge(
    'causeway_cassandra_last_round_timestamp_seconds',
    'When the last whole round began that this node knows of, its own or of another one; 0: none.',
    ({ lastRoundMs }) => lastRoundMs / 1000,
  ),
  ofRetained('rounds', 'Whole rounds of this node.', 'rounds'),
  ofRetained('round_rows', 'Rows that rounds have read.', 'rowsRead'),
  ofRetained(
    'round_taken_over',
    'Retained messages and clears taken over from Cassandra.',
    'takenOver',
  ),
  ofRetained(
    'round_rewritten',
    'Retained messages and clears written again, as Cassandra had none or an older one.',
    'rewritten',
  ),
  ofRetained(
    'round_forgotten',
    'Retained messages removed here: cleared so long ago that Cassandra has forgotten it.',
    'forgotten',
  ),
  ofRetained(
    'round_expired',
    'Rows removed from Cassandra, as their message had expired.',
    'expired',
  ),
  ofRetained('round_damaged', 'Rows that could not be read.', 'damaged'),
];

export const REQUEST_TIME_NAME = 'causeway_cassandra_request_seconds';
export const REQUEST_TIME_HELP =
  'Time from a request to Cassandra until its answer, retries included.';

/** Of the requests since the start. */
export function requestTimeHistogram({ link }: CassandraView): HistogramValues {
  const buckets: [leSeconds: number, count: number][] = [];
  let count = 0;
  for (const [index, ms] of LATENCY_MS.entries()) {
    count += link.latencies[index] ?? 0;
    buckets.push([ms / 1000, count]);
  }
  count += link.latencies[LATENCY_MS.length] ?? 0;
  return { buckets, count, sumSeconds: link.latencySumMs / 1000 };
}
