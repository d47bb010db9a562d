/**
 * Regions in virtual time, with the real links of src/geo between them: in each a node alone (region-alone.ts) or
 * a datacenter (region-datacenter.ts), over simulated disks and connections. Made by a run (region-run.ts) or a
 * scene, which decide what happens; everything that happens follows from the kernel's seed.
 */
import { linkIdOf } from '../../src/core/link-names.ts';
import { interestFor } from '../../src/geo/link-interest.ts';
import type { Dial, LineEvents } from '../chaos/line.ts';
import type { Kernel } from './kernel.ts';
import { startAlone } from './region-alone.ts';
import { datacenterOf } from './region-datacenter.ts';
import {
  holderOf,
  type RegionLife,
  type RegionNode,
  readyOf,
  type SimRegion,
} from './region-life.ts';
import { losesPower, RegionNetwork } from './region-network.ts';
import { RegionTables } from './region-tables.ts';
import { RegionWorld, type RegionWorldOptions } from './region-world.ts';
import { SimDisk } from './sim-level.ts';
import { SimLine } from './sim-line.ts';

/** Clocks of two regions are so far apart at most. */
export const SKEW_MS = 5000;

/** Each pair that is linked fetches from each other. */
export type Topology = 'pair' | 'star' | 'ring' | 'mesh';

export interface RegionSiteOptions extends RegionWorldOptions {
  readonly regions?: number;
  readonly topology?: Topology;
  /** Of one way between two regions, at most. */
  readonly delayMaxMs?: number;
  /** Retained messages have a Cassandra, and so versions. */
  readonly hasCassandra?: boolean;
  /** Sessions go where their client is. */
  readonly roams?: boolean;
  /** Of each region, in their order, how many nodes it has; 1, and those that are not named: one, alone. */
  readonly nodes?: readonly number[];
  /** Planted: what a test replaces to see that it is found. */
  readonly sabotage?: (life: RegionLife, kernel: Kernel) => void;
}

const NAMES = ['eu', 'us', 'ap', 'af'] as const;

export class RegionSite {
  readonly kernel: Kernel;
  readonly network: RegionNetwork;
  readonly regions: SimRegion[];
  /** Null: retained messages have no versions. */
  readonly tables: RegionTables | null;
  /** The directory of sessions; null: these stay in their region. */
  readonly sessions: RegionTables | null;
  /** Told of each life before it starts, and of what brokers send over links. */
  onLife: ((life: RegionLife) => void) | null = null;
  onWrite: ((life: RegionLife, to: string, connection: number, bytes: Buffer) => void) | null =
    null;
  readonly #world: RegionWorld;

  constructor(kernel: Kernel, options: RegionSiteOptions = {}) {
    const { regions = 2, topology = 'pair', delayMaxMs = 300 } = options;
    this.kernel = kernel;
    this.network = new RegionNetwork(kernel, delayMaxMs);
    const names = NAMES.slice(0, regions);
    const { hasCassandra = false, roams = false, nodes = [] } = options;
    this.tables = hasCassandra ? new RegionTables(kernel, this.network, names) : null;
    this.sessions = roams ? new RegionTables(kernel, this.network, names) : null;
    const world = new RegionWorld(kernel, this.network, this.tables, this.sessions, options);
    world.onLife = (life) => {
      options.sabotage?.(life, kernel);
      this.onLife?.(life);
    };
    world.onWrite = (...written) => this.onWrite?.(...written);
    this.#world = world;
    this.regions = names.map((name, index) => {
      const wallOffsetMs = (kernel.chance.next() - 0.5) * SKEW_MS;
      const links = linkedWith(topology, index, regions).map((other) => names[other]!);
      const count = nodes[index] ?? 1;
      const region: SimRegion = {
        name,
        wallOffsetMs,
        links,
        nodes: Array.from({ length: count }, (_, at) =>
          machine(count > 1 ? name + (at + 1) : name),
        ),
        datacenter:
          count > 1
            ? datacenterOf(world, { nodes: count, name, wallOffsetMs }, () => region)
            : null,
      };
      return region;
    });
  }

  region(name: string): SimRegion {
    return this.regions.find((region) => region.name === name)!;
  }

