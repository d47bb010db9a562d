/**
 * The queue of a durable session: `session_append` (any node), `session_read`, `session_settle` (its
 * owner). A list whose first element is a placeholder; position of index i is head + i (ADR 0013). An
 * empty value is a hole: settled out of order, dropped, or never there. Opaque values are the store's.
 */
import type {
  RedisArgument,
  RedisFunction,
  RedisReply,
} from '../../../drivers/redis/redis-port.ts';
import type { SessionKeys } from '../keys.ts';
import { LUA_BASE, LUA_SLICES } from './lua-parts.ts';
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

/** How many writers `d` may have before those of an hour ago go. */
const WRITERS_MAX = 64;
const WRITER_MS = 3_600_000;
/** Those that begin with `m`: a page of another region is asked for again after any crash or cut. */
const MOVE_MS = 30 * 24 * 3_600_000;

/**
 * Keys: m q x d of each session. Arguments: messagesMax, bytesMax, overflow (`oldest`, `newest`), n
 * sessions; each: sid, writer, afterSeq, n, sequences (rising, between spaces), value….
 *
 * Answers per session `[status, tail, owner, skipped, stored, dropped, refused…]`: status 1: done; 0: no
 * such session; -2: its sid is another; -3: the writer's call before this one was not executed (what
 * was stored last is below afterSeq), nothing is done. `skipped`: had been stored before, at the front
 * of what was given; `stored` got the positions up to `tail`; `dropped`: older entries that went for
 * them; `refused`: indices from 0 of values for which there is no room.
 *
 * Drop oldest spares positions marked `r`, as PUBREL is due for them: what is dropped behind one of
 * them leaves a hole.
 */
