/**
 * Links to other members whose connection has ended, and members whose machine refuses another one (docs/adr/0010,
 * a process that is gone): who may be buried before its lease must be over, and how much shorter this node's own
 * lease is meanwhile, as it may be the one that is judged. Used by membership.ts.
 */
import type { Incarnation } from '../core/cluster-ports.ts';

interface Cut {
  /** Monotonic ms since when the link is up again; Infinity: it is not. */
  upMs: number;
  isRefused: boolean;
}

const PROOFS_PER_LEASE = 4;

export class CutLinks {
  /** How old the last proof of a node may be that has lost a link, and may serve. */
  readonly proofMs: number;
  /** Who refuses, and has not renewed for so long, is gone. */
  readonly goneMs: number;
  readonly #cuts: Map<Incarnation, Cut> = new Map();

  constructor(leaseMs: number, marginMs: number) {
    this.proofMs = leaseMs / PROOFS_PER_LEASE;
    this.goneMs = this.proofMs + marginMs / PROOFS_PER_LEASE;
  }

  /** This node may be taken for one that is gone. */
  get areSome(): boolean {
    return this.#cuts.size > 0;
  }

  ended(peer: Incarnation): void {
    this.#cuts.set(peer, { upMs: Number.POSITIVE_INFINITY, isRefused: false });
  }

  up(peer: Incarnation, nowMs: number): void {
    const cut = this.#cuts.get(peer);
    if (cut === undefined) return;
    cut.upMs = nowMs;
    cut.isRefused = false;
  }

  /** Nothing listens any more where it was, and it has no connection to here. */
  refused(peer: Incarnation): void {
    const cut = this.#cuts.get(peer);
    if (cut !== undefined) cut.isRefused = true;
  }

  /** It is heard after all. */
  heard(peer: Incarnation): void {
    const cut = this.#cuts.get(peer);
    if (cut !== undefined) cut.isRefused = false;
  }

  /** This node was a member at a moment after `askedMs`: whoever it is linked with again has not buried it. */
  proved(askedMs: number): void {
    for (const [peer, { upMs }] of this.#cuts) if (upMs <= askedMs) this.#cuts.delete(peer);
  }

  forget(peer: Incarnation): void {
    this.#cuts.delete(peer);
  }

  clear(): void {
    this.#cuts.clear();
  }

  /** Members that seem to be gone: their counters tell. */
  *refusing(): Iterable<Incarnation> {
    for (const [peer, { isRefused }] of this.#cuts) if (isRefused) yield peer;
  }
}
