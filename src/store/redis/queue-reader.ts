/**
 * Reads the queue of an owned session from Redis: what is not settled, in order, with what was released
 * marked so. Values that cannot be decoded are set aside; the entries behind them are read all the same.
 */
import { EntryState, type QueueEntry } from '../../core/queue-entry.ts';
import { RecordDamage } from '../embedded/damage.ts';
import { MessageMemory } from '../embedded/message-codec.ts';
import { decodeEntry, type StoredEntry } from './entry-codec.ts';
import { type ReadReply, readCall, readReply, sessionRead } from './functions/session-queue.ts';
import type { Quarantine } from './opened-record.ts';
import type { OwnerLane } from './owner-lane.ts';
import { NewerRecord } from './record-version.ts';
import type { RedisCalls } from './redis-calls.ts';
import type { StoreCounters } from './store-counters.ts';

export interface QueueReaderOptions {
  readonly calls: RedisCalls;
  readonly counters: StoreCounters;
  readonly quarantine: Quarantine;
  /** Nothing is owed for the position. */
  readonly settle: (lane: OwnerLane, seq: number) => void;
}

/** Redis has a long script's time for one of these; more is asked for in turns. */
const COUNT_MAX = 1024;

export class QueueReader {
  readonly #options: QueueReaderOptions;
  readonly #memory: MessageMemory = new MessageMemory();

  constructor(options: QueueReaderOptions) {
    this.#options = options;
  }

  /** `done` is called once, later; it waits for Redis while the session is here. */
  read(
    lane: OwnerLane,
    fromSeq: number,
    messagesMax: number,
    bytesMax: number,
    done: (entries: QueueEntry[], error: Error | null) => void,
  ): void {
    const { calls, counters } = this.#options;
    counters.reads++;
    const entries: QueueEntry[] = [];
    let bytesLeft = bytesMax;
    const page = (from: number): void => {
      const count = Math.min(messagesMax - entries.length, COUNT_MAX);
      const call = readCall(lane.keys, lane.sid, from, count, Math.ceil(bytesLeft));
      calls.call(sessionRead, call, readReply, (failure, reply) => {
        if (!lane.isBound) {
          done([], null);
        } else if (failure !== null) {
          calls.again(failure, () => page(from));
        } else if (reply === null) {
          // Ended, or Redis was emptied: either way nothing of it is there.
          done(entries, null);
        } else {
          bytesLeft -= this.#take(lane, reply, entries);
          const next = reply.firstSeq + reply.values.length;
          const isEnd = reply.values.length === 0 || next > reply.tail;
          const isFull = entries.length >= messagesMax || (entries.length > 0 && bytesLeft <= 0);
          // A page of holes is no end: entries come behind it.
          if (isEnd || isFull) done(entries, null);
          else page(next);
        }
      });
    };
    page(fromSeq);
  }

  /** The bytes of what was taken. */
  #take(lane: OwnerLane, reply: ReadReply, entries: QueueEntry[]): number {
    lane.positions.learn(reply.head);
    const released = new Set(reply.marks.released);
    const settled = new Set(reply.marks.settled);
    let bytes = 0;
    for (let i = 0; i < reply.values.length; i++) {
      const seq = reply.firstSeq + i;
      const value = reply.values[i]!;
      if (settled.has(seq) || lane.positions.has(seq)) continue;
      // A hole that nobody has marked: it must not stop those behind it from going.
      const stored = value.length === 0 ? null : this.#decode(lane, seq, value);
      if (value.length === 0) this.#options.settle(lane, seq);
      if (stored === null) continue;
      const isReleased = released.has(seq) || lane.positions.isReleased(seq);
      const { entry } = stored;
      if (isReleased) {
        entry.state = EntryState.RELEASED;
        entry.sentBefore = true;
      }
      bytes += entry.message.bytes;
      entries.push(entry);
    }
    this.#options.counters.entriesRead += entries.length;
    return bytes;
  }

  #decode(lane: OwnerLane, seq: number, value: Buffer): StoredEntry | null {
    try {
      return decodeEntry(value, seq, this.#memory);
    } catch (error) {
      const isNewer = error instanceof NewerRecord;
      if (!isNewer && !(error instanceof RecordDamage)) throw error;
      this.#options.quarantine(lane.clientId, `entry ${seq} of ${value.length} bytes`, error);
      // A newer release can read it: it stays for a node that has it.
      if (!isNewer) this.#options.settle(lane, seq);
      return null;
    }
  }
}
