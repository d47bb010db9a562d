/**
 * Identifiers of lives of sessions of a datacenter (`sid`, ADR 0013): new with every clean start. They begin
 * with when that was, so whoever has the session can tell it from what was in between (ADR 0023). Compared for
 * equality otherwise, never ordered.
 */
import type { Random } from './ports.ts';

const RANDOM_BYTES = 8;
/** Milliseconds, for the next 8,000 years. */
const TIME_DIGITS = 12;

/** `epochMs`: of the open that makes it. */
export function newLife(epochMs: number, random: Random): string {
  return epochMs.toString(16).padStart(TIME_DIGITS, '0') + random.hex(RANDOM_BYTES);
}

/** Milliseconds; 0: it is of a release that did not say. */
export function beganMs(sid: string): number {
  if (sid.length !== TIME_DIGITS + 2 * RANDOM_BYTES) return 0;
  const timeMs = Number.parseInt(sid.slice(0, TIME_DIGITS), 16);
  return Number.isNaN(timeMs) ? 0 : timeMs;
}
