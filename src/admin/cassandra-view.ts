/**
 * The Cassandra of a region as an operator sees it: what API, health and metrics are told of the
 * connection, of the retained messages there and of the rounds that compare them. Filled by the
 * composition root, as admin may know none of these; no view at all where there is no Cassandra. Nothing
 * here holds a secret.
 */
import type { CassandraCounters } from '../drivers/cassandra/cassandra-counters.ts';
import type { CassandraState } from '../drivers/cassandra/cassandra-port.ts';

export const cassandraStates: readonly CassandraState[] = ['up', 'degraded', 'down'];

/** Of the round this node is on. */
export interface RoundReport {
  /** From 0 to 1. */
  readonly progress: number;
  readonly rowsRead: number;
}

export interface CassandraReport {
  readonly state: CassandraState;
  /** Why it is not up; empty when it is. */
  readonly reasons: readonly string[];
  readonly localDatacenter: string;
  readonly keyspace: string;
  /** What is wrong for retained messages; '': nothing. */
  readonly warning: string;
  /** No listener is open before retained messages were read. */
  readonly isFilling: boolean;
  /** Null: this node goes round no ring now. */
  readonly round: RoundReport | null;
  /** This node is the one of its datacenter that goes round. */
  readonly isComparing: boolean;
  /** Wall-clock ms at which the last whole round of any node here began; 0: there was none. */
  readonly lastRoundMs: number;
  /** Topics with a change that it has not confirmed. */
  readonly waitingTopics: number;
  /** How long the oldest of these has waited. */
  readonly lagMs: number;
  /** Requests taken and not finished, and the bytes of them. */
  readonly requests: number;
  readonly requestBytes: number;
}

/** What store and rounds count; all only rise. */
export interface RetainedRecordCounts {
  readonly writes: number;
  readonly coalesced: number;
  readonly failures: number;
  readonly rejected: number;
  readonly kept: number;
  readonly rounds: number;
  readonly rowsRead: number;
  readonly takenOver: number;
  readonly rewritten: number;
  readonly forgotten: number;
  readonly expired: number;
  readonly damaged: number;
}

export interface CassandraView {
  /** As it is now. */
  report(): CassandraReport;
  /** Live objects: read when they are shown. */
  readonly retained: RetainedRecordCounts;
  readonly link: Readonly<CassandraCounters>;
}
