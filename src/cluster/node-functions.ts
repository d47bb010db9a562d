/**
 * Membership and roles in Redis, as functions (ADR 0010): the one place that orders joins and deaths.
 * Called by membership.ts, burials.ts and role-lease.ts; every key is on the shard of `{cluster}`. No key has a time to
 * live: who is dead is judged by counters and by monotonic clocks of nodes.
 */
import type { RedisArgument, RedisFunction, RedisReply } from '../drivers/redis/redis-port.ts';

export interface NodeKeys {
  /** Hash incarnation → record. */
  readonly members: string;
  /** Hash incarnation → counter of its renewals. */
  readonly counters: string;
  /** Sorted set incarnation → ms of its death. */
  readonly dead: string;
  /** Hash: generation, secret. */
  readonly cluster: string;
  /** Hash role → `<epoch>:<incarnation>`. */
  readonly roles: string;
}

export const NODE_TAG = 'cluster';

/** `prefix` has no braces (store/redis/keys.ts checks it). */
export function nodeKeys(prefix: string): NodeKeys {
  const stem = `${prefix}n:{${NODE_TAG}}:`;
  return {
    members: `${stem}m`,
    counters: `${stem}c`,
    dead: `${stem}dead`,
    cluster: `${stem}g`,
    roles: `${stem}r`,
  };
}

/** What `RedisPort.call` wants besides the function. */
export interface NodeCall {
  readonly keys: readonly string[];
  readonly args: readonly RedisArgument[];
}

/** How long a death is remembered at least. */
const DEAD_MS = 86_400_000;

const LUA = `
local call = redis.call
local function digits(n) return string.format('%.0f', n) end
local function clock()
  local t = call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end
local function withMembers(answer)
  local records, counters = call('HGETALL', KEYS[1]), {}
  local flat = call('HGETALL', KEYS[2])
  for i = 1, #flat, 2 do counters[flat[i]] = tonumber(flat[i + 1]) end
  for i = 1, #records, 2 do
    local n = #answer
    answer[n + 1], answer[n + 2] = records[i], records[i + 1]
    answer[n + 3] = counters[records[i]] or 0
  end
  return answer
end
local function bury(incarnation)
  call('HDEL', KEYS[1], incarnation)
  call('HDEL', KEYS[2], incarnation)
  call('ZADD', KEYS[3], digits(clock()), incarnation)
end
`;

/**
 * Keys: m c dead g. Arguments: incarnation, record, generation, secret (both used when there are none).
 * Answers `['joined', generation, secret, timeMs, member…]` (incarnation, record, counter for each,
 * itself included), `['dead']`.
 */
export const nodeJoin: RedisFunction = {
  name: 'node_join_1',
  lua: `${LUA}
if call('ZSCORE', KEYS[3], ARGV[1]) then return {'dead'} end
if call('HSETNX', KEYS[4], 'generation', ARGV[3]) == 1 then
  call('HSET', KEYS[4], 'secret', ARGV[4])
end
call('HSET', KEYS[1], ARGV[1], ARGV[2])
call('HSETNX', KEYS[2], ARGV[1], '0')
local has = call('HMGET', KEYS[4], 'generation', 'secret')
return withMembers({'joined', has[1], has[2], clock()})
`,
};

export function joinCall(
  keys: NodeKeys,
  incarnation: string,
  record: NodeRecord,
  generation: string,
  secret: string,
): NodeCall {
  return {
    keys: [keys.members, keys.counters, keys.dead, keys.cluster],
    args: [incarnation, recordText(record), generation, secret],
  };
}

/**
 * Keys: m c dead g. Arguments: incarnation, generation. Answers `['ok', timeMs, member…]`: its counter has
 * risen; `['dead']`; `['generation', generation]`: Redis was emptied and somebody has begun anew;
 * `['unknown']`: not a member: Redis was emptied, or it never joined.
 */
export const nodeRenew: RedisFunction = {
  name: 'node_renew_1',
  lua: `${LUA}
if call('ZSCORE', KEYS[3], ARGV[1]) then return {'dead'} end
local generation = call('HGET', KEYS[4], 'generation')
if not generation then return {'unknown'} end
if generation ~= ARGV[2] then return {'generation', generation} end
if call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return {'unknown'} end
call('HINCRBY', KEYS[2], ARGV[1], 1)
return withMembers({'ok', clock()})
`,
};

