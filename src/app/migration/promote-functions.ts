/**
 * How `causeway promote` writes a session into Redis (ADR 0013): its queue is collected under a key that
 * no node looks at, and one call makes the session of it, so it is there whole or not at all. A mark says
 * what was moved and stays when the session does not, so that a repetition moves nothing twice. Used by
 * redis-target.ts.
 */
import type { NodeKeys } from '../../cluster/node-functions.ts';
import type { RedisArgument, RedisFunction, RedisReply } from '../../drivers/redis/redis-port.ts';
import { LUA_BASE, LUA_SLICES, LUA_TIMES } from '../../store/redis/functions/lua-parts.ts';
import {
  bytesOf,
  listOf,
  numberOf,
  type RedisCall,
  textOf,
  unexpected,
} from '../../store/redis/functions/reply.ts';
import { identityText } from '../../store/redis/functions/session-open.ts';
import type { SessionKeys } from '../../store/redis/keys.ts';

export interface PromoteKeys extends SessionKeys {
  /** Text `<promotion>:<print>:<counts>` of what was moved. */
  readonly mark: string;
  /** List: the placeholder and values that are to be the queue. */
  readonly stage: string;
}

/** On the shard of the session's own keys. */
export function promoteKeys(keys: SessionKeys, promotion: string): PromoteKeys {
  const mark = `${keys.meta.slice(0, -1)}p`;
  return { ...keys, mark, stage: `${mark}${promotion}` };
}

/** What a run that was cut short leaves behind is gone after this. */
const STAGE_MS = 86_400_000;
const MARK_MS = 30 * 86_400_000;

/**
 * Keys: stage. Arguments: how many values it has, value… (empty: a hole). 0 begins anew. Answers how many
 * it has now; the old number when that was another.
 */
export const promoteStage: RedisFunction = {
  name: 'promote_stage_1',
  lua: `${LUA_BASE}${LUA_SLICES}
local stage = KEYS[1]
if ARGV[1] == '0' then
  -- A Redis that is full refuses the first write that may need memory, if it refuses at all.
  call('SET', stage, '')
  call('DEL', stage)
  call('RPUSH', stage, '')
end
local has = call('LLEN', stage) - 1
if digits(has) ~= ARGV[1] then return has end
local values = {}
for i = 2, #ARGV do values[i - 1] = ARGV[i] end
inSlices(values, function(...) call('RPUSH', stage, ...) end)
call('PEXPIRE', stage, ${STAGE_MS})
return has + #values
`,
};

export function stageCall(
  { stage }: PromoteKeys,
  staged: number,
  values: readonly Buffer[],
): RedisCall {
  return { keys: [stage], args: [staged, ...values] };
}

/** `standing`: what is known of the client's session, and the counts of the mark. */
const LUA_STANDING = `
local function standing(m, mark, promotion, print)
  local text = call('GET', mark) or ''
  local id, was, counts = string.match(text, '^(%x+):(%x+):(.*)$')
  if id == promotion and was == print then return 'moved', counts end
  if id == promotion then return 'changed', '' end
  if call('EXISTS', m) == 1 then return 'taken', '' end
  return 'free', ''
end
local function lookAt(m)
  local has = call('HMGET', m, 'owner', 'gone', 'expiry', 'wdue', 'owill')
  if not has[1] or has[1] ~= '' then return 0 end
  return nextLook(clock(), has[5] and true or false, tonumber(has[4] or '0'),
    ending(tonumber(has[2]), tonumber(has[3])))
end
`;

/**
 * Keys: m q x i mark. Arguments: promotion, print, sid. Answers `[standing, counts, nextLookMs, isThere,
 * queued, inbound, wills, rec]`; what is behind isThere only says something when the session is there
 * under that sid.
 */
export const promoteLook: RedisFunction = {
  name: 'promote_look_1',
  lua: `${LUA_BASE}${LUA_TIMES}${LUA_STANDING}
local m, q, x, i = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local kind, counts = standing(m, KEYS[5], ARGV[1], ARGV[2])
if kind ~= 'moved' then return {kind, '', 0, 0, 0, 0, 0, ''} end
local has = call('HMGET', m, 'sid', 'rec', 'will')
if has[1] ~= ARGV[3] then return {kind, counts, 0, 0, 0, 0, 0, ''} end
local holes = 0
for _, state in ipairs(call('HVALS', x)) do
  if state == 's' then holes = holes + 1 end
end
local queued = call('LLEN', q) - 1 - holes
return {kind, counts, lookAt(m), 1, queued, call('HLEN', i), has[3] and 1 or 0, has[2] or ''}
`,
};

export function promoteLookCall(
  keys: PromoteKeys,
  promotion: string,
  print: string,
  sid: string,
): RedisCall {
  return {
    keys: [keys.meta, keys.queue, keys.marks, keys.inbound, keys.mark],
    args: [promotion, print, sid],
  };
}

