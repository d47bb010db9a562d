/**
 * The retained messages of a region with a Cassandra: each change goes into this node's mirror (another
 * store) and, when it was made here, into the table; its ticket is settled when both have it. When
 * Cassandra does not answer, mirror and other nodes are enough, if there are any (docs/adr/0021). All
 * else is the mirror's. Made by app/.
 */
import type { Message } from '../../core/message.ts';
import type {
  Clock,
  Log,
  Random,
  RestoreVisitor,
  Scheduler,
  SessionRecord,
  Store,
  StoreEvents,
  Ticket,
} from '../../core/ports.ts';
import type { QueueEntry } from '../../core/queue-entry.ts';
import {
  CLEARED,
  isAbove,
  type RetainedVerdict,
  type RetainedVersion,
} from '../../core/retained-version.ts';
import type { HybridClock } from '../../util/hybrid-clock.ts';
import { Ring } from '../../util/ring.ts';
import { TicketLine } from '../redis/ticket-line.ts';
import type { CassandraCounters } from './cassandra-counters.ts';
import { RecentClears } from './recent-clears.ts';
import { type Awaiting, RetainedLane } from './retained-lane.ts';
import type { RetainedTable } from './retained-table.ts';

/** A store that marks what `confirmRetained` has not been called for. */
export interface MirrorStore extends Store {
  confirmRetained(topic: string): void;
}

export interface CassandraRetainedParts {
  readonly mirror: MirrorStore;
  readonly table: RetainedTable;
  readonly clock: Clock;
  readonly random: Random;
  readonly scheduler: Scheduler;
  readonly log: Log;
  readonly counters: CassandraCounters;
  readonly inFlightMax: number;
  readonly tombstoneS: number;
  /** Of a node without others, which stamps changes itself; null: they come with versions. */
  readonly stamps: Stamps | null;
  readonly keepers: Keepers;
}

/** Whose mirrors are enough while Cassandra does not answer. */
export interface Keepers {
  /** This node's own, when there is no other node. */
  readonly isLocalEnough: boolean;
  /**
   * Asks the other nodes for what they were told so far: `done(true)`, later, when one has it on its
   * disk; false: none is left. At once false: there is none to ask.
   */
  ask(done: (isKept: boolean) => void): boolean;
}

export interface Stamps {
  readonly hybridClock: HybridClock;
  /** 32 bits that name this node. */
  readonly writer: number;
}

/** An ack waits so long for Cassandra before mirrors are enough. */
const KEPT_AFTER_MS = 250;
const TICK_MS = 50;

/** One change whose ticket is not settled. */
class Change implements Awaiting {
  readonly ticket: Ticket;
  /** Of the mirror. */
  readonly inner: Ticket;
  readonly atMs: number;
  isOnDisk = false;
  isConfirmed = false;
  isSettled = false;
  readonly #store: CassandraRetained;

  constructor(store: CassandraRetained, ticket: Ticket, inner: Ticket, atMs: number) {
    this.#store = store;
    this.ticket = ticket;
    this.inner = inner;
    this.atMs = atMs;
    this.isOnDisk = inner === 0;
  }

  confirmed(error: Error | null): void {
    this.isConfirmed = true;
    this.#store.settleIfDone(this, error);
  }
}

export class CassandraRetained implements Store {
  readonly keepsQueues: boolean;
  readonly tellsRetained: boolean = true;
  readonly lane: RetainedLane;
  /** Links tell other regions of it. */
  lastClear: RetainedVersion | null = null;
  readonly #parts: CassandraRetainedParts;
  readonly #line: TicketLine;
  /** In the order of their tickets: not on the mirror's disk; not settled. */
  readonly #toDisk: Ring<Change> = new Ring();
  readonly #open: Ring<Change> = new Ring();
  /**
   * Of a node alone: versions ahead of what its clock may see, found when the clock was set back. What
   * replaces them must stand above them all the same.
   */
  readonly #ahead: Map<string, number> = new Map();
  /** The mirror's: of the last change, and up to which all are on its disk. */
  #lastInner: Ticket = 0;
  #diskInner: Ticket = 0;
  /** Who asked for the mirror's disk, with the ticket that was the last one then. */
  #syncing: { readonly inner: Ticket; readonly done: () => void }[] = [];
  #isAsking = false;
  /** Of a node alone. */
  readonly #cleared: RecentClears;
  #events: StoreEvents | null = null;
  #stopTick: (() => void) | null = null;

