/**
 * Writes one commit: from what sessions and topics have collected to records in one LevelDB batch.
 * Bodies that one run refers to lie with that run, so that an offline session never keeps the bodies
 * of others alive; bodies of a fan-out are written once, in shared blocks. It decides nothing about
 * when; `embedded-store.ts` does.
 */
import type { Message } from '../../core/message.ts';
import { EntryState } from '../../core/queue-entry.ts';
import { BLOCK_OVERHEAD_BYTES, BlockWriter } from './block-codec.ts';
import type { BlockCounts } from './block-counts.ts';
import type { Batch } from './database.ts';
import { bodiesKey, numberKey, Prefix, progressKey, runKey } from './keys.ts';
import { messageBytesMax, writeMessage } from './message-codec.ts';
import type { ResidentRuns } from './resident-runs.ts';
import { OwnBodies, RunWriter } from './run-codec.ts';
import { RunState } from './run-state.ts';
import { SEAL_BYTES, seal } from './seal.ts';
import type { StoredSession } from './stored-session.ts';

const BLOCK_BYTES = 256 * 1024;
const RUN_ENTRIES_MAX = 512;
const RUN_BODIES_BYTES_MAX = 256 * 1024;
/** Own bodies beyond this get a record of their own, so that a restart scans short runs. */
const RUN_OWN_BYTES_MAX = 4 * 1024;
/** Messages of one commit that there is room for at first. */
const INDEXES_MIN = 256;
/** Room for more is given back. */
const INDEXES_KEPT = 16_384;
const AREA_BYTES = 64 * 1024;
/** Areas that a large message has made larger than this are given back. */
const AREA_BYTES_KEPT = 1024 * 1024;
/** Marks start again before they leave the small integers. */
const MARK_MAX = 2 ** 30 - 1;
/** Only one run refers to the message. */
const OWN = -1;

/** What one commit writes and removes, should it have to be undone. */
export interface Written {
  readonly runs: SessionRun[];
  readonly blocks: number[];
  /** Runs whose progress it holds. */
  readonly progress: SessionRun[];
  /** Settled runs: on disk and in memory until the commit has succeeded. */
  readonly removed: SessionRun[];
}

export interface SessionRun {
  readonly session: StoredSession;
  readonly run: RunState;
}

/** A shared block of the commit being written. */
interface OpenBlock {
  readonly number: number;
  readonly messages: Message[];
  bytes: number;
  /** Runs that refer to it. */
  refs: number;
  /** The last run that referred to it (a count), and its place in that run's table. */
  run: number;
  place: number;
}

export class CommitWriter {
  readonly #runWriter: RunWriter = new RunWriter(AREA_BYTES);
  #slab: Buffer = Buffer.allocUnsafeSlow(AREA_BYTES);
  /**
   * `storeRef` of a message is its mark: first mark of the commit + index in the arrays below. Marks
   * of earlier commits are told apart by comparing the message at that index.
   */
  #mark = 1;
  #firstMark = 1;
  #messages: Message[] = [];
  #uses: Int32Array = new Int32Array(INDEXES_MIN);
  /** By index: which of `#blocks`, or OWN, and the place in it. */
  #blockAt: Int32Array = new Int32Array(INDEXES_MIN);
  #ordinalAt: Int32Array = new Int32Array(INDEXES_MIN);
  #blocks: OpenBlock[] = [];
  #runCount = 0;
  readonly #nextNumber: () => number;
  readonly #resident: ResidentRuns;
  readonly #counts: BlockCounts;
  #written: Written = { runs: [], blocks: [], progress: [], removed: [] };
  entriesWritten = 0;
  entriesElided = 0;
  bytesWritten = 0;

  constructor(nextNumber: () => number, resident: ResidentRuns, counts: BlockCounts) {
    this.#nextNumber = nextNumber;
    this.#resident = resident;
    this.#counts = counts;
  }

  /** A new commit begins. What it returns is filled in by the calls that follow. */
  begin(): Written {
    this.#reset();
    this.#written = { runs: [], blocks: [], progress: [], removed: [] };
    return this.#written;
  }

