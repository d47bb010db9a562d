/**
 * A store as its contract sees it: sessions are made and messages queued the same way, whether the core
 * gives positions (memory, embedded) or the queue does (Redis).
 */
import type { Message } from '../../src/core/message.ts';
import type { SessionRecord, Store } from '../../src/core/ports.ts';
import { QueueEntry } from '../../src/core/queue-entry.ts';
import type { StoreRecorder } from './store-recorder.ts';

export interface PutOptions {
  readonly qos?: 1 | 2;
  readonly retain?: boolean;
  readonly subscriptionIds?: readonly number[] | null;
}

export interface StoreSubject {
  readonly store: Store;
  readonly events: StoreRecorder;
  /** Makes the session, or writes its record again; resolves when that is stored. */
  create(record: SessionRecord): Promise<void>;
  /** Queues; resolves with the entry, or null when its session is no more, once that is certain. */
  put(sessionNumber: number, message: Message, how?: PutOptions): Promise<QueueEntry | null>;
}

/** Positions from a counter, as the core gives them. */
export class OwnPositions implements StoreSubject {
  readonly store: Store;
  readonly events: StoreRecorder;
  readonly #tails: Map<number, number> = new Map();

  constructor({ store, events }: { readonly store: Store; readonly events: StoreRecorder }) {
    this.store = store;
    this.events = events;
    for (const { record, tailSeq } of events.sessions.values()) {
      this.#tails.set(record.sessionNumber, tailSeq);
    }
  }

  create(record: SessionRecord): Promise<void> {
    return this.events.done(this.store.saveSession(record));
  }

  async put(number: number, message: Message, how: PutOptions = {}): Promise<QueueEntry> {
    const seq = (this.#tails.get(number) ?? 0) + 1;
    this.#tails.set(number, seq);
    const { qos = 1, retain = false, subscriptionIds = null } = how;
    const entry = new QueueEntry(seq, message, qos, retain, subscriptionIds, false);
    await this.events.done(this.store.append(number, entry));
    return entry;
  }
}
