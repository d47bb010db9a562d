/**
 * The regions of a ledger of moves: where clients find their nodes, and what happens to them. Nodes alone are
 * `TestRegions`, which are killed; datacenters are a `RegionSite`, of which a node, the holder of the links,
 * Redis or all of a region is killed. Used by run-roaming-chaos.ts.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../e2e/cluster-kit.ts';
import type { TestRegions } from '../e2e/link-kit.ts';
import { type SiteNode, saidBy } from './cluster-site.ts';
import type { Prng } from './prng.ts';
import type { RegionSite } from './region-site.ts';

export const movingFaults = ['node', 'holder', 'redis', 'region'] as const;
export type MovingFault = (typeof movingFaults)[number];

export interface MovingRegions {
  readonly faults: readonly MovingFault[];
  /** Of that many nodes. */
  nodes(region: string): number;
  /** Of nodes that clients may try, now. */
  ports(region: string): readonly number[];
  /** Of that node, or of another one while it is not there; 1: nobody is. */
  port(region: string, index: number): number;
  linksUp(): Promise<unknown>;
  /** Whether regions may not see each other while it lasts. */
  isBlinding(fault: MovingFault): boolean;
  /** It is there again when the call is over; answers whom it met. */
  inflict(fault: MovingFault, region: string, prng: Prng): Promise<string>;
  errors(): string[];
}

const DOWN_MS = [300, 1500] as const;
/** On a machine that is busy; a lease, and what a link waits between two tries, are less. */
const LINKS_MS = 120_000;

export class LoneRegions implements MovingRegions {
  readonly faults: readonly MovingFault[] = ['region'];
  readonly #regions: TestRegions;
  readonly #down: Set<string> = new Set();

  constructor(regions: TestRegions) {
    this.#regions = regions;
  }

  nodes(): number {
    return 1;
  }

  ports(region: string): readonly number[] {
    return this.#down.has(region) ? [] : [this.port(region)];
  }

  port(region: string): number {
    return this.#regions.broker(region).port();
  }

  linksUp(): Promise<unknown> {
    return this.#regions.linksUp();
  }

  isBlinding(): boolean {
    return true;
  }

  async inflict(_fault: MovingFault, region: string, prng: Prng): Promise<string> {
    this.#down.add(region);
    await this.#regions.broker(region).kill();
    await pause(prng);
    await this.#regions.startRegion(region);
    this.#down.delete(region);
    return region;
  }

  errors(): string[] {
    return this.#regions.errors();
  }
}

export class DatacenterRegions implements MovingRegions {
  readonly faults: readonly MovingFault[] = movingFaults;
  readonly site: RegionSite;

  constructor(site: RegionSite) {
    this.site = site;
  }

  nodes(region: string): number {
    return this.#nodes(region).length;
  }

  #nodes(region: string): readonly SiteNode[] {
    return this.site.region(region).site.nodes;
  }

  ports(region: string): readonly number[] {
    return this.site.region(region).site.ports;
  }

  port(region: string, index: number): number {
    return this.#nodes(region)[index]!.port ?? this.ports(region)[0] ?? 1;
  }

  linksUp(): Promise<unknown> {
    return until('links are up', () => this.site.areLinksUp(), LINKS_MS);
  }

  /** Who is not the holder has no part in a link. */
  isBlinding(fault: MovingFault): boolean {
    return fault !== 'node';
  }

  async inflict(fault: MovingFault, name: string, prng: Prng): Promise<string> {
    const { site, redis } = this.site.region(name);
    if (fault === 'redis' && redis !== null) {
      await redis.stop('SIGKILL');
      await pause(prng);
      await redis.resume();
      return `Redis of ${name}`;
    }
    const holder = fault === 'region' ? null : await this.site.holder(name);
    const others = site.nodes.filter((node) => node !== holder);
    const victims =
      fault === 'node' && others.length > 0
        ? [prng.pick(others)]
        : fault === 'holder' && holder !== null
          ? [holder]
          : site.nodes;
    const isWhole = victims.length === site.nodes.length;
    await Promise.all([
      ...victims.map((node) => site.kill(node)),
      isWhole ? redis?.stop('SIGKILL') : undefined,
    ]);
    await pause(prng);
    if (isWhole) await redis?.resume();
    await Promise.all(victims.map((node) => site.startNode(node)));
    return victims.map((node) => node.name).join(' and ');
  }

  errors(): string[] {
    return this.site.complaints();
  }

  /** Into a file for each node, what it has said in all its lives. */
  keepLogs(folder: string): void {
    mkdirSync(folder, { recursive: true });
    for (const { site } of this.site.regions) {
      for (const node of site.nodes) {
        writeFileSync(join(folder, `${node.name}.log`), `${saidBy(node).join('\n')}\n`);
      }
    }
  }
}

function pause(prng: Prng): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, prng.between(...DOWN_MS)));
}
