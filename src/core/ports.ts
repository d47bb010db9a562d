/**
 * The small interfaces the broker core owns. Everything outside the core (sockets, stores, access
 * rules, other nodes, the operator's door) is handed in through one of these or calls the facade in
 * `broker.ts`. The core imports no implementation. Start reading here.
 *
 * The data plane is synchronous: a port that must wait says so (WAIT, a ticket, a callback) and the
 * core parks what depends on it.
 */

import type { ConnectPacket } from '../wire/connect.ts';
import type { CloseReason } from './close-reason.ts';
import type { Message } from './message.ts';
import type { Principal } from './principal.ts';
import type { QueueEntry } from './queue-entry.ts';
import type { RefuseReason } from './refuse-reason.ts';
import type { RetainedVerdict, RetainedVersion } from './retained-version.ts';
import type { RoamingRecord } from './roaming-record.ts';

// ---------------------------------------------------------------------------------- listeners

/** The socket side of one connection. Implemented by listeners; called by the core only. */
export interface ByteSink {
  /** Host and port of the client, as PROXY protocol or the socket says; '' for Unix sockets. */
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** Of a client that proved it to TLS, or null. */
  readonly certificate: PeerCertificate | null;
  /** The identity of a TLS pre-shared key the client proved to have, or null. */
  readonly pskIdentity: string | null;
  /**
   * Sends buffer[start, end). Never called while `unsentBytes` is above 0. Returns true when the
   * memory may be reused at once (sent, or copied by the sink), false when the sink holds on to it
   * until it calls `ByteHandler.onDrained`.
   */
  write(buffer: Buffer, start: number, end: number): boolean;
  /** Bytes given to `write` and not yet taken by the kernel. */
  unsentBytes(): number;
  /** Stop and go on reading; idempotent; bytes already being handed over may still arrive. */
  pause(): void;
  resume(): void;
  /**
   * Sends what is unsent, then FIN; drains what the client still sends for up to `lingerMs` so that a
   * final packet is not destroyed by a reset; then closes. `onClosed` follows in every case.
   */
  end(lingerMs: number): void;
  /** Closes at once and forgets what is unsent. `onClosed` follows. */
  destroy(): void;
}

export interface PeerCertificate {
  readonly subjectCommonName: string;
  /** With their kinds: `DNS:a.example`, `URI:urn:x`. */
  readonly subjectAltNames: readonly string[];
  readonly organization: string;
  readonly organizationalUnit: string;
  readonly issuerCommonName: string;
  readonly serialNumber: string;
  readonly fingerprint256: string;
  /** Wall-clock ms. */
  readonly validToMs: number;
}

/** The core side of one connection: what a listener calls. */
export interface ByteHandler {
  /** Bytes arrived in buffer[start, end); the memory may be reused when the call returns. */
  onBytes(buffer: Buffer, start: number, end: number): void;
  /** `unsentBytes` fell to 0 after a write that left some. */
  onDrained(): void;
  /** The socket is gone; called exactly once. `error` when it failed rather than ended. */
  onClosed(error: Error | null): void;
}

/** What a listener says of itself; one object per listener, shared by its connections. */
export interface ListenerInfo {
  /** Name for logs and metrics, for example `mqtt://127.0.0.1:1883`. */
  readonly name: string;
  readonly transport: 'tcp' | 'tls' | 'ws' | 'wss' | 'unix';
  /** Overrides of the broker-wide limits for connections of this listener. */
  readonly limits: ListenerLimits;
  /** No listener: a part of this program, which proves nothing and is refused nothing but `$`. */
  readonly isOwn?: boolean | undefined;
}

export interface ListenerLimits {
  readonly connectionsMax?: number | undefined;
  readonly packetBytesMax?: number | undefined;
  readonly keepAliveMaxS?: number | undefined;
  readonly receiveMaximum?: number | undefined;
  readonly topicAliasMax?: number | undefined;
}

/** What listeners need of the broker. */
export interface Acceptor {
  /** Takes a new connection; null when it is over a limit (the listener then destroys the socket). */
  accept(sink: ByteSink, listener: ListenerInfo): ByteHandler | null;
}

