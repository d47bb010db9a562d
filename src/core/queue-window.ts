/**
 * How much of a queue is in memory, and how the rest of it comes there (data plane): bounds of memory per
 * session, reading on in the store, the positions of queues that a datacenter shares. Used by delivery.ts.
 */
import { Ring } from '../util/ring.ts';
import type { Core } from './core.ts';
import { type Inflight, InflightState } from './inflight.ts';
import { type QueueEntry, SentEntry } from './queue-entry.ts';
import { RoamingState } from './roaming-state.ts';
import type { Session } from './session.ts';

/** Entries per session kept in memory when the store keeps the queue. */
export const WINDOW_ENTRIES = 256;
export const WINDOW_BYTES: number = 256 * 1024;
/** Read at a time for another region or broker: there are few of them, and each is to catch up at line rate. */
const WIDE_READ_ENTRIES = 8192;
const WIDE_READ_BYTES = 2 * 1024 * 1024;
/** The next piece is asked for when so many of the last one are left. */
export const WIDE_READ_AHEAD: number = WIDE_READ_ENTRIES / 2;
/**
 * Kept in memory for one, beside what is in flight: publishers at line rate outrun a link or a bridge, and what is
 * read back costs as much again as what is sent from memory. 26 MiB and the payloads at most.
 */
const WIDE_WINDOW_ENTRIES = 65_536;
const WIDE_WINDOW_BYTES = 16 * 1024 * 1024;

/** Of `Delivery`. */
export interface PumpedQueues {
  pump(session: Session): void;
}

export class QueueWindow {
  readonly #core: Core;
  readonly #queues: PumpedQueues;

  constructor(core: Core, queues: PumpedQueues) {
    this.#core = core;
    this.#queues = queues;
  }

  /** The queue is known to go on to that position. */
  reaches(session: Session, seq: number): void {
    if (seq <= session.tailSeq) return;
    this.#core.stats.queuedMessages += seq - session.tailSeq;
    session.queuedMessages += seq - session.tailSeq;
    session.tailSeq = seq;
    // Positions may have been passed over: whoever waits for nothing is judged by what is read.
    if (session.queue !== null && session.queue.length > 0) this.#limitShared(session);
  }

