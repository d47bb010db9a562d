/**
 * Sets of client ids: of all durable sessions, and of those a node has opened (ADR 0013). They are on
 * other shards than the sessions, so what they say is a hint; who adds and removes in which order is in
 * the ADR. Ids are as clients sent them, not escaped.
 */
import type { RedisFunction, RedisReply } from '../../../drivers/redis/redis-port.ts';
import { LUA_BASE } from './lua-parts.ts';
import { listOf, type RedisCall, textOf } from './reply.ts';

/** Keys: set. Arguments: client id…, at most 1000. Answers 1. */
export const indexAdd: RedisFunction = {
  name: 'index_add_1',
  lua: `${LUA_BASE}
call('SADD', KEYS[1], unpack(ARGV))
return 1
`,
};

/** Keys: set. Arguments: client id…, at most 1000. Answers 1. */
export const indexRemove: RedisFunction = {
  name: 'index_remove_1',
  lua: `${LUA_BASE}
call('SREM', KEYS[1], unpack(ARGV))
return 1
`,
};

/** What one call of `index_add` and `index_remove` takes. */
export const INDEX_IDS_MAX = 1000;

export function indexCall(key: string, clientIds: readonly string[]): RedisCall {
  if (clientIds.length === 0 || clientIds.length > INDEX_IDS_MAX) {
    throw new RangeError(`1 to ${INDEX_IDS_MAX} client ids go into one call`);
  }
  return { keys: [key], args: clientIds };
}

/**
 * Keys: set. Arguments: cursor ('0': from the start), count (about so many). Answers `[cursor, client
 * id…]`; cursor '0': that was all. Ids that were there all the time come at least once.
 */
export const indexScan: RedisFunction = {
  name: 'index_scan_1',
  lua: `${LUA_BASE}
local found = call('SSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local answer = {found[1]}
for i = 1, #found[2] do answer[i + 1] = found[2][i] end
return answer
`,
};

export function scanCall(key: string, cursor: string, count: number): RedisCall {
  return { keys: [key], args: [cursor, count] };
}

export interface ScanReply {
  /** '0': that was all. An opaque text: it may be above what a number holds. */
  readonly cursor: string;
  readonly clientIds: readonly string[];
}

export function scanReply(reply: RedisReply): ScanReply {
  const { name } = indexScan;
  const list = listOf(name, reply);
  const clientIds: string[] = [];
  for (let i = 1; i < list.length; i++) clientIds.push(textOf(name, list[i]));
  return { cursor: textOf(name, list[0]), clientIds };
}