export const sessionAppend: RedisFunction = {
  name: 'session_append_1',
  lua: `${LUA_BASE}${LUA_SLICES}
local messagesMax, bytesMax = tonumber(ARGV[1]), tonumber(ARGV[2])
local dropsOldest, sessions = ARGV[3] == 'oldest', tonumber(ARGV[4])
local now = clock()

-- Which of the values find room, and what goes for them. Touches nothing.
local function fit(q, x, head, length, bytes, values)
  local marks, live, keptCount, keptBytes = {}, length - 1, 0, 0
  local flat = call('HGETALL', x)
  for i = 1, #flat, 2 do
    local at = tonumber(flat[i])
    marks[at] = flat[i + 1]
    if flat[i + 1] == 's' then live = live - 1
    else
      keptCount = keptCount + 1
      keptBytes = keptBytes + #(call('LINDEX', q, digits(at - head)) or '')
    end
  end
  local tail, at = head + length - 1, head
  local accepted, refused, dropped = {}, {}, {}
  for i = 1, #values do
    local size = #values[i]
    local fits
    if dropsOldest then
      fits = keptCount + 1 <= messagesMax and keptBytes + size <= bytesMax
      while fits and (live + 1 > messagesMax or bytes + size > bytesMax) do
        at = at + 1
        if at > tail + #accepted then fits = false
        elseif not marks[at] then
          local old = at > tail and accepted[at - tail] or call('LINDEX', q, digits(at - head))
          marks[at] = 's'
          dropped[#dropped + 1] = at
          live, bytes = live - 1, bytes - #(old or '')
        end
      end
    else
      fits = live + 1 <= messagesMax and bytes + size <= bytesMax
    end
    if fits then
      accepted[#accepted + 1] = values[i]
      live, bytes = live + 1, bytes + size
    else
      refused[#refused + 1] = i
    end
  end
  return accepted, refused, dropped, marks, bytes, #flat > 0
end

local function push(q, isThere, values)
  if not isThere then call('RPUSH', q, '') end
  inSlices(values, function(...) call('RPUSH', q, ...) end)
end

-- Dropped positions at the front are trimmed, with what was settled behind them; others become holes.
local function drop(q, x, head, dropped, marks, hadMarks)
  local first = head
  while marks[first + 1] == 's' do first = first + 1 end
  if first > head then
    call('LTRIM', q, digits(first - head), -1)
    call('LSET', q, 0, '')
    if hadMarks then
      local passed = {}
      for at = head + 1, first do passed[#passed + 1] = digits(at) end
      inSlices(passed, function(...) call('HDEL', x, ...) end)
    end
  end
  for i = 1, #dropped do
    if dropped[i] > first then
      call('LSET', q, digits(dropped[i] - first), '')
      call('HSET', x, digits(dropped[i]), 's')
    end
  end
  return first
end

local function wrote(d, writer, seqs)
  -- A pattern that ends at the end is tried from each beginning: only as much as one number can be.
  local seq = string.match(string.sub(seqs, -16), '%d+$')
  local isNew = call('HSET', d, writer, seq .. ':' .. digits(now))
  if isNew == 0 then return end
  local count = call('HLEN', d)
  if count <= ${WRITERS_MAX} or count % 32 ~= 0 then return end
  local old, all = {}, call('HGETALL', d)
  for i = 1, #all, 2 do
    local keptMs = string.byte(all[i]) == ${'m'.charCodeAt(0)} and ${MOVE_MS} or ${WRITER_MS}
    if tonumber(string.match(all[i + 1], '%d+$')) < now - keptMs then old[#old + 1] = all[i] end
  end
  inSlices(old, function(...) call('HDEL', d, ...) end)
end

-- How many of the sequences are not above the writer's last.
local function known(seqs, last)
  if tonumber(string.match(seqs, '^%d+')) > last then return 0 end
  local count = 0
  for seq in string.gmatch(seqs, '%d+') do
    if tonumber(seq) > last then break end
    count = count + 1
  end
  return count
end

local answers, a, k = {}, 5, 1
for s = 1, sessions do
  local m, q, x, d = KEYS[k], KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  local sid, writer, after = ARGV[a], ARGV[a + 1], tonumber(ARGV[a + 2])
  local count, seqs = tonumber(ARGV[a + 3]), ARGV[a + 4]
  local from, to = a + 5, a + 4 + count
  a, k = to + 1, k + 4
  local has = call('HMGET', m, 'sid', 'head', 'bytes', 'owner')
  if not has[1] or (has[1] == sid and not has[2]) then
    answers[s] = {0, 0, '', 0, 0, 0}
  elseif has[1] ~= sid then
    answers[s] = {-2, 0, '', 0, 0, 0}
  else
    local last = call('HGET', d, writer)
    last = last and tonumber(string.match(last, '^%d+')) or 0
    if last < after then
      answers[s] = {-3, 0, '', 0, 0, 0}
    else
      local head, bytes = tonumber(has[2]), tonumber(has[3])
      local skipped = known(seqs, last)
      from = from + skipped
      local given, size = count - skipped, 0
      for i = from, to do size = size + #ARGV[i] end
      -- Mostly there is room: pushed first, and taken back when there was none.
      local length, fits = 0, false
      if given > 0 and given <= 1000 and bytes + size <= bytesMax then
        length = call('RPUSHX', q, unpack(ARGV, from, to))
        fits = length > 1 and length - 1 <= messagesMax
        if length > 0 and not fits then
          call('LTRIM', q, 0, digits(-given - 1))
          length = length - given
        end
      end
      if fits then
        call('HSET', m, 'bytes', digits(bytes + size))
        answers[s] = {1, head + length - 1, has[4], skipped, given, 0}
        wrote(d, writer, seqs)
      else
        length = call('LLEN', q)
        local isThere = length > 0
        if not isThere then length = 1 end
        local answer = {1, head + length - 1, has[4], skipped, 0, 0}
        if given > 0 then
          local values = {}
          for i = from, to do values[#values + 1] = ARGV[i] end
          local accepted, refused, dropped, marks, left, hadMarks =
            fit(q, x, head, length, bytes, values)
          if #accepted > 0 then
            push(q, isThere, accepted)
            local first = head
            if #dropped > 0 then first = drop(q, x, head, dropped, marks, hadMarks) end
            call('HSET', m, 'bytes', digits(left), 'head', digits(first))
          end
          wrote(d, writer, seqs)
          answer[2] = head + length + #accepted - 1
          answer[5], answer[6] = #accepted, #dropped
          for i = 1, #refused do answer[6 + i] = skipped + refused[i] - 1 end
        end
        answers[s] = answer
      end
    end
  end
end
return answers
`,
};

