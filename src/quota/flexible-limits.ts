/**
 * `SharedLimits` over rate-limiter-flexible: its limiter in memory now; one over Redis, with the memory
 * one as its insurance, takes the same place in a cluster. See docs/adr/0007-rate-limiter-flexible.md.
 */
import { type RateLimiterAbstract, RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import type { Clock, Random } from '../core/ports.ts';
import { BoundedKeys } from './bounded-keys.ts';
import type { SharedLimit, SharedLimits, SharedWindow } from './shared-limits.ts';

/** Records of one quota at a time; about 500 bytes each with their timers. */
const KEYS_MAX = 50_000;
const SEED_BYTES = 16;

export interface MemoryLimitsOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly keysMax?: number | undefined;
}

/** For one node alone. */
export function memoryLimits({ clock, random, keysMax }: MemoryLimitsOptions): SharedLimits {
  return {
    open: (name: string, window: SharedWindow): SharedLimit => {
      const { points, durationS } = window;
      const limiter = new RateLimiterMemory({ keyPrefix: name, points, duration: durationS });
      const seed = random.hex(SEED_BYTES);
      const keys = new BoundedKeys(clock, seed, keysMax ?? KEYS_MAX, durationS * 1000);
      return new FlexibleLimit(limiter, keys);
    },
  };
}

export class FlexibleLimit implements SharedLimit {
  readonly #limiter: RateLimiterAbstract;
  readonly #keys: BoundedKeys;

  constructor(limiter: RateLimiterAbstract, keys: BoundedKeys) {
    this.#limiter = limiter;
    this.#keys = keys;
  }

  async take(name: string, points: number): Promise<number> {
    const key = this.#keys.keyOf(name);
    try {
      await this.#limiter.consume(key, points);
      return 0;
    } catch (refused) {
      if (!(refused instanceof RateLimiterRes)) throw refused;
      // The limiter has counted them all the same.
      await this.#limiter.reward(key, points);
      return Math.max(1, refused.msBeforeNext);
    }
  }

  giveBack(name: string, points: number): void {
    void this.#giveBack(this.#keys.keyOf(name), points);
  }

  async #giveBack(key: string, points: number): Promise<void> {
    try {
      const record = await this.#limiter.get(key);
      // A window that has begun since owes nothing for the one before.
      if (record !== null && record.consumedPoints >= points) {
        await this.#limiter.reward(key, points);
      }
    } catch {
      // The count is then too high until its window ends: nothing is lost but a little room.
    }
  }
}
