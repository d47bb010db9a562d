/**
 * One store made of two: sessions in one (Redis), retained messages in the other (this node's disk, or
 * Cassandra with it). Used by app/ in a datacenter. Each has tickets of its own: who waits for a retained
 * message does not wait for Redis, nor the other way round.
 */
import type { Awaited, SharedEvents, SharedSessions } from '../core/cluster-ports.ts';
import type { Message } from '../core/message.ts';
import type {
  RestoreVisitor,
  SessionRecord,
  SessionStore,
  Store,
  StoreEvents,
  Ticket,
} from '../core/ports.ts';
import type { QueueEntry } from '../core/queue-entry.ts';
import type { RetainedVersion } from '../core/retained-version.ts';
import type { GroupChoices, SharedAppend } from '../core/shared-append.ts';

export class SplitStore implements Store, SharedSessions {
  readonly keepsQueues: boolean;
  readonly tellsRetained: boolean = true;
  /** Sessions the retained store has from a time before: they are not this datacenter's. */
  leftSessions = 0;
  readonly #sessions: SessionStore & SharedSessions;
  readonly #retained: Store;

  constructor(sessions: SessionStore & SharedSessions, retained: Store) {
    this.#sessions = sessions;
    this.#retained = retained;
    this.keepsQueues = sessions.keepsQueues;
  }

  get writable(): boolean {
    return this.#sessions.writable && this.#retained.writable;
  }

  async start(events: StoreEvents, restore: RestoreVisitor): Promise<void> {
    const nothing = (): void => {};
    await this.#retained.start(
      {
        entryDurable: nothing,
        entryFailed: nothing,
        committed: (ticket, error) => {
          if (this.#retained.tellsRetained !== true) events.retainedCommitted?.(ticket, error);
        },
        retainedCommitted: (ticket, error) => events.retainedCommitted?.(ticket, error),
      },
      {
        session: () => this.leftSessions++,
        retained: (message) => restore.retained(message),
        tombstone: (topic, version) => restore.tombstone?.(topic, version),
        unconfirmed: (topic) => restore.unconfirmed?.(topic),
      },
    );
    await this.#sessions.start(
      {
        entryDurable: (entry, sessionNumber) => events.entryDurable(entry, sessionNumber),
        entryFailed: (entry, sessionNumber) => events.entryFailed(entry, sessionNumber),
        committed: (ticket, error) => events.committed(ticket, error),
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
    return this.#sessions.saveSession(record);
  }

  deleteSession(sessionNumber: number): Ticket {
    return this.#sessions.deleteSession(sessionNumber);
  }

  append(sessionNumber: number, entry: QueueEntry): Ticket {
    return this.#sessions.append(sessionNumber, entry);
  }

  settle(sessionNumber: number, entry: QueueEntry): void {
    this.#sessions.settle(sessionNumber, entry);
  }

  settleStored(sessionNumber: number, seq: number, messageBytes: number): void {
    this.#sessions.settleStored(sessionNumber, seq, messageBytes);
  }

  release(sessionNumber: number, entry: QueueEntry): Ticket {
    return this.#sessions.release(sessionNumber, entry);
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

  get isFull(): boolean {
    return this.#sessions.isFull;
  }

  enqueue(sessionNumber: number, append: SharedAppend): void {
    this.#sessions.enqueue(sessionNumber, append);
  }

  tookUpTo(sessionNumber: number, publisherSid: string, done: (seq: number | null) => void): void {
    this.#sessions.tookUpTo(sessionNumber, publisherSid, done);
  }

  whenAppended(sessionNumber: number, then: () => void): void {
    this.#sessions.whenAppended(sessionNumber, then);
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
    return this.#sessions.addInboundId(sessionNumber, packetId);
  }

  removeInboundId(sessionNumber: number, packetId: number): Ticket {
    return this.#sessions.removeInboundId(sessionNumber, packetId);
  }

  putRetained(message: Message): Ticket {
    return this.#retained.putRetained(message);
  }

  removeRetained(topic: string, version: RetainedVersion | null, isAwaited?: boolean): Ticket {
    return this.#retained.removeRetained(topic, version, isAwaited);
  }

  mirrorRetained(topic: string, message: Message | null, version: RetainedVersion | null): Ticket {
    return this.#retained.mirrorRetained(topic, message, version);
  }

  forgetTombstone(topic: string): void {
    this.#retained.forgetTombstone(topic);
  }
}
