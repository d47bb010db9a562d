/**
 * What makes a node one of a region whose retained messages are in a Cassandra, as it is once loaded.
 * Types only; `cassandra-schema.ts` holds defaults, ranges and texts of the same names.
 */
import type { DegradedMode } from '../core/limits.ts';

export interface CassandraConfig {
  readonly contactPoints: readonly string[];
  /** As Cassandra names it. */
  readonly localDatacenter: string;
  readonly keyspace: string;
  readonly username?: string | undefined;
  readonly passwordFile?: string | undefined;
  /** TLS, with the authorities in it. */
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly inFlightMax: number;
  /** What becomes of acks of retained messages without Cassandra and without any other node. */
  readonly degraded: DegradedMode;
  readonly tombstoneS: number;
  readonly reconcileIntervalS: number;
  readonly reconcileRowsPerS: number;
}
