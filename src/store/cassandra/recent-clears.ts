/**
 * Topics that a node alone has cleared and Cassandra has confirmed lately: an answer of a Cassandra that
 * syncs later (`commitlog_sync: periodic`) may be taken back by the loss of its power, and what was there
 * before would come back. Each is remembered until a whole round that began a while after it. Nodes of a
 * datacenter remember for longer, for each other. Used by cassandra-retained.ts.
 */
import type { RetainedVersion } from '../../core/retained-version.ts';

interface RecentClear {
  readonly version: RetainedVersion;
  /** Wall-clock ms when it was confirmed. */
  readonly atMs: number;
}

/** Cassandra has synced what it has answered so long ago: six times its default. */
const SYNCED_MS = 60_000;
const COUNT_MAX = 100_000;
const DROPPED_AT_ONCE = 10_000;

export class RecentClears {
  readonly #clears: Map<string, RecentClear> = new Map();
  readonly #forget: (topic: string) => void;

  /** `forget`: its tombstone in the mirror is of no use any more. */
  constructor(forget: (topic: string) => void) {
    this.#forget = forget;
  }

  get size(): number {
    return this.#clears.size;
  }

  add(topic: string, version: RetainedVersion, atMs: number): void {
    this.#clears.delete(topic);
    this.#clears.set(topic, { version, atMs });
    if (this.#clears.size <= COUNT_MAX) return;
    // Many at once: to look for the oldest one costs more, the more went before it.
    for (const oldest of this.#clears.keys()) {
      this.#over(oldest);
      if (this.#clears.size <= COUNT_MAX - DROPPED_AT_ONCE) return;
    }
  }

  versionOf(topic: string): RetainedVersion | null {
    return this.#clears.get(topic)?.version ?? null;
  }

  /** The mirror has something else in the place of the topic. */
  replaced(topic: string): void {
    this.#clears.delete(topic);
  }

  /** A whole round that began then has ended. */
  roundEnded(beganMs: number): void {
    for (const [topic, { atMs }] of this.#clears) {
      if (atMs > beganMs - SYNCED_MS) return;
      this.#over(topic);
    }
  }

  #over(topic: string): void {
    this.#clears.delete(topic);
    this.#forget(topic);
  }
}
