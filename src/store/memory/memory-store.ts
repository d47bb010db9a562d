/**
 * A store that keeps nothing: for `--ephemeral` and tests. The core's own queues and indexes are the
 * only record, so every change is as durable as it will ever be at once.
 */
import type { Store, StoreEvents, Ticket } from '../../core/ports.ts';
import type { QueueEntry } from '../../core/queue-entry.ts';

export class MemoryStore implements Store {
  readonly keepsQueues = false;
  readonly writable = true;

  start(_events: StoreEvents): Promise<void> {
    return Promise.resolve();
  }

  saveSession(): Ticket {
    return 0;
  }

  deleteSession(): Ticket {
    return 0;
  }

  append(_sessionNumber: number, entry: QueueEntry): Ticket {
    entry.durable = true;
    return 0;
  }

  settle(): void {}

  settleStored(): void {}

  release(): Ticket {
    return 0;
  }

  /** Nothing is stored that the core does not hold. */
  read(
    _sessionNumber: number,
    _fromSeq: number,
    _messagesMax: number,
    _bytesMax: number,
    done: (entries: QueueEntry[], error: Error | null) => void,
  ): void {
    queueMicrotask(() => done([], null));
  }

  addInboundId(): Ticket {
    return 0;
  }

  removeInboundId(): Ticket {
    return 0;
  }

  putRetained(): Ticket {
    return 0;
  }

  removeRetained(): Ticket {
    return 0;
  }

  mirrorRetained(): Ticket {
    return 0;
  }

  forgetTombstone(): void {}

  stop(): Promise<void> {
    return Promise.resolve();
  }
}
