/**
 * One simulated process: its clock, its randomness and its event loop (Scheduler), driven by the kernel.
 * What runs in it cannot tell it from a real one.
 */
import type { Random, Scheduler } from '../../src/core/ports.ts';
import type { SeededRandom } from '../core/manual-time.ts';
import type { SimEvent } from './event-queue.ts';
import type { SimClock } from './sim-clock.ts';

/** What a node needs of the kernel. */
export interface NodeKernel {
  after(node: SimNode | null, delayMs: number, task: () => void): SimEvent;
  cancel(event: SimEvent): void;
  trace(node: SimNode | null, text: string): void;
}

export class SimNode implements Scheduler {
  readonly name: string;
  readonly clock: SimClock;
  readonly random: Random;
  isAlive = true;
  /** Virtual ms; its events wait until then. */
  pausedUntilMs = -1;
  /** Events that came due while it was stopped. */
  readonly held: SimEvent[] = [];
  readonly #kernel: NodeKernel;
  readonly #chance: SeededRandom;
  readonly #deaths: (() => void)[] = [];
  #ending: (() => void)[] = [];
  #next: (() => void)[] = [];
  #turnIsDue = false;

  constructor(
    kernel: NodeKernel,
    name: string,
    clock: SimClock,
    random: Random,
    chance: SeededRandom,
  ) {
    this.#kernel = kernel;
    this.name = name;
    this.clock = clock;
    this.random = random;
    this.#chance = chance;
  }

  // ------------------------------------------------------------------------------ Scheduler

  endOfTurn(task: () => void): void {
    this.#ending.push(task);
  }

  nextTurn(task: () => void): void {
    this.#next.push(task);
    this.#askForTurn();
  }

  /** By this machine's clock, and a little late now and then, as loops are. */
  every(intervalMs: number, tick: () => void): () => void {
    const again = (): SimEvent => {
      const lateMs = this.#chance.next() < 0.1 ? this.#chance.next() * 5 : this.#chance.next() / 2;
      return this.#kernel.after(this, intervalMs / this.clock.rate + lateMs, run);
    };
    let isOn = true;
    const run = (): void => {
      // As setInterval: the next one counts from here, whatever the tick does.
      event = again();
      tick();
    };
    let event = again();
    return () => {
      if (isOn) this.#kernel.cancel(event);
      isOn = false;
    };
  }

  // ------------------------------------------------------------------------------ the world's side

  /** Runs when it is killed: what an operating system does for it then. */
  onKill(task: () => void): void {
    this.#deaths.push(task);
  }

  trace(text: string): void {
    this.#kernel.trace(this, text);
  }

  /** Called by the kernel after each of its events. */
  endTurn(): void {
    if (this.#ending.length === 0) return;
    const tasks = this.#ending;
    this.#ending = [];
    for (const task of tasks) if (this.isAlive) task();
    // What was put off meanwhile waits for the next turn, as with setImmediate.
    if (this.#ending.length > 0) this.#askForTurn();
  }

  /** Called by the kernel. */
  die(): void {
    this.isAlive = false;
    this.held.length = 0;
    this.#ending.length = 0;
    this.#next.length = 0;
    for (const task of this.#deaths) task();
  }

  #askForTurn(): void {
    if (this.#turnIsDue) return;
    this.#turnIsDue = true;
    this.#kernel.after(this, this.#chance.next() / 5, this.#turn);
  }

  readonly #turn = (): void => {
    this.#turnIsDue = false;
    const tasks = this.#next;
    this.#next = [];
    for (const task of tasks) if (this.isAlive) task();
  };
}
