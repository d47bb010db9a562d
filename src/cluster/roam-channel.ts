/**
 * How nodes of a datacenter speak of sessions that move between regions (`RoamChannel`, docs/adr/0023): ROAM
 * frames in the stream of what this node announces, and at the end of its tables. Made by cluster.ts; what is
 * said is the core's, and nothing of it is known here.
 */
import assert from 'node:assert';
import {
  type Incarnation,
  ROAM_BYTES_MAX,
  type RoamChannel,
  type RoamListener,
} from '../core/cluster-ports.ts';
import type { Log } from '../core/ports.ts';
import type { Barrier } from './barrier.ts';
import { encodeRoam } from './link/frame-codec.ts';
import type { PeerNode } from './peer-node.ts';
import type { Mesh } from './ports.ts';

export interface RoamParts {
  readonly mesh: Pick<Mesh, 'send'>;
  readonly barrier: Barrier;
  readonly log: Log;
  /** Members and joiners; none of a life that is over. */
  readonly peers: ReadonlyMap<Incarnation, PeerNode>;
  readonly self: () => Incarnation;
  readonly isOwed: () => boolean;
}

export class PeerRoamChannel implements RoamChannel {
  readonly #parts: RoamParts;
  #listener: RoamListener | null = null;
  #hasWarned = false;

  constructor(parts: RoamParts) {
    this.#parts = parts;
  }

  listen(listener: RoamListener): void {
    assert(this.#listener === null, 'moves of sessions have one listener');
    this.#listener = listener;
  }

  // ------------------------------------------------------------------------------ RoamChannel

  get self(): Incarnation {
    return this.#parts.self();
  }

  *members(): Iterable<Incarnation> {
    const { peers, barrier } = this.#parts;
    for (const incarnation of peers.keys()) if (barrier.isCounted(incarnation)) yield incarnation;
  }

  send(peer: Incarnation, payload: Buffer): void {
    const frame = frameOf(payload);
    if (this.#parts.peers.has(peer)) this.#parts.mesh.send(peer, frame);
  }

  sendAll(payload: Buffer): void {
    const frame = frameOf(payload);
    for (const incarnation of this.#parts.peers.keys()) this.#parts.mesh.send(incarnation, frame);
  }

  whenApplied(then: (isApplied: boolean) => void): void {
    this.#parts.barrier.whenSafe(then);
  }

  get isOwed(): boolean {
    return this.#parts.isOwed();
  }

  // ------------------------------------------------------------------------------ from the others

  said(from: Incarnation, payload: Buffer): void {
    if (this.#listener !== null) {
      this.#listener.said(from, payload);
    } else if (!this.#hasWarned) {
      this.#hasWarned = true;
      this.#parts.log.warn(
        { from },
        'a member speaks of moves between regions, and this node has none',
      );
    }
  }

  /** Between TABLES_BEGIN and TABLES_END for the peer, last. */
  tell(peer: Incarnation): void {
    this.#listener?.tell(peer);
  }

  gone(peer: Incarnation): void {
    this.#listener?.gone(peer);
  }

  lost(): void {
    this.#listener?.lost();
  }
}

/** Far below what a link takes in a frame, or its buffer as one of many. */
function frameOf(payload: Buffer): Buffer {
  assert(payload.length <= ROAM_BYTES_MAX, `${payload.length} bytes of moves in one frame`);
  return encodeRoam(payload);
}
