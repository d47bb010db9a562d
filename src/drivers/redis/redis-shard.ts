/**
 * One Redis server that holds data, kept connected: it reconnects with growing pauses, loads the
 * functions, compares who it is with who it was, writes calls in their order, holds their answers until
 * enough replicas have what they wrote (WAIT), and stops calling (circuit breaker) while the server
 * cannot take writes. redis-link.ts decides which calls come here, and again where to.
 */
import type { RedisCall, ScriptedFunction } from './redis-call.ts';
import { countRoundTrip, type RedisCounters } from './redis-counters.ts';
import type { LinkSettings } from './redis-link-options.ts';
import { type PipeEvents, type PipeReceiver, RedisPipe } from './redis-pipe.ts';
import { RedisFailure, type RedisOutcome } from './redis-port.ts';
import type { RedisAddress } from './redis-url.ts';
import { RespError, type RespReply } from './resp-reader.ts';

/** Error replies that say that the server cannot serve now, rather than that a call was wrong. */
const TRIPPING: ReadonlyMap<string, string> = new Map([
  ['READONLY', 'it is a replica'],
  ['OOM', 'its memory is full (maxmemory)'],
  ['MISCONF', 'it cannot write to its disk (stop-writes-on-bgsave-error)'],
  ['LOADING', 'it is reading its file'],
  ['CLUSTERDOWN', 'slots of the Redis Cluster have no server'],
  ['MASTERDOWN', 'it is a replica that has lost its primary'],
  ['NOREPLICAS', 'it has fewer replicas than its min-replicas-to-write'],
  ['NOAUTH', 'it wants a password'],
]);

/** Error replies after which the call can be sent again: it was not executed. */
const REPEATABLE: ReadonlySet<string> = new Set(['NOSCRIPT', 'MOVED', 'ASK', 'TRYAGAIN']);

export type ShardState = 'connecting' | 'up' | 'tripped' | 'waiting' | 'closed';

export interface ShardHost {
  readonly settings: LinkSettings;
  readonly counters: RedisCounters;
  readonly isCluster: boolean;
  readonly scripts: Iterable<ScriptedFunction>;
  /** A key that a probe may write, and that belongs to this server. */
  probeKeyOf(shard: RedisShard): string;
  shardUp(shard: RedisShard, isOtherServer: boolean): void;
  /** It was up and is not. */
  shardDown(shard: RedisShard, code: string, why: string): void;
  /** An attempt failed, or a probe did. */
  shardFailed(shard: RedisShard, code: string, why: string): void;
  /** In the order of the calls: with a reply, a failure or a trouble. */
  shardAnswered(call: RedisCall): void;
  /** Calls have been answered: `delivered` may have passed what somebody waits for. */
  shardRead(shard: RedisShard): void;
}

/** Finds the server before each attempt; null: it is not known now. */
export type FindServer = (found: (address: RedisAddress | null, why: string) => void) => void;

export class RedisShard implements PipeEvents {
  readonly #host: ShardHost;
  readonly #find: FindServer;
  #state: ShardState = 'waiting';
  #isFirstAttemptDone = false;
  #address: RedisAddress | null = null;
  #pipe: RedisPipe | null = null;
  /** Changes with every attempt; what belongs to an older one is ignored. */
  #attempt = 0;
  #failures = 0;
  #upMs = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Why calls are turned away while it is not up. */
  #closed: RedisFailure = new RedisFailure('not_done', 'CONNECTING', 'not connected to Redis yet');
  /** The same for calls that had been sent when the connection broke; made when there are some. */
  #lostFailure: RedisFailure | null = null;
  readonly #loaded: Set<ScriptedFunction> = new Set();
  #runId = '';
  #replicationId = '';
  #clientId = 0;
  #version = '';
  /** Answered, but their batch has not passed WAIT. */
  #held: RedisCall[] = [];
  #callsInBatch = 0;
  #delivered = 0;
  readonly #waitReceiver: PipeReceiver;