/** One call for sessions of one shard; slices are answered in the order they were added. */
export class AppendCall implements RedisCall {
  readonly keys: string[] = [];
  readonly args: RedisArgument[];
  /** Where the slice that is being filled has its count; its sequences are behind it. */
  #countAt = 0;

  constructor(messagesMax: number, bytesMax: number, overflow: 'oldest' | 'newest') {
    this.args = [messagesMax, bytesMax, overflow, 0];
  }

  get sessions(): number {
    return this.args[3] as number;
  }

  /**
   * Values for one session follow, one at least. `afterSeq`: the highest sequence of this writer for
   * this session that was sent and is not answered; 0: none.
   */
  session(keys: SessionKeys, sid: string, writer: string, afterSeq: number): void {
    this.keys.push(keys.meta, keys.queue, keys.marks, keys.writers);
    this.args[3] = this.sessions + 1;
    this.#countAt = this.args.length + 3;
    this.args.push(sid, writer, afterSeq, 0, '');
  }

  /** Rising sequences; a value is never empty. */
  value(seq: number, value: Buffer): void {
    const { args } = this;
    const at = this.#countAt;
    const count = args[at] as number;
    args[at] = count + 1;
    args[at + 1] = count === 0 ? `${seq}` : `${args[at + 1]} ${seq}`;
    args.push(value);
  }
}

export type AppendStatus =
  | 'stored'
  /** No session there: it has ended, or Redis was emptied. */
  | 'absent'
  /** The client began another: nothing is owed. */
  | 'replaced'
  /** A call of the writer before this one was not executed: send again from that one on. */
  | 'gap';

export interface AppendReply {
  readonly status: AppendStatus;
  /** Highest position given. */
  readonly tail: number;
  /** Empty: nobody has the session. */
  readonly owner: string;
  /** So many at the front were in the queue before. */
  readonly skipped: number;
  readonly stored: number;
  /** Older entries that went for them. */
  readonly dropped: number;
  /** Indices among the values given, rising; empty but when the queue is full. */
  readonly refused: readonly number[];
}

const NONE_REFUSED: readonly number[] = [];

/** One answer a session, in the order of the call. */
export function appendReply(reply: RedisReply): AppendReply[] {
  const { name } = sessionAppend;
  const answers = listOf(name, reply);
  const decoded: AppendReply[] = [];
  for (let i = 0; i < answers.length; i++) {
    const answer = listOf(name, answers[i]);
    decoded.push({
      status: statusOf(numberOf(name, answer[0])),
      tail: numberOf(name, answer[1]),
      owner: textOf(name, answer[2]),
      skipped: numberOf(name, answer[3]),
      stored: numberOf(name, answer[4]),
      dropped: numberOf(name, answer[5]),
      refused:
        answer.length === 6 ? NONE_REFUSED : answer.slice(6).map((each) => numberOf(name, each)),
    });
  }
  return decoded;
}

function statusOf(number: number): AppendStatus {
  if (number === 1) return 'stored';
  if (number === 0) return 'absent';
  if (number === -2) return 'replaced';
  if (number === -3) return 'gap';
  throw unexpected(sessionAppend.name, 'an unknown status');
}

