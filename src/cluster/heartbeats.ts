/**
 * What this node says of itself to each member, six times within a lease: that it lives, whether it reaches Redis, how
 * many links it has, and what its tables come to at the position they are told at (ADR 0010, 0011). What is heard
 * of others goes through frame-desk.ts.
 */
import type { Incarnation } from '../core/cluster-ports.ts';
import { encodeHeartbeat } from './link/frame-codec.ts';
import type { PeerNode } from './peer-node.ts';
import type { ClusterMesh } from './ports-local.ts';
import type { RouteTable } from './route-table.ts';

export interface HeartbeatsOptions {
  readonly mesh: Pick<ClusterMesh, 'linksUp' | 'position' | 'send'>;
  readonly peers: ReadonlyMap<Incarnation, Pick<PeerNode, 'incarnation' | 'heardSentMs'>>;
  /** Of this node. */
  readonly table: Pick<RouteTable, 'items' | 'digest'>;
  readonly hasRedis: () => boolean;
  readonly leaseMs: number;
}

const PER_LEASE = 6;

export class Heartbeats {
  readonly #options: HeartbeatsOptions;
  #nextMs = 0;

  constructor(options: HeartbeatsOptions) {
    this.#options = options;
  }

  tick(nowMs: number): void {
    if (nowMs < this.#nextMs) return;
    const { mesh, peers, table, leaseMs } = this.#options;
    this.#nextMs = nowMs + leaseMs / PER_LEASE;
    const { items, digest } = table;
    const hasRedis = this.#options.hasRedis();
    const { linksUp } = mesh;
    for (const { incarnation, heardSentMs: echoMs } of peers.values()) {
      const position = mesh.position(incarnation);
      mesh.send(
        incarnation,
        encodeHeartbeat({ sentMs: nowMs, echoMs, hasRedis, linksUp, position, items, digest }),
      );
    }
  }
}
