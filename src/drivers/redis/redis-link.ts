/**
 * The Redis of a datacenter as the cluster and its store use it (RedisPort): one server, the master
 * that Sentinels name, or a Redis Cluster. It takes calls, bounds them, sends each to the server that
 * has its slot, and answers them in order per slot whatever happens on the way. Made by app/.
 */
import { CallLane, type LaneHost } from './call-lane.ts';
import { ClusterMap, type SlotRange } from './cluster-map.ts';
import { SLOTS, slotOfKey, slotOfTag } from './hash-slot.ts';
import { RedisCall, ScriptedFunction } from './redis-call.ts';
import { newRedisCounters, type RedisCounters } from './redis-counters.ts';
import { type LinkSettings, linkSettings, type RedisLinkOptions } from './redis-link-options.ts';
import {
  type RedisArgument,
  type RedisDone,
  RedisFailure,
  type RedisFunction,
  type RedisPort,
  type RedisPortEvents,
} from './redis-port.ts';
import { type FindServer, RedisShard, type ShardHost, type ShardState } from './redis-shard.ts';
import type { RedisAddress } from './redis-url.ts';
import type { RespError, RespReply } from './resp-reader.ts';
import { SentinelWatch, serverAddress } from './sentinel-watch.ts';

export interface ShardStatus {
  /** Without user and password. */
  readonly server: string;
  readonly state: ShardState;
  readonly version: string;
  /** Why it is not up; '' when it is. */
  readonly problem: string;
}

/** An answer of one server to a command of the control plane. */
export interface ShardAnswer {
  readonly server: string;
  /** Null: the connection was lost. */
  readonly reply: RespReply | null;
}

const BUSY: RedisFailure = new RedisFailure('not_done', 'BUSY', 'too many calls wait for Redis');
/** How long a server that owns no slot is kept for the sake of an ASK. */
const GUEST_MS = 30_000;
/** Tags tried to find one for the probe of a shard. */
const PROBE_TAGS_MAX = 200_000;

/** Begins to connect at once. Throws a TypeError that says what is wrong with the options. */
export function openRedis(options: RedisLinkOptions): RedisLink {
  return new RedisLink(linkSettings(options));
}

export class RedisLink implements RedisPort, ShardHost, LaneHost {
  readonly settings: LinkSettings;
  readonly counters: RedisCounters = newRedisCounters();
  readonly isCluster: boolean;
  readonly repeatMaxMs: number;
  readonly #scripts: Map<RedisFunction, ScriptedFunction> = new Map();
  /** By slot; one entry alone and with Sentinels. */
  readonly #owners: (RedisShard | null)[];
  readonly #shards: Map<string, RedisShard> = new Map();
  /** Those that have been up. */
  readonly #met: WeakSet<RedisShard> = new WeakSet();
  /** Servers that only an ASK has named, and when it did: a slot is on its way to them. */
  readonly #guests: Map<RedisShard, number> = new Map();
  readonly #lanes: Map<number, CallLane> = new Map();
  readonly #sentinels: SentinelWatch | null = null;
  readonly #map: ClusterMap | null = null;
  #events: RedisPortEvents = { redisUp: () => {}, redisDown: () => {} };
  #isUp = false;
  #wasUp = false;
  #isClosed = false;
  /** To be told with the next redisUp. */
  #isOtherServer = false;
  #isMapped = false;
  #problem = 'not connected to Redis yet';
  #waitingCalls = 0;
  #waitingBytes = 0;

  constructor(settings: LinkSettings) {
    this.settings = settings;
    this.repeatMaxMs = settings.repeatMaxMs;
    const { target } = settings;
    this.isCluster = target.mode === 'cluster';
    for (const fn of settings.functions) this.#script(fn);
    this.#owners = new Array(this.isCluster ? SLOTS : 1).fill(null);
    if (target.mode === 'cluster') {
      this.#map = new ClusterMap(settings, {
        ask: (args, answered) => this.#askOne(args, answered),
        known: () => this.#known(),
        mapRead: (ranges) => this.#mapRead(ranges),
        mapMissing: (why) => {
          this.#problem = `the slots of the Redis Cluster are not known: ${why}`;
          settings.onProblem(this.#problem);
        },
      });
      this.#map.refresh();
      return;
    }
    let find: FindServer;
    if (target.mode === 'sentinel') {
      const watch = new SentinelWatch(settings, (address) => this.#masterMoved(address));
      this.#sentinels = watch;
      find = (found) => watch.locate(found);
      watch.start();
    } else {
      const address = target.addresses[0] as RedisAddress;
      find = (found) => found(address, '');
    }
    const shard = new RedisShard(this, find);
    this.#shards.set('', shard);
    this.#owners[0] = shard;
    shard.start();
  }

