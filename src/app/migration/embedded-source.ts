/**
 * What a node alone has in its data directory, read through the store itself, for `causeway promote`. It
 * is changed only by `remove`, for what has arrived elsewhere; retained messages are not touched at all.
 * The store's lock keeps a running node out.
 */
import { createHash } from 'node:crypto';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import type { Message } from '../../core/message.ts';
import type { Log, RestoredSession, Scheduler, Ticket } from '../../core/ports.ts';
import type { QueueEntry } from '../../core/queue-entry.ts';
import { EmbeddedStore } from '../../store/embedded/embedded-store.ts';
import { encodeSession } from '../../store/embedded/session-codec.ts';
import {
  type CountedThing,
  type LeftOut,
  type MigrationCounts,
  MigrationError,
  type MigrationTally,
  type MovedSession,
  newTally,
  type SessionSource,
} from './migration.ts';

/** Positions and the like that a session's record does not have. */
export interface SourceSession {
  readonly clientId: string;
  /** Of everything about it that a client or a node may have changed. */
  readonly print: string;
  /** Highest position ever given. */
  readonly tailSeq: number;
}

export interface EmbeddedSourceOptions {
  readonly directory: string;
  readonly scheduler: Scheduler;
  readonly log: Log;
  /** Why each of them cannot be moved; null: it can. Asked for some at a time, before they are read. */
  readonly refusals: (sessions: readonly SourceSession[]) => Promise<readonly (string | null)[]>;
}

const ASKED_AT_ONCE = 256;
const READ_MESSAGES = 512;
const READ_BYTES = 1024 * 1024;
const REMOVED_AT_ONCE = 1024;

export class EmbeddedSource implements SessionSource {
  /** They stay where they are. */
  retainedMessages = 0;
  readonly #options: EmbeddedSourceOptions;
  /** Made by `open`: making one opens it, and would create what is not there. */
  #store!: EmbeddedStore;
  readonly #sessions: RestoredSession[] = [];
  readonly #counts: MigrationTally = newTally();
  readonly #moved: Set<RestoredSession> = new Set();
  readonly #byClient: Map<string, SourceSession> = new Map();
  #settledTicket: Ticket = 0;
  #failure: Error | null = null;
  #wake: () => void = () => {};

  constructor(options: EmbeddedSourceOptions) {
    this.#options = options;
  }

