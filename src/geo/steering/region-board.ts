/**
 * What the nodes of a datacenter tell each other about their clients, and what an operator has told all
 * of them: each says once a second how many clients it has and how far its drain is, and hears the
 * others and the order in force. Over Redis, by callbacks; an order that Redis has lost is put back by
 * whoever knows it. A node without Redis goes on with the order it knows and hears of nobody.
 */
import type { Clock, Scheduler } from '../../core/ports.ts';
import type { RedisFunction, RedisPort, RedisReply } from '../../drivers/redis/redis-port.ts';

/** What a node says of itself. */
export interface NodeWord {
  readonly nodeId: string;
  /** Where clients reach this very node; '': nobody is sent to it. */
  readonly reference: string;
  readonly clients: number;
  /** It is being drained, or is stopping. */
  readonly isDraining: boolean;
  /** Of its drain. */
  readonly moved: number;
  /** Regions that it has the link to, and cannot reach now. */
  readonly unreachable: readonly string[];
}

export interface HeardNode extends NodeWord {
  readonly nodeKey: string;
}

/** The last word of an operator about the whole region. */
export interface RegionOrder {
  /** Of two the higher one counts. */
  readonly version: number;
  /** False: clients may come again. */
  readonly isDraining: boolean;
  /** Of all nodes together. */
  readonly clientsPerS: number;
  readonly serverReference: string | null;
  /** Name of the token. */
  readonly by: string;
  /** Wall-clock ms. */
  readonly startedAtMs: number;
}

export interface RegionBoardOptions {
  readonly redis: RedisPort;
  readonly keyPrefix: string;
  /** Another for each run of a node. */
  readonly nodeKey: string;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
}

const SAY_MS = 1000;
/** A node that has not said anything for so long is not there. */
const HEARD_MS = 4000;
/** What nobody asserts any more goes by itself. */
const KEPT_MS = 30 * 86_400_000;
const NODES_MAX = 10_000;

/**
 * Keys: the hash of nodes and order. Arguments: node, how long its word holds in ms, its word ('': it
 * leaves), version of the order it knows, the order ('': none), how long all is kept in ms. Answers the
 * order in force and then node and word of each other one.
 */
const regionSay: RedisFunction = {
  name: 'region_say_1',
  lua: `
local call = redis.call
local t = call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
if ARGV[3] == '' then
  call('HDEL', KEYS[1], ARGV[1])
else
  call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + tonumber(ARGV[2])) .. ' ' .. ARGV[3])
end
local stored = call('HGET', KEYS[1], '!order') or ''
if ARGV[5] ~= '' then
  local version = string.match(stored, '^(%d+) ')
  if not version or tonumber(version) < tonumber(ARGV[4]) then
    stored = ARGV[4] .. ' ' .. ARGV[5]
    call('HSET', KEYS[1], '!order', stored)
  end
end
call('PEXPIRE', KEYS[1], tonumber(ARGV[6]))
local all, answer = call('HGETALL', KEYS[1]), { stored }
for i = 1, #all, 2 do
  if all[i] ~= '!order' then
    local till, word = string.match(all[i + 1], '^(%d+) (.*)$')
    if not till or tonumber(till) <= now then
      call('HDEL', KEYS[1], all[i])
    elseif all[i] ~= ARGV[1] then
      answer[#answer + 1] = all[i]
      answer[#answer + 1] = word
    end
  end
end
return answer
`,
};

