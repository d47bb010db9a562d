/**
 * What the run of a seed of regions is like, decided by the seed alone, and the run as data: what is counted of
 * it, and what is said when it is not clean. Used by `npm run simulate -- --regions` and by the tests of known
 * seeds, so that a seed means the same everywhere.
 */
import { Prng } from '../chaos/prng.ts';
import { allRegionFaults, type RegionFault, regionFaults } from './region-faults.ts';
import { type RegionRunOptions, type RegionRunReport, runRegions } from './region-run.ts';
import type { Topology } from './region-site.ts';
import { failuresFrom, outcomeOf, type RunOutcome } from './run-outcome.ts';

/** What adds up over seeds. */
export interface RegionCounts {
  faults: number;
  published: number;
  acked: number;
  delivered: number;
  lost: number;
  duplicates: number;
  orderViolations: number;
  taken: number;
  sent: number;
}

export type RegionOutcome = RunOutcome<RegionCounts>;

/** How many regions, and how they are linked; half of the seeds are of two. */
const SHAPES: readonly (readonly [regions: number, topology: Topology])[] = [
  [2, 'pair'],
  [2, 'pair'],
  [2, 'pair'],
  [3, 'ring'],
  [3, 'star'],
  [4, 'mesh'],
  [4, 'ring'],
  [4, 'star'],
];
const KITS: Readonly<Record<string, readonly RegionFault[]>> = {
  all: regionFaults,
  nodes: ['kill', 'power', 'all_down', 'pause', 'disk_slow'],
  links: ['link_cut', 'link_flap', 'link_block', 'link_oneway', 'split'],
};
const MIX = ['all', 'all', 'nodes', 'links'] as const;
/** One way, at most. */
const DELAYS_MS = [10, 100, 300];

const SHAPES_OF_DATACENTERS: typeof SHAPES = [
  [2, 'pair'],
  [2, 'pair'],
  [2, 'pair'],
  [3, 'ring'],
  [3, 'star'],
];
const DATACENTER_KITS: Readonly<Record<string, readonly RegionFault[]>> = {
  all: allRegionFaults,
  holder: ['holder_kill', 'holder_kill', 'holder_pause', 'holder_away', 'kill', 'link_cut'],
  redis: ['redis_down', 'redis_away', 'redis_replies', 'redis_slow', 'holder_kill', 'link_cut'],
  peers: ['peers_block', 'peers_cut', 'holder_kill', 'pause', 'link_flap', 'split'],
};
const DATACENTER_MIX = ['all', 'all', 'holder', 'holder', 'redis', 'peers'] as const;

export interface RegionPlan extends RegionRunOptions {
  readonly regions: number;
  readonly topology: Topology;
  readonly faults: number;
  readonly kinds: readonly RegionFault[];
  readonly delayMaxMs: number;
  readonly hasCassandra: boolean;
  readonly comparesRetained: boolean;
}

export interface DatacenterPlan extends RegionPlan {
  readonly nodes: readonly number[];
}

export interface RegionPlanOptions {
  readonly faults?: number | undefined;
  readonly kinds?: readonly RegionFault[] | undefined;
}

export function regionPlan(seed: number, { faults, kinds }: RegionPlanOptions = {}): RegionPlan {
  const plan = new Prng(Math.imul(seed, 0x9e3779b1) ^ 0x0e61);
  const [regions, topology] = plan.pick(SHAPES);
  const count = plan.between(1, 5);
  const kit = KITS[plan.pick(MIX)]!;
  const delayMaxMs = plan.pick(DELAYS_MS);
  const hasCassandra = plan.once(3);
  const comparesRetained = hasCassandra || plan.once(2);
  return {
    seed,
    regions,
    topology,
    faults: faults ?? count,
    kinds: kinds ?? kit,
    delayMaxMs,
    hasCassandra,
    comparesRetained,
  };
}

/** The same with datacenters among the regions, one at least; another world than the seed is without them. */
export function datacenterPlan(seed: number, options: RegionPlanOptions = {}): DatacenterPlan {
  const { faults, kinds } = options;
  const plan = new Prng(Math.imul(seed, 0x9e3779b1) ^ 0x0dc5);
  const [regions, topology] = plan.pick(SHAPES_OF_DATACENTERS);
  const nodes = Array.from({ length: regions }, () => plan.between(1, 3));
  const first = plan.between(0, regions - 1);
  nodes[first] = Math.max(2, nodes[first]!);
  const hasCassandra = plan.once(4);
  return {
    seed,
    regions,
    topology,
    nodes,
    faults: faults ?? plan.between(1, 4),
    kinds: kinds ?? DATACENTER_KITS[plan.pick(DATACENTER_MIX)]!,
    delayMaxMs: plan.pick(DELAYS_MS),
    hasCassandra,
    comparesRetained: hasCassandra || plan.once(2),
  };
}

export function noRegionCounts(): RegionCounts {
  return {
    faults: 0,
    published: 0,
    acked: 0,
    delivered: 0,
    lost: 0,
    duplicates: 0,
    orderViolations: 0,
    taken: 0,
    sent: 0,
  };
}

export function runRegionPlan(plan: RegionPlan): Promise<RegionOutcome> {
  const noCounts = noRegionCounts;
  return outcomeOf(plan, { run: runRegions, countsOf, noCounts, describe: describePlan });
}

/** The row that keeps it as a test. */
function describePlan({ seed, regions, topology, nodes, faults, delayMaxMs }: RegionPlan): string {
  const of = nodes === undefined ? '' : ` of ${nodes.join(', ')} nodes`;
  return `FAILED ${seed}: ${regions} regions${of}, ${topology}, ${faults} faults, ${delayMaxMs} ms`;
}

function countsOf(report: RegionRunReport): RegionCounts {
  const { published, acked, delivered, lost, duplicates, orderViolations, taken, sent } = report;
  const faults = report.happened.length;
  return { faults, published, acked, delivered, lost, duplicates, orderViolations, taken, sent };
}

export function describeRegionCounts(sum: RegionCounts): string {
  return (
    `faults ${sum.faults}, acked ${sum.acked}, delivered ${sum.delivered}, lost ${sum.lost}, ` +
    `duplicates ${sum.duplicates}, order violations ${sum.orderViolations}, ` +
    `over links ${sum.sent}, taken from links ${sum.taken}`
  );
}

/** The seeds from `from` on, one after the other; the failures. */
export function regionFailuresOf(
  from: number,
  count: number,
  sum: RegionCounts,
  planOf: (seed: number) => RegionPlan = regionPlan,
): Promise<string[]> {
  return failuresFrom(from, count, sum, (seed) => runRegionPlan(planOf(seed)));
}
