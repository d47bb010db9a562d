/**
 * What waits until every member that counts has applied what was sent so far (docs/adr/0011, P2): one
 * line of positions a peer, so that an answer costs one entry in each and progress costs what it sets
 * free. Used by the bus for SUBACKs and retained messages, by takeover and joins for their own ends.
 *
 * A member counts from the moment COUNTED_IN is on its way to it: it is ready only after it has that, and
 * so everything announced before. What is released while this node may not serve stays held: others may
 * have buried it and counted in somebody it has never heard of.
 */
import type { Awaited, Incarnation } from '../core/cluster-ports.ts';
import { Ring } from '../util/ring.ts';

/** What it needs of the mesh. */
export interface Positions {
  position(peer: Incarnation): number;
  applied(peer: Incarnation): number;
}

/** One thing that waits; in as many lines as there were peers behind. */
class Wait {
  remaining = 0;
  readonly awaited: Awaited | null;
  /** Told `false` when this node was buried meanwhile. */
  onApplied: ((isApplied: boolean) => void) | null;
  /** Not while this node may not serve. */
  readonly isHeld: boolean;

  constructor(
    awaited: Awaited | null,
    onApplied: ((isApplied: boolean) => void) | null,
    isHeld: boolean,
  ) {
    this.awaited = awaited;
    this.onApplied = onApplied;
    this.isHeld = isHeld;
  }
}

interface Place {
  readonly position: number;
  readonly wait: Wait;
}

export class Barrier {
  readonly #positions: Positions;
  readonly #mayServe: () => boolean;
  readonly #lines: Map<Incarnation, Ring<Place>> = new Map();
  /** Everybody has applied it, and the lease may be over. */
  #held: Wait[] = [];
  /** Answers that wait. */
  #answers = 0;

  constructor(positions: Positions, mayServe: () => boolean) {
    this.#positions = positions;
    this.#mayServe = mayServe;
  }

  get answersWaiting(): number {
    return this.#answers;
  }

  /** Answers that wait for this peer, among others. */
  waitingFor(peer: Incarnation): number {
    return this.#lines.get(peer)?.length ?? 0;
  }

  isCounted(peer: Incarnation): boolean {
    return this.#lines.has(peer);
  }

  /** Answers wait for this member from now on. */
  count(peer: Incarnation): void {
    if (!this.#lines.has(peer)) this.#lines.set(peer, new Ring());
  }

  /** It is no member any more: nothing waits for it. */
  drop(peer: Incarnation): void {
    const line = this.#lines.get(peer);
    if (line === undefined) return;
    this.#lines.delete(peer);
    for (let place = line.shift(); place !== undefined; place = line.shift()) {
      this.#passed(place.wait);
    }
  }

  /** Counts in `awaited`; nothing is counted when there is nothing to wait for. */
  wait(awaited: Awaited): void {
    const wait = new Wait(awaited, null, true);
    this.#enter(wait, null);
    if (wait.remaining === 0) {
      if (this.#mayServe()) return;
      this.#held.push(wait);
    }
    awaited.unsafeCount++;
    this.#answers++;
  }

  /**
   * Calls `then` once when the peers that count now (but for `except`) have applied what was sent so far;
   * at once when they have. Returns what ends the waiting before that.
   */
  whenApplied(then: (isApplied: boolean) => void, except: Incarnation | null = null): () => void {
    const wait = new Wait(null, then, false);
    this.#enter(wait, except);
    if (wait.remaining === 0) this.#release(wait, true);
    return () => this.#release(wait, true);
  }

  /** As `whenApplied`, and held like an answer while this node may not serve. */
  whenSafe(then: (isApplied: boolean) => void): void {
    const wait = new Wait(null, then, true);
    this.#enter(wait, null);
    if (wait.remaining === 0) this.#leave(wait);
  }

  #isBehind(peer: Incarnation): boolean {
    return this.#positions.applied(peer) < this.#positions.position(peer);
  }

  #enter(wait: Wait, except: Incarnation | null): void {
    for (const [peer, line] of this.#lines) {
      if (peer === except || !this.#isBehind(peer)) continue;
      line.push({ position: this.#positions.position(peer), wait });
      wait.remaining++;
    }
  }

  /** The peer has applied more. */
  progressed(peer: Incarnation): void {
    const line = this.#lines.get(peer);
    if (line === undefined) return;
    const applied = this.#positions.applied(peer);
    for (let place = line.at(0); place !== undefined; place = line.at(0)) {
      if (place.position > applied) return;
      line.shift();
      this.#passed(place.wait);
    }
  }

  #passed(wait: Wait): void {
    wait.remaining--;
    if (wait.remaining === 0) this.#leave(wait);
  }

  /** Nobody is behind. */
  #leave(wait: Wait): void {
    if (wait.isHeld && !this.#mayServe()) this.#held.push(wait);
    else this.#release(wait, true);
  }

  #release(wait: Wait, isApplied: boolean): void {
    const { awaited, onApplied } = wait;
    if (onApplied !== null) {
      wait.onApplied = null;
      onApplied(isApplied);
      return;
    }
    if (awaited === null) return;
    this.#answers--;
    if (!isApplied) awaited.failed = true;
    awaited.unsafeCount--;
    if (awaited.unsafeCount === 0) awaited.waiter?.messageSafe();
  }

  /** The lease goes on: what was held may leave. */
  unfenced(): void {
    const held = this.#held;
    this.#held = [];
    for (const wait of held) {
      if (this.#mayServe()) this.#release(wait, true);
      else this.#held.push(wait);
    }
  }

  /** This incarnation is dead: every answer fails, every other waiting ends. */
  fail(): void {
    const waits = new Set<Wait>(this.#held);
    for (const line of this.#lines.values()) {
      for (let place = line.shift(); place !== undefined; place = line.shift()) {
        waits.add(place.wait);
      }
    }
    this.#held = [];
    this.#lines.clear();
    for (const wait of waits) this.#release(wait, false);
  }
}
