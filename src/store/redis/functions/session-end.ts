/**
 * How a session is left and how it ends: `session_close` and `session_remove` by its owner,
 * `session_orphan` by survivors of a dead owner (ADR 0013). What becomes of sessions nobody owns is
 * looked after with session-will.ts.
 */
import type { RedisFunction, RedisReply } from '../../../drivers/redis/redis-port.ts';
import { allOf, type SessionKeys } from '../keys.ts';
import { LUA_BASE, LUA_ENDS, LUA_FENCE, LUA_TIMES } from './lua-parts.ts';
import { listOf, numberOf, type RedisCall, textOf, unexpected } from './reply.ts';

/**
 * Keys: m q x i d e. Arguments: sid, epoch, expiryS, willDelayS (-1: there is no will any more). Answers
 * `['closed', nextLookMs]` (0: never), `['ended']`, `fenced`, `gone`. With expiry 0 the session ends
 * here, unless a will is to be published first: whoever looks then does both. Repeated, it changes
 * nothing but that a will may be taken back.
 */
export const sessionClose: RedisFunction = {
  name: 'session_close_1',
  lua: `${LUA_BASE}${LUA_TIMES}${LUA_ENDS}
local m = KEYS[1]
local has = call('HMGET', m, 'sid', 'epoch', 'gone', 'expiry', 'will', 'wdue', 'wby', 'owill',
  'head')
local expiry, delay = tonumber(ARGV[3]), tonumber(ARGV[4])
if not has[1] then
  if expiry == 0 then return {'ended'} end
  return 'gone'
end
if has[1] ~= ARGV[1] or has[2] ~= ARGV[2] then return 'fenced' end
local now = clock()
local gone, wdue, hasWill = tonumber(has[3]), tonumber(has[6] or '0'), has[5] and true or false
if gone == 0 then
  gone = now
  call('HSET', m, 'gone', digits(gone), 'owner', '', 'expiry', digits(expiry))
  if hasWill and delay >= 0 then
    wdue = now + delay * 1000
    call('HSET', m, 'wdue', digits(wdue))
  end
else
  expiry = tonumber(has[4])
end
if hasWill and delay < 0 and (has[7] or '') == '' then
  call('HDEL', m, 'will', 'wdelay', 'wdue')
  hasWill, wdue = false, 0
end
local hasOldWill = has[8] and true or false
if expiry == 0 and not hasWill and not hasOldWill then
  call('DEL', m, KEYS[2], KEYS[3], KEYS[4], KEYS[5])
  if has[9] then bury(KEYS[6], has[2]) end
  return {'ended'}
end
return {'closed', nextLook(now, hasOldWill, wdue, ending(gone, expiry))}
`,
};

export function closeCall(
  keys: SessionKeys,
  sid: string,
  epoch: number,
  expiryIntervalS: number,
  willDelayS: number,
): RedisCall {
  return { keys: allOf(keys), args: [sid, epoch, expiryIntervalS, willDelayS] };
}

export type CloseReply =
  /** Somebody has to look at it then; 0: never. */
  | { readonly kind: 'closed'; readonly nextLookMs: number }
  | { readonly kind: 'ended' | 'fenced' | 'gone' };

export function closeReply(reply: RedisReply): CloseReply {
  const { name } = sessionClose;
  const list = Array.isArray(reply) ? listOf(name, reply) : [reply];
  const kind = textOf(name, list[0]);
  if (kind === 'ended' || kind === 'fenced' || kind === 'gone') return { kind };
  if (kind !== 'closed') throw unexpected(name, 'an unknown word');
  return { kind, nextLookMs: numberOf(name, list[1]) };
}

/** Keys: m q x i d e. Arguments: sid, epoch. Answers 1: removed with all it has; `fenced`, `gone`. */
export const sessionRemove: RedisFunction = {
  name: 'session_remove_1',
  lua: `${LUA_BASE}${LUA_FENCE}${LUA_ENDS}
local refusal = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then return refusal end
local isDurable = call('HEXISTS', KEYS[1], 'head') == 1
call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
if isDurable then bury(KEYS[6], ARGV[2]) end
return 1
`,
};

export function removeCall(keys: SessionKeys, sid: string, epoch: number): RedisCall {
  return { keys: allOf(keys), args: [sid, epoch] };
}

/**
 * Keys: m. Arguments: deadOwner. Answers `['orphaned', nextLookMs]`: it was its session and is nobody's
 * now; `['not', nextLookMs]`: it was not, or not any more. 0: nothing to look at. Wills the dead one was
 * publishing may be taken by others either way.
 */
export const sessionOrphan: RedisFunction = {
  name: 'session_orphan_1',
  lua: `${LUA_BASE}${LUA_TIMES}
local m, dead = KEYS[1], ARGV[1]
local has = call('HMGET', m, 'sid', 'owner', 'gone', 'expiry', 'will', 'wdelay', 'wdue', 'wby',
  'owill', 'oby')
if not has[1] then return {'not', 0} end
if has[8] == dead then call('HDEL', m, 'wby') end
if has[10] == dead then call('HDEL', m, 'oby') end
local now, kind = clock(), 'not'
local gone, wdue = tonumber(has[3]), tonumber(has[7] or '0')
if has[2] == dead then
  kind, gone = 'orphaned', now
  call('HSET', m, 'owner', '', 'gone', digits(now))
  if has[5] then
    wdue = now + tonumber(has[6] or '0') * 1000
    call('HSET', m, 'wdue', digits(wdue))
  end
elseif has[2] ~= '' then
  return {kind, 0}
end
return {kind, nextLook(now, has[9] and true or false, wdue, ending(gone, tonumber(has[4])))}
`,
};

export function orphanCall(keys: SessionKeys, deadOwner: string): RedisCall {
  return { keys: [keys.meta], args: [deadOwner] };
}

export interface OrphanReply {
  /** It was the dead node's until now. */
  readonly isOrphaned: boolean;
  /** When somebody has to look at it; 0: never. */
  readonly nextLookMs: number;
}

export function orphanReply(reply: RedisReply): OrphanReply {
  const { name } = sessionOrphan;
  const list = listOf(name, reply);
  const kind = textOf(name, list[0]);
  if (kind !== 'orphaned' && kind !== 'not') throw unexpected(name, 'an unknown word');
  return { isOrphaned: kind === 'orphaned', nextLookMs: numberOf(name, list[1]) };
}
