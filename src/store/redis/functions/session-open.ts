/**
 * `session_open`: takes a session for a node, whoever has it, or makes it (ADR 0013). The one function
 * that gives epochs. Called by the ledger; old owners are made to let go by the cluster afterwards, and
 * `session_adopt` says that they have.
 */
import type { RedisFunction, RedisReply } from '../../../drivers/redis/redis-port.ts';
import { allOf, type SessionKeys } from '../keys.ts';
import { LUA_BASE, LUA_ENDS, LUA_FENCE, LUA_TIMES } from './lua-parts.ts';
import {
  bytesOf,
  listOf,
  type Marks,
  marksOf,
  numberOf,
  type RedisCall,
  textOf,
  unexpected,
} from './reply.ts';

/** Of those who may still have a session; more nodes than this do not open one within moments. */
const OWNERS_MAX = 32;

/**
 * Keys: m q x i d e. Arguments: owner, hlcMs, newSid, ident (`-` or `+name`), tenant, isTenantProven,
 * cleanStart (1, 0), expiryS, version, will (empty: none), willDelayS, isKnown (1, 0), isGivenUp (1, 0).
 *
 * Answers `['foreign']`; `['absent']`: isKnown, and there is none: the caller finds out whether it has
 * ended or Redis has lost it; `['never']`: isGivenUp, and it was not carried out before; `['busy', by]`: a will of the session is just being published by that node
 * (empty: nobody has begun), open again soon; or `['opened', epoch, previousOwners, present, sid, rec,
 * cnt, head, tail, bytes, pseq, [x pairs], [i pairs], oldWill, oldWillSid, oldWillEpoch]`.
 *
 * Repeated with the same newSid while its owner still has the session it answers the same again, as
 * the answer may have been lost. An old will is in the answer when it must be published now: the
 * connection that left it was open and there is no delay, or the delay is over, or this open ends the
 * session. A session that ends with its connection is ended by a takeover, as that ends its connection.
 *
 * `previousOwners`, with a space between two, the last one first: who owned it until now, and all before
 * since one of them had it alone (`session_adopt`). Somebody in between may have taken it and have
 * been taken from, or died, or given it back, before the one before it had let go.
 */
