/**
 * What the core needs of the rest of the datacenter (`Bus`, `SharedSessions`), and what it offers to it
 * (`RemoteSide`, implemented by remote.ts). Alone `bus` is null and costs one comparison. Contracts and
 * reasons: docs/adr/0010 to 0014. Everything is callbacks: a simulation owns time and order.
 */

import type { Awaited } from './awaited.ts';
import type { Incarnation } from './incarnation.ts';
import type { Message } from './message.ts';
import type { Audience } from './outlet.ts';
import type { SubscriptionRecord, WillRecord } from './ports.ts';
import type { Publication } from './publication.ts';
import type { RetainedVerdict, RetainedVersion } from './retained-version.ts';
import type { Turn } from './roaming-record.ts';
import type { GroupChoices, SharedAppend } from './shared-append.ts';

export type { Awaited } from './awaited.ts';
export type { Incarnation } from './incarnation.ts';
export type { RetainedVersion } from './retained-version.ts';

// ---------------------------------------------------------------------------------- live routes

/** What a node wants of a filter for its connected clients. */
export const Interest = {
  NONE: 0,
  /** Only QoS 0: every receiver is a durable session with a higher granted QoS, fed by its queue. */
  QOS0: 1,
  /** Everything: some receiver has no durable session, or was granted QoS 0. */
  ALL: 2,
} as const;
export type Interest = (typeof Interest)[keyof typeof Interest];

/** Another node as a receiver. Held by the router; one per live member. */
export interface Peer {
  readonly incarnation: Incarnation;
  readonly nodeId: string;
  /** Publishers wait for it like for any slow receiver; null: nothing is in its way. */
  readonly audience: Audience;
}

// ---------------------------------------------------------------------------------- durable sessions

/** What every node of the datacenter knows of a durable session. Last writer by (epoch, counter). */
export interface SessionImage {
  readonly clientId: string;
  /** 16 hex digits, new with every clean start: late appends to a predecessor miss (hard case 7). */
  readonly sid: string;
  readonly epoch: number;
  /** Changes of the subscriptions under this epoch. */
  readonly counter: number;
  /** Null: nobody: its client is away. */
  readonly owner: Incarnation | null;
  readonly identity: string | null;
  readonly tenant: string;
  readonly expiryIntervalS: number;
  readonly subscriptions: readonly SubscriptionRecord[];
}

/** One change of the subscriptions of a session that is owned here. */
export interface SubscriptionChange {
  readonly clientId: string;
  readonly sid: string;
  readonly epoch: number;
  /** The counter after this change; a receiver that has not the one before asks for the image. */
  readonly counter: number;
  readonly added: readonly SubscriptionRecord[];
  /** Full filters. */
  readonly removed: readonly string[];
}

export interface OpenRequest {
  readonly clientId: string;
  readonly identity: string | null;
  readonly tenant: string;
  readonly isTenantProven: boolean;
  readonly version: 3 | 4 | 5;
  readonly cleanStart: boolean;
  readonly expiryIntervalS: number;
  readonly will: WillRecord | null;
  /** False once nobody waits for it any more: it need not be carried out. Left out: always wanted. */
  readonly isWanted?: (() => boolean) | undefined;
  /** Its epoch is not below this. Left out: any is good that is above those before. */
  readonly epochMs?: number | undefined;
}

/** An inbound QoS 2 message that was accepted but whose fan-out is not known to be done (case 10). */
export interface PendingInbound {
  readonly packetId: number;
  /** Its `version` is the one it was retained under; null: it was not, or an older release wrote it. */
  readonly message: Message;
  readonly choices: GroupChoices;
  /** Position among the QoS 2 messages of this publisher's session; queues drop what they had. */
  readonly publisherSeq: number;
  /** Of the owner that took it: with the position its name (see `inboundIdentity`). */
  readonly publisherEpoch: number;
}

