/**
 * The datacenter as an operator sees it: what API, health and metrics are told of the cluster room, of
 * Redis and of the sessions there. Filled by the composition root, as admin may know none of these;
 * plain data, and no view at all when the node is alone. Nothing here holds a secret.
 */
import type { DegradedMode } from '../core/limits.ts';
import type { RedisCounters } from '../drivers/redis/redis-counters.ts';

export const nodeStates = ['out', 'joining', 'ready', 'fenced', 'left'] as const;
/** As the membership has it: `out`, not registered; `fenced`, its lease may be over. */
export type NodeState = (typeof nodeStates)[number];

export interface OwnNode {
  readonly nodeId: string;
  readonly incarnation: string;
  /** Where other nodes reach it. */
  readonly address: string;
  readonly release: string;
  readonly protocol: number;
  readonly state: NodeState;
  /** Wall-clock ms since when it is in that state; 0: not known. */
  readonly sinceMs: number;
  /** What is known beyond the state, for people; '': nothing. */
  readonly reason: string;
  /** Nodes and services that must come first, by their names; empty when ready. */
  readonly waitsFor: readonly string[];
  /** Ms; 0: it is over. */
  readonly leaseRemainingMs: number;
}

export interface MemberReport {
  readonly nodeId: string;
  readonly incarnation: string;
  readonly address: string;
  readonly release: string;
  readonly protocol: number;
  /** `joining` until it counts this node in and is counted in by it. */
  readonly state: NodeState;
  /** Wall-clock ms since when this node knows it as a member; 0: not known. */
  readonly sinceMs: number;
  /** Durable sessions it has announced as its own. */
  readonly sessionsOwned: number;
  /** Answers to clients here that wait until it has applied something. */
  readonly answersWaiting: number;
  /** Times the routes held of it were not what it had announced. */
  readonly routeDrifts: number;
}

/** One direction of the link with a peer. */
export interface LinkReport {
  /** Its incarnation. */
  readonly peer: string;
  readonly nodeId: string;
  readonly direction: 'out' | 'in';
  readonly isUp: boolean;
  /** Handed over and not yet applied there: the lag. */
  readonly unackedFrames: number;
  readonly unackedBytes: number;
  readonly framesTotal: number;
  readonly bytesTotal: number;
  readonly reconnects: number;
  /** Publications that were not sent as the peer was behind. */
  readonly dropped: number;
  /** -1: none yet. */
  readonly roundTripMs: number;
  readonly release: string;
}

export interface RedisServer {
  /** Host and port. */
  readonly server: string;
  readonly state: string;
  readonly version: string;
  /** Why it is not up; '' when it is. */
  readonly problem: string;
}

/** Whether a promise of the broker holds with the settings that Redis has. */
export interface PromiseReport {
  /** `P1`. */
  readonly promise: string;
  readonly holds: boolean;
  /** One sentence: because of what. */
  readonly detail: string;
}

export interface RedisReport {
  readonly isUp: boolean;
  /** Why the breaker is open; '' when it is not. */
  readonly problem: string;
  readonly servers: readonly RedisServer[];
  readonly promises: readonly PromiseReport[];
  /** Calls that wait for an answer, and their bytes. */
  readonly waitingCalls: number;
  readonly waitingBytes: number;
  /** Messages for queues of durable sessions that are not there yet. */
  readonly waitingMessages: number;
}

export interface DegradedReport {
  readonly mode: DegradedMode;
  /** Something the promises need is missing right now. */
  readonly isActive: boolean;
  /** One sentence; '' when it is not. */
  readonly reason: string;
  /** In the journal of this node until Redis has them. */
  readonly journaledMessages: number;
  readonly journaledBytes: number;
  /** Messages this node keeps for others. */
  readonly journalCopies: number;
}

export interface ClusterReport {
  readonly node: OwnNode;
  readonly redis: RedisReport;
  readonly degraded: DegradedReport;
  /** The other ones. */
  readonly members: readonly MemberReport[];
  readonly links: readonly LinkReport[];
  /** Answers to clients that wait until every node has applied something. */
  readonly barrierWaiting: number;
  /** Durable sessions this node owns, and those it knows of the whole datacenter. */
  readonly sessionsOwned: number;
  readonly sessionsKnown: number;
}

/** What the cluster room counts; all only rise. */
export interface ClusterCounts {
  readonly routeDrifts: number;
  readonly linkLostMessages: number;
  readonly redisLostMessages: number;
  readonly sessionsAsserted: number;
  readonly takeovers: number;
  readonly openedWithoutRedis: number;
  readonly willsOfAbsent: number;
  readonly sessionsExpired: number;
  readonly retainedSkewed: number;
  readonly tombstonesDropped: number;
  readonly timesFenced: number;
  readonly timesLost: number;
}

/** What the store of shared sessions counts; all only rise. */
export interface SharedStoreCounts {
  readonly appendCalls: number;
  readonly appends: number;
  readonly dedupes: number;
  readonly rewrites: number;
  readonly refused: number;
  readonly dropped: number;
  readonly gone: number;
  readonly failed: number;
  readonly settleCalls: number;
  readonly settled: number;
  readonly settleConfirmed: number;
  readonly reads: number;
  readonly entriesRead: number;
  readonly fenced: number;
  readonly quarantined: number;
  readonly unreadable: number;
  readonly retries: number;
}

/** What the journal counts; all only rise. */
export interface JournalCounts {
  readonly journaled: number;
  readonly replayed: number;
  readonly copied: number;
  readonly full: number;
  readonly damaged: number;
}

export interface ClusterView {
  /** As it is now; asked at each scrape, health check and `causeway ctl cluster`. */
  report(): ClusterReport;
  /** Live objects: read when they are shown. */
  readonly counters: ClusterCounts;
  readonly redis: Readonly<RedisCounters>;
  readonly store: SharedStoreCounts;
  readonly journal: JournalCounts;
}
