/**
 * What befalls a simulated region of several nodes besides what befalls all regions (region-faults.ts): the node
 * that has the links, its Redis, the links between its nodes. Redis keeps its data: nothing acked may be lost.
 */
import type { Prng } from '../chaos/prng.ts';
import type { Kernel } from './kernel.ts';
import { holderOf, type RegionLife, type RegionNode, type SimRegion } from './region-life.ts';
import type { RegionSite } from './region-site.ts';
import type { SimSite } from './sim-site.ts';

export const datacenterFaults = [
  'holder_kill',
  'holder_pause',
  'holder_away',
  'redis_down',
  'redis_away',
  'redis_replies',
  'redis_slow',
  'peers_block',
  'peers_cut',
] as const;

export type DatacenterFault = (typeof datacenterFaults)[number];

export interface DatacenterFaultParts {
  readonly kernel: Kernel;
  readonly site: RegionSite;
  readonly plan: Prng;
  readonly kill: (region: SimRegion, node: RegionNode, forMs: number) => void;
}

export class DatacenterFaults {
  readonly #parts: DatacenterFaultParts;

  constructor(parts: DatacenterFaultParts) {
    this.#parts = parts;
  }

  /** What it was; null: no region is a datacenter. */
  inflict(fault: DatacenterFault): string | null {
    const { kernel, site, plan } = this.#parts;
    const regions = site.regions.filter(({ datacenter }) => datacenter !== null);
    if (regions.length === 0) return null;
    const region = plan.pick(regions);
    const forMs = plan.between(50, 8000);
    const node = plan.pick(region.nodes);
    const holder = region.nodes.find(({ life }) => life !== null && life === holderOf(region));
    const isHolders = fault.startsWith('holder_');
    const told = isHolders ? holder : node;
    if (told !== undefined) {
      if (fault === 'holder_kill') this.#parts.kill(region, told, forMs);
      else if (fault === 'holder_pause') kernel.pause(told.life!.node, forMs);
      else if (isHolders || fault === 'redis_away') this.#partition(told.life, forMs);
      else this.#common(fault, region.datacenter!, region.nodes.indexOf(told), forMs);
    }
    return `${fault} ${told?.name ?? region.name} ${forMs} ms at ${Math.round(kernel.nowMs)}`;
  }

  #partition(life: RegionLife | null, forMs: number): void {
    const redis = life?.member?.redis;
    redis?.partition();
    this.#parts.kernel.after(null, forMs, () => redis?.heal());
  }

  #common(
    fault: DatacenterFault,
    { redis, network, machines }: SimSite,
    index: number,
    forMs: number,
  ) {
    const { kernel, plan } = this.#parts;
    const own = machines[index]!;
    const other = plan.pick(machines);
    switch (fault) {
      case 'redis_down':
        if (redis.isDown) break;
        redis.down();
        kernel.after(null, forMs, () => {
          if (redis.isDown) redis.up(true);
        });
        break;
      case 'redis_replies':
        own.life?.redis.loseReplies(plan.between(1, 20));
        break;
      case 'redis_slow':
        redis.slow(plan.between(5, 200));
        kernel.after(null, forMs, () => redis.slow(0));
        break;
      case 'peers_block':
        if (own === other) break;
        network.block(own.address, other.address);
        if (plan.once(2)) network.block(other.address, own.address);
        kernel.after(null, forMs, () => network.unblockAll());
        break;
      default:
        if (own === other) break;
        network.cut(own.address, other.address, plan.pick(['both', 'half', 'silent'] as const));
    }
  }

  /** Nothing stays broken. */
  heal(): void {
    for (const { datacenter } of this.#parts.site.regions) {
      if (datacenter === null) continue;
      const { redis, network, machines } = datacenter;
      if (redis.isDown) redis.up(true);
      redis.slow(0);
      network.unblockAll();
      for (const { life } of machines) life?.redis.heal();
    }
  }
}