export interface OpenedRecord {
  readonly epoch: number;
  readonly sid: string;
  readonly present: boolean;
  /** Subscriptions of a resumed session, with the counter they have. */
  readonly subscriptions: readonly SubscriptionRecord[];
  readonly counter: number;
  /** Of packet identifiers, when it has been in other regions; empty: they follow from positions alone. */
  readonly turns: readonly Turn[];
  /** Lowest position not settled and highest given; tailSeq = headSeq - 1: empty. */
  readonly headSeq: number;
  readonly tailSeq: number;
  readonly queuedBytes: number;
  /** Beyond the head: PUBREC had come; completed out of order. */
  readonly releasedSeqs: readonly number[];
  readonly settledSeqs: readonly number[];
  readonly inboundIds: readonly number[];
  readonly pending: readonly PendingInbound[];
  /** Highest publisherSeq given. */
  readonly publisherSeq: number;
  /**
   * The will of the connection before; to be published now when `isDue`, else it is void. `sid` and
   * `epoch` are those of the connection that left it, and name it for queues and `oldWillSettled`.
   */
  readonly oldWill: {
    readonly message: Message;
    readonly isDue: boolean;
    readonly sid: string;
    readonly epoch: number;
  } | null;
}

export type OpenAnswer =
  | { readonly kind: 'opened'; readonly record: OpenedRecord }
  /** Another identity owns it. */
  | { readonly kind: 'foreign' }
  /** Redis cannot be asked, or the lease is over: CONNACK 0x88. */
  | { readonly kind: 'unavailable' };

/**
 * Durable sessions that all nodes share: besides `Store`, implemented by store/redis. Session numbers
 * are this node's own; `bind` ties one to a session of the datacenter. Writes on behalf of an owner are
 * fenced by the epoch; `SharedEvents.fenced` tells of a refusal.
 */
export interface SharedSessions {
  /** Once, before the first call. */
  listen(events: SharedEvents): void;
  /** Positions of the queue are given by the store; see `enqueue`. */
  bind(sessionNumber: number, clientId: string, sid: string, epoch: number): void;
  unbind(sessionNumber: number): void;
  /** So much waits that `enqueue` fails. */
  readonly isFull: boolean;
  /**
   * Queues for any bound session, owned here or not. `queued` or `enqueueFailed` follows, once; `kept` may
   * come before.
   */
  enqueue(sessionNumber: number, append: SharedAppend): void;
  /**
   * The highest `publisherSeq` of what the queue has been given under that name; null: nobody can say. Waits for
   * Redis.
   */
  tookUpTo(sessionNumber: number, publisherSid: string, done: (seq: number | null) => void): void;
  /** Once nothing that was enqueued for the session waits any more: all is in its queue, or refused. */
  whenAppended(sessionNumber: number, then: () => void): void;
  /**
   * Inbound QoS 2 of an owned session: id, body and "fan-out pending", before anything leaves. `awaited`
   * is told later when it is stored, or a journal has it.
   */
  beginInbound(
    sessionNumber: number,
    packetId: number,
    message: Message,
    choices: GroupChoices,
    seq: number,
    awaited: Awaited,
  ): void;
  /** Its fan-out is safe; the id stays until PUBREL. */
  inboundDone(sessionNumber: number, packetId: number): void;
  /** PUBREL came: the id is forgotten. `awaited` as above; null: nobody waits. */
  endInbound(sessionNumber: number, packetId: number, awaited: Awaited | null): void;
  /**
   * A connection that was opened under this epoch is gone, and its will is void, or published: `Bus.close`
   * says so to Redis later, a journal to the survivors should this node die before.
   */
  left(clientId: string, sid: string, epoch: number, expiryIntervalS: number): void;
}

export interface SharedEvents {
  /** It is in the queue at `seq` (0: it was there before); `owner` has the session, null: nobody. */
  queued(
    sessionNumber: number,
    append: SharedAppend,
    seq: number,
    owner: Incarnation | null,
    /** Entries that the bounds of the queue made go for it. */
    dropped: number,
  ): void;
  /** Redis is away: a journal has it, so that it may be acknowledged; it will be queued. */
  kept(sessionNumber: number, append: SharedAppend): void;
  /** What was kept is in the queue, as another node has put it there; `queued` or `enqueueFailed` follows. */
  keptQueued(append: SharedAppend): void;
  /** A journal has, or will have, a change to the packet ids of this client's session. */
  inboundKept(clientId: string): void;
  /** Redis has what was kept so; once for each. */
  inboundWritten(clientId: string): void;
  /** `gone`: the session of that sid is no more: nothing is owed. Else the store could not keep it. */
  enqueueFailed(sessionNumber: number, append: SharedAppend, why: 'gone' | 'full' | 'failed'): void;
  /** Another node has taken the session. */
  fenced(sessionNumber: number): void;
}

