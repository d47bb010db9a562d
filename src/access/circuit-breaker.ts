/**
 * Leaves a backend that fails alone for a while: after some failures in a row nobody is sent to it,
 * then one request at a time tries whether it is back. Without it every login would wait for its own
 * timeout, and a backend that is coming up again would meet all of them at once.
 */

export interface CircuitBreakerOptions {
  /** Failures in a row that open it. */
  readonly failuresMax: number;
  /** First pause; doubled after each probe that fails. */
  readonly pauseMs: number;
  readonly pauseMsMax: number;
  /** Monotonic. */
  readonly nowMs: () => number;
}

export type CircuitState = 'closed' | 'open' | 'probing';

export class CircuitBreaker {
  readonly #options: CircuitBreakerOptions;
  #state: CircuitState = 'closed';
  #failures = 0;
  #pauseMs: number;
  #pausedUntilMs = 0;

  constructor(options: CircuitBreakerOptions) {
    this.#options = options;
    this.#pauseMs = options.pauseMs;
  }

  get state(): CircuitState {
    return this.#state;
  }

  /** Whether `enter` would say no. */
  get refuses(): boolean {
    if (this.#state === 'closed') return false;
    return this.#state === 'probing' || this.#options.nowMs() < this.#pausedUntilMs;
  }

  /** May a request go out? After a yes one of `succeeded`, `failed` and `undecided` follows. */
  enter(): boolean {
    if (this.refuses) return false;
    if (this.#state === 'open') this.#state = 'probing';
    return true;
  }

  succeeded(): void {
    this.#state = 'closed';
    this.#failures = 0;
    this.#pauseMs = this.#options.pauseMs;
  }

  failed(): void {
    const { failuresMax, pauseMsMax } = this.#options;
    this.#failures += 1;
    // Those that were under way when it opened change nothing.
    if (this.#state === 'open' || (this.#state === 'closed' && this.#failures < failuresMax))
      return;
    if (this.#state === 'probing') this.#pauseMs = Math.min(this.#pauseMs * 2, pauseMsMax);
    this.#state = 'open';
    this.#pausedUntilMs = this.#options.nowMs() + this.#pauseMs;
  }

  /** The request never went out: that says nothing of the backend, and the next one may try. */
  undecided(): void {
    if (this.#state === 'probing') this.#state = 'open';
  }
}
