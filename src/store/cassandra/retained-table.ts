/**
 * The table of retained messages as lane and reconciler need it. Answers come later, never within the
 * call; what was repeated until a limit comes as an error. Implemented over the driver by
 * `cql-table.ts`, and by a fake in tests.
 */

export interface TableRow {
  readonly topic: string;
  /** Of the cell. */
  readonly timeUs: number;
  /** The cell goes by itself: the topic was cleared. */
  readonly expires: boolean;
  /** Null: it was not asked for. */
  readonly record: Buffer | null;
}

export interface TablePage {
  readonly rows: readonly TableRow[];
  /** Null: the ring is read. */
  readonly next: string | null;
  /** How much of the ring is read, 0 to 1. */
  readonly progress: number;
}

export interface TableError extends Error {
  /** It would fail again: the row is too large, or not allowed. */
  readonly isFinal?: boolean;
}

export interface RetainedTable {
  /** False: nobody answers. */
  readonly isUp: boolean;
  /** Upsert with that timestamp; `ttlS` 0: it stays. */
  write(
    topic: string,
    record: Buffer,
    timeUs: number,
    ttlS: number,
    done: (error: TableError | null) => void,
  ): void;
  /** Removes what is not newer than that. */
  remove(topic: string, timeUs: number, done: (error: TableError | null) => void): void;
  read(topic: string, done: (error: TableError | null, row: TableRow | null) => void): void;
  /** The next rows in the order of the ring; '' begins. A row may come twice, none is left out. */
  page(
    cursor: string,
    rowsMax: number,
    hasRecords: boolean,
    done: (error: TableError | null, page: TablePage) => void,
  ): void;
}