export const sessionOpen: RedisFunction = {
  name: 'session_open_1',
  lua: `${LUA_BASE}${LUA_TIMES}${LUA_ENDS}
local m, q, x, i, d = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local owner, hlc, newSid, ident, tenant = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local isProven, cleanStart, expiry = ARGV[6] == '1', ARGV[7] == '1', tonumber(ARGV[8])
local version, will, willDelay, isKnown = ARGV[9], ARGV[10], ARGV[11], ARGV[12] == '1'
local isGivenUp = ARGV[13] == '1'
local now = clock()

local has = call('HMGET', m, 'sid', 'epoch', 'owner', 'ident', 'tenant', 'expiry', 'gone', 'rec',
  'cnt', 'head', 'bytes', 'pseq', 'will', 'wdelay', 'wdue', 'wby', 'owill', 'osid', 'oepoch', 'oby',
  'req', 'oident', 'otenant')
local sid, epoch, was = has[1], has[2], has[3] or ''
local wasIdent, wasTenant = has[4], has[5]
local gone = tonumber(has[7] or '0')
local oldWill, oldSid, oldEpoch = has[17] or '', has[18] or '', has[19] or '0'
local oldIdent, oldTenant = has[22] or '', has[23] or ''

local function ownersBefore()
  local before = has[21] and string.match(has[21], '^%x+:[01]:(.*)$') or ''
  if was == '' then return before end
  if before == '' or before == was then return was end
  local names, isNamed = {}, {}
  for name in string.gmatch(was .. ' ' .. before, '%S+') do
    if not isNamed[name] and #names < ${OWNERS_MAX} then names[#names + 1] = name end
    isNamed[name] = true
  end
  return table.concat(names, ' ')
end

local function opened(previous, present, sid, epoch, rec, cnt, head, bytes, pseq)
  local answer = {'opened', tonumber(epoch), previous, present, sid, rec or '', tonumber(cnt)}
  answer[8] = tonumber(head or '0')
  answer[9] = head and answer[8] + call('LLEN', q) - 1 or 0
  answer[10], answer[11] = tonumber(bytes or '0'), tonumber(pseq)
  answer[12], answer[13] = call('HGETALL', x), call('HGETALL', i)
  answer[14], answer[15], answer[16] = oldWill, oldSid, tonumber(oldEpoch)
  return answer
end

if sid and was == owner and gone == 0 and has[21] then
  local known, present, previous = string.match(has[21], '^(%x+):([01]):(.*)$')
  if known == newSid then
    return opened(previous, tonumber(present), sid, epoch, has[8], has[9], has[10], has[11], has[12])
  end
end

if isGivenUp then return {'never'} end
if isKnown and not sid then return {'absent'} end
local isEnded = true
if sid then
  local wasExpiry = tonumber(has[6])
  local ends = ending(gone, wasExpiry)
  local isExpired = ends > 0 and ends <= now
  if not isExpired and wasIdent ~= '-' then
    if wasIdent ~= ident then return {'foreign'} end
    if isProven and wasTenant ~= '' and wasTenant ~= tenant then return {'foreign'} end
  end
  local wasWill, wby, wdue = has[13] or '', has[16] or '', tonumber(has[15] or '0')
  local oby = has[20] or ''
  if oldWill ~= '' and oby ~= '' and oby ~= owner then return {'busy', oby} end
  if wasWill ~= '' and wby ~= '' and wby ~= owner then return {'busy', wby} end
  isEnded = cleanStart or isExpired or wasIdent ~= ident or (gone == 0 and wasExpiry == 0)
  local isDue = wasWill ~= '' and (isEnded or (wdue > 0 and wdue <= now)
    or (gone == 0 and tonumber(has[14] or '0') == 0))
  if isDue then
    if oldWill ~= '' then return {'busy', oby} end
    oldWill, oldSid, oldEpoch, oldIdent, oldTenant = wasWill, sid, epoch, wasIdent, wasTenant
  end
end

local nextEpoch = hlc
if sid then nextEpoch = math.max(tonumber(epoch) + 1, hlc) end
local present, previous = isEnded and 0 or 1, ownersBefore()

local set = {}
local function put(name, value) set[#set + 1] = name; set[#set + 1] = value end
-- What is asked for most often is found first in a small hash.
if isEnded then
  put('sid', newSid)
  if expiry > 0 then put('head', '0'); put('bytes', '0') end
end
put('owner', owner); put('epoch', digits(nextEpoch)); put('ident', ident); put('tenant', tenant)
put('ver', version); put('expiry', digits(expiry)); put('gone', '0')
put('req', newSid .. ':' .. present .. ':' .. previous)
if isEnded then put('cnt', '0'); put('pseq', '0') end
if will ~= '' then put('will', will); put('wdelay', willDelay) end
if oldWill ~= '' then
  put('owill', oldWill); put('osid', oldSid); put('oepoch', oldEpoch); put('oby', owner)
  put('oident', oldIdent); put('otenant', oldTenant)
end

if isEnded then
  if sid then call('DEL', m, q, x, i, d) end
  if has[10] then bury(KEYS[6], epoch) end
  call('HSET', m, unpack(set))
  if expiry > 0 then call('RPUSH', q, '') end
  return opened(previous, 0, newSid, nextEpoch, '', '0', expiry > 0 and '0', '0', '0')
end
if will == '' then call('HDEL', m, 'will', 'wdelay', 'wdue', 'wby')
else call('HDEL', m, 'wdue', 'wby') end
call('HSET', m, unpack(set))
return opened(previous, 1, sid, nextEpoch, has[8], has[9], has[10], has[11], has[12])
`,
};

export interface OpenArguments {
  readonly owner: string;
  readonly hlcMs: number;
  /** 16 hex digits; the same when the call is repeated. */
  readonly newSid: string;
  readonly identity: string | null;
  readonly tenant: string;
  readonly isTenantProven: boolean;
  readonly cleanStart: boolean;
  readonly expiryIntervalS: number;
  readonly version: number;
  /** As the store encodes it, never empty; null: none. */
  readonly will: Buffer | null;
  readonly willDelayS: number;
  /** None is made when there is none. */
  readonly isKnown?: boolean;
  /** Nobody wants it any more: only whether it was carried out is asked for. */
  readonly isGivenUp?: boolean;
}

/** An identity as it is in Redis: a name cannot be mistaken for nobody. */
export function identityText(identity: string | null): string {
  return identity === null ? '-' : `+${identity}`;
}

export function identityOf(text: string): string | null {
  return text.startsWith('+') ? text.slice(1) : null;
}

export function openCall(keys: SessionKeys, open: OpenArguments): RedisCall {
  return {
    keys: allOf(keys),
    args: [
      open.owner,
      open.hlcMs,
      open.newSid,
      identityText(open.identity),
      open.tenant,
      open.isTenantProven ? 1 : 0,
      open.cleanStart ? 1 : 0,
      open.expiryIntervalS,
      open.version,
      open.will ?? '',
      open.willDelayS,
      open.isKnown === true ? 1 : 0,
      open.isGivenUp === true ? 1 : 0,
    ],
  };
}

