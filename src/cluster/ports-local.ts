/**
 * What cluster.ts asks of mesh and membership beyond the fixed ports: how they are started, and told what
 * only the other one knows. Types only.
 */
import type { Incarnation } from '../core/cluster-ports.ts';
import type { RedisReply } from '../drivers/redis/redis-port.ts';
import type { Membership, MembershipEvents, Mesh, MeshEvents } from './ports.ts';

export interface ClusterMesh extends Mesh {
  /** Once, before the first `setMembers`. */
  start(events: MeshEvents): void;
  /** What new links have to agree on. */
  identify(generation: string, secret: string): void;
  /** Outbound links that are up. */
  readonly linksUp: number;
}

/** Implemented by store/redis beside the ledger. */
export interface QueueTails {
  /** Highest position given in the queue of that session; null: there is none, or nobody can say. */
  tailOf(clientId: string, sid: string, done: (tailSeq: number | null) => void): void;
}

/**
 * Who has taken a will to publish and is no member any more never does: asked by store/redis when a
 * claim of somebody else is in the way, set by cluster.ts.
 */
export interface ClaimJudge {
  isDead: (incarnation: Incarnation) => boolean;
}

/** Renews the lease of `incarnation` through a peer (RENEW_FOR); null: it could not. */
export type AskPeer = (
  peer: Incarnation,
  incarnation: Incarnation,
  generation: string,
  done: (reply: RedisReply | null) => void,
) => void;

export interface ReadyEvents extends MembershipEvents {
  /** Follows `becomeReady`, once Redis has confirmed that nobody else has to be heard first. */
  ready(): void;
}

/** What membership is made with. */
export interface MembershipLinks {
  readonly events: ReadyEvents;
  readonly askPeer: AskPeer;
}

export interface StartedMembership extends Membership {
  /** Redis has answered lately: what heartbeats say. */
  readonly hasRedis: boolean;
  readonly secret: string;
  /** Monotonic ms at which the own lease ends. For operators, when it is told. */
  readonly leaseEndMs?: number;
  /** Another member cannot reach Redis and asks this one. */
  renewFor(
    incarnation: Incarnation,
    generation: string,
    done: (reply: RedisReply | null) => void,
  ): void;
  /** Asks Redis whether it still knows this node; false: it was emptied; null: nobody can say. */
  confirm(done: (isSame: boolean | null) => void): void;
  redisUp(isOtherServer: boolean): void;
  redisDown(): void;
}
