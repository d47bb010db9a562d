/**
 * Bounded waiting for a probe: each step has its own time, all together have one, and whoever asks for
 * an end gets it at once. Used by `probe-site.ts` and `probe-round.ts`.
 */

/** It did not come in time. */
export class LateError extends Error {
  override readonly name: string = 'LateError';
}

/** Somebody asked for the end. */
export class StoppedError extends Error {
  override readonly name: string = 'StoppedError';
}

export class Deadline {
  readonly #stepMs: number;
  readonly #endMs: number;
  readonly #signal: AbortSignal;

  constructor(stepMs: number, totalMs: number, signal: AbortSignal) {
    this.#stepMs = stepMs;
    this.#endMs = performance.now() + totalMs;
    this.#signal = signal;
  }

  get isStopped(): boolean {
    return this.#signal.aborted;
  }

  /** What a step that begins now may take. */
  stepMs(): number {
    return Math.max(0, Math.min(this.#stepMs, this.#endMs - performance.now()));
  }

  /** The work, or why it is not waited for any more. The signal tells the work itself. */
  async within<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (this.#signal.aborted) throw new StoppedError('stopped');
    const ms = this.stepMs();
    if (ms === 0) throw new LateError('not begun: the time of the round is over');
    const over = Promise.withResolvers<never>();
    const own = new AbortController();
    const stop = (): void => over.reject(new StoppedError('stopped'));
    this.#signal.addEventListener('abort', stop, { once: true });
    const timer = setTimeout(() => {
      over.reject(new LateError(`not done within ${Math.round(ms)} ms`));
    }, ms);
    try {
      return await Promise.race([work(own.signal), over.promise]);
    } finally {
      clearTimeout(timer);
      this.#signal.removeEventListener('abort', stop);
      own.abort();
    }
  }
}
