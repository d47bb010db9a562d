/**
 * The ring of Murmur3 tokens cut into ranges, so that a table can be read piece by piece: each piece has
 * one set of replicas, and is small enough to be done again. Pure.
 */

/** Rows with `after < token <= upTo`. */
export interface TokenRange {
  readonly after: bigint;
  readonly upTo: bigint;
}

/** No row has this one: what would hash to it is moved to the other end. */
export const TOKEN_MIN: bigint = -(2n ** 63n);
export const TOKEN_MAX: bigint = 2n ** 63n - 1n;

/**
 * The whole ring in order: cut at `tokens`, and evenly into `pieces` besides. With no tokens the cuts
 * are the same everywhere, so that two who know different rings can compare.
 */
export function cutRing(tokens: readonly bigint[], pieces: number): TokenRange[] {
  const cuts = new Set(tokens);
  const width = 2n ** 64n;
  for (let index = 1; index < pieces; index += 1) {
    cuts.add(TOKEN_MIN + (width * BigInt(index)) / BigInt(pieces));
  }
  cuts.delete(TOKEN_MIN);
  cuts.add(TOKEN_MAX);
  const ends = [...cuts].sort((a, b) => (a < b ? -1 : 1));
  let after = TOKEN_MIN;
  return ends.map((upTo) => {
    const range = { after, upTo };
    after = upTo;
    return range;
  });
}

/** How much of the ring, in [0, 1]. */
export function shareOf({ after, upTo }: TokenRange): number {
  return Number(upTo - after) / 2 ** 64;
}

/**
 * How much of the ring, in [0, 1], ends at one of the `ends` (sorted) that is not served: from the one
 * before it, around the ring.
 */
export function shareUnserved(ends: readonly bigint[], isServed: (end: bigint) => boolean): number {
  let share = 0;
  for (const [index, end] of ends.entries()) {
    if (isServed(end)) continue;
    const before = ends.at(index - 1) as bigint;
    // One alone owns all of it, and its difference with itself is none.
    share += ends.length === 1 ? 1 : Number(BigInt.asUintN(64, end - before)) / 2 ** 64;
  }
  return Math.min(1, share);
}
