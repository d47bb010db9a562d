/**
 * Durable sessions, queues and retained messages in LevelDB. Calls collect; one synced batch commits
 * what a loop turn, or the time of the commit before it, has brought; then acks are released. What is
 * settled is written along, without a sync of its own. It implements the core's `Store` and knows
 * neither sockets nor sessions beyond their records.
 */
import type { Message } from '../../core/message.ts';
import type {
  Log,
  RestoreVisitor,
  Scheduler,
  SessionRecord,
  Store,
  StoreEvents,
  Ticket,
} from '../../core/ports.ts';
import { EntryState, type QueueEntry } from '../../core/queue-entry.ts';
import type { RetainedVersion } from '../../core/retained-version.ts';
import { BlockCounts } from './block-counts.ts';
import { CommitWriter, type Written } from './commit-writer.ts';
import { checkVersion, openDirectory } from './data-directory.ts';
import { type Batch, type Database, databaseIn } from './database.ts';
import { numberKey, Prefix } from './keys.ts';
import { Quarantine } from './quarantine.ts';
import { recover } from './recovery.ts';
import { ResidentRuns } from './resident-runs.ts';
import { RetainedChanges } from './retained-changes.ts';
import { RunReader } from './run-reader.ts';
import { SerialNumbers } from './serial-numbers.ts';
import { encodeNumbers, encodeSession } from './session-codec.ts';
import { writeDoom } from './state-records.ts';
import { CHANGE_STRIDE, type PendingRead, StoredSession } from './stored-session.ts';
import { sweepSome } from './sweeper.ts';
import { WriteOutage } from './write-outage.ts';

export interface EmbeddedStoreOptions {
  /** Made when missing, mode 0700. */
  readonly directory: string;
  readonly scheduler: Scheduler;
  readonly log: Log;
  /** Retained changes of this node are marked until `confirmRetained`; a start tells of them. */
  readonly marksRetained?: boolean | undefined;
  /** Told at start of what `putNote` has kept. */
  readonly onNote?: ((key: string, value: Buffer) => void) | undefined;
  /** Instead of LevelDB in the directory; a simulation hands in its own disk. */
  readonly database?: Database | undefined;
  /** Writes a batch; tests hand in one that fails. */
  readonly write?: ((batch: Batch, sync: boolean) => Promise<void>) | undefined;
}

/** What one commit writes. */
interface Work {
  readonly sessions: readonly StoredSession[];
  readonly doomed: readonly StoredSession[];
  readonly retained: RetainedChanges;
  /** Session records in it, to be written again if it fails. */
  readonly records: Map<StoredSession, SessionRecord>;
  /** Null: it did not come to writing. */
  written: Written | null;
}

/** Settled entries are on disk after this at the latest, without a sync. */
const IDLE_FLUSH_MS = 1000;
const SIZES = {
  writeBufferBytes: 4 * 1024 * 1024,
  cacheBytes: 4 * 1024 * 1024,
  openFilesMax: 48,
};
/** What a start writes of the log, twice: free space that makes another try worthwhile. */
const PROBE_BYTES = 2 * SIZES.writeBufferBytes;

export class EmbeddedStore implements Store {
  readonly keepsQueues = true;

  // Read by the metrics page.
  commits = 0;
  commitSecondsTotal = 0;
  lastCommitMs = 0;
  failedCommits = 0;

  readonly #options: EmbeddedStoreOptions;
  readonly #db: Database;
  readonly #reader: RunReader;
  readonly #writer: CommitWriter;
  readonly #counts: BlockCounts;
  readonly #resident: ResidentRuns = new ResidentRuns();
  readonly #numbers: SerialNumbers = new SerialNumbers();
  readonly #quarantine: Quarantine;
  readonly #outage: WriteOutage;
  readonly #sessions: Map<number, StoredSession> = new Map();
  #events: StoreEvents | null = null;

  /** Sessions with something to write. */
  #dirty: StoredSession[] = [];
  #retained: RetainedChanges = new RetainedChanges();
  #doomed: StoredSession[] = [];
  #ticket: Ticket = 1;
  /** Something of the open batch must be synced. */
  #isOpenSynced = false;
  #isScheduled = false;
  /** A commit is under way, or the database is being opened again. */
  #isCommitting = false;
  #isStopped = false;
  #idle: Promise<void> = Promise.resolve();
  /** Reads that wait for a commit, over all sessions. */
  #readsWaiting = 0;
  /** Serials of deleted sessions whose runs are still there. */
  readonly #sweeps: number[] = [];
  #stopTimers: (() => void)[] = [];