  /** The queue itself drops what is new; a client that lets it get so far may have to go. */
  #limitShared({ queuedMessages, owner, budget }: Session): void {
    const core = this.#core;
    if (core.queueOverflow !== 'disconnect' || owner === null || budget !== null) return;
    if (queuedMessages >= core.limits.queueMessagesMax) core.closeLater(owner, 'queue_overflow');
  }

  /** Memory has an entry of a shared queue from here on. */
  loaded(session: Session, entry: QueueEntry): void {
    if (entry.sentBefore && entry instanceof SentEntry) this.#recall(session, entry);
    session.loadedSeq = entry.seq;
    session.queuedBytes += entry.message.bytes;
    this.#core.stats.queuedBytes += entry.message.bytes;
  }

  /** The client knows it by an identifier of another region. */
  #recall(session: Session, entry: SentEntry): void {
    const { links, store } = this.#core;
    const { seq, packetId, wasReleased } = entry;
    session.roam ??= RoamingState.ofTurns(links?.region ?? '', [], seq);
    session.roam.giveId(seq, packetId, wasReleased);
    // Marked so, the bounds of its queue spare it.
    if (wasReleased) store.release(session.number, entry);
  }

  /** Takes over a shared queue as it stands: lowest position not settled, highest given. */
  adopt(session: Session, headSeq: number, tailSeq: number): void {
    this.forget(session);
    session.loadedSeq = headSeq - 1;
    session.tailSeq = tailSeq;
    session.queuedMessages = tailSeq - headSeq + 1;
    this.#core.stats.queuedMessages += session.queuedMessages;
  }

  /** Lets go of what memory holds of a shared queue: another node may have it by now. */
  forget(session: Session): void {
    const { stats } = this.#core;
    if (session.inflight !== null) stats.inflightMessages -= session.inflight.open;
    session.inflight = null;
    session.queue = null;
    session.reading = false;
    session.loadedSeq = 0;
    session.tailSeq = 0;
    stats.queuedMessages -= session.queuedMessages;
    stats.queuedBytes -= session.queuedBytes;
    session.queuedMessages = 0;
    session.queuedBytes = 0;
  }

  /**
   * An entry is on the wire. Of what is on its way to another region memory keeps identifiers alone: the store
   * has it, and is read should it have to be sent again.
   */
  sent(
    session: Session,
    inflight: Inflight,
    id: number,
    sequence: number,
    entry: QueueEntry,
  ): void {
    const { link } = session;
    const { qos } = entry;
    if (link !== null && entry.seq > link.sentSeq) link.sentSeq = entry.seq;
    const isStored = session.ownership === null && session.durable && entry.durable;
    if (link !== null && qos === 1 && isStored && this.#core.store.keepsQueues) {
      inflight.pushStored(id, sequence, qos, entry.message.bytes);
    } else {
      inflight.push(id, sequence, qos, entry);
    }
  }

  /** In-flight messages go back to the head of the queue when the connection is gone. */
  takeBack(session: Session): void {
    const { inflight } = session;
    if (inflight === null) return;
    session.inflight = null;
    this.#core.stats.inflightMessages -= inflight.open;
    if (inflight.isStored) {
      if (inflight.open > 0) this.#readFrom(session, inflight.oldestSequence);
      return;
    }
    const queue = (session.queue ??= new Ring());
    for (let position = inflight.end - 1; position >= inflight.first; position--) {
      if (inflight.stateAt(position) === InflightState.DONE) continue;
      const entry = inflight.entryAt(position);
      if (entry !== null) queue.unshift(entry);
    }
  }

  /** Memory lets go of all of a queue that the store has, and reads it from this position on. */
  #readFrom(session: Session, seq: number): void {
    session.queue = null;
    session.reading = false;
    session.loadedSeq = seq - 1;
  }

  /** Reads the next entries from the store. */
  read(session: Session): void {
    if (session.reading || session.ended) return;
    session.reading = true;
    const fromSeq = session.loadedSeq + 1;
    const tailSeq = session.tailSeq;
    const epoch = session.ownership?.epoch;
    const store = this.#core.store;
    const wide = isWide(session);
    const messagesMax = wide ? WIDE_READ_ENTRIES : WINDOW_ENTRIES;
    const bytesMax = wide ? WIDE_READ_BYTES : WINDOW_BYTES;
    store.read(session.number, fromSeq, messagesMax, bytesMax, (entries, error) => {
      // Asked under another owner, or before the queue was let go of: its positions are nothing to this one.
      if (session.ownership?.epoch !== epoch || !session.reading) return;
      if (session.ownership === null && session.loadedSeq !== fromSeq - 1) return;
      session.reading = false;
      if (session.ended) return;
      if (error !== null) {
        this.#core.log.error({ err: error, clientId: session.clientId }, 'queue could not be read');
        return;
      }
      const queue = (session.queue ??= new Ring());
      for (const entry of entries) {
        session.roam?.recall(entry);
        if (session.link !== null && entry.seq <= session.link.sentSeq) entry.sentBefore = true;
        if (session.ownership !== null) {
          // Came from memory meanwhile.
          if (entry.seq <= session.loadedSeq) continue;
          // Nobody may have told of it: a position once seen is never given again.
          this.reaches(session, entry.seq);
          // Gone by the bounds of the queue, or settled out of order by an earlier owner.
          this.#skipped(session, entry.seq - session.loadedSeq - 1);
          this.loaded(session, entry);
        }
        queue.push(entry);
        session.loadedSeq = Math.max(session.loadedSeq, entry.seq);
      }
      // None up to the tail of when we asked; what came since is read next.
      if (entries.length === 0 && session.loadedSeq < tailSeq) {
        if (session.ownership !== null) this.#skipped(session, tailSeq - session.loadedSeq);
        session.loadedSeq = tailSeq;
      }
      if (session.ownership !== null) this.#limitShared(session);
      this.#queues.pump(session);
    });
  }

  #skipped(session: Session, entries: number): void {
    session.queuedMessages -= entries;
    this.#core.stats.queuedMessages -= entries;
  }
}

/** Whether memory takes one more entry of a queue that has so many in it. */
export function hasRoom(session: Session, waiting: number): boolean {
  if (!hasEntryRoom(session, waiting)) return false;
  if (waiting === 0) return true;
  // Until something is spilled, all that is queued is in memory.
  if (!isWide(session)) return session.queuedBytes <= WINDOW_BYTES;
  // Most of it is in flight, at a long round trip: what waits is counted by the mean.
  return (session.queuedBytes / session.queuedMessages) * waiting <= WIDE_WINDOW_BYTES;
}

export function hasEntryRoom(session: Session, waiting: number): boolean {
  return waiting < (isWide(session) ? WIDE_WINDOW_ENTRIES : WINDOW_ENTRIES);
}

/** Of another region or broker that takes what it gets; what waits for long is for the store, which bounds it. */
export function isWide({ budget }: Session): boolean {
  return budget !== null && !budget.isHeld;
}
