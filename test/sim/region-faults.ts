/**
 * What befalls simulated regions: each fault by name, with what the seed decides of it. Nothing acked may be
 * lost by any of them. Used by region-run.ts.
 */
import type { Prng } from '../chaos/prng.ts';
import type { Kernel } from './kernel.ts';
import type { CutKind } from './region-network.ts';
import type { RegionSite, SimRegion } from './region-site.ts';

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

export type RegionFault = (typeof regionFaults)[number];

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
  #isHealed = false;

  constructor(parts: RegionFaultParts) {
    this.#parts = parts;
  }

  inflict(fault: RegionFault): void {
    const { kernel, site, plan } = this.#parts;
    const region = plan.pick(site.regions);
    const forMs = plan.once(8) ? LONG_MS : plan.between(50, 8000);
    const { name } = region;
    const other = plan.pick(region.links);
    this.happened.push(`${fault} ${name} ${other} ${forMs} ms at ${Math.round(kernel.nowMs)}`);
    kernel.trace(null, `FAULT ${this.happened.at(-1)}`);
    switch (fault) {
      case 'kill':
      case 'power':
        this.#kill(region, fault === 'kill', forMs);
        break;
      case 'all_down':
        for (const one of site.regions) this.#kill(one, plan.once(2), plan.between(0, forMs));
        break;
      case 'pause':
        if (region.life !== null) kernel.pause(region.life.node, forMs);
        break;
      case 'disk_slow':
        region.disk.busyUntilMs = kernel.nowMs + forMs / 4;
        break;
      case 'clock_jump':
        region.life?.node.clock.jumpWall((plan.next() - 0.5) * JUMP_MS);
        break;
      default:
        this.#link(fault, name, other, forMs);
    }
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
          kernel.after(null, plan.next() * forMs, () => network.cut(name, other, plan.pick(CUTS)));
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

  #kill(region: SimRegion, hasPower: boolean, forMs: number): void {
    const { kernel, site } = this.#parts;
    if (region.life === null) return;
    site.kill(region, hasPower);
    kernel.after(null, this.#isHealed ? 0 : forMs, () => {
      if (region.life === null) site.start(region);
    });
  }

  /** Nothing stays broken: the run comes to its end. */
  heal(): void {
    const { kernel, site } = this.#parts;
    this.#isHealed = true;
    site.network.unblockAll();
    for (const region of site.regions) {
      const { life } = region;
      if (life === null) site.start(region);
      else if (life.node.pausedUntilMs >= 0) kernel.resume(life.node);
    }
  }
}

function ends(way: string): [from: string, to: string] {
  const [from, to] = way.split('>');
  return [from!, to!];
}
