/**
 * Reads a whole table through a CassandraPort, range by range and page by page: one page at each `next`,
 * so that whoever scans sets the pace and bounds the memory. A page that failed is read again by the next
 * call. Knows neither timers nor promises, and no table.
 */
import type {
  CassandraFailure,
  CassandraPort,
  CassandraRow,
  CassandraStatement,
} from './cassandra-port.ts';
import { shareOf, type TokenRange } from './token-ring.ts';

export interface TokenScanOptions {
  readonly port: CassandraPort;
  /** Its two values are the ends of a range: `… WHERE token(key) > ? AND token(key) <= ?`. */
  readonly statement: CassandraStatement;
  /** In order, as `cutRing` gives them. */
  readonly ranges: readonly TokenRange[];
  readonly pageRows: number;
}

export interface TokenPage {
  readonly rows: readonly CassandraRow[];
  readonly range: TokenRange;
  /** No row of the range is left. */
  readonly isRangeDone: boolean;
}

export type TokenPageRead = (failure: CassandraFailure | null, page: TokenPage | null) => void;

export class TokenScan {
  readonly #options: TokenScanOptions;
  #index = 0;
  #from: Buffer | null = null;
  #shareDone = 0;
  #isReading = false;

  constructor(options: TokenScanOptions) {
    this.#options = options;
  }

  get isDone(): boolean {
    return this.#index === this.#options.ranges.length;
  }

  /** In [0, 1], by tokens. */
  get progress(): number {
    return this.isDone ? 1 : this.#shareDone;
  }

  /** Not again before `done` was called, nor when it is done. */
  next(done: TokenPageRead): void {
    const { port, statement, ranges, pageRows } = this.#options;
    const range = ranges[this.#index];
    if (range === undefined || this.#isReading) throw new Error('the scan is done, or reading');
    this.#isReading = true;
    port.read(statement, [range.after, range.upTo], pageRows, this.#from, (failure, rows, next) => {
      this.#isReading = false;
      if (failure !== null) {
        done(failure, null);
        return;
      }
      this.#from = next;
      const isRangeDone = next === null;
      if (isRangeDone) {
        this.#index += 1;
        this.#shareDone += shareOf(range);
      }
      done(null, { rows, range, isRangeDone });
    });
  }
}
