/**
 * Reads runs and bodies back: for a session that works off its queue, and for progress of runs that
 * are not in memory. A damaged record is moved aside and counted; the rest goes on. Reads run beside
 * commits: whatever was read before an `await` is checked against memory after it.
 */
import { EntryState, type QueueEntry, storedEntry } from '../../core/queue-entry.ts';
import { decodeBlock } from './block-codec.ts';
import { RecordDamage } from './damage.ts';
import type { Database } from './database.ts';
import { bodiesKey, numberKey, Prefix, progressKey, RunKeyView, runRange } from './keys.ts';
import { MessageMemory } from './message-codec.ts';
import type { MoveAside } from './quarantine.ts';
import type { ResidentRuns } from './resident-runs.ts';
import {
  OwnBodies,
  type RunFooter,
  readRunEntries,
  readRunFooter,
  readRunMessages,
} from './run-codec.ts';
import { RunState } from './run-state.ts';
import { openSealed } from './seal.ts';
import { StoredMessages } from './stored-messages.ts';
import type { StoredSession } from './stored-session.ts';

/** Shared blocks kept for the other sessions that read them. */
const CACHE_BYTES_MAX = 4 * 1024 * 1024;
const ROWS_AT_ONCE = 64;
const ROWS_BYTES = 256 * 1024;

export interface ReadOptions {
  readonly fromSeq: number;
  readonly messagesMax: number;
  readonly bytesMax: number;
}

/** A run as it lies on disk, with its progress record. */
interface StoredRun {
  readonly key: Buffer;
  readonly lastSeq: number;
  readonly value: Buffer;
  readonly progress: Buffer | null;
}

export class RunReader {
  readonly #db: Database;
  readonly #quarantine: MoveAside;
  readonly #resident: ResidentRuns;
  /** Called when reading has changed what is to be written of a session. */
  readonly #touched: (session: StoredSession) => void;
  /** Least recently used first. */
  readonly #cache: Map<number, { readonly messages: StoredMessages; readonly bytes: number }> =
    new Map();
  #cacheBytes = 0;
  readonly #memory: MessageMemory = new MessageMemory();
  readonly #keyView: RunKeyView = new RunKeyView();

  constructor(
    db: Database,
    resident: ResidentRuns,
    quarantine: MoveAside,
    touched: (session: StoredSession) => void,
  ) {
    this.#db = db;
    this.#resident = resident;
    this.#quarantine = quarantine;
    this.#touched = touched;
  }

  /** Unsettled entries from a position on, in order; their runs come into memory. */
  async read(session: StoredSession, options: ReadOptions): Promise<QueueEntry[]> {
    const { fromSeq, messagesMax, bytesMax } = options;
    const entries: QueueEntry[] = [];
    let bytes = 0;
    const take = async (stored: StoredRun): Promise<boolean> => {
      for (const entry of await this.#entriesOf(session, stored, fromSeq)) {
        if (entries.length > 0 && (entries.length >= messagesMax || bytes >= bytesMax))
          return false;
        entries.push(entry);
        bytes += entry.message.bytes;
      }
      return entries.length < messagesMax && bytes < bytesMax;
    };
    let next = fromSeq;
    while (next !== -1) next = await this.#walk(session, next, take);
    return session.isDeleted ? [] : entries;
  }

  /** Brings the run that holds a position into memory; null: there is none. */
  async load(session: StoredSession, seq: number): Promise<RunState | null> {
    for (;;) {
      const removals = session.removals;
      const [stored] = await this.#rows(session, seq, 2);
      if (session.isDeleted || stored === undefined) return null;
      if (session.removals !== removals) continue;
      const footer = await this.#footerOf(stored);
      if (footer === null || footer.firstSeq > seq) return null;
      if (session.removals === removals) return this.#residentOf(session, stored, footer);
    }
  }

