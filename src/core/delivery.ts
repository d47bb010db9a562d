/**
 * From a receiver to its socket or its queue (data plane): QoS 1 and 2 windows, queue and overflow,
 * repetition after a reconnect, spilling to the store and reading back. Everything here is charged to
 * the receiver; nothing waits.
 */
import { Ring } from '../util/ring.ts';
import { writeAck } from '../wire/ack.ts';
import { PacketType } from '../wire/packet-type.ts';
import { releaseWaiters } from './audience-pause.ts';
import type { Core } from './core.ts';
import { Inflight, InflightState } from './inflight.ts';
import type { Message, MessageWaiter } from './message.ts';
import type { Outlet } from './outlet.ts';
import type { Ownership } from './ownership.ts';
import type { SessionQuota } from './ports.ts';
import { Publication } from './publication.ts';
import type { PublishEncoder } from './publish-encoder.ts';
import { QueueBounds } from './queue-bounds.ts';
import { DatedEntry, EntryState, QueueEntry, SentEntry } from './queue-entry.ts';
import { hasEntryRoom, hasRoom, isWide, QueueWindow, WIDE_READ_AHEAD } from './queue-window.ts';
import { ALL_IDS, SHARE_IDS } from './roaming-state.ts';
import type { Session, Subscription } from './session.ts';
import { SharedAppend } from './shared-append.ts';

/** Entries in a live session's queue at which its publishers wait. */
const PRESSED_ENTRIES = 1024;
const PACKET_IDS = ALL_IDS;

/** What became of one delivery. */
export const Outcome = { DONE: 0, PRESSED: 1, REFUSED: 2 } as const;
export type Outcome = (typeof Outcome)[keyof typeof Outcome];

/**
 * QoS 2 leaves only when a crash cannot make us send it as new again (DESIGN §5). To another region nothing does
 * that could still be lost here: who has it with this region on its path does not send it back.
 */
function mayLeave(session: Session, entry: QueueEntry): boolean {
  return entry.durable || (entry.qos === 1 && session.link === null);
}

export class Delivery {
  readonly #core: Core;
  readonly #encoder: PublishEncoder;
  readonly #bounds: QueueBounds;
  readonly #window: QueueWindow;
  /** For entries that are sent from the queue. */
  readonly #queued: Publication = new Publication();
  /** Told at the end of the turn that a message of theirs became safe. */
  readonly #toldLater: Set<MessageWaiter> = new Set();
  /** Of what the store has just told of: goes on when all of its queue that is durable now is known. */
  #grown: Session | null = null;

  constructor(core: Core, encoder: PublishEncoder) {
    this.#core = core;
    this.#encoder = encoder;
    this.#bounds = new QueueBounds(core, this);
    this.#window = new QueueWindow(core, this);
  }

  /** QoS 0 of the current publication to a connected receiver. */
  deliverQos0(
    publication: Publication,
    outlet: Outlet,
    receiver: Subscription,
    retain: boolean,
  ): Outcome {
    const core = this.#core;
    if (outlet.pendingBytes > 0) {
      const limit = core.limits.outboxBytesMax;
      if (outlet.pendingBytes >= limit) {
        core.drop('outbox_full', receiver.session.clientId, publication.topic);
        return outlet.slow ? Outcome.DONE : Outcome.PRESSED;
      }
    }
    const encoder = this.#encoder;
    const { session } = receiver;
    if (session.quota !== null && !this.#mayLeave(session, session.quota, publication.bytes)) {
      core.drop('delivery_quota', session.clientId, publication.topic);
      return Outcome.DONE;
    }
    if (!encoder.encode(publication, outlet, 0, retain, false, 0, receiver.subscriptionIds)) {
      core.drop('packet_too_large', session.clientId, publication.topic);
      return Outcome.DONE;
    }
    core.outbox.append(outlet, encoder.start, encoder.end);
    this.#countSent(session, publication, 0);
    return this.#isPressed(outlet) ? Outcome.PRESSED : Outcome.DONE;
  }

