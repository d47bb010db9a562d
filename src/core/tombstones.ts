/**
 * Versions of retained topics that were cleared: what is older must not come back (docs/adr/0011, P7).
 * Kept for a while, oldest first, and not more than so many; the store has them, too, and is told of
 * those that are over. Used by retained-stamps.ts and, between nodes, by retained-sync.ts.
 */
import { isAbove, type RetainedVersion } from './retained-version.ts';

interface Tombstone {
  readonly version: RetainedVersion;
  readonly atMs: number;
}

/** Characters of topics: the longest a client may choose are 64 KiB. */
const CHARS_MAX = 64 * 1024 * 1024;

export class Tombstones {
  readonly #stones: Map<string, Tombstone> = new Map();
  readonly #keepMs: () => number;
  readonly #countMax: number;
  readonly #isOver: (topic: string) => void;
  #chars = 0;
  /** Went before their time. */
  dropped = 0;

  /** `isOver`: its time has come, or there was no room. */
  constructor(keepMs: () => number, countMax: number, isOver: (topic: string) => void) {
    this.#keepMs = keepMs;
    this.#countMax = countMax;
    this.#isOver = isOver;
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
    this.remove(topic);
    this.#stones.set(topic, { version, atMs: nowMs });
    this.#chars += topic.length;
    for (const oldest of this.#stones.keys()) {
      if (this.#stones.size <= this.#countMax && this.#chars <= CHARS_MAX) return;
      this.dropped++;
      this.#over(oldest);
    }
  }

  /** Something newer is there. */
  remove(topic: string): void {
    if (this.#stones.delete(topic)) this.#chars -= topic.length;
  }

  expire(nowMs: number): void {
    const keepMs = this.#keepMs();
    for (const [topic, { atMs }] of this.#stones) {
      if (nowMs - atMs < keepMs) return;
      this.#over(topic);
    }
  }

  #over(topic: string): void {
    this.remove(topic);
    this.#isOver(topic);
  }

  *entries(): Iterable<readonly [topic: string, version: RetainedVersion]> {
    for (const [topic, { version }] of this.#stones) yield [topic, version];
  }
}
