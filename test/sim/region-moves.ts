/**
 * Sessions of a node of a simulated datacenter that go from region to region: the real moves of src/geo/roaming
 * over its links, tied as app/region-sessions.ts does. Made by region-datacenter.ts.
 */
import type { Broker } from '../../src/core/broker.ts';
import type { HolderRoaming } from '../../src/core/holder-roaming.ts';
import type { Log } from '../../src/core/ports.ts';
import type { RoamingState } from '../../src/core/roaming-state.ts';
import type { LinkHolder, NotedMoves } from '../../src/geo/link-holder.ts';
import type { LinkNotes } from '../../src/geo/link-notes.ts';
import { DatacenterMoves } from '../../src/geo/roaming/datacenter-moves.ts';
import type { RegionMover } from '../../src/geo/roaming/mover.ts';
import type { RoamingCounters } from '../../src/geo/roaming/roaming-counters.ts';
import type { RoamingEars } from '../../src/geo/roaming/roaming-links.ts';
import { WAIT_MS, waysOf } from './region-roaming.ts';
import type { SimNode } from './sim-node.ts';

export interface RegionMovesParts {
  readonly broker: Broker;
  readonly node: SimNode;
  readonly log: Log;
  /** Asked when something is said over a link. */
  readonly holder: () => LinkHolder;
}

export class RegionMoves implements NotedMoves {
  /** Told of the mover of each stay of the role, before it knows anything. */
  onMover: ((mover: RegionMover) => void) | null = null;
  readonly #moves: DatacenterMoves;
  readonly #broker: Broker;
  #holder: HolderRoaming | null = null;

  /** Before the node joins. */
  constructor({ broker, node, log, holder }: RegionMovesParts) {
    this.#broker = broker;
    const { clock, random } = node;
    const ways = () => waysOf(holder);
    this.#moves = new DatacenterMoves({
      ...{ broker, ways, waitMs: WAIT_MS, clock, random, scheduler: node, log },
    });
    const hold = broker.holdRoaming.bind(broker);
    broker.holdRoaming = (notes) => {
      this.#holder = hold(notes);
      return this.#holder;
    };
    broker.sharedRoaming!.start();
  }

  get ears(): RoamingEars {
    return this.#moves;
  }

  get counters(): RoamingCounters {
    return this.#moves.counters;
  }

  /** It decides about moves. */
  get isHolder(): boolean {
    return this.#broker.sharedRoaming!.holder !== null;
  }

  /** Of a session on its way, at the holder; null: it is not. */
  stateOf(clientId: string): RoamingState | null {
    return this.#broker.sharedRoaming!.holder?.stateOf(clientId) ?? null;
  }

  // ------------------------------------------------------------------ NotedMoves

  begin(notes: LinkNotes): void {
    this.#moves.begin(notes);
    this.onMover?.(this.#holder!.mover as RegionMover);
  }

  restore(key: string, value: Buffer): boolean {
    return this.#moves.restore(key, value);
  }

  resume(isEmptied: boolean): void {
    this.#moves.resume(isEmptied);
  }

  end(): void {
    this.#moves.end();
  }
}