// ---------------------------------------------------------------------------------- access, quota

export const DENY = 0;
export const ALLOW = 1;
/** The gate does not know yet, or the client is slowed down: it calls `resume` and is asked again. */
export const WAIT = 2;
/** Refused by a quota: dropped, with 0x97 where the protocol can say so. */
export const OVER_QUOTA = 3;
/** The connection is to be ended for `ClientGate.closeReason`. */
export const CLOSE = 4;
export type Verdict = typeof DENY | typeof ALLOW | typeof WAIT | typeof OVER_QUOTA | typeof CLOSE;

/** What stands still until a gate has decided. */
export interface GateWaiter {
  /** Once per WAIT, never from inside the call that answered it. */
  resume(): void;
}

export interface ConnectRequest {
  /** Null in a re-authentication: the connection is open already. */
  readonly packet: ConnectPacket | null;
  /** The one the session will have: as sent, or assigned when that was empty. */
  readonly clientId: string;
  readonly protocolVersion: 3 | 4 | 5;
  readonly listener: ListenerInfo;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly certificate: PeerCertificate | null;
  /** The identity of a TLS pre-shared key the client proved to have, or null. */
  readonly pskIdentity: string | null;
  /** Ends the connection later: an expired token, a ban, rights that were taken back. */
  readonly end: (reason: CloseReason) => void;
}

/** Answer to a CONNECT. */
export interface ConnectDecision {
  /** Null: accepted. */
  readonly refusal: RefuseReason | null;
  readonly reasonString?: string | undefined;
  /** Who the client is, for session ownership: only the same identity may resume a session. */
  readonly identity: string | null;
  /** Whose quotas it shares; '': nobody's. */
  readonly tenant?: string | undefined;
  /**
   * The tenant is part of who the client is, as its credentials name it: a session of another tenant is
   * somebody else's, even under the same user name.
   */
  readonly isTenantProven?: boolean | undefined;
  /** Rights of this connection; null: everything outside `$` is allowed. */
  readonly client: ClientGate | null;
  /** AUTH data for the CONNACK of an enhanced authentication. */
  readonly authenticationData?: Buffer | null | undefined;
}

/** May this client connect? `quota` wraps `access` wraps allow-all; a wrapper that is off is not built. */
export interface Gate {
  /** A socket was accepted; false: it is closed without a word (a banned address). */
  socket(remoteAddress: string, listener: ListenerInfo): boolean;
  /** Decides now, or returns WAIT and calls `decide` once later (never from inside this call). */
  connect(
    request: ConnectRequest,
    decide: (decision: ConnectDecision) => void,
  ): ConnectDecision | typeof WAIT;
  /**
   * May this will be published now? Asked when it fires, also after a restart: then `client` is null
   * and what is not stored of the client (address, claims, certificate) counts against it.
   */
  will(
    principal: Principal,
    client: ClientGate | null,
    will: { readonly topic: string; readonly qos: 0 | 1 | 2; readonly retain: boolean },
    decide: (allowed: boolean) => void,
  ): boolean | typeof WAIT;
  /** May what this principal has retained still be handed out? Fast: asked per replayed message. */
  retainedSource(principal: Principal, topic: string): boolean;
  /** May a session whose client is away keep this subscription? Unknown conditions count for it. */
  keeps(principal: Principal, filter: string, qos: 0 | 1 | 2): boolean;
  /** Enhanced authentication [MQTT5-4.12]; null: every method is refused with 0x8C. */
  readonly enhanced: EnhancedAuth | null;
  /** Room for sessions and retained messages; null: nothing is counted. */
  readonly quotas: Quotas | null;
}

