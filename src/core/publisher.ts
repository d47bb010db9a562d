/**
 * Messages from inside: wills, $SYS, the API, redispatch, links. Also keeps the retained message of a
 * topic, for these and for clients' packets.
 */
import { Ring } from '../util/ring.ts';
import { isBridgeId } from './bridge-names.ts';
import type { Core } from './core.ts';
import type { Delivery } from './delivery.ts';
import type { DropReason } from './drop-reason.ts';
import type { Fanout } from './fanout.ts';
import { type Message, makeMessage } from './message.ts';
import type { Ticket } from './ports.ts';
import type { Principal } from './principal.ts';
import { Publication } from './publication.ts';
import { isAbove, OLDEST, type RetainedVersion } from './retained-version.ts';
import type { RetainedWalk } from './retained-walk.ts';
import type { Session } from './session.ts';
import { type AppendIdentity, type GroupChoices, OWN_IDENTITY } from './shared-append.ts';

/** Answer to a retained change: a ticket, or REFUSED. */
export const RETAINED_REFUSED = -1;

/** Topics one sweep looks at: a million take a quarter of an hour at one sweep a second. */
const SWEEP_TOPICS = 1000;

export class Publisher {
  readonly #core: Core;
  readonly #delivery: Delivery;
  readonly #fanout: Fanout;
  /** Apart from the clients' one: a will may fire while a packet is being handled. */
  readonly #publication: Publication = new Publication();
  #sweep: RetainedWalk | null = null;
  /** Messages that wait for the disk to have what was retained with them, oldest first. */
  readonly #awaitsDisk: Ring<{ readonly ticket: Ticket; readonly message: Message }> = new Ring();
  /** Of the last clear; null: it has none. */
  #clearedVersion: RetainedVersion | null = null;
  /** Of the last change from elsewhere that was taken over. */
  #appliedTicket: Ticket = 0;
  /** Why the last `retain` answered RETAINED_REFUSED. */
  retainRefusal: DropReason = 'retained_full';

  constructor(core: Core, delivery: Delivery, fanout: Fanout) {
    this.#core = core;
    this.#delivery = delivery;
    this.#fanout = fanout;
  }

  /** Publishes to whoever subscribes, and retains when the message says so. */
  publish(message: Message, from: Session | null): void {
    this.#send(message, from, OWN_IDENTITY, null, true, null, null);
  }

  /** The same under a name of its own: queues of a datacenter that had it drop it. */
  publishAs(message: Message, from: Session | null, identity: AppendIdentity): void {
    this.#send(message, from, identity, null, true, null, null);
  }

  /**
   * What an owner before had accepted, whose fan-out may not be done: retained under the version it got
   * then, unless something newer is. Without one all that is known is newer. For sessions between regions it
   * belongs where it did: one of the queues may have it.
   */
  publishAgain(
    message: Message,
    from: Session,
    identity: AppendIdentity,
    choices: GroupChoices,
  ): void {
    const { topic, retain, version } = message;
    const isOver = retain && this.#core.bus?.isRetainedOver(topic, version ?? OLDEST) === true;
    const placed = this.#fanout.placedBefore(topic, choices);
    this.#send(message, from, identity, choices, !isOver, version, placed);
  }

  /** The fan-out alone, of what was retained before. */
  handOn(
    message: Message,
    from: Session,
    identity: AppendIdentity,
    choices: GroupChoices | null,
  ): void {
    this.#send(message, from, identity, choices, false, null, null);
  }

