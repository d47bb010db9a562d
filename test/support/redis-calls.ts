/**
 * A link to Redis under test, with functions that show order: each call of `push` appends its number to
 * a list, so the list says in which order calls were executed, and `answers` in which they were answered.
 */
import type { Test } from 'tap';
import { openRedis, type RedisLink } from '../../src/drivers/redis/redis-link.ts';
import type { RedisLinkOptions } from '../../src/drivers/redis/redis-link-options.ts';
import type {
  RedisArgument,
  RedisFailure,
  RedisFunction,
  RedisReply,
} from '../../src/drivers/redis/redis-port.ts';
import { systemScheduler } from '../../src/listeners/scheduler.ts';

export const PUSH: RedisFunction = {
  name: 'push_1',
  lua: "return redis.call('rpush', KEYS[1], ARGV[1])",
};
export const ECHO: RedisFunction = { name: 'echo_1', lua: 'return ARGV' };
export const FAIL: RedisFunction = { name: 'fail_1', lua: "return redis.error_reply('ODD thing')" };
export const SPIN: RedisFunction = {
  name: 'spin_1',
  lua: `local t = redis.call('time'); local e = t[1] * 1000000 + t[2] + ARGV[1] * 1000
repeat t = redis.call('time') until t[1] * 1000000 + t[2] >= e
return 1`,
};

export interface Answer {
  readonly number: number;
  readonly failure: RedisFailure | null;
  readonly reply: RedisReply;
}

export class Caller {
  readonly link: RedisLink;
  /** What the listener was told. */
  readonly heard: string[] = [];
  readonly problems: string[];
  readonly answers: Answer[] = [];
  #next = 0;

  constructor(link: RedisLink, problems: string[]) {
    this.link = link;
    this.problems = problems;
  }

  get asked(): number {
    return this.#next;
  }

  /** Appends the next number to the list of `tag`; answers it. */
  push(tag = 'a'): number {
    const number = this.#next;
    this.#next += 1;
    this.link.call(PUSH, [`list:{${tag}}`], [number], (failure, reply) => {
      this.answers.push({ number, failure, reply });
    });
    return number;
  }

  /** One call as a promise. */
  call(
    fn: RedisFunction,
    keys: readonly string[],
    args: readonly RedisArgument[],
  ): Promise<RedisReply> {
    return new Promise((resolve, reject) => {
      this.link.call(fn, keys, args, (failure, reply) => {
        if (failure === null) resolve(reply);
        else reject(failure);
      });
    });
  }

  /** Numbers that were answered without failure. */
  done(): number[] {
    return this.answers.filter((one) => one.failure === null).map((one) => one.number);
  }

  outcomes(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { failure } of this.answers) {
      const word = failure === null ? 'done' : `${failure.outcome} ${failure.code}`;
      counts[word] = (counts[word] ?? 0) + 1;
    }
    return counts;
  }
}

/** With short times; closed with the test. */
export function openCaller(
  t: Test,
  urls: string | readonly string[],
  options: Partial<RedisLinkOptions> = {},
): Caller {
  const problems: string[] = [];
  const link = openRedis({
    scheduler: systemScheduler,
    urls: typeof urls === 'string' ? [urls] : urls,
    connectTimeoutMs: 1000,
    heartbeatMs: 100,
    heartbeatTimeoutMs: 600,
    backoffMinMs: 20,
    backoffMaxMs: 200,
    probeMs: 100,
    onProblem: (why) => problems.push(why),
    ...options,
  });
  t.teardown(() => link.close());
  const caller = new Caller(link, problems);
  link.listen({
    redisUp: (isOther) => caller.heard.push(isOther ? 'up other' : 'up'),
    redisDown: (why) => caller.heard.push(`down ${why}`),
  });
  return caller;
}

export async function until(is: () => boolean, what: string, ms = 10_000): Promise<void> {
  const endMs = performance.now() + ms;
  while (!is()) {
    if (performance.now() > endMs) throw new Error(`not in time: ${what}`);
    await sleep(5);
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

export function isRising(numbers: readonly number[]): boolean {
  return numbers.every((number, index) => index === 0 || number > (numbers[index - 1] as number));
}
