/**
 * What dead nodes have left in Redis when nobody was there to see them die, or what came there after
 * survivors were through with it: every node goes through all who have died, once it is ready, a while
 * after each death, and now and then; none of them is forgotten before somebody has (docs/adr/0010).
 * Called by cluster.ts.
 */

import type { Incarnation } from '../core/cluster-ports.ts';
import type { Clock, Random } from '../core/ports.ts';
import type { StartedMembership } from './ports-local.ts';

export interface EstatesParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly membership: () => Pick<StartedMembership, 'dead' | 'forget'>;
  readonly mayServe: () => boolean;
  /** Takes from it what it had, and calls back. */
  readonly settle: (dead: Incarnation, settled: () => void) => void;
}

const EVERY_MS = 3_600_000;
/** What a dead node had on its way to Redis has come there by then. */
const AFTER_DEATH_MS = 8000;
const RETRY_MS = 2000;

export class Estates {
  readonly #parts: EstatesParts;
  #nextMs = Number.POSITIVE_INFINITY;
  /** Gone through one after the other. */
  #left: readonly Incarnation[] = [];
  #isUnderWay = false;
  /** What was on its way when somebody died has come to Redis by then (monotonic ms). */
  #arrivedMs = Number.POSITIVE_INFINITY;
  #beganMs = 0;
  /** Something of who has died may not be in Redis yet, or not be seen. */
  isOpen = true;
  /** Answers to what an earlier life asked are dropped. */
  #life = 0;

  constructor(parts: EstatesParts) {
    this.#parts = parts;
  }

  /** Ready: who knows for how long nobody was, or how short: what is on its way then comes after all. */
  ready(): void {
    this.#nextMs = this.#parts.clock.monotonicMs();
    this.#arrivedMs = this.#nextMs + AFTER_DEATH_MS;
  }

  died(): void {
    this.isOpen = true;
    this.#arrivedMs = this.#parts.clock.monotonicMs() + AFTER_DEATH_MS;
    this.#within(AFTER_DEATH_MS);
  }

  tick(nowMs: number): void {
    if (nowMs < this.#nextMs || this.#isUnderWay || !this.#parts.mayServe()) return;
    const { random, membership } = this.#parts;
    const life = this.#life;
    this.#isUnderWay = true;
    this.#nextMs = nowMs + EVERY_MS / 2 + random.below(EVERY_MS);
    // Also of who has died since the one that this look is for.
    if (nowMs < this.#arrivedMs) this.#nextMs = Math.min(this.#nextMs, this.#arrivedMs);
    this.#beganMs = nowMs;
    membership().dead((dead) => {
      if (life !== this.#life) return;
      if (dead === null) {
        this.#beganMs = Number.NEGATIVE_INFINITY;
        this.#within(RETRY_MS);
      }
      this.#left = dead ?? [];
      this.#next();
    });
  }

  /** This incarnation is dead: others go on. */
  lost(): void {
    this.#life++;
    this.#left = [];
    this.#isUnderWay = false;
    this.#nextMs = Number.POSITIVE_INFINITY;
    this.#arrivedMs = Number.POSITIVE_INFINITY;
    this.isOpen = true;
  }

  #next(): void {
    const [dead, ...others] = this.#left;
    this.#left = others;
    this.#isUnderWay = dead !== undefined;
    if (dead === undefined) {
      if (this.#beganMs >= this.#arrivedMs) this.isOpen = false;
      return;
    }
    const life = this.#life;
    this.#parts.settle(dead, () => {
      if (life !== this.#life) return;
      this.#parts.membership().forget(dead);
      this.#next();
    });
  }

  #within(ms: number): void {
    this.#nextMs = Math.min(this.#nextMs, this.#parts.clock.monotonicMs() + ms);
  }
}
