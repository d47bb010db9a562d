/**
 * How the cluster and its store speak to Redis: calls of functions (Lua) with a callback each, batched
 * by whoever implements this. Implemented over sockets by `redis-link.ts`, and by a model of Redis in
 * the simulation, so nothing here may know sockets or promises.
 */

export type RedisArgument = string | number | Buffer;

/** Integers as numbers, bulk strings as Buffers, simple strings as strings. */
export type RedisReply = null | number | string | Buffer | readonly RedisReply[];

/** One Lua function of the broker: executed atomically on the shard that has all its keys. */
export interface RedisFunction {
  /** With a version when its meaning changes: `session_open_1`. */
  readonly name: string;
  readonly lua: string;
}

/**
 * What is known of a call that failed: `not_done`: it was never executed; `unknown`: it was sent and no
 * answer came, so it may or may not have been; `refused`: Redis answered with an error.
 */
export type RedisOutcome = 'not_done' | 'unknown' | 'refused';

export class RedisFailure extends Error {
  readonly outcome: RedisOutcome;
  /** First word of an error reply (READONLY, OOM, LOADING, NOAUTH …), or of a cause of ours. */
  readonly code: string;

  constructor(outcome: RedisOutcome, code: string, message: string) {
    super(message);
    this.name = 'RedisFailure';
    this.outcome = outcome;
    this.code = code;
  }
}

export type RedisDone = (failure: RedisFailure | null, reply: RedisReply) => void;

export interface RedisPortEvents {
  /**
   * Connected, logged in, functions loaded. `isOtherServer`: the run id is not the one of the last
   * connection (restart, failover): what was acknowledged lately may be gone (hard case 12).
   */
  redisUp(isOtherServer: boolean): void;
  /** No shard-wide service any more; calls fail with `not_done` until `redisUp`. */
  redisDown(why: string): void;
}

export interface RedisPort {
  readonly isUp: boolean;
  /**
   * Calls of one shard are executed in the order they were made, and `done` is called in that order,
   * never from inside `call`. All `keys` carry the same hash tag. Fails at once (later, by `done`) with
   * `not_done` when Redis is down or too many calls wait.
   */
  call(
    fn: RedisFunction,
    keys: readonly string[],
    args: readonly RedisArgument[],
    done: RedisDone,
  ): void;
  /** The shard of a hash tag: calls of different shards have no order between them. */
  shardOf(tag: string): number;
  /** One listener; set before the first call. */
  listen(events: RedisPortEvents): void;
}