  // ------------------------------------------------------------------ RedisPort

  get isUp(): boolean {
    return this.#isUp;
  }

  listen(events: RedisPortEvents): void {
    this.#events = events;
    if (!this.#isUp) return;
    this.settings.pipe.endOfTurn(() => {
      if (this.#isUp && this.#events === events) events.redisUp(false);
    });
  }

  shardOf(tag: string): number {
    return this.isCluster ? slotOfTag(tag) : 0;
  }

  /** `keys` and `args` must stay as they are until `done`. */
  call(
    fn: RedisFunction,
    keys: readonly string[],
    args: readonly RedisArgument[],
    done: RedisDone,
  ): void {
    const slot = this.isCluster ? slotOfKey(keys[0] as string) : 0;
    const call = new RedisCall(this.#script(fn), keys, args, done, slot);
    this.counters.calls += 1;
    const { waitingCallsMax, waitingBytesMax } = this.settings;
    const bytes = call.estimate();
    const isBusy =
      this.#waitingCalls >= waitingCallsMax ||
      (this.#waitingBytes > 0 && this.#waitingBytes + bytes > waitingBytesMax);
    this.#waitingCalls += 1;
    if (!isBusy) {
      call.bytes = bytes;
      this.#waitingBytes += bytes;
    }
    const lane = this.#lanes.size === 0 ? undefined : this.#lanes.get(slot);
    if (lane !== undefined) {
      if (isBusy) call.failure = BUSY;
      lane.hold(call);
    } else if (isBusy) this.#refuse(call, BUSY);
    else this.dispatch(call);
  }

  // ------------------------------------------------------------------ control plane

  get waitingCalls(): number {
    return this.#waitingCalls;
  }

  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Why it is not up; '' when it is. Holds no secret. */
  get problem(): string {
    return this.#isUp ? '' : this.#problem;
  }

  get scripts(): Iterable<ScriptedFunction> {
    return this.#scripts.values();
  }

  status(): ShardStatus[] {
    return [...this.#shards.values()].map((shard) => ({
      server: shard.address?.display ?? '',
      state: shard.state,
      version: shard.version,
      problem: shard.isUp ? '' : shard.problem.message,
    }));
  }

  /** Resolves when it is up; rejects with the problem when it is not in time. */
  ready(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const startMs = performance.now();
      const look = (): void => {
        if (this.#isUp) resolve();
        else if (this.#isClosed || performance.now() - startMs >= timeoutMs) {
          reject(new RedisFailure('not_done', 'DOWN', this.#problem));
        } else setTimeout(look, 10);
      };
      look();
    });
  }

  /** Sends a command to every server that holds data and is connected. */
  async ask(args: readonly string[]): Promise<ShardAnswer[]> {
    const shards = [...this.#shards.values()].filter((shard) => shard.isUp);
    return await Promise.all(
      shards.map((shard) => {
        const server = shard.address?.display ?? '';
        return new Promise<ShardAnswer>((resolve) => {
          shard.query(args, (reply) => resolve({ server, reply }));
        });
      }),
    );
  }

  /** What waits fails, in order; later calls fail as well. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#isUp = false;
    this.#problem = 'the connection to Redis was closed by this node';
    this.#sentinels?.close();
    this.#map?.close();
    for (const shard of [...this.#shards.values()]) shard.close();
  }

  // ------------------------------------------------------------------ LaneHost

  dispatch(call: RedisCall): boolean {
    if (call.failure !== null) {
      // It was turned away while its slot's lane had others before it.
      this.#refuse(call, call.failure);
      return true;
    }
    const { trouble } = call;
    const asked = trouble?.code === 'ASK' ? this.#redirected(call) : null;
    if (asked !== null) this.#guests.set(asked, performance.now());
    const shard = asked ?? (this.#owners[call.slot] as RedisShard | null);
    if (shard === null) {
      call.trouble = null;
      this.#refuse(call, this.#unowned());
      return true;
    }
    if (shard.isComing && trouble !== null) return false;
    call.trouble = null;
    shard.send(call, asked !== null);
    return true;
  }

  learn(call: RedisCall): void {
    const { trouble, desk } = call;
    if (trouble === null || this.#isClosed) return;
    this.counters.repeats += 1;
    if (trouble.code === 'NOSCRIPT') (desk as RedisShard).forgetScripts();
    if (trouble.code !== 'MOVED') return;
    this.#map?.refresh();
    const slot = Number(trouble.text.split(' ')[1]);
    const shard = this.#redirected(call);
    if (shard !== null && slot === call.slot) this.#owners[slot] = shard;
  }

  laneEnded(lane: CallLane): void {
    this.#lanes.delete(lane.slot);
  }

  finish(call: RedisCall): void {
    this.#waitingCalls -= 1;
    this.#waitingBytes -= call.bytes;
    const { failure } = call;
    if (failure !== null) {
      if (failure.outcome === 'not_done') this.counters.notDone += 1;
      else if (failure.outcome === 'unknown') this.counters.unknown += 1;
      else this.counters.refused += 1;
      call.done(failure, null);
    } else {
      call.done(null, call.reply);
    }
  }

  // ------------------------------------------------------------------ ShardHost

  shardAnswered(call: RedisCall): void {
    const lane = this.#lanes.size === 0 ? undefined : this.#lanes.get(call.slot);
    if (lane !== undefined) {
      lane.answered(call);
    } else if (call.trouble === null) {
      this.finish(call);
    } else {
      const begun = new CallLane(this, call.slot, call.desk as RedisShard);
      this.#lanes.set(call.slot, begun);
      begun.answered(call);
    }
  }

  shardRead(shard: RedisShard): void {
    if (this.#lanes.size === 0) return;
    for (const lane of [...this.#lanes.values()]) lane.shardRead(shard);
  }

  probeKeyOf(shard: RedisShard): string {
    const { probeKey } = this.settings;
    if (!this.isCluster) return probeKey;
    for (let tag = 0; tag < PROBE_TAGS_MAX; tag += 1) {
      if (this.#owners[slotOfTag(`${tag}`)] === shard) return `${probeKey}{${tag}}`;
    }
    return probeKey;
  }

  shardUp(shard: RedisShard, isOtherServer: boolean): void {
    // A server that holds slots only since a while: what its predecessor had may not be there.
    const isOther = isOtherServer || (this.isCluster && this.#wasUp && !this.#met.has(shard));
    this.#met.add(shard);
    this.#rise(isOther);
  }

  shardDown(shard: RedisShard, code: string, why: string): void {
    this.#look(shard, code, why);
    if (this.#isClosed || !this.#isUp) return;
    if ([...this.#shards.values()].some((one) => one.isUp)) return;
    this.#isUp = false;
    this.#events.redisDown(why);
  }

  shardFailed(shard: RedisShard, code: string, why: string): void {
    this.#look(shard, code, why);
    if (!this.#isUp) this.#rise(false);
  }

  #look(shard: RedisShard, code: string, why: string): void {
    if (this.#isClosed) return;
    this.#problem = why;
    this.#map?.refresh();
    if (code === 'READONLY' && this.#sentinels !== null) {
      this.#sentinels.locate((address) => {
        if (address !== null && !shard.isUp) this.#masterMoved(address);
      });
    }
  }

  /** Up when all servers are, or as many as can be had at first; told again of each that comes back. */
  #rise(isOtherServer: boolean): void {
    if (this.#isClosed) return;
    this.#isOtherServer ||= isOtherServer;
    if (!this.#isUp) {
      const shards = [...this.#shards.values()];
      if (this.isCluster && !this.#isMapped) return;
      if (!shards.some((shard) => shard.isUp) || shards.some((shard) => shard.isComing)) return;
      this.#isUp = true;
    }
    this.#wasUp = true;
    const isOther = this.#isOtherServer;
    this.#isOtherServer = false;
    this.#events.redisUp(isOther);
  }

  // ------------------------------------------------------------------ Sentinel and Cluster

  #masterMoved(address: RedisAddress): void {
    const shard = this.#owners[0];
    if (this.#isClosed || shard === null || shard === undefined) return;
    if (shard.address === null || shard.address.display === address.display) return;
    shard.move(`the master is ${address.display} now`);
  }

  #mapRead(ranges: readonly SlotRange[]): void {
    const before = [...this.#owners];
    const next: (RedisShard | null)[] = new Array(SLOTS).fill(null);
    for (const { first, last, owner } of ranges) {
      next.fill(this.#shardAt(owner), first, last + 1);
    }
    for (let slot = 0; slot < SLOTS; slot += 1) {
      const [old, now] = [before[slot] as RedisShard | null, next[slot] as RedisShard | null];
      if (old === now) continue;
      this.#owners[slot] = now;
      // What the old owner was sent is answered first.
      if (old?.isBusy === true && !this.#lanes.has(slot)) {
        this.#lanes.set(slot, new CallLane(this, slot, old));
      }
    }
    this.#isMapped = true;
    const used = new Set(this.#owners);
    for (const [key, shard] of [...this.#shards]) {
      const isGuest = performance.now() - (this.#guests.get(shard) ?? -GUEST_MS) < GUEST_MS;
      if (used.has(shard) || shard.isBusy || isGuest) continue;
      this.#guests.delete(shard);
      this.#shards.delete(key);
      shard.close();
    }
    if (this.#owners.some((owner) => owner === null)) {
      setTimeout(() => this.#map?.refresh(), this.settings.probeMs).unref();
    }
    if (!this.#isUp) this.#rise(false);
  }

  #shardAt(address: RedisAddress): RedisShard {
    let shard = this.#shards.get(address.display);
    if (shard === undefined) {
      shard = new RedisShard(this, (found) => found(address, ''));
      this.#shards.set(address.display, shard);
      shard.start();
    }
    return shard;
  }

  /** The server that MOVED or ASK names; null when it names none. */
  #redirected(call: RedisCall): RedisShard | null {
    if (this.#isClosed) return null;
    const place = (call.trouble as RespError).text.split(' ')[2] ?? '';
    const colon = place.lastIndexOf(':');
    const from = (call.desk as RedisShard).address as RedisAddress;
    const host = place.slice(0, Math.max(0, colon));
    const address = serverAddress(
      from.isTls,
      host === '' || host === '?' ? from.host : host,
      place.slice(colon + 1),
    );
    return address === null ? null : this.#shardAt(address);
  }

  #known(): RedisAddress[] {
    const members = [...this.#shards.values()].map((shard) => shard.address);
    const known = members.filter((address) => address !== null);
    return [...known, ...this.settings.target.addresses];
  }

  #askOne(
    args: readonly string[],
    answered: (reply: RespReply | null, of: RedisAddress) => void,
  ): void {
    const shards = [...this.#shards.values()].filter((shard) => shard.isUp);
    const shard = shards[Math.floor(this.settings.random() * shards.length)];
    const address = shard?.address ?? (this.settings.target.addresses[0] as RedisAddress);
    if (shard === undefined) this.settings.pipe.endOfTurn(() => answered(null, address));
    else shard.query(args, (reply) => answered(reply, address));
  }

  #unowned(): RedisFailure {
    if (this.#isClosed) return new RedisFailure('not_done', 'CLOSED', this.#problem);
    if (!this.#isMapped) return new RedisFailure('not_done', 'CONNECTING', this.#problem);
    return new RedisFailure('not_done', 'CLUSTERDOWN', 'no server of the Cluster has this slot');
  }

  #refuse(call: RedisCall, failure: RedisFailure): void {
    const shard = this.#owners[call.slot];
    if (shard !== null && shard !== undefined) {
      shard.refuse(call, failure);
      return;
    }
    call.failure = failure;
    this.settings.pipe.endOfTurn(() => this.shardAnswered(call));
  }

  #script(fn: RedisFunction): ScriptedFunction {
    let script = this.#scripts.get(fn);
    if (script === undefined) {
      script = new ScriptedFunction(fn);
      this.#scripts.set(fn, script);
    }
    return script;
  }
}
