/**
 * Work that may take long, done in pieces with pauses between, so that nobody else waits: all that is asked
 * for over a link, of a million filters. Used by `region-link.ts`; time is handed in.
 */
import type { Timers } from '../client/timers.ts';
import type { Clock } from '../core/ports.ts';

/** After this the others have their turn. */
export const SLICE_MS = 5;
/** Between pieces: the work has a fifth of the time at most. */
const PAUSE_MS = 20;

export class SlicedWork {
  /** What the last one took, without pauses. */
  tookMs = 0;
  readonly #clock: Clock;
  readonly #timers: Timers;
  #steps: Iterator<unknown> | null = null;
  #cancelPause: (() => void) | null = null;

  constructor(clock: Clock, timers: Timers) {
    this.#clock = clock;
    this.#timers = timers;
  }

  get isBusy(): boolean {
    return this.#steps !== null;
  }

  /** The first piece at once; `done` when all of it is. What ran before is given up. */
  run(steps: Iterator<unknown>, done: () => void): void {
    this.stop();
    this.#steps = steps;
    this.tookMs = 0;
    this.#slice(done);
  }

  stop(): void {
    this.#cancelPause?.();
    this.#cancelPause = null;
    this.#steps = null;
  }

  #slice(done: () => void): void {
    this.#cancelPause = null;
    const steps = this.#steps!;
    const startMs = this.#clock.monotonicMs();
    let spentMs = 0;
    while (spentMs < SLICE_MS) {
      const isDone = steps.next().done === true;
      spentMs = this.#clock.monotonicMs() - startMs;
      // A step may have stopped it, or begun another.
      if (this.#steps !== steps) return;
      if (isDone) {
        this.tookMs += spentMs;
        this.#steps = null;
        done();
        return;
      }
    }
    this.tookMs += spentMs;
    this.#cancelPause = this.#timers.after(PAUSE_MS, () => this.#slice(done));
  }
}
