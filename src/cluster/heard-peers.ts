/**
 * What heartbeats on links say of other nodes, and what that is worth when Redis is away for all (ADR
 * 0010): a lease goes on as long as every member says that it has no Redis either, since then nobody can
 * be declared dead. Used by membership.ts.
 */
import type { Incarnation } from '../core/cluster-ports.ts';
import type { Heartbeat } from './ports.ts';

interface Heard {
  /** This node's monotonic ms. */
  readonly atMs: number;
  readonly heartbeat: Heartbeat;
}

/** Not known yet, or long gone: more than these are not remembered. */
const HEARD_MAX = 1024;

export class HeardPeers {
  readonly #leaseMs: number;
  readonly #heard: Map<Incarnation, Heard> = new Map();

  constructor(leaseMs: number) {
    this.#leaseMs = leaseMs;
  }

  heard(peer: Incarnation, heartbeat: Heartbeat, nowMs: number): void {
    this.#heard.delete(peer);
    this.#heard.set(peer, { atMs: nowMs, heartbeat });
    if (this.#heard.size <= HEARD_MAX) return;
    for (const oldest of this.#heard.keys()) {
      this.#heard.delete(oldest);
      return;
    }
  }

  hasHeard(peer: Incarnation): boolean {
    return this.#heard.has(peer);
  }

  forget(peer: Incarnation): void {
    this.#heard.delete(peer);
  }

  clear(): void {
    this.#heard.clear();
  }

  /**
   * This node's monotonic ms at which it was surely a member, as nobody has had Redis since; null: that
   * cannot be said. `members`: all that may judge this node.
   */
  memberSinceMs(
    members: Iterable<Incarnation>,
    isDead: (peer: Incarnation) => boolean,
    nowMs: number,
  ): number | null {
    let sinceMs = nowMs;
    const asked = new Set<Incarnation>();
    for (const member of members) {
      asked.add(member);
      const heard = this.#heard.get(member);
      if (heard === undefined || nowMs - heard.atMs > this.#leaseMs / 2) return null;
      if (heard.heartbeat.hasRedis || !(heard.heartbeat.echoMs > 0)) return null;
      sinceMs = Math.min(sinceMs, heard.heartbeat.echoMs);
    }
    for (const peer of this.#heard.keys()) {
      // It has joined since Redis was last heard, and does not need this node's word to bury it.
      if (!asked.has(peer) && !isDead(peer)) return null;
    }
    return sinceMs;
  }

  /** Peers that can reach Redis, heard lately. */
  *withRedis(nowMs: number): Iterable<Incarnation> {
    for (const [peer, { atMs, heartbeat }] of this.#heard) {
      if (heartbeat.hasRedis && nowMs - atMs <= this.#leaseMs / 2) yield peer;
    }
  }
}
