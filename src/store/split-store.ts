/**
 * One store made of two: sessions in one (Redis), retained messages in the other (this node's disk). Used
 * by app/ in a datacenter. Both number their commits; the core sees one line of tickets over both, and is
 * told of retained messages besides as soon as the disk has them.
 */
import type { Awaited, SharedEvents, SharedSessions } from '../core/cluster-ports.ts';
import type { Message } from '../core/message.ts';
import type {
  RestoreVisitor,
  Scheduler,
  SessionRecord,
  SessionStore,
  Store,
  StoreEvents,
  Ticket,
} from '../core/ports.ts';
import type { QueueEntry } from '../core/queue-entry.ts';
import type { RetainedVersion } from '../core/retained-version.ts';
import type { GroupChoices, SharedAppend } from '../core/shared-append.ts';
import { Ring } from '../util/ring.ts';
import { TicketLine } from './redis/ticket-line.ts';

/** Tickets of one of the two that are not settled, beside the core's for them. */
class Tickets {
  readonly #line: TicketLine;
  readonly #waiting: Ring<{ readonly inner: Ticket; readonly outer: Ticket }> = new Ring();
  /** What it has settled before this was called with its ticket. */
  #settled: Ticket = 0;

  constructor(line: TicketLine) {
    this.#line = line;
  }

  /** The core's ticket for one of the store's own. */
  of(inner: Ticket): Ticket {
    if (inner === 0 || inner <= this.#settled) return 0;
    const outer = this.#line.take();
    this.#waiting.push({ inner, outer });
    return outer;
  }

  /** The core's ticket for the last one of these; 0: it has none. */
  settle(inner: Ticket, error: Error | null): Ticket {
    this.#settled = Math.max(this.#settled, inner);
    let last: Ticket = 0;
    for (;;) {
      const oldest = this.#waiting.at(0);
      if (oldest === undefined || oldest.inner > inner) return last;
      this.#waiting.shift();
      last = oldest.outer;
      this.#line.settle(last, error);
    }
  }
}

export class SplitStore implements Store, SharedSessions {
  readonly keepsQueues: boolean;
  readonly tellsRetained: boolean = true;
  /** Sessions the retained store has from a time before: they are not this datacenter's. */
  leftSessions = 0;
  readonly #sessions: SessionStore & SharedSessions;
  readonly #retained: Store;
  #events: StoreEvents | null = null;
  readonly #sessionTickets: Tickets;
  readonly #retainedTickets: Tickets;

  constructor(sessions: SessionStore & SharedSessions, retained: Store, scheduler: Scheduler) {
    this.#sessions = sessions;
    this.#retained = retained;
    this.keepsQueues = sessions.keepsQueues;
    const line = new TicketLine(scheduler, (ticket, error) =>
      this.#events!.committed(ticket, error),
    );
    this.#sessionTickets = new Tickets(line);
    this.#retainedTickets = new Tickets(line);
  }

  get writable(): boolean {
    return this.#sessions.writable && this.#retained.writable;
  }

  async start(events: StoreEvents, restore: RestoreVisitor): Promise<void> {
    this.#events = events;
    const nothing = (): void => {};
    await this.#retained.start(
      {
        entryDurable: nothing,
        entryFailed: nothing,
        // Whoever waits for a retained message alone need not wait for Redis.
        committed: (ticket, error) => {
          const last = this.#retainedTickets.settle(ticket, error);
          if (last > 0) events.retainedCommitted?.(last, error);
        },
      },
      {
        session: () => this.leftSessions++,
        retained: (message) => restore.retained(message),
        tombstone: (topic, version) => restore.tombstone?.(topic, version),
      },
    );
    await this.#sessions.start(
      {
        entryDurable: (entry, sessionNumber) => events.entryDurable(entry, sessionNumber),
        entryFailed: (entry, sessionNumber) => events.entryFailed(entry, sessionNumber),
        committed: (ticket, error) => void this.#sessionTickets.settle(ticket, error),
      },
      restore,
    );
  }

  /** Both, whatever becomes of the other. */
  async stop(): Promise<void> {
    try {
      await this.#sessions.stop();
    } finally {
      await this.#retained.stop();
    }
  }

  saveSession(record: SessionRecord): Ticket {
    return this.#sessionTickets.of(this.#sessions.saveSession(record));
  }

  deleteSession(sessionNumber: number): Ticket {
    return this.#sessionTickets.of(this.#sessions.deleteSession(sessionNumber));
  }

  append(sessionNumber: number, entry: QueueEntry): Ticket {
    return this.#sessionTickets.of(this.#sessions.append(sessionNumber, entry));
  }

  settle(sessionNumber: number, entry: QueueEntry): void {
    this.#sessions.settle(sessionNumber, entry);
  }

  release(sessionNumber: number, entry: QueueEntry): Ticket {
    return this.#sessionTickets.of(this.#sessions.release(sessionNumber, entry));
  }

  read(
    sessionNumber: number,
    fromSeq: number,
    messagesMax: number,
    bytesMax: number,
    done: (entries: QueueEntry[], error: Error | null) => void,
  ): void {
    this.#sessions.read(sessionNumber, fromSeq, messagesMax, bytesMax, done);
  }

  // ------------------------------------------------------------------ SharedSessions

  listen(events: SharedEvents): void {
    this.#sessions.listen(events);
  }

  bind(sessionNumber: number, clientId: string, sid: string, epoch: number): void {
    this.#sessions.bind(sessionNumber, clientId, sid, epoch);
  }

  unbind(sessionNumber: number): void {
    this.#sessions.unbind(sessionNumber);
  }

  enqueue(sessionNumber: number, append: SharedAppend): void {
    this.#sessions.enqueue(sessionNumber, append);
  }

  beginInbound(
    sessionNumber: number,
    packetId: number,
    message: Message,
    choices: GroupChoices,
    seq: number,
    awaited: Awaited,
  ): void {
    this.#sessions.beginInbound(sessionNumber, packetId, message, choices, seq, awaited);
  }

  inboundDone(sessionNumber: number, packetId: number): void {
    this.#sessions.inboundDone(sessionNumber, packetId);
  }

  endInbound(sessionNumber: number, packetId: number, awaited: Awaited | null): void {
    this.#sessions.endInbound(sessionNumber, packetId, awaited);
  }

  left(clientId: string, sid: string, epoch: number, expiryIntervalS: number): void {
    this.#sessions.left(clientId, sid, epoch, expiryIntervalS);
  }

  // ------------------------------------------------------------------ the rest of Store

  addInboundId(sessionNumber: number, packetId: number): Ticket {
    return this.#sessionTickets.of(this.#sessions.addInboundId(sessionNumber, packetId));
  }

  removeInboundId(sessionNumber: number, packetId: number): Ticket {
    return this.#sessionTickets.of(this.#sessions.removeInboundId(sessionNumber, packetId));
  }

  putRetained(message: Message): Ticket {
    return this.#retainedTickets.of(this.#retained.putRetained(message));
  }

  removeRetained(topic: string, version: RetainedVersion | null): Ticket {
    return this.#retainedTickets.of(this.#retained.removeRetained(topic, version));
  }

  forgetTombstone(topic: string): void {
    this.#retained.forgetTombstone(topic);
  }
}
