/**
 * Rates per minute, averaged over one, five and fifteen minutes with exponential weights: the `load`
 * topics of `$SYS`. Pure.
 */

export const loadMinutes: readonly number[] = [1, 5, 15];

export class LoadAverage {
  readonly #averages: Float64Array = new Float64Array(loadMinutes.length);
  #last: number;

  /** `total` is a counter that only rises. */
  constructor(total: number) {
    this.#last = total;
  }

  /** Takes the counter `elapsedMs` after the last time; averages are in the order of `loadMinutes`. */
  update(total: number, elapsedMs: number): Float64Array {
    if (elapsedMs <= 0) return this.#averages;
    const perMinute = ((total - this.#last) * 60_000) / elapsedMs;
    this.#last = total;
    for (const [index, minutes] of loadMinutes.entries()) {
      const keep = Math.exp(-elapsedMs / (minutes * 60_000));
      this.#averages[index] = perMinute + keep * (this.#averages[index]! - perMinute);
    }
    return this.#averages;
  }
}
