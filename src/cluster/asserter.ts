/**
 * Who asserts what nobody owns after Redis was emptied: the lowest of those that were there before, and when
 * that one dies the next (ADR 0010). Used by membership.ts.
 */
import type { Incarnation } from '../core/cluster-ports.ts';

/** A death so long after Redis was emptied leaves nothing to be asserted. */
const ASSERT_MS = 60_000;

export class Asserter {
  /** Null: there is nothing to be asserted. */
  #incarnation: Incarnation | null = null;
  #witnesses: ReadonlySet<Incarnation> = new Set();
  #emptiedMs = 0;

  clear(): void {
    this.#incarnation = null;
  }

  /** Redis was emptied: those who know what there was. */
  remember(witnesses: Iterable<Incarnation>): void {
    this.#witnesses = new Set(witnesses);
  }

  /** The lowest that is back; `true`: that is this node. */
  begin(self: Incarnation, isBack: (witness: Incarnation) => boolean, nowMs: number): boolean {
    this.#emptiedMs = nowMs;
    this.#incarnation = this.#lowest(self, isBack);
    return this.#incarnation === self;
  }

  /** Members have gone. `true`: who was to do it was among them, and now it is this node. */
  passes(self: Incarnation, isMember: (witness: Incarnation) => boolean, nowMs: number): boolean {
    const before = this.#incarnation;
    if (before === null) return false;
    if (nowMs - this.#emptiedMs > ASSERT_MS) {
      this.#incarnation = null;
      return false;
    }
    if (before === self || isMember(before)) return false;
    this.#incarnation = this.#lowest(self, isMember);
    return this.#incarnation === self;
  }

  /** Of this node and those who know what there was. */
  #lowest(self: Incarnation, isCandidate: (witness: Incarnation) => boolean): Incarnation {
    let lowest = self;
    for (const witness of this.#witnesses) {
      if (witness < lowest && isCandidate(witness)) lowest = witness;
    }
    return lowest;
  }
}
