/**
 * Reads runs and bodies back: for a session that works off its queue, and for progress of runs that
 * are not in memory. A damaged record is moved aside and counted; the rest goes on.
 */
import type { ClassicLevel } from 'classic-level';
import type { Message } from '../../core/message.ts';
import { EntryState, QueueEntry } from '../../core/queue-entry.ts';
import { decodeBlock, readMessages } from './block-codec.ts';
import { RecordDamage } from './damage.ts';
import {
  bodiesKey,
  isRunKey,
  lastSeqOfRunKey,
  numberKey,
  PROGRESS_PART,
  Prefix,
  partOfRunKey,
  RUN_PART,
  runKey,
} from './keys.ts';
import {
  OwnBodies,
  type RunFooter,
  readRunEntries,
  readRunFooter,
  readRunMessages,
} from './run-codec.ts';
import { RunState } from './run-state.ts';
import { openSealed } from './seal.ts';
import type { StoredSession } from './stored-session.ts';

export type Database = ClassicLevel<Buffer, Buffer>;

/** Decoded shared blocks kept for the other sessions that read them. */
const CACHE_BYTES_MAX = 4 * 1024 * 1024;
const SEQ_MAX = 2 ** 48 - 1;

export interface ReadOptions {
  readonly fromSeq: number;
  readonly messagesMax: number;
  readonly bytesMax: number;
}

export class RunReader {
  readonly #db: Database;
  readonly #quarantine: (key: Buffer, value: Buffer, why: string) => Promise<void>;
  /** Block number -> messages, least recently used first. */
  readonly #cache: Map<number, { readonly messages: readonly Message[]; readonly bytes: number }> =
    new Map();
  #cacheBytes = 0;

  constructor(
    db: Database,
    quarantine: (key: Buffer, value: Buffer, why: string) => Promise<void>,
  ) {
    this.#db = db;
    this.#quarantine = quarantine;
  }

  /** Unsettled entries from a position on, in order; their runs stay in `session.runs`. */
  async read(session: StoredSession, options: ReadOptions): Promise<QueueEntry[]> {
    const entries: QueueEntry[] = [];
    let bytes = 0;
    let fromSeq = options.fromSeq;
    while (entries.length < options.messagesMax && bytes < options.bytesMax) {
      const found = await this.#nextRun(session, fromSeq);
      if (found === null) break;
      const { run, value, footer } = found;
      fromSeq = run.lastSeq + 1;
      if (value === null || footer === null) continue;
      const seqs = await this.#entriesOf(session, run, value, footer);
      for (const entry of seqs) {
        if (entry.seq < options.fromSeq || entry.state === EntryState.SETTLED) continue;
        if (entries.length >= options.messagesMax || bytes >= options.bytesMax) break;
        entries.push(entry);
        bytes += entry.message.bytes;
      }
    }
    return entries;
  }

  /** Brings the run that holds a position into memory; null: there is none. */
  async load(session: StoredSession, seq: number): Promise<RunState | null> {
    const found = await this.#nextRun(session, seq);
    return found !== null && found.run.firstSeq <= seq ? found.run : null;
  }

