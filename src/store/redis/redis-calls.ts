/**
 * Calls of functions with what the shared store needs besides: repetition of those that may be done
 * twice, patience while Redis is away, tasks for a little later. No promise, no timer of its own: time
 * comes from the Scheduler.
 */

import type { Clock, Log, Scheduler } from '../../core/ports.ts';
import {
  RedisFailure as Failure,
  type RedisFailure,
  type RedisFunction,
  type RedisPort,
  type RedisReply,
} from '../../drivers/redis/redis-port.ts';
import type { RedisCall } from './functions/reply.ts';
import { sessionTag } from './keys.ts';
import type { StoreCounters } from './store-counters.ts';

/** What waits for a moment is looked at this often. */
const TICK_MS = 20;
/** Between two tries while Redis is there and will not, or has lost an answer. */
const RETRY_MS = 100;
/** The same where repetition does not promise anything. */
const RETRY_REFUSED_MS = 1000;
const COMPLAINT_MS = 10_000;
/** How long whoever asks for a session waits for a Redis that may have lost the question. */
export const ASK_PATIENCE_MS = 2000;

/** First words of errors that pass: Redis is full, loading, read-only, without its replicas. */
const PASSING: ReadonlySet<string> = new Set([
  'OOM',
  'READONLY',
  'LOADING',
  'MISCONF',
  'BUSY',
  'CLUSTERDOWN',
  'TRYAGAIN',
  'MASTERDOWN',
  'NOREPLICAS',
  'MOVED',
  'ASK',
]);

interface Later {
  readonly dueMs: number;
  readonly task: () => void;
}

export class RedisCalls {
  readonly #redis: RedisPort;
  readonly #scheduler: Scheduler;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #counters: StoreCounters;
  readonly #later: Set<Later> = new Set();
  #stopTicks: (() => void) | null = null;
  /** Called when Redis is there again, in the order they came. */
  #untilUp: (() => void)[] = [];
  #complainedMs = Number.NEGATIVE_INFINITY;
  #isStopped = false;

  constructor(
    redis: RedisPort,
    scheduler: Scheduler,
    clock: Clock,
    log: Log,
    counters: StoreCounters,
  ) {
    this.#redis = redis;
    this.#scheduler = scheduler;
    this.#clock = clock;
    this.#log = log;
    this.#counters = counters;
  }

  get isUp(): boolean {
    return this.#redis.isUp;
  }

  get nowMs(): number {
    return this.#clock.monotonicMs();
  }

  shardOf(clientId: string): number {
    return this.#redis.shardOf(sessionTag(clientId));
  }

  shardOfTag(tag: string): number {
    return this.#redis.shardOf(tag);
  }

  /** Once. `decode` may throw: what is not understood is as good as refused. */
  call<T>(
    fn: RedisFunction,
    call: RedisCall,
    decode: (reply: RedisReply) => T,
    done: (failure: RedisFailure | null, answer: T | null) => void,
  ): void {
    this.#redis.call(fn, call.keys, call.args, (failure, reply) => {
      if (this.#isStopped) return;
      if (failure !== null) {
        this.#complain(fn, failure);
        done(failure, null);
        return;
      }
      let answer: T;
      try {
        answer = decode(reply);
      } catch (error) {
        const odd = new Failure('refused', 'REPLY', (error as Error).message);
        this.#complain(fn, odd);
        done(odd, null);
        return;
      }
      done(null, answer);
    });
  }

  /**
   * Repeated while it is not known whether it was done, for so long; then the failure says `unknown`.
   * Any other failure: it was not done.
   */
  ask<T>(
    fn: RedisFunction,
    call: RedisCall,
    decode: (reply: RedisReply) => T,
    patienceMs: number,
    done: (failure: RedisFailure | null, answer: T | null) => void,
  ): void {
    const endMs = this.nowMs + patienceMs;
    let lost: RedisFailure | null = null;
    const attempt = (): void => {
      this.call(fn, call, decode, (failure, answer) => {
        if (failure?.outcome === 'unknown') lost = failure;
        if (failure === null || lost === null || this.nowMs >= endMs) {
          done(failure === null ? null : (lost ?? failure), answer);
          return;
        }
        this.#counters.retries++;
        this.after(RETRY_MS, attempt);
      });
    };
    attempt();
  }

  /** Repeated until Redis has answered: for what may be done twice. */
  until<T>(
    fn: RedisFunction,
    call: RedisCall,
    decode: (reply: RedisReply) => T,
    done: (answer: T) => void,
  ): void {
    const attempt = (): void => {
      this.call(fn, call, decode, (failure, answer) => {
        if (failure === null) done(answer as T);
        else this.again(failure, attempt);
      });
    };
    if (this.isUp) attempt();
    else this.#untilUp.push(attempt);
  }

  /** Tries again when that may help: when Redis is back, or in a moment. */
  again(failure: RedisFailure, attempt: () => void): void {
    this.#counters.retries++;
    if (!this.isUp) this.#untilUp.push(attempt);
    else this.after(passes(failure) ? RETRY_MS : RETRY_REFUSED_MS, attempt);
  }

  /** Runs the task in about so many ms, never from inside this call, unless it is cancelled. */
  after(delayMs: number, task: () => void): () => void {
    const later = { dueMs: this.nowMs + delayMs, task };
    if (this.#isStopped) return () => {};
    this.#later.add(later);
    this.#stopTicks ??= this.#scheduler.every(TICK_MS, () => this.#tick());
    return () => this.#later.delete(later);
  }

  /** Redis is there again. */
  up(): void {
    const attempts = this.#untilUp;
    this.#untilUp = [];
    for (const attempt of attempts) attempt();
  }

  /** Nothing is called back any more. */
  stop(): void {
    this.#isStopped = true;
    this.#later.clear();
    this.#untilUp = [];
    this.#stopTicks?.();
    this.#stopTicks = null;
  }

  #tick(): void {
    const nowMs = this.nowMs;
    for (const later of [...this.#later]) {
      if (later.dueMs > nowMs || !this.#later.delete(later)) continue;
      later.task();
    }
    if (this.#later.size > 0) return;
    this.#stopTicks?.();
    this.#stopTicks = null;
  }

  /** A function that Redis will not run at all is a mistake somebody must hear of. */
  #complain(fn: RedisFunction, failure: RedisFailure): void {
    if (failure.outcome !== 'refused' || passes(failure)) return;
    if (this.nowMs - this.#complainedMs < COMPLAINT_MS) return;
    this.#complainedMs = this.nowMs;
    const { code, message } = failure;
    this.#log.error({ fn: fn.name, code, why: message }, 'Redis refuses a function');
  }
}

/** The same call may be answered next time. */
export function passes(failure: RedisFailure): boolean {
  return failure.outcome !== 'refused' || PASSING.has(failure.code);
}
