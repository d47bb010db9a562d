/** What the membership of a node is made with, and whom it tells. Types only. */
import type { Incarnation } from '../core/cluster-ports.ts';
import type { Clock, Log, Random, Scheduler } from '../core/ports.ts';
import type { RedisPort, RedisReply } from '../drivers/redis/redis-port.ts';
import type { CutLinks } from './cut-links.ts';
import type { HeardPeers } from './heard-peers.ts';
import type { MemberWatch } from './member-watch.ts';
import type { NodeRecord } from './node-functions.ts';
import type { OwnLease } from './own-lease.ts';
import type { MembershipEvents } from './ports.ts';

export interface MembershipOptions {
  readonly record: NodeRecord;
  /** Of all keys in Redis. */
  readonly prefix: string;
  readonly leaseMs: number;
  readonly marginMs: number;
  readonly linkGraceMs: number;
  /**
   * How long a node waits that finds Redis empty: whoever was a member before it was emptied may still
   * serve, and comes back meanwhile. Less than lease + margin is only for a Redis that is known to be new.
   */
  readonly emptyWaitMs: number;
  /**
   * Without Redis the lease of a node that knows of no other goes on (`cluster.degraded: local`): whoever
   * joins meanwhile and does not reach it takes it for dead.
   */
  readonly goesOnAlone?: boolean;
}

export interface MembershipWorld {
  readonly clock: Clock;
  readonly random: Random;
  readonly scheduler: Scheduler;
  readonly redis: RedisPort;
  readonly log: Log;
  /**
   * Asks a peer over its link to call node_renew (RENEW_FOR). `reply`: what Redis answered it; null:
   * it could not, or nobody knows. May never be called.
   */
  readonly askPeer: (
    peer: Incarnation,
    incarnation: Incarnation,
    generation: string,
    done: (reply: RedisReply | null) => void,
  ) => void;
}

export interface MembershipListener extends MembershipEvents {
  /** Follows `becomeReady`, once Redis has confirmed that nobody else has to be heard first. */
  ready(): void;
  /** Redis was empty, and this node's lease was over before it was there again: `lost` follows. */
  forgotten(): void;
}

/** What may be replaced by a test that has to see it break. */
export interface MembershipParts {
  readonly lease: OwnLease;
  readonly watch: MemberWatch;
  readonly peers: HeardPeers;
  readonly cuts: CutLinks;
}
