/**
 * What the nodes of a datacenter count together, over Redis: quotas (`SharedLimits`) and tallies of
 * logins, both as rate-limiter-flexible's limiter over Redis with its memory one as insurance
 * (ADR 0018). What Redis grants is noted in memory too: when Redis is slow or away, this node goes on
 * as if it had been alone all the time, and no wider. Knows no sockets: it is handed what runs scripts.
 */
import { hash } from 'node:crypto';
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import type { Clock, Random } from '../core/ports.ts';
import { BoundedKeys } from './bounded-keys.ts';
import type { SharedLimit, SharedLimits, SharedWindow } from './shared-limits.ts';

export interface TallyTerms {
  readonly eventsMax: number;
  readonly windowS: number;
}

export interface LoginTally {
  count(key: string, events: number): Promise<'fine' | 'over' | 'blocked'>;
  block(key: string, durationMs: number): void;
  forget(key: string): void;
}

/** Rises only; the metrics page reads it. */
export interface LimitCounters {
  /** Counted together with the other nodes. */
  redis: number;
  /** Counted by this node alone, as Redis did not answer in time. */
  memory: number;
}

export interface RedisLimitsOptions {
  /** As `drivers/redis/eval-client.ts`: its times are in ms. */
  readonly client: object;
  /** Before every key. */
  readonly keyPrefix: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly keysMax?: number | undefined;
}

const KEYS_MAX = 50_000;
const SEED_BYTES = 16;
const MS = 1000;
/** The memory has a timer for each key. */
const TIMER_MS_MAX = 2 ** 31 - 1;
/** What `BoundedKeys` calls keys that several names share. */
const FOLDED = 's';

/**
 * In place of the package's own: a key that is refused is not counted (who asks in vain must not keep
 * others out), a window that has begun since owes nothing for the one before, times are in ms, and no
 * key is ever without an end.
 */
const COUNT = `
local used, n = redis.call('GET', KEYS[1]), tonumber(ARGV[1])
if n < 0 then
  if not used then return {0, 0} end
  n = -math.min(-n, math.max(0, tonumber(used)))
elseif tonumber(used or '0') + n > tonumber(ARGV[3]) then
  local left = redis.call('PTTL', KEYS[1])
  if left < 0 then left = tonumber(ARGV[2]) end
  return {tonumber(used or '0') + n, left}
end
used = redis.call('INCRBY', KEYS[1], n)
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
  left = tonumber(ARGV[2])
  redis.call('PEXPIRE', KEYS[1], left)
end
return {used, left}
`;

/** Goes through the package to its insurance, which marks it. */
interface Asked {
  isInsured?: boolean;
  readonly [name: string]: unknown;
}

/** Does not count what it refuses either. */
class Insurance extends RateLimiterMemory {
  override async consume(
    key: string,
    points: number = 1,
    asked: Asked = {},
  ): Promise<RateLimiterRes> {
    asked.isInsured = true;
    try {
      return await super.consume(key, points);
    } catch (refused) {
      if (refused instanceof RateLimiterRes) await super.reward(key, points);
      throw refused;
    }
  }
}

/** One count of many keys. */
class SharedCount {
  readonly #counters: LimitCounters;
  readonly #memory: Insurance;
  readonly #insured: RateLimiterRedis;
  /** For what is done to both counts: its failures must not come to the memory a second time. */
  readonly #redis: RateLimiterRedis;

  constructor(
    client: object,
    counters: LimitCounters,
    keyPrefix: string,
    { points, durationS }: SharedWindow,
  ) {
    this.#counters = counters;
    this.#memory = new Insurance({ keyPrefix: '', points, duration: durationS });
    const options = {
      storeClient: client,
      useRedisPackage: true,
      rejectIfRedisNotReady: true,
      keyPrefix,
      points,
      duration: Math.ceil(durationS * MS),
      customIncrTtlLuaScript: COUNT,
    };
    this.#redis = new RateLimiterRedis(options);
    this.#insured = new RateLimiterRedis({ ...options, insuranceLimiter: this.#memory });
  }

