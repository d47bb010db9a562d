/**
 * Failures inside access, which must not be: counted, and logged without anything a client sent. Used
 * by the gate and by what belongs to its connections; whoever calls refuses for it.
 */
import type { Clock, Log } from '../core/ports.ts';

const LOG_INTERVAL_MS = 1000;

export class Failures {
  /** Rises only. */
  count = 0;
  readonly #clock: Clock;
  readonly #log: Log;
  #loggedAtMs = Number.NEGATIVE_INFINITY;
  #unlogged = 0;

  constructor(clock: Clock, log: Log) {
    this.#clock = clock;
    this.#log = log;
  }

  add(error: unknown): void {
    this.count++;
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#loggedAtMs < LOG_INTERVAL_MS) {
      this.#unlogged++;
      return;
    }
    const unlogged = this.#unlogged;
    this.#loggedAtMs = nowMs;
    this.#unlogged = 0;
    const { name, stack } = error instanceof Error ? error : { name: typeof error, stack: '' };
    // The frames say where; the message could hold anything.
    const at = stack?.split('\n').filter((line) => line.startsWith('    at '));
    this.#log.error({ error: name, at, unlogged }, 'access failed inside: refused for that');
  }
}
