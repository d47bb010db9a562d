/**
 * What makes a node one of a region whose retained messages are in a Cassandra, as it is once loaded.
 * Types only; `cassandra-schema.ts` holds defaults, ranges and texts of the same names.
 */
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
  readonly tombstoneS: number;
  readonly reconcileIntervalS: number;
  readonly reconcileRowsPerS: number;
}
