/**
 * Moves the clients of this node elsewhere before it stops: at a bounded rate, so that the nodes that
 * take them are not overrun, and with a Server Reference for those who understand one [MQTT5-4.11].
 * Made and ended by broker.ts.
 */
import type { Connection } from './connection.ts';
import type { Core } from './core.ts';

/** Steps a second: a rate of 5 a second still moves every fifth of one. */
const STEP_MS = 100;

export interface DrainOptions {
  readonly clientsPerS: number;
  /** What clients are told to use instead; null: whatever they find. */
  readonly serverReference: string | null;
}

export interface DrainProgress {
  /** Clients that were told to go. */
  readonly moved: number;
  readonly remaining: number;
}

export class Drain {
  readonly options: DrainOptions;
  readonly #core: Core;
  readonly #connections: Set<Connection>;
  #moved = 0;
  /** Of a client: what the rate has not given yet. */
  #share = 0;
  #stop: () => void;

  /** `done` once, when nobody is left. */
  constructor(core: Core, connections: Set<Connection>, options: DrainOptions, done: () => void) {
    this.#core = core;
    this.#connections = connections;
    this.options = options;
    this.#stop = core.scheduler.every(STEP_MS, () => {
      this.#step();
      if (connections.size > 0) return;
      this.cancel();
      done();
    });
  }

  get progress(): DrainProgress {
    return { moved: this.#moved, remaining: this.#connections.size };
  }

  #step(): void {
    this.#share += (this.options.clientsPerS * STEP_MS) / 1000;
    for (const connection of this.#connections) {
      if (this.#share < 1) break;
      this.#share--;
      this.#moved++;
      this.#core.stats.clientsMoved++;
      connection.close('draining', 'the node is being drained, connect again');
    }
    // What the rate allowed while nobody was there is not kept for later.
    this.#share = Math.min(this.#share, 1);
  }

  cancel(): void {
    this.#stop();
  }
}
