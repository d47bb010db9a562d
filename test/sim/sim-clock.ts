/**
 * The clocks of one simulated machine: a monotonic one that runs at a rate of its own, and a wall clock
 * that is off and may jump. Both run on while a process on it is stopped; the monotonic one stands still
 * while the machine sleeps, as CLOCK_MONOTONIC does.
 */
import type { Clock } from '../../src/core/ports.ts';

export interface SimClockOptions {
  /** Own ms per virtual ms: 1.05 runs 5 % fast. */
  readonly rate?: number;
  /** Monotonic clocks of different machines have nothing in common. */
  readonly originMs?: number;
  /** Wall clock minus true time. */
  readonly wallOffsetMs?: number;
}

/** True time at virtual 0. */
const EPOCH_MS = 1_800_000_000_000;

export class SimClock implements Clock {
  readonly #nowMs: () => number;
  #rate: number;
  /** The monotonic clock showed `#baseMs` at virtual `#sinceMs`. */
  #baseMs: number;
  #sinceMs: number;
  /** Wall clock minus monotonic clock. */
  #wallOverMs: number;
  #asleepSinceMs = -1;

  constructor(nowMs: () => number, options: SimClockOptions = {}) {
    this.#nowMs = nowMs;
    this.#rate = options.rate ?? 1;
    this.#sinceMs = nowMs();
    this.#baseMs = options.originMs ?? 0;
    this.#wallOverMs = EPOCH_MS + this.#sinceMs + (options.wallOffsetMs ?? 0) - this.#baseMs;
  }

  get rate(): number {
    return this.#rate;
  }

  set rate(rate: number) {
    this.#baseMs = this.monotonicMs();
    // Asleep it stands still, and must not go back when its rate changes.
    this.#sinceMs = this.#asleepSinceMs >= 0 ? this.#asleepSinceMs : this.#nowMs();
    this.#rate = rate;
  }

  monotonicMs(): number {
    const nowMs = this.#asleepSinceMs >= 0 ? this.#asleepSinceMs : this.#nowMs();
    return this.#baseMs + (nowMs - this.#sinceMs) * this.#rate;
  }

  wallMs(): number {
    const sleptMs = this.#asleepSinceMs >= 0 ? this.#nowMs() - this.#asleepSinceMs : 0;
    return this.monotonicMs() + this.#wallOverMs + sleptMs;
  }

  /** Somebody, or NTP, sets the wall clock. */
  jumpWall(byMs: number): void {
    this.#wallOverMs += byMs;
  }

  sleep(): void {
    if (this.#asleepSinceMs < 0) this.#asleepSinceMs = this.#nowMs();
  }

  wake(): void {
    if (this.#asleepSinceMs < 0) return;
    const stoodMs = this.monotonicMs();
    this.#wallOverMs += this.#nowMs() - this.#asleepSinceMs;
    this.#baseMs = stoodMs;
    this.#sinceMs = this.#nowMs();
    this.#asleepSinceMs = -1;
  }
}
