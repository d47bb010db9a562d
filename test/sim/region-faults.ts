/**
 * What befalls simulated regions: each fault by name, with what the seed decides of it. Nothing acked may be
 * lost by any of them. Used by region-run.ts.
 */
import type { Prng } from '../chaos/prng.ts';
import { type DatacenterFault, DatacenterFaults, datacenterFaults } from './datacenter-faults.ts';
import type { Kernel } from './kernel.ts';
import type { RegionNode, SimRegion } from './region-life.ts';
import type { CutKind } from './region-network.ts';
import type { RegionSite } from './region-site.ts';
import type { TableTrouble } from './region-tables.ts';

export const regionFaults = [
  'kill',
  'power',
  'all_down',
  'pause',
  'disk_slow',
  'link_cut',
  'link_flap',
  'link_block',
  'link_oneway',
  'split',
  'clock_jump',
] as const;

/** Of the directory of sessions, where these roam. */
export const directoryFaults = ['directory_down', 'directory_failing', 'directory_slow'] as const;

type DirectoryFault = (typeof directoryFaults)[number];

export type RegionFault = (typeof regionFaults)[number] | DirectoryFault | DatacenterFault;

export const allRegionFaults: readonly RegionFault[] = [...regionFaults, ...datacenterFaults];

const TROUBLES: Readonly<Record<DirectoryFault, TableTrouble>> = {
  directory_down: 'down',
  directory_failing: 'failing',
  directory_slow: 'slow',
};
const CUTS: readonly CutKind[] = ['both', 'half', 'deaf'];
/** Longer than a keep-alive, now and then. */
const LONG_MS = 60_000;
const JUMP_MS = 1000;

export interface RegionFaultParts {
  readonly kernel: Kernel;
  readonly site: RegionSite;
  readonly plan: Prng;
}

export class RegionFaults {
  /** In words, for the report. */
  readonly happened: string[] = [];
  readonly #parts: RegionFaultParts;
  readonly #ofDatacenters: DatacenterFaults;
  #isHealed = false;

  constructor(parts: RegionFaultParts) {
    this.#parts = parts;
    const kill = (region: SimRegion, node: RegionNode, forMs: number): void =>
      this.#kill(region, node, true, forMs);
    this.#ofDatacenters = new DatacenterFaults({ ...parts, kill });
  }

  inflict(fault: RegionFault): void {
    const { kernel, site, plan } = this.#parts;
    const ofDatacenter = datacenterFaults.find((name) => name === fault);
    if (ofDatacenter !== undefined) {
      const what = this.#ofDatacenters.inflict(ofDatacenter);
      if (what !== null) this.#say(what);
      return;
    }
    const region = plan.pick(site.regions);
    const { nodes } = region;
    const node = nodes.length > 1 ? plan.pick(nodes) : nodes[0]!;
    const forMs = plan.once(8) ? LONG_MS : plan.between(50, 8000);
    const { name } = region;
    const other = plan.pick(region.links);
    this.#say(`${fault} ${node.name} ${other} ${forMs} ms at ${Math.round(kernel.nowMs)}`);
    switch (fault) {
      case 'kill':
      case 'power':
        this.#kill(region, node, fault === 'kill', forMs);
        break;
      case 'all_down':
        for (const one of site.regions) {
          for (const each of one.nodes) {
            this.#kill(one, each, plan.once(2), plan.between(0, forMs));
          }
        }
        break;
      case 'pause':
        if (node.life !== null) kernel.pause(node.life.node, forMs);
        break;
      case 'disk_slow':
        node.disk.busyUntilMs = kernel.nowMs + forMs / 4;
        break;
      case 'directory_down':
      case 'directory_failing':
      case 'directory_slow':
        site.sessions?.trouble(name, TROUBLES[fault], forMs);
        break;
      case 'clock_jump':
        node.life?.node.clock.jumpWall((plan.next() - 0.5) * JUMP_MS);
        break;
      default:
        this.#link(fault, name, other, forMs);
    }
  }

  #say(what: string): void {
    this.happened.push(what);
    this.#parts.kernel.trace(null, `FAULT ${what}`);
  }

  #link(fault: RegionFault, name: string, other: string, forMs: number): void {
    const { kernel, site, plan } = this.#parts;
    const { network } = site;
    switch (fault) {
      case 'link_cut':
        network.cut(name, other, plan.pick(CUTS));
        break;
      case 'link_flap':
        for (let cuts = plan.between(2, 6); cuts > 0; cuts--) {
          kernel.after(null, plan.next() * forMs, () => {
            if (!this.#isHealed) network.cut(name, other, plan.pick(CUTS));
          });
        }
        break;
      case 'link_block':
        this.#block([`${name}>${other}`, `${other}>${name}`], forMs);
        break;
      case 'link_oneway':
        this.#block([plan.once(2) ? `${name}>${other}` : `${other}>${name}`], forMs);
        break;
      default: {
        const others = site.regions.filter((one) => one.name !== name).map((one) => one.name);
        const ways = others.flatMap((one) => [`${name}>${one}`, `${one}>${name}`]);
        this.#block(ways, forMs);
      }
    }
  }

  #block(ways: readonly string[], forMs: number): void {
    const { kernel, site } = this.#parts;
    for (const way of ways) site.network.block(...ends(way));
    kernel.after(null, forMs, () => {
      for (const way of ways) site.network.unblock(...ends(way));
    });
  }

  #kill(region: SimRegion, node: RegionNode, hasPower: boolean, forMs: number): void {
    const { kernel, site } = this.#parts;
    if (node.life === null) return;
    site.killNode(region, node, hasPower);
    kernel.after(null, this.#isHealed ? 0 : forMs, () => {
      if (node.life === null) site.startNode(region, node);
    });
  }

  /** Nothing stays broken: the run comes to its end. */
  heal(): void {
    const { kernel, site } = this.#parts;
    this.#isHealed = true;
    site.network.unblockAll();
    site.sessions?.heal();
    this.#ofDatacenters.heal();
    for (const region of site.regions) {
      site.start(region);
      for (const { life } of region.nodes) {
        if (life !== null && life.node.pausedUntilMs >= 0) kernel.resume(life.node);
      }
    }
  }
}

function ends(way: string): [from: string, to: string] {
  const [from, to] = way.split('>');
  return [from!, to!];
}
