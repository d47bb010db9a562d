/**
 * Durable sessions, queues and retained messages in LevelDB. Calls collect; one synced batch commits
 * what a loop turn, or the time of the commit before it, has brought; then acks are released. What is
 * settled is written along, without a sync of its own. It implements the core's `Store` and knows
 * neither sockets nor sessions beyond their records.
 */
import { chmod, mkdir } from 'node:fs/promises';
import { ClassicLevel } from 'classic-level';
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
import { BlockCounts } from './block-counts.ts';
import { CommitWriter } from './commit-writer.ts';
import { numberKey, Prefix, plainKey, quarantineKey, retainedKey } from './keys.ts';
import { messageBytesMax, writeMessage } from './message-codec.ts';
import { recover, SCHEMA_VERSION } from './recovery.ts';
import { type Database, RunReader } from './run-reader.ts';
import { SEAL_BYTES, seal } from './seal.ts';
import { decodeNumbers, encodeNumbers, encodeSession } from './session-codec.ts';
import { type PendingRead, StoredSession } from './stored-session.ts';
import { sweepSome } from './sweeper.ts';

type Batch = ReturnType<Database['batch']>;

export interface EmbeddedStoreOptions {
  /** Made when missing, mode 0700. */
  readonly directory: string;
  readonly scheduler: Scheduler;
  readonly log: Log;
  /** Writes a batch; tests hand in one that fails. */
  readonly write?: ((batch: Batch, sync: boolean) => Promise<void>) | undefined;
}

/** What one commit writes. */
interface Work {
  readonly sessions: readonly StoredSession[];
  readonly doomed: readonly StoredSession[];
  readonly retained: ReadonlyMap<string, Message | null>;
  /** Session records in it, to be written again if it fails. */
  readonly records: Map<StoredSession, SessionRecord>;
}

/** Numbers taken from the stored counter at a time. */
const NUMBERS_RESERVED = 4096;
/** Settled entries are on disk after this at the latest, without a sync. */
const IDLE_FLUSH_MS = 1000;
const PROBE_MS = 1000;
const WRITE_BUFFER_BYTES = 4 * 1024 * 1024;
const CACHE_BYTES = 4 * 1024 * 1024;

/** The directory cannot be used; the message says why and what to do. */
export class StoreOpenError extends Error {}

export class EmbeddedStore implements Store {
  readonly keepsQueues = true;
  writable = true;

  // Read by the metrics page.
  commits = 0;
  commitSecondsTotal = 0;
  lastCommitMs = 0;
  failedCommits = 0;
  quarantined = 0;

  readonly #options: EmbeddedStoreOptions;
  readonly #db: Database;
  readonly #reader: RunReader;
  readonly #writer: CommitWriter;
  readonly #counts: BlockCounts;
  readonly #sessions: Map<number, StoredSession> = new Map();
  #events: StoreEvents | null = null;

  /** Sessions with something to write. */
  #dirty: StoredSession[] = [];
  #retained: Map<string, Message | null> = new Map();
  #doomed: StoredSession[] = [];
  #ticket: Ticket = 1;
  /** Something of the open batch must be synced. */
  #isOpenSynced = false;
  #isScheduled = false;
  #isCommitting = false;
  #isStopped = false;
  #idle: Promise<void> = Promise.resolve();
  /** Serials of deleted sessions whose runs are still there. */
  readonly #sweeps: number[] = [];
  #reserved = 0;
  #nextNumber = 0;
  #areNumbersDirty = false;
  #stopTimers: (() => void)[] = [];
  #stopProbe: (() => void) | null = null;

