/**
 * Appends of this node that wait for Redis: written to the disk here, sent to one peer, and told to be kept
 * when both have synced them (docs/adr/0017). What Redis has answered goes again, here and there. Whoever
 * appends keeps them in its lanes all the while; this holds them once more for the next peer.
 */
import type { Incarnation } from '../../core/incarnation.ts';
import type { Clock, Log } from '../../core/ports.ts';
import { Ring } from '../../util/ring.ts';
import type { CommitLine } from './commit-line.ts';
import type { JournalCounters } from './journal-counters.ts';
import { JournalEntry } from './journal-entry.ts';
import { ownKey } from './journal-keys.ts';
import type { JournalCourier, JournalRow } from './journal-ports.ts';
import { encodeRecord, type JournalRecord } from './journal-record.ts';

export interface OwnJournalParts {
  readonly line: CommitLine;
  readonly courier: JournalCourier;
  readonly clock: Clock;
  readonly log: Log;
  readonly counters: JournalCounters;
  readonly bounds: () => JournalBounds;
  /** Without any peer the disk of this node is enough. */
  readonly isLocalEnough: boolean;
  /** Calls `task` at the end of this turn. */
  readonly endOfTurn: (task: () => void) => void;
}

export interface JournalBounds {
  readonly messagesMax: number;
  readonly bytesMax: number;
}

/** Of one synced write. */
const WRITE_ROWS_MAX = 1024;
const WRITE_BYTES_MAX = 1024 * 1024;
/** On the way to the peer and not answered yet. */
const WINDOW_BYTES = 8 * 1024 * 1024;
/** A peer that says nothing for so long is left for another, when there is one. */
const PEER_PATIENCE_MS = 1000;
/** A peer that could not store is not asked for so long, longer each time; a disk that failed is not tried. */
const RETRY_MS = 1000;
const UNABLE_MS_MAX = 30_000;
const TELL_MS = 1000;

export class OwnJournal {
  messages = 0;
  bytes = 0;
  /** Why the disk takes nothing; '': it does. */
  problem = '';
  readonly #parts: OwnJournalParts;
  /** From number `#first` on; answered ones go from the front. */
  readonly #entries: Ring<JournalEntry> = new Ring();
  #first = 1;
  /** All from here on are this life's. */
  #base = 1;
  #isScheduled = false;
  #isWriting = false;
  #retryMs = Number.NEGATIVE_INFINITY;
  #synced = 0;
  /** The peer that has, or gets, all that is not answered; null: nobody. */
  #peer: Incarnation | null = null;
  #sent = 0;
  #copied = 0;
  readonly #onTheWay: Ring<{ readonly number: number; readonly bytes: number }> = new Ring();
  #onTheWayBytes = 0;
  #progressMs = 0;
  /** Until when (monotonic ms). */
  readonly #unable: Map<Incarnation, number> = new Map();
  #unableMs = RETRY_MS;
  #kept = 0;
  /** The peer has put all up to here into the queues itself. */
  #queuedByPeer = 0;
  #toldTo = 0;
  #toldMs = Number.NEGATIVE_INFINITY;

  constructor(parts: OwnJournalParts) {
    this.#parts = parts;
  }

  /** What an earlier life has left on the disk ends before this number. */
  begin(firstNumber: number): void {
    this.#base = firstNumber;
    this.#first = firstNumber;
    const last = firstNumber - 1;
    this.#synced = last;
    this.#sent = last;
    this.#copied = last;
    this.#kept = last;
    this.#queuedByPeer = last;
    this.#toldTo = last;
  }

  get peer(): Incarnation | null {
    return this.#peer;
  }

  get hasRoom(): boolean {
    const { messagesMax, bytesMax } = this.#parts.bounds();
    return this.messages < messagesMax && this.bytes < bytesMax;
  }

