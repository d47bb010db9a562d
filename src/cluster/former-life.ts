/**
 * What is left of this node's life before, once it was buried and joins anew: its name, and after Redis has
 * lost its data whether anybody of then goes on, who knows what there was. Called by cluster.ts.
 */
import type { Incarnation } from '../core/cluster-ports.ts';

export class FormerLife {
  #incarnation: Incarnation | null = null;
  #members: ReadonlySet<Incarnation> = new Set();
  /** Redis has lost its data since then. */
  #hasForgotten = false;
  /** Membership has said so before the life after. */
  #isForgotten = false;
  /** Redis has forgotten, and one of these may go on, who has not been heard; null: that is known. */
  #goesOn: ReadonlySet<Incarnation> | null = null;

  /** Membership has found out before this life was over. */
  forgotten(): void {
    this.#isForgotten = true;
  }

  /** This life is over; these were the members. */
  lost(members: Iterable<Incarnation>): void {
    this.#members = new Set(members);
    this.#goesOn = null;
  }

  /** The next one begins. Returns the name of the one before; null: it is the first. */
  joined(incarnation: Incarnation, isOtherGeneration: boolean): Incarnation | null {
    this.#hasForgotten = isOtherGeneration || this.#isForgotten;
    this.#isForgotten = false;
    const former = this.#incarnation;
    this.#incarnation = incarnation;
    return former;
  }

  /** Whoever speaks under its name of before has gone on, and writes what it knows. */
  heard(from: Incarnation): void {
    if (this.#goesOn?.has(from) === true) this.#goesOn = null;
  }

  /**
   * With each list of members; true, once: Redis has forgotten, and nobody of before goes on. One that is listed
   * may have registered too late, and be dead: nothing is known before it is heard, or buried.
   */
  isForgottenByAll(members: Iterable<Incarnation>): boolean {
    if (this.#hasForgotten) {
      this.#hasForgotten = false;
      this.#goesOn = this.#members;
    }
    if (this.#goesOn === null) return false;
    for (const member of members) if (this.#goesOn.has(member)) return false;
    this.#goesOn = null;
    return true;
  }
}