/** Rights of one connection, compiled at CONNECT; synchronous. */
export interface ClientGate {
  publish(topic: string, qos: number, retain: boolean, bytes: number, waiter: GateWaiter): Verdict;
  /** `filter` is the inner filter of a shared subscription. */
  subscribe(filter: string, qos: number, waiter: GateWaiter): Verdict;
  /**
   * After a reload, and at resume: is the subscription still allowed? Never WAIT; a source that has
   * to be asked again answers what it last said.
   */
  keeps(filter: string, qos: number): boolean;
  /**
   * Before a session is resumed: are the rights to these subscriptions known, so that nothing that
   * waited leaves for one which is not allowed? WAIT: `decide` is called once, later, and says false
   * when they cannot be found out.
   */
  knows(
    subscriptions: Iterable<{ readonly filter: string; readonly qos: number }>,
    decide: (known: boolean) => void,
  ): boolean | typeof WAIT;
  /** Asked per delivery when `filtersReceive`; never WAIT. */
  receive(topic: string): boolean;
  /** Some topic below an allowed filter is denied. May change with a reload. */
  readonly filtersReceive: boolean;
  /** Allows everything for as long as it lives: packets need not be asked about. */
  readonly allowsAll: boolean;
  /** Why the connection ends, after a CLOSE. */
  readonly closeReason: CloseReason;
  /** What the last OVER_QUOTA or CLOSE was for, for the client: names the quota. Null: not said. */
  readonly why: string | null;
  /** The connection is gone; rights can still be asked for its will. */
  closed(): void;
}

/** Counted use of what sessions and retained messages may have together (user, tenant, node). */
export interface Quotas {
  /** Of a session that begins or is restored; null: nothing of it is counted. */
  session(principal: Principal): SessionQuota | null;
  /** Room for this much more retained by the principal? Counts it when so. */
  retain(principal: Principal, messages: number, bytes: number): boolean;
  /** Found at start: counted without a question. Negative: given back. */
  retained(principal: Principal, messages: number, bytes: number): void;
}

/** The quota of one session, from birth to end. */
export interface SessionQuota {
  /** One more subscription? Counts it when so. */
  subscribe(): boolean;
  /** Counts one without a question (found at start). */
  subscribed(): void;
  unsubscribed(): void;
  /** Room for a message of this size in the queue? Counts it when so. */
  enqueue(bytes: number): boolean;
  /** Counts without a question (found at start), or gives back when negative. */
  queued(bytes: number): void;
  /** What the queue does when `enqueue` says no: null: as `queueOverflow` says. */
  readonly overflow: 'drop_newest' | 'disconnect' | null;
  /** What the last no was for, for the client: names the quota. Null: not said. */
  readonly why: string | null;
  /** Most QoS 1 and 2 messages sent and not acknowledged. */
  readonly inflightMax: number;
  /** Delivery is metered: ask `deliver` per message. May change with a reload. */
  readonly metersDelivery: boolean;
  /**
   * May this many bytes leave now? false: QoS 0 is dropped, QoS 1 and 2 wait in the queue, and
   * `waiter` is told once when there is room again.
   */
  deliver(bytes: number, waiter: GateWaiter): boolean;
  /** The session is no more: everything it used is given back. */
  ended(): void;
}

export interface EnhancedAuth {
  /** Begins the exchange of one connection (CONNECT or re-authentication); null: unknown method. */
  begin(method: string, request: ConnectRequest): AuthExchange | null;
}

export interface AuthExchange {
  /** One step: data from the client; `next` is called once, now or later. */
  step(data: Buffer | null, next: (answer: AuthAnswer) => void): void;
}

export type AuthAnswer =
  | { readonly kind: 'continue'; readonly data: Buffer | null }
  | { readonly kind: 'decided'; readonly decision: ConnectDecision };

// ---------------------------------------------------------------------------------- store

/**
 * Numbers the commit that makes a change durable; strictly rising; 0: durable already. The store
 * reports each commit through `StoreEvents.committed`.
 */
export type Ticket = number;

export interface SubscriptionRecord {
  /** As subscribed, `$share/…` included. */
  readonly filter: string;
  readonly qos: 0 | 1 | 2;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: 0 | 1 | 2;
  /** 0: none. */
  readonly subscriptionId: number;
}

