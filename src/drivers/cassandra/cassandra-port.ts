/**
 * How the store of retained messages speaks to Cassandra: upserts that carry their own timestamps, reads
 * in pages, a callback each. Implemented over the driver by `cassandra-link.ts`, and by whoever simulates
 * Cassandra, so nothing here may know sockets or promises.
 */

/** text · int · bigint · blob · boolean; null where there is none. */
export type CassandraValue = null | string | number | bigint | boolean | Buffer;

/** In the order of the columns that the statement names. */
export type CassandraRow = readonly CassandraValue[];

/** Kept and used again: it is prepared once. */
export interface CassandraStatement {
  /** Tables without a keyspace; `?` for every value. */
  readonly cql: string;
  /**
   * Of a write whose first value, a text, is the partition key: the same with its timestamp as one value more,
   * the last. Several may then go to Cassandra together, each with its own. Absent: each goes alone.
   */
  readonly together?: string;
}

/**
 * What is known of a request that failed: `not_done`: it never reached a replica; `unknown`: it may have
 * been done, or may yet be; `refused`: Cassandra will not do it, now or later.
 */
export type CassandraOutcome = 'not_done' | 'unknown' | 'refused';

export const CASSANDRA_CODES = [
  /** Nothing was sent. */
  'DOWN',
  'BUSY',
  'CLOSED',
  'NO_HOST',
  'UNAVAILABLE',
  'OVERLOADED',
  /** It may have been done. */
  'TIMEOUT',
  'WRITE_TIMEOUT',
  'WRITE_FAILURE',
  'INTERRUPTED',
  'READ_TIMEOUT',
  'READ_FAILURE',
  'SERVER',
  /** Somebody has to change something first. */
  'NO_KEYSPACE',
  'NO_TABLE',
  'NO_DATACENTER',
  'INVALID',
  'LOGIN',
  'TLS',
  'UNAUTHORIZED',
] as const;

export type CassandraCode = (typeof CASSANDRA_CODES)[number];

export class CassandraFailure extends Error {
  readonly outcome: CassandraOutcome;
  readonly code: CassandraCode;

  constructor(outcome: CassandraOutcome, code: CassandraCode, message: string) {
    super(message);
    this.name = 'CassandraFailure';
    this.outcome = outcome;
    this.code = code;
  }
}

/**
 * `up`: every node of the local datacenter answers; `degraded`: requests are taken, and some fail or may
 * soon; `down`: they fail at once with `not_done`.
 */
export type CassandraState = 'up' | 'degraded' | 'down';

export type CassandraWritten = (failure: CassandraFailure | null) => void;

/** `next`: where the following page begins; null after the last. */
export type CassandraPageRead = (
  failure: CassandraFailure | null,
  rows: readonly CassandraRow[],
  next: Buffer | null,
) => void;

export interface CassandraPortEvents {
  /** The state, or what is said of it, is another. */
  cassandraChanged(state: CassandraState, reasons: readonly string[]): void;
}

export interface CassandraPort {
  readonly state: CassandraState;
  /** Why it is not `up`; empty when it is. Holds no secret. */
  readonly reasons: readonly string[];
  /**
   * An INSERT, UPDATE or DELETE that may be done any number of times: without conditions, counters, and
   * USING TIMESTAMP, which `timestampUs` stands for. What times out is sent again with that same
   * timestamp. Writes have no order between them but that of their timestamps. `done` is never called
   * from inside `write`; `values` must stay as they are until it is.
   */
  write(
    statement: CassandraStatement,
    values: readonly CassandraValue[],
    timestampUs: bigint,
    done: CassandraWritten,
  ): void;
  /** A SELECT; at most `pageRows` rows, from `from` on (null: the first). */
  read(
    statement: CassandraStatement,
    values: readonly CassandraValue[],
    pageRows: number,
    from: Buffer | null,
    done: CassandraPageRead,
  ): void;
  /** Where the parts of the ring begin that nodes of the local datacenter own; sorted, may be empty. */
  tokens(): readonly bigint[];
  /** One listener; set before the first request. */
  listen(events: CassandraPortEvents): void;
}
