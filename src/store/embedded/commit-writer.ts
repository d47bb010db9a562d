/**
 * Writes one commit: from what sessions and topics have collected to records in one LevelDB batch.
 * Bodies that one run refers to lie with that run, so that an offline session never keeps the bodies
 * of others alive; bodies of a fan-out are written once, in shared blocks. It decides nothing about
 * when; `embedded-store.ts` does.
 */
import type { Message } from '../../core/message.ts';
import { EntryState, type QueueEntry } from '../../core/queue-entry.ts';
import { BLOCK_OVERHEAD_BYTES, BlockWriter } from './block-codec.ts';
import { bodiesKey, numberKey, PROGRESS_PART, Prefix, RUN_PART, runKey } from './keys.ts';
import { messageBytesMax, writeMessage } from './message-codec.ts';
import { OwnBodies, RunWriter } from './run-codec.ts';
import type { Database } from './run-reader.ts';
import { RunState } from './run-state.ts';
import { SEAL_BYTES, seal } from './seal.ts';
import type { StoredSession } from './stored-session.ts';

type Batch = ReturnType<Database['batch']>;

const BLOCK_BYTES = 256 * 1024;
const RUN_ENTRIES_MAX = 512;
const RUN_BODIES_BYTES_MAX = 256 * 1024;
/** Own bodies beyond this get a record of their own, so that a restart scans short runs. */
const RUN_OWN_BYTES_MAX = 4 * 1024;
/** Runs per session that stay in memory after they were written; the rest is read when needed. */
const RUNS_KEPT_MAX = 64;
const AREA_BYTES = 64 * 1024;
/** `storeRef` marks messages of the commit being written: first use + ordinal. */
const NOT_SHARED = 0;

export class CommitWriter {
  readonly #runWriter: RunWriter = new RunWriter(AREA_BYTES);
  #slab: Buffer = Buffer.allocUnsafeSlow(AREA_BYTES);
  /** Number a shared message gets in this commit; rises for ever, so old marks never match. */
  #mark = 1;
  readonly #nextBlock: () => number;
  /** Runs this commit has brought into memory, and taken out: undone when it fails. */
  readonly #added: { readonly session: StoredSession; readonly run: RunState }[] = [];
  readonly #removed: { readonly session: StoredSession; readonly run: RunState }[] = [];
  entriesWritten = 0;
  entriesElided = 0;
  bytesWritten = 0;

  constructor(nextBlock: () => number) {
    this.#nextBlock = nextBlock;
  }

  /** A new commit begins. */
  begin(): void {
    this.#added.length = 0;
    this.#removed.length = 0;
  }

  /** The commit did not reach the disk: memory goes back to what is there. */
  undo(): void {
    for (const { session, run } of this.#added) session.removeRun(run);
    for (const { session, run } of this.#removed) {
      session.addRun(run);
      run.isDirty = true;
    }
  }

  /** Writes the runs of all sessions with pending entries; they move to `committing`. */
  writeRuns(batch: Batch, sessions: readonly StoredSession[]): void {
    const shared = this.#findShared(sessions);
    const places = this.#writeBlocks(batch, shared, sessions);
    for (const session of sessions) this.#writeSession(batch, session, places);
  }

  /** Messages that more than one session of this commit refers to, in order of first use. */
  #findShared(sessions: readonly StoredSession[]): Message[] {
    const firstMark = this.#mark;
    const seen: Message[] = [];
    const uses: number[] = [];
    for (const session of sessions) {
      const kept: QueueEntry[] = [];
      for (const entry of session.pending) {
        // Acked (or dropped) before the commit leaves: nothing to store.
        if (entry.state === EntryState.SETTLED) {
          this.entriesElided++;
          continue;
        }
        kept.push(entry);
        const { message } = entry;
        const index = message.storeRef - firstMark;
        if (index >= 0 && seen[index] === message) {
          uses[index]!++;
        } else {
          message.storeRef = this.#mark++;
          seen.push(message);
          uses.push(1);
        }
      }
      session.pending = [];
      session.committing = kept;
    }
    const shared: Message[] = [];
    for (let i = 0; i < seen.length; i++) {
      if (uses[i]! > 1) shared.push(seen[i]!);
      else seen[i]!.storeRef = NOT_SHARED;
    }
    return shared;
  }

