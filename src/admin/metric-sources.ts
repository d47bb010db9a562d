/**
 * What the metrics are read from. The composition root hands these in; admin itself sees neither
 * broker nor store nor listeners.
 */
import type { ListenerInfo } from '../core/ports.ts';
import type { Stats } from '../core/stats.ts';

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
  readonly connections: number;
  readonly counters: {
    readonly accepted: number;
    readonly refused: number;
    readonly handshakesFailed: number;
    readonly untrusted: number;
    readonly acceptErrors: number;
  };
}

export interface MetricSources {
  readonly version: string;
  readonly stats: Stats;
  /** Null: the store keeps everything in memory. */
  readonly store: () => StoreMetrics | null;
  readonly listeners: () => readonly ListenerMetrics[];
}