/**
 * `moved`: by this promotion, and as it is here now. `changed`: by this promotion, and here it is another
 * since. `taken`: the datacenter has one of that client id. `free`: it has none.
 */
export type Standing = 'free' | 'moved' | 'changed' | 'taken';

export interface SessionCounts {
  readonly subscriptions: number;
  readonly queued: number;
  readonly inbound: number;
  readonly wills: number;
}

export interface PromoteLook {
  readonly standing: Standing;
  /** As they were when it was moved; null: it was not. */
  readonly moved: SessionCounts | null;
  /** When somebody has to look at it; 0: never. */
  readonly nextLookMs: number;
  /** As they are; null: that session is not there any more. */
  readonly there: (Omit<SessionCounts, 'subscriptions'> & { readonly rec: Buffer }) | null;
}

export function promoteLookReply(reply: RedisReply): PromoteLook {
  const { name } = promoteLook;
  const list = listOf(name, reply);
  const counts = textOf(name, list[1]);
  return {
    standing: standingOf(name, textOf(name, list[0])),
    moved: counts === '' ? null : countsOf(name, counts),
    nextLookMs: numberOf(name, list[2]),
    there:
      list[3] === 0
        ? null
        : {
            queued: numberOf(name, list[4]),
            inbound: numberOf(name, list[5]),
            wills: numberOf(name, list[6]),
            rec: bytesOf(name, list[7]),
          },
  };
}

function standingOf(name: string, word: string): Standing {
  if (word === 'free' || word === 'moved' || word === 'changed' || word === 'taken') return word;
  throw unexpected(name, 'an unknown word');
}

function countsOf(name: string, text: string): SessionCounts {
  const [subscriptions, queued, inbound, wills] = text.split(' ').map(Number);
  if (wills === undefined) throw unexpected(name, 'something else than counts');
  return { subscriptions: subscriptions!, queued: queued!, inbound: inbound!, wills };
}

/**
 * Keys: m q x i d mark stage. Arguments: promotion, print, counts, sid, ident, tenant, version, expiryS,
 * rec, gone (ms; 0: now), will (empty: none), willDelayS, willDueMs (0: after its delay), head, bytes,
 * staged, nHoles, (from, to)…, nReleased, position…, nInbound, packetId…, value…. Makes the session, with
 * the staged values and those given as its queue; nobody owns it. Answers `[standing, nextLookMs]`, `moved`
 * also when it had been; `['torn', staged]`: another number of values is staged.
 */
export const promoteSession: RedisFunction = {
  name: 'promote_session_1',
  lua: `${LUA_BASE}${LUA_TIMES}${LUA_SLICES}${LUA_STANDING}
local m, q, x, i, d, mark, stage = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local kind = standing(m, mark, ARGV[1], ARGV[2])
if kind == 'moved' then return {kind, lookAt(m)} end
if kind ~= 'free' then return {kind, 0} end
local staged = tonumber(ARGV[16])
if staged > 0 and call('LLEN', stage) ~= staged + 1 then
  return {'torn', math.max(call('LLEN', stage) - 1, 0)}
end
local now = clock()
local gone, delay, due = tonumber(ARGV[10]), tonumber(ARGV[12]), tonumber(ARGV[13])
if gone == 0 then gone = now end

-- A Redis that is full refuses here, before anything is done, or not at all.
call('SET', mark, ARGV[1] .. ':' .. ARGV[2] .. ':' .. ARGV[3], 'PX', ${MARK_MS})
call('DEL', q, x, i, d)
if staged > 0 then
  call('RENAME', stage, q)
  call('PERSIST', q)
else
  call('DEL', stage)
  call('RPUSH', q, '')
end
local a = 17
local marks = {}
for at = a + 1, a + 2 * tonumber(ARGV[a]), 2 do
  for hole = tonumber(ARGV[at]), tonumber(ARGV[at + 1]) do
    marks[#marks + 1] = digits(hole)
    marks[#marks + 1] = 's'
  end
end
a = a + 1 + 2 * tonumber(ARGV[a])
for at = a + 1, a + tonumber(ARGV[a]) do
  marks[#marks + 1] = ARGV[at]
  marks[#marks + 1] = 'r'
end
inSlices(marks, function(...) call('HSET', x, ...) end)
a = a + 1 + tonumber(ARGV[a])
local ids = {}
for at = a + 1, a + tonumber(ARGV[a]) do
  ids[#ids + 1] = ARGV[at]
  ids[#ids + 1] = ''
end
inSlices(ids, function(...) call('HSET', i, ...) end)
a = a + 1 + tonumber(ARGV[a])
local values = {}
for at = a, #ARGV do values[#values + 1] = ARGV[at] end
inSlices(values, function(...) call('RPUSH', q, ...) end)

-- The epoch and the names of its own messages go on above any that a node may have given.
local set = {'sid', ARGV[4], 'epoch', digits(now), 'owner', '', 'ident', ARGV[5], 'tenant', ARGV[6],
  'ver', ARGV[7], 'expiry', ARGV[8], 'cnt', '0', 'rec', ARGV[9], 'gone', digits(gone),
  'head', ARGV[14], 'bytes', ARGV[15], 'pseq', digits(now)}
if ARGV[11] ~= '' then
  if due == 0 then due = gone + delay * 1000 end
  for _, one in ipairs({'will', ARGV[11], 'wdelay', ARGV[12], 'wdue', digits(due)}) do
    set[#set + 1] = one
  end
end
call('HSET', m, unpack(set))
return {'moved', lookAt(m)}
`,
};

