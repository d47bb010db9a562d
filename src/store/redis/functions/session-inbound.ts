/**
 * `session_inbound`: packet ids of QoS 2 messages a session's client has sent, and the messages whose
 * fan-out is not known to be done (hard case 10). Written by the owner, in the order things happened; what
 * a journal has of them by whoever has it (docs/adr/0017).
 */
import type {
  RedisArgument,
  RedisFunction,
  RedisReply,
} from '../../../drivers/redis/redis-port.ts';
import type { InboundChange } from '../inbound-change.ts';
import type { SessionKeys } from '../keys.ts';
import { LUA_BASE, LUA_FENCE } from './lua-parts.ts';
import { type FencedAnswer, fencedAnswer, type RedisCall } from './reply.ts';

/**
 * Keys: m i. Arguments: sid, epoch, pseq (0: unchanged), isRecalled, (packetId, op, name, value, number)…;
 * op `p`: pending, with what its publisher's queues know it by and the message; `d`: its fan-out is done,
 * the id stays; `a`: the id alone; `r`: the id goes. Answers 1, `fenced`, `gone`. `d` of an id that is not
 * there does nothing.
 *
 * `isRecalled` 1: the changes were promised while Redis could not be asked. They are written whoever has
 * the session by now, as long as it is the same session; but no change twice, and none behind one of a
 * later owner: `inb` has epoch and number of the last that was written.
 */
export const sessionInbound: RedisFunction = {
  name: 'session_inbound_1',
  lua: `${LUA_BASE}${LUA_FENCE}
local m, i = KEYS[1], KEYS[2]
local epoch, last = ARGV[2], 0
if ARGV[4] == '1' then
  local has = call('HMGET', m, 'sid', 'inb')
  if not has[1] then return 'gone' end
  if has[1] ~= ARGV[1] then return 'fenced' end
  local ofEpoch, number = string.match(has[2] or '0:0', '^(%d+):(%d+)$')
  if tonumber(ofEpoch) > tonumber(epoch) then return 1 end
  if ofEpoch == epoch then last = tonumber(number) end
else
  local refusal = fence(m, ARGV[1], epoch)
  if refusal then return refusal end
end
local pseq = tonumber(ARGV[3])
if pseq > 0 and pseq > tonumber(call('HGET', m, 'pseq') or '0') then
  call('HSET', m, 'pseq', digits(pseq))
end
local highest = last
for a = 5, #ARGV, 5 do
  local id, op, number = ARGV[a], ARGV[a + 1], tonumber(ARGV[a + 4])
  if number > last then
    if op == 'p' then call('HSET', i, id, ARGV[a + 2] .. ':' .. ARGV[a + 3])
    elseif op == 'a' then call('HSET', i, id, '')
    elseif op == 'r' then call('HDEL', i, id)
    elseif op == 'd' and call('HEXISTS', i, id) == 1 then call('HSET', i, id, '') end
    highest = number
  end
end
if highest > last then call('HSET', m, 'inb', epoch .. ':' .. digits(highest)) end
return 1
`,
};

const LETTERS: Readonly<Record<InboundChange['op'], string>> = {
  pending: 'p',
  done: 'd',
  add: 'a',
  remove: 'r',
};

/** Changes of one session under one epoch, collected for one call. */
export class InboundCall implements RedisCall {
  readonly keys: readonly string[];
  readonly args: RedisArgument[];
  readonly #epoch: number;

  constructor(keys: SessionKeys, sid: string, epoch: number, isRecalled = false) {
    this.keys = [keys.meta, keys.inbound];
    this.args = [sid, epoch, 0, isRecalled ? 1 : 0];
    this.#epoch = epoch;
  }

  /** In the order of their numbers. */
  change({ op, packetId, publisherSeq, value, number }: InboundChange): void {
    if (op === 'pending') this.args[2] = publisherSeq;
    const name = op === 'pending' ? `${publisherSeq}.${this.#epoch}` : 0;
    this.args.push(packetId, LETTERS[op], name, value ?? '', number);
  }
}

/** `gone`: there is none of that client, perhaps not yet again; `fenced`: it is another. */
export function inboundAnswer(reply: RedisReply): FencedAnswer {
  return fencedAnswer(sessionInbound.name, reply);
}