  constructor(options: EmbeddedStoreOptions) {
    this.#options = options;
    this.#db = new ClassicLevel<Buffer, Buffer>(options.directory, {
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
      writeBufferSize: WRITE_BUFFER_BYTES,
      cacheSize: CACHE_BYTES,
    });
    this.#reader = new RunReader(this.#db, (key, value, why) => this.#quarantine(key, value, why));
    this.#writer = new CommitWriter(() => this.#takeNumber());
    this.#counts = new BlockCounts(this.#db);
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
    await this.#open();
    await this.#checkVersion();
    const numbers = await this.#db.get(plainKey(Prefix.NUMBERS));
    this.#reserved = numbers === undefined ? 1 : (decodeNumbers(numbers)[0] ?? 1);
    this.#nextNumber = this.#reserved;
    const quarantine = (key: Buffer, value: Buffer, why: string): Promise<void> =>
      this.#quarantine(key, value, why);
    const { sessions, doomed } = await recover(this.#db, restore, quarantine);
    for (const session of sessions) this.#sessions.set(session.number, session);
    for (const serial of doomed) this.#sweeps.push(serial);
    const { scheduler } = this.#options;
    this.#stopTimers.push(scheduler.every(IDLE_FLUSH_MS, () => this.#schedule()));
  }

  async #open(): Promise<void> {
    const { directory } = this.#options;
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await chmod(directory, 0o700);
      await this.#db.open();
    } catch (error) {
      throw openError(directory, error);
    }
  }

  async #checkVersion(): Promise<void> {
    const key = plainKey(Prefix.VERSION);
    const value = await this.#db.get(key);
    if (value === undefined) {
      await this.#db.put(key, encodeNumbers([SCHEMA_VERSION], 1), { sync: true });
      return;
    }
    const found = decodeNumbers(value)[0] ?? 0;
    if (found > SCHEMA_VERSION) {
      await this.#db.close();
      throw new StoreOpenError(
        `the data in ${this.#options.directory} has schema version ${found}, this program knows ` +
          `${SCHEMA_VERSION}: start the newer program that wrote it, or choose another directory`,
      );
    }
  }

  async stop(): Promise<void> {
    if (this.#isStopped) return;
    for (const stopTimer of this.#stopTimers) stopTimer();
    this.#stopProbe?.();
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
    if (!entry.durable) return;
    const session = this.#sessions.get(sessionNumber);
    if (session === undefined) return;
    session.changes.push(entry.seq, EntryState.SETTLED);
    this.#changed(session, false);
  }

  release(sessionNumber: number, entry: QueueEntry): Ticket {
    const session = this.#sessionOf(sessionNumber);
    session.changes.push(entry.seq, EntryState.RELEASED);
    return this.#changed(session, true);
  }

  addInboundId(sessionNumber: number, packetId: number): Ticket {
    const session = this.#sessionOf(sessionNumber);
    session.inboundIds.add(packetId);
    session.isInboundDirty = true;
    return this.#changed(session, true);
  }

  removeInboundId(sessionNumber: number, packetId: number): Ticket {
    const session = this.#sessionOf(sessionNumber);
    session.inboundIds.delete(packetId);
    session.isInboundDirty = true;
    return this.#changed(session, true);
  }

  putRetained(message: Message): Ticket {
    this.#retained.set(message.topic, message);
    return this.#openTicket();
  }

  removeRetained(topic: string): Ticket {
    this.#retained.set(topic, null);
    return this.#openTicket();
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
    if (last !== undefined || this.#isCommitting) {
      session.waiting.push(read);
      this.#changed(session, false);
      this.#schedule();
    } else {
      void this.#read(session, read);
    }
  }

  async #read(session: StoredSession, read: PendingRead): Promise<void> {
    try {
      await this.#applyChanges(session);
      const entries = await this.#reader.read(session, read);
      read.done(entries, null);
    } catch (error) {
      read.done([], error as Error);
    }
  }

  #sessionOf(sessionNumber: number): StoredSession {
    let session = this.#sessions.get(sessionNumber);
    if (session === undefined) {
      session = new StoredSession(sessionNumber, this.#takeNumber());
      this.#sessions.set(sessionNumber, session);
    }
    return session;
  }

  #takeNumber(): number {
    if (this.#nextNumber >= this.#reserved) {
      this.#reserved = this.#nextNumber + NUMBERS_RESERVED;
      this.#areNumbersDirty = true;
    }
    return this.#nextNumber++;
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
    return this.#dirty.length > 0 || this.#retained.size > 0 || this.#doomed.length > 0;
  }

  #hasWork(): boolean {
    return this.#hasChanges() || this.#sweeps.length > 0;
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isCommitting || this.#isStopped || !this.#hasWork()) return;
    this.#isScheduled = true;
    this.#options.scheduler.endOfTurn(() => {
      this.#isScheduled = false;
      this.#commitNow();
    });
  }

  #commitNow(): void {
    if (this.#isCommitting || this.#isStopped || !this.#hasWork()) return;
    this.#isCommitting = true;
    this.#idle = this.#commit();
  }

  async #commit(): Promise<void> {
    const work: Work = {
      sessions: this.#dirty,
      doomed: this.#doomed,
      retained: this.#retained,
      records: new Map(),
    };
    this.#dirty = [];
    this.#doomed = [];
    this.#retained = new Map();
    for (const session of work.sessions) session.isDirty = false;
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
    if (failure === null) {
      for (const session of work.doomed) this.#sweeps.push(session.serial);
    } else {
      this.#failed(failure, work);
    }
    this.#report(work.sessions, ticket, failure);
    // Between commits, as both change the counts of blocks; acks are on their way already.
    if (this.#sweeps.length > 0 && this.writable) await this.#sweep();
    this.#isCommitting = false;
    for (const session of work.sessions) this.#readWaiting(session);
    this.#scheduleNext();
  }

  async #writeAll(work: Work, sync: boolean): Promise<void> {
    const { sessions } = work;
    const batch = this.#db.batch();
    this.#writer.begin();
    // What is pending now belongs to this ticket, whatever comes while runs are read below.
    this.#writer.writeRuns(
      batch,
      sessions.filter((session) => session.pending.length > 0 && !session.isDeleted),
    );
    for (const session of sessions) this.#writeState(batch, session, work);
    for (const session of work.doomed) writeDoom(batch, session);
    for (const [topic, message] of work.retained) writeRetained(batch, topic, message);
    for (const session of sessions) {
      if (session.isDeleted) continue;
      await this.#applyChanges(session);
      this.#writeProgress(batch, session);
    }
    await this.#counts.write(batch);
    if (this.#areNumbersDirty) {
      batch.put(plainKey(Prefix.NUMBERS), encodeNumbers([this.#reserved], 1));
      this.#areNumbersDirty = false;
    }
    await this.#write(batch, sync);
  }

  /** Goes on at once when something synced, or somebody who reads, waits. */
  #scheduleNext(): void {
    const isWaitedFor =
      this.#isOpenSynced ||
      this.#sweeps.length > 0 ||
      this.#dirty.some((session) => session.waiting.length > 0);
    if (isWaitedFor) this.#schedule();
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

  /** Brings what was settled and released into the runs' states, reading runs that are not held. */
  async #applyChanges(session: StoredSession): Promise<void> {
    const { changes } = session;
    if (changes.length === 0) return;
    session.changes = [];
    for (let i = 0; i < changes.length; i += 2) {
      const seq = changes[i]!;
      const run = session.runOf(seq) ?? (await this.#reader.load(session, seq));
      run?.set(seq, changes[i + 1]!);
    }
  }

  #writeProgress(batch: Batch, session: StoredSession): void {
    for (const run of [...session.runs]) {
      if (!run.isDirty) continue;
      if (run.isSettled) for (const block of run.blocks) this.#counts.release(block);
      this.#writer.writeProgress(batch, session, run);
    }
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
          session.changes.push(entry.seq, EntryState.SETTLED);
          this.#changed(session, false);
        }
      }
    }
    events.committed(ticket, failure);
  }

  #readWaiting(session: StoredSession): void {
    if (session.waiting.length === 0) return;
    const firstPending = session.pending[0]?.seq ?? Number.POSITIVE_INFINITY;
    for (const read of session.waiting.splice(0)) {
      if (read.afterSeq < firstPending || session.isDeleted) void this.#read(session, read);
      else session.waiting.push(read);
    }
    if (session.waiting.length > 0) this.#changed(session, false);
  }

  // ------------------------------------------------------------------ trouble

  /** Keeps what must still be written; entries are the publishers' to send again. */
  #failed(failure: Error, work: Work): void {
    this.failedCommits++;
    this.#writer.undo();
    this.#counts.forget();
    for (const session of work.sessions) {
      for (const entry of session.pending.splice(0)) session.committing.push(entry);
      if (session.isDeleted) continue;
      session.record ??= work.records.get(session) ?? null;
      session.isInboundDirty = true;
      session.isTailDirty ||= session.tailSeq > 0;
      for (const run of session.runs) run.isDirty ||= run.states.size > 0;
      this.#changed(session, false);
    }
    for (const session of work.doomed) this.#doomed.push(session);
    for (const [topic, message] of work.retained) {
      if (!this.#retained.has(topic)) this.#retained.set(topic, message);
    }
    this.#areNumbersDirty = true;
    if (!this.writable) return;
    this.writable = false;
    const { log, scheduler, directory } = this.#options;
    log.error({ err: failure, directory }, 'commit failed; durable publishes are refused');
    this.#stopProbe = scheduler.every(PROBE_MS, () => void this.#probe());
  }

  /** Writes a little; when that works, so does the store. */
  async #probe(): Promise<void> {
    try {
      const batch = this.#db.batch();
      batch.put(plainKey(Prefix.PROBE), encodeNumbers([Date.now()], 1));
      const { write } = this.#options;
      if (write === undefined) await batch.write({ sync: true });
      else await write(batch, true);
    } catch {
      return;
    }
    if (this.writable) return;
    this.writable = true;
    this.#stopProbe?.();
    this.#stopProbe = null;
    this.#options.log.info({ directory: this.#options.directory }, 'the store takes writes again');
    this.#schedule();
  }

  /** Moves a record that cannot be decoded aside, for people to look at. */
  async #quarantine(key: Buffer, value: Buffer, why: string): Promise<void> {
    this.quarantined++;
    const { log } = this.#options;
    log.error({ key: key.toString('hex'), why }, 'damaged record moved aside');
    await this.#db.batch().put(quarantineKey(key), value).del(key).write({ sync: true });
  }

  /** Removes some of what a deleted session has left. */
  async #sweep(): Promise<void> {
    try {
      const isDone = await sweepSome(this.#db, this.#sweeps[0]!, this.#counts);
      if (isDone) this.#sweeps.shift();
    } catch (error) {
      // Its mark stays: the next start goes on.
      this.#counts.forget();
      this.#sweeps.shift();
      this.#options.log.error({ err: error }, 'removal of a session stopped');
    }
  }
}

