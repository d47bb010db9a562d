/**
 * A durable store in memory whose commits the test makes, or lets fail: what is on `disk` is what a
 * crash leaves. Follows ports.ts to the letter, so that the core meets every order of events.
 */
import type { Message } from '../../src/core/message.ts';
import type {
  RestoreVisitor,
  SessionRecord,
  Store,
  StoreEvents,
  Ticket,
} from '../../src/core/ports.ts';
import { EntryState, QueueEntry } from '../../src/core/queue-entry.ts';
import type { RetainedVersion } from '../../src/core/retained-version.ts';
import type { ManualTime } from './manual-time.ts';

interface StoredEntry {
  readonly entry: QueueEntry;
  isReleased: boolean;
}

interface StoredSession {
  record: SessionRecord;
  readonly entries: Map<number, StoredEntry>;
  tailSeq: number;
  readonly inboundIds: Set<number>;
}

/** What survives a crash. */
export class FakeDisk {
  readonly sessions: Map<number, StoredSession> = new Map();
  readonly retained: Map<string, Message> = new Map();
  readonly tombstones: Map<string, RetainedVersion> = new Map();
  /** Of a store that `marksRetained`: what was not confirmed. */
  readonly marks: Set<string> = new Set();
}

interface Operation {
  readonly apply: (disk: FakeDisk) => void;
  /** Set for an append. */
  readonly entry: QueueEntry | null;
  readonly sessionNumber: number;
}

export class FakeStore implements Store {
  readonly keepsQueues = true;
  writable = true;
  /** Commits at the end of the turn in which something changed; off: the test calls `commit`. */
  commitsAlone: boolean;
  readonly disk: FakeDisk;
  readonly #time: ManualTime;
  #events: StoreEvents | null = null;
  #open: Operation[] = [];
  #ticket = 1;
  #scheduled = false;
  commits = 0;
  /** As the option of the embedded store. */
  marksRetained = false;
  /** Topics whose message is in the open batch. */
  #put: Set<string> = new Set();

  constructor(time: ManualTime, disk: FakeDisk = new FakeDisk(), commitsAlone = false) {
    this.#time = time;
    this.disk = disk;
    this.commitsAlone = commitsAlone;
  }

  start(events: StoreEvents, restore: RestoreVisitor): Promise<void> {
    this.#events = events;
    for (const session of this.disk.sessions.values()) {
      const seqs = [...session.entries.keys()].sort((a, b) => a - b);
      let queuedBytes = 0;
      for (const { entry } of session.entries.values()) queuedBytes += entry.message.bytes;
      restore.session({
        record: session.record,
        headSeq: seqs[0] ?? session.tailSeq + 1,
        tailSeq: session.tailSeq,
        queuedMessages: seqs.length,
        queuedBytes,
        inboundIds: [...session.inboundIds],
      });
    }
    for (const topic of this.disk.marks) restore.unconfirmed?.(topic);
    for (const message of this.disk.retained.values()) restore.retained(message);
    for (const [topic, version] of this.disk.tombstones) restore.tombstone?.(topic, version);
    return Promise.resolve();
  }

  /** Ends the open batch: durable, or failed as a whole. */
  commit(error: Error | null = null): void {
    const operations = this.#open;
    this.#open = [];
    this.#put = new Set();
    const ticket = this.#ticket++;
    if (operations.length > 0) this.commits++;
    for (const { apply, entry, sessionNumber } of operations) {
      if (error === null) apply(this.disk);
      if (entry === null || entry.state === EntryState.SETTLED) continue;
      if (error === null) {
        entry.durable = true;
        this.#events!.entryDurable(entry, sessionNumber);
      } else {
        this.#events!.entryFailed(entry, sessionNumber);
      }
    }
    this.#events!.committed(ticket, error);
  }

