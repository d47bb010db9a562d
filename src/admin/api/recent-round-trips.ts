/**
 * How long Redis takes lately: quantiles of what its histogram has counted since it was last looked at,
 * and at least ten seconds ago. From buckets, so estimates; read by the endpoint of the datacenter.
 */
import { ROUND_TRIP_MS } from '../../drivers/redis/redis-counters.ts';

/** Shorter ones would say nothing. */
const WINDOW_MIN_MS = 10_000;

export interface Quantiles {
  /** Null: nothing was asked of it. */
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
}

interface Snapshot {
  readonly atMs: number;
  readonly counts: readonly number[];
}

export class RecentRoundTrips {
  #before: Snapshot = { atMs: Number.NEGATIVE_INFINITY, counts: [] };
  #last: Snapshot = this.#before;

  read(counts: readonly number[], nowMs: number): Quantiles {
    if (nowMs - this.#last.atMs >= WINDOW_MIN_MS) {
      this.#before = this.#last;
      this.#last = { atMs: nowMs, counts: [...counts] };
    }
    const lately = counts.map((count, index) => count - (this.#before.counts[index] ?? 0));
    return { p50Ms: quantileMs(lately, 0.5), p99Ms: quantileMs(lately, 0.99) };
  }
}

/** Straight between the ends of its bucket; beyond the last one, the end of that. */
export function quantileMs(counts: readonly number[], quantile: number): number | null {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  const rank = quantile * total;
  let below = 0;
  for (const [index, endMs] of ROUND_TRIP_MS.entries()) {
    const count = counts[index] ?? 0;
    if (count > 0 && below + count >= rank) {
      const startMs = ROUND_TRIP_MS[index - 1] ?? 0;
      const ms = startMs + ((endMs - startMs) * (rank - below)) / count;
      return Math.round(ms * 1000) / 1000;
    }
    below += count;
  }
  return ROUND_TRIP_MS.at(-1)!;
}
