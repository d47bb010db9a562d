/**
 * Versions of retained topics that were cleared: what is older must not come back (docs/adr/0011, P7).
 * Kept for a while, oldest first, and not more than so many. Used by retained-sync.ts alone.
 */
import { isAbove, type RetainedVersion } from '../core/retained-version.ts';

interface Tombstone {
  readonly version: RetainedVersion;
  readonly atMs: number;
}

export class Tombstones {
  readonly #stones: Map<string, Tombstone> = new Map();
  readonly #keepMs: number;
  readonly #countMax: number;
  /** Went before their time. */
  dropped = 0;

  constructor(keepMs: number, countMax: number) {
    this.#keepMs = keepMs;
    this.#countMax = countMax;
  }

  get size(): number {
    return this.#stones.size;
  }

  versionOf(topic: string): RetainedVersion | null {
    return this.#stones.get(topic)?.version ?? null;
  }

  /** A change of that version comes too late. */
  isOver(topic: string, version: RetainedVersion): boolean {
    const stone = this.#stones.get(topic);
    return stone !== undefined && !isAbove(version, stone.version);
  }

  put(topic: string, version: RetainedVersion, nowMs: number): void {
    this.#stones.delete(topic);
    this.#stones.set(topic, { version, atMs: nowMs });
    if (this.#stones.size <= this.#countMax) return;
    for (const oldest of this.#stones.keys()) {
      this.#stones.delete(oldest);
      this.dropped++;
      return;
    }
  }

  /** Something newer is there. */
  remove(topic: string): void {
    this.#stones.delete(topic);
  }

  expire(nowMs: number): void {
    for (const [topic, { atMs }] of this.#stones) {
      if (nowMs - atMs < this.#keepMs) return;
      this.#stones.delete(topic);
    }
  }

  *entries(): Iterable<readonly [topic: string, version: RetainedVersion]> {
    for (const [topic, { version }] of this.#stones) yield [topic, version];
  }
}
