/**
 * What operators see of the core and do to it: the `Admin` port over the parts of the broker. Made by
 * broker.ts, called by the operator's door between turns of the data plane. Lists are generators over
 * live tables, so that a million sessions can be walked in slices; it knows no HTTP and no JSON.
 */
import { isValidTopicName, topicLevelCount } from '../wire/topic.ts';
import type { CloseReason } from './close-reason.ts';
import { Connection } from './connection.ts';
import { isGroupQueue } from './group-queue-id.ts';
import { InflightState } from './inflight.ts';
import { type Message, makeMessage } from './message.ts';
import type {
  Admin,
  ClientState,
  QueuedState,
  RouteState,
  SessionState,
  SubscriptionRecord,
} from './ports.ts';
import { EntryState, type QueueEntry } from './queue-entry.ts';
import type { RetainedWalk } from './retained-walk.ts';
import type { Services } from './services.ts';
import type { Session, Subscription } from './session.ts';

/** One receiver of a topic. */
export interface RouteMember {
  /** As subscribed, `$share/…` included. */
  readonly filter: string;
  readonly clientId: string;
  readonly qos: 0 | 1 | 2;
}

export type PublishOptions = Parameters<Admin['publish']>[2];

/** Nodes of the retained index looked at between two messages of `retained`. */
const RETAINED_STEP = 256;
/** PUBLISH without topic and payload: fixed header, packet id and the message expiry, at most. */
const PUBLISH_OVERHEAD_BYTES = 16;

export class Inspection implements Admin {
  readonly #services: Services & { readonly connections: Set<Connection> };

  constructor(services: Services & { readonly connections: Set<Connection> }) {
    this.#services = services;
  }

  *clients(): Iterable<ClientState> {
    for (const connection of this.#services.connections) {
      if (connection.session !== null) yield connection.state();
    }
  }

  client(clientId: string): ClientState | null {
    return this.#owner(clientId)?.state() ?? null;
  }

  disconnect(clientId: string, reason: CloseReason): boolean {
    const owner = this.#owner(clientId);
    owner?.close(reason);
    return owner !== null;
  }

  *sessions(): Iterable<SessionState> {
    for (const session of this.#services.core.sessions.values()) {
      if (!isGroupQueue(session.clientId)) yield sessionState(session);
    }
  }

  session(clientId: string): SessionState | null {
    const session = this.#session(clientId);
    return session === null ? null : sessionState(session);
  }

  subscriptions(clientId: string): readonly SubscriptionRecord[] | null {
    const session = this.#session(clientId);
    if (session === null) return null;
    return Array.from(session.subscriptions?.values() ?? [], (one) => one.record());
  }

  subscription(clientId: string, filter: string): SubscriptionRecord | null {
    return this.#session(clientId)?.subscriptions?.get(filter)?.record() ?? null;
  }

  queue(clientId: string, messagesMax: number): readonly QueuedState[] | null {
    const session = this.#session(clientId);
    if (session === null) return null;
    const found: QueuedState[] = [];
    const { inflight, queue } = session;
    if (inflight !== null) {
      for (let at = inflight.first; at < inflight.end && found.length < messagesMax; at++) {
        const entry = inflight.entryAt(at);
        // Sessions that end with their connection, and links, keep no entry, only its packet id.
        if (entry === null || inflight.stateAt(at) === InflightState.DONE) continue;
        found.push(queuedState(entry, true));
      }
    }
    const waiting = queue?.length ?? 0;
    for (let i = 0; i < waiting && found.length < messagesMax; i++) {
      const entry = queue!.at(i)!;
      if (entry.state !== EntryState.SETTLED) found.push(queuedState(entry, entry.sentBefore));
    }
    return found;
  }

  endSession(clientId: string): boolean {
    const session = this.#session(clientId);
    if (session === null) return false;
    this.#owner(clientId)?.close('session_ended');
    // A session that outlives its connection is still there.
    const { sessions } = this.#services;
    if (session.ownership === null) sessions.end(session);
    else sessions.tenure!.evict(session);
    return true;
  }