  /** Null: counted; else why not. */
  async take(key: string, points: number): Promise<RateLimiterRes | null> {
    const asked: Asked = {};
    let refused: RateLimiterRes | null = null;
    try {
      await this.#insured.consume(key, points, asked);
    } catch (error) {
      if (!(error instanceof RateLimiterRes)) throw error;
      refused = error;
    }
    if (asked.isInsured === true) {
      this.#counters.memory++;
    } else {
      this.#counters.redis++;
      if (refused === null) await this.#memory.penalty(key, points);
    }
    return refused;
  }

  giveBack(key: string, points: number): void {
    void this.#both(
      async () => {
        const record = await this.#memory.get(key);
        // A window that has begun since owes nothing for the one before.
        if (record !== null && record.consumedPoints >= points) {
          await this.#memory.reward(key, points);
        }
      },
      () => this.#redis.reward(key, points),
    );
  }

  block(key: string, durationMs: number): void {
    const forMs = Math.min(Math.ceil(durationMs), TIMER_MS_MAX);
    void this.#both(
      () => this.#memory.block(key, forMs / MS),
      () => this.#redis.block(key, forMs),
    );
  }

  forget(key: string): void {
    void this.#both(
      () => this.#memory.delete(key),
      () => this.#redis.delete(key),
    );
  }

  /** What Redis does not hear of ends with the window, or the block. */
  async #both(memory: () => Promise<unknown>, redis: () => Promise<unknown>): Promise<void> {
    await Promise.allSettled([memory(), redis()]);
  }
}

export class RedisLimits implements SharedLimits {
  readonly counters: LimitCounters = { redis: 0, memory: 0 };
  readonly #options: RedisLimitsOptions;

  constructor(options: RedisLimitsOptions) {
    this.#options = options;
  }

  open(name: string, window: SharedWindow): SharedLimit {
    const { clock, random, keysMax } = this.#options;
    const count = this.#count(`q:${name}`, window);
    const seed = random.hex(SEED_BYTES);
    const keys = new BoundedKeys(clock, seed, keysMax ?? KEYS_MAX, window.durationS * MS);
    return {
      take: async (key, points) => {
        const refused = await count.take(keys.keyOf(key), points);
        return refused === null ? 0 : Math.max(1, refused.msBeforeNext);
      },
      giveBack: (key, points) => count.giveBack(keys.keyOf(key), points),
    };
  }

  /** What is counted of logins (`access/tally.ts`). Names are kept as hashes: they are only claimed. */
  openTally(name: string, terms: TallyTerms): LoginTally {
    const { eventsMax, windowS } = terms;
    const { clock, random, keysMax } = this.#options;
    const count = this.#count(`f:${name}`, { points: eventsMax, durationS: windowS });
    const seed = random.hex(SEED_BYTES);
    const keys = new BoundedKeys(clock, seed, keysMax ?? KEYS_MAX, windowS * MS);
    return {
      async count(key, events) {
        const digest = digestOf(key);
        // More than are remembered: nobody is blocked for what others do, and the node counts by itself.
        if (keys.keyOf(digest).startsWith(FOLDED)) return 'fine';
        const refused = await count.take(digest, events);
        if (refused === null) return 'fine';
        // A block is one above the most that is ever counted.
        return refused.consumedPoints - events > eventsMax ? 'blocked' : 'over';
      },
      block: (key, durationMs) => count.block(digestOf(key), durationMs),
      forget: (key) => count.forget(digestOf(key)),
    };
  }

  #count(name: string, window: SharedWindow): SharedCount {
    const { client, keyPrefix } = this.#options;
    return new SharedCount(client, this.counters, `${keyPrefix}l:${name}`, window);
  }
}

function digestOf(key: string): string {
  return hash('sha256', key, 'base64url');
}
