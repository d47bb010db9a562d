/**
 * One log line per second for something a stranger can cause as often as he likes; the lines between
 * are counted and told with the next. Control plane.
 */

const INTERVAL_MS = 1000;

export class LogThrottle {
  #lastAtMs = Number.NEGATIVE_INFINITY;
  #suppressed = 0;

  /** Calls `write` with the number of lines left out before this one, or leaves this one out. */
  log(write: (suppressed: number) => void): void {
    const nowMs = performance.now();
    if (nowMs - this.#lastAtMs < INTERVAL_MS) {
      this.#suppressed += 1;
      return;
    }
    this.#lastAtMs = nowMs;
    const suppressed = this.#suppressed;
    this.#suppressed = 0;
    write(suppressed);
  }
}
