/**
 * How much the other nodes of a datacenter use of what all nodes may use together (connections per
 * tenant): each node says once a second what it has, and hears of the others (ADR 0018). Asked for
 * each CONNECT without waiting. A node that is not heard of counts for nothing after a few seconds, so
 * that without Redis each node has the limit for itself, as if it were alone.
 */
import type { Clock, Scheduler } from '../core/ports.ts';
import type { RedisFunction, RedisPort, RedisReply } from '../drivers/redis/redis-port.ts';
import type { Subject } from './quota.ts';

export interface SharedUse {
  /** Used at other nodes, but for what the subject takes from there with it. */
  elsewhere(quota: string, key: string, subject: Subject): number;
}

export interface RedisUseOptions {
  readonly redis: RedisPort;
  readonly keyPrefix: string;
  /** Another for each run of a node. */
  readonly nodeKey: string;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
}

/** What this node uses: quota, key, amount. */
export type OwnUse = () => Iterable<readonly [quota: string, key: string, used: number]>;

const REPORT_MS = 1000;
/** A node that has not said anything for so long is not there. */
const HEARD_MS = 4000;
/** Named by one node; the rest of its use is its own affair. */
const ENTRIES_MAX = 10_000;

/**
 * Keys: a hash of nodes. Arguments: node, how long its word holds in ms, its word ('': it leaves).
 * Answers the words of the others.
 */
const usePut: RedisFunction = {
  name: 'use_put_1',
  lua: `
local call = redis.call
local t = call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
if ARGV[3] == '' then
  call('HDEL', KEYS[1], ARGV[1])
else
  call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + tonumber(ARGV[2])) .. ' ' .. ARGV[3])
  call('PEXPIRE', KEYS[1], tonumber(ARGV[2]))
end
local all, answer = call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local till, word = string.match(all[i + 1], '^(%d+) (.*)$')
  if not till or tonumber(till) <= now then
    call('HDEL', KEYS[1], all[i])
  elseif all[i] ~= ARGV[1] then
    answer[#answer + 1] = word
  end
end
return answer
`,
};

export class RedisUse implements SharedUse {
  /** The session of this client is connected to another node, which is about to let go of it. */
  movesHere: (subject: Subject) => boolean = () => false;
  readonly #options: RedisUseOptions;
  readonly #keys: readonly string[];
  #own: OwnUse = () => [];
  #elsewhere: ReadonlyMap<string, number> = new Map();
  #heardMs = Number.NEGATIVE_INFINITY;
  #stop: (() => void) | null = null;
  #isAsking = false;
  /** This node has said something that others may count. */
  #isKnown = false;

  constructor(options: RedisUseOptions) {
    this.#options = options;
    this.#keys = [`${options.keyPrefix}l:use`];
  }

  /** `isWanted`: some quota counts over all nodes; nothing is asked while none does. */
  start(own: OwnUse, isWanted: () => boolean): void {
    this.#own = own;
    this.#stop = this.#options.scheduler.every(REPORT_MS, () => {
      if (isWanted()) this.#report();
      else this.#leave();
    });
  }

  elsewhere(quota: string, key: string, subject: Subject): number {
    if (this.#options.clock.monotonicMs() - this.#heardMs > HEARD_MS) return 0;
    const used = this.#elsewhere.get(nameOf(quota, key)) ?? 0;
    return used > 0 && this.movesHere(subject) ? used - 1 : used;
  }

  stop(): void {
    this.#stop?.();
    this.#stop = null;
    this.#leave();
  }

  #report(): void {
    const { redis, nodeKey, clock } = this.#options;
    if (this.#isAsking || !redis.isUp) return;
    const own: (readonly [string, string, number])[] = [];
    for (const entry of this.#own()) {
      if (own.length >= ENTRIES_MAX) break;
      own.push(entry);
    }
    this.#isAsking = true;
    this.#isKnown = true;
    const word = JSON.stringify(own);
    redis.call(usePut, this.#keys, [nodeKey, HEARD_MS, word], (failure, reply) => {
      this.#isAsking = false;
      if (failure !== null) return;
      this.#elsewhere = sumsOf(reply);
      this.#heardMs = clock.monotonicMs();
    });
  }

  #leave(): void {
    const { redis, nodeKey } = this.#options;
    if (!this.#isKnown || !redis.isUp) return;
    this.#isKnown = false;
    this.#elsewhere = new Map();
    redis.call(usePut, this.#keys, [nodeKey, HEARD_MS, ''], () => {});
  }
}

function nameOf(quota: string, key: string): string {
  return `${quota} ${key}`;
}

/** What cannot be read counts for nothing: it is a word of another release, or of nobody. */
function sumsOf(reply: RedisReply): Map<string, number> {
  const sums = new Map<string, number>();
  for (const word of Array.isArray(reply) ? reply : []) {
    let entries: unknown;
    try {
      entries = JSON.parse(Buffer.isBuffer(word) ? word.toString('utf8') : '');
    } catch {
      continue;
    }
    if (!Array.isArray(entries)) continue;
    for (const entry of entries.slice(0, ENTRIES_MAX)) {
      const [quota, key, used] = Array.isArray(entry) ? entry : [];
      if (typeof quota !== 'string' || typeof key !== 'string') continue;
      if (typeof used !== 'number' || !(used > 0)) continue;
      const name = nameOf(quota, key);
      sums.set(name, (sums.get(name) ?? 0) + used);
    }
  }
  return sums;
}