  constructor(parts: CassandraRetainedParts) {
    this.#parts = parts;
    this.keepsQueues = parts.mirror.keepsQueues;
    this.#line = new TicketLine(parts.scheduler, (ticket, error) =>
      this.#events?.retainedCommitted?.(ticket, error),
    );
    this.#cleared = new RecentClears((topic) => parts.mirror.forgetTombstone(topic));
    this.lane = new RetainedLane({
      ...parts,
      confirmed: (topic, tombstone, version) => {
        const { mirror, stamps, clock } = parts;
        mirror.confirmRetained(topic);
        if (tombstone === 'over') mirror.forgetTombstone(topic);
        // Nobody asks a node alone what it has cleared; but Cassandra may lose it yet.
        else if (tombstone === 'needed' && stamps !== null) {
          this.#cleared.add(topic, version, clock.wallMs());
        }
      },
    });
  }

  get writable(): boolean {
    return this.#parts.mirror.writable;
  }

  /** Changes that wait for Cassandra alone are acknowledged without it, or held. */
  get isDegraded(): boolean {
    return this.lane.isPaused || !this.#parts.table.isUp;
  }

  async start(events: StoreEvents, restore: RestoreVisitor): Promise<void> {
    const { mirror, scheduler, clock, stamps } = this.#parts;
    this.#events = events;
    const unconfirmed = new Set<string>();
    const unversioned: Message[] = [];
    const owed: { topic: string; message: Message | null; version: RetainedVersion }[] = [];
    const found = (topic: string, message: Message | null, version: RetainedVersion): void => {
      this.#observe(topic, version);
      if (unconfirmed.delete(topic)) owed.push({ topic, message, version });
    };
    await mirror.start(
      {
        entryDurable: (entry, sessionNumber) => events.entryDurable(entry, sessionNumber),
        entryFailed: (entry, sessionNumber) => events.entryFailed(entry, sessionNumber),
        committed: (ticket, error) => {
          this.#onDisk(ticket, error);
          events.committed(ticket, error);
        },
      },
      {
        session: (session) => restore.session(session),
        retained: (message) => {
          if (message.version === null) {
            unversioned.push(message);
            return;
          }
          found(message.topic, message, message.version);
          restore.retained(message);
        },
        tombstone: (topic, version) => {
          const isOwed = unconfirmed.has(topic);
          found(topic, null, version);
          if (stamps === null) restore.tombstone?.(topic, version);
          else if (!isOwed) this.#cleared.add(topic, version, clock.wallMs());
        },
        unconfirmed: (topic) => unconfirmed.add(topic),
      },
    );
    // Of a time when this node was alone: older than all that has a version, and in no table yet.
    const nowMs = clock.wallMs();
    for (const message of unversioned) {
      const { topic, expiresAtMs } = message;
      unconfirmed.delete(topic);
      if (expiresAtMs !== 0 && expiresAtMs <= nowMs) {
        restore.retained(message);
        continue;
      }
      const version = oldVersionOf(message);
      message.version = version;
      restore.retained(message);
      mirror.putRetained(message);
      owed.push({ topic, message, version });
    }
    // A mark without anything: its record was damaged, or it is from a release that left it behind.
    for (const topic of unconfirmed) mirror.confirmRetained(topic);
    for (const { topic, message, version } of owed)
      this.lane.put(topic, message, version, null, true);
    this.#stopTick = scheduler.every(TICK_MS, () => this.#tick());
  }

  async stop(): Promise<void> {
    this.#stopTick?.();
    this.lane.stop();
    await this.#parts.mirror.stop();
  }

  // ------------------------------------------------------------------ retained

  putRetained(message: Message): Ticket {
    const { mirror, stamps } = this.#parts;
    const { topic, qos } = message;
    this.#cleared.replaced(topic);
    if (stamps !== null) message.version = this.#stamp(stamps, topic, 0);
    const inner = this.#changedMirror(mirror.putRetained(message));
    if (qos > 0) return this.#changed(topic, message, message.version!, inner);
    // Nobody waits for it, however long Cassandra is away.
    this.lane.put(topic, message, message.version!, null);
    return 0;
  }

  removeRetained(topic: string, given: RetainedVersion | null, isAwaited: boolean = true): Ticket {
    const { mirror, stamps } = this.#parts;
    const version = stamps === null ? given! : this.#stamp(stamps, topic, CLEARED);
    this.lastClear = version;
    this.#cleared.replaced(topic);
    const inner = this.#changedMirror(mirror.removeRetained(topic, version));
    if (isAwaited) return this.#changed(topic, null, version, inner);
    this.lane.put(topic, null, version, null);
    return 0;
  }

  #changed(
    topic: string,
    message: Message | null,
    version: RetainedVersion,
    inner: Ticket,
  ): Ticket {
    const ticket = this.#line.take();
    const change = new Change(this, ticket, inner, this.#parts.clock.monotonicMs());
    if (!change.isOnDisk) this.#toDisk.push(change);
    this.#open.push(change);
    this.lane.put(topic, message, version, change);
    return ticket;
  }

  mirrorRetained(topic: string, message: Message | null, given: RetainedVersion | null): Ticket {
    const { mirror, stamps } = this.#parts;
    const { lane } = this;
    let version = given;
    if (message === null && stamps !== null) {
      // Cassandra knows what a node alone has cleared. But what waits to be written has replaced something
      // there, which must not come back: its tombstone is written at the next start if it is not before.
      version = lane.versionOf(topic);
    }
    if (given !== null) this.#observe(topic, given);
    this.#cleared.replaced(topic);
    lane.mirrored(topic, message === null ? 'needed' : 'none');
    this.#changedMirror(mirror.mirrorRetained(topic, message, version));
    return 0;
  }

  forgetTombstone(topic: string): void {
    // Still to be written: it is needed here until it is.
    if (!this.lane.over(topic)) this.#parts.mirror.forgetTombstone(topic);
  }

  /** Of a node alone: what it has cleared lately; null: nothing, or long ago. */
  clearedAt(topic: string): RetainedVersion | null {
    return this.#cleared.versionOf(topic);
  }

  /** Of a node alone, where nobody else does. */
  judgeRetained(topic: string, version: RetainedVersion): RetainedVerdict {
    const { stamps } = this.#parts;
    if (stamps?.hybridClock.observe(version.timeUs) === 'clock_skew') return 'clock_skew';
    const waiting = this.lane.versionOf(topic);
    const cleared = this.clearedAt(topic);
    const isOver = (known: RetainedVersion | null): boolean =>
      known !== null && !isAbove(version, known);
    return isOver(waiting) || isOver(cleared) ? 'older' : 'taken';
  }

  /** This node has ended a whole round that began then. */
  roundEnded(beganMs: number): void {
    this.#cleared.roundEnded(beganMs);
  }

  #changedMirror(inner: Ticket): Ticket {
    this.#lastInner = Math.max(this.#lastInner, inner);
    return inner;
  }

  #onDisk(inner: Ticket, error: Error | null): void {
    if (error === null) this.#diskInner = inner;
    // What has failed is in the next commit again.
    else this.#lastInner = Math.max(this.#lastInner, inner + 1);
    if (this.#syncing.length > 0) {
      const over = this.#syncing.filter((one) => one.inner <= inner);
      this.#syncing = this.#syncing.filter((one) => one.inner > inner);
      if (error === null) for (const { done } of over) done();
    }
    for (let first = this.#toDisk.at(0); first !== undefined; first = this.#toDisk.at(0)) {
      if (first.inner > inner) return;
      this.#toDisk.shift();
      first.isOnDisk = true;
      if (error === null) this.settleIfDone(first, null);
      else this.#settle(first, error);
    }
  }

  settleIfDone(change: Change, error: Error | null): void {
    if (error !== null || (change.isOnDisk && change.isConfirmed)) this.#settle(change, error);
  }

  #settle(change: Change, error: Error | null): void {
    if (change.isSettled) return;
    change.isSettled = true;
    this.#line.settle(change.ticket, error);
    while (this.#open.at(0)?.isSettled === true) this.#open.shift();
  }

  #tick(): void {
    const { clock, keepers } = this.#parts;
    this.lane.pump();
    const untilMs = clock.monotonicMs() - KEPT_AFTER_MS;
    const oldest = this.#open.at(0);
    if (oldest === undefined || oldest.atMs > untilMs || this.#isAsking) return;
    let last = oldest;
    for (let i = 1; i < this.#open.length; i++) {
      const change = this.#open.at(i)!;
      if (change.atMs > untilMs) break;
      last = change;
    }
    this.#isAsking = keepers.ask((isKept) => {
      this.#isAsking = false;
      if (isKept) this.#keep(last.ticket);
    });
    if (!this.#isAsking && keepers.isLocalEnough) this.#keep(last.ticket);
  }

  /** Without Cassandra: up to that one all are with whoever keeps them. */
  #keep(lastTicket: Ticket): void {
    const { length } = this.#open;
    for (let i = 0; i < length; i++) {
      const change = this.#open.at(i)!;
      if (change.ticket > lastTicket || !change.isOnDisk) break;
      if (change.isSettled) continue;
      this.#parts.counters.kept++;
      change.isSettled = true;
      this.#line.settle(change.ticket, null);
    }
    while (this.#open.at(0)?.isSettled === true) this.#open.shift();
  }

  /** Told when everything that was changed or mirrored so far is on this node's disk; never, if it fails. */
  synced(done: () => void): void {
    if (this.#diskInner >= this.#lastInner) done();
    else this.#syncing.push({ inner: this.#lastInner, done });
  }

  // ------------------------------------------------------------------ versions of a node alone

  #observe(topic: string, { timeUs }: RetainedVersion): void {
    const { stamps } = this.#parts;
    if (stamps === null || stamps.hybridClock.observe(timeUs) === 'observed') return;
    this.#ahead.set(topic, Math.max(timeUs, this.#ahead.get(topic) ?? 0));
  }

  /** Above what it replaces. */
  #stamp({ hybridClock, writer }: Stamps, topic: string, cleared: number): RetainedVersion {
    const timeUs = hybridClock.nextUs();
    const aheadUs = this.#ahead.size === 0 ? undefined : this.#ahead.get(topic);
    if (aheadUs === undefined || aheadUs < timeUs) return { timeUs, writer: writer + cleared };
    this.#ahead.set(topic, aheadUs + 1);
    return { timeUs: aheadUs + 1, writer: writer + cleared };
  }

  // ------------------------------------------------------------------ sessions: the mirror's

  saveSession(record: SessionRecord): Ticket {
    return this.#parts.mirror.saveSession(record);
  }

  deleteSession(sessionNumber: number): Ticket {
    return this.#parts.mirror.deleteSession(sessionNumber);
  }

  append(sessionNumber: number, entry: QueueEntry): Ticket {
    return this.#parts.mirror.append(sessionNumber, entry);
  }

  settle(sessionNumber: number, entry: QueueEntry): void {
    this.#parts.mirror.settle(sessionNumber, entry);
  }

  settleStored(sessionNumber: number, seq: number, messageBytes: number): void {
    this.#parts.mirror.settleStored(sessionNumber, seq, messageBytes);
  }

  release(sessionNumber: number, entry: QueueEntry): Ticket {
    return this.#parts.mirror.release(sessionNumber, entry);
  }

  read(
    sessionNumber: number,
    fromSeq: number,
    messagesMax: number,
    bytesMax: number,
    done: (entries: QueueEntry[], error: Error | null) => void,
  ): void {
    this.#parts.mirror.read(sessionNumber, fromSeq, messagesMax, bytesMax, done);
  }

  addInboundId(sessionNumber: number, packetId: number): Ticket {
    return this.#parts.mirror.addInboundId(sessionNumber, packetId);
  }

  removeInboundId(sessionNumber: number, packetId: number): Ticket {
    return this.#parts.mirror.removeInboundId(sessionNumber, packetId);
  }
}

/**
 * Of a message from a time without versions: below all that has one, and another for another message, so
 * that nodes and regions that have different ones of a topic agree on one.
 */
function oldVersionOf({ payload, properties, qos }: Message): RetainedVersion {
  let hash = 0x811c9dc5 ^ qos;
  for (const bytes of [properties, payload]) {
    for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  }
  return { timeUs: 1 + (hash >>> 2), writer: 0 };
}
