/**
 * `session_inbound`: packet ids of QoS 2 messages a session's client has sent, and the messages whose
 * fan-out is not known to be done (hard case 10). Written by the owner, in the order things happened.
 */
import type { RedisArgument, RedisFunction } from '../../../drivers/redis/redis-port.ts';
import type { SessionKeys } from '../keys.ts';
import { LUA_BASE, LUA_FENCE } from './lua-parts.ts';
import type { RedisCall } from './reply.ts';

/**
 * Keys: m i. Arguments: sid, epoch, pseq (0: unchanged), (packetId, op, seq, value)…; op `p`: pending,
 * with its publisherSeq and message; `d`: its fan-out is done, the id stays; `a`: the id alone; `r`:
 * the id goes. Answers 1, `fenced`, `gone`. `d` of an id that is not there does nothing.
 */
export const sessionInbound: RedisFunction = {
  name: 'session_inbound_1',
  lua: `${LUA_BASE}${LUA_FENCE}
local m, i = KEYS[1], KEYS[2]
local refusal = fence(m, ARGV[1], ARGV[2])
if refusal then return refusal end
local pseq = tonumber(ARGV[3])
if pseq > 0 and pseq > tonumber(call('HGET', m, 'pseq') or '0') then
  call('HSET', m, 'pseq', digits(pseq))
end
for a = 4, #ARGV, 4 do
  local id, op = ARGV[a], ARGV[a + 1]
  if op == 'p' then call('HSET', i, id, ARGV[a + 2] .. ':' .. ARGV[a + 3])
  elseif op == 'a' then call('HSET', i, id, '')
  elseif op == 'r' then call('HDEL', i, id)
  elseif op == 'd' and call('HEXISTS', i, id) == 1 then call('HSET', i, id, '') end
end
return 1
`,
};

/** Changes of one session, collected for one call. */
export class InboundCall implements RedisCall {
  readonly keys: readonly string[];
  readonly args: RedisArgument[];

  constructor(keys: SessionKeys, sid: string, epoch: number) {
    this.keys = [keys.meta, keys.inbound];
    this.args = [sid, epoch, 0];
  }

  /** Accepted, its fan-out not known to be done; sequences rise. */
  pending(packetId: number, publisherSeq: number, value: Buffer): void {
    this.args[2] = publisherSeq;
    this.args.push(packetId, 'p', publisherSeq, value);
  }

  done(packetId: number): void {
    this.args.push(packetId, 'd', 0, '');
  }

  add(packetId: number): void {
    this.args.push(packetId, 'a', 0, '');
  }

  remove(packetId: number): void {
    this.args.push(packetId, 'r', 0, '');
  }
}
