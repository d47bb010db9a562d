/**
 * The simulation's kernel: virtual time and the order of events, all decided by one seed. Nodes (real
 * code of ours) get their Clock, Random and Scheduler from it; models of Redis and of the network put
 * their events in with `after`. A turn is one event of a node, then its endOfTurn tasks.
 *
 * The kernel promises no order between events due at about the same time (`slotMs`): a model whose
 * deliveries are in order keeps a queue of its own and takes from it at each event.
 */
import { SeededRandom } from '../core/manual-time.ts';
import { EventQueue, type SimEvent } from './event-queue.ts';
import { SimClock, type SimClockOptions } from './sim-clock.ts';
import { type NodeKernel, SimNode } from './sim-node.ts';
import { TraceRing } from './trace-ring.ts';

export interface KernelOptions {
  /** Events due within as much of each other come in any order. */
  readonly slotMs?: number;
  /** Lines of trace that are kept. */
  readonly traceLines?: number;
  /** Off: `trace` costs nothing; run a failing seed again with it. */
  readonly isTracing?: boolean;
}

/** `reached`: what was asked for; `idle`: nothing is left to happen; `steps_max`: too many events. */
export type RunEnd = 'reached' | 'idle' | 'steps_max';

/** Something went wrong in a run: seed, time and the last lines of its trace are in the message. */
export class SimulationFailure extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'SimulationFailure';
  }
}

export class Kernel implements NodeKernel {
  readonly seed: number;
  /** The world's own chance; nodes have others. */
  readonly chance: SeededRandom;
  readonly isTracing: boolean;
  /** Called after each turn: where invariants are checked. Null node: the world's event. */
  afterTurn: ((node: SimNode | null) => void) | null = null;
  #nowMs = 0;
  #steps = 0;
  readonly #queue: EventQueue;
  readonly #ring: TraceRing;

  constructor(seed: number, options: KernelOptions = {}) {
    this.seed = seed;
    this.chance = new SeededRandom(seed);
    this.isTracing = options.isTracing ?? true;
    this.#queue = new EventQueue(options.slotMs ?? 0.1);
    this.#ring = new TraceRing(options.traceLines ?? 400);
  }

  /** Virtual ms since the start; nobody in the simulation can see it. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** Events so far. */
  get steps(): number {
    return this.#steps;
  }

  /** A process; on the machine that has `clock`, or on one of its own. */
  node(name: string, clock: SimClock | SimClockOptions = {}): SimNode {
    const own =
      clock instanceof SimClock ? clock : new SimClock(() => this.#nowMs, this.#clock(clock));
    const random = new SeededRandom(this.chance.below(2 ** 32));
    const chance = new SeededRandom(this.chance.below(2 ** 32));
    return new SimNode(this, name, own, random, chance);
  }

  /** Runs `task` as an event of the node (null: of the world) `delayMs` of virtual time from now. */
  after(node: SimNode | null, delayMs: number, task: () => void): SimEvent {
    const event = { dueMs: this.#nowMs + (delayMs > 0 ? delayMs : 0), node, task };
    this.#queue.push(event, this.chance.next());
    return event;
  }

  cancel(event: SimEvent): void {
    event.task = null;
  }

  /** SIGSTOP for so long: its events wait, what is sent to it waits, its clocks run on. */
  pause(node: SimNode, forMs: number): void {
    const untilMs = this.#nowMs + forMs;
    if (!node.isAlive || node.pausedUntilMs >= untilMs) return;
    node.pausedUntilMs = untilMs;
    this.trace(node, `paused for ${Math.round(forMs)} ms`);
    this.after(null, forMs, () => {
      if (node.pausedUntilMs === untilMs) this.resume(node);
    });
  }

  /** SIGCONT: what has come due happens now, in an order the seed decides. */
  resume(node: SimNode): void {
    node.pausedUntilMs = -1;
    node.clock.wake();
    if (node.isAlive) this.trace(node, 'goes on');
    for (const event of node.held.splice(0)) {
      event.dueMs = this.#nowMs;
      this.#queue.push(event, this.chance.next());
    }
  }

  /** The machine sleeps: as `pause`, but its monotonic clock stands still. */
  suspend(node: SimNode, forMs: number): void {
    node.clock.sleep();
    this.pause(node, forMs);
  }

  /** kill -9: none of its events happens any more. */
  kill(node: SimNode): void {
    if (!node.isAlive) return;
    this.trace(node, 'killed');
    node.die();
  }

  trace(node: SimNode | null, text: string): void {
    if (this.isTracing) this.#ring.add(this.#nowMs, node?.name ?? '', text);
  }

  /** Runs to a moment of virtual time, or until the predicate (asked after each turn) is true. */
  run(until: number | (() => boolean), stepsMax = 10_000_000): RunEnd {
    const stopMs = typeof until === 'number' ? until : Number.POSITIVE_INFINITY;
    const reached = typeof until === 'number' ? null : until;
    if (reached?.()) return 'reached';
    const lastStep = this.#steps + stepsMax;
    while (this.#queue.size > 0) {
      if (this.#queue.nextMs > stopMs) {
        this.#nowMs = stopMs;
        return 'reached';
      }
      if (this.#steps >= lastStep) return 'steps_max';
      this.#step(this.#queue.pop()!);
      if (reached?.()) return 'reached';
    }
    if (reached !== null) return 'idle';
    if (stopMs > this.#nowMs) this.#nowMs = stopMs;
    return 'reached';
  }

  /** What is printed for a run that failed. */
  report(what: string): string {
    const at = `seed ${this.seed}, at ${this.#nowMs.toFixed(1)} ms, event ${this.#steps}`;
    return `${what}\n${at}\n${this.#ring.text()}`;
  }

  /** Ends the run. */
  fail(what: string): never {
    throw new SimulationFailure(this.report(what));
  }

  #step(event: SimEvent): void {
    const { node, task } = event;
    if (event.dueMs > this.#nowMs) this.#nowMs = event.dueMs;
    if (task === null) return;
    if (node === null) {
      this.#steps++;
      this.#guard(task);
    } else if (!node.isAlive) {
      return;
    } else if (node.pausedUntilMs >= 0) {
      node.held.push(event);
      return;
    } else {
      this.#steps++;
      this.#guard(task);
      this.#guard(node.endTurn, node);
    }
    this.afterTurn?.(node);
  }

  #guard(task: () => void, self: unknown = undefined): void {
    try {
      task.call(self);
    } catch (error) {
      if (error instanceof SimulationFailure) throw error;
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      throw new SimulationFailure(this.report(text), error);
    }
  }

  /** What the test leaves open, chance decides. */
  #clock(options: SimClockOptions): SimClockOptions {
    return {
      rate: options.rate ?? 1,
      originMs: options.originMs ?? this.chance.below(1_000_000_000),
      wallOffsetMs: options.wallOffsetMs ?? 0,
    };
  }
}
