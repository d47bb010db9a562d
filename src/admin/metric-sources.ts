/**
 * What the metrics are read from. The composition root hands these in; admin itself sees neither
 * broker nor store nor listeners.
 */
import type { ListenerInfo } from '../core/ports.ts';
import type { Stats } from '../core/stats.ts';
import type { CassandraView } from './cassandra-view.ts';
import type { ClusterView } from './cluster-view.ts';
import type { DirectoryView } from './directory-view.ts';

/** What a store says of itself; all but `lastCommitMs` only rise. */
export interface StoreMetrics {
  /** Commits that reached the disk. */
  readonly commits: number;
  readonly commitSecondsTotal: number;
  readonly lastCommitMs: number;
  readonly entriesWritten: number;
  /** Entries settled before their commit left, so never written. */
  readonly entriesElided: number;
  readonly quarantined: number;
  readonly failedCommits: number;
  readonly bytesWritten: number;
}

export interface ListenerMetrics {
  readonly info: ListenerInfo;
  /** The URL with the port in use. */
  readonly address: string;
  readonly connections: number;
  readonly counters: {
    readonly accepted: number;
    readonly refused: number;
    readonly handshakesFailed: number;
    readonly untrusted: number;
    readonly acceptErrors: number;
  };
}

/** Why the API did not let a call in. */
export const apiRefusals = [
  'no_token',
  'unknown_token',
  'expired_token',
  'role',
  'blocked_address',
  'call_rate',
] as const;
export type ApiRefusal = (typeof apiRefusals)[number];

/** What the API says of itself; all but `traces` only rise. */
export interface ApiMetrics {
  /** By `METHOD path` as in the document, then by status; those that were asked for. */
  readonly requests: ReadonlyMap<string, ReadonlyMap<number, number>>;
  readonly refused: ReadonlyMap<ApiRefusal, number>;
  /** That run now. */
  readonly traces: number;
  /** Events that did not fit into a trace. */
  readonly traceEventsMissed: number;
}

/** A metric of a room that admin does not know, such as access or quota. */
export interface ExtraMetric {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface MetricSources {
  readonly version: string;
  readonly stats: Stats;
  /** Null: the store keeps everything in memory. */
  readonly store: () => StoreMetrics | null;
  readonly listeners: () => readonly ListenerMetrics[];
  /** Null or absent: there is no API. */
  readonly api?: (() => ApiMetrics | null) | undefined;
  /** Null or absent: the node is alone. */
  readonly cluster?: ClusterView | null | undefined;
  /** Null or absent: the node has no Cassandra. */
  readonly cassandra?: CassandraView | null | undefined;
  /** Absent: sessions do not roam. */
  readonly directory?: DirectoryView | null | undefined;
  /** Samples of one metric follow each other. */
  readonly extra?: (() => Iterable<ExtraMetric>) | undefined;
}
