/**
 * What the connection to Cassandra counts: plain integers that the metrics page reads.
 */
import { CASSANDRA_CODES, type CassandraCode } from './cassandra-port.ts';

export interface CassandraCounters {
  writes: number;
  reads: number;
  /** Requests that failed for good, by code. */
  readonly failures: Record<CassandraCode, number>;
  /** Attempts that failed, retried or not, by code. */
  readonly attemptFailures: Record<CassandraCode, number>;
  /** Attempts that nobody answered in time, neither a replica nor the coordinator. */
  timeouts: number;
  retries: number;
  /** Attempts at several writes together. */
  batches: number;
  /** Sessions that were opened, the first one included. */
  connects: number;
  /** Sessions that could not be opened, and those given up. */
  losses: number;
  /** Requests by time from call to answer, retries included: at most LATENCY_MS[i], the last beyond. */
  readonly latencies: number[];
  latencySumMs: number;
}

/** Upper ends of the buckets. */
export const LATENCY_MS: readonly number[] = [
  0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000,
];

function byCode(): Record<CassandraCode, number> {
  return Object.fromEntries(CASSANDRA_CODES.map((code) => [code, 0])) as Record<
    CassandraCode,
    number
  >;
}

export function newCassandraCounters(): CassandraCounters {
  return {
    writes: 0,
    reads: 0,
    failures: byCode(),
    attemptFailures: byCode(),
    timeouts: 0,
    retries: 0,
    batches: 0,
    connects: 0,
    losses: 0,
    latencies: new Array(LATENCY_MS.length + 1).fill(0),
    latencySumMs: 0,
  };
}

export function countLatency(counters: CassandraCounters, ms: number): void {
  let bucket = 0;
  while (bucket < LATENCY_MS.length && ms > LATENCY_MS[bucket]!) bucket += 1;
  counters.latencies[bucket]! += 1;
  counters.latencySumMs += ms;
}
