/**
 * Bans of a datacenter in Redis, as functions (ADR 0018): two tables of records by field, each with a
 * version that every change raises, so that a node asks only for what changed since. Called by
 * `ban-exchange.ts`; what a record says is its own affair, here it is a time, a tie and bytes.
 */
import type { RedisArgument, RedisFunction, RedisReply } from '../drivers/redis/redis-port.ts';

/** In the order the functions have them. */
export function tableKeys(keyPrefix: string, table: string): readonly string[] {
  const stem = `${keyPrefix}l:{bans-${table}}:`;
  return [`${stem}m`, `${stem}d`, `${stem}v`, `${stem}e`];
}

/** Records that end are taken away some at a time. */
const PURGED_PER_CALL = 100;
/** Clocks of nodes may be behind that of Redis. */
const PURGED_LATE_MS = 60_000;

const LUA = `
local call = redis.call
local m, data, versions, ends = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local function digits(n) return string.format('%.0f', n) end
local function purge()
  local t = call('TIME')
  local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
  local over = call('ZRANGEBYSCORE', ends, '-inf', digits(now - ${PURGED_LATE_MS}),
    'LIMIT', 0, ${PURGED_PER_CALL})
  for _, field in ipairs(over) do
    call('HDEL', data, field)
    call('ZREM', versions, field)
    call('ZREM', ends, field)
  end
end
`;

/**
 * Keys: m d v e. Arguments: epoch (used when there is none), recordsMax, then field, atMs, tie, endsMs
 * (0: never) and value of each record. What is later wins. Answers epoch, and of each record
 * 1: stored, 0: what is there is as late or later, -1: there are too many.
 */
export const bansPut: RedisFunction = {
  name: 'bans_put_1',
  lua: `${LUA}
purge()
call('HSETNX', m, 'epoch', ARGV[1])
local size, max = call('HLEN', data), tonumber(ARGV[2])
local answer = {call('HGET', m, 'epoch')}
for i = 3, #ARGV, 5 do
  local field, at, tie, endsMs, value = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local old, status = call('HGET', data, field), 1
  if old then
    local oldAt, oldTie = string.match(old, '^(%d+) (%S*) ')
    local difference = tonumber(at) - tonumber(oldAt or '-1')
    if difference < 0 or (difference == 0 and tie <= oldTie) then status = 0 end
  elseif size >= max then
    status = -1
  else
    size = size + 1
  end
  if status == 1 then
    call('HSET', data, field, at .. ' ' .. tie .. ' ' .. value)
    call('ZADD', versions, digits(call('HINCRBY', m, 'version', 1)), field)
    if endsMs == '0' then call('ZREM', ends, field) else call('ZADD', ends, endsMs, field) end
  end
  answer[#answer + 1] = status
end
return answer
`,
};

/**
 * Keys: m d v e. Arguments: epoch and version that are known, how many records at most. Answers
 * `[epoch, isReset, version, field, value, …]`: the version is that of the last record in the answer;
 * reset: it is another table than the known one, and begins with its first record.
 */
export const bansSince: RedisFunction = {
  name: 'bans_since_1',
  lua: `${LUA}
purge()
local epoch = call('HGET', m, 'epoch') or ''
local version, since, isReset = tonumber(call('HGET', m, 'version') or '0'), tonumber(ARGV[2]), 0
if epoch ~= ARGV[1] or since > version then since, isReset = 0, 1 end
local found = call('ZRANGEBYSCORE', versions, '(' .. digits(since), '+inf', 'WITHSCORES',
  'LIMIT', 0, tonumber(ARGV[3]))
local answer = {epoch, isReset, since}
for i = 1, #found, 2 do
  answer[3] = tonumber(found[i + 1])
  answer[#answer + 1] = found[i]
  answer[#answer + 1] = call('HGET', data, found[i]) or ''
end
return answer
`,
};

export interface BanRecord {
  readonly field: string;
  readonly atMs: number;
  readonly tie: string;
  /** 0: never. */
  readonly endsMs: number;
  readonly value: string;
}

export type PutStatus = 'stored' | 'older' | 'full';

export function putArguments(
  epoch: string,
  recordsMax: number,
  records: readonly BanRecord[],
): RedisArgument[] {
  const args: RedisArgument[] = [epoch, recordsMax];
  for (const { field, atMs, tie, endsMs, value } of records) {
    args.push(field, atMs, tie, endsMs, value);
  }
  return args;
}

export interface PutReply {
  readonly epoch: string;
  /** One for each record. */
  readonly statuses: readonly PutStatus[];
}

export function putReply(reply: RedisReply): PutReply {
  const [epoch, ...statuses] = listOf(bansPut, reply);
  return {
    epoch: textOf(epoch),
    statuses: statuses.map((one) => (one === 1 ? 'stored' : one === -1 ? 'full' : 'older')),
  };
}

export interface SinceReply {
  readonly epoch: string;
  readonly isReset: boolean;
  readonly version: number;
  readonly records: readonly { readonly field: string; readonly value: string }[];
}

export function sinceReply(reply: RedisReply): SinceReply {
  const [epoch, isReset, version, ...rest] = listOf(bansSince, reply);
  if (typeof version !== 'number') throw new Error('bans_since_1 answered no version');
  const records: { field: string; value: string }[] = [];
  for (let at = 0; at + 1 < rest.length; at += 2) {
    const value = textOf(rest[at + 1]);
    // In front of it: the time and the tie, which the record has as well.
    const json = value.indexOf(' ', value.indexOf(' ') + 1) + 1;
    records.push({ field: textOf(rest[at]), value: value.slice(json) });
  }
  return { epoch: textOf(epoch), isReset: isReset === 1, version, records };
}

function listOf({ name }: RedisFunction, reply: RedisReply): readonly RedisReply[] {
  if (!Array.isArray(reply)) throw new Error(`${name} answered something else than a list`);
  return reply;
}

function textOf(reply: RedisReply | undefined): string {
  if (Buffer.isBuffer(reply)) return reply.toString('utf8');
  if (typeof reply === 'string') return reply;
  throw new Error('a ban in Redis is no text');
}