  constructor(options: EmbeddedStoreOptions) {
    const { directory, scheduler, log } = options;
    this.#options = options;
    const db = options.database ?? databaseIn(directory, SIZES);
    this.#db = db;
    this.#quarantine = new Quarantine(db, log);
    const { moveAside } = this.#quarantine;
    const changed = (session: StoredSession): void => {
      this.#changed(session, false);
    };
    this.#reader = new RunReader(db, this.#resident, moveAside, changed);
    this.#counts = new BlockCounts(db, moveAside, log);
    const nextNumber = (): number => this.#numbers.take();
    this.#writer = new CommitWriter(nextNumber, this.#resident, this.#counts);
    this.#outage = new WriteOutage({
      ...{ db, directory, resident: this.#resident, scheduler, log, changed },
      probeBytes: PROBE_BYTES,
      alone: (task) => this.#alone(task),
      write: (batch) => this.#write(batch, true),
    });
  }

  get writable(): boolean {
    return !this.#outage.isOn;
  }

  get quarantined(): number {
    return this.#quarantine.count;
  }

  get entriesWritten(): number {
    return this.#writer.entriesWritten;
  }

  get entriesElided(): number {
    return this.#writer.entriesElided;
  }

  get bytesWritten(): number {
    return this.#writer.bytesWritten;
  }

  // ------------------------------------------------------------------ start and stop

  async start(events: StoreEvents, restore: RestoreVisitor): Promise<void> {
    this.#events = events;
    const { directory, log, scheduler } = this.#options;
    if (this.#options.database === undefined) await openDirectory(this.#db, directory, log);
    else await this.#db.open();
    try {
      const { moveAside } = this.#quarantine;
      await checkVersion(this.#db, directory, moveAside);
      const { onNote = (): void => {} } = this.#options;
      const found = await recover(this.#db, restore, onNote, moveAside, log);
      this.#numbers.begin(found.nextNumber);
      for (const session of found.sessions) this.#sessions.set(session.number, session);
      for (const serial of found.doomed) this.#sweeps.push(serial);
    } catch (error) {
      await this.#db.close();
      throw error;
    }
    this.#stopTimers.push(scheduler.every(IDLE_FLUSH_MS, () => this.#schedule()));
  }

  async stop(): Promise<void> {
    if (this.#isStopped) return;
    for (const stopTimer of this.#stopTimers) stopTimer();
    this.#outage.stop();
    // One commit may leave another behind it; a failing disk must not keep us here.
    for (let i = 0; i < 3 && (this.#isCommitting || this.#hasChanges()); i++) {
      this.#commitNow();
      await this.#idle;
    }
    this.#isStopped = true;
    await this.#db.close();
  }

  // ------------------------------------------------------------------ changes

  saveSession(record: SessionRecord): Ticket {
    const session = this.#sessionOf(record.sessionNumber);
    session.record = record;
    return this.#changed(session, true);
  }

  deleteSession(sessionNumber: number): Ticket {
    const session = this.#sessions.get(sessionNumber);
    if (session === undefined) return 0;
    session.isDeleted = true;
    this.#sessions.delete(sessionNumber);
    this.#resident.removeAll(session);
    this.#doomed.push(session);
    return this.#changed(session, true);
  }

  append(sessionNumber: number, entry: QueueEntry): Ticket {
    const session = this.#sessionOf(sessionNumber);
    session.pending.push(entry);
    return this.#changed(session, true);
  }

  settle(sessionNumber: number, entry: QueueEntry): void {
    // Not durable yet: the commit leaves it out, or sees it when it is done.
    if (entry.durable) this.settleStored(sessionNumber, entry.seq, entry.message.bytes);
  }

  settleStored(sessionNumber: number, seq: number, messageBytes: number): void {
    const session = this.#sessions.get(sessionNumber);
    if (session === undefined) return;
    session.settle(seq, messageBytes);
    this.#changed(session, false);
  }

  release(sessionNumber: number, entry: QueueEntry): Ticket {
    const session = this.#sessions.get(sessionNumber);
    if (session === undefined) return 0;
    session.changes.push(entry.seq, EntryState.RELEASED, 0);
    return this.#changed(session, true);
  }

  addInboundId(sessionNumber: number, packetId: number): Ticket {
    const session = this.#sessionOf(sessionNumber);
    session.inboundIds.add(packetId);
    session.isInboundDirty = true;
    return this.#changed(session, true);
  }

  removeInboundId(sessionNumber: number, packetId: number): Ticket {
    const session = this.#sessions.get(sessionNumber);
    if (session === undefined) return 0;
    session.inboundIds.delete(packetId);
    session.isInboundDirty = true;
    return this.#changed(session, true);
  }

  putRetained(message: Message): Ticket {
    this.#retained.put(message);
    if (this.#options.marksRetained === true) this.#retained.mark(message.topic, true);
    return this.#openTicket();
  }

  removeRetained(topic: string, version: RetainedVersion | null): Ticket {
    this.#retained.remove(topic, version);
    if (this.#options.marksRetained === true) this.#retained.mark(topic, true);
    return this.#openTicket();
  }

  mirrorRetained(topic: string, message: Message | null, version: RetainedVersion | null): Ticket {
    if (message === null) this.#retained.remove(topic, version);
    else this.#retained.put(message);
    return this.#openTicket();
  }

  forgetTombstone(topic: string): void {
    this.#retained.forgetTombstone(topic);
  }

  /**
   * Keeps this of another room (null: no longer) with the commit of all that is changed in the same turn.
   * The value is read when the commit begins.
   */
  putNote(key: string, value: Buffer | null): Ticket {
    this.#retained.note(key, value);
    return this.#openTicket();
  }

  /** The record elsewhere has it: the mark goes with the next commit. */
  confirmRetained(topic: string): void {
    this.#retained.mark(topic, false);
  }

  read(
    sessionNumber: number,
    fromSeq: number,
    messagesMax: number,
    bytesMax: number,
    done: (entries: QueueEntry[], error: Error | null) => void,
  ): void {
    const session = this.#sessions.get(sessionNumber);
    if (session === undefined) {
      this.#options.scheduler.nextTurn(() => done([], null));
      return;
    }
    const last = session.pending.at(-1) ?? session.committing.at(-1);
    const read: PendingRead = { fromSeq, messagesMax, bytesMax, afterSeq: last?.seq ?? 0, done };
    if (last !== undefined || this.#isCommitting || !this.#isOpen) this.#readLater(session, read);
    else void this.#read(session, read);
  }

  get #isOpen(): boolean {
    return this.#db.status === 'open';
  }

  #readLater(session: StoredSession, read: PendingRead): void {
    session.waiting.push(read);
    this.#readsWaiting++;
    this.#changed(session, false);
    this.#schedule();
  }

  async #read(session: StoredSession, read: PendingRead): Promise<void> {
    let entries: QueueEntry[] = [];
    let failure: Error | null = null;
    try {
      entries = await this.#reader.read(session, read);
    } catch (error) {
      if (this.#isStopped) return;
      if (!this.#isOpen || /_NOT_OPEN$/.test((error as { code?: string }).code ?? '')) {
        // The database is being opened again, after a failed write.
        this.#readLater(session, read);
        return;
      }
      failure = error as Error;
    }
    read.done(entries, failure);
  }

  #sessionOf(sessionNumber: number): StoredSession {
    let session = this.#sessions.get(sessionNumber);
    if (session === undefined) {
      session = new StoredSession(sessionNumber, this.#numbers.take());
      this.#sessions.set(sessionNumber, session);
    }
    return session;
  }

  #changed(session: StoredSession, sync: boolean): Ticket {
    if (!session.isDirty) {
      session.isDirty = true;
      this.#dirty.push(session);
    }
    return sync ? this.#openTicket() : 0;
  }

  /** The open batch has to be synced; its ticket. */
  #openTicket(): Ticket {
    this.#isOpenSynced = true;
    this.#schedule();
    return this.#ticket;
  }

  // ------------------------------------------------------------------ commits

  #hasChanges(): boolean {
    return this.#dirty.length > 0 || !this.#retained.isEmpty || this.#doomed.length > 0;
  }

  /** A synced change, or somebody who reads, waits for the next commit. */
  #isAwaited(): boolean {
    return this.#isOpenSynced || (this.#readsWaiting > 0 && this.#isOpen);
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isCommitting || this.#isStopped) return;
    const hasWork = this.writable && (this.#hasChanges() || this.#sweeps.length > 0);
    if (!hasWork && !this.#isAwaited()) return;
    this.#isScheduled = true;
    this.#options.scheduler.endOfTurn(() => {
      this.#isScheduled = false;
      this.#commitNow();
    });
  }

  #commitNow(): void {
    if (this.#isCommitting || this.#isStopped) return;
    this.#isCommitting = true;
    this.#idle = this.#commit();
  }

  /** Instead of a commit. */
  #alone(task: () => Promise<void>): void {
    if (this.#isCommitting || this.#isStopped) return;
    this.#isCommitting = true;
    this.#idle = task().then(() => {
      this.#isCommitting = false;
      this.#schedule();
    });
  }

  async #commit(): Promise<void> {
    const work: Work = {
      sessions: this.#dirty,
      doomed: this.#doomed,
      retained: this.#retained,
      records: new Map(),
      written: null,
    };
    this.#dirty = [];
    this.#doomed = [];
    this.#retained = new RetainedChanges();
    for (const session of work.sessions) {
      session.isDirty = false;
      session.applyChanges();
    }
    const ticket = this.#ticket++;
    const sync = this.#isOpenSynced;
    this.#isOpenSynced = false;
    let failure: Error | null = null;
    try {
      if (!this.writable) throw new Error('the store takes no writes');
      await this.#writeAll(work, sync);
    } catch (error) {
      failure = error as Error;
    }
    if (failure === null) this.#succeeded(work);
    else this.#failed(failure, work);
    this.#report(work.sessions, ticket, failure);
    // Between commits, as both change the counts of blocks; acks are on their way already.
    if (this.#sweeps.length > 0 && this.writable) await this.#sweep();
    if (this.writable) this.#resident.trim();
    this.#isCommitting = false;
    for (const session of work.sessions) this.#readWaiting(session);
    if (this.#isAwaited() || this.#sweeps.length > 0) this.#schedule();
  }

  async #writeAll(work: Work, sync: boolean): Promise<void> {
    const { sessions } = work;
    const batch = this.#db.batch();
    work.written = this.#writer.begin();
    // What is pending now belongs to this ticket, whatever comes while runs are read below.
    this.#writer.writeRuns(
      batch,
      sessions.filter((session) => session.pending.length > 0 && !session.isDeleted),
    );
    for (const session of sessions) this.#writeState(batch, session, work);
    for (const session of work.doomed) writeDoom(batch, session);
    work.retained.write(batch);
    for (const session of sessions) {
      if (session.unresolved.length > 0) await this.#resolve(session);
    }
    for (const session of sessions) {
      if (!session.isDeleted) this.#writeProgress(batch, session);
    }
    await this.#counts.write(batch);
    this.#numbers.write(batch);
    if (batch.length === 0) await batch.close();
    else await this.#write(batch, sync);
  }

  async #write(batch: Batch, sync: boolean): Promise<void> {
    const startMs = performance.now();
    const { write } = this.#options;
    if (write === undefined) await batch.write({ sync });
    else await write(batch, sync);
    this.lastCommitMs = performance.now() - startMs;
    this.commitSecondsTotal += this.lastCommitMs / 1000;
    this.commits++;
  }

  #writeState(batch: Batch, session: StoredSession, work: Work): void {
    if (session.isDeleted) return;
    if (session.record !== null) {
      batch.put(numberKey(Prefix.SESSION, session.serial), encodeSession(session.record));
      work.records.set(session, session.record);
      session.record = null;
    }
    if (session.isInboundDirty) {
      session.isInboundDirty = false;
      const key = numberKey(Prefix.INBOUND, session.serial);
      const { inboundIds } = session;
      if (inboundIds.size === 0) batch.del(key);
      else batch.put(key, encodeNumbers(inboundIds, inboundIds.size));
    }
  }

  /** Reads the runs that changes refer to and that are not in memory. */
  async #resolve(session: StoredSession): Promise<void> {
    const { unresolved } = session;
    for (let i = 0; i < unresolved.length && !session.isDeleted; i += CHANGE_STRIDE) {
      const seq = unresolved[i]!;
      try {
        const run = session.runOf(seq) ?? (await this.#reader.load(session, seq));
        if (run !== null) session.mark(run, seq, unresolved[i + 1]!, unresolved[i + 2]!);
      } catch (error) {
        // Delivered again after a restart: more than owed, never less.
        this.#options.log.error({ err: error, seq }, 'an ack could not be stored');
      }
    }
    session.unresolved = [];
  }

  #writeProgress(batch: Batch, session: StoredSession): void {
    for (const run of session.takeDirtyRuns()) this.#writer.writeProgress(batch, session, run);
    if (session.isTailDirty) {
      session.isTailDirty = false;
      const key = numberKey(Prefix.TAIL, session.serial);
      batch.put(key, encodeNumbers([session.tailSeq], 1));
    }
  }

  /** Tells the core what became of its entries, then of the ticket. */
  #report(sessions: readonly StoredSession[], ticket: Ticket, failure: Error | null): void {
    const events = this.#events!;
    for (const session of sessions) {
      const entries = session.isDeleted
        ? [...session.committing, ...session.pending]
        : session.committing;
      if (session.isDeleted) session.pending = [];
      session.committing = [];
      for (const entry of entries) {
        if (failure !== null && !session.isDeleted) {
          events.entryFailed(entry, session.number);
          continue;
        }
        const wasSettled = entry.state === EntryState.SETTLED;
        entry.durable = true;
        events.entryDurable(entry, session.number);
        // Settled while the commit was under way: stored all the same, and to be removed again.
        if (wasSettled && !session.isDeleted) {
          session.settle(entry.seq, entry.message.bytes);
          this.#changed(session, false);
        }
      }
    }
    events.committed(ticket, failure);
  }

  #readWaiting(session: StoredSession): void {
    if (session.waiting.length === 0) return;
    const firstPending = session.pending[0]?.seq ?? Number.POSITIVE_INFINITY;
    const waiting = session.waiting.splice(0);
    this.#readsWaiting -= waiting.length;
    for (const read of waiting) {
      const isReady = read.afterSeq < firstPending || session.isDeleted;
      if (isReady && this.#isOpen) void this.#read(session, read);
      else this.#readLater(session, read);
    }
  }

  #succeeded(work: Work): void {
    for (const session of work.doomed) this.#sweeps.push(session.serial);
    for (const { session, run } of work.written?.removed ?? []) this.#resident.remove(session, run);
  }

  // ------------------------------------------------------------------ trouble

  /** Keeps what must still be written; entries are the publishers' to send again. */
  #failed(failure: Error, work: Work): void {
    this.failedCommits++;
    this.#counts.forget();
    const { written } = work;
    if (written !== null) {
      for (const { session, run } of written.runs) this.#resident.remove(session, run);
      for (const { session, run } of written.progress) session.touch(run);
      this.#outage.doubt(written);
    }
    for (const session of work.sessions) {
      for (const entry of session.pending.splice(0)) session.committing.push(entry);
      if (session.isDeleted) continue;
      session.record ??= work.records.get(session) ?? null;
      session.isInboundDirty = true;
      session.isTailDirty ||= session.tailSeq > 0;
      this.#changed(session, false);
    }
    for (const session of work.doomed) this.#doomed.push(session);
    this.#retained.takeBack(work.retained);
    this.#numbers.touch();
    this.#outage.begin(failure, 'commit failed; durable publishes are refused');
  }

  /** Removes some of what a deleted session has left. */
  async #sweep(): Promise<void> {
    let isWriting = false;
    const write = (batch: Batch): Promise<void> => {
      isWriting = true;
      return this.#write(batch, false);
    };
    try {
      const isDone = await sweepSome(this.#db, this.#sweeps[0]!, this.#counts, write);
      if (isDone) this.#sweeps.shift();
    } catch (error) {
      this.#counts.forget();
      const failure = error as Error;
      if (isWriting) {
        // It goes on when writes do.
        this.#outage.begin(failure, 'a write failed; durable publishes are refused');
      } else {
        // What cannot be read stays, and its mark: the next start tries again.
        this.#sweeps.shift();
        this.#options.log.error({ err: failure }, 'what a deleted session has left stays for now');
      }
    }
  }
}
