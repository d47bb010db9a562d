/**
 * When sessions should be looked at: sorted sets client id → ms (ADR 0013). On other shards than the
 * sessions: an entry is a hint, and what counts is what `session_look` finds. An entry may be early; it
 * is never lost, as every `due_add` changes the time and `due_settle` acts on the time it was shown only.
 */
import type { RedisFunction, RedisReply } from '../../../drivers/redis/redis-port.ts';
import { LUA_BASE } from './lua-parts.ts';
import { listOf, numberOf, type RedisCall, textOf } from './reply.ts';

/**
 * Keys: zset. Arguments: ms, client id. Answers 1. The earlier time stays, a millisecond earlier still,
 * so that whoever is just looking at that entry notices.
 */
export const dueAdd: RedisFunction = {
  name: 'due_add_1',
  lua: `${LUA_BASE}
local ms, known = tonumber(ARGV[1]), call('ZSCORE', KEYS[1], ARGV[2])
if known and tonumber(known) <= ms then ms = tonumber(known) - 1 end
call('ZADD', KEYS[1], digits(ms), ARGV[2])
return 1
`,
};

export function dueAddCall(key: string, ms: number, clientId: string): RedisCall {
  return { keys: [key], args: [ms, clientId] };
}

/**
 * Keys: zset. Arguments: count. Answers `[client id, ms, …]` of those whose time has come, earliest
 * first. They stay until `due_settle`.
 */
export const dueTake: RedisFunction = {
  name: 'due_take_1',
  lua: `${LUA_BASE}
local due = call('ZRANGEBYSCORE', KEYS[1], '-inf', digits(clock()), 'WITHSCORES', 'LIMIT', 0, ARGV[1])
for i = 2, #due, 2 do due[i] = tonumber(due[i]) end
return due
`,
};

export function dueTakeCall(key: string, count: number): RedisCall {
  return { keys: [key], args: [count] };
}

export interface DueEntry {
  readonly clientId: string;
  /** What `due_settle` wants to know. */
  readonly ms: number;
}

export function dueTakeReply(reply: RedisReply): DueEntry[] {
  const { name } = dueTake;
  const list = listOf(name, reply);
  const entries: DueEntry[] = [];
  for (let i = 0; i < list.length; i += 2) {
    entries.push({ clientId: textOf(name, list[i]), ms: numberOf(name, list[i + 1]) });
  }
  return entries;
}

/**
 * Keys: zset. Arguments: seenMs, nextMs (0: the entry goes), client id. Answers 1; 0: its time is not
 * seenMs any more: somebody has added it meanwhile, it comes again.
 */
export const dueSettle: RedisFunction = {
  name: 'due_settle_1',
  lua: `${LUA_BASE}
local known = call('ZSCORE', KEYS[1], ARGV[3])
if not known or digits(tonumber(known)) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then call('ZREM', KEYS[1], ARGV[3])
else call('ZADD', KEYS[1], ARGV[2], ARGV[3]) end
return 1
`,
};

export function dueSettleCall(
  key: string,
  seenMs: number,
  nextMs: number,
  clientId: string,
): RedisCall {
  return { keys: [key], args: [seenMs, nextMs, clientId] };
}