// ---------------------------------------------------------------------------------- the bus

/** The rest of the datacenter, as the core sees it. Implemented by cluster/. */
export interface Bus {
  readonly incarnation: Incarnation;
  readonly sessions: SharedSessions;
  /**
   * Asked after each socket read and before matching (hard case 2): false from the instant the lease
   * may be over. Reads a fresh monotonic clock.
   */
  mayServe(): boolean;
  /** Sends a local publication to nodes with connected receivers; one copy each. Never blocks. */
  forward(publication: Publication, peers: readonly Peer[]): void;
  /** Lets a member of a group at that node have it. */
  forwardToGroup(publication: Publication, peer: Peer, group: string, filter: string): void;
  /** A local change of what connected clients want; called only for transitions. */
  announceInterest(filter: string, interest: Interest): void;
  /** Connected members of a shared group here; called when the number changes. */
  announceGroup(group: string, filter: string, members: number): void;
  /** A session owned here: opened, closed (`owner` null), with all its subscriptions. */
  announceSession(image: SessionImage): void;
  announceChange(change: SubscriptionChange): void;
  announceEnd(clientId: string, sid: string, epoch: number): void;
  /** Counts in `awaited` until every live node has applied what was announced so far (P2). */
  awaitApplied(awaited: Awaited): void;
  /**
   * Takes the session for this node: Redis names the owner before, which is made to let go of it first.
   * Requests of one client id are answered in order.
   */
  open(request: OpenRequest, done: (answer: OpenAnswer) => void): void;
  /** The will that `open` gave back has been dealt with. */
  oldWillSettled(clientId: string, sid: string, epoch: number): void;
  /**
   * The connection of an owned session is gone. `willDelayS`: seconds until its will is due, or -1:
   * there is none any more. The session goes on without owner, or ends when `expiryIntervalS` is 0.
   */
  close(
    clientId: string,
    sid: string,
    epoch: number,
    expiryIntervalS: number,
    willDelayS: number,
  ): void;
  /**
   * A retained message changed here; `message` null: cleared. Counts in `awaited` when given. Returns
   * the version of the change; `replaces`: of what was there, which it is above. `accepted`: the change
   * was made before, under this version, which is not over.
   */
  announceRetained(
    topic: string,
    message: Message | null,
    replaces: RetainedVersion | null,
    awaited: Awaited | null,
    accepted: RetainedVersion | null,
  ): RetainedVersion;
  /** Something newer is known of the topic, or the version is of a clock that is too far ahead. */
  isRetainedOver(topic: string, version: RetainedVersion): boolean;
  /**
   * A change that was found in the record all regions share, or that a link has brought: taken over where
   * it is newer, here and at the other nodes, with the version it has. Counts in `awaited` when given.
   */
  takeRetained(
    topic: string,
    message: Message | null,
    version: RetainedVersion,
    awaited: Awaited | null,
  ): RetainedVerdict;
  /**
   * No message of the topic up to this version may come back: found cleared at start, or expired here.
   * Nobody is told.
   */
  buryRetained(topic: string, version: RetainedVersion): void;
  /** Up to which version nothing of the topic may come back; null: nobody remembers any. */
  buriedRetained(topic: string): RetainedVersion | null;
  /** An append was answered: the owner named there is told to look at its queue. */
  hint(owner: Incarnation, clientId: string, sid: string, tailSeq: number): void;
  readonly roam: RoamChannel;
  /** Once, before the node joins; without, what others say there is not heard. */
  listenRoam(listener: RoamListener): void;
}

// ---------------------------------------------------------------------------------- moves of sessions

/** Largest payload of one `send`: a page with the largest message, in a frame of the peer links. */
export const ROAM_BYTES_MAX: number = 270 * 1024 * 1024;

/**
 * How nodes of a datacenter speak of sessions that move between regions (docs/adr/0023); what they say is
 * the core's. Payloads are copied, both ways.
 */