export interface PromotedSession {
  readonly promotion: string;
  readonly print: string;
  readonly counts: SessionCounts;
  readonly sid: string;
  readonly identity: string | null;
  readonly tenant: string;
  readonly version: number;
  readonly expiryIntervalS: number;
  readonly rec: Buffer;
  readonly goneMs: number;
  readonly will: Buffer | null;
  readonly willDelayS: number;
  readonly willDueMs: number;
  /** Position before the first. */
  readonly head: number;
  /** Of all values. */
  readonly bytes: number;
  readonly staged: number;
  /** First and last positions, one after the other. */
  readonly holes: readonly number[];
  readonly released: readonly number[];
  readonly inboundIds: readonly number[];
  /** Behind those that are staged. */
  readonly values: readonly Buffer[];
}

export function promoteCall(keys: PromoteKeys, session: PromotedSession): RedisCall {
  const { subscriptions, queued, inbound, wills } = session.counts;
  const args: RedisArgument[] = [
    session.promotion,
    session.print,
    `${subscriptions} ${queued} ${inbound} ${wills}`,
    session.sid,
    identityText(session.identity),
    session.tenant,
    session.version,
    session.expiryIntervalS,
    session.rec,
    session.goneMs,
    session.will ?? '',
    session.willDelayS,
    session.willDueMs,
    session.head,
    session.bytes,
    session.staged,
    session.holes.length / 2,
  ];
  for (const at of session.holes) args.push(at);
  args.push(session.released.length);
  for (const at of session.released) args.push(at);
  args.push(session.inboundIds.length);
  for (const id of session.inboundIds) args.push(id);
  for (const value of session.values) args.push(value);
  const { meta, queue, marks, inbound: ids, writers, mark, stage } = keys;
  return { keys: [meta, queue, marks, ids, writers, mark, stage], args };
}

export interface PromoteReply {
  readonly standing: Standing | 'torn';
  /** When somebody has to look at it; 0: never. */
  readonly nextLookMs: number;
}

export function promoteReply(reply: RedisReply): PromoteReply {
  const { name } = promoteSession;
  const list = listOf(name, reply);
  const word = textOf(name, list[0]);
  if (word === 'torn') return { standing: word, nextLookMs: 0 };
  return { standing: standingOf(name, word), nextLookMs: numberOf(name, list[1]) };
}

/** Keys: mark. Arguments: promotion. Answers 1: its mark is gone; 0: there was none of it. */
export const promoteForget: RedisFunction = {
  name: 'promote_forget_1',
  lua: `${LUA_BASE}
local id = string.match(call('GET', KEYS[1]) or '', '^(%x+):')
if id ~= ARGV[1] then return 0 end
return call('DEL', KEYS[1])
`,
};

/** Keys: members counters of node-functions.ts. Answers `[incarnation, record, counter, …]`. */
export const promoteMembers: RedisFunction = {
  name: 'promote_members_1',
  lua: `${LUA_BASE}
local records, answer = call('HGETALL', KEYS[1]), {}
for i = 1, #records, 2 do
  local n = #answer
  answer[n + 1], answer[n + 2] = records[i], records[i + 1]
  answer[n + 3] = call('HGET', KEYS[2], records[i]) or '0'
end
return answer
`,
};

export function membersCall({ members, counters }: NodeKeys): RedisCall {
  return { keys: [members, counters], args: [] };
}

export interface SeenMember {
  readonly incarnation: string;
  readonly nodeId: string;
  /** Rises as long as the node lives. */
  readonly counter: number;
}

export function membersReply(reply: RedisReply): SeenMember[] {
  const { name } = promoteMembers;
  const list = listOf(name, reply);
  const members: SeenMember[] = [];
  for (let i = 0; i < list.length; i += 3) {
    members.push({
      incarnation: textOf(name, list[i]),
      nodeId: textOf(name, list[i + 1]).split('\n', 1)[0]!,
      counter: numberOf(name, list[i + 2]),
    });
  }
  return members;
}
