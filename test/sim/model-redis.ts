/**
 * Redis as the simulation has it: one server with the functions' twins over data in memory, and a
 * RedisPort for each node, with delays, in order, and with every fault a client can meet: a server that
 * is down, slow, refuses, was emptied or failed over; a connection that broke after a call was executed,
 * or that is silent. Its time and chance are the world's; nothing here has a promise or a timer.
 */
import type {
  RedisArgument,
  RedisDone,
  RedisFunction,
  RedisPort,
  RedisPortEvents,
  RedisReply,
} from '../../src/drivers/redis/redis-port.ts';
import { RedisFailure } from '../../src/drivers/redis/redis-port.ts';
import { ModelDb, type ModelReply, type Twin } from './model-db.ts';
import { TWINS } from './model-functions.ts';

export interface ModelWorld {
  /** Redis' wall clock, ms since 1970. */
  nowMs(): number;
  /** Runs `task` later; no order is expected between tasks due at about the same time. */
  after(delayMs: number, task: () => void): void;
  /** In [0, 1). */
  chance(): number;
}

export interface ModelRedisOptions {
  /** Of every way of a call; chance chooses in between. */
  readonly delayMs?: readonly [min: number, max: number];
  /** Until a client notices that its connection was closed, and that it is silent. */
  readonly resetMs?: number;
  readonly silenceMs?: number;
  readonly reconnectMs?: number;
  /** Calls of a client that wait; more fail with `not_done`. */
  readonly callsMax?: number;
  /** Hash tags are spread over so many shards, without order between them. */
  readonly shards?: number;
  /** How far `rollBack` can go. */
  readonly historyMs?: number;
}

export class ModelRedis {
  readonly db: ModelDb;
  readonly options: Required<ModelRedisOptions>;
  readonly world: ModelWorld;
  /** How often each function was executed. */
  readonly calls: Map<string, number> = new Map();
  runId = 1;
  isDown = false;
  slowMs = 0;
  /** Connections come back one after the other within so long, as pauses between tries have grown. */
  spreadMs = 0;
  /** Answers wait so long for the replicas (WAIT): `rollBack` by no more loses nothing answered. */
  replicaMs = 0;
  #refusal: { readonly code: string; readonly names: readonly string[] | null } | null = null;
  readonly #overrides: Map<string, Twin> = new Map();
  readonly #clients: Set<ModelRedisClient> = new Set();

  constructor(world: ModelWorld, options: ModelRedisOptions = {}) {
    this.world = world;
    this.options = {
      delayMs: options.delayMs ?? [0.05, 1],
      resetMs: options.resetMs ?? 2,
      silenceMs: options.silenceMs ?? 2000,
      reconnectMs: options.reconnectMs ?? 100,
      callsMax: options.callsMax ?? 100_000,
      shards: options.shards ?? 1,
      historyMs: options.historyMs ?? 0,
    };
    this.db = new ModelDb(this.options.historyMs);
  }

  /** `after`: runs a task as an event of the node, so that it waits while the node is stopped. */
  connect(name: string, after: ModelWorld['after'] = this.world.after): ModelRedisClient {
    const client = new ModelRedisClient(this, name, after);
    this.#clients.add(client);
    return client;
  }

  /** The node's process is gone: what it had sent may still be executed. */
  disconnected(client: ModelRedisClient): void {
    this.#clients.delete(client);
  }

  // ------------------------------------------------------------------------------ faults

