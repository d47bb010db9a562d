/**
 * Monotonic time that stands still within a turn of the loop: reading the real clock costs several
 * times what a token bucket does. The scheduler says when the turn is over.
 */
import type { Clock, Scheduler } from '../core/ports.ts';

export class TurnClock {
  readonly #clock: Clock;
  readonly #scheduler: Scheduler;
  #nowMs = 0;
  #isFresh = false;
  readonly #endTurn: () => void = () => {
    this.#isFresh = false;
  };

  constructor(clock: Clock, scheduler: Scheduler) {
    this.#clock = clock;
    this.#scheduler = scheduler;
  }

  nowMs(): number {
    return this.#isFresh ? this.#nowMs : this.#read();
  }

  #read(): number {
    this.#nowMs = this.#clock.monotonicMs();
    this.#isFresh = true;
    this.#scheduler.endOfTurn(this.#endTurn);
    return this.#nowMs;
  }
}
