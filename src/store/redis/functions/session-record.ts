/**
 * The record of a session: `session_save` by its owner, `session_list` at start, `session_assert` after
 * Redis has lost it (ADR 0010, 0013).
 */
import type { RedisFunction, RedisReply } from '../../../drivers/redis/redis-port.ts';
import { allOf, type SessionKeys } from '../keys.ts';
import { LUA_BASE, LUA_ENDS, LUA_SLICES } from './lua-parts.ts';
import { bytesOf, listOf, numberOf, type RedisCall, textOf } from './reply.ts';
import { identityOf, identityText } from './session-open.ts';

/**
 * Keys: m. Arguments: sid, epoch, expiryS, cnt, rec. Answers 1, `fenced`, `gone`. A record with a lower
 * counter than the one that is there is old and not written.
 */
export const sessionSave: RedisFunction = {
  name: 'session_save_1',
  lua: `${LUA_BASE}
local m = KEYS[1]
local has = call('HMGET', m, 'sid', 'epoch', 'cnt')
if not has[1] then return 'gone' end
if has[1] ~= ARGV[1] or has[2] ~= ARGV[2] then return 'fenced' end
if tonumber(ARGV[4]) >= tonumber(has[3]) then
  call('HSET', m, 'expiry', ARGV[3], 'cnt', ARGV[4], 'rec', ARGV[5])
end
return 1
`,
};

export function saveCall(
  keys: SessionKeys,
  sid: string,
  epoch: number,
  expiryIntervalS: number,
  counter: number,
  rec: Buffer,
): RedisCall {
  return { keys: [keys.meta], args: [sid, epoch, expiryIntervalS, counter, rec] };
}

/**
 * Keys: m q. Answers `[sid, epoch, owner, ident, tenant, version, expiryS, cnt, rec, gone, head, tail,
 * bytes]`, nil when there is no durable session.
 */
export const sessionList: RedisFunction = {
  name: 'session_list_1',
  lua: `${LUA_BASE}
local has = call('HMGET', KEYS[1], 'sid', 'epoch', 'owner', 'ident', 'tenant', 'ver', 'expiry', 'cnt',
  'rec', 'gone', 'head', 'bytes')
if not has[1] or not has[11] then return false end
local head = tonumber(has[11])
return {has[1], tonumber(has[2]), has[3], has[4], has[5], tonumber(has[6]), tonumber(has[7]),
  tonumber(has[8]), has[9] or '', tonumber(has[10]), head,
  head + math.max(call('LLEN', KEYS[2]), 1) - 1, tonumber(has[12])}
`,
};

export function listCall(keys: SessionKeys): RedisCall {
  return { keys: [keys.meta, keys.queue], args: [] };
}

export interface ListedSession {
  readonly sid: string;
  readonly epoch: number;
  /** Empty: nobody. */
  readonly owner: string;
  readonly identity: string | null;
  readonly tenant: string;
  readonly version: number;
  readonly expiryIntervalS: number;
  readonly counter: number;
  /** Empty: never saved. */
  readonly rec: Buffer;
  /** When its connection ended, by Redis' clock; 0: connected. */
  readonly goneMs: number;
  readonly head: number;
  readonly tail: number;
  readonly bytes: number;
}

export function listReply(reply: RedisReply): ListedSession | null {
  if (reply === null) return null;
  const { name } = sessionList;
  const list = listOf(name, reply);
  return {
    sid: textOf(name, list[0]),
    epoch: numberOf(name, list[1]),
    owner: textOf(name, list[2]),
    identity: identityOf(textOf(name, list[3])),
    tenant: textOf(name, list[4]),
    version: numberOf(name, list[5]),
    expiryIntervalS: numberOf(name, list[6]),
    counter: numberOf(name, list[7]),
    rec: bytesOf(name, list[8]),
    goneMs: numberOf(name, list[9]),
    head: numberOf(name, list[10]),
    tail: numberOf(name, list[11]),
    bytes: numberOf(name, list[12]),
  };
}

/**
 * An owner hears of positions while it writes its session again, into a Redis that was emptied behind
 * them: from reads and appends that were executed before. So many are passed over: more than come in the
 * time of a few calls, and far less than a round of packet ids.
 */
export const HEAD_GAP = 4096;