/** The position of the value at `index` of what was given; 0: it was there before; -1: refused. */
export function positionOf(reply: AppendReply, index: number): number {
  if (index < reply.skipped) return 0;
  let before = index - reply.skipped;
  for (const refused of reply.refused) {
    if (refused === index) return -1;
    if (refused < index) before--;
  }
  return reply.tail - reply.stored + 1 + before;
}

/**
 * Keys: m q x. Arguments: sid, fromSeq, countMax, bytesMax. Answers `[head, tail, firstSeq, [x pairs of
 * what follows], value…]`, in order of positions without gaps, or nil when that session is gone. Ends
 * with the value that reaches bytesMax, so there is one when the queue has one from there on.
 */
export const sessionRead: RedisFunction = {
  name: 'session_read_1',
  lua: `${LUA_BASE}${LUA_SLICES}
local m, q, x = KEYS[1], KEYS[2], KEYS[3]
local has = call('HMGET', m, 'sid', 'head', 'bytes')
if has[1] ~= ARGV[1] or not has[2] then return false end
local from, countMax, bytesMax = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local head, length = tonumber(has[2]), math.max(call('LLEN', q), 1)
if from <= head then from = head + 1 end
local pairsOfMarks = {}
local answer = {head, head + length - 1, from, pairsOfMarks}
-- A slice of as many as are about bytesMax: what is read and not sent is copied for nothing.
local mean = math.max(tonumber(has[3]) / math.max(length - 1, 1), 1)
local slice = math.max(1, math.min(countMax, math.ceil(bytesMax / mean), 1024))
local count, bytes, index = 0, 0, from - head
while count < countMax and (count == 0 or bytes < bytesMax) and index < length do
  local values = call('LRANGE', q, digits(index), digits(index + slice - 1))
  for i = 1, #values do
    if count == countMax or (count > 0 and bytes >= bytesMax) then break end
    count, bytes = count + 1, bytes + #values[i]
    answer[4 + count] = values[i]
  end
  index = index + slice
end
if count > 0 and call('HLEN', x) > 0 then
  local asked = {}
  for i = 1, count do asked[i] = digits(from + i - 1) end
  local at = 0
  inSlices(asked, function(...)
    local marks = call('HMGET', x, ...)
    for i = 1, #marks do
      at = at + 1
      if marks[i] then
        pairsOfMarks[#pairsOfMarks + 1] = asked[at]
        pairsOfMarks[#pairsOfMarks + 1] = marks[i]
      end
    end
  end)
end
return answer
`,
};

export function readCall(
  keys: SessionKeys,
  sid: string,
  fromSeq: number,
  countMax: number,
  bytesMax: number,
): RedisCall {
  return {
    keys: [keys.meta, keys.queue, keys.marks],
    args: [sid, fromSeq, countMax, bytesMax],
  };
}

export interface ReadReply {
  /** Position of the last removed. */
  readonly head: number;
  readonly tail: number;
  /** Position of the first value. */
  readonly firstSeq: number;
  readonly marks: Marks;
  /** Empty ones are holes: nothing is to be delivered. */
  readonly values: readonly Buffer[];
}

/** Null: the session is gone, or another. */
export function readReply(reply: RedisReply): ReadReply | null {
  if (reply === null) return null;
  const { name } = sessionRead;
  const list = listOf(name, reply);
  const values: Buffer[] = [];
  for (let i = 4; i < list.length; i++) values.push(bytesOf(name, list[i]));
  return {
    head: numberOf(name, list[0]),
    tail: numberOf(name, list[1]),
    firstSeq: numberOf(name, list[2]),
    marks: marksOf(name, list[3]),
    values,
  };
}

/**
 * Keys: m q x. Arguments: sid, epoch, upTo, nReleased, position…, nSettled, position…. Answers 1,
 * `fenced`, `gone`. Everything up to `upTo` goes, never the last element, or the list would be gone with
 * its positions; then what was settled behind it. Positions that are not in the queue are ignored, so
 * a repetition does nothing. Trims first: memory is freed also when Redis takes no more.
 */