  /** The server ends; connections are reset. What was not executed never will be. */
  down(): void {
    this.isDown = true;
    for (const client of this.#clients) client.reset('Redis is down');
  }

  /** Starts again as another process, with its data or without. */
  up(keepsData: boolean): void {
    this.isDown = false;
    this.runId++;
    if (!keepsData) this.db.clear();
    for (const client of this.#clients) client.reset('Redis has restarted');
  }

  /** FLUSHALL: connections notice nothing. */
  flushAll(): void {
    this.db.clear();
  }

  /** A replica takes over that lacks what was written in the last `ms`. Needs `historyMs`. */
  rollBack(ms: number): void {
    if (ms > this.options.historyMs) throw new Error('the model does not remember that far back');
    this.db.restore(this.world.nowMs() - ms);
    this.runId++;
    // What waits for replicas is never answered.
    for (const client of this.#clients) client.reset('Redis has failed over', true);
  }

  /** Every call (or those of these functions) is refused with this error; null: no more. */
  refuse(code: string | null, names: readonly string[] | null = null): void {
    this.#refusal = code === null ? null : { code, names };
  }

  /** Each way takes that much longer; 0: no more. */
  slow(ms: number): void {
    this.slowMs = ms;
  }

  /** Replaces a function: a bug that the simulation has to find. */
  override(name: string, twin: Twin): void {
    this.#overrides.set(name, twin);
  }

  // ------------------------------------------------------------------------------ for its clients

  execute(fn: RedisFunction, keys: readonly string[], args: readonly string[]): Executed {
    const refusal = this.#refusal;
    if (refusal !== null && (refusal.names?.includes(fn.name) ?? true)) {
      const why = `${refusal.code} refused by the model`;
      return { failure: new RedisFailure('refused', refusal.code, why), reply: null };
    }
    const twin = this.#overrides.get(fn.name) ?? TWINS.get(fn.name);
    if (twin === undefined) throw new Error(`the model has no twin of ${fn.name}`);
    this.calls.set(fn.name, (this.calls.get(fn.name) ?? 0) + 1);
    const nowMs = Math.floor(this.world.nowMs());
    return { failure: null, reply: replyOf(this.db.transact(twin, keys, args, nowMs)) };
  }

  hopMs(): number {
    const [min, max] = this.options.delayMs;
    return min + this.world.chance() * (max - min) + this.slowMs;
  }
}

interface Executed {
  readonly failure: RedisFailure | null;
  readonly reply: RedisReply;
}

interface Call {
  readonly fn: RedisFunction;
  readonly keys: readonly string[];
  readonly args: readonly string[];
  readonly done: RedisDone;
  /** What its caller will hear, once it is known. */
  outcome: Executed | null;
  /** The answer has had its way back, and its replicas. */
  isDue: boolean;
}

/** The calls of one client to one shard, in order. */
interface Channel {
  /** On their way to the server. */
  readonly requests: Call[];
  /** Made and not answered to the caller, in the order they were made. */
  readonly open: Call[];
}

export class ModelRedisClient implements RedisPort {
  readonly name: string;
  isUp = false;
  readonly #server: ModelRedis;
  readonly #after: ModelWorld['after'];
  readonly #channels: Channel[] = [];
  #events: RedisPortEvents | null = null;
  /** Rises with each connection: events of an earlier one mean nothing. */
  #connection = 0;
  #runId = 0;
  #isCut = false;
  #isClosed = false;
  #isConnecting = false;
  /** The other end has closed it, which is not known here yet: nothing gets through. */
  #isBroken = false;
  #isMute = false;
  /** Executed calls until the connection breaks; 0: it does not. */
  #breaksAfter = 0;

  constructor(server: ModelRedis, name: string, after: ModelWorld['after']) {
    this.#server = server;
    this.name = name;
    this.#after = after;
    for (let i = 0; i < server.options.shards; i++) this.#channels.push({ requests: [], open: [] });
    this.#connectLater();
  }

  // ------------------------------------------------------------------------------ RedisPort

  listen(events: RedisPortEvents): void {
    this.#events = events;
  }

  shardOf(tag: string): number {
    let hash = 0;
    for (let i = 0; i < tag.length; i++) hash = (Math.imul(hash, 31) + tag.charCodeAt(i)) >>> 0;
    return hash % this.#channels.length;
  }

  call(
    fn: RedisFunction,
    keys: readonly string[],
    args: readonly RedisArgument[],
    done: RedisDone,
  ): void {
    const channel = this.#channels[this.#shardOfKeys(keys)]!;
    const call = { fn, keys: [...keys], args: args.map(textOf), done, outcome: null, isDue: false };
    channel.open.push(call);
    if (!this.isUp) {
      this.#settle(channel, call, failed('not_done', 'DOWN', 'Redis is not there'), 0);
    } else if (channel.open.length > this.#server.options.callsMax) {
      this.#settle(channel, call, failed('not_done', 'BUSY', 'too many calls wait'), 0);
    } else {
      channel.requests.push(call);
      this.#arriveLater(channel);
    }
  }

  // ------------------------------------------------------------------------------ faults

  /** Nothing gets through, and nobody says so. */
  partition(): void {
    this.#isCut = true;
    const connection = this.#connection;
    this.#after(this.#server.options.silenceMs, () => {
      if (this.#isCut && connection === this.#connection) this.#lost('no answer in time');
    });
  }

  /** What was sent and not given up goes on. */
  heal(): void {
    if (!this.#isCut) return;
    this.#isCut = false;
    for (const channel of this.#channels) {
      for (const _request of channel.requests) this.#arriveLater(channel);
      this.#deliverLater(channel, null, 0);
    }
    if (!this.isUp) this.#connectLater();
  }

  /** After so many more calls were executed the connection breaks: their callers do not learn of it. */
  loseReplies(calls = 1): void {
    this.#breaksAfter = calls;
  }

  /**
   * The server, or something in between, closes the connection. `isMute`: also what is on its way back is
   * gone.
   */
  reset(why: string, isMute = false): void {
    this.#isMute ||= isMute;
    // What was not executed is gone with the connection, whenever this end notices.
    this.#isBroken = true;
    for (const channel of this.#channels) channel.requests.length = 0;
    const connection = this.#connection;
    this.#after(this.#server.options.resetMs, () => {
      if (connection === this.#connection) this.#lost(why);
    });
  }

  /** The process has ended. */
  close(): void {
    this.#isClosed = true;
    this.#server.disconnected(this);
  }

  // ------------------------------------------------------------------------------ its own

  #shardOfKeys(keys: readonly string[]): number {
    const shards = new Set(keys.map((key) => this.shardOf(tagOf(key))));
    if (shards.size !== 1) throw new Error(`keys of ${shards.size} shards: ${keys.join(' ')}`);
    return [...shards][0]!;
  }

  #arriveLater(channel: Channel): void {
    const connection = this.#connection;
    this.#server.world.after(this.#server.hopMs(), () => {
      if (connection === this.#connection) this.#arrived(channel);
    });
  }

