/**
 * What a backend said, for a while: bounded in entries (the least recently used go first) and in time.
 * A value may stay as *stale* beyond its time, for when the backend does not answer. Keys are chosen by
 * clients, so they are cut down to fingerprints before they come here; a Map, so that none is special.
 */

import type { Clock } from '../core/ports.ts';

export interface TtlCacheOptions {
  /** 0: nothing is kept. */
  readonly entriesMax: number;
  readonly ttlMs: number;
  /** How long after that a value is still `stale`. */
  readonly staleMs?: number;
  /** Monotonic. */
  readonly nowMs: () => number;
}

/** As the configuration of a service says it. */
export interface ServiceCacheTerms {
  readonly cacheS: number;
  readonly cacheEntriesMax: number;
}

interface Entry<Value> {
  readonly value: Value;
  freshUntilMs: number;
  staleUntilMs: number;
}

export class TtlCache<Value> {
  readonly #options: TtlCacheOptions;
  readonly #staleMs: number;
  /** The least recently used first. */
  readonly #entries = new Map<string, Entry<Value>>();

  constructor(options: TtlCacheOptions) {
    this.#options = options;
    this.#staleMs = options.staleMs ?? 0;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): Value | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.freshUntilMs <= this.#options.nowMs()) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry.value;
  }

  /** Also what is beyond its time, for a backend that does not answer. */
  getStale(key: string): Value | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    const nowMs = this.#options.nowMs();
    if (entry.freshUntilMs > nowMs || entry.staleUntilMs > nowMs) return entry.value;
    this.#entries.delete(key);
    return undefined;
  }

  /** `ttlMsMax` shortens the time, and allows no staleness: the value ends by itself then. */
  set(key: string, value: Value, ttlMsMax: number = Number.POSITIVE_INFINITY): void {
    const { entriesMax, ttlMs, nowMs } = this.#options;
    this.#entries.delete(key);
    const keptMs = Math.min(ttlMs, ttlMsMax);
    const staleMs = ttlMsMax === Number.POSITIVE_INFINITY ? this.#staleMs : 0;
    if (keptMs + staleMs <= 0 || entriesMax === 0) return;
    const freshUntilMs = nowMs() + keptMs;
    this.#entries.set(key, { value, freshUntilMs, staleUntilMs: freshUntilMs + staleMs });
    if (this.#entries.size <= entriesMax) return;
    for (const oldest of this.#entries.keys()) {
      this.#entries.delete(oldest);
      break;
    }
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }

  /** Nothing is fresh any more; what may be stale is kept as that. */
  expire(): void {
    if (this.#staleMs === 0) this.#entries.clear();
    const nowMs = this.#options.nowMs();
    for (const entry of this.#entries.values()) {
      entry.freshUntilMs = Math.min(entry.freshUntilMs, nowMs);
      entry.staleUntilMs = Math.min(entry.staleUntilMs, nowMs + this.#staleMs);
    }
  }
}

/** For what a service said. With a cache that is off nothing may be stale either. */
export function serviceCache<Value>(
  { cacheS, cacheEntriesMax }: ServiceCacheTerms,
  clock: Clock,
  staleS: number = 0,
): TtlCache<Value> {
  return new TtlCache({
    entriesMax: cacheEntriesMax,
    ttlMs: cacheS * 1000,
    staleMs: cacheS === 0 ? 0 : staleS * 1000,
    nowMs: () => clock.monotonicMs(),
  });
}
