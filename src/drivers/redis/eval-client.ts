/**
 * The few commands that rate-limiter-flexible asks of a Redis client, over a RedisPort, so that its
 * counters have Sentinel, Cluster, TLS and reconnects from the one link we have. Each call has a limit
 * of time, and while an answer is late the next ones fail at once: who counts logins waits for nobody.
 * Times to live are in ms wherever the package says seconds (its whole seconds are too coarse, and less
 * than one would never end). Used by `quota/redis-limits.ts`.
 */
import type { RedisFunction, RedisPort, RedisReply } from './redis-port.ts';

export interface EvalCounters {
  calls: number;
  /** Answers that did not come in time. */
  late: number;
  failed: number;
}

const GET: RedisFunction = {
  name: 'count_get_1',
  lua: `return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}`,
};
const SET: RedisFunction = {
  name: 'count_set_1',
  lua: `redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {'OK', tonumber(ARGV[2])}`,
};
const DELETE: RedisFunction = { name: 'count_del_1', lua: `return redis.call('DEL', KEYS[1])` };
/** Scripts of limiters: there is one, and whoever makes them up at run time is stopped. */
const SCRIPTS_MAX = 16;

export class EvalClient {
  readonly counters: EvalCounters = { calls: 0, late: 0, failed: 0 };
  readonly #port: RedisPort;
  readonly #timeoutMs: number;
  readonly #scripts = new Map<string, RedisFunction>();
  /** Given up and not answered. */
  #late = 0;

  constructor(port: RedisPort, timeoutMs: number) {
    this.#port = port;
    this.#timeoutMs = timeoutMs;
  }

  /** A call would be made now. */
  get isReady(): boolean {
    return this.#port.isUp && this.#late === 0;
  }

  eval(
    script: string,
    { keys, arguments: args }: { readonly keys: readonly string[]; readonly arguments: string[] },
  ): Promise<RedisReply> {
    let fn = this.#scripts.get(script);
    if (fn === undefined) {
      if (this.#scripts.size >= SCRIPTS_MAX) throw new RangeError('too many scripts');
      fn = { name: `count_script_${this.#scripts.size}`, lua: script };
      this.#scripts.set(script, fn);
    }
    return this.#call(fn, keys, args);
  }

  multi(): CountMulti {
    return new CountMulti((fn, key, args) => this.#call(fn, [key], args));
  }

  del(key: string): Promise<RedisReply> {
    return this.#call(DELETE, [key], []);
  }

  #call(fn: RedisFunction, keys: readonly string[], args: readonly string[]): Promise<RedisReply> {
    const { counters } = this;
    if (!this.isReady) {
      return Promise.reject(new Error(this.#late > 0 ? 'Redis is slow' : 'no connection to Redis'));
    }
    counters.calls++;
    return new Promise((resolve, reject) => {
      let isLate = false;
      const timer = setTimeout(() => {
        isLate = true;
        this.#late++;
        counters.late++;
        reject(new Error('Redis did not answer in time'));
      }, this.#timeoutMs);
      this.#port.call(fn, keys, args, (failure, reply) => {
        clearTimeout(timer);
        if (isLate) {
          this.#late--;
        } else if (failure === null) {
          resolve(reply);
        } else {
          counters.failed++;
          reject(failure);
        }
      });
    });
  }
}

/** `get` and `pTTL`, or `set` and `pTTL`, of one key as one function. */
export class CountMulti {
  readonly #call: (fn: RedisFunction, key: string, args: readonly string[]) => Promise<RedisReply>;
  #key = '';
  #set: readonly string[] | null = null;

  constructor(
    call: (fn: RedisFunction, key: string, args: readonly string[]) => Promise<RedisReply>,
  ) {
    this.#call = call;
  }

  get(key: string): this {
    this.#key = key;
    return this;
  }

  set(key: string, value: number, options: { readonly EX: number }): this {
    this.#key = key;
    this.#set = [`${value}`, `${options.EX}`];
    return this;
  }

  pTTL(_key: string): this {
    return this;
  }

  async exec(): Promise<readonly RedisReply[]> {
    const reply =
      this.#set === null
        ? await this.#call(GET, this.#key, [])
        : await this.#call(SET, this.#key, this.#set);
    if (!Array.isArray(reply)) throw new Error('a count in Redis is no count');
    return reply.map((one) => (Buffer.isBuffer(one) ? one.toString('latin1') : one));
  }
}