export class RegionBoard {
  readonly #options: RegionBoardOptions;
  readonly #keys: readonly string[];
  #own: () => NodeWord = () => {
    throw new Error('the board was not started');
  };
  #onOrder: (order: RegionOrder) => void = () => {};
  #order: RegionOrder | null = null;
  #others: readonly HeardNode[] = [];
  #heardMs = Number.NEGATIVE_INFINITY;
  #stop: (() => void) | null = null;
  #isAsking = false;

  constructor(options: RegionBoardOptions) {
    this.#options = options;
    this.#keys = [`${options.keyPrefix}l:region`];
  }

  /** `onOrder` with every order that is newer than the one before. */
  start(own: () => NodeWord, onOrder: (order: RegionOrder) => void): void {
    this.#own = own;
    this.#onOrder = onOrder;
    this.#stop = this.#options.scheduler.every(SAY_MS, () => this.#say(IGNORED));
  }

  /** Null: there never was one. */
  get order(): RegionOrder | null {
    return this.#order;
  }

  /** Nobody when nothing was heard lately. The same array until the next word. */
  get others(): readonly HeardNode[] {
    const isFresh = this.#options.clock.monotonicMs() - this.#heardMs <= HEARD_MS;
    return isFresh ? this.#others : NOBODY;
  }

  /** Hears what there is to hear now; false: Redis did not answer. */
  hear(done: (isHeard: boolean) => void): void {
    this.#say(done);
  }

  /** Gives an order; false: this node knows it, and Redis does not yet. */
  give(order: Omit<RegionOrder, 'version'>, done: (isTold: boolean) => void): void {
    const version = Math.max(this.#options.clock.wallMs(), (this.#order?.version ?? 0) + 1);
    this.#take({ ...order, version });
    this.#say(done);
  }

  stop(): void {
    this.#stop?.();
    this.#stop = null;
    const { redis, nodeKey } = this.#options;
    if (!redis.isUp) return;
    redis.call(regionSay, this.#keys, [nodeKey, HEARD_MS, '', 0, '', KEPT_MS], () => {});
  }

  #say(done: (isHeard: boolean) => void): void {
    const { redis, nodeKey, clock } = this.#options;
    const isTold = (): boolean => this.#stop !== null;
    if (!redis.isUp || !isTold()) {
      done(false);
      return;
    }
    // Once a second one at a time; what an operator asks for is not held up by it.
    if (this.#isAsking && done === IGNORED) return;
    this.#isAsking = true;
    const order = this.#order;
    const [version, said] = order === null ? [0, ''] : [order.version, JSON.stringify(order)];
    const word = JSON.stringify(this.#own());
    const args = [nodeKey, HEARD_MS, word, version, said, KEPT_MS];
    redis.call(regionSay, this.#keys, args, (failure, reply) => {
      this.#isAsking = false;
      const isHeard = failure === null && isTold();
      if (isHeard) {
        this.#hear(reply);
        this.#heardMs = clock.monotonicMs();
      }
      done(isHeard);
    });
  }

  #hear(reply: RedisReply): void {
    const [stored, ...rest] = Array.isArray(reply) ? reply.map(textOf) : [];
    const order = orderOf(stored ?? '');
    if (order !== null) this.#take(order);
    const others: HeardNode[] = [];
    for (let i = 0; i + 1 < rest.length && others.length < NODES_MAX; i += 2) {
      const word = wordOf(rest[i + 1]!);
      if (word !== null) others.push({ ...word, nodeKey: rest[i]! });
    }
    this.#others = others;
  }

  #take(order: RegionOrder): void {
    if (order.version <= (this.#order?.version ?? 0)) return;
    this.#order = order;
    this.#onOrder(order);
  }
}

const NOBODY: readonly HeardNode[] = Object.freeze([]);
const IGNORED = (): void => {};

function textOf(reply: RedisReply): string {
  return Buffer.isBuffer(reply) ? reply.toString('utf8') : '';
}

function parsed(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** Null: a word of another release, or of nobody. */
function wordOf(text: string): NodeWord | null {
  const { nodeId, reference, clients, isDraining, moved, unreachable } = parsed(text) ?? {};
  if (typeof nodeId !== 'string' || typeof reference !== 'string') return null;
  if (typeof isDraining !== 'boolean' || !isCount(clients) || !isCount(moved)) return null;
  // Left out by an older release.
  const regions = Array.isArray(unreachable) ? unreachable.filter(isText) : [];
  return { nodeId, reference, clients, isDraining, moved, unreachable: regions };
}

function orderOf(stored: string): RegionOrder | null {
  const order = parsed(stored.slice(stored.indexOf(' ') + 1));
  const { version, isDraining, clientsPerS, serverReference, by, startedAtMs } = order ?? {};
  if (!isCount(version) || typeof isDraining !== 'boolean' || !isCount(clientsPerS)) return null;
  if (serverReference !== null && typeof serverReference !== 'string') return null;
  if (typeof by !== 'string' || !isCount(startedAtMs)) return null;
  return { version, isDraining, clientsPerS, serverReference, by, startedAtMs };
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
