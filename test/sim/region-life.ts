/** Simulated regions, the machines of their nodes, and each life of a node: what runs and scenes look at. */
import type { Broker } from '../../src/core/broker.ts';
import type { RegionLinks } from '../../src/core/region-links.ts';
import type { LinkHolder } from '../../src/geo/link-holder.ts';
import type { LinkNotes } from '../../src/geo/link-notes.ts';
import type { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts';
import type { RegionMoves } from './region-moves.ts';
import type { RegionEnd } from './region-network.ts';
import type { RegionRetained } from './region-retained.ts';
import type { RegionRoaming } from './region-roaming.ts';
import type { SimDisk } from './sim-level.ts';
import type { SimLife, SimSite } from './sim-site.ts';

/** One life of a node. */
export interface RegionLife extends RegionEnd {
  readonly broker: Broker;
  readonly links: RegionLinks;
  readonly holder: LinkHolder;
  /** In a datacenter it has retained messages alone. */
  readonly store: EmbeddedStore;
  readonly notes: LinkNotes;
  /** Null: retained messages have no table. */
  readonly retained: RegionRetained | null;
  /** Of a node that is alone; null: sessions stay in their region. */
  readonly roaming: RegionRoaming | null;
  /** Of a node of a datacenter; null: sessions stay in their region. */
  readonly moves: RegionMoves | null;
  /** Null: the node is alone. */
  readonly member: SimLife | null;
  /** Told when the links have begun, with the window they will have. */
  onBegun: (() => void) | null;
  readonly isReady: boolean;
}

/** The machine of a node. */
export interface RegionNode {
  readonly name: string;
  readonly disk: SimDisk;
  /** When the last whole round of its retained messages began. */
  readonly roundMemory: { beganMs: number };
  life: RegionLife | null;
  lives: number;
}

export interface SimRegion {
  readonly name: string;
  readonly wallOffsetMs: number;
  /** Regions it fetches from. */
  readonly links: readonly string[];
  /** One: it is alone. */
  readonly nodes: readonly RegionNode[];
  /** Null: its node is alone. */
  readonly datacenter: SimSite | null;
}

/** The life of the first node; all there are of a region of one. */
export function lifeOf({ nodes }: SimRegion): RegionLife | null {
  return nodes[0]!.life;
}

/** Nodes that take clients. */
export function readyOf({ nodes }: SimRegion): RegionLife[] {
  return nodes.flatMap(({ life }) => (life?.isReady === true ? [life] : []));
}

/** The node that has the links of the region; null: nobody has, or not yet. */
export function holderOf(region: SimRegion): RegionLife | null {
  return readyOf(region).find(({ holder, notes }) => holder.isHolder && notes.isTaken) ?? null;
}
