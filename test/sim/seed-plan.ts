/**
 * What the run of a seed is like, decided by the seed alone: which faults may happen, how many, the whole
 * cast or a part of it, and how patient its clients are. Used by `npm run simulate` and by the tests of
 * fixed seeds, so that a seed means the same everywhere.
 */
import { Prng } from '../chaos/prng.ts';
import { lossyFaults, type SimFault, safeFaults } from './cluster-faults.ts';
import type { ClusterRunOptions } from './cluster-run.ts';

type Kit = 'safe' | 'nodes' | 'links' | 'redis' | 'lossy';
/** Every promise holds whatever happens; only of the last of them Redis may lose data. */
export const kits: Readonly<Record<Kit, readonly SimFault[]>> = {
  safe: safeFaults,
  nodes: ['kill', 'pause', 'suspend', 'restart', 'all_down'],
  links: ['link_block', 'link_cut', 'link_stall', 'kill', 'pause'],
  redis: ['redis_down', 'redis_away', 'redis_replies', 'redis_slow', 'failover', 'kill'],
  lossy: [...safeFaults, ...lossyFaults, ...lossyFaults, ...lossyFaults, ...lossyFaults],
};
const MIX: readonly Kit[] = [
  'safe',
  'safe',
  'safe',
  'safe',
  'nodes',
  'links',
  'redis',
  'lossy',
  'lossy',
];
/** A client of the field gives up after 1.5 × keep alive; shorter and longer than a lease. */
const DEAF_MS = [1500, 2500, 6000];
/** So many short runs to one of the whole cast. */
const SHORT_RUNS = 30;

/** All who subscribe are members of shared groups that come and go. */
export const OF_GROUPS: Partial<ClusterRunOptions> = { isShort: true, isOfGroups: true };

export interface SeedPlan extends ClusterRunOptions {
  readonly faults: number;
  readonly kinds: readonly SimFault[];
  readonly isShort: boolean;
  readonly deafMs: number;
  /** The kinds as a row of kept-seeds.ts has them. */
  readonly kit: string;
}

export interface SeedPlanOptions {
  readonly faults?: number | undefined;
  readonly kinds?: readonly SimFault[] | undefined;
}

export function seedPlan(seed: number, { faults, kinds }: SeedPlanOptions = {}): SeedPlan {
  const plan = new Prng(Math.imul(seed, 0x9e3779b1) ^ 0x51ed);
  const kit = plan.pick(MIX);
  const isShort = !plan.once(SHORT_RUNS);
  const count = plan.between(1, isShort ? 4 : 8);
  return {
    seed,
    faults: faults ?? count,
    kinds: kinds ?? kits[kit],
    isShort,
    deafMs: plan.pick(DEAF_MS),
    kit: kinds === undefined ? `kits.${kit}` : `['${kinds.join("', '")}']`,
  };
}