  get #last(): number {
    return this.#first + this.#entries.length - 1;
  }

  #at(number: number): JournalEntry | undefined {
    return number < this.#first ? undefined : this.#entries.at(number - this.#first);
  }

  // ------------------------------------------------------------------ taking, keeping

  keep(record: JournalRecord, kept: () => void, queued: () => void): JournalEntry | null {
    if (!this.hasRoom) {
      this.#parts.counters.full++;
      return null;
    }
    const entry = new JournalEntry(this.#last + 1, record, kept, queued);
    this.#entries.push(entry);
    this.messages++;
    this.bytes += entry.bytes;
    this.#schedule();
    return entry;
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#parts.endOfTurn(() => {
      this.#isScheduled = false;
      this.#write();
      this.#stream();
    });
  }

  #write(): void {
    const { line, clock } = this.#parts;
    if (this.#isWriting || clock.monotonicMs() < this.#retryMs) return;
    const rows: JournalRow[] = [];
    let bytes = 0;
    let to = Math.max(this.#synced, this.#first - 1);
    while (to < this.#last && rows.length < WRITE_ROWS_MAX && bytes < WRITE_BYTES_MAX) {
      const { record } = this.#at(++to)!;
      if (record === null) continue;
      const value = encodeRecord(record);
      rows.push({ key: ownKey(to), value });
      bytes += value.length;
    }
    if (rows.length === 0) {
      this.#synced = to;
      return;
    }
    this.#isWriting = true;
    line.commit(rows, (error) => {
      this.#isWriting = false;
      if (error !== null) {
        this.#failed(error);
        return;
      }
      this.problem = '';
      this.#synced = Math.max(this.#synced, to);
      this.#write();
      this.#tellKept();
    });
  }

  #failed(error: Error): void {
    const { clock, log } = this.#parts;
    this.#retryMs = clock.monotonicMs() + RETRY_MS;
    if (this.problem === '') {
      log.error({ err: error }, 'the journal cannot be written: acknowledgements wait for Redis');
    }
    this.problem = error.message;
  }

  #tellKept(): void {
    const { courier, isLocalEnough, counters } = this.#parts;
    let to = 0;
    if (this.#peer !== null) to = this.#copied;
    else if (isLocalEnough && courier.peers().length === 0) to = this.#synced;
    to = Math.min(to, this.#synced, this.#last);
    while (this.#kept < to) {
      const entry = this.#at(++this.#kept);
      const kept = entry?.kept ?? null;
      if (kept === null) continue;
      entry!.kept = null;
      counters.journaled++;
      kept();
      if (this.#kept <= this.#queuedByPeer) tellQueued(entry!);
    }
  }

  // ------------------------------------------------------------------ answered

  answered(entry: JournalEntry): void {
    if (entry.record === null) return;
    entry.record = null;
    entry.kept = null;
    entry.queued = null;
    this.messages--;
    this.bytes -= entry.bytes;
    while (this.#entries.at(0)?.record === null) {
      this.#entries.shift();
      this.#first++;
    }
    // With the next one a stream begins, perhaps to somebody else.
    if (this.messages === 0) this.#schedule();
  }

  // ------------------------------------------------------------------ the peer

  #stream(): void {
    const { clock } = this.#parts;
    if (this.messages === 0) {
      this.#unableMs = RETRY_MS;
      this.#leavePeer();
      return;
    }
    if (this.#peer === null) this.#choose(clock.monotonicMs());
    if (this.#peer === null) {
      this.#tellKept();
      return;
    }
    this.#send(this.#peer);
  }

  #choose(nowMs: number): void {
    for (const [peer, untilMs] of this.#unable) if (untilMs <= nowMs) this.#unable.delete(peer);
    const able = this.#parts.courier.peers().filter((peer) => !this.#unable.has(peer));
    const peer = able[0];
    if (peer === undefined) return;
    this.#peer = peer;
    this.#begin(nowMs);
  }

  /** From the first that is not answered, whatever the peer may have. */
  #begin(nowMs: number): void {
    this.#sent = 0;
    this.#copied = 0;
    while (this.#onTheWay.length > 0) this.#onTheWay.shift();
    this.#onTheWayBytes = 0;
    this.#progressMs = nowMs;
  }

  #leavePeer(): void {
    this.#peer = null;
    this.#begin(0);
  }

  #send(peer: Incarnation): void {
    const { courier, clock } = this.#parts;
    if (this.#onTheWay.length === 0) this.#progressMs = clock.monotonicMs();
    let next = Math.max(this.#sent + 1, this.#first);
    while (next <= this.#last && this.#onTheWayBytes < WINDOW_BYTES) {
      const { record, bytes } = this.#at(next)!;
      if (record !== null) {
        courier.entry(peer, this.#sent, next, encodeRecord(record));
        this.#onTheWay.push({ number: next, bytes });
        this.#onTheWayBytes += bytes;
        this.#sent = next;
      }
      next++;
    }
  }

  stored(from: Incarnation, position: number): void {
    if (from !== this.#peer) return;
    this.#copied = Math.max(this.#copied, Math.min(position, this.#sent));
    this.#progressMs = this.#parts.clock.monotonicMs();
    for (;;) {
      const first = this.#onTheWay.at(0);
      if (first === undefined || first.number > position) break;
      this.#onTheWay.shift();
      this.#onTheWayBytes -= first.bytes;
    }
    this.#tellKept();
    this.#schedule();
  }

  queuedBy(from: Incarnation, position: number): void {
    if (from !== this.#peer) return;
    const to = Math.min(position, this.#sent, this.#last);
    let next = Math.max(this.#queuedByPeer + 1, this.#first);
    this.#queuedByPeer = Math.max(this.#queuedByPeer, to);
    while (next <= to) {
      const entry = this.#at(next++);
      // What is not kept yet is told so then.
      if (entry !== undefined && entry.kept === null) tellQueued(entry);
    }
  }

  unable(from: Incarnation): void {
    if (from !== this.#peer) return;
    this.#unable.set(from, this.#parts.clock.monotonicMs() + this.#unableMs);
    // It would get all again.
    this.#unableMs = Math.min(this.#unableMs * 2, UNABLE_MS_MAX);
    this.#leavePeer();
    this.#schedule();
  }

  memberGone(peer: Incarnation): void {
    this.#unable.delete(peer);
    if (peer !== this.#peer) return;
    this.#leavePeer();
    this.#schedule();
  }

  /** A link session begins: what was sent before may be lost. */
  linked(peer: Incarnation): void {
    const floor = this.#floor;
    if (floor >= this.#base) this.#parts.courier.done(peer, floor, 'replayed');
    if (peer === this.#peer) this.#begin(this.#parts.clock.monotonicMs());
    if (this.messages > 0) this.#schedule();
  }

  /** This incarnation is dead: copies are kept for it, not for the next one. */
  lost(): void {
    this.#leavePeer();
    this.#unable.clear();
    this.#toldTo = 0;
  }

  // ------------------------------------------------------------------ time

  tick(nowMs: number): void {
    if (this.#peer !== null && this.messages > 0) {
      const isSilent = this.#onTheWay.length > 0 && nowMs - this.#progressMs > PEER_PATIENCE_MS;
      if (isSilent) this.#turnAway(nowMs);
    }
    if (this.messages > 0) this.#schedule();
    this.#tellFloor(nowMs);
  }

  /** To another one; the same again when it is the only one. */
  #turnAway(nowMs: number): void {
    const peers = this.#parts.courier.peers();
    const at = peers.indexOf(this.#peer!);
    const next = peers[(at + 1) % Math.max(1, peers.length)];
    if (next === undefined) {
      this.#leavePeer();
      return;
    }
    this.#peer = next;
    this.#begin(nowMs);
  }

  /** All up to here is answered. */
  get #floor(): number {
    return this.#first - 1;
  }

  #tellFloor(nowMs: number): void {
    const floor = this.#floor;
    if (floor <= this.#toldTo || floor < this.#base) return;
    if (this.messages > 0 && nowMs - this.#toldMs < TELL_MS) return;
    this.#toldMs = nowMs;
    this.#toldTo = floor;
    const { courier, line } = this.#parts;
    line.remove(ownKey(this.#base), ownKey(floor));
    for (const peer of courier.peers()) courier.done(peer, floor, 'replayed');
  }
}

function tellQueued(entry: JournalEntry): void {
  const { queued } = entry;
  entry.queued = null;
  queued?.();
}