export function renewCall(keys: NodeKeys, incarnation: string, generation: string): NodeCall {
  return {
    keys: [keys.members, keys.counters, keys.dead, keys.cluster],
    args: [incarnation, generation],
  };
}

/** Keys: m c dead. Arguments: incarnation. Answers 1; 0: it was no member. */
export const nodeLeave: RedisFunction = {
  name: 'node_leave_1',
  lua: `${LUA}
if call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
bury(ARGV[1])
return 1
`,
};

export function leaveCall(keys: NodeKeys, incarnation: string): NodeCall {
  return { keys: [keys.members, keys.counters, keys.dead], args: [incarnation] };
}

/**
 * Keys: m c dead. Arguments: incarnation, counter seen, force (1, 0), by. Answers 1: done; 0: its counter
 * has moved, it is no member, or `by` is none or is marked itself.
 *
 * With force it is marked only, whatever its counter is, once: its next renewal is answered `dead`, so
 * its lease cannot be longer than what it has; until it has left, or is buried as its counter stands
 * still, it may serve and the others go on counting it as a member.
 */
export const nodeBury: RedisFunction = {
  name: 'node_bury_1',
  lua: `${LUA}
if call('HEXISTS', KEYS[1], ARGV[4]) == 0 or call('ZSCORE', KEYS[3], ARGV[4]) then return 0 end
if call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
if ARGV[3] == '1' then
  if call('ZSCORE', KEYS[3], ARGV[1]) then return 0 end
  call('ZADD', KEYS[3], digits(clock()), ARGV[1])
  return 1
end
if (call('HGET', KEYS[2], ARGV[1]) or '0') ~= ARGV[2] then return 0 end
bury(ARGV[1])
return 1
`,
};

export function buryCall(
  keys: NodeKeys,
  incarnation: string,
  counterSeen: number,
  force: boolean,
  by: string,
): NodeCall {
  return {
    keys: [keys.members, keys.counters, keys.dead],
    args: [incarnation, counterSeen, force ? 1 : 0, by],
  };
}

/** Keys: m dead. Answers the incarnations that are remembered as dead, and are no members. */
export const nodeDead: RedisFunction = {
  name: 'node_dead_1',
  lua: `
local dead = {}
for _, incarnation in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  if redis.call('HEXISTS', KEYS[1], incarnation) == 0 then dead[#dead + 1] = incarnation end
end
return dead
`,
};

export function deadCall(keys: NodeKeys): NodeCall {
  return { keys: [keys.members, keys.dead], args: [] };
}

export function deadReply(reply: RedisReply): string[] {
  const { name } = nodeDead;
  return listOf(name, reply).map((each) => textOf(name, each));
}

/**
 * Keys: m c dead. Arguments: incarnation: somebody has taken from it what it had. Answers 1: it is
 * forgotten, as it died more than a day ago; 0.
 */
export const nodeForget: RedisFunction = {
  name: 'node_forget_1',
  lua: `${LUA}
local died = call('ZSCORE', KEYS[3], ARGV[1])
if not died or tonumber(died) > clock() - ${DEAD_MS} then return 0 end
if call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 0 end
return call('ZREM', KEYS[3], ARGV[1])
`,
};

export function forgetCall(keys: NodeKeys, incarnation: string): NodeCall {
  return { keys: [keys.members, keys.counters, keys.dead], args: [incarnation] };
}

/**
 * Keys: m r dead. Arguments: role, incarnation. Answers the epoch under which the caller has the role: the
 * one it has, or a higher one than any before when the role was free or its holder is no member; 0:
 * another member has it, or the caller is no member, or is marked. Epochs are ms of Redis' clock or
 * more, so that they rise over a Redis that was emptied.
 */