  /**
   * Hands runs from a position on to `take` until it says false. Returns where to begin anew because
   * memory has changed meanwhile, or -1 at the end.
   */
  async #walk(
    session: StoredSession,
    fromSeq: number,
    take: (stored: StoredRun) => Promise<boolean>,
  ): Promise<number> {
    let next = fromSeq;
    for (;;) {
      const removals = session.removals;
      const runs = await this.#rows(session, next, ROWS_AT_ONCE);
      if (runs.length === 0) return -1;
      for (const stored of runs) {
        if (session.isDeleted) return -1;
        if (session.removals !== removals) return next;
        if (!(await take(stored))) return -1;
        next = stored.lastSeq + 1;
      }
    }
  }

  /** At most `limit` rows, as whole runs; one run at least if there is one. */
  async #rows(session: StoredSession, fromSeq: number, limit: number): Promise<StoredRun[]> {
    const rows = await this.#db
      .iterator({
        ...runRange(session.serial, fromSeq),
        limit,
        highWaterMarkBytes: ROWS_BYTES,
      })
      .all();
    const runs: StoredRun[] = [];
    const view = this.#keyView;
    for (let i = 0; i < rows.length; i++) {
      const [key, value] = rows[i]!;
      // Progress without its run is found, and moved aside, at the next start.
      if (!view.parseBytes(key) || view.isProgress) continue;
      const { lastSeq } = view;
      const following = rows[i + 1];
      // Whether progress follows the last row is not known: the next read begins with that run.
      if (following === undefined && rows.length === limit && runs.length > 0) break;
      const hasProgress =
        following !== undefined &&
        view.parseBytes(following[0]) &&
        view.isProgress &&
        view.lastSeq === lastSeq;
      runs.push({ key, lastSeq, value, progress: hasProgress ? following[1] : null });
    }
    return runs;
  }

  async #footerOf(stored: StoredRun): Promise<RunFooter | null> {
    try {
      return readRunFooter(stored.value, stored.lastSeq);
    } catch (error) {
      if (!(error instanceof RecordDamage)) throw error;
      await this.#quarantine(stored.key, stored.value, error.message);
      return null;
    }
  }

  /** The run in memory; made from what was read when it is not there. */
  #residentOf(session: StoredSession, stored: StoredRun, footer: RunFooter): RunState {
    session.applyChanges();
    const there = session.runEndingAt(stored.lastSeq);
    if (there !== null) return there;
    let run = runStateOf(footer);
    if (stored.progress !== null) {
      try {
        run.decode(stored.progress);
      } catch (error) {
        if (!(error instanceof RecordDamage)) throw error;
        // Without it entries are delivered again: more than owed, never less.
        run = runStateOf(footer);
        const key = progressKey(session.serial, stored.lastSeq);
        void this.#quarantine(key, stored.progress, error.message);
      }
    }
    run = this.#resident.add(session, run);
    session.applyChangesTo(run);
    return run;
  }

  /** The unsettled entries of a run from a position on. */
  async #entriesOf(
    session: StoredSession,
    stored: StoredRun,
    fromSeq: number,
  ): Promise<QueueEntry[]> {
    const footer = await this.#footerOf(stored);
    if (footer === null) return [];
    const run = this.#residentOf(session, stored, footer);
    if (run.isSettled) return [];
    const entries: QueueEntry[] = [];
    try {
      const decoded = readRunEntries(stored.value, footer);
      const bodies: (StoredMessages | null)[] = [await this.#own(session, stored.value, footer)];
      for (const block of footer.blocks) bodies.push(await this.#block(block));
      for (let i = 0; i < decoded.seqs.length; i++) {
        const seq = decoded.seqs[i]!;
        const state = run.stateOf(seq);
        if (seq < fromSeq || state === EntryState.SETTLED) continue;
        const message = bodies[decoded.blocks[i]!]?.at(decoded.ordinals[i]!, this.#memory);
        if (message === undefined) {
          // Its body is damaged and has been moved aside: nothing can be delivered.
          session.mark(run, seq, EntryState.SETTLED, 0);
          this.#touched(session);
          continue;
        }
        const entry = storedEntry(
          seq,
          message,
          decoded.qos[i]!,
          decoded.retain[i]!,
          decoded.subscriptionIds[i]!,
          footer.queuedAtMs,
        );
        entry.state = state;
        // Whether it was sent before a restart is not known for QoS 1: it goes out without DUP.
        entry.sentBefore = state === EntryState.RELEASED;
        entries.push(entry);
      }
      return entries;
    } catch (error) {
      if (!(error instanceof RecordDamage)) throw error;
      await this.#quarantine(stored.key, stored.value, error.message);
      return [];
    }
  }

  async #own(
    session: StoredSession,
    value: Buffer,
    footer: RunFooter,
  ): Promise<StoredMessages | null> {
    if (footer.ownBodies !== OwnBodies.IN_RECORD) return readRunMessages(value, footer);
    const key = bodiesKey(session.serial, footer.lastSeq);
    const stored = await this.#db.get(key);
    if (stored === undefined) return null;
    try {
      const cursor = openSealed(stored);
      const messages = new StoredMessages(cursor, footer.ownCount);
      cursor.expectEnd();
      return messages;
    } catch (error) {
      if (!(error instanceof RecordDamage)) throw error;
      await this.#quarantine(key, stored, error.message);
      return null;
    }
  }

  async #block(block: number): Promise<StoredMessages | null> {
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
      this.#keep(block, messages, value.length);
      return messages;
    } catch (error) {
      if (!(error instanceof RecordDamage)) throw error;
      await this.#quarantine(key, value, error.message);
      return null;
    }
  }

  #keep(block: number, messages: StoredMessages, bytes: number): void {
    // Another read of the same block may have come first, or one record be too large for the cache.
    if (this.#cache.has(block) || bytes > CACHE_BYTES_MAX / 4) return;
    this.#cache.set(block, { messages, bytes });
    this.#cacheBytes += bytes;
    for (const [oldest, kept] of this.#cache) {
      if (this.#cacheBytes <= CACHE_BYTES_MAX) break;
      this.#cache.delete(oldest);
      this.#cacheBytes -= kept.bytes;
    }
  }
}

export function runStateOf(footer: RunFooter): RunState {
  return new RunState(
    footer.firstSeq,
    footer.lastSeq,
    footer.count,
    footer.bytes,
    footer.blocks,
    footer.ownBodies === OwnBodies.IN_RECORD,
  );
}