  #add(
    apply: (disk: FakeDisk) => void,
    sessionNumber: number,
    entry: QueueEntry | null = null,
  ): Ticket {
    this.#open.push({ apply, entry, sessionNumber });
    if (this.commitsAlone && !this.#scheduled) {
      this.#scheduled = true;
      this.#time.endOfTurn(() => {
        this.#scheduled = false;
        this.commit();
      });
    }
    return this.#ticket;
  }

  saveSession(record: SessionRecord): Ticket {
    return this.#add((disk) => {
      const known = disk.sessions.get(record.sessionNumber);
      if (known !== undefined) {
        known.record = record;
        return;
      }
      disk.sessions.set(record.sessionNumber, {
        record,
        entries: new Map(),
        tailSeq: 0,
        inboundIds: new Set(),
      });
    }, record.sessionNumber);
  }

  deleteSession(sessionNumber: number): Ticket {
    return this.#add((disk) => disk.sessions.delete(sessionNumber), sessionNumber);
  }

  append(sessionNumber: number, entry: QueueEntry): Ticket {
    const apply = (disk: FakeDisk): void => {
      const session = disk.sessions.get(sessionNumber);
      if (session === undefined) return;
      session.tailSeq = Math.max(session.tailSeq, entry.seq);
      // Settled before the commit: never written.
      if (entry.state === EntryState.SETTLED) return;
      session.entries.set(entry.seq, { entry, isReleased: false });
    };
    return this.#add(apply, sessionNumber, entry);
  }

  settle(sessionNumber: number, entry: QueueEntry): void {
    this.settleStored(sessionNumber, entry.seq);
  }

  settleStored(sessionNumber: number, seq: number): void {
    this.#add((disk) => disk.sessions.get(sessionNumber)?.entries.delete(seq), sessionNumber);
  }

  release(sessionNumber: number, entry: QueueEntry): Ticket {
    return this.#add((disk) => {
      const stored = disk.sessions.get(sessionNumber)?.entries.get(entry.seq);
      if (stored !== undefined) stored.isReleased = true;
    }, sessionNumber);
  }

  read(
    sessionNumber: number,
    fromSeq: number,
    messagesMax: number,
    bytesMax: number,
    done: (entries: QueueEntry[], error: Error | null) => void,
  ): void {
    this.#time.nextTurn(() => {
      this.commit();
      const stored = this.disk.sessions.get(sessionNumber)?.entries ?? new Map();
      const found: QueueEntry[] = [];
      let bytes = 0;
      for (const seq of [...stored.keys()].sort((a, b) => a - b)) {
        if (seq < fromSeq) continue;
        if (found.length >= messagesMax || (found.length > 0 && bytes >= bytesMax)) break;
        const { entry, isReleased } = stored.get(seq)! as StoredEntry;
        const { message, qos, retain, subscriptionIds } = entry;
        const copy = new QueueEntry(seq, message, qos, retain, subscriptionIds, true);
        copy.sharedFilter = entry.sharedFilter;
        if (isReleased) copy.state = EntryState.RELEASED;
        found.push(copy);
        bytes += message.bytes;
      }
      done(found, null);
    });
  }

  addInboundId(sessionNumber: number, packetId: number): Ticket {
    return this.#add(
      (disk) => disk.sessions.get(sessionNumber)?.inboundIds.add(packetId),
      sessionNumber,
    );
  }

  removeInboundId(sessionNumber: number, packetId: number): Ticket {
    return this.#add(
      (disk) => disk.sessions.get(sessionNumber)?.inboundIds.delete(packetId),
      sessionNumber,
    );
  }

  putRetained(message: Message): Ticket {
    if (this.marksRetained) this.#mark(message.topic, true);
    return this.mirrorRetained(message.topic, message);
  }

  removeRetained(topic: string, version: RetainedVersion | null = null): Ticket {
    if (this.marksRetained) this.#mark(topic, true);
    return this.mirrorRetained(topic, null, version);
  }

  mirrorRetained(
    topic: string,
    message: Message | null,
    version: RetainedVersion | null = null,
  ): Ticket {
    if (message === null) this.#put.delete(topic);
    else this.#put.add(topic);
    return this.#add((disk) => {
      disk.retained.delete(topic);
      disk.tombstones.delete(topic);
      if (message !== null) disk.retained.set(topic, message);
      else if (version !== null) disk.tombstones.set(topic, version);
    }, 0);
  }

  /** What is there goes, as in a store that keeps both in one place, but for what is on its way. */
  forgetTombstone(topic: string): void {
    if (this.#put.has(topic)) return;
    this.#add((disk) => {
      disk.retained.delete(topic);
      disk.tombstones.delete(topic);
    }, 0);
  }

  confirmRetained(topic: string): void {
    this.#mark(topic, false);
  }

  #mark(topic: string, isMarked: boolean): void {
    this.#add((disk) => (isMarked ? disk.marks.add(topic) : disk.marks.delete(topic)), 0);
  }

  stop(): Promise<void> {
    this.commit();
    return Promise.resolve();
  }
}