export const roleTake: RedisFunction = {
  name: 'role_take_1',
  lua: `${LUA}
if call('HEXISTS', KEYS[1], ARGV[2]) == 0 or call('ZSCORE', KEYS[3], ARGV[2]) then return 0 end
local held, epoch = call('HGET', KEYS[2], ARGV[1]), 0
if held then
  local was, holder = string.match(held, '^(%d+):(.*)$')
  epoch = tonumber(was)
  if holder == ARGV[2] then return epoch end
  if call('HEXISTS', KEYS[1], holder) == 1 then return 0 end
end
epoch = math.max(epoch + 1, clock())
call('HSET', KEYS[2], ARGV[1], digits(epoch) .. ':' .. ARGV[2])
return epoch
`,
};

export function roleCall(keys: NodeKeys, role: string, incarnation: string): NodeCall {
  return { keys: [keys.members, keys.roles, keys.dead], args: [role, incarnation] };
}

// ---------------------------------------------------------------------------------- records, answers

export interface NodeRecord {
  readonly nodeId: string;
  /** `host:port` of its peer listener. */
  readonly address: string;
  readonly release: string;
  readonly protocol: number;
}

export interface ListedNode extends NodeRecord {
  readonly incarnation: string;
  readonly counter: number;
}

/** Throws a RangeError when a part has a line break: lines are what separates them. */
export function recordText(record: NodeRecord): string {
  const parts = [record.nodeId, record.address, record.release, `${record.protocol}`];
  for (const part of parts) {
    if (part.includes('\n')) throw new RangeError('a node record has no line breaks in its parts');
  }
  return parts.join('\n');
}

export type JoinReply =
  | { readonly kind: 'dead' }
  | {
      readonly kind: 'joined';
      readonly generation: string;
      readonly secret: string;
      readonly timeMs: number;
      /** By incarnation; the caller among them. */
      readonly members: readonly ListedNode[];
    };

export function joinReply(reply: RedisReply): JoinReply {
  const { name } = nodeJoin;
  const list = listOf(name, reply);
  const kind = textOf(name, list[0]);
  if (kind === 'dead') return { kind };
  if (kind !== 'joined') throw unexpected(name);
  return {
    kind,
    generation: textOf(name, list[1]),
    secret: textOf(name, list[2]),
    timeMs: numberOf(name, list[3]),
    members: membersOf(name, list, 4),
  };
}

export type RenewReply =
  | {
      readonly kind: 'ok';
      readonly timeMs: number;
      readonly members: readonly ListedNode[];
    }
  | { readonly kind: 'dead' | 'unknown' }
  | { readonly kind: 'generation'; readonly generation: string };

export function renewReply(reply: RedisReply): RenewReply {
  const { name } = nodeRenew;
  const list = listOf(name, reply);
  const kind = textOf(name, list[0]);
  if (kind === 'dead' || kind === 'unknown') return { kind };
  if (kind === 'generation') return { kind, generation: textOf(name, list[1]) };
  if (kind !== 'ok') throw unexpected(name);
  return { kind, timeMs: numberOf(name, list[1]), members: membersOf(name, list, 2) };
}

function membersOf(name: string, list: readonly RedisReply[], from: number): ListedNode[] {
  const members: ListedNode[] = [];
  for (let i = from; i < list.length; i += 3) {
    const [nodeId, address, release, protocol] = textOf(name, list[i + 1]).split('\n');
    if (nodeId === undefined || address === undefined || release === undefined) {
      throw unexpected(name);
    }
    const version = Number(protocol);
    if (!Number.isSafeInteger(version)) throw unexpected(name);
    members.push({
      incarnation: textOf(name, list[i]),
      nodeId,
      address,
      release,
      protocol: version,
      counter: numberOf(name, list[i + 2]),
    });
  }
  return members.sort((a, b) => (a.incarnation < b.incarnation ? -1 : 1));
}

function unexpected(name: string): Error {
  return new Error(`${name} answered something that is not known`);
}

function listOf(name: string, reply: RedisReply): readonly RedisReply[] {
  if (!Array.isArray(reply)) throw unexpected(name);
  return reply as readonly RedisReply[];
}

function textOf(name: string, reply: RedisReply | undefined): string {
  if (typeof reply === 'string') return reply;
  if (!Buffer.isBuffer(reply)) throw unexpected(name);
  return reply.toString('utf8');
}

function numberOf(name: string, reply: RedisReply | undefined): number {
  if (typeof reply !== 'number' || !Number.isSafeInteger(reply)) throw unexpected(name);
  return reply;
}
