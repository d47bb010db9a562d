/**
 * Burying members that are silent for too long, one at a time, those whose processes are gone sooner, and those
 * that have come back from the dead (ADR 0010). Redis decides whether it happens; the next list tells. Used by membership.ts, which says when a
 * list may be judged by.
 */
import type { Incarnation } from '../core/cluster-ports.ts';
import type { Log } from '../core/ports.ts';
import type { RedisPort } from '../drivers/redis/redis-port.ts';
import type { CutLinks } from './cut-links.ts';
import type { MemberWatch } from './member-watch.ts';
import { buryCall, type NodeKeys, nodeBury } from './node-functions.ts';

export interface BurialsOptions {
  readonly redis: Pick<RedisPort, 'call'>;
  readonly keys: NodeKeys;
  readonly watch: MemberWatch;
  readonly cuts: CutLinks;
  readonly log: Log;
  readonly self: () => Incarnation;
  readonly leaseMs: number;
  readonly marginMs: number;
  /** Somebody may be gone: the next list is wanted soon. */
  readonly askSoon: () => void;
}

/** Of those who could bury, so many wait for one another; all others as long as the last of them. */
const RANK_MAX = 3;

export class Burials {
  readonly #options: BurialsOptions;
  #isUnderWay = false;

  constructor(options: BurialsOptions) {
    this.#options = options;
  }

  /** The lowest of the living at once, the others a little later, in case that one is busy. */
  buryDead(askedMs: number): void {
    if (this.#isUnderWay) return;
    const { watch, leaseMs, marginMs } = this.#options;
    const silent = watch.silent(askedMs);
    const dead = new Set(silent.map((one) => one.incarnation));
    const overdueMs = leaseMs + marginMs + this.#patienceMs(dead);
    for (const { incarnation, counter, forMs } of silent) {
      if (forMs >= overdueMs) this.#bury(incarnation, counter, false);
    }
    for (const incarnation of watch.revenants()) this.#bury(incarnation, 0, true);
  }

  /**
   * Their processes have ended. Had they not, they would have renewed meanwhile, or would not serve any more, as
   * they have lost a link.
   */
  buryGone(askedMs: number): void {
    if (this.#isUnderWay) return;
    const { watch, cuts, log } = this.#options;
    const gone = new Set(cuts.refusing());
    const overdueMs = cuts.goneMs + this.#patienceMs(gone);
    for (const peer of gone) {
      if (watch.silentMs(peer, askedMs) < overdueMs) continue;
      log.warn({ peer }, 'its process is gone: buried');
      this.#bury(peer, watch.counter(peer), false);
    }
  }

  /** Nobody waits for those who are dead themselves. */
  #patienceMs(dead: ReadonlySet<Incarnation>): number {
    const { watch, marginMs } = this.#options;
    const self = this.#options.self();
    let rank = 0;
    for (const { incarnation } of watch.members) {
      if (incarnation < self && !dead.has(incarnation)) rank++;
    }
    return (Math.min(rank, RANK_MAX) * marginMs) / 5;
  }

  /** Though it is alive: Redis lets it go unless it has evicted this node first. */
  evict(peer: Incarnation): void {
    this.#bury(peer, this.#options.watch.counter(peer), true);
  }

  #bury(dead: Incarnation, counter: number, force: boolean): void {
    this.#isUnderWay = true;
    const { redis, askSoon } = this.#options;
    const { keys, args } = buryCall(this.#options.keys, dead, counter, force, this.#options.self());
    redis.call(nodeBury, keys, args, () => {
      this.#isUnderWay = false;
      // Done or not, the next list tells what is true; soon when somebody may be gone.
      if (!force) askSoon();
    });
  }
}
