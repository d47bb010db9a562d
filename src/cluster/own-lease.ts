/**
 * How long this node may still act as a member, by its own monotonic clock (ADR 0010): from the moment a
 * proof of its membership was *asked for*, so that it ends here before it ends for anyone else. Used by
 * membership.ts; knows neither Redis nor peers.
 *
 * CLOCK_MONOTONIC stands still while a machine sleeps, so the wall clock is watched beside it: when that
 * has run ahead since the proof was asked for, the lease is over until a later proof.
 */
import type { Clock } from '../core/ports.ts';

interface Sample {
  readonly atMs: number;
  readonly wallOverMs: number;
}

export class OwnLease {
  readonly #clock: Clock;
  readonly #leaseMs: number;
  /** What the wall clock may run ahead; much more than NTP slews, less than the margin. */
  readonly #sleepMs: number;
  #endMs = Number.NEGATIVE_INFINITY;
  /** Proofs asked for before count for nothing; at that very moment, those of an era before. */
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  #era = 0;
  /** Wall clock minus monotonic clock when the proof was asked for, or less. */
  #wallOverMs = Number.POSITIVE_INFINITY;
  readonly #samples: Sample[] = [];

  constructor(clock: Clock, leaseMs: number, marginMs: number) {
    this.#clock = clock;
    this.#leaseMs = leaseMs;
    this.#sleepMs = marginMs / 4;
  }

  /** Monotonic ms. */
  get endMs(): number {
    return this.#endMs;
  }

  /** When the latest proof was asked for; monotonic ms. */
  get provedMs(): number {
    return this.#endMs - this.#leaseMs;
  }

  /** To be given back with a proof that is asked for now. */
  get era(): number {
    return this.#era;
  }

  /** Reads both clocks; called after each socket read. */
  isValid(): boolean {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs >= this.#endMs) return false;
    const wallOverMs = this.#clock.wallMs() - nowMs;
    if (wallOverMs < this.#wallOverMs) {
      // Set back: from here on it is compared with this.
      this.#wallOverMs = wallOverMs;
    } else if (wallOverMs - this.#wallOverMs > this.#sleepMs) {
      this.end();
      return false;
    }
    return true;
  }

  /** Now and then: remembers how the clocks stood, for proofs that come later. */
  sample(): void {
    const atMs = this.#clock.monotonicMs();
    const samples = this.#samples;
    samples.push({ atMs, wallOverMs: this.#clock.wallMs() - atMs });
    while (samples.length > 1 && samples[1]!.atMs < atMs - this.#leaseMs) samples.shift();
  }

  /** This node was a member at some moment after `askedMs` (monotonic), which was in `era`. */
  prove(askedMs: number, era: number): void {
    if (askedMs < this.#notBeforeMs || askedMs + this.#leaseMs <= this.#endMs) return;
    if (askedMs === this.#notBeforeMs && era !== this.#era) return;
    let wallOverMs = Number.POSITIVE_INFINITY;
    for (const sample of this.#samples) {
      if (sample.atMs <= askedMs || wallOverMs === Number.POSITIVE_INFINITY) {
        wallOverMs = sample.wallOverMs;
      } else {
        wallOverMs = Math.min(wallOverMs, sample.wallOverMs);
      }
    }
    this.#endMs = askedMs + this.#leaseMs;
    this.#wallOverMs = wallOverMs;
    this.isValid();
  }

  /** Whatever was asked for until now proves nothing. */
  end(): void {
    this.#endMs = Number.NEGATIVE_INFINITY;
    this.#notBeforeMs = this.#clock.monotonicMs();
    this.#era++;
    this.#samples.length = 0;
    this.sample();
  }
}