  /** What the nodes complained about. */
  get complaints(): readonly string[] {
    const others = this.regions.flatMap(({ datacenter }) => datacenter?.complaints ?? []);
    return [...this.#world.complaints, ...others];
  }

  /** Starts the nodes of the region that are not there; they are ready later. */
  start(region: SimRegion): void {
    for (const node of region.nodes) if (node.life === null) this.startNode(region, node);
  }

  startNode(region: SimRegion, node: RegionNode): void {
    const { datacenter, nodes } = region;
    if (datacenter === null) startAlone(this.#world, region, node);
    else datacenter.start(datacenter.machines[nodes.indexOf(node)]!);
  }

  /** All of them. */
  kill(region: SimRegion, hasPower: boolean = true): void {
    for (const node of region.nodes) this.killNode(region, node, hasPower);
  }

  /** kill -9, or, with `hasPower` false, the whole machine: nobody is told, what is not synced is gone. */
  killNode({ datacenter, nodes }: SimRegion, node: RegionNode, hasPower: boolean = true): void {
    const { life } = node;
    if (life === null) return;
    node.life = null;
    this.network.gone(life);
    if (!hasPower) losesPower(life.node);
    if (datacenter === null) this.kernel.kill(life.node);
    else datacenter.kill(datacenter.machines[nodes.indexOf(node)]!);
    if (!hasPower) node.disk.losePower(() => this.kernel.chance.next());
  }

  get ready(): readonly RegionLife[] {
    return this.regions.flatMap(readyOf);
  }

  get isReady(): boolean {
    return this.regions.every((region) => readyOf(region).length === region.nodes.length);
  }

  /** A client of that region, at any node of it; null: none takes clients. */
  dialTo(region: SimRegion): Dial | null {
    const lives = readyOf(region);
    const life = lives.length > 1 ? lives[this.kernel.chance.below(lives.length)] : lives[0];
    return life === undefined ? null : this.dialAt(life);
  }

  dialAt(life: RegionLife): Dial {
    return (version: 4 | 5, events: LineEvents) =>
      new SimLine({
        kernel: this.kernel,
        node: life.node,
        broker: life.broker,
        version,
        events,
        delayMs: () => 0.1 + this.kernel.chance.next() * 3,
        onKill: (task) => life.node.onKill(task),
      });
  }

  /** Where a link's subscriptions are not what is wanted, by what the session at the other region has. */
  drifts(): string[] {
    const drifts: string[] = [];
    for (const region of this.regions) {
      const { name, links } = region;
      const here = holderOf(region);
      if (here === null) return [`${name} is not there`];
      for (const other of links) {
        const [there] = readyOf(this.region(other));
        const wanted = interestFor(here.links.wanted, name, other, ['#']);
        const has = there?.broker.admin.subscriptions(linkIdOf(name)) ?? null;
        if (has === null) {
          drifts.push(`${name} has no session at ${other}`);
          continue;
        }
        const had = new Set(has.map(({ filter }) => filter));
        for (const filter of wanted) {
          if (!had.has(filter)) drifts.push(`${name} < ${other} lacks ${filter}`);
        }
        for (const filter of had) {
          if (!wanted.has(filter)) drifts.push(`${name} < ${other} still has ${filter}`);
        }
      }
    }
    return drifts;
  }

  /** All links are up, and have what is wanted. */
  get isLinked(): boolean {
    return this.isReady && this.regions.every(hasLinks) && this.drifts().length === 0;
  }
}

function hasLinks(region: SimRegion): boolean {
  const links = [...(holderOf(region)?.holder.links ?? [])];
  return links.length === region.links.length && links.every(({ isUp }) => isUp);
}

function machine(name: string): RegionNode {
  return { name, disk: new SimDisk(), roundMemory: { beganMs: 0 }, life: null, lives: 0 };
}

function linkedWith(topology: Topology, index: number, count: number): number[] {
  const others = Array.from({ length: count }, (_, other) => other).filter((one) => one !== index);
  if (topology === 'mesh' || topology === 'pair') return others;
  if (topology === 'star') return index === 0 ? others : [0];
  return others.filter(
    (one) => (one - index + count) % count === 1 || (index - one + count) % count === 1,
  );
}
