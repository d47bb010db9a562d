/**
 * Copies of other nodes' journals: synced before they are answered, dropped when their writer says so, and
 * put into the queues by this node when the writer is dead, or cannot reach Redis (docs/adr/0017). A
 * stream from a writer has no holes: what does not follow on what came last is not taken.
 */
import type { Incarnation } from '../../core/incarnation.ts';
import type { CommitLine } from './commit-line.ts';
import { copyKey, copyRange } from './journal-keys.ts';
import type { JournalCourier, JournalRow } from './journal-ports.ts';
import { publisherOf } from './journal-record.ts';
import { type ReplayParts, replayRange } from './journal-replay.ts';
import type { JournalBounds } from './own-journal.ts';

export interface CopyKeeperParts extends ReplayParts {
  readonly line: CommitLine;
  readonly courier: JournalCourier;
  readonly bounds: () => JournalBounds;
  readonly endOfTurn: (task: () => void) => void;
}

/** Not to be followed: the stream has to begin again. */
const BROKEN = -1;

/** What is kept for one node. */
class Writer {
  readonly incarnation: Incarnation;
  /** Bytes by position. */
  readonly held: Map<number, number> = new Map();
  /** Position that came last. */
  last = BROKEN;
  /** All that is held up to here is synced, and was put into the queues. */
  stored = 0;
  queued = 0;
  isReplaying = false;
  isOwed = false;
  /** Of whose packet ids something is held, up to which position; forgotten when nothing is held. */
  readonly publishers: Map<string, number> = new Map();
  dropped = 0;

  constructor(incarnation: Incarnation) {
    this.incarnation = incarnation;
  }
}

export class CopyKeeper {
  messages = 0;
  bytes = 0;
  readonly #parts: CopyKeeperParts;
  readonly #writers: Map<Incarnation, Writer> = new Map();
  #rows: JournalRow[] = [];
  #touched: Map<Writer, number> = new Map();
  #waiting: { readonly clientId: string; readonly then: () => void }[] = [];

  constructor(parts: CopyKeeperParts) {
    this.#parts = parts;
  }

  /** Found on the disk at the start. */
  found(incarnation: Incarnation, position: number, record: Buffer): void {
    const writer = this.#writerOf(incarnation);
    this.#hold(writer, position, record);
    writer.stored = Math.max(writer.stored, position);
  }

  /** Nodes of which it holds something that may not be in the queues. */
  *owed(): Iterable<Incarnation> {
    for (const { incarnation, isOwed } of this.#writers.values()) if (isOwed) yield incarnation;
  }

  #writerOf(incarnation: Incarnation): Writer {
    let writer = this.#writers.get(incarnation);
    if (writer === undefined) {
      writer = new Writer(incarnation);
      this.#writers.set(incarnation, writer);
    }
    return writer;
  }

