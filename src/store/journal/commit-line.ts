/**
 * One synced write at a time: what is asked for while one is under way goes together into the next. Used
 * by the journal of this node and by the copies it keeps for others.
 */
import type { JournalDisk, JournalRow } from './journal-ports.ts';

interface Waiting {
  readonly rows: readonly JournalRow[];
  readonly done: (error: Error | null) => void;
}

export class CommitLine {
  readonly #disk: JournalDisk;
  #waiting: Waiting[] = [];
  #isWriting = false;
  failures = 0;

  constructor(disk: JournalDisk) {
    this.#disk = disk;
  }

  /** `done` is called later. */
  commit(rows: readonly JournalRow[], done: (error: Error | null) => void): void {
    this.#waiting.push({ rows, done });
    if (!this.#isWriting) this.#write();
  }

  /** After all that was asked for: what is removed must not be written behind it. */
  remove(from: string, to: string): void {
    const remove = (): void => this.#disk.remove(from, to);
    if (this.#waiting.length === 0) remove();
    else this.#waiting.push({ rows: [], done: remove });
  }

  #write(): void {
    const waiting = this.#waiting;
    if (waiting.length === 0) return;
    this.#waiting = [];
    this.#isWriting = true;
    const rows: JournalRow[] = [];
    for (const one of waiting) for (const row of one.rows) rows.push(row);
    this.#disk.write(rows, (error) => {
      this.#isWriting = false;
      if (error !== null) this.failures++;
      for (const { done } of waiting) done(error);
      if (!this.#isWriting) this.#write();
    });
  }
}
