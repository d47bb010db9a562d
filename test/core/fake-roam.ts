/**
 * How the nodes of a fake datacenter speak of sessions that move between regions: a turn later, in order
 * with what else they announce.
 */
import assert from 'node:assert';
import {
  type Incarnation,
  ROAM_BYTES_MAX,
  type RoamChannel,
  type RoamListener,
} from '../../src/core/cluster-ports.ts';

/** What it needs of its node. */
export interface RoamHost {
  readonly incarnation: Incarnation;
  readonly isDead: boolean;
  readonly roam: FakeRoam;
}

export interface RoamSite {
  readonly nodes: readonly RoamHost[];
  later(task: () => void): void;
}

export class FakeRoam implements RoamChannel {
  readonly #site: RoamSite;
  readonly #host: RoamHost;
  listener: RoamListener | null = null;
  isOwed = false;

  constructor(site: RoamSite, host: RoamHost) {
    this.#site = site;
    this.#host = host;
  }

  get self(): Incarnation {
    return this.#host.incarnation;
  }

  *members(): Iterable<Incarnation> {
    for (const node of this.#site.nodes) if (node !== this.#host) yield node.incarnation;
  }

  send(peer: Incarnation, payload: Buffer): void {
    assert(payload.length <= ROAM_BYTES_MAX);
    const node = this.#site.nodes.find(({ incarnation }) => incarnation === peer);
    if (node === undefined || node === this.#host) return;
    const copy = Buffer.from(payload);
    this.#site.later(() => {
      // Whoever has seen it die hears it no more.
      if (node.isDead || this.#host.isDead) return;
      node.roam.listener?.said(this.self, copy);
    });
  }

  sendAll(payload: Buffer): void {
    for (const peer of this.members()) this.send(peer, payload);
  }

  whenApplied(then: (isApplied: boolean) => void): void {
    this.#site.later(() => {
      if (!this.#host.isDead) then(true);
    });
  }
}
