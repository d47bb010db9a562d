/**
 * The functions on a real Redis and on the model, for the tests beside it. Redis' clock cannot be set,
 * so the functions get a `redis.call` in front of them whose TIME is a key's; nothing else is changed.
 */
import { createHash } from 'node:crypto';
import { createClient, RESP_TYPES } from '@redis/client';
import type { Test } from 'tap';
import type {
  RedisArgument,
  RedisFunction,
  RedisReply,
} from '../../../src/drivers/redis/redis-port.ts';
import { ModelDb, type ModelReply } from '../../sim/model-db.ts';
import { TWINS } from '../../sim/model-functions.ts';
import { RedisServer } from '../../support/redis-server.ts';

const CLOCK_KEY = 'test:clock';
const PRELUDE = `
local real = redis
local redis = {call = function(command, ...)
  if command ~= 'TIME' then return real.call(command, ...) end
  local ms = tonumber(real.call('GET', '${CLOCK_KEY}'))
  return {string.format('%.0f', math.floor(ms / 1000)), string.format('%.0f', ms % 1000 * 1000 + 999)}
end}
`;

/** Everything below the clock, as one reply: key, type, content… */
const DUMP = `
local dump = {}
local keys = redis.call('KEYS', '*')
for i = 1, #keys do
  local key, kind = keys[i], redis.call('TYPE', keys[i]).ok
  local value
  if kind == 'hash' then value = redis.call('HGETALL', key)
  elseif kind == 'list' then value = redis.call('LRANGE', key, 0, -1)
  elseif kind == 'set' then value = redis.call('SMEMBERS', key)
  elseif kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end
  if value then dump[#dump + 1] = {key, kind, value} end
end
return dump
`;

type Send = (args: (string | Buffer)[]) => Promise<RedisReply>;

export class RealRedis {
  readonly server: RedisServer;
  readonly send: Send;
  readonly #shas: Map<string, string> = new Map();
  #nowMs = 0;

  private constructor(server: RedisServer, send: Send) {
    this.server = server;
    this.send = send;
  }

  static async start(t: Test): Promise<RealRedis> {
    const server = await RedisServer.start(t);
    const client = createClient({ url: server.url, RESP: 2, disableClientInfo: true });
    client.on('error', () => {});
    await client.connect();
    t.teardown(() => client.destroy());
    const mapped = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
    const send = (args: (string | Buffer)[]): Promise<RedisReply> =>
      mapped.sendCommand(args) as unknown as Promise<RedisReply>;
    return new RealRedis(server, send);
  }

  /** The moment all following calls take place at. */
  at(nowMs: number): void {
    if (nowMs === this.#nowMs) return;
    this.#nowMs = nowMs;
    void this.send(['SET', CLOCK_KEY, `${nowMs}`]);
  }

  async call(
    fn: RedisFunction,
    keys: readonly string[],
    args: readonly RedisArgument[],
  ): Promise<RedisReply> {
    const known = this.#shas.get(fn.lua);
    const text = PRELUDE + fn.lua;
    const script = known === undefined ? ['EVAL', text] : ['EVALSHA', known];
    this.#shas.set(fn.lua, createHash('sha1').update(text).digest('hex'));
    const tail = args.map((arg) => (typeof arg === 'number' ? `${arg}` : arg));
    return await this.send([...script, `${keys.length}`, ...keys, ...tail]);
  }

  async empty(): Promise<void> {
    await this.send(['FLUSHALL']);
    await this.send(['SET', CLOCK_KEY, `${this.#nowMs}`]);
  }

  /** Every key, with type and content, in an order of its own. */
  async dump(): Promise<Map<string, string>> {
    const dump: Map<string, string> = new Map();
    for (const entry of (await this.send(['EVAL', DUMP, '0'])) as RedisReply[][]) {
      const [key, kind, value] = entry as [Buffer, Buffer, Buffer[]];
      const texts = value.map((each) => each.toString('latin1'));
      dump.set(key.toString('utf8'), `${kind} ${contentOf(kind.toString(), texts)}`);
    }
    return dump;
  }
}

/** The twins, called at once. */
export class Model {
  readonly db: ModelDb = new ModelDb();
  nowMs = 0;

  call(fn: RedisFunction, keys: readonly string[], args: readonly RedisArgument[]): RedisReply {
    const twin = TWINS.get(fn.name);
    if (twin === undefined) throw new Error(`no twin of ${fn.name}`);
    const texts = args.map((arg) => {
      if (typeof arg === 'number') return `${arg}`;
      return (typeof arg === 'string' ? Buffer.from(arg) : arg).toString('latin1');
    });
    return replyOf(this.db.transact(twin, keys, texts, this.nowMs));
  }

  dump(): Map<string, string> {
    const dump: Map<string, string> = new Map();
    for (const [key, value] of this.db.values()) {
      let texts: string[];
      if (value.type === 'hash') texts = [...value.hash].flat();
      else if (value.type === 'list') texts = value.list;
      else if (value.type === 'set') texts = [...value.set];
      else texts = [...value.scores].flatMap(([member, score]) => [member, `${score}`]);
      dump.set(key, `${value.type} ${contentOf(value.type, texts)}`);
    }
    return dump;
  }
}

function replyOf(reply: ModelReply): RedisReply {
  if (reply === null || typeof reply === 'number') return reply;
  return typeof reply === 'string' ? Buffer.from(reply, 'latin1') : reply.map(replyOf);
}

/** Lists have an order, the rest has none. */
function contentOf(kind: string, texts: readonly string[]): string {
  if (kind === 'list') return JSON.stringify(texts);
  if (kind === 'set') return JSON.stringify([...texts].sort());
  return JSON.stringify(pairsOf(texts).sort());
}

function pairsOf(flat: readonly string[]): string[] {
  const pairs: string[] = [];
  for (let i = 0; i < flat.length; i += 2) pairs.push(`${flat[i]}=${flat[i + 1]}`);
  return pairs;
}

/** Types and bytes. */
function shown(reply: RedisReply): string {
  if (reply === null) return 'nil';
  if (typeof reply === 'number') return `:${reply}`;
  if (typeof reply === 'string') return `+${reply}`;
  if (Buffer.isBuffer(reply)) return JSON.stringify(reply.toString('latin1'));
  return `[${(reply as readonly RedisReply[]).map(shown).join(' ')}]`;
}

/** What has no order in Redis is brought into one. */
export function comparable(name: string, reply: RedisReply): string {
  if (!Array.isArray(reply)) return shown(reply);
  const list = [...(reply as readonly RedisReply[])];
  const sorted = (flat: RedisReply[], width: number): RedisReply[] => {
    const groups: RedisReply[][] = [];
    for (let i = 0; i < flat.length; i += width) groups.push(flat.slice(i, i + width));
    return groups.sort((a, b) => (shown(a) < shown(b) ? -1 : 1));
  };
  if (name === 'session_open_1' && list.length > 3) {
    list[11] = sorted(list[11] as RedisReply[], 2);
    list[12] = sorted(list[12] as RedisReply[], 2);
  } else if (name === 'node_join_1' && list.length > 3) {
    return shown([...list.slice(0, 4), ...sorted(list.slice(4), 3)]);
  } else if (name === 'node_renew_1' && list.length > 2) {
    return shown([...list.slice(0, 2), ...sorted(list.slice(2), 3)]);
  } else if (name === 'index_scan_1') {
    return shown([list[0]!, ...sorted(list.slice(1), 1)]);
  }
  return shown(list);
}