/** An inbound QoS 2 packet id; with a value its fan-out is not known to be done. */
export interface InboundId {
  readonly packetId: number;
  readonly pending: {
    readonly publisherSeq: number;
    /** Of the owner that took it. */
    readonly publisherEpoch: number;
    readonly value: Buffer;
  } | null;
}

/** The will of an earlier connection; sid and epoch are that connection's. */
export interface OldWill {
  readonly value: Buffer;
  readonly sid: string;
  readonly epoch: number;
}

export type OpenReply =
  | { readonly kind: 'foreign' | 'absent' | 'never' }
  | { readonly kind: 'busy'; readonly by: string }
  | {
      readonly kind: 'opened';
      readonly epoch: number;
      /** The last one first. */
      readonly previousOwners: readonly string[];
      readonly present: boolean;
      readonly sid: string;
      /** Empty: never saved. */
      readonly rec: Buffer;
      readonly counter: number;
      /** Position of the placeholder: the last removed. */
      readonly head: number;
      /** Highest given; `head` when the queue is empty. */
      readonly tail: number;
      readonly bytes: number;
      readonly publisherSeq: number;
      readonly marks: Marks;
      /** By packet id. */
      readonly inbound: readonly InboundId[];
      readonly oldWill: OldWill | null;
    };

export function openReply(reply: RedisReply): OpenReply {
  const { name } = sessionOpen;
  const list = listOf(name, reply);
  const kind = textOf(name, list[0]);
  if (kind === 'foreign' || kind === 'absent' || kind === 'never') return { kind };
  if (kind === 'busy') return { kind, by: textOf(name, list[1]) };
  if (kind !== 'opened') throw unexpected(name, 'an unknown word');
  const oldWill = bytesOf(name, list[13]);
  return {
    kind,
    epoch: numberOf(name, list[1]),
    previousOwners: textOf(name, list[2])
      .split(' ')
      .filter((owner) => owner !== ''),
    present: numberOf(name, list[3]) === 1,
    sid: textOf(name, list[4]),
    rec: bytesOf(name, list[5]),
    counter: numberOf(name, list[6]),
    head: numberOf(name, list[7]),
    tail: numberOf(name, list[8]),
    bytes: numberOf(name, list[9]),
    publisherSeq: numberOf(name, list[10]),
    marks: marksOf(name, list[11]),
    inbound: inboundOf(listOf(name, list[12])),
    oldWill:
      oldWill.length === 0
        ? null
        : { value: oldWill, sid: textOf(name, list[14]), epoch: numberOf(name, list[15]) },
  };
}

/**
 * Keys: m. Arguments: sid, epoch. Its owner has it alone: those before are not named any more. Answers 1,
 * 0: that was known; `fenced`, `gone`.
 */
export const sessionAdopt: RedisFunction = {
  name: 'session_adopt_1',
  lua: `${LUA_BASE}${LUA_FENCE}
local refusal = fence(KEYS[1], ARGV[1], ARGV[2])
if refusal then return refusal end
return call('HDEL', KEYS[1], 'req')
`,
};

export function adoptCall(keys: SessionKeys, sid: string, epoch: number): RedisCall {
  return { keys: [keys.meta], args: [sid, epoch] };
}

const COLON = 0x3a;

function inboundOf(pairs: readonly RedisReply[]): InboundId[] {
  const { name } = sessionOpen;
  const ids: InboundId[] = [];
  for (let i = 0; i < pairs.length; i += 2) {
    const packetId = numberOf(name, pairs[i]);
    const stored = bytesOf(name, pairs[i + 1]);
    if (stored.length === 0) {
      ids.push({ packetId, pending: null });
      continue;
    }
    const colon = stored.indexOf(COLON);
    if (colon < 1) throw unexpected(name, 'a pending message without its sequence');
    const [publisherSeq, publisherEpoch] = stored.latin1Slice(0, colon).split('.').map(Number);
    if (!Number.isSafeInteger(publisherSeq) || !Number.isSafeInteger(publisherEpoch)) {
      throw unexpected(name, 'a pending message without its name');
    }
    ids.push({
      packetId,
      pending: {
        publisherSeq: publisherSeq!,
        publisherEpoch: publisherEpoch!,
        value: stored.subarray(colon + 1),
      },
    });
  }
  return ids.sort((a, b) => a.packetId - b.packetId);
}