  #arrived(channel: Channel): void {
    if (this.#isCut || this.#isBroken || this.#server.isDown) return;
    const call = channel.requests.shift();
    if (call === undefined) return;
    const executed = this.#server.execute(call.fn, call.keys, call.args);
    if (this.#breaksAfter > 0 && --this.#breaksAfter === 0) {
      this.reset('the connection broke');
      return;
    }
    const { replicaMs } = this.#server;
    this.#settle(channel, call, executed, this.#server.hopMs() + replicaMs);
  }

  #settle(channel: Channel, call: Call, outcome: Executed, delayMs: number): void {
    call.outcome = outcome;
    this.#deliverLater(channel, call, delayMs);
  }

  #deliverLater(channel: Channel, call: Call | null, delayMs: number): void {
    this.#after(delayMs, () => {
      if (this.#isClosed) return;
      if (call !== null) call.isDue = true;
      // In their order, and none before its time: what a failover may lose was not answered.
      while (channel.open[0]?.isDue === true && channel.open[0].outcome !== null) {
        // Replies under way are stuck like everything else; failures of our own are not.
        if ((this.#isCut || this.#isMute) && this.isUp) return;
        const { done, outcome } = channel.open.shift()!;
        done(outcome!.failure, outcome!.reply);
      }
    });
  }

  #lost(why: string): void {
    if (this.#isClosed) return;
    this.#connection++;
    const wasUp = this.isUp;
    this.isUp = false;
    this.#isMute = false;
    for (const channel of this.#channels) {
      channel.requests.length = 0;
      for (const call of channel.open) {
        // Even when it was answered: the answer was still under way.
        if (call.outcome?.failure?.outcome !== 'not_done') {
          call.outcome = failed('unknown', 'LOST', why);
        }
        call.isDue = true;
      }
      this.#deliverLater(channel, null, 0);
    }
    if (wasUp) this.#events?.redisDown(why);
    this.#connectLater();
  }

  #connectLater(): void {
    if (this.#isConnecting || this.#isClosed) return;
    this.#isConnecting = true;
    const { spreadMs, world } = this.#server;
    const { reconnectMs } = this.#server.options;
    const spread = spreadMs > 0 ? world.chance() * spreadMs : 0;
    this.#after(reconnectMs * (0.5 + world.chance() / 2) + spread, () => {
      this.#isConnecting = false;
      if (this.#isClosed || this.isUp) return;
      if (this.#isCut || this.#server.isDown) {
        this.#connectLater();
        return;
      }
      const isOther = this.#runId !== 0 && this.#runId !== this.#server.runId;
      this.#runId = this.#server.runId;
      this.#connection++;
      this.#breaksAfter = 0;
      this.#isBroken = false;
      this.isUp = true;
      this.#events?.redisUp(isOther);
    });
  }
}

function failed(outcome: 'not_done' | 'unknown', code: string, why: string): Executed {
  return { failure: new RedisFailure(outcome, code, why), reply: null };
}

/** As a latin1 text: a character is a byte. */
function textOf(argument: RedisArgument): string {
  if (typeof argument === 'number') {
    if (!Number.isSafeInteger(argument)) throw new Error(`${argument} is no whole number`);
    return `${argument}`;
  }
  const bytes = typeof argument === 'string' ? Buffer.from(argument, 'utf8') : argument;
  return bytes.toString('latin1');
}

function replyOf(reply: ModelReply): RedisReply {
  if (reply === null || typeof reply === 'number') return reply;
  if (typeof reply === 'string') return Buffer.from(reply, 'latin1');
  return reply.map(replyOf);
}

/** What Redis Cluster hashes. */
export function tagOf(key: string): string {
  const open = key.indexOf('{');
  const close = open < 0 ? -1 : key.indexOf('}', open + 1);
  return close > open + 1 ? key.slice(open + 1, close) : key;
}