  unsubscribe(clientId: string, filter: string): boolean {
    const { core, sessions } = this.#services;
    const session = this.#session(clientId);
    // In a datacenter only the node its client is connected to changes a session.
    if (session === null || (session.ownership !== null && session.owner === null)) return false;
    if (!sessions.unsubscribe(session, filter)) return false;
    sessions.changed(session, [], [filter]);
    if (core.observer !== null) core.observer.unsubscribed(clientId, filter);
    return true;
  }

  routes(topic: string): readonly RouteState[] {
    const byFilter: Map<string, { clientId: string; qos: 0 | 1 | 2 }[]> = new Map();
    for (const { filter, clientId, qos } of this.routeMembers(topic)) {
      const subscribers = byFilter.get(filter);
      if (subscribers === undefined) byFilter.set(filter, [{ clientId, qos }]);
      else subscribers.push({ clientId, qos });
    }
    return Array.from(byFilter, ([filter, subscribers]) => ({ filter, subscribers }));
  }

  /** Who receives a topic, one by one: a topic may have a hundred thousand subscribers. */
  *routeMembers(topic: string): Iterable<RouteMember> {
    const route = this.#services.core.router.match(topic);
    for (const { session } of route.receivers) {
      if (session.subscriptions === null) continue;
      // A receiver may stand for several overlapping subscriptions of its session.
      for (const subscription of session.subscriptions.values()) {
        if (subscription.group === null && filterMatches(subscription.filter, topic)) {
          yield member(subscription);
        }
      }
    }
    for (const group of route.groups) {
      for (const subscription of group.members) yield member(subscription);
    }
  }

  /** Everything that is kept, what has expired and is not swept yet included. */
  *kept(): Iterable<Message> {
    const walk = this.#services.core.retained.walk('#');
    const found: Message[] = [];
    while (!walk.done) {
      found.length = 0;
      walk.take(RETAINED_STEP, found);
      yield* found;
    }
  }

  *retained(filter: string): Iterable<Message> {
    const walk = this.retainedWalk(filter);
    const found: Message[] = [];
    while (!walk.done) {
      found.length = 0;
      walk.take(RETAINED_STEP, found);
      yield* found;
    }
  }

  /** The same with a budget of its own: a filter may look at a million topics to find one. */
  retainedWalk(filter: string): RetainedSource {
    const { core } = this.#services;
    return new RetainedSource(core.retained.walk(filter), () => core.clock.wallMs());
  }

  retainedMessage(topic: string): Message | null {
    const { core } = this.#services;
    const message = core.retained.get(topic);
    return message === null || isExpired(message, core.clock.wallMs()) ? null : message;
  }

  deleteRetained(topic: string): boolean {
    const { core, publisher } = this.#services;
    const existed = core.retained.slotOf(topic) !== -1;
    publisher.removeRetained(topic);
    return existed;
  }

  publish(topic: string, payload: Uint8Array, options: PublishOptions): void {
    const { core, publisher } = this.#services;
    const { limits } = core;
    if (!isValidTopicName(topic) || !topic.isWellFormed()) {
      throw new RangeError('a topic has at least one character and neither +, # nor U+0000');
    }
    // `$` belongs to the broker: FIELD class 10.
    if (topic.charCodeAt(0) === 0x24) throw new RangeError('topics that start with $ are closed');
    const topicBytes = Buffer.byteLength(topic);
    if (topicBytes > limits.topicBytesMax) {
      throw new RangeError(`the topic is over topicBytesMax (${limits.topicBytesMax})`);
    }
    if (topicLevelCount(topic) > limits.topicLevelsMax) {
      throw new RangeError(`the topic is over topicLevelsMax (${limits.topicLevelsMax})`);
    }
    if (topicBytes + payload.length + PUBLISH_OVERHEAD_BYTES > limits.packetBytesMax) {
      throw new RangeError(`the message is over packetBytesMax (${limits.packetBytesMax})`);
    }
    const { qos = 0, retain = false, messageExpiryS = 0 } = options;
    const expiresAtMs = messageExpiryS === 0 ? 0 : core.clock.wallMs() + messageExpiryS * 1000;
    const message = makeMessage(core.nextSequence++, topic, payload, { qos, retain, expiresAtMs });
    publisher.publish(message, null);
  }