  /** Writes the runs of all sessions with pending entries; they move to `committing`. */
  writeRuns(batch: Batch, sessions: readonly StoredSession[]): void {
    if (sessions.length === 0) return;
    for (const session of sessions) this.#collect(session);
    this.#placeShared();
    for (const session of sessions) this.#writeSession(batch, session);
    for (const block of this.#blocks) this.#writeBlock(batch, block);
    this.#reset();
  }

  /** Keeps no message alive between commits. */
  #reset(): void {
    this.#blocks = [];
    this.#messages = [];
    if (this.#uses.length > INDEXES_KEPT) {
      this.#uses = new Int32Array(INDEXES_MIN);
      this.#blockAt = new Int32Array(INDEXES_MIN);
      this.#ordinalAt = new Int32Array(INDEXES_MIN);
    }
    if (this.#mark > MARK_MAX) this.#mark = 1;
    this.#firstMark = this.#mark;
  }

  /** Takes a session's pending entries and counts who refers to which message. */
  #collect(session: StoredSession): void {
    const messages = this.#messages;
    const { pending } = session;
    this.#reserve(messages.length + pending.length);
    const uses = this.#uses;
    const firstMark = this.#firstMark;
    let kept = 0;
    for (let i = 0; i < pending.length; i++) {
      const entry = pending[i]!;
      // Acked (or dropped) before the commit leaves: nothing to store.
      if (entry.state === EntryState.SETTLED) {
        this.entriesElided++;
        continue;
      }
      if (kept !== i) pending[kept] = entry;
      kept++;
      const { message } = entry;
      const index = message.storeRef - firstMark;
      if (index >= 0 && index < messages.length && messages[index] === message) {
        uses[index]!++;
      } else {
        message.storeRef = this.#mark++;
        uses[messages.length] = 1;
        messages.push(message);
      }
    }
    if (kept < pending.length) pending.length = kept;
    session.pending = [];
    session.committing = pending;
  }

  #reserve(messages: number): void {
    if (messages <= this.#uses.length) return;
    const room = Math.max(messages, this.#uses.length * 2);
    const uses = new Int32Array(room);
    uses.set(this.#uses);
    this.#uses = uses;
    this.#blockAt = new Int32Array(room);
    this.#ordinalAt = new Int32Array(room);
  }

  /** Gives messages that several entries refer to their places in blocks, in order of first use. */
  #placeShared(): void {
    const uses = this.#uses;
    let block: OpenBlock | null = null;
    const messages = this.#messages;
    for (let i = 0; i < messages.length; i++) {
      if (uses[i] === 1) {
        this.#blockAt[i] = OWN;
        this.#ordinalAt[i] = 0;
        continue;
      }
      const message = messages[i]!;
      const bytes = messageBytesMax(message);
      if (block === null || block.bytes + bytes > BLOCK_BYTES) {
        const number = this.#nextNumber();
        block = { number, messages: [], bytes: BLOCK_OVERHEAD_BYTES, refs: 0, run: 0, place: 0 };
        this.#blocks.push(block);
      }
      this.#blockAt[i] = this.#blocks.length - 1;
      this.#ordinalAt[i] = block.messages.push(message) - 1;
      block.bytes += bytes;
    }
  }

  #writeBlock(batch: Batch, block: OpenBlock): void {
    this.#makeRoom(block.bytes);
    const writer = new BlockWriter(this.#slab, 0);
    for (const message of block.messages) writer.add(message);
    const end = writer.finish(block.refs);
    this.#put(batch, numberKey(Prefix.BLOCK, block.number), this.#slab.subarray(0, end));
    this.#counts.written(block.number, block.refs);
    this.#written.blocks.push(block.number);
  }

  /** A session's entries as runs, bounded by entries and by bytes. */
  #writeSession(batch: Batch, session: StoredSession): void {
    const entries = session.committing;
    let start = 0;
    let bytes = 0;
    for (let i = 0; i < entries.length; i++) {
      const messageBytes = entries[i]!.message.bytes;
      const isFull = i - start >= RUN_ENTRIES_MAX || bytes + messageBytes > RUN_BODIES_BYTES_MAX;
      if (i > start && isFull) {
        this.#writeRun(batch, session, start, i);
        start = i;
        bytes = 0;
      }
      bytes += messageBytes;
    }
    if (entries.length > start) this.#writeRun(batch, session, start, entries.length);
  }