  /** QoS 1 or 2 of the current publication; `sharedFilter` when it came through a shared group. */
  deliver(
    publication: Publication,
    receiver: Subscription,
    qos: 1 | 2,
    retain: boolean,
    sharedFilter: string | null,
  ): Outcome {
    const session = receiver.session;
    const outlet = session.outlet;
    if (!session.durable && sharedFilter === null) {
      if (outlet === null) return Outcome.DONE;
      if (this.#canSend(session, outlet, publication.bytes)) {
        const inflight = (session.inflight ??= new Inflight());
        const id = inflight.idFor(publication.sequence);
        const ids = receiver.subscriptionIds;
        if (!this.#encoder.encode(publication, outlet, qos, retain, false, id, ids)) {
          this.#core.drop('packet_too_large', session.clientId, publication.topic);
          return Outcome.DONE;
        }
        this.#core.outbox.append(outlet, this.#encoder.start, this.#encoder.end);
        inflight.push(id, publication.sequence, qos, null);
        this.#core.stats.inflightMessages++;
        this.#countSent(session, publication, qos);
        return this.#isPressed(outlet) ? Outcome.PRESSED : Outcome.DONE;
      }
    }
    if (session.ownership !== null && session.durable) {
      return this.#append(session, publication, receiver, qos, retain, sharedFilter);
    }
    if (!this.#bounds.makeRoom(session, publication)) return Outcome.REFUSED;
    const seq = ++session.tailSeq;
    const ids = receiver.subscriptionIds;
    const isSafe = !session.durable;
    const entry = this.#entry(session, seq, publication.message(), qos, retain, ids, isSafe);
    entry.sharedFilter = sharedFilter;
    return this.#enqueue(session, entry, publication);
  }

  /** Into the queue of a session of the datacenter, wherever its client is; it gives the position. */
  #append(
    session: Session,
    publication: Publication,
    receiver: Subscription,
    qos: 1 | 2,
    retain: boolean,
    sharedFilter: string | null,
  ): Outcome {
    const message = publication.message();
    message.unsafeCount++;
    const ids = receiver.subscriptionIds;
    const { identity, fromId } = publication;
    const append = new SharedAppend(message, qos, retain, ids, sharedFilter, identity, fromId);
    append.comesAgain = publication.comesAgain;
    this.#core.bus!.sessions.enqueue(session.number, append);
    return Outcome.DONE;
  }

  /** Into the queue of a shared subscription, for whichever member comes first. */
  deliverToQueue(publication: Publication, queue: Session, qos: 1 | 2, sharedFilter: string): void {
    const message = publication.message();
    message.unsafeCount++;
    const { identity, view, fromId } = publication;
    const { retain } = view;
    const append = new SharedAppend(message, qos, retain, null, sharedFilter, identity, fromId);
    append.isForGroup = true;
    append.comesAgain = publication.comesAgain;
    this.#core.stats.groupQueuedMessages++;
    this.#core.bus!.sessions.enqueue(queue.number, append);
  }

  /** An append was answered: the message is safe there, or could not be stored. */
  appended(message: Message, failed: boolean): void {
    if (failed) message.failed = true;
    this.#safe(message, false);
  }

  /** The queue of a session owned here reaches to `seq`; `append`: what is there, when we know. */
  grown(session: Session, seq: number, append: SharedAppend | null): void {
    this.#window.reaches(session, seq);
    const queue = session.queue ?? new Ring();
    if (append !== null && session.loadedSeq === seq - 1 && hasEntryRoom(session, queue.length)) {
      const { message, qos, retain, subscriptionIds, sharedFilter, sentAs } = append;
      const entry =
        sentAs === null
          ? this.#entry(session, seq, message, qos, retain, subscriptionIds, true)
          : new SentEntry(seq, message, qos, retain, subscriptionIds, sentAs);
      entry.sharedFilter = sharedFilter;
      session.queue = queue;
      queue.push(entry);
      this.#window.loaded(session, entry);
    }
    this.pump(session);
  }

