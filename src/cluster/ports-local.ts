/**
 * What cluster.ts asks of mesh and membership beyond the fixed ports: how they are started, and told what
 * only the other one knows. Types only.
 */
import type { Incarnation, RetainedVersion, SessionImage } from '../core/cluster-ports.ts';
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
  /** The session in Redis, and the highest position given there; null: none, or nobody can say. */
  tailOf(clientId: string, done: (image: SessionImage | null, tailSeq: number) => void): void;
}

/**
 * Rounds in which retained messages are held against a record that all regions share (docs/adr/0021);
 * implemented beside it. A node knows of its own, and is told of those of the others.
 */
export interface RetainedRounds {
  /** Wall-clock ms at which the last whole one began that is known here; 0: none has. */
  readonly beganMs: number;
  /** That is so long ago that what is here may have been cleared, and nobody knows any more. */
  readonly isStale: boolean;
  /** The shared record has not confirmed what is here. */
  isOwed(topic: string): boolean;
  /** It may have been cleared, says this node to one whose last whole round began then. */
  mayBeOver(version: RetainedVersion, beganMs: number): boolean;
  heard(beganMs: number): void;
  /** Told when all that was taken over so far is on this node's disk; never, if that fails. */
  synced(done: () => void): void;
}

/** What store/redis has to know of members; set by cluster.ts. */
export interface OwnerJudge {
  /** It serves no more: what it has claimed it will never do. */
  isDead: (incarnation: Incarnation) => boolean;
  /** Still this node, and it may serve. */
  mayOpen: (incarnation: Incarnation) => boolean;
  /** Told that a session was taken from `owner`, though nobody here waits for it any more. */
  onSuperseded: (owner: Incarnation, clientId: string, epoch: number) => void;
  /** A session was opened though nobody here waits for it any more, and is left like this. */
  onGivenBack: (image: SessionImage) => void;
}

/** Renews the lease of `incarnation` through a peer (RENEW_FOR); null: it could not. */
export type AskPeer = (
  peer: Incarnation,
  incarnation: Incarnation,
  generation: string,
  done: (reply: RedisReply | null) => void,
) => void;

export interface ReadyEvents extends MembershipEvents {
  /** Redis was empty, and this node's lease was over before it was there again: `lost` follows. */
  forgotten(): void;
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
  /** All whose death Redis remembers; null: it did not answer. */
  dead(done: (dead: readonly Incarnation[] | null) => void): void;
  /** What it had was taken from it. */
  forget(dead: Incarnation): void;
  redisUp(isOtherServer: boolean): void;
  redisDown(): void;
}