  constructor(host: ShardHost, find: FindServer) {
    this.#host = host;
    this.#find = find;
    this.#waitReceiver = {
      isLocal: false,
      replied: (reply) => this.#waited(reply),
      lost: () => {},
    };
  }

  get state(): ShardState {
    return this.#state;
  }

  get isUp(): boolean {
    return this.#state === 'up';
  }

  /** It has not yet been up, nor failed to be. */
  get isComing(): boolean {
    return !this.#isFirstAttemptDone;
  }

  /** The last known; null: none yet. */
  get address(): RedisAddress | null {
    return this.#address;
  }

  /** Of the server, as INFO said; '' when it may not be asked. */
  get version(): string {
    return this.#version;
  }

  /** Why it is not up: code and text. */
  get problem(): RedisFailure {
    return this.#closed;
  }

  /** Of the calls that were written so far, the position of the last. */
  get written(): number {
    return this.#pipe?.pushed ?? 0;
  }

  /** Position up to which calls have been handed to the host. */
  get delivered(): number {
    return this.#delivered;
  }

  /** Calls that were sent here and are not answered. */
  get isBusy(): boolean {
    return (this.#pipe?.waiting ?? 0) > 0 || this.#held.length > 0;
  }

  start(): void {
    this.#connect();
  }

  close(): void {
    if (this.#state === 'closed') return;
    this.#leave('closed', 'CLOSED', 'the connection to Redis was closed by this node');
  }

  /** The server is another now: the connection ends, and the next attempt begins at once. */
  move(why: string): void {
    if (this.#state === 'closed') return;
    this.#failures = 0;
    this.#leave('waiting', 'MOVED', why);
    if (this.#state === 'waiting') this.#connect();
  }

  /** Whoever emptied the script cache has made the server forget all of them. */
  forgetScripts(): void {
    this.#loaded.clear();
  }

  /** Writes the call, or has it fail in its turn. `isAsked`: the slot is on its way here (ASKING). */
  send(call: RedisCall, isAsked: boolean): void {
    const pipe = this.#pipe;
    if (this.#state !== 'up' || pipe === null) {
      this.refuse(call, this.#closed);
      return;
    }
    call.desk = this;
    const { writer } = pipe;
    if (!this.#loaded.has(call.script)) this.#load(pipe, call.script, () => {});
    if (isAsked) pipe.query(['ASKING'], () => {});
    call.write(writer);
    this.#callsInBatch += 1;
    pipe.expect(call);
  }

  /** Lets a call fail, after those that were sent before it. */
  refuse(call: RedisCall, failure: RedisFailure): void {
    call.failure = failure;
    const pipe = this.#pipe;
    // Answers that are held have a WAIT behind them, so nothing that is held waits for nothing.
    if (pipe === null || pipe.waiting === 0) {
      this.#host.settings.pipe.endOfTurn(() => this.#host.shardAnswered(call));
      return;
    }
    call.desk = this;
    call.isLocal = true;
    pipe.expect(call);
  }

  /** A command of the control plane; a lost connection answers null. */
  query(args: readonly (string | number)[], done: (reply: RespReply | null) => void): void {
    const pipe = this.#pipe;
    if (pipe === null || (this.#state !== 'up' && this.#state !== 'tripped')) {
      this.#host.settings.pipe.endOfTurn(() => done(null));
      return;
    }
    pipe.query(args, (reply, isLost) => done(isLost ? null : reply));
  }

  // ------------------------------------------------------------------ answers of calls

  replied(call: RedisCall, reply: RespReply): void {
    if (call.isLocal) {
      call.isLocal = false;
      if (this.#held.length > 0) this.#held.push(call);
      else this.#host.shardAnswered(call);
      return;
    }
    const code = reply instanceof RespError ? this.#failed(call, reply) : '';
    if (!(reply instanceof RespError)) call.reply = reply;
    if (this.#host.settings.replicasMin > 0) this.#held.push(call);
    else this.#host.shardAnswered(call);
    const meaning = TRIPPING.get(code);
    if (meaning !== undefined) this.#trip(code, `Redis answers ${code}: ${meaning}`);
  }

  lost(call: RedisCall, wasSent: boolean): void {
    if (call.isLocal) call.isLocal = false;
    else call.failure = wasSent ? this.#unknown() : this.#closed;
    this.#host.shardAnswered(call);
  }

  #failed(call: RedisCall, error: RespError): string {
    const { code } = error;
    const isRepeated =
      REPEATABLE.has(code) && (code === 'NOSCRIPT' || this.#host.isCluster) && this.isUp;
    if (isRepeated) {
      call.trouble = error;
      return code;
    }
    const outcome: RedisOutcome = REPEATABLE.has(code) ? 'not_done' : 'refused';
    call.failure = new RedisFailure(outcome, code, `Redis answered ${code} to ${call.script.name}`);
    return code;
  }

  #unknown(): RedisFailure {
    const { code, message } = this.#closed;
    return (this.#lostFailure ??= new RedisFailure('unknown', code, message));
  }

  #waited(reply: RespReply): void {
    const { replicasMin } = this.#host.settings;
    const held = this.#held;
    this.#held = [];
    const count = typeof reply === 'number' ? reply : 0;
    if (count < replicasMin) {
      this.#host.counters.waitsShort += 1;
      const failure = new RedisFailure('unknown', 'NOREPLICAS', 'too few replicas have it in time');
      for (const call of held) {
        if (call.trouble === null) call.failure ??= failure;
      }
    }
    const position = this.#pipe?.answered ?? this.#delivered;
    for (const call of held) this.#host.shardAnswered(call);
    this.#delivered = position;
    if (count < replicasMin) {
      this.#trip('NOREPLICAS', shortOf(replicasMin, count));
    }
  }

  // ------------------------------------------------------------------ the connection

  pipeOpen(pipe: RedisPipe): void {
    if (pipe === this.#pipe) this.#greet(pipe, false);
  }

  pipeFlush(pipe: RedisPipe): void {
    const { replicasMin, waitMs } = this.#host.settings;
    if (replicasMin > 0 && this.#callsInBatch > 0) {
      pipe.writer.command(3);
      pipe.writer.text('WAIT');
      pipe.writer.number(replicasMin);
      pipe.writer.number(Math.round(waitMs));
      pipe.expect(this.#waitReceiver);
    }
    this.#callsInBatch = 0;
  }

  pipeRead(pipe: RedisPipe): void {
    if (pipe !== this.#pipe) return;
    if (this.#host.settings.replicasMin === 0) this.#delivered = pipe.answered;
    this.#host.shardRead(this);
  }

  pipeBatch(roundTripMs: number): void {
    countRoundTrip(this.#host.counters, roundTripMs);
  }

  pipeMessage(): void {}

  pipeClosed(pipe: RedisPipe, code: string, why: string): void {
    if (pipe === this.#pipe) this.#leave('waiting', code, why);
  }

  #connect(): void {
    clearTimeout(this.#timer);
    this.#state = 'connecting';
    this.#attempt += 1;
    const attempt = this.#attempt;
    this.#find((address, why) => {
      if (attempt !== this.#attempt || this.#state !== 'connecting') return;
      if (address === null) {
        this.#leave('waiting', 'NOMASTER', why);
        return;
      }
      this.#address = address;
      this.#loaded.clear();
      this.#delivered = 0;
      this.#callsInBatch = 0;
      this.#lostFailure = null;
      this.#pipe = new RedisPipe(address, this.#host.settings.pipe, this);
    });
  }

  /** Ends what there is. All who wait are told in order; then the next attempt is arranged. */
  #leave(state: 'waiting' | 'closed', code: string, why: string): void {
    const wasUp = this.#state === 'up';
    const pipe = this.#pipe;
    const place = this.#address === null ? '' : `${this.#address.display}: `;
    this.#pipe = null;
    this.#state = state;
    this.#attempt += 1;
    const attempt = this.#attempt;
    this.#isFirstAttemptDone = true;
    this.#closed = new RedisFailure('not_done', code, `${place}${why}`);
    this.#lostFailure = null;
    clearTimeout(this.#timer);
    pipe?.close(code, why);
    const { backoffMinMs, backoffMaxMs, random, onProblem } = this.#host.settings;
    if (state === 'waiting') {
      this.#host.counters.losses += 1;
      // A connection that is accepted and lost at once does not begin a new count.
      if (wasUp && performance.now() - this.#upMs >= backoffMaxMs) this.#failures = 0;
      const stepMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(this.#failures, 30));
      this.#failures += 1;
      const pauseMs = stepMs / 2 + random() * (stepMs / 2);
      this.#timer = setTimeout(() => this.#connect(), pauseMs);
    }
    // What replicas were not known to have when the connection broke is as unknown as the rest.
    const held = this.#held;
    this.#held = [];
    for (const call of held) {
      if (call.trouble === null) call.failure ??= this.#unknown();
      this.#host.shardAnswered(call);
    }
    pipe?.abandon();
    this.#delivered = Number.MAX_SAFE_INTEGER;
    this.#host.shardRead(this);
    if (state === 'waiting') onProblem(`${place}${why}`);
    // A callback may have closed the link, or begun anew.
    if (wasUp) this.#host.shardDown(this, code, `${place}${why}`);
    else if (attempt === this.#attempt) this.#host.shardFailed(this, code, `${place}${why}`);
  }

  /** Asks who the server is, settles what the last connection may still have under way, loads. */
  #greet(pipe: RedisPipe, isProbe: boolean): void {
    let runId = '';
    let replicationId = '';
    let role = '';
    let mode = '';
    const isMine = (): boolean => this.#pipe === pipe && !pipe.isClosed;
    pipe.query(['INFO', 'server'], (reply) => {
      const fields = infoFields(reply);
      runId = fields.get('run_id') ?? '';
      mode = fields.get('redis_mode') ?? '';
      this.#version = fields.get('redis_version') ?? this.#version;
    });
    pipe.query(['INFO', 'replication'], (reply) => {
      const fields = infoFields(reply);
      role = fields.get('role') ?? '';
      replicationId = fields.get('master_replid') ?? '';
    });
    pipe.query(['CLIENT', 'ID'], (reply, isLost) => {
      if (isLost || !isMine()) return;
      const wrong = this.#wrongKind(mode);
      if (wrong !== null) {
        pipe.close('WRONGMODE', wrong);
        return;
      }
      if (role === 'slave') {
        this.#trip('READONLY', 'this server is a replica');
        return;
      }
      const isKnown = runId !== '' && this.#runId !== '';
      const isSame = isKnown && runId === this.#runId && replicationId === this.#replicationId;
      const isOther = this.#upMs > 0 && !isSame;
      if (isSame && !isProbe && this.#clientId > 0) {
        // Calls in the buffers of the lost connection must not run behind those of this one.
        pipe.query(['CLIENT', 'KILL', 'ID', this.#clientId], () => {});
      }
      const clientId = typeof reply === 'number' ? reply : 0;
      const ready = (): void => {
        if (!isMine()) return;
        this.#runId = runId;
        this.#replicationId = replicationId;
        this.#clientId = clientId;
        this.#up(pipe, isOther);
      };
      // With replicas to wait for it is up when it has them: else it would go up and down in turns.
      if (isProbe || this.#host.settings.replicasMin > 0) this.#probeWrite(pipe, ready);
      else this.#loadAll(pipe, ready);
    });
  }

  #loadAll(pipe: RedisPipe, ready: () => void): void {
    let failure: RespError | null = null;
    for (const script of this.#host.scripts) {
      this.#load(pipe, script, (reply) => {
        if (reply instanceof RespError) failure ??= reply;
      });
    }
    pipe.query(['PING'], (reply, isLost) => {
      if (isLost) return;
      // Redis may be loading its data while it answers INFO and PING's right is missing.
      if (failure === null && reply instanceof RespError && reply.code === 'LOADING') {
        failure = reply;
      }
      if (failure === null) ready();
      else if (TRIPPING.has(failure.code))
        this.#trip(failure.code, `Redis answers ${failure.code}`);
      else pipe.close(failure.code, `SCRIPT LOAD refused: ${failure.code}`);
    });
  }

  #load(pipe: RedisPipe, script: ScriptedFunction, done: (reply: RespReply | null) => void): void {
    this.#loaded.add(script);
    pipe.query(['SCRIPT', 'LOAD', script.lua], (reply, isLost) => {
      if (reply instanceof RespError) this.#loaded.delete(script);
      done(isLost ? null : reply);
    });
  }

  #wrongKind(mode: string): string | null {
    if (mode === 'sentinel') return 'this is a Sentinel: use redis-sentinel://';
    if (mode === 'cluster' && !this.#host.isCluster) {
      return 'this server belongs to a Redis Cluster: use redis-cluster://';
    }
    if (mode === 'standalone' && this.#host.isCluster) {
      return 'this server belongs to no Redis Cluster';
    }
    return null;
  }

  #up(pipe: RedisPipe, isOtherServer: boolean): void {
    clearTimeout(this.#timer);
    if (this.#state !== 'tripped' || this.#upMs === 0) this.#host.counters.connects += 1;
    this.#state = 'up';
    this.#isFirstAttemptDone = true;
    this.#upMs = performance.now();
    pipe.greeted();
    this.#host.shardUp(this, isOtherServer);
  }

  // ------------------------------------------------------------------ the breaker

  #trip(code: string, why: string): void {
    const pipe = this.#pipe;
    if (pipe === null || this.#state === 'closed') return;
    const wasUp = this.#state === 'up';
    const wasTripped = this.#state === 'tripped';
    const place = `${pipe.address.display}: `;
    this.#state = 'tripped';
    this.#isFirstAttemptDone = true;
    this.#closed = new RedisFailure('not_done', code, `${place}${why}`);
    pipe.greeted();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#greet(pipe, true), this.#host.settings.probeMs);
    if (!wasTripped) {
      this.#host.counters.trips += 1;
      this.#host.settings.onProblem(`${place}${why}`);
    }
    if (wasUp) {
      this.#host.shardDown(this, code, `${place}${why}`);
    } else {
      this.#host.shardFailed(this, code, `${place}${why}`);
    }
  }

  /** Whether a write is possible, and enough replicas have it. */
  #probeWrite(pipe: RedisPipe, ready: () => void): void {
    const { replicasMin, waitMs, probeMs } = this.#host.settings;
    // It is heard: a WAIT for replicas that are not there may last longer than a login may.
    pipe.greeted();
    let code: string | null = null;
    const key = this.#host.probeKeyOf(this);
    pipe.query(['SET', key, '1', 'PX', Math.round(probeMs * 10)], (reply) => {
      if (reply instanceof RespError) code = reply.code;
    });
    const judge = (reply: RespReply | null, isLost: boolean): void => {
      if (isLost || pipe.isClosed) return;
      // A slot that has moved away, or a key this user may not write, says nothing about writes.
      if (code === 'MOVED' || code === 'ASK' || code === 'NOPERM') code = null;
      const count = typeof reply === 'number' ? reply : 0;
      if (code !== null) {
        const meaning = TRIPPING.get(code);
        const why = `Redis answers ${code} to a probe`;
        this.#trip(code, meaning === undefined ? why : `${why}: ${meaning}`);
      } else if (count < replicasMin) this.#trip('NOREPLICAS', shortOf(replicasMin, count));
      else this.#loadAll(pipe, ready);
    };
    if (replicasMin > 0) pipe.query(['WAIT', replicasMin, Math.round(waitMs)], judge);
    else pipe.query(['PING'], judge);
  }
}

function shortOf(replicasMin: number, count: number): string {
  return `${count} of ${replicasMin} replicas had a write in time (cluster.redis.replicasMin)`;
}

/** `key:value` lines of INFO; empty when it was not answered. */
export function infoFields(reply: RespReply | null): Map<string, string> {
  const fields = new Map<string, string>();
  if (!Buffer.isBuffer(reply)) return fields;
  for (const line of reply.toString().split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon > 0 && !line.startsWith('#')) fields.set(line.slice(0, colon), line.slice(colon + 1));
  }
  return fields;
}