  #writeRun(batch: Batch, session: StoredSession, start: number, end: number): void {
    const entries = session.committing;
    const writer = this.#runWriter;
    writer.begin();
    const runCount = ++this.#runCount;
    const own: Message[] = [];
    let ownBytes = 0;
    for (let i = start; i < end; i++) {
      const entry = entries[i]!;
      const { message } = entry;
      const index = message.storeRef - this.#firstMark;
      const at = this.#blockAt[index]!;
      let place = 0;
      let ordinal = 0;
      if (at === OWN) {
        ordinal = own.push(message) - 1;
        ownBytes += messageBytesMax(message);
      } else {
        const block = this.#blocks[at]!;
        if (block.run !== runCount) {
          block.run = runCount;
          block.refs++;
          block.place = writer.addBlock(block.number);
        }
        place = block.place;
        ordinal = this.#ordinalAt[index]!;
      }
      const { seq, qos, retain, subscriptionIds } = entry;
      writer.entry(seq, qos, retain, subscriptionIds, place, ordinal, message.bytes);
    }
    const hasRecord = ownBytes > RUN_OWN_BYTES_MAX;
    if (hasRecord) this.#putBodies(batch, session, own, writer.lastSeq);
    const inRun = own.length === 0 ? OwnBodies.NONE : OwnBodies.IN_RUN;
    writer.ownMessages(own, hasRecord ? OwnBodies.IN_RECORD : inRun);
    // What one commit has of a session came within moments.
    const { queuedAtMs } = entries[start]!;
    this.#put(batch, runKey(session.serial, writer), writer.finish(queuedAtMs));
    this.entriesWritten += writer.count;
    const { firstSeq, lastSeq, count, bytes } = writer;
    const run = new RunState(firstSeq, lastSeq, count, bytes, [...writer.blocks], hasRecord);
    this.#resident.add(session, run);
    this.#written.runs.push({ session, run });
  }

  #putBodies(batch: Batch, session: StoredSession, own: readonly Message[], lastSeq: number): void {
    let room = SEAL_BYTES;
    for (const message of own) room += messageBytesMax(message);
    this.#makeRoom(room);
    let pos = 0;
    let sequence = 0;
    for (const message of own) {
      pos = writeMessage(this.#slab, pos, message, sequence);
      sequence = message.sequence;
    }
    const end = seal(this.#slab, 0, pos);
    this.#put(batch, bodiesKey(session.serial, lastSeq), this.#slab.subarray(0, end));
  }

  /** Writes the progress of a run, or removes it when nothing of it is left. */
  writeProgress(batch: Batch, session: StoredSession, run: RunState): void {
    run.isDirty = false;
    const key = progressKey(session.serial, run.lastSeq);
    if (!run.isSettled) {
      this.#put(batch, key, run.encode());
      run.hasProgressRecord = true;
      this.#written.progress.push({ session, run });
      return;
    }
    for (const block of run.blocks) this.#counts.release(block);
    batch.del(runKey(session.serial, run));
    if (run.hasProgressRecord) batch.del(key);
    if (run.hasBodiesRecord) batch.del(bodiesKey(session.serial, run.lastSeq));
    this.#written.removed.push({ session, run });
    session.tailSeq = Math.max(session.tailSeq, run.lastSeq);
    // A later run says by itself how far positions have come.
    if (session.runs.at(-1)!.lastSeq <= session.tailSeq) session.isTailDirty = true;
  }

  #makeRoom(byteCount: number): void {
    if (byteCount > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(byteCount);
    } else if (this.#slab.length > AREA_BYTES_KEPT && byteCount <= AREA_BYTES_KEPT) {
      this.#slab = Buffer.allocUnsafeSlow(AREA_BYTES_KEPT);
    }
  }

  /** The batch copies key and value at once, so both may be reused. */
  #put(batch: Batch, key: Buffer, value: Buffer): void {
    this.bytesWritten += key.length + value.length;
    batch.put(key, value);
  }
}