export const sessionSettle: RedisFunction = {
  name: 'session_settle_1',
  lua: `${LUA_BASE}${LUA_SLICES}
local m, q, x = KEYS[1], KEYS[2], KEYS[3]
local has = call('HMGET', m, 'sid', 'epoch', 'head', 'bytes')
if not has[1] then return 'gone' end
if has[1] ~= ARGV[1] or has[2] ~= ARGV[2] then return 'fenced' end
local length = call('LLEN', q)
if not has[3] or length == 0 then return 1 end
local head, bytes, upTo = tonumber(has[3]), tonumber(has[4]), tonumber(ARGV[3])
local tail = head + length - 1
local hasMarks = call('HLEN', x) > 0

local function forget(from, to)
  if not hasMarks then return end
  local passed = {}
  for at = from, to do passed[#passed + 1] = digits(at) end
  inSlices(passed, function(...) call('HDEL', x, ...) end)
end

local moved = false
local trims = math.min(upTo - head, length - 1)
if trims > 0 then
  local lastSize = 0
  for from = 1, trims, 512 do
    local values = call('LRANGE', q, from, math.min(from + 511, trims))
    for i = 1, #values do bytes = bytes - #values[i] end
    lastSize = #values[#values]
  end
  call('LTRIM', q, trims, -1)
  -- The placeholder need not keep a body.
  if lastSize > 64 then call('LSET', q, 0, '') end
  forget(head + 1, head + trims)
  head, moved = head + trims, true
end

local a = 4
for i = a + 1, a + tonumber(ARGV[a]) do
  local at = tonumber(ARGV[i])
  if at > head and at <= tail then
    call('HSETNX', x, digits(at), 'r')
    hasMarks = true
  end
end
a = a + 1 + tonumber(ARGV[a])
for i = a + 1, a + tonumber(ARGV[a]) do
  local at = tonumber(ARGV[i])
  if at > head and at <= tail then
    local index = digits(at - head)
    local size = #call('LINDEX', q, index)
    call('HSET', x, digits(at), 's')
    if size > 0 then
      call('LSET', q, index, '')
      bytes, moved = bytes - size, true
    end
    hasMarks = true
  end
end
if hasMarks then
  local first = head
  while first < tail and call('HGET', x, digits(first + 1)) == 's' do first = first + 1 end
  if first > head then
    call('LTRIM', q, digits(first - head), -1)
    forget(head + 1, first)
    head, moved = first, true
  end
end
if moved then call('HSET', m, 'head', digits(head), 'bytes', digits(bytes)) end
return 1
`,
};

/**
 * Keys: m d. Arguments: sid, writer. The last sequence of that writer which the queue has been given; 0: none.
 * Nil: there is no such session.
 */
export const sessionTook: RedisFunction = {
  name: 'session_took_1',
  lua: `${LUA_BASE}
if call('HGET', KEYS[1], 'sid') ~= ARGV[1] then return false end
local last = call('HGET', KEYS[2], ARGV[2])
return last and tonumber(string.match(last, '^%d+')) or 0
`,
};

export function tookCall(keys: SessionKeys, sid: string, writer: string): RedisCall {
  return { keys: [keys.meta, keys.writers], args: [sid, writer] };
}

export function tookReply(reply: RedisReply): number | null {
  return reply === null ? null : numberOf(sessionTook.name, reply);
}

export function settleCall(
  keys: SessionKeys,
  sid: string,
  epoch: number,
  upTo: number,
  released: readonly number[],
  settled: readonly number[],
): RedisCall {
  const args: RedisArgument[] = [sid, epoch, upTo, released.length];
  for (const at of released) args.push(at);
  args.push(settled.length);
  for (const at of settled) args.push(at);
  return { keys: [keys.meta, keys.queue, keys.marks], args };
}