export interface RoamChannel {
  /** This node: another one after `lost`, once it has joined anew. */
  readonly self: Incarnation;
  /** Other members that count, now. */
  members(): Iterable<Incarnation>;
  /**
   * In order with what else is announced to that peer, member or joiner; nothing to one that is neither. What
   * a lost link session takes along is told again by `tell`. While its tables are on their way it may come before
   * a session that is in them, and before `tell`. A payload above ROAM_BYTES_MAX is a fault.
   */
  send(peer: Incarnation, payload: Buffer): void;
  /** To all members and to those who are joining. */
  sendAll(payload: Buffer): void;
  /**
   * Once every member that counts now has applied what was sent so far, or is gone: at once when they have. Held
   * while the lease may be over, as others may have counted in somebody this node has not heard of. False: this
   * incarnation is dead.
   */
  whenApplied(then: (isApplied: boolean) => void): void;
  /**
   * Of a dead node something may still come to Redis: a journal has promises of it, or a call that was on its way
   * when it died, or stood still, has not been waited for.
   */
  readonly isOwed: boolean;
}

export interface RoamListener {
  /** A frame of a member, or of one that joins; what it says counts as applied when this returns. */
  said(from: Incarnation, payload: Buffer): void;
  /**
   * The peer has this node's tables but for their end: it joins, a link session was lost with what was on it, or
   * it asked for them again. What is sent to it in this call comes before it counts them as whole, behind
   * every session that is owned here. What it had said may be lost as well: it tells that again by itself.
   */
  tell(peer: Incarnation): void;
  /**
   * It is no member any more, and nothing waits for it from here on; what it said last may not have reached everybody.
   * Its sessions are without owner a little later (`RemoteSide.ownerDied`).
   */
  gone(peer: Incarnation): void;
  /** This incarnation is dead: whoever is asked no more answers. `gone` follows for each. */
  lost(): void;
}

// ---------------------------------------------------------------------------------- the ledger

export interface LedgerRequest extends OpenRequest {
  /** The session is known: none is made when Redis has lost it, or others would take it for the next. */
  readonly isKnown?: boolean;
}

export type LedgerAnswer =
  | { readonly kind: 'foreign' }
  /** Redis did not do it; it may be tried again. */
  | { readonly kind: 'unavailable' }
  /** Redis has none, and was not to make one. */
  | { readonly kind: 'absent' }
  | {
      readonly kind: 'opened';
      /**
       * Who owned it until now, and all before since one was `adopted`, the last one first. May be this
       * node itself, or dead ones.
       */
      readonly previousOwners: readonly Incarnation[];
      readonly record: OpenedRecord;
    };

export type LookAnswer =
  | { readonly kind: 'will'; readonly will: WillOfAbsent; readonly epoch: number }
  | { readonly kind: 'ended'; readonly sid: string; readonly epoch: number }
  | { readonly kind: 'wait'; readonly untilMs: number }
  | { readonly kind: 'gone' }
  | { readonly kind: 'unavailable' };

/** Sessions that were a dead node's; `isMore`: it may have more. */
export interface Orphans {
  readonly clientIds: readonly string[];
  readonly isMore: boolean;
}

/**
 * Who owns which session, and what becomes of sessions nobody owns (ADR 0013). Implemented by
 * store/redis, called by cluster/. Every `done` is called once, later; a null answer: Redis was not
 * there, try again. Times are Redis' own clock in ms.
 */
export interface SessionLedger {
  open(
    owner: Incarnation,
    hlcMs: number,
    newSid: string,
    request: LedgerRequest,
    done: (answer: LedgerAnswer) => void,
  ): void;
  /** Its opener has it alone: all who had it before have let go, or are dead. */
  adopted(clientId: string, sid: string, epoch: number): void;
  oldWillSettled(clientId: string, sid: string, epoch: number): void;
  /**
   * `ended`: it was removed, as its expiry interval is 0; `gone`: Redis has lost it. Repeated until Redis has
   * answered.
   */
  close(
    clientId: string,
    sid: string,
    epoch: number,
    expiryIntervalS: number,
    willDelayS: number,
    done: (outcome: 'closed' | 'ended' | 'fenced' | 'gone') => void,
  ): void;
  /** What `owner` opened for nobody; the old will that came with it is anybody's again. */
  giveBack(
    owner: Incarnation,
    clientId: string,
    sid: string,
    epoch: number,
    expiryIntervalS: number,
  ): void;
  /** Takes some of a dead node's sessions from it. Null: Redis did not answer. */
  orphan(dead: Incarnation, countMax: number, done: (orphans: Orphans | null) => void): void;
  /** Clients whose will or expiry may be due. */
  due(countMax: number, done: (clientIds: readonly string[] | null) => void): void;
  /** What is to be done for a session nobody owns; a will is handed to one caller. */
  look(clientId: string, by: Incarnation, done: (answer: LookAnswer) => void): void;
  willDone(clientId: string, sid: string, epoch: number, done: (isDone: boolean) => void): void;
  /** Wills that a dead node had taken to publish may be taken again. */
  unclaim(clientId: string, dead: Incarnation, done: (isDone: boolean) => void): void;
  /** Nobody asks any more whether the connection of that epoch has left a will; see `left`. */
  leftHeard(clientId: string, epoch: number): void;
  /** Every durable session, at start; `done(false)`: Redis went away, begin again. */
  load(each: (image: SessionImage) => void, done: (isComplete: boolean) => void): void;
  /** Writes a session that Redis has lost; `headSeq`: where its positions go on. */
  assert(image: SessionImage, headSeq: number, done: (isWritten: boolean | null) => void): void;
}