function writeDoom(batch: Batch, session: StoredSession): void {
  batch.put(numberKey(Prefix.DOOMED, session.serial), encodeNumbers([], 0));
  batch.del(numberKey(Prefix.SESSION, session.serial));
  batch.del(numberKey(Prefix.INBOUND, session.serial));
  batch.del(numberKey(Prefix.TAIL, session.serial));
}

function writeRetained(batch: Batch, topic: string, message: Message | null): void {
  const key = retainedKey(topic);
  if (message === null) {
    batch.del(key);
    return;
  }
  const out = Buffer.allocUnsafe(messageBytesMax(message) + SEAL_BYTES);
  const end = seal(out, 0, writeMessage(out, 0, message, 0));
  batch.put(key, out.subarray(0, end));
}

function openError(directory: string, error: unknown): StoreOpenError {
  const { code, cause, message } = error as NodeJS.ErrnoException & { cause?: Error };
  const inner = cause as NodeJS.ErrnoException | undefined;
  if (inner?.code === 'LEVEL_LOCKED' || /lock/i.test(inner?.message ?? '')) {
    return new StoreOpenError(
      `${directory} is in use by another process; stop it, or choose another directory (--data)`,
    );
  }
  const why = inner?.message ?? message;
  const what = code === 'EACCES' || /permission/i.test(why) ? 'may not be used by this user' : why;
  return new StoreOpenError(`${directory} cannot be opened as the data directory: ${what}`);
}
