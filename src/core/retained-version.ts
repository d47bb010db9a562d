/** Order of writes to one topic: rising microseconds, clears above messages, then the writer (hard case 16). */
export interface RetainedVersion {
  /** Microseconds of a hybrid clock. */
  readonly timeUs: number;
  /** 32 bits of the writing node's incarnation; of a clear with CLEARED added. */
  readonly writer: number;
}

/** What becomes of a change from elsewhere: `older`: something newer is known; `clock_skew`: ahead of its time. */
export type RetainedVerdict = 'taken' | 'older' | 'clock_skew';

/** All others are above it. */
export const OLDEST: RetainedVersion = { timeUs: 0, writer: 0 };

/**
 * A clear stands above a message of the same microsecond, as Cassandra rules between a cell that expires
 * and one that does not (docs/adr/0021).
 */
export const CLEARED: number = 2 ** 32;

export function isAbove(left: RetainedVersion, right: RetainedVersion): boolean {
  if (left.timeUs !== right.timeUs) return left.timeUs > right.timeUs;
  return left.writer > right.writer;
}