export interface WillRecord {
  /** Its `expiresAtMs` holds the message expiry as an interval in ms: it counts from publication. */
  readonly message: Message;
  readonly delayS: number;
  /** Wall-clock ms at which it is due once the connection is gone; 0: the client is connected. */
  readonly dueAtMs: number;
}

/** A session as stored: everything but queue, in-flight states and inbound QoS 2 ids. */
export interface SessionRecord {
  /** Store-wide number of the session, given by the core, never reused while the session lives. */
  readonly sessionNumber: number;
  readonly clientId: string;
  readonly identity: string | null;
  readonly tenant: string;
  readonly protocolVersion: 3 | 4 | 5;
  readonly expiryIntervalS: number;
  /** Wall-clock ms of the end of the last connection; 0: connected. */
  readonly disconnectedAtMs: number;
  readonly subscriptions: readonly SubscriptionRecord[];
  /** Changes of the subscriptions under the epoch of its owner; left out alone. */
  readonly counter?: number;
  readonly will: WillRecord | null;
  /** Left out where sessions stay in their region. */
  readonly roaming?: RoamingRecord;
}

/** What a restart finds of one session. */
export interface RestoredSession {
  readonly record: SessionRecord;
  /** Lowest position not settled, and the highest ever given (0: none). */
  readonly headSeq: number;
  readonly tailSeq: number;
  readonly queuedMessages: number;
  readonly queuedBytes: number;
  /** Packet ids of inbound QoS 2 messages between PUBREC and PUBREL. */
  readonly inboundIds: readonly number[];
}

/** What the core hears from a store. */
export interface StoreEvents {
  /** This entry is durable now (its `durable` was set just before). */
  entryDurable(entry: QueueEntry, sessionNumber: number): void;
  /** This entry could not be stored; the publisher gets no ack for its message. */
  entryFailed(entry: QueueEntry, sessionNumber: number): void;
  /**
   * All tickets up to this one are durable, or failed when `error` says why. Follows at once when all entries
   * have been told of.
   */
  committed(ticket: Ticket, error: Error | null): void;
  /**
   * By a store that `tellsRetained`, before or after `committed`: the retained changes up to this ticket
   * are durable, or failed, whatever becomes of sessions' tickets before it.
   */
  retainedCommitted?: (ticket: Ticket, error: Error | null) => void;
}

/**
 * Durable sessions and their queues. Calls collect into the open batch and return its ticket; nothing
 * waits. One contract suite (`test/contract/store.ts`) runs against every implementation.
 */
export interface SessionStore {
  /**
   * True: the store keeps queues itself, so memory may hold a window of them and `read` the rest.
   * False (memory): the core's queue is the only record.
   */
  readonly keepsQueues: boolean;
  /** False while the store refuses new durable messages (disk full or failing). */
  readonly writable: boolean;
  /** Calls `session` and `retained` for all that was stored; then the store is open. */
  start(events: StoreEvents, restore: RestoreVisitor): Promise<void>;
  saveSession(record: SessionRecord): Ticket;
  /** Removes the session with queue and ids. */
  deleteSession(sessionNumber: number): Ticket;
  /**
   * Queues an entry. With ticket 0 `entry.durable` is true at return; else `entryDurable` or
   * `entryFailed` follows, unless the core settles the entry first.
   */
  append(sessionNumber: number, entry: QueueEntry): Ticket;
  /** The core has set `entry.state` to SETTLED. Needs no durability of its own. */
  settle(sessionNumber: number, entry: QueueEntry): void;
  /** The same of a durable entry that memory has let go of. */
  settleStored(sessionNumber: number, seq: number, messageBytes: number): void;
  /** QoS 2: PUBREC came; PUBREL leaves when the ticket is durable. */
  release(sessionNumber: number, entry: QueueEntry): Ticket;
  /**
   * Reads unsettled entries with seq >= fromSeq in order, at most `messagesMax` and about `bytesMax`
   * (at least one when there is one). RELEASED entries come with that state. `done` is called once,
   * later; an empty list means none is stored from there on (pending appends are committed first).
   */
  read(
    sessionNumber: number,
    fromSeq: number,
    messagesMax: number,
    bytesMax: number,
    done: (entries: QueueEntry[], error: Error | null) => void,
  ): void;
  /** Inbound QoS 2: id is stored before PUBREC, removed before PUBCOMP. */
  addInboundId(sessionNumber: number, packetId: number): Ticket;
  removeInboundId(sessionNumber: number, packetId: number): Ticket;
  /** Commits what is open and closes. */
  stop(): Promise<void>;
}

