/**
 * Renewals of a lease through a peer that can reach Redis (docs/adr/0010, hard case 3): RENEW_FOR and its
 * answer, for this node and for others. Called by cluster.ts; what an answer means is membership's.
 */
import type { Incarnation } from '../core/cluster-ports.ts';
import type { RedisReply } from '../drivers/redis/redis-port.ts';
import {
  encodeRenewed,
  encodeRenewFor,
  type RenewedFrame,
  type RenewForFrame,
} from './link/frame-codec.ts';
import type { Mesh } from './ports.ts';
import type { StartedMembership } from './ports-local.ts';

/** Later the answer is worth nothing; and more are not waited for. */
const PATIENCE_MS = 3000;
const ASKED_MAX = 64;

interface Asked {
  readonly peer: Incarnation;
  readonly atMs: number;
  readonly done: (reply: RedisReply | null) => void;
}

export class Renewals {
  readonly #mesh: Mesh;
  readonly #membership: () => StartedMembership;
  /** Oldest first. */
  readonly #asked: Map<number, Asked> = new Map();
  #nextRequest = 1;

  constructor(mesh: Mesh, membership: () => StartedMembership) {
    this.#mesh = mesh;
    this.#membership = membership;
  }

  ask(
    peer: Incarnation,
    incarnation: Incarnation,
    generation: string,
    nowMs: number,
    done: (reply: RedisReply | null) => void,
  ): void {
    if (this.#asked.size >= ASKED_MAX) {
      const [oldest] = this.#asked.keys();
      this.#asked.delete(oldest!);
    }
    const request = this.#nextRequest++;
    this.#asked.set(request, { peer, atMs: nowMs, done });
    this.#mesh.send(peer, encodeRenewFor(request, incarnation, generation));
  }

  /** A peer asks; it can only ask for itself. */
  asked(from: Incarnation, { request, incarnation, generation }: RenewForFrame): void {
    if (incarnation !== from) return;
    this.#membership().renewFor(incarnation, generation, (reply) => {
      this.#mesh.send(from, encodeRenewed(request, reply));
    });
  }

  answered(from: Incarnation, { request, reply }: RenewedFrame): void {
    const asked = this.#asked.get(request);
    if (asked === undefined || asked.peer !== from) return;
    this.#asked.delete(request);
    asked.done(reply);
  }

  tick(nowMs: number): void {
    for (const [request, { atMs, done }] of this.#asked) {
      if (nowMs - atMs < PATIENCE_MS) return;
      this.#asked.delete(request);
      done(null);
    }
  }
}