  /** The first run that ends at or after a position. `value` null: it is damaged. */
  async #nextRun(
    session: StoredSession,
    seq: number,
  ): Promise<{ run: RunState; value: Buffer | null; footer: RunFooter | null } | null> {
    const iterator = this.#db.iterator({
      gte: runKey(session.serial, seq, RUN_PART),
      lte: runKey(session.serial, SEQ_MAX, PROGRESS_PART),
      limit: 2,
    });
    const rows = await iterator.all();
    const [first, second] = rows;
    if (first === undefined) return null;
    const [key, value] = first;
    if (!isRunKey(key) || partOfRunKey(key) !== RUN_PART) {
      // Progress of a run that is not there: nothing to make of it.
      await this.#quarantine(key, value, 'progress without a run');
      return this.#nextRun(session, seq);
    }
    const lastSeq = lastSeqOfRunKey(key);
    try {
      const footer = readRunFooter(value, lastSeq);
      const known = session.runs.find((run) => run.lastSeq === lastSeq);
      if (known !== undefined) return { run: known, value, footer };
      const run = runStateOf(footer);
      if (
        second !== undefined &&
        partOfRunKey(second[0]) === PROGRESS_PART &&
        lastSeqOfRunKey(second[0]) === lastSeq
      ) {
        await this.#takeProgress(run, second[0], second[1]);
      }
      session.addRun(run);
      return { run, value, footer };
    } catch (error) {
      if (!(error instanceof RecordDamage)) throw error;
      await this.#quarantine(key, value, error.message);
      return this.#nextRun(session, lastSeq + 1);
    }
  }

  async #takeProgress(run: RunState, key: Buffer, value: Buffer): Promise<void> {
    try {
      run.decode(value);
    } catch (error) {
      if (!(error instanceof RecordDamage)) throw error;
      // Without it entries are delivered again: more than owed, never less.
      await this.#quarantine(key, value, error.message);
    }
  }

  async #entriesOf(
    session: StoredSession,
    run: RunState,
    value: Buffer,
    footer: RunFooter,
  ): Promise<QueueEntry[]> {
    const key = runKey(session.serial, run.lastSeq, RUN_PART);
    try {
      const decoded = readRunEntries(value, footer);
      const bodies: (readonly Message[] | null)[] = [await this.#own(session, value, footer)];
      for (const block of footer.blocks) bodies.push(await this.#block(block));
      const entries: QueueEntry[] = [];
      for (let i = 0; i < decoded.seqs.length; i++) {
        const seq = decoded.seqs[i]!;
        const message = bodies[decoded.blocks[i]!]?.[decoded.ordinals[i]!];
        if (message === undefined) {
          // Its body is damaged and has been moved aside: nothing can be delivered.
          run.set(seq, EntryState.SETTLED);
          session.isDirty = true;
          continue;
        }
        const entry = new QueueEntry(
          seq,
          message,
          decoded.qos[i]!,
          decoded.retain[i]!,
          decoded.subscriptionIds[i]!,
          true,
        );
        entry.state = run.stateOf(seq);
        // Whether it was sent before a restart is not known for QoS 1: it goes out without DUP.
        entry.sentBefore = entry.state === EntryState.RELEASED;
        entries.push(entry);
      }
      return entries;
    } catch (error) {
      if (!(error instanceof RecordDamage)) throw error;
      await this.#quarantine(key, value, error.message);
      return [];
    }
  }

  async #own(
    session: StoredSession,
    value: Buffer,
    footer: RunFooter,
  ): Promise<readonly Message[] | null> {
    if (footer.ownBodies !== OwnBodies.IN_RECORD) return readRunMessages(value, footer);
    const key = bodiesKey(session.serial, footer.lastSeq);
    const stored = await this.#db.get(key);
    if (stored === undefined) return null;
    try {
      const cursor = openSealed(stored);
      const messages = readMessages(cursor, footer.ownCount);
      cursor.expectEnd();
      return messages;
    } catch (error) {
      if (!(error instanceof RecordDamage)) throw error;
      await this.#quarantine(key, stored, error.message);
      return null;
    }
  }

  async #block(block: number): Promise<readonly Message[] | null> {
    const cached = this.#cache.get(block);
    if (cached !== undefined) {
      this.#cache.delete(block);
      this.#cache.set(block, cached);
      return cached.messages;
    }
    const key = numberKey(Prefix.BLOCK, block);
    const value = await this.#db.get(key);
    if (value === undefined) return null;
    try {
      const { messages } = decodeBlock(value);
      this.#cache.set(block, { messages, bytes: value.length });
      this.#cacheBytes += value.length;
      for (const [oldest, { bytes }] of this.#cache) {
        if (this.#cacheBytes <= CACHE_BYTES_MAX || oldest === block) break;
        this.#cache.delete(oldest);
        this.#cacheBytes -= bytes;
      }
      return messages;
    } catch (error) {
      if (!(error instanceof RecordDamage)) throw error;
      await this.#quarantine(key, value, error.message);
      return null;
    }
  }
}

export function runStateOf(footer: RunFooter): RunState {
  return new RunState(
    footer.firstSeq,
    footer.lastSeq,
    footer.count,
    footer.blocks,
    footer.ownBodies === OwnBodies.IN_RECORD,
  );
}