export interface RestoreVisitor {
  session(session: RestoredSession): void;
  retained(message: Message): void;
  /** A cleared topic that outweighs older messages; whoever has no use for it need not know. */
  tombstone?: (topic: string, version: RetainedVersion) => void;
  /** Of what will be told of the topic the record elsewhere may know nothing. */
  unconfirmed?: (topic: string) => void;
}

/** Retained messages; the core keeps the index of all topics, this is their record. */
export interface RetainedStore {
  /** It calls `StoreEvents.retainedCommitted`. */
  readonly tellsRetained?: boolean;
  /** Replaces the retained message of the topic. Without a version the store may give it one. */
  putRetained(message: Message): Ticket;
  /**
   * `version`: its tombstone is kept in the place of the message; null (alone): nothing is. `isAwaited`
   * false: nobody waits for the ticket.
   */
  removeRetained(topic: string, version: RetainedVersion | null, isAwaited?: boolean): Ticket;
  /** By a store that gives versions: which one the last clear got. */
  readonly lastClear?: RetainedVersion | null;
  /** By a store that gives versions: what becomes of a change from elsewhere, by what was cleared here. */
  judgeRetained?: (topic: string, version: RetainedVersion) => RetainedVerdict;
  /** By which version a topic was cleared lately; null: it was not, or long ago. */
  clearedAt?: (topic: string) => RetainedVersion | null;
  /**
   * What somebody else has changed and has a record of, or what has expired: kept here alone. Null:
   * removed, with a tombstone when there is a version.
   */
  mirrorRetained(topic: string, message: Message | null, version: RetainedVersion | null): Ticket;
  /** The tombstone is over. Needs no durability of its own. */
  forgetTombstone(topic: string): void;
}

export type Store = SessionStore & RetainedStore;

// ---------------------------------------------------------------------------------- other nodes
// The rest of the datacenter: cluster-ports.ts.

/** Holds a named role with an epoch (alone: always held). */
export interface Lease {
  held(role: string): boolean;
  epoch(role: string): number;
}

// ---------------------------------------------------------------------------------- operators

/** Sees what happens, for a trace; null when nobody looks. Called inline: must not throw or wait. */
export interface Observer {
  connected(client: ClientSummary): void;
  refused(client: ClientSummary, reason: RefuseReason): void;
  disconnected(client: ClientSummary, reason: CloseReason): void;
  subscribed(clientId: string, filter: string, qos: number, reasonCode: number): void;
  unsubscribed(clientId: string, filter: string): void;
  published(clientId: string, topic: string, qos: number, retain: boolean, bytes: number): void;
  delivered(clientId: string, topic: string, qos: number, bytes: number): void;
  dropped(clientId: string, topic: string, reason: string): void;
}

export interface ClientSummary {
  readonly clientId: string;
  readonly protocolVersion: 3 | 4 | 5;
  readonly listener: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly identity: string | null;
  readonly tenant: string;
}

/** A connection as the operator sees it. */
export interface ClientState extends ClientSummary {
  /** Wall-clock ms. */
  readonly connectedAtMs: number;
  readonly keepAliveS: number;
  readonly certificate: PeerCertificate | null;
  /** Bytes accepted for the client that its socket has not taken. */
  readonly outboxBytes: number;
}

/** A session as the operator sees it, connected or not. */
export interface SessionState {
  readonly clientId: string;
  readonly identity: string | null;
  readonly tenant: string;
  readonly connected: boolean;
  readonly durable: boolean;
  readonly expiryIntervalS: number;
  /** Wall-clock ms; 0: connected. */
  readonly disconnectedAtMs: number;
  readonly subscriptions: number;
  readonly queuedMessages: number;
  readonly queuedBytes: number;
  readonly inflightMessages: number;
  readonly will: { readonly topic: string; readonly delayS: number } | null;
}

