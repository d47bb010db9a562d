/**
 * Says in the log that a backend fails and that it answers again: the first failure at once, then one
 * line in ten seconds with how many there were. Takes causes, never what a client or the backend sent.
 */
import type { Clock, Log } from '../../core/ports.ts';

const INTERVAL_MS = 10_000;

export class BackendLog {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #fields: { readonly backend: string; readonly at: string };
  #loggedAtMs = Number.NEGATIVE_INFINITY;
  #unlogged = 0;
  #hasComplained = false;

  /** `backend` as in the configuration, `at` without credentials. */
  constructor(options: { log: Log; clock: Clock; backend: string; at: string }) {
    this.#log = options.log;
    this.#clock = options.clock;
    this.#fields = { backend: options.backend, at: options.at };
  }

  failed(why: string): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#loggedAtMs < INTERVAL_MS) {
      this.#unlogged += 1;
      return;
    }
    const fields = { ...this.#fields, why, unlogged: this.#unlogged };
    this.#loggedAtMs = nowMs;
    this.#unlogged = 0;
    this.#hasComplained = true;
    this.#log.warn(fields, 'an access backend failed: nobody is let in by it');
  }

  answered(): void {
    if (!this.#hasComplained) return;
    this.#hasComplained = false;
    const fields = { ...this.#fields, unlogged: this.#unlogged };
    this.#unlogged = 0;
    this.#log.info(fields, 'an access backend answers again');
  }
}
