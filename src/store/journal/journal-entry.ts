/** One append in the journal of this node, until Redis has answered it. Made by own-journal.ts. */
import type { JournalRecord } from './journal-record.ts';

export class JournalEntry {
  /** Rising in the order they were taken. */
  readonly number: number;
  readonly bytes: number;
  /** Null: it was answered. */
  record: JournalRecord | null;
  /** Told when it is safe; null: it was told, or is not to be any more. */
  kept: (() => void) | null;
  /** Told when a peer has put it into the queue; null: it was. */
  queued: (() => void) | null;

  constructor(number: number, record: JournalRecord, kept: () => void, queued: () => void) {
    this.number = number;
    this.record = record;
    this.bytes = record.value.length;
    this.kept = kept;
    this.queued = queued;
  }
}
