/** What a node of a datacenter is made with: by app/, or by the simulation. Types only. */
import type { SessionLedger, SharedSessions } from '../core/cluster-ports.ts';
import type { Clock, Log, Random, Scheduler } from '../core/ports.ts';
import type { JournalLinks } from './journal-links.ts';
import type {
  ClusterMesh,
  MembershipLinks,
  OwnerJudge,
  QueueTails,
  RetainedRounds,
  StartedMembership,
} from './ports-local.ts';

export interface ClusterOptions {
  readonly leaseMs: number;
  readonly linkGraceMs: number;
  /** How long a cleared retained topic outweighs older messages. */
  readonly retainedTombstoneMs: number;
  readonly retainedTombstonesMax: number;
  /** Versions further ahead of this node's clock are refused. */
  readonly clockSkewMs: number;
}

export interface ClusterParts {
  readonly ledger: SessionLedger & QueueTails & OwnerJudge;
  readonly sessions: SharedSessions;
  readonly mesh: ClusterMesh;
  readonly membership: (links: MembershipLinks) => StartedMembership;
  readonly clock: Clock;
  readonly random: Random;
  readonly scheduler: Scheduler;
  readonly log: Log;
  readonly options: ClusterOptions;
  /** What this node says of itself. */
  readonly record: { readonly nodeId: string; readonly address: string; readonly release: string };
  /** Ready, each time: after a start, and after this node was buried and has joined anew. */
  readonly onReady?: () => void;
  /** Absent: no record is shared with other datacenters. */
  readonly rounds?: RetainedRounds | null;
  /** The journal's way to the others; absent: this node has none. */
  readonly journal?: JournalLinks | null;
  /** This incarnation is dead; the core has heard of it. */
  readonly onLost?: () => void;
}
