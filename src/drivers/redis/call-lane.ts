/**
 * Calls of one slot while one of them has to be sent again (NOSCRIPT, MOVED, ASK, TRYAGAIN), or while
 * the slot changes its server: nothing new is sent before what was sent has been answered, then the
 * rest is sent again in order, and everybody is answered in order. A call is sent again only while no
 * later one has been executed; otherwise it fails as not done, because repeating it would change the
 * order. Made by redis-link.ts when it is needed, and gone when the slot is well.
 */
import type { RedisCall } from './redis-call.ts';
import { RedisFailure } from './redis-port.ts';
import type { RedisShard } from './redis-shard.ts';

export interface LaneHost {
  /** The end of a call. */
  finish(call: RedisCall): void;
  /** Learns from the trouble of calls where their slot is now. Each time before they are sent again. */
  learn(call: RedisCall): void;
  /** Sends it where its slot is, or where an ASK said; false: that server is still being connected. */
  dispatch(call: RedisCall): boolean;
  /** The slot is well; what the lane held has been sent. */
  laneEnded(lane: CallLane): void;
  readonly repeatMaxMs: number;
}

const PAUSE_MS = 15;
/** Rounds without any answer but trouble before the lane pauses between them. */
const EAGER_ROUNDS = 3;

export class CallLane {
  readonly slot: number;
  readonly #host: LaneHost;
  /** Calls sent before the lane began are answered when this shard has delivered that far. */
  #shard: RedisShard | null;
  readonly #position: number;
  /** Sent, in order; in the first round those that were answered so far. */
  #sent: RedisCall[] = [];
  #unanswered = 0;
  /** To be sent after them. */
  #held: RedisCall[] = [];
  /** While a slot is on its way, where a call is executed depends on its keys: one at a time. */
  #isOneByOne = false;
  #rounds = 0;

  constructor(host: LaneHost, slot: number, shard: RedisShard) {
    this.#host = host;
    this.slot = slot;
    this.#shard = shard;
    this.#position = shard.written;
  }

  /** A new call. */
  hold(call: RedisCall): void {
    this.#held.push(call);
  }

  /** Calls come here in the order they were sent. */
  answered(call: RedisCall): void {
    if (this.#shard !== null) {
      this.#sent.push(call);
      return;
    }
    this.#unanswered -= 1;
    if (this.#unanswered === 0) this.#resolve();
  }

  /** The shard has handed out more answers, or has lost its connection. */
  shardRead(shard: RedisShard): void {
    if (this.#shard !== shard || shard.delivered < this.#position) return;
    this.#shard = null;
    this.#resolve();
  }

  #resolve(): void {
    const sent = this.#sent;
    this.#sent = [];
    let last = sent.length - 1;
    while (last >= 0 && (sent[last] as RedisCall).trouble !== null) last -= 1;
    const nowMs = performance.now();
    let from = 0;
    for (; from < sent.length; from += 1) {
      const call = sent[from] as RedisCall;
      if (call.trouble === null) continue;
      if (call.troubledMs === 0) call.troubledMs = nowMs;
      this.#host.learn(call);
      const isExpired = nowMs - call.troubledMs > this.#host.repeatMaxMs;
      if (from > last && !isExpired) break;
      const { code } = call.trouble;
      const why = isExpired ? 'could not be placed in time' : 'a later call was executed before it';
      call.trouble = null;
      call.failure = new RedisFailure('not_done', code, why);
    }
    this.#isOneByOne ||= sent.some((call) => isUnderWay(call));
    if (from > 0) this.#rounds = 0;
    // Callbacks may add calls: they are held while the lane is there.
    const rest = sent.slice(from);
    this.#sent = [];
    for (let index = 0; index < from; index += 1) this.#host.finish(sent[index] as RedisCall);
    this.#held = rest.concat(this.#held);
    if (rest.some((call) => call.trouble?.code === 'MOVED')) this.#isOneByOne = false;
    if (this.#held.length === 0 || (rest.length === 0 && !this.#isOneByOne)) {
      this.#end();
      return;
    }
    this.#rounds += 1;
    const isSlow = rest[0]?.trouble?.code === 'TRYAGAIN' || this.#rounds > EAGER_ROUNDS;
    if (isSlow) this.#later();
    else this.#round();
  }

  #later(): void {
    setTimeout(() => this.#round(), PAUSE_MS);
  }

  #round(): void {
    const count = this.#isOneByOne ? 1 : this.#held.length;
    // The first decides for all: in rounds of more than one they go to the same server.
    this.#sent = this.#held.splice(0, count);
    this.#unanswered = count;
    for (let index = 0; index < count; index += 1) {
      if (this.#host.dispatch(this.#sent[index] as RedisCall)) continue;
      // Still being connected, which does not change within this loop: nothing has been sent.
      this.#held = this.#sent.concat(this.#held);
      this.#sent = [];
      this.#unanswered = 0;
      this.#failExpired();
      return;
    }
  }

  /** While a server is being connected: what waits too long fails, from the front. */
  #failExpired(): void {
    const nowMs = performance.now();
    const expired: RedisCall[] = [];
    for (const call of this.#held) {
      if (call.troubledMs === 0 || nowMs - call.troubledMs <= this.#host.repeatMaxMs) break;
      expired.push(call);
    }
    this.#held.splice(0, expired.length);
    for (const call of expired) {
      const code = call.trouble?.code ?? 'CONNECTING';
      call.trouble = null;
      call.failure = new RedisFailure('not_done', code, 'could not be placed in time');
      this.#host.finish(call);
    }
    if (this.#held.length === 0) this.#end();
    else this.#later();
  }

  #end(): void {
    this.#host.laneEnded(this);
    const held = this.#held;
    this.#held = [];
    for (const call of held) this.#host.dispatch(call);
  }
}

function isUnderWay(call: RedisCall): boolean {
  const code = call.trouble?.code;
  return code === 'ASK' || code === 'TRYAGAIN';
}