  #send(
    message: Message,
    from: Session | null,
    identity: AppendIdentity,
    choices: GroupChoices | null,
    retains: boolean,
    accepted: RetainedVersion | null,
    placed: ReadonlyMap<string, string> | null,
  ): void {
    const core = this.#core;
    const publication = this.#publication;
    publication.setMessage(message, core.nextSequence++);
    publication.identity = identity;
    publication.choices = choices;
    publication.from = from;
    publication.fromId = from?.clientId ?? '';
    publication.expiryS = -1;
    if (placed !== null) publication.mark = { origin: null, version: null, placed };
    if (message.expiresAtMs !== 0) {
      const remainingMs = message.expiresAtMs - core.clock.wallMs();
      if (remainingMs <= 0) return;
      publication.expiryS = Math.ceil(remainingMs / 1000);
    }
    if (message.retain) {
      if (retains) this.retain(publication, accepted);
      else this.#mark(publication, message.version);
    }
    this.#fanout.send(publication, core.router.match(message.topic));
  }

  /** Publishes text or bytes from inside the broker. */
  publishBytes(topic: string, payload: Uint8Array, retain: boolean, qos: 0 | 1 | 2): void {
    this.publish(makeMessage(this.#core.nextSequence++, topic, payload, { retain, qos }), null);
  }

  /**
   * Another member of the group gets a message that `leaving` has not acked. The message it got, which
   * may have to become safe; null: nobody can.
   */
  redispatch(message: Message, group: string, filter: string, leaving: Session): Message | null {
    const shared = this.#core.router.groupOf(group, filter);
    if (shared === null) return null;
    const publication = this.#again(message);
    return this.#fanout.redispatch(publication, shared, leaving) ? publication.message() : null;
  }

  /** To a member of a group, away or not, under the same name; null: there is none. */
  giveToMember(
    message: Message,
    group: string,
    filter: string,
    identity: AppendIdentity,
  ): Message | null {
    const shared = this.#core.router.groupOf(group, filter);
    if (shared === null) return null;
    const publication = this.#again(message);
    publication.identity = identity;
    return this.#fanout.giveToMember(publication, shared) ? publication.message() : null;
  }

  #again(message: Message): Publication {
    const publication = this.#publication;
    const sequence = this.#core.nextSequence++;
    // With other nodes it may wait for them: whoever waits for the first one must not be confused.
    if (this.#core.bus === null) publication.setMessage(message, sequence);
    else publication.setTransient(message, sequence);
    publication.from = null;
    publication.fromId = '';
    publication.expiryS = -1;
    return publication;
  }

  /**
   * Replaces or removes the retained message of the publication's topic [MQTT5-3.3.1-5]
   * [MQTT5-3.3.1-6]. Returns the ticket that makes it durable, or RETAINED_REFUSED at a limit.
   * `accepted`: see `Bus.announceRetained`.
   */
  retain(publication: Publication, accepted: RetainedVersion | null = null): Ticket {
    const core = this.#core;
    const { retained } = core;
    const view = publication.view;
    const { topic } = publication;
    const isReserved = topic.charCodeAt(0) === 0x24;
    if (view.payloadEnd === view.payloadStart) {
      const isAwaited = view.qos > 0 && (core.bus !== null || core.store.tellsRetained === true);
      const awaited = isAwaited ? publication.message() : null;
      const ticket = this.removeRetained(topic, awaited, accepted);
      this.#mark(publication, this.#clearedVersion);
      return ticket;
    }
    const old = retained.get(topic);
    this.retainRefusal = 'retained_full';
    const { bytes } = publication;
    if (!this.hasRoom(old, bytes)) return RETAINED_REFUSED;
    const source = sourceOf(publication);
    if (!this.#mayRetain(source, old, bytes)) {
      this.retainRefusal = 'retained_quota';
      return RETAINED_REFUSED;
    }
    const message = publication.copy();
    message.source = source;
    if (core.bus !== null && !isReserved) {
      const awaited = view.qos > 0 ? publication.message() : null;
      const replaces = old?.version ?? null;
      message.version = core.bus.announceRetained(topic, message, replaces, awaited, accepted);
      // Should another owner have to hand it on.
      if (awaited !== null) awaited.version = message.version;
    } else if (core.stamps !== null && !isReserved) {
      message.version = core.stamps.next(topic, old?.version ?? null, false);
      core.stamps.put(topic);
    }
    // $SYS is made anew at each start: nothing to keep.
    const ticket = isReserved ? 0 : core.store.putRetained(message);
    // Behind the store, which may have given it a version.
    retained.put(message);
    if (isReserved) return 0;
    this.#mark(publication, message.version);
    return this.#kept(ticket, view.qos > 0 ? publication.message() : null);
  }

  /** In the place of `old`. */
  hasRoom(old: Message | null, bytes: number): boolean {
    const { limits, stats } = this.#core;
    if (old === null && stats.retainedMessages >= limits.retainedMessagesMax) return false;
    return stats.retainedBytes - (old?.bytes ?? 0) + bytes <= limits.retainedBytesMax;
  }

  /** Links tell other regions of the version. */
  #mark(publication: Publication, version: RetainedVersion | null): void {
    if (version === null || this.#core.links === null) return;
    publication.mark = { origin: null, ...publication.mark, version };
  }

  /**
   * Sessions' tickets may wait for a service that is away: what is told of retained messages apart
   * counts as a receiver of the message instead. The ticket that is still to be waited for.
   */
  #kept(ticket: Ticket, awaited: Message | null): Ticket {
    if (ticket === 0 || this.#core.store.tellsRetained !== true) return ticket;
    if (awaited === null) return 0;
    awaited.unsafeCount++;
    this.#awaitsDisk.push({ ticket, message: awaited });
    return 0;
  }

  /** Retained changes up to this ticket are durable, or failed. */
  retainedCommitted(ticket: Ticket, failed: boolean): void {
    const waiting = this.#awaitsDisk;
    for (let first = waiting.at(0); first !== undefined; first = waiting.at(0)) {
      if (first.ticket > ticket) return;
      waiting.shift();
      this.#delivery.appended(first.message, failed);
    }
  }

  /** Asks for what is new and gives back what is replaced. */
  #mayRetain(source: Principal | null, old: Message | null, bytes: number): boolean {
    const quotas = this.#core.gate?.quotas ?? null;
    if (quotas === null) return true;
    const oldSource = old?.source ?? null;
    if (source !== null) {
      const isSame = old !== null && oldSource !== null && isSamePrincipal(oldSource, source);
      if (isSame) return quotas.retain(source, 0, bytes - old.bytes);
      if (!quotas.retain(source, 1, bytes)) return false;
    }
    if (old !== null && oldSource !== null) quotas.retained(oldSource, -1, -old.bytes);
    return true;
  }

  /** Removes the retained message of a topic; the ticket that makes it durable, 0: there was none. */
  removeRetained(
    topic: string,
    awaited: Message | null = null,
    accepted: RetainedVersion | null = null,
  ): Ticket {
    const { retained, bus, stamps, store } = this.#core;
    const old = retained.get(topic);
    const isReserved = topic.charCodeAt(0) === 0x24;
    this.#clearedVersion = null;
    // A record elsewhere may have one that this clears and nobody here has heard of.
    const isAwaited = awaited !== null;
    if (isReserved || (bus === null && stamps === null && store.tellsRetained !== true)) {
      return old === null ? 0 : this.#kept(this.#clearRetained(old, null, isAwaited), awaited);
    }
    // So may another node, or a link, be about to tell of one.
    const replaces = old?.version ?? null;
    const version =
      bus?.announceRetained(topic, null, replaces, awaited, accepted) ??
      stamps?.next(topic, replaces, true) ??
      null;
    this.#clearedVersion = version;
    if (version !== null) stamps?.bury(topic, version);
    if (awaited !== null && version !== null) awaited.version = version;
    const ticket =
      old === null
        ? store.removeRetained(topic, version, isAwaited)
        : this.#clearRetained(old, version, isAwaited);
    if (version === null) this.#clearedVersion = store.lastClear ?? null;
    return this.#kept(ticket, awaited);
  }

  #clearRetained(old: Message, version: RetainedVersion | null, isAwaited: boolean): Ticket {
    this.#unindex(old);
    const { topic } = old;
    if (topic.charCodeAt(0) === 0x24) return 0;
    return this.#core.store.removeRetained(topic, version, isAwaited);
  }

  #unindex(old: Message): void {
    const { retained, gate } = this.#core;
    retained.remove(old.topic);
    if (old.source !== null) gate?.quotas?.retained(old.source, -1, -old.bytes);
  }

  /** Another node or region has changed it; what is newer here stays. */
  applyRetained(topic: string, message: Message | null, version: RetainedVersion): void {
    const { retained, stamps, store, gate } = this.#core;
    const old = retained.get(topic);
    if (old !== null && old.version !== null && !isAbove(version, old.version)) return;
    if (message === null) {
      if (old !== null) this.#unindex(old);
      stamps?.bury(topic, version);
      this.#appliedTicket = store.mirrorRetained(topic, null, version);
      return;
    }
    stamps?.put(topic);
    message.version = version;
    if (old?.source) gate?.quotas?.retained(old.source, -1, -old.bytes);
    if (message.source !== null) gate?.quotas?.retained(message.source, 1, message.bytes);
    retained.put(message);
    this.#appliedTicket = store.mirrorRetained(topic, message, version);
  }

  /** What was taken over since `apply` began is waited for, too, as by `retain`. */
  applyAwaited(apply: () => void, awaited: Message | null): Ticket {
    this.#appliedTicket = 0;
    apply();
    return this.#kept(this.#appliedTicket, awaited);
  }

  /** Found at start. */
  restoreRetained(message: Message): void {
    const { retained, stamps, gate } = this.#core;
    if (message.version !== null) stamps?.restored(message.version);
    retained.put(message);
    if (message.source !== null) gate?.quotas?.retained(message.source, 1, message.bytes);
  }

  /** Looks at some of the retained messages, going round, and forgets those that have expired. */
  sweepRetained(): void {
    const { retained, stamps, clock } = this.#core;
    stamps?.sweep();
    if (this.#sweep === null || this.#sweep.done) this.#sweep = retained.walk('#');
    const found: Message[] = [];
    this.#sweep.take(SWEEP_TOPICS, found);
    const nowMs = clock.wallMs();
    for (const { topic, expiresAtMs } of found) {
      if (expiresAtMs !== 0 && expiresAtMs <= nowMs) this.expireRetained(topic);
    }
  }

  /** Forgets the retained message of a topic if it has expired. */
  expireRetained(topic: string): void {
    const message = this.#core.retained.get(topic);
    if (message === null || message.expiresAtMs === 0) return;
    if (message.expiresAtMs > this.#core.clock.wallMs()) return;
    // Each node sees for itself that it has expired; what it had replaced must not come back.
    const { version } = message;
    const { bus, stamps, store } = this.#core;
    if (version !== null) {
      bus?.buryRetained(topic, version);
      stamps?.bury(topic, version);
    }
    this.#unindex(message);
    if (topic.charCodeAt(0) === 0x24) return;
    store.mirrorRetained(topic, null, bus === null && stamps === null ? null : version);
  }

  /** Found at start: a topic that was cleared. */
  restoreTombstone(topic: string, version: RetainedVersion): void {
    const { bus, stamps, store } = this.#core;
    if (bus !== null) bus.buryRetained(topic, version);
    else if (stamps !== null) stamps.bury(topic, version);
    else store.forgetTombstone(topic);
  }
}

function isSamePrincipal(left: Principal, right: Principal): boolean {
  return (
    left === right ||
    (left.clientId === right.clientId &&
      left.identity === right.identity &&
      left.tenant === right.tenant)
  );
}

/** Whose rights a retained message lives by; null: nobody's, as what a bridge has brought. */
function sourceOf({ from }: Publication): Principal | null {
  if (from === null || isBridgeId(from.clientId)) return null;
  return from.principal;
}