/** One waiting message, for the operator. */
export interface QueuedState {
  readonly seq: number;
  readonly topic: string;
  readonly qos: 1 | 2;
  readonly retain: boolean;
  readonly bytes: number;
  /** Sent and not acknowledged yet. */
  readonly sent: boolean;
  /** Wall-clock ms; 0: never. */
  readonly expiresAtMs: number;
}

/** Who receives what is published to a topic. */
export interface RouteState {
  readonly filter: string;
  readonly subscribers: readonly { readonly clientId: string; readonly qos: 0 | 1 | 2 }[];
}

/**
 * What the operator's door needs from the core. Iterables may be walked in slices over several turns:
 * what comes or goes meanwhile may be seen or not.
 */
export interface Admin {
  clients(): Iterable<ClientState>;
  client(clientId: string): ClientState | null;
  disconnect(clientId: string, reason: CloseReason): boolean;
  sessions(): Iterable<SessionState>;
  session(clientId: string): SessionState | null;
  /** Null: no such session. */
  subscriptions(clientId: string): readonly SubscriptionRecord[] | null;
  /** The first entries of the queue that memory holds, in-flight ones first; null: no such session. */
  queue(clientId: string, messagesMax: number): readonly QueuedState[] | null;
  /** Disconnects its client and removes the session with all it has; false: there is none. */
  endSession(clientId: string): boolean;
  /** Removes one subscription, as the client could; false: there is none. */
  unsubscribe(clientId: string, filter: string): boolean;
  routes(topic: string): readonly RouteState[];
  retained(filter: string): Iterable<Message>;
  retainedMessage(topic: string): Message | null;
  deleteRetained(topic: string): boolean;
  /** As a client with every right; throws a RangeError when topic or size is not allowed. */
  publish(
    topic: string,
    payload: Uint8Array,
    options: {
      readonly qos?: 0 | 1 | 2;
      readonly retain?: boolean;
      readonly messageExpiryS?: number;
    },
  ): void;
  /** After rules or users changed: ends subscriptions and connections that are no longer allowed. */
  recheck(): void;
}

// ---------------------------------------------------------------------------------- where clients belong

/** Where a client is told to go. */
export interface Elsewhere {
  readonly serverReference: string;
  /** 0x9D, server moved, instead of 0x9C, use another server. */
  readonly isForGood: boolean;
}

/** Which clients should be served by another region or node. Implemented by geo/steering. */
export interface Steering {
  /** Asked once for each CONNECT that would be let in, by a client that may connect. Null: here. */
  elsewhere(clientId: string, version: 3 | 4 | 5, remoteAddress: string): Elsewhere | null;
  /** Whether `homeOf` may send anybody away. */
  readonly hasHomes: boolean;
  /** Asked before a session that has its home in that region moves here, or one begins here. Null: it does. */
  homeOf(clientId: string, version: 3 | 4 | 5, region: string): Elsewhere | null;
}

// ---------------------------------------------------------------------------------- the world

export interface Clock {
  /** Monotonic ms, for durations and deadlines. */
  monotonicMs(): number;
  /** Wall-clock ms since 1970, for what survives a restart. */
  wallMs(): number;
}

export interface Random {
  /** Uniform in [0, bound). */
  below(bound: number): number;
  /** `bytes` unpredictable bytes as lower-case hex. */
  hex(bytes: number): string;
}

/** The only place that may defer work to later in the loop. */
export interface Scheduler {
  /** Runs `task` once at the end of this loop turn, after all sockets that are ready were read. */
  endOfTurn(task: () => void): void;
  /** Runs `task` in a following turn, after other ready work. */
  nextTurn(task: () => void): void;
  /** Calls `tick` about every `intervalMs` until the returned function is called. */
  every(intervalMs: number, tick: () => void): () => void;
}

export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