/**
 * Keys: m q x i d e. Arguments: owner or empty, sid, epoch, ident, tenant, version, expiryS, cnt, rec, head,
 * gone (ms; 0: connected, or now when there is no owner), will (empty: none), willDelayS. Answers 1:
 * written; 0: Redis has one with a higher epoch, or with this one, unless it was written there as nobody's
 * and its owner has come; or that session has ended. Positions go on `HEAD_GAP` after `head` where there is
 * no such session, else after `head` and after any that is there: an older record of the same session keeps its queue, filled up with holes, as a
 * failover may have taken back positions that were given and sent.
 */
export const sessionAssert: RedisFunction = {
  name: 'session_assert_1',
  lua: `${LUA_BASE}${LUA_SLICES}${LUA_ENDS}
local m, q, x = KEYS[1], KEYS[2], KEYS[3]
local owner, sid, epoch, head, gone = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[10]), ARGV[11]
local has = call('HMGET', m, 'sid', 'epoch', 'head', 'owner')
if has[1] then
  local isNobodys = owner ~= '' and has[4] == '' and has[1] == sid
  local known, new = tonumber(has[2]), tonumber(epoch)
  if known > new or (known == new and not isNobodys) then return 0 end
elseif isBuried(KEYS[6], epoch) then return 0 end
if owner ~= '' then gone = '0' elseif gone == '0' then gone = digits(clock()) end
local set = {'sid', sid, 'epoch', epoch, 'owner', owner, 'ident', ARGV[4], 'tenant', ARGV[5],
  'ver', ARGV[6], 'expiry', ARGV[7], 'cnt', ARGV[8], 'rec', ARGV[9], 'gone', gone}
local function put(name, value) set[#set + 1] = name; set[#set + 1] = value end
if ARGV[12] ~= '' then
  put('will', ARGV[12]); put('wdelay', ARGV[13])
  if gone ~= '0' then put('wdue', digits(tonumber(gone) + tonumber(ARGV[13]) * 1000)) end
end
if has[1] ~= sid or not has[3] then
  if has[1] then call('DEL', m, q, x, KEYS[4], KEYS[5]) end
  if head < 0 then head = clock() else head = head + ${HEAD_GAP} end
  put('head', digits(head)); put('bytes', '0'); put('pseq', digits(clock()))
  call('HSET', m, unpack(set))
  call('RPUSH', q, '')
  return 1
end
if ARGV[12] == '' then call('HDEL', m, 'will', 'wdelay', 'wdue', 'wby')
else call('HDEL', m, 'wdue', 'wby') end
local first, length = tonumber(has[3]), call('LLEN', q)
if length == 0 then
  call('RPUSH', q, '')
  length = 1
end
local tail = first + length - 1
if head > tail then
  if length == 1 then put('head', digits(head))
  else
    local holes, marks = {}, {}
    for at = tail + 1, head do
      holes[#holes + 1] = ''
      marks[#marks + 1] = digits(at)
      marks[#marks + 1] = 's'
    end
    inSlices(holes, function(...) call('RPUSH', q, ...) end)
    inSlices(marks, function(...) call('HSET', x, ...) end)
  end
end
call('HSET', m, unpack(set))
return 1
`,
};

export interface AssertArguments {
  /** Empty: nobody. */
  readonly owner: string;
  readonly sid: string;
  readonly epoch: number;
  readonly identity: string | null;
  readonly tenant: string;
  readonly version: number;
  readonly expiryIntervalS: number;
  readonly counter: number;
  readonly rec: Buffer;
  /**
   * Highest position that was ever given. -1: not known; where Redis has no queue its positions then
   * go on after the time in ms, far above any: the owner before may still settle some of its own.
   */
  readonly head: number;
  readonly goneMs: number;
  /** Of the connection that is open; null: none. */
  readonly will: Buffer | null;
  readonly willDelayS: number;
}

export function assertCall(keys: SessionKeys, session: AssertArguments): RedisCall {
  return {
    keys: allOf(keys),
    args: [
      session.owner,
      session.sid,
      session.epoch,
      identityText(session.identity),
      session.tenant,
      session.version,
      session.expiryIntervalS,
      session.counter,
      session.rec,
      session.head,
      session.goneMs,
      session.will ?? '',
      session.willDelayS,
    ],
  };
}
