/**
 * What a store has reported, for its tests: the core's side of the port without a core. Also what
 * stores are handed besides: the real loop, and a log that keeps what was said.
 */
import type { Message } from '../../src/core/message.ts';
import { makeMessage } from '../../src/core/message.ts';
import type {
  Log,
  RestoredSession,
  RestoreVisitor,
  SessionRecord,
  SessionStore,
  StoreEvents,
  Ticket,
} from '../../src/core/ports.ts';
import { EntryState, QueueEntry } from '../../src/core/queue-entry.ts';
import type { RetainedVersion } from '../../src/core/retained-version.ts';

export interface Reported {
  readonly kind: 'durable' | 'failed' | 'committed';
  /** Of the entry; 0 for a commit. */
  readonly seq: number;
  readonly sessionNumber: number;
  readonly ticket: Ticket;
  readonly error: Error | null;
}

interface Waiting {
  readonly ticket: Ticket;
  readonly resolve: () => void;
}

export class StoreRecorder implements StoreEvents, RestoreVisitor {
  readonly reported: Reported[] = [];
  readonly sessions: Map<string, RestoredSession> = new Map();
  readonly retainedMessages: Map<string, Message> = new Map();
  committedTicket: Ticket = 0;
  lastError: Error | null = null;
  readonly #waiting: Waiting[] = [];
  readonly #waitingRetained: Waiting[] = [];

  entryDurable(entry: QueueEntry, sessionNumber: number): void {
    this.reported.push({ kind: 'durable', seq: entry.seq, sessionNumber, ticket: 0, error: null });
  }

  /** As the core does: what was not sent is given up, and it is nobody's business any more. */
  entryFailed(entry: QueueEntry, sessionNumber: number): void {
    this.reported.push({ kind: 'failed', seq: entry.seq, sessionNumber, ticket: 0, error: null });
    if (entry.state === EntryState.QUEUED) entry.state = EntryState.SETTLED;
    entry.durable = true;
  }

  committed(ticket: Ticket, error: Error | null): void {
    this.reported.push({ kind: 'committed', seq: 0, sessionNumber: 0, ticket, error });
    this.committedTicket = ticket;
    if (error !== null) this.lastError = error;
    for (const waiter of this.#waiting.splice(0)) {
      if (waiter.ticket <= ticket) waiter.resolve();
      else this.#waiting.push(waiter);
    }
  }

  readonly retainedTold: { readonly ticket: Ticket; readonly error: Error | null }[] = [];

  retainedCommitted(ticket: Ticket, error: Error | null): void {
    this.retainedTold.push({ ticket, error });
    if (error !== null) this.lastError = error;
    for (const waiter of this.#waitingRetained.splice(0)) {
      if (waiter.ticket <= ticket) waiter.resolve();
      else this.#waitingRetained.push(waiter);
    }
  }

  /** As `done`, of a store that `tellsRetained`. */
  async retainedDone(ticket: Ticket): Promise<void> {
    if (ticket <= (this.retainedTold.at(-1)?.ticket ?? 0)) return;
    await new Promise<void>((resolve) => {
      this.#waitingRetained.push({ ticket, resolve });
    });
  }

  session(session: RestoredSession): void {
    this.sessions.set(session.record.clientId, session);
  }

  readonly tombstones: Map<string, RetainedVersion> = new Map();

  tombstone(topic: string, version: RetainedVersion): void {
    this.tombstones.set(topic, version);
  }

  retained(message: Message): void {
    this.retainedMessages.set(message.topic, message);
  }

  /** Resolves when the ticket's commit was reported, whatever became of it. */
  async done(ticket: Ticket): Promise<void> {
    if (ticket <= this.committedTicket) return;
    await new Promise<void>((resolve) => {
      this.#waiting.push({ ticket, resolve });
    });
  }

  of(kind: Reported['kind'], sessionNumber: number): number[] {
    return this.reported
      .filter((event) => event.kind === kind && event.sessionNumber === sessionNumber)
      .map((event) => event.seq);
  }
}

export class LogRecorder implements Log {
  readonly lines: { readonly level: string; readonly fields: object; readonly message: string }[] =
    [];

  debug(fields: object, message: string): void {
    this.lines.push({ level: 'debug', fields, message });
  }

  info(fields: object, message: string): void {
    this.lines.push({ level: 'info', fields, message });
  }

  warn(fields: object, message: string): void {
    this.lines.push({ level: 'warn', fields, message });
  }

  error(fields: object, message: string): void {
    this.lines.push({ level: 'error', fields, message });
  }
}

export function sessionRecord(
  sessionNumber: number,
  clientId: string,
  fields: Partial<SessionRecord> = {},
): SessionRecord {
  return {
    sessionNumber,
    clientId,
    identity: null,
    tenant: '',
    protocolVersion: 5,
    expiryIntervalS: 3600,
    disconnectedAtMs: 0,
    subscriptions: [],
    will: null,
    ...fields,
  };
}

let sequence = 1;

/** A message with the text as payload. */
export function textMessage(text: string, topic = 'a/b'): Message {
  return makeMessage(sequence++, topic, Buffer.from(text), { qos: 1 });
}

export function textOf(message: Message): string {
  return message.payload.toString();
}

export function entryOf(seq: number, message: Message, qos: 1 | 2 = 1): QueueEntry {
  return new QueueEntry(seq, message, qos, false, null, false);
}

/** Settles as the core does. */
export function settle(store: SessionStore, sessionNumber: number, entry: QueueEntry): void {
  entry.state = EntryState.SETTLED;
  store.settle(sessionNumber, entry);
}

/** Releases as the core does after PUBREC. */
export function release(store: SessionStore, sessionNumber: number, entry: QueueEntry): Ticket {
  entry.state = EntryState.RELEASED;
  return store.release(sessionNumber, entry);
}

export interface ReadBounds {
  readonly fromSeq?: number;
  readonly messagesMax?: number;
  readonly bytesMax?: number;
}

export function read(
  store: SessionStore,
  sessionNumber: number,
  bounds: ReadBounds = {},
): Promise<QueueEntry[]> {
  const { fromSeq = 1, messagesMax = 1_000_000, bytesMax = 1e12 } = bounds;
  return new Promise((resolve, reject) => {
    store.read(sessionNumber, fromSeq, messagesMax, bytesMax, (entries, error) => {
      if (error !== null) reject(error);
      else resolve(entries);
    });
  });
}
