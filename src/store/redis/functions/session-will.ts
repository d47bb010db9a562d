/**
 * Wills and ends of sessions nobody is connected to: any node looks (`session_look`) and is handed one
 * thing to do; `session_will_done` says that a will was published, also one that `session_open` gave
 * back; `session_unclaim` takes it from a dead node (hard case 13).
 *
 * A will is named by sid and epoch of the connection that left it, whatever session it is kept in.
 */
import type { RedisFunction, RedisReply } from '../../../drivers/redis/redis-port.ts';
import { allOf, type SessionKeys } from '../keys.ts';
import { LUA_BASE, LUA_ENDS, LUA_TIMES } from './lua-parts.ts';
import { bytesOf, listOf, numberOf, type RedisCall, textOf, unexpected } from './reply.ts';
import { identityOf } from './session-open.ts';

/**
 * Keys: m q x i d e. Arguments: by. Answers `['gone']`; `['owned', owner]`: somebody has it; `['will', will,
 * willSid, willEpoch, ident, tenant]`: the caller is to publish it, and is told again when it asks again;
 * `['claimed', by]`: that node is publishing one; `['ended', sid, epoch]`: its time was over, it was
 * removed; `['wait', ms]`: then (0: never).
 */
export const sessionLook: RedisFunction = {
  name: 'session_look_1',
  lua: `${LUA_BASE}${LUA_TIMES}${LUA_ENDS}
local m, by = KEYS[1], ARGV[1]
local has = call('HMGET', m, 'sid', 'epoch', 'owner', 'ident', 'tenant', 'expiry', 'gone', 'will',
  'wdue', 'wby', 'owill', 'osid', 'oepoch', 'oby', 'oident', 'otenant', 'head')
if not has[1] then return {'gone'} end
if has[3] ~= '' then return {'owned', has[3]} end
if has[11] then
  local oby = has[14] or ''
  if oby ~= '' and oby ~= by then return {'claimed', oby} end
  if oby == '' then call('HSET', m, 'oby', by) end
  return {'will', has[11], has[12], tonumber(has[13]), has[15] or '-', has[16] or ''}
end
local now = clock()
local wdue, ends = tonumber(has[9] or '0'), ending(tonumber(has[7]), tonumber(has[6]))
local isEnded = ends > 0 and ends <= now
if has[8] and wdue > 0 and (isEnded or wdue <= now) then
  local wby = has[10] or ''
  if wby ~= '' and wby ~= by then return {'claimed', wby} end
  if wby == '' then call('HSET', m, 'wby', by) end
  return {'will', has[8], has[1], tonumber(has[2]), has[4], has[5]}
end
if isEnded then
  call('DEL', m, KEYS[2], KEYS[3], KEYS[4], KEYS[5])
  if has[17] then bury(KEYS[6], has[2]) end
  return {'ended', has[1], tonumber(has[2])}
end
return {'wait', nextLook(now, false, wdue, ends)}
`,
};

export function lookCall(keys: SessionKeys, by: string): RedisCall {
  return { keys: allOf(keys), args: [by] };
}

export type LookReply =
  | { readonly kind: 'gone' }
  | { readonly kind: 'owned'; readonly owner: string }
  | {
      readonly kind: 'will';
      readonly will: Buffer;
      /** Of the connection that left it. */
      readonly sid: string;
      readonly epoch: number;
      readonly identity: string | null;
      readonly tenant: string;
    }
  | { readonly kind: 'claimed'; readonly by: string }
  | { readonly kind: 'ended'; readonly sid: string; readonly epoch: number }
  | { readonly kind: 'wait'; readonly untilMs: number };

export function lookReply(reply: RedisReply): LookReply {
  const { name } = sessionLook;
  const list = listOf(name, reply);
  const kind = textOf(name, list[0]);
  switch (kind) {
    case 'gone':
      return { kind };
    case 'owned':
      return { kind, owner: textOf(name, list[1]) };
    case 'claimed':
      return { kind, by: textOf(name, list[1]) };
    case 'ended':
      return { kind, sid: textOf(name, list[1]), epoch: numberOf(name, list[2]) };
    case 'wait':
      return { kind, untilMs: numberOf(name, list[1]) };
    case 'will':
      return {
        kind,
        will: bytesOf(name, list[1]),
        sid: textOf(name, list[2]),
        epoch: numberOf(name, list[3]),
        identity: identityOf(textOf(name, list[4])),
        tenant: textOf(name, list[5]),
      };
    default:
      throw unexpected(name, 'an unknown word');
  }
}

/**
 * Keys: m. Arguments: sid, epoch of the will, as `session_look` or `session_open` gave them. Answers 1: it
 * is forgotten; 0: there is no such will. After a look: look again.
 */
export const sessionWillDone: RedisFunction = {
  name: 'session_will_done_1',
  lua: `${LUA_BASE}
local m, sid, epoch = KEYS[1], ARGV[1], ARGV[2]
local has = call('HMGET', m, 'sid', 'epoch', 'wby', 'osid', 'oepoch')
if has[4] == sid and has[5] == epoch then
  call('HDEL', m, 'owill', 'osid', 'oepoch', 'oby', 'oident', 'otenant')
  return 1
end
if has[1] == sid and has[2] == epoch and has[3] then
  call('HDEL', m, 'will', 'wdelay', 'wdue', 'wby')
  return 1
end
return 0
`,
};

export function willDoneCall(keys: SessionKeys, sid: string, epoch: number): RedisCall {
  return { keys: [keys.meta], args: [sid, epoch] };
}

/** Keys: m. Arguments: by, a dead node. Answers 1: what it was publishing may be taken again; 0. */
export const sessionUnclaim: RedisFunction = {
  name: 'session_unclaim_1',
  lua: `${LUA_BASE}
local has, freed = call('HMGET', KEYS[1], 'wby', 'oby'), 0
if has[1] == ARGV[1] then freed = call('HDEL', KEYS[1], 'wby') end
if has[2] == ARGV[1] then freed = call('HDEL', KEYS[1], 'oby') end
return freed
`,
};

export function unclaimCall(keys: SessionKeys, dead: string): RedisCall {
  return { keys: [keys.meta], args: [dead] };
}
