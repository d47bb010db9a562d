/**
 * Whether this node reaches Redis itself, as it tells its peers in heartbeats: yes while its own calls are
 * answered in time. Used by membership.ts.
 */
import type { Clock } from '../core/ports.ts';

export class RedisReach {
  readonly #clock: Clock;
  readonly #answerMs: number;
  /** Monotonic ms at which the calls that wait for an answer were made. */
  readonly #askedMs: number[] = [];
  #isAnswered = false;

  /** `answerMs`: a call that waits longer counts as no answer. */
  constructor(clock: Clock, answerMs: number) {
    this.#clock = clock;
    this.#answerMs = answerMs;
  }

  get isThere(): boolean {
    const oldestMs = this.#askedMs[0];
    if (!this.#isAnswered) return false;
    return oldestMs === undefined || this.#clock.monotonicMs() - oldestMs <= this.#answerMs;
  }

  get waiting(): number {
    return this.#askedMs.length;
  }

  asked(atMs: number): void {
    this.#askedMs.push(atMs);
  }

  answered(askedMs: number, isDone: boolean): void {
    const index = this.#askedMs.indexOf(askedMs);
    if (index !== -1) this.#askedMs.splice(index, 1);
    this.#isAnswered = isDone;
  }

  gone(): void {
    this.#isAnswered = false;
  }
}
