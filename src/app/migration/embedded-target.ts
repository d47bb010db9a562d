/**
 * Fills a data directory of the embedded store, through the store itself: what it writes is what a
 * node has written, and what it counts at the end is what a node will find at its start.
 */
import type { Message } from '../../core/message.ts';
import type { Log, RestoreVisitor, Scheduler, StoreEvents, Ticket } from '../../core/ports.ts';
import { EntryState, type QueueEntry } from '../../core/queue-entry.ts';
import { EmbeddedStore } from '../../store/embedded/embedded-store.ts';
import {
  type MigrationCounts,
  MigrationError,
  type MigrationTally,
  type MovedSession,
  newTally,
  type SessionTarget,
} from './migration.ts';

/** Handed to the store and not yet durable; above it the source waits. */
const UNSTORED_BYTES_MAX = 16 * 1024 * 1024;
/** What an entry or record costs beside its message. */
const ENTRY_BYTES = 200;

export interface EmbeddedTargetOptions {
  readonly directory: string;
  readonly scheduler: Scheduler;
  readonly log: Log;
}

export class EmbeddedTarget implements SessionTarget {
  readonly #options: EmbeddedTargetOptions;
  #store: EmbeddedStore | null = null;
  #nextNumber = 1;
  #unstoredBytes = 0;
  #settledTicket: Ticket = 0;
  #failure: Error | null = null;
  #wake: () => void = () => {};

  constructor(options: EmbeddedTargetOptions) {
    this.#options = options;
  }

  async open(): Promise<void> {
    const { directory } = this.#options;
    const store = new EmbeddedStore(this.#options);
    const there = newTally();
    await store.start(this.#events(), counting(there));
    if (there.sessions > 0 || there.retained > 0) {
      await store.stop();
      throw new MigrationError(
        `${directory} already holds ${there.sessions} sessions and ${there.retained} retained ` +
          'messages, and nothing is mixed into them: name a directory that does not exist yet ' +
          '(--data), or move that one away',
      );
    }
    this.#store = store;
  }

  async addSession({ record, inboundIds, queue }: MovedSession): Promise<void> {
    const store = this.#opened();
    const sessionNumber = this.#nextNumber++;
    let ticket = store.saveSession({ ...record, sessionNumber });
    this.#unstoredBytes += ENTRY_BYTES * (1 + record.subscriptions.length);
    const released: QueueEntry[] = [];
    for await (const entry of queue) {
      // The store learns of PUBREC once it has the entry.
      if (entry.state === EntryState.RELEASED) released.push(entry);
      entry.state = EntryState.QUEUED;
      ticket = store.append(sessionNumber, entry);
      this.#unstoredBytes += ENTRY_BYTES + entry.message.bytes;
      if (this.#unstoredBytes > UNSTORED_BYTES_MAX) await this.#durable(ticket);
    }
    for (const packetId of inboundIds) ticket = store.addInboundId(sessionNumber, packetId);
    if (released.length > 0) {
      await this.#durable(ticket);
      for (const entry of released) {
        entry.state = EntryState.RELEASED;
        ticket = store.release(sessionNumber, entry);
      }
    }
    if (this.#unstoredBytes > UNSTORED_BYTES_MAX) await this.#durable(ticket);
  }

  async addRetained(message: Message): Promise<void> {
    const ticket = this.#opened().putRetained(message);
    this.#unstoredBytes += ENTRY_BYTES + message.bytes;
    if (this.#unstoredBytes > UNSTORED_BYTES_MAX) await this.#durable(ticket);
  }

  async finish(): Promise<MigrationCounts> {
    await this.#opened().stop();
    this.#store = null;
    this.#expectNoFailure();
    const stored = newTally();
    const store = new EmbeddedStore(this.#options);
    await store.start(this.#events(), counting(stored));
    await store.stop();
    return stored;
  }

  async abandon(): Promise<void> {
    await this.#store?.stop();
    this.#store = null;
  }

  #opened(): EmbeddedStore {
    if (this.#store === null) throw new Error('the target is not open');
    return this.#store;
  }

  #events(): StoreEvents {
    return {
      entryDurable: () => {},
      entryFailed: () => {
        this.#failure ??= new Error('an entry could not be stored');
      },
      committed: (ticket, error) => {
        this.#settledTicket = ticket;
        if (error !== null) this.#failure = error;
        this.#wake();
      },
    };
  }

  async #durable(ticket: Ticket): Promise<void> {
    while (this.#settledTicket < ticket && this.#failure === null) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#expectNoFailure();
    this.#unstoredBytes = 0;
  }

  #expectNoFailure(): void {
    if (this.#failure === null) return;
    const { directory } = this.#options;
    throw new MigrationError(
      `${directory} could not be written (${this.#failure.message}): correct that, remove the ` +
        'directory, and begin again',
    );
  }
}

function counting(tally: MigrationTally): RestoreVisitor {
  return {
    session: ({ record, queuedMessages, inboundIds }) => {
      tally.sessions++;
      tally.subscriptions += record.subscriptions.length;
      tally.queued += queuedMessages;
      tally.inbound += inboundIds.length;
      if (record.will !== null) tally.wills++;
    },
    retained: () => {
      tally.retained++;
    },
  };
}
