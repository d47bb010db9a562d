/**
 * How long to wait before the next attempt to connect: doubles from `minMs` to `maxMs`, with jitter so
 * that a thousand clients do not return in one moment. Starts over only after a connection has lasted,
 * so one that is accepted and closed at once does not make a loop.
 */

export interface BackoffOptions {
  readonly minMs: number;
  readonly maxMs: number;
  /** In [0, 1). */
  readonly random: () => number;
}

export class Backoff {
  readonly #options: BackoffOptions;
  #attempts = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** The next delay: half of the step for certain, the other half by chance. */
  nextMs(): number {
    const { minMs, maxMs, random } = this.#options;
    const stepMs = Math.min(maxMs, minMs * 2 ** Math.min(this.#attempts, 30));
    this.#attempts++;
    return stepMs / 2 + random() * (stepMs / 2);
  }

  /** The other end is there again, as far as anybody knows. */
  restart(): void {
    this.#attempts = 0;
  }

  /** Tells how long the connection that just ended had been up. */
  connectionLasted(upMs: number): void {
    if (upMs >= this.#options.maxMs) this.#attempts = 0;
  }
}