  /** Writes shared bodies; returns block and ordinal by mark. */
  #writeBlocks(
    batch: Batch,
    shared: readonly Message[],
    sessions: readonly StoredSession[],
  ): Map<number, { readonly block: number; readonly ordinal: number }> {
    const places: Map<number, { block: number; ordinal: number }> = new Map();
    if (shared.length === 0) return places;
    const groups: Message[][] = [];
    let group: Message[] = [];
    let bytes = 0;
    for (const message of shared) {
      const messageBytes = messageBytesMax(message);
      if (group.length > 0 && bytes + messageBytes > BLOCK_BYTES) {
        groups.push(group);
        group = [];
        bytes = 0;
      }
      group.push(message);
      bytes += messageBytes;
    }
    groups.push(group);
    for (const messages of groups) {
      const block = this.#nextBlock();
      messages.forEach((message, ordinal) => {
        places.set(message.storeRef, { block, ordinal });
      });
    }
    const refs = countRefs(sessions, places);
    for (const messages of groups) {
      const block = places.get(messages[0]!.storeRef)!.block;
      let room = BLOCK_OVERHEAD_BYTES;
      for (const message of messages) room += messageBytesMax(message);
      this.#slab = room > this.#slab.length ? Buffer.allocUnsafeSlow(room * 2) : this.#slab;
      const writer = new BlockWriter(this.#slab, 0);
      for (const message of messages) writer.add(message);
      const end = writer.finish(refs.get(block)!);
      this.#put(batch, numberKey(Prefix.BLOCK, block), this.#slab.subarray(0, end));
    }
    return places;
  }

  #writeSession(
    batch: Batch,
    session: StoredSession,
    places: ReadonlyMap<number, { readonly block: number; readonly ordinal: number }>,
  ): void {
    const entries = session.committing;
    for (const range of runRanges(entries)) {
      const writer = this.#runWriter;
      writer.begin();
      const blocks: Map<number, number> = new Map();
      const own: Message[] = [];
      let ownBytes = 0;
      for (let i = range.start; i < range.end; i++) {
        const entry = entries[i]!;
        const { message } = entry;
        const place = message.storeRef === NOT_SHARED ? undefined : places.get(message.storeRef);
        let block = 0;
        let ordinal = 0;
        if (place === undefined) {
          ordinal = own.length;
          own.push(message);
          ownBytes += messageBytesMax(message);
        } else {
          block = blocks.get(place.block) ?? 0;
          if (block === 0) {
            block = writer.addBlock(place.block);
            blocks.set(place.block, block);
          }
          ordinal = place.ordinal;
        }
        writer.entry(
          entry.seq,
          entry.qos,
          entry.retain,
          entry.subscriptionIds,
          block,
          ordinal,
          message.bytes,
        );
      }
      const hasRecord = ownBytes > RUN_OWN_BYTES_MAX;
      if (hasRecord) this.#putBodies(batch, session, own, writer.lastSeq);
      const inRun = own.length === 0 ? OwnBodies.NONE : OwnBodies.IN_RUN;
      writer.ownMessages(own, hasRecord ? OwnBodies.IN_RECORD : inRun);
      this.#put(batch, runKey(session.serial, writer.lastSeq, RUN_PART), writer.finish());
      this.entriesWritten += writer.count;
      if (session.runs.length < RUNS_KEPT_MAX) {
        const { firstSeq, lastSeq, count } = writer;
        const run = new RunState(firstSeq, lastSeq, count, [...writer.blocks], hasRecord);
        session.addRun(run);
        this.#added.push({ session, run });
      }
    }
  }

  #putBodies(batch: Batch, session: StoredSession, own: readonly Message[], lastSeq: number): void {
    let room = SEAL_BYTES;
    for (const message of own) room += messageBytesMax(message);
    if (room > this.#slab.length) this.#slab = Buffer.allocUnsafeSlow(room * 2);
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
    const key = runKey(session.serial, run.lastSeq, PROGRESS_PART);
    if (!run.isSettled) {
      this.#put(batch, key, run.encode());
      return;
    }
    batch.del(runKey(session.serial, run.lastSeq, RUN_PART));
    batch.del(key);
    if (run.hasBodiesRecord) batch.del(bodiesKey(session.serial, run.lastSeq));
    session.removeRun(run);
    this.#removed.push({ session, run });
    session.tailSeq = Math.max(session.tailSeq, run.lastSeq);
    session.isTailDirty = true;
  }

  /** The batch copies key and value at once, so both may be reused. */
  #put(batch: Batch, key: Buffer, value: Buffer): void {
    this.bytesWritten += key.length + value.length;
    batch.put(key, value);
  }
}

interface Range {
  readonly start: number;
  readonly end: number;
}

/** Cuts a session's entries into runs: bounded by entries and by bytes. */
function runRanges(entries: readonly QueueEntry[]): Range[] {
  const ranges: Range[] = [];
  let start = 0;
  let bytes = 0;
  for (let i = 0; i < entries.length; i++) {
    const messageBytes = entries[i]!.message.bytes;
    const isFull = i - start >= RUN_ENTRIES_MAX || bytes + messageBytes > RUN_BODIES_BYTES_MAX;
    if (i > start && isFull) {
      ranges.push({ start, end: i });
      start = i;
      bytes = 0;
    }
    bytes += messageBytes;
  }
  if (entries.length > start) ranges.push({ start, end: entries.length });
  return ranges;
}

/** How many runs will refer to each block. */
function countRefs(
  sessions: readonly StoredSession[],
  places: ReadonlyMap<number, { readonly block: number }>,
): Map<number, number> {
  const refs: Map<number, number> = new Map();
  const ofRun: Set<number> = new Set();
  for (const session of sessions) {
    for (const range of runRanges(session.committing)) {
      ofRun.clear();
      for (let i = range.start; i < range.end; i++) {
        const place = places.get(session.committing[i]!.message.storeRef);
        if (place !== undefined) ofRun.add(place.block);
      }
      for (const block of ofRun) refs.set(block, (refs.get(block) ?? 0) + 1);
    }
  }
  return refs;
}
