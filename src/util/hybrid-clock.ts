/**
 * A hybrid logical clock: microseconds that follow the wall clock, never fall and never repeat, and are
 * above everything this node has seen (`observe`). Stamps versions and identities; called by the core and
 * by what is between nodes. Knows nothing of what it stamps.
 */

/** `clock_skew`: further ahead of this node's wall clock than is allowed; not taken over. */
export type Observation = 'observed' | 'clock_skew';

export class HybridClock {
  readonly #wallMs: () => number;
  readonly #maxSkewUs: number;
  #lastUs = 0;

  constructor(wallMs: () => number, maxSkewMs: number) {
    this.#wallMs = wallMs;
    this.#maxSkewUs = maxSkewMs * 1000;
  }

  /** Above everything given or observed before, whatever the wall clock does. */
  nextUs(): number {
    const wallUs = Math.floor(this.#wallMs() * 1000);
    this.#lastUs = wallUs > this.#lastUs ? wallUs : this.#lastUs + 1;
    return this.#lastUs;
  }

  /** The highest given or observed; 0: none. */
  get lastUs(): number {
    return this.#lastUs;
  }

  /**
   * What is given from now on is above `us`. A time too far ahead is refused, as one node with a wrong
   * clock would carry all others with it.
   */
  observe(us: number): Observation {
    const limitUs = Math.floor(this.#wallMs() * 1000) + this.#maxSkewUs;
    // Written so that NaN is refused.
    if (!(us <= limitUs)) return 'clock_skew';
    if (us > this.#lastUs) this.#lastUs = Math.floor(us);
    return 'observed';
  }

  /** How far what it gives is ahead of the wall clock (after that was set back), ms. */
  aheadMs(): number {
    return Math.max(0, this.#lastUs / 1000 - this.#wallMs());
  }
}
