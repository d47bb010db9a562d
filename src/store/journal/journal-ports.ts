/**
 * What the journal needs of others: a disk, the other nodes, whoever writes to Redis, and what AppendWriter
 * asks of the journal (docs/adr/0017). Types only. Everything is callbacks: the simulation has a disk and
 * links of its own.
 */
import type { Incarnation } from '../../core/incarnation.ts';
import type { JournalEntry } from './journal-entry.ts';
import type { JournalRecord } from './journal-record.ts';

export interface JournalRow {
  readonly key: string;
  readonly value: Buffer;
}

/** Rows in the order of their keys, which are ASCII. Calls are carried out in their order. */
export interface JournalDisk {
  /** `done(null)`: all of them are synced. An error: perhaps some are there. Never from inside the call. */
  write(rows: readonly JournalRow[], done: (error: Error | null) => void): void;
  /** All from key to key, both included. Not synced: what comes back after a crash is replayed in vain. */
  remove(from: string, to: string): void;
  /** The first of all from key to key. */
  read(
    from: string,
    to: string,
    countMax: number,
    done: (error: Error | null, rows: readonly JournalRow[]) => void,
  ): void;
}

/** What becomes of all entries up to a position, in words; frames have numbers for them. */
export type JournalWord =
  /** The copy is synced. Said by who keeps it, as are the next two. */
  | 'stored'
  /** It could not be stored. */
  | 'failed'
  /** They are in the queues: whoever keeps the copy has put them there. */
  | 'queued'
  /** The copy may go. Said by whose journal it is. */
  | 'replayed';

/** The other nodes. Implemented by cluster/. */
export interface JournalCourier {
  /** Members that frames reach. */
  peers(): readonly Incarnation[];
  isMember(incarnation: Incarnation): boolean;
  /** It says that it does not reach Redis itself. */
  lacksRedis(incarnation: Incarnation): boolean;
  /** Who is a member is known for certain. */
  readonly mayJudge: boolean;
  /** `after`: position of the entry before it in this stream; 0: the stream begins. */
  entry(peer: Incarnation, after: number, position: number, record: Buffer): void;
  done(peer: Incarnation, position: number, word: JournalWord): void;
  /** This node has entries of that one which may not be in the queues, or no longer has. */
  owes(writer: Incarnation, isOwing: boolean): void;
}

/** Appends what a journal has, in its order. Implemented by the store of shared sessions. */
export interface JournalSink {
  readonly isUp: boolean;
  replay(record: JournalRecord, answered: () => void): void;
}

/** The journal as the one who appends sees it. */
export interface AppendJournal {
  /**
   * Null: there is no room. `kept` follows when it is safe, `queued` when a peer has put it into the queue;
   * neither once it is answered.
   */
  keep(record: JournalRecord, kept: () => void, queued: () => void): JournalEntry | null;
  readonly hasRoom: boolean;
  /** Redis has answered it, or nothing is owed. */
  answered(entry: JournalEntry): void;
}
