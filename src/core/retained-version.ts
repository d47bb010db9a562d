/** Order of writes to one topic: rising microseconds, then the writer (hard case 16). */
export interface RetainedVersion {
  /** Microseconds of a hybrid clock. */
  readonly timeUs: number;
  /** 32 bits of the writing node's incarnation. */
  readonly writer: number;
}

/** All others are above it. */
export const OLDEST: RetainedVersion = { timeUs: 0, writer: 0 };

export function isAbove(left: RetainedVersion, right: RetainedVersion): boolean {
  if (left.timeUs !== right.timeUs) return left.timeUs > right.timeUs;
  return left.writer > right.writer;
}
