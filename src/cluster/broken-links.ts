/**
 * Which of two live members has to go when the link between them is broken (hard case 4): who acts first.
 * The node with fewer broken links acts earlier, so that one whose links are all down does not evict the
 * others one by one; of equals the lower incarnation. Redis lets a node that is dead bury nobody, so of
 * two that act at once one goes. Used by membership.ts.
 */
import type { Incarnation } from '../core/cluster-ports.ts';

interface Broken {
  readonly sinceMs: number;
  readonly toldMs: number;
  readonly count: number;
}

/** The mesh tells of a link once a second for as long as it is down. */
const TOLD_MS = 1600;

export class BrokenLinks {
  readonly #linkGraceMs: number;
  readonly #stepMs: number;
  readonly #broken: Map<Incarnation, Broken> = new Map();

  /** `stepMs`: how much later each further broken link makes a node act. */
  constructor(linkGraceMs: number, stepMs: number) {
    this.#linkGraceMs = linkGraceMs;
    this.#stepMs = stepMs;
  }

  told(peer: Incarnation, forMs: number, count: number, nowMs: number): void {
    this.#broken.set(peer, { sinceMs: nowMs - forMs, toldMs: nowMs, count });
  }

  clear(): void {
    this.#broken.clear();
  }

  /** Whom `self` is to evict now. */
  due(self: Incarnation, nowMs: number): readonly Incarnation[] {
    const due: Incarnation[] = [];
    for (const [peer, { sinceMs, toldMs, count }] of this.#broken) {
      if (nowMs - toldMs > TOLD_MS) {
        this.#broken.delete(peer);
        continue;
      }
      const steps = Math.min(Math.max(0, count - 1), 3) + (peer < self ? 0.5 : 0);
      if (nowMs - sinceMs >= this.#linkGraceMs + steps * this.#stepMs) due.push(peer);
    }
    return due;
  }
}