// ---------------------------------------------------------------------------------- the other way

/** What other nodes do here. Implemented by core/remote.ts, called by cluster/. */
export interface RemoteSide {
  // Live messages
  /** A message of another node for connected receivers; durable ones with QoS > 0 have their queue. */
  deliver(message: Message): void;
  deliverToGroup(message: Message, group: string, filter: string): void;
  /** Applied when its version is above the one that is known. */
  applyRetained(topic: string, message: Message | null, version: RetainedVersion): void;
  /** The tombstone of a cleared topic is over. */
  forgetTombstone(topic: string): void;

  // Routes of other nodes
  addPeer(peer: Peer): void;
  /** Forgets its interests and groups. */
  removePeer(peer: Peer): void;
  setInterest(peer: Peer, filter: string, interest: Interest): void;
  setGroup(peer: Peer, group: string, filter: string, members: number): void;

  // Durable sessions that are elsewhere, or nowhere
  /** Ignored when what is known is newer. */
  applySession(image: SessionImage): void;
  /** False: the change before it is missing: the image is needed. */
  applyChange(change: SubscriptionChange): boolean;
  applyEnd(clientId: string, sid: string, epoch: number): void;
  /** Of the last end of a session of the client that is remembered; 0: of none. */
  endedEpoch(clientId: string): number;
  /** The node is dead: its sessions have no owner until someone opens them. */
  ownerDied(owner: Incarnation): void;
  /** Of those that a dead node had, this one is nobody's by now; said at one node. */
  orphaned(clientId: string): void;

  // Ownership
  /**
   * Another node has taken the session: its connection is closed (0x8E), its will is the new owner's.
   * `done` when what was read from it is settled: appends answered, live copies handed to the links.
   * `hasPromised`: something of it was only in a journal of late, and came to Redis perhaps after the open.
   */
  letGo(clientId: string, epoch: number, done: (hasPromised?: boolean) => void): void;
  /** The tail of an owned session's queue; ignored when it is not owned here. */
  hint(clientId: string, sid: string, tailSeq: number): void;
  /** This incarnation is dead: closes every connection without wills, owns nothing any more. */
  lost(): void;
  /** The lease was renewed after `mayServe` had said no: connections that stood still go on. */
  unfenced(): void;

  // What this node tells a joiner, and what digests are made of
  interests(): Iterable<readonly [filter: string, interest: Interest]>;
  groups(): Iterable<readonly [group: string, filter: string, members: number]>;
  ownedSessions(): Iterable<SessionImage>;
  /** All durable sessions known, owned here or not: to re-assert after Redis came back empty. */
  knownSessions(): Iterable<SessionImage>;
  knownSession(clientId: string): SessionImage | null;
  /** Of a session that is owned here; null: it is not. */
  queueOf(clientId: string): OwnedQueue | null;
  retained(): Iterable<Message>;
  retainedOf(topic: string): Message | null;
  /** Publishes a will on behalf of a session nobody owns; counts in `awaited`. */
  publishWill(image: WillOfAbsent, awaited: Awaited): void;
}

/** The queue of a session that is owned here, as memory knows it. */
export interface OwnedQueue {
  /** Highest position that was ever given. */
  readonly tailSeq: number;
  /** Messages that wait. */
  readonly messages: number;
}

export interface WillOfAbsent {
  readonly clientId: string;
  readonly identity: string | null;
  readonly tenant: string;
  readonly sid: string;
  readonly epoch: number;
  readonly message: Message;
}
