/**
 * Time that stands still until a test moves it: the core's Clock and Scheduler ports. A turn runs what
 * was put off, the way setImmediate does: what is put off meanwhile waits for the next turn.
 */
import type { Clock, Random, Scheduler } from '../../src/core/ports.ts';

export class ManualTime implements Clock, Scheduler {
  nowMs = 1_000;
  /** Wall clock minus monotonic clock; a test may make it jump. */
  wallOffsetMs = 1_800_000_000_000;
  readonly #tasks: (() => void)[] = [];
  readonly #tickers: { readonly intervalMs: number; dueMs: number; tick: () => void }[] = [];

  monotonicMs(): number {
    return this.nowMs;
  }

  wallMs(): number {
    return this.nowMs + this.wallOffsetMs;
  }

  endOfTurn(task: () => void): void {
    this.#tasks.push(task);
  }

  nextTurn(task: () => void): void {
    this.#tasks.push(task);
  }

  every(intervalMs: number, tick: () => void): () => void {
    const ticker = { intervalMs, dueMs: this.nowMs + intervalMs, tick };
    this.#tickers.push(ticker);
    return () => {
      const index = this.#tickers.indexOf(ticker);
      if (index !== -1) this.#tickers.splice(index, 1);
    };
  }

  /** Tasks that wait for the next turn. */
  get waiting(): number {
    return this.#tasks.length;
  }

  /** The process is gone, and all it had put off with it. */
  forget(): void {
    this.#tasks.length = 0;
    this.#tickers.length = 0;
  }

  /** One turn of the loop. */
  turn(): void {
    for (const task of this.#tasks.splice(0)) task();
  }

  /** Turns until nothing is put off any more. */
  settle(turnsMax = 10_000): void {
    for (let turns = 0; this.#tasks.length > 0; turns++) {
      if (turns > turnsMax) throw new Error('the loop never comes to rest');
      this.turn();
    }
  }

  /** Lets time pass in steps of at most `stepMs`, with all turns and ticks on the way. */
  pass(ms: number, stepMs = 50): void {
    const endMs = this.nowMs + ms;
    this.settle();
    while (this.nowMs < endMs) {
      this.jump(Math.min(endMs - this.nowMs, stepMs));
      this.settle();
    }
  }

  /** Time passes, and ticks come before what was put off. */
  jump(ms: number): void {
    this.nowMs += ms;
    for (const ticker of [...this.#tickers]) {
      if (ticker.dueMs > this.nowMs) continue;
      ticker.dueMs = this.nowMs + ticker.intervalMs;
      ticker.tick();
    }
  }
}

/** Repeatable randomness (mulberry32). */
export class SeededRandom implements Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }

  below(bound: number): number {
    return Math.floor(this.next() * bound);
  }

  hex(bytes: number): string {
    let text = '';
    for (let i = 0; i < bytes; i++) text += this.below(256).toString(16).padStart(2, '0');
    return text;
  }
}