  #hold(writer: Writer, position: number, record: Buffer): void {
    const bytes = record.length;
    const before = writer.held.get(position);
    const publisher = publisherOf(record);
    if (publisher !== null) {
      const last = writer.publishers.get(publisher) ?? 0;
      writer.publishers.set(publisher, Math.max(last, position));
    }
    if (before === undefined) this.messages++;
    this.bytes += bytes - (before ?? 0);
    writer.held.set(position, bytes);
    if (writer.isOwed) return;
    writer.isOwed = true;
    this.#parts.courier.owes(writer.incarnation, true);
  }

  #nothingHeld(writer: Writer): void {
    if (!writer.isOwed) return;
    writer.isOwed = false;
    this.#parts.courier.owes(writer.incarnation, false);
  }

  #drop(writer: Writer, to: number): void {
    for (const [position, bytes] of writer.held) {
      if (position > to) continue;
      writer.held.delete(position);
      this.messages--;
      this.bytes -= bytes;
    }
    writer.dropped = Math.max(writer.dropped, to);
    if (writer.held.size === 0) writer.publishers.clear();
    this.#release();
  }

  // ------------------------------------------------------------------ who takes a publisher's session

  /**
   * Calls back when all that is held of its packet ids is in Redis, and all that was journaled before is
   * in the queues: whoever takes its session then knows what was promised.
   */
  whenWritten(clientId: string, then: () => void): void {
    if (this.#isHeld(clientId)) this.#waiting.push({ clientId, then });
    else then();
  }

  #isHeld(clientId: string): boolean {
    for (const { publishers, queued, dropped } of this.#writers.values()) {
      const last = publishers.get(clientId);
      if (last !== undefined && last > queued && last > dropped) return true;
    }
    return false;
  }

  #release(): void {
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { clientId, then } of waiting) this.whenWritten(clientId, then);
  }

  // ------------------------------------------------------------------ from the writer

  received(from: Incarnation, after: number, position: number, record: Buffer): void {
    const { counters, courier, bounds, line } = this.#parts;
    const writer = this.#writerOf(from);
    if (after !== 0 && after !== writer.last) {
      writer.last = BROKEN;
      return;
    }
    const { messagesMax, bytesMax } = bounds();
    // What comes again has its place.
    const isNew = !writer.held.has(position);
    if (isNew && (this.messages >= messagesMax || this.bytes + record.length > bytesMax)) {
      writer.last = BROKEN;
      counters.full++;
      // After the answer to those before it.
      this.#commit();
      line.commit([], () => courier.done(from, position, 'failed'));
      return;
    }
    writer.last = position;
    counters.copied++;
    this.#hold(writer, position, record);
    this.#rows.push({ key: copyKey(from, position), value: record });
    this.#touched.set(writer, position);
    if (this.#rows.length === 1) this.#parts.endOfTurn(() => this.#commit());
  }

  #commit(): void {
    if (this.#rows.length === 0) return;
    const rows = this.#rows;
    const touched = this.#touched;
    this.#rows = [];
    this.#touched = new Map();
    this.#parts.line.commit(rows, (error) => {
      for (const [writer, position] of touched) this.#committed(writer, position, error);
    });
  }

  #committed(writer: Writer, position: number, error: Error | null): void {
    const { courier } = this.#parts;
    if (error === null) {
      writer.stored = Math.max(writer.stored, position);
      courier.done(writer.incarnation, position, 'stored');
      this.#replay(writer);
      return;
    }
    writer.last = BROKEN;
    courier.done(writer.incarnation, position, 'failed');
  }

  replayed(from: Incarnation, position: number): void {
    const writer = this.#writers.get(from);
    if (writer === undefined) return;
    this.#drop(writer, position);
    this.#parts.line.remove(copyKey(from, 0), copyKey(from, position));
    if (writer.held.size === 0) this.#nothingHeld(writer);
  }

  // ------------------------------------------------------------------ into the queues

  /** Looks who is dead, and who cannot reach Redis. */
  tick(): void {
    for (const writer of [...this.#writers.values()]) {
      const isIdle = writer.held.size === 0 && !writer.isReplaying;
      if (isIdle && this.#isDead(writer)) this.#forget(writer);
      else this.#replay(writer);
    }
  }

  #isDead({ incarnation }: Writer): boolean {
    const { courier } = this.#parts;
    return courier.mayJudge && !courier.isMember(incarnation);
  }

  #replay(writer: Writer): void {
    const { sink, courier } = this.#parts;
    const { incarnation, stored } = writer;
    if (writer.held.size === 0 || writer.isReplaying || !sink.isUp) return;
    if (!this.#isDead(writer) && !courier.lacksRedis(incarnation)) return;
    if (writer.queued >= stored) {
      if (this.#isDead(writer)) this.#end(writer);
      return;
    }
    writer.isReplaying = true;
    const from = copyKey(incarnation, writer.queued + 1);
    replayRange(this.#parts, from, copyKey(incarnation, stored), (isWhole) => {
      writer.isReplaying = false;
      // The next tick tries again.
      if (!isWhole) return;
      writer.queued = Math.max(writer.queued, stored);
      this.#release();
      if (courier.isMember(incarnation)) courier.done(incarnation, stored, 'queued');
      this.#replay(writer);
    });
  }

  /** All that a dead one has left is in the queues. */
  #end(writer: Writer): void {
    this.#drop(writer, Number.POSITIVE_INFINITY);
    this.#forget(writer);
  }

  #forget(writer: Writer): void {
    const [from, to] = copyRange(writer.incarnation);
    this.#parts.line.remove(from, to);
    this.#writers.delete(writer.incarnation);
    this.#nothingHeld(writer);
    this.#release();
  }
}
