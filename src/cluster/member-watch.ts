/**
 * The other members as Redis lists them, and for how long the counter of each has stood still by this
 * node's monotonic clock (ADR 0010). Says who is there, who has gone and whom to bury; used by
 * membership.ts, which asks Redis.
 *
 * A member that is missing in a list was buried or left, and neither happens while it serves: it is
 * dropped at once. Not so when Redis has lost its data: then it is *held* until it has registered again,
 * or until its lease must be over.
 */
import type { Incarnation } from '../core/cluster-ports.ts';
import type { ListedNode } from './node-functions.ts';
import type { Member } from './ports.ts';

interface Watched {
  readonly member: Member;
  counter: number;
  /** Monotonic ms of the answer that showed its counter move. */
  movedMs: number;
  /** Missing in lists counts only when its lease must be over. */
  isHeld: boolean;
  isListed: boolean;
  /** Came while others were held: it is not counted in before they are back or gone. */
  isWaiting: boolean;
  /** Dead for this node, and listed all the same: Redis has lost its death. */
  isRevenant: boolean;
}

export interface Silent {
  readonly incarnation: Incarnation;
  readonly counter: number;
  readonly forMs: number;
}

export interface ListChange {
  readonly isChanged: boolean;
  /** Somebody is counted in who was not. */
  readonly hasCome: boolean;
  readonly gone: readonly Member[];
}

/** Deaths that are remembered, to know those again that come back with old data. */
const DEAD_MAX = 4096;

export class MemberWatch {
  readonly #deadAfterMs: number;
  readonly #watched: Map<Incarnation, Watched> = new Map();
  readonly #dead: Set<Incarnation> = new Set();
  #members: readonly Member[] = [];
  /** Nobody's silence is counted from before. */
  #countFromMs = Number.NEGATIVE_INFINITY;

  /** `deadAfterMs`: lease and margin. */
  constructor(deadAfterMs: number) {
    this.#deadAfterMs = deadAfterMs;
  }

  /** Who is counted in, by incarnation. */
  get members(): readonly Member[] {
    return this.#members;
  }