  recheck(): void {
    this.#services.sessions.recheck();
  }

  #session(clientId: string): Session | null {
    if (isGroupQueue(clientId)) return null;
    return this.#services.core.sessions.get(clientId) ?? null;
  }

  #owner(clientId: string): Connection | null {
    const owner = this.#session(clientId)?.owner ?? null;
    return owner instanceof Connection ? owner : null;
  }
}

/** A walk over retained messages that leaves out what has expired. */
export class RetainedSource {
  readonly #walk: RetainedWalk;
  readonly #wallMs: () => number;
  readonly #found: Message[] = [];

  constructor(walk: RetainedWalk, wallMs: () => number) {
    this.#walk = walk;
    this.#wallMs = wallMs;
  }

  get done(): boolean {
    return this.#walk.done;
  }

  /** Looks at up to `budget` places and appends what is found there; returns how many it looked at. */
  take(budget: number, out: Message[]): number {
    const found = this.#found;
    const looked = this.#walk.take(budget, found);
    const nowMs = this.#wallMs();
    for (const message of found) if (!isExpired(message, nowMs)) out.push(message);
    found.length = 0;
    return looked;
  }
}

function isExpired(message: Message, nowMs: number): boolean {
  return message.expiresAtMs !== 0 && message.expiresAtMs <= nowMs;
}

function member(subscription: Subscription): RouteMember {
  const { fullFilter, session, qos } = subscription;
  return { filter: fullFilter, clientId: session.clientId, qos };
}

function sessionState(session: Session): SessionState {
  const { will } = session;
  return {
    clientId: session.clientId,
    identity: session.identity,
    tenant: session.tenant,
    connected: session.connected,
    durable: session.durable,
    expiryIntervalS: session.expiryIntervalS,
    disconnectedAtMs: session.disconnectedAtMs,
    subscriptions: session.subscriptions?.size ?? 0,
    queuedMessages: session.queuedMessages,
    queuedBytes: session.queuedBytes,
    inflightMessages: session.inflight?.open ?? 0,
    will: will === null ? null : { topic: will.message.topic, delayS: will.delayS },
  };
}

function queuedState(entry: QueueEntry, sent: boolean): QueuedState {
  const { seq, message, qos, retain } = entry;
  const { topic, bytes, expiresAtMs } = message;
  return { seq, topic, qos, retain, bytes, sent, expiresAtMs };
}

/**
 * Whether a valid filter (of a shared subscription the inner one) matches a topic: one pass over both,
 * nothing allocated. Wildcards do not match a first level that starts with `$` [MQTT5-4.7.2-1].
 */
export function filterMatches(filter: string, topic: string): boolean {
  const first = filter.charCodeAt(0);
  if (topic.charCodeAt(0) === 0x24 && (first === PLUS || first === HASH)) return false;
  let at = 0;
  let i = 0;
  for (;;) {
    const code = filter.charCodeAt(i);
    if (code === HASH) return true;
    if (code === PLUS) {
      i++;
      while (at < topic.length && topic.charCodeAt(at) !== SLASH) at++;
    } else {
      while (i < filter.length && filter.charCodeAt(i) !== SLASH) {
        if (filter.charCodeAt(i) !== topic.charCodeAt(at)) return false;
        i++;
        at++;
      }
    }
    const isTopicEnd = at >= topic.length;
    if (i >= filter.length) return isTopicEnd;
    // `a/#` matches `a` too.
    if (isTopicEnd) return i + 2 === filter.length && filter.charCodeAt(i + 1) === HASH;
    if (topic.charCodeAt(at) !== SLASH) return false;
    i++;
    at++;
  }
}

const SLASH = 0x2f;
const PLUS = 0x2b;
const HASH = 0x23;
