/**
 * Tells owners of sessions how far their queues have grown (docs/adr/0013): what a turn brings for one
 * session is one hint. Hints may be dropped: an owner looks at its tails now and then (tail-watch.ts).
 * Called by the bus.
 */
import type { Incarnation } from '../core/cluster-ports.ts';
import type { Scheduler } from '../core/ports.ts';
import { encodeHint } from './link/frame-codec.ts';
import type { Mesh } from './ports.ts';

interface Hint {
  readonly owner: Incarnation;
  readonly clientId: string;
  readonly sid: string;
  readonly tailSeq: number;
}

export class Hints {
  readonly #mesh: Mesh;
  readonly #scheduler: Scheduler;
  /** By client id: the last one of this turn. */
  readonly #hints: Map<string, Hint> = new Map();

  constructor(mesh: Mesh, scheduler: Scheduler) {
    this.#mesh = mesh;
    this.#scheduler = scheduler;
  }

  add(owner: Incarnation, clientId: string, sid: string, tailSeq: number): void {
    const isFirst = this.#hints.size === 0;
    this.#hints.set(clientId, { owner, clientId, sid, tailSeq });
    if (isFirst) this.#scheduler.endOfTurn(this.#flush);
  }

  readonly #flush = (): void => {
    for (const { owner, clientId, sid, tailSeq } of this.#hints.values()) {
      this.#mesh.sendDroppable(owner, encodeHint(clientId, sid, tailSeq));
    }
    this.#hints.clear();
  };
}