  /** Somebody is not listed that may still serve. */
  get isHolding(): boolean {
    for (const other of this.#watched.values()) if (other.isHeld && !other.isListed) return true;
    return false;
  }

  has(incarnation: Incarnation): boolean {
    const other = this.#watched.get(incarnation);
    return other !== undefined && !other.isWaiting && !other.isRevenant;
  }

  /** As `has`, or about to be counted in. */
  knows(incarnation: Incarnation): boolean {
    return this.#watched.get(incarnation)?.isRevenant === false;
  }

  isDead(incarnation: Incarnation): boolean {
    return this.#dead.has(incarnation);
  }

  /** All whose leases may hang on this node's word: members, and those that wait. */
  *known(): Iterable<Incarnation> {
    for (const [incarnation, other] of this.#watched) if (!other.isRevenant) yield incarnation;
  }

  movedMs(incarnation: Incarnation): number {
    return this.#watched.get(incarnation)?.movedMs ?? Number.NEGATIVE_INFINITY;
  }

  counter(incarnation: Incarnation): number {
    return this.#watched.get(incarnation)?.counter ?? -1;
  }

  /**
   * This node had told others that it has no Redis, up to now: their leases may hang on that, so
   * everybody's silence counts from here.
   */
  countFrom(nowMs: number): void {
    this.#countFromMs = nowMs;
  }

  /** Redis may have lost its data at any time before now: who is missing may still serve. */
  hold(nowMs: number): void {
    for (const other of this.#watched.values()) {
      other.isHeld = true;
      other.isListed = false;
      other.movedMs = nowMs;
    }
  }

  /** The list of an answer to what was sent at `sentMs`. */
  listed(
    nodes: readonly ListedNode[],
    self: Incarnation,
    sentMs: number,
    nowMs: number,
  ): ListChange {
    for (const other of this.#watched.values()) other.isListed = false;
    for (const node of nodes) if (node.incarnation !== self) this.#see(node, nowMs);
    const gone: Member[] = [];
    for (const [incarnation, other] of this.#watched) {
      if (other.isListed || (other.isHeld && this.#silentMs(other, sentMs) < this.#deadAfterMs)) {
        continue;
      }
      this.#watched.delete(incarnation);
      this.#bury(incarnation);
      if (!other.isWaiting && !other.isRevenant) gone.push(other.member);
    }
    let hasCome = false;
    const isHolding = this.isHolding;
    for (const [incarnation, other] of this.#watched) {
      const isNew = !this.#members.some((member) => member.incarnation === incarnation);
      if (isNew && !other.isRevenant) {
        other.isWaiting = isHolding;
        if (!isHolding) hasCome = true;
      }
    }
    const isChanged = hasCome || gone.length > 0;
    if (isChanged) this.#members = this.#counted();
    return { isChanged, hasCome, gone };
  }

  /** Whose lease must be over, at a moment after `sentMs` for which Redis still listed it. */
  silent(sentMs: number): readonly Silent[] {
    const silent: Silent[] = [];
    for (const [incarnation, other] of this.#watched) {
      const forMs = this.#silentMs(other, sentMs);
      if (other.isListed && forMs >= this.#deadAfterMs) {
        silent.push({ incarnation, counter: other.counter, forMs });
      }
    }
    return silent;
  }

  /** At a moment after `sentMs` its counter had stood still for so long; 0: it is not listed. */
  silentMs(incarnation: Incarnation, sentMs: number): number {
    const other = this.#watched.get(incarnation);
    return other?.isListed === true ? this.#silentMs(other, sentMs) : 0;
  }

  get hasRevenants(): boolean {
    for (const other of this.#watched.values()) if (other.isRevenant) return true;
    return false;
  }

  /** Dead ones that Redis lists. */
  *revenants(): Iterable<Incarnation> {
    for (const [incarnation, other] of this.#watched) if (other.isRevenant) yield incarnation;
  }

  /** When the next of them may be silent for too long; Infinity: nobody is there. */
  nextDeadlineMs(): number {
    let nextMs = Number.POSITIVE_INFINITY;
    for (const other of this.#watched.values()) {
      nextMs = Math.min(nextMs, Math.max(other.movedMs, this.#countFromMs) + this.#deadAfterMs);
    }
    return nextMs;
  }

  /** Of another life. */
  clear(): void {
    this.#watched.clear();
    this.#members = [];
    this.#countFromMs = Number.NEGATIVE_INFINITY;
  }

  #see(node: ListedNode, nowMs: number): void {
    const { incarnation, counter, nodeId, address, release, protocol } = node;
    const other = this.#watched.get(incarnation);
    if (other === undefined) {
      this.#watched.set(incarnation, {
        member: { incarnation, nodeId, address, release, protocol },
        counter,
        movedMs: nowMs,
        isHeld: false,
        isListed: true,
        isWaiting: true,
        isRevenant: this.#dead.has(incarnation),
      });
      return;
    }
    // A lower one too: Redis has gone back, the member has not. The same one, when it began there anew.
    if (other.counter !== counter || other.isHeld) {
      other.counter = counter;
      other.movedMs = nowMs;
    }
    other.isListed = true;
    other.isHeld = false;
  }

  #silentMs(other: Watched, sentMs: number): number {
    return sentMs - Math.max(other.movedMs, this.#countFromMs);
  }

  #bury(incarnation: Incarnation): void {
    this.#dead.delete(incarnation);
    this.#dead.add(incarnation);
    if (this.#dead.size <= DEAD_MAX) return;
    for (const oldest of this.#dead) {
      this.#dead.delete(oldest);
      return;
    }
  }

  #counted(): readonly Member[] {
    const members: Member[] = [];
    for (const other of this.#watched.values()) {
      if (!other.isWaiting && !other.isRevenant) members.push(other.member);
    }
    return members.sort((a, b) => (a.incarnation < b.incarnation ? -1 : 1));
  }
}