  /** Throws a StoreOpenError when a node has it open, and a MigrationError when nothing is there. */
  async open(): Promise<void> {
    const { directory } = this.#options;
    try {
      await access(join(directory, 'CURRENT'));
    } catch {
      throw new MigrationError(`${directory} is not the data directory of a node (--data)`);
    }
    const counts = this.#counts;
    this.#store = new EmbeddedStore(this.#options);
    await this.#store.start(
      {
        entryDurable: () => {},
        entryFailed: () => {},
        committed: (ticket, error) => {
          this.#settledTicket = ticket;
          if (error !== null) this.#failure = error;
          this.#wake();
        },
      },
      {
        session: (session) => {
          this.#sessions.push(session);
          counts.sessions++;
          counts.subscriptions += session.record.subscriptions.length;
          counts.queued += session.queuedMessages;
          counts.inbound += session.inboundIds.length;
          if (session.record.will !== null) counts.wills++;
        },
        retained: () => this.retainedMessages++,
      },
    );
  }

  /** Nobody else can have changed it since: the lock is ours. */
  counts(): Promise<MigrationCounts> {
    return Promise.resolve({ ...this.#counts });
  }

  /** Of the session that was handed over last, or before. */
  sessionOf(clientId: string): SourceSession {
    const session = this.#byClient.get(clientId);
    if (session === undefined) throw new Error('that session was not handed over');
    return session;
  }

  async *sessions(leftOut: (item: LeftOut) => void): AsyncIterable<MovedSession> {
    for (let from = 0; from < this.#sessions.length; from += ASKED_AT_ONCE) {
      const batch = this.#sessions.slice(from, from + ASKED_AT_ONCE);
      const asked = batch.map(sourceSession);
      const refusals = await this.#options.refusals(asked);
      this.#byClient.clear();
      for (const [index, session] of batch.entries()) {
        const why = refusals[index] ?? null;
        if (why !== null) {
          leaveOut(session, why, leftOut);
          continue;
        }
        this.#byClient.set(session.record.clientId, asked[index]!);
        this.#moved.add(session);
        const { sessionNumber: _, ...record } = session.record;
        yield { record, inboundIds: session.inboundIds, queue: this.#queue(session, leftOut) };
      }
    }
  }

  /** Each node keeps its own. */
  async *retained(): AsyncIterable<Message> {}

  /** The sessions that were handed over; nothing of them is left here. Gives how many. */
  async remove(): Promise<number> {
    let count = 0;
    for (const { record } of this.#moved) {
      const ticket = this.#store.deleteSession(record.sessionNumber);
      count++;
      if (count % REMOVED_AT_ONCE === 0 || count === this.#moved.size) await this.#durable(ticket);
    }
    return count;
  }

  /** Whether a session is left, once the others are removed. */
  get hasRest(): boolean {
    return this.#moved.size < this.#sessions.length;
  }

  async close(): Promise<void> {
    await this.#store.stop();
  }

  async *#queue(
    { record, headSeq, queuedMessages }: RestoredSession,
    leftOut: (item: LeftOut) => void,
  ): AsyncIterable<QueueEntry> {
    let count = 0;
    for (let from = Math.max(headSeq, 1); count < queuedMessages; ) {
      const entries = await this.#read(record.sessionNumber, from);
      if (entries.length === 0) break;
      for (const entry of entries) {
        count++;
        yield entry;
      }
      from = entries.at(-1)!.seq + 1;
    }
    // The store has moved them aside, and its log says so.
    for (; count < queuedMessages; count++) {
      const why = 'the message is damaged and cannot be read';
      leftOut({ what: 'queued', isLoss: true, where: record.clientId, why });
    }
  }

  #read(sessionNumber: number, fromSeq: number): Promise<QueueEntry[]> {
    return new Promise((resolve, reject) => {
      this.#store.read(sessionNumber, fromSeq, READ_MESSAGES, READ_BYTES, (entries, error) => {
        if (error === null) resolve(entries);
        else reject(error);
      });
    });
  }

  async #durable(ticket: Ticket): Promise<void> {
    while (this.#settledTicket < ticket && this.#failure === null) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#failure === null) return;
    const { directory } = this.#options;
    throw new MigrationError(
      `everything has arrived, but ${directory} could not be written (${this.#failure.message}): ` +
        'correct that and run it again, before a node uses the directory alone',
    );
  }
}

function sourceSession({
  record,
  headSeq,
  tailSeq,
  queuedMessages,
  queuedBytes,
  inboundIds,
}: RestoredSession): SourceSession {
  // The number of a session is never used again in a directory.
  const numbers = [record.sessionNumber, headSeq, tailSeq, queuedMessages, queuedBytes];
  const hash = createHash('sha256');
  hash.update(`${numbers.join(' ')}:${[...inboundIds].sort().join(' ')}:`);
  hash.update(encodeSession(record));
  const print = hash.digest('hex').slice(0, 32);
  return { clientId: record.clientId, print, tailSeq };
}

function leaveOut(
  { record, queuedMessages, inboundIds }: RestoredSession,
  why: string,
  leftOut: (item: LeftOut) => void,
): void {
  const where = record.clientId;
  const leave = (what: CountedThing, count: number): void => {
    for (let i = 0; i < count; i++) leftOut({ what, isLoss: true, where, why });
  };
  leave('sessions', 1);
  leave('subscriptions', record.subscriptions.length);
  leave('queued', queuedMessages);
  leave('inbound', inboundIds.length);
  leave('wills', record.will === null ? 0 : 1);
}