  #entry(
    session: Session,
    seq: number,
    message: Message,
    qos: 1 | 2,
    retain: boolean,
    ids: readonly number[] | null,
    durable: boolean,
  ): QueueEntry {
    if (session.budget === null || !session.budget.isDated) {
      return new QueueEntry(seq, message, qos, retain, ids, durable);
    }
    const nowMs = Math.floor(this.#core.clock.wallMs());
    return new DatedEntry(seq, message, qos, retain, ids, durable, nowMs);
  }

  /** Takes over a shared queue as it stands: lowest position not settled, highest given. */
  adoptQueue(session: Session, headSeq: number, tailSeq: number): void {
    this.#window.adopt(session, headSeq, tailSeq);
  }

  /** Lets go of what memory holds of a shared queue: another node may have it by now. */
  forgetQueue(session: Session): void {
    this.#window.forget(session);
  }

  /** A message that had to wait for those before it from another region; `pump` follows. */
  deliverLate(
    session: Session,
    publication: Publication,
    subscriptionIds: readonly number[] | null,
    qos: 1 | 2,
    retain: boolean,
  ): void {
    if (!this.#bounds.makeRoom(session, publication)) return;
    const seq = ++session.tailSeq;
    const message = publication.message();
    this.#enqueue(session, new QueueEntry(seq, message, qos, retain, subscriptionIds, false), null);
  }

  /** An entry of another region's queue: what is owed is taken whatever the limits say; `pump` follows. */
  takeIn(session: Session, entry: QueueEntry): void {
    session.quota?.queued(entry.message.bytes);
    this.#enqueue(session, entry, null);
  }

  /** Queues an entry that is new to the session; sends it at once when it can. */
  #enqueue(session: Session, entry: QueueEntry, publication: Publication | null): Outcome {
    const core = this.#core;
    const message = entry.message;
    const wasSpilled = session.loadedSeq < entry.seq - 1;
    session.queuedMessages++;
    session.queuedBytes += message.bytes;
    core.stats.queuedMessages++;
    core.stats.queuedBytes += message.bytes;
    if (session.durable) {
      core.store.append(session.number, entry);
      if (!entry.durable) message.unsafeCount++;
    }
    const outlet = session.outlet;
    if (outlet === null) {
      this.#remember(session, entry, wasSpilled);
      return Outcome.DONE;
    }
    if (
      !wasSpilled &&
      publication !== null &&
      mayLeave(session, entry) &&
      !(session.durable && this.#idIsTaken(session, entry.seq)) &&
      this.#canSend(session, outlet, message.bytes)
    ) {
      session.loadedSeq = entry.seq;
      this.#sendEntry(session, outlet, entry, publication);
      return this.#isPressed(outlet) ? Outcome.PRESSED : Outcome.DONE;
    }
    this.#remember(session, entry, wasSpilled);
    // A live session's queue is memory; that of a durable one goes on to the store.
    const isLong = !session.durable && session.queuedMessages >= PRESSED_ENTRIES;
    // What another region or broker is behind is bounded by its budget alone.
    const isHalfFull =
      session.budget === null && session.queuedMessages * 2 >= core.limits.queueMessagesMax;
    const isPressed = isLong || isHalfFull;
    return isPressed && !outlet.slow ? Outcome.PRESSED : Outcome.DONE;
  }

  /** Keeps an entry in memory while the window has room; else the store alone holds it. */
  #remember(session: Session, entry: QueueEntry, wasSpilled: boolean): void {
    // On its way to another region: pages are read from the store.
    if (session.roam !== null && session.roam.leaving !== null) return;
    const queue = (session.queue ??= new Ring());
    if (this.#core.store.keepsQueues && session.durable) {
      if (wasSpilled || !hasRoom(session, queue.length)) return;
    }
    queue.push(entry);
    session.loadedSeq = entry.seq;
  }

  /** Sends what the window and the socket allow. Call after acks, drains, commits and reconnects. */
  pump(session: Session): void {
    const core = this.#core;
    const outlet = session.outlet;
    if (outlet === null) {
      session.feed?.pump();
      return;
    }
    const queue = session.queue;
    if (queue !== null) {
      const isLow = queue.length <= WIDE_READ_AHEAD;
      if (session.budget !== null) this.#bounds.pumpMs = core.clock.wallMs();
      if (isLow && session.spilled && isWide(session)) this.#window.read(session);
      while (queue.length > 0) {
        const entry = queue.at(0)!;
        if (!this.#hasWindow(session, outlet)) {
          // Half empty is enough: those who wait refill it before it runs dry.
          if (queue.length * 2 <= PRESSED_ENTRIES && outlet.pendingBytes === 0) {
            releaseWaiters(outlet);
          }
          return;
        }
        if (session.durable && this.#idIsTaken(session, entry.seq)) return;
        if (!mayLeave(session, entry)) return;
        queue.shift();
        if (entry.state === EntryState.SETTLED) continue;
        if (entry.state !== EntryState.RELEASED) {
          if (this.#bounds.isUndeliverable(session, entry)) continue;
          const { quota } = session;
          if (quota !== null && !this.#mayLeave(session, quota, entry.message.bytes)) {
            queue.unshift(entry);
            return;
          }
        }
        this.#sendEntry(session, outlet, entry, null);
      }
    }
    if (session.spilled) {
      this.#window.read(session);
    } else {
      outlet.slow = false;
      if (outlet.waiters !== null && outlet.pendingBytes === 0) releaseWaiters(outlet);
      if (session.roomWaiter !== null) tellRoom(session);
    }
    // Waiters may have run meanwhile and begun another queue.
    if (queue?.length === 0 && session.queue === queue && core.store.keepsQueues) {
      session.queue = null;
    }
  }

  /** A connection has taken the session: everything unsettled is sent again, in order. */
  resend(session: Session): void {
    this.#window.takeBack(session);
    this.pump(session);
  }

  /** The connection is gone; in-flight entries wait for the next one. */
  detach(session: Session): void {
    this.#window.takeBack(session);
  }

  /** Another queue has the entry by now, the session's connection of that epoch is gone. */
  settleMoved(session: Session, entry: QueueEntry, epoch: number): void {
    // A later owner may have sent it already; then both deliver it.
    if (session.ownership?.epoch !== epoch || !session.durable) return;
    // Memory has forgotten the queue, and no longer counts it.
    this.#core.store.settle(session.number, entry);
  }

  /**
   * Nothing more is owed for the entry. `inFanout`: the publisher who waits must not go on from inside somebody
   * else's fan-out.
   */
  settle(session: Session, entry: QueueEntry, inFanout: boolean = false): void {
    if (entry.state === EntryState.SETTLED) return;
    entry.state = EntryState.SETTLED;
    const core = this.#core;
    const message = entry.message;
    session.queuedMessages--;
    session.queuedBytes -= message.bytes;
    core.stats.queuedMessages--;
    core.stats.queuedBytes -= message.bytes;
    // The queues of a datacenter are bounded where they are.
    if (session.ownership === null) session.quota?.queued(-message.bytes);
    if (!session.durable) return;
    session.roam?.settled(entry.seq);
    core.store.settle(session.number, entry);
    if (!entry.durable) {
      core.stats.acksElided++;
      this.#safe(message, inFanout);
    }
  }

  /** The same of what is in flight without its entry. */
  settleStored(session: Session, seq: number, messageBytes: number): void {
    const { stats, store } = this.#core;
    session.queuedMessages--;
    session.queuedBytes -= messageBytes;
    stats.queuedMessages--;
    stats.queuedBytes -= messageBytes;
    session.quota?.queued(-messageBytes);
    store.settleStored(session.number, seq, messageBytes);
  }

  /** The store says that a crash cannot lose the entry any more, or that it could not keep it. */
  stored(entry: QueueEntry, sessionNumber: number, failed: boolean): void {
    if (entry.state === EntryState.SETTLED) return;
    if (failed) entry.message.failed = true;
    this.#safe(entry.message, false);
    const session = this.#core.sessionsByNumber.get(sessionNumber);
    if (session === undefined) return;
    if (failed) {
      // The store has nothing more to say about it.
      entry.durable = true;
      this.#core.drop('store_failed', session.clientId, entry.message.topic);
      // A QoS 2 entry that was never sent must not be: its publisher will send it again.
      if (entry.state === EntryState.QUEUED) this.settle(session, entry);
    } else if (session.outlet !== null && (entry.qos === 2 || session.link !== null)) {
      if (session === this.#grown) return;
      this.committed();
      this.#grown = session;
    }
  }

  /** The store has told of all entries of a commit: those of one session leave one behind the other. */
  committed(): void {
    const session = this.#grown;
    this.#grown = null;
    if (session !== null) this.pump(session);
  }

  #safe(message: Message, isLater: boolean): void {
    if (--message.unsafeCount > 0 || message.waiter === null) return;
    if (!isLater) {
      message.waiter.messageSafe();
      return;
    }
    this.#toldLater.add(message.waiter);
    if (this.#toldLater.size > 1) return;
    this.#core.scheduler.endOfTurn(() => {
      const waiters = [...this.#toldLater];
      this.#toldLater.clear();
      for (const waiter of waiters) waiter.messageSafe();
    });
  }

  /** Drops everything of an ending session, or hands QoS 1 of shared groups to other members. */
  discardQueue(session: Session): void {
    this.#window.takeBack(session);
    const queue = session.queue;
    const why = session.link === null ? 'session_expired' : 'link_budget';
    if (queue !== null) {
      while (queue.length > 0) {
        const entry = queue.shift()!;
        if (entry.state !== EntryState.SETTLED) {
          this.#core.drop(why, session.clientId, entry.message.topic);
          if (session.link !== null) session.link.dropped++;
          this.settle(session, entry);
        }
      }
    }
    if (session.link !== null) {
      session.link.dropped += session.queuedMessages;
      this.#core.countDropped(why, session.queuedMessages);
    }
    // What only the store holds goes with the session's record.
    this.#core.stats.queuedMessages -= session.queuedMessages;
    this.#core.stats.queuedBytes -= session.queuedBytes;
    session.quota?.queued(-session.queuedBytes);
    session.queuedMessages = 0;
    session.queuedBytes = 0;
  }

  /** Sends an entry's PUBLISH, or its PUBREL when PUBREC had come before. */
  #sendEntry(
    session: Session,
    outlet: Outlet,
    entry: QueueEntry,
    current: Publication | null,
  ): void {
    const core = this.#core;
    const inflight = (session.inflight ??= new Inflight());
    // Ids follow from a rising number; that of a message which waited (a replay, a will) lags behind.
    const sequence = session.durable ? entry.seq : (current?.sequence ?? core.nextSequence++);
    const id = session.durable ? idOf(session, entry.seq) : inflight.idFor(sequence);
    if (entry.state === EntryState.RELEASED) {
      const start = core.outbox.reserve(4);
      core.outbox.position = writeAck(core.outbox.chunk, start, PacketType.PUBREL, id);
      core.outbox.append(outlet, start, core.outbox.position);
      core.stats.packetsSent[PacketType.PUBREL]!++;
      inflight.push(id, sequence, InflightState.AWAITS_PUBCOMP, entry);
      core.stats.inflightMessages++;
      return;
    }
    let publication = current;
    if (publication === null) {
      publication = this.#queued;
      publication.setMessage(entry.message, entry.message.sequence);
      publication.expiryS = this.#remainingS(entry);
      this.#encoder.begin();
    }
    const fits = this.#encoder.encode(
      publication,
      outlet,
      entry.qos,
      entry.retain,
      entry.sentBefore || (session.ownership !== null && mayRepeat(session.ownership, entry)),
      id,
      entry.subscriptionIds,
    );
    if (!fits) {
      core.drop('packet_too_large', session.clientId, entry.message.topic);
      this.settle(session, entry);
      return;
    }
    core.outbox.append(outlet, this.#encoder.start, this.#encoder.end);
    entry.state = EntryState.SENT;
    entry.sentBefore = true;
    this.#window.sent(session, inflight, id, sequence, entry);
    core.stats.inflightMessages++;
    this.#countSent(session, publication, entry.qos);
  }

  #remainingS(entry: QueueEntry): number {
    const expiresAtMs = entry.message.expiresAtMs;
    if (expiresAtMs === 0) return -1;
    // [MQTT5-3.3.2-6]
    return Math.max(1, Math.ceil((expiresAtMs - this.#core.clock.wallMs()) / 1000));
  }

  #canSend(session: Session, outlet: Outlet, bytes: number): boolean {
    if (session.queue !== null && session.queue.length > 0) return false;
    if (!this.#hasWindow(session, outlet)) return false;
    return session.quota === null || this.#mayLeave(session, session.quota, bytes);
  }

  /** Room in the quota of delivered bytes; when there is again, the queue goes on. */
  #mayLeave(session: Session, quota: SessionQuota, bytes: number): boolean {
    if (!quota.metersDelivery) return true;
    session.deliveryWaiter ??= { resume: () => this.pump(session) };
    return quota.deliver(bytes, session.deliveryWaiter);
  }

  #hasWindow(session: Session, outlet: Outlet): boolean {
    if (session.budget?.isHeld === true) return false;
    if (outlet.pendingBytes * 2 >= this.#core.limits.outboxBytesMax) return false;
    return session.inflight === null || session.inflight.open < session.inflightMax;
  }

  /** An entry with this packet id waits in the queue or in the store, perhaps to be sent again. */
  awaitsTurn(session: Session, packetId: number): boolean {
    if (!session.durable) return false;
    const first = session.queue?.at(0)?.seq ?? session.loadedSeq + 1;
    const { roam, tailSeq } = session;
    if (roam !== null) {
      // What only Redis has may have any identifier.
      const isUnknown = session.ownership !== null && session.spilled;
      return isUnknown || roam.awaitsTurn(packetId, first, tailSeq);
    }
    const steps = (packetId - 1 - (first % PACKET_IDS) + PACKET_IDS) % PACKET_IDS;
    return steps <= session.tailSeq - first;
  }

  /** The id an entry must have is still open: one full round of ids behind. */
  #idIsTaken(session: Session, seq: number): boolean {
    const inflight = session.inflight;
    if (inflight === null || inflight.span === 0) return false;
    const { roam } = session;
    if (roam === null) return seq - inflight.oldestSequence >= PACKET_IDS;
    if (seq - inflight.oldestSequence >= SHARE_IDS) return true;
    return roam.hasForeignIds && inflight.find(roam.idOf(seq)) !== -1;
  }

  #isPressed(outlet: Outlet): boolean {
    return outlet.pendingBytes * 2 >= this.#core.limits.outboxBytesMax && !outlet.slow;
  }

  /** Reads on in a queue that nobody is connected to; its feed is told. */
  fetch(session: Session): void {
    if (session.spilled) this.#window.read(session);
  }

  #countSent(session: Session, publication: Publication, qos: number): void {
    const { stats, observer } = this.#core;
    const bytes = publication.view.payloadEnd - publication.view.payloadStart;
    stats.publishSent[qos]!++;
    stats.packetsSent[PacketType.PUBLISH]!++;
    stats.publishBytesSent += bytes;
    if (observer !== null) observer.delivered(session.clientId, publication.topic, qos, bytes);
  }
}

/** A session that goes from region to region gives each home identifiers of its own. */
function idOf({ roam }: Session, seq: number): number {
  return roam === null ? (seq % PACKET_IDS) + 1 : roam.idOf(seq);
}

/** Another node may have sent it before. */
function mayRepeat(ownership: Ownership, entry: QueueEntry): boolean {
  return entry.seq <= ownership.maybeSentSeq;
}

/** Its queue is empty: a shared subscription may give it more. */
function tellRoom(session: Session): void {
  const waiter = session.roomWaiter;
  session.roomWaiter = null;
  waiter?.pump();
}
