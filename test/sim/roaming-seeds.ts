/**
 * What the run of a seed of roaming sessions is like, decided by the seed alone, and the run as data. Used by
 * `npm run simulate -- --roaming` and by the tests of known seeds, so that a seed means the same everywhere.
 */
import { Prng } from '../chaos/prng.ts';
import { directoryFaults, type RegionFault, regionFaults } from './region-faults.ts';
import type { Topology } from './region-site.ts';
import { type RoamingRunOptions, type RoamingRunReport, runRoaming } from './roaming-run.ts';
import { failuresFrom, outcomeOf, type RunOutcome } from './run-outcome.ts';

/** What adds up over seeds. */
export interface RoamingCounts {
  faults: number;
  moves: number;
  away: number;
  acked: number;
  delivered: number;
  lost: number;
  duplicates: number;
  orderViolations: number;
  sessionsLost: number;
  /** Not promised: repeats, orders, sessions that nobody knew of or that were not listed yet. */
  repeatsExcused: number;
  ordersExcused: number;
  unknown: number;
  unlisted: number;
  collected: number;
}

export type RoamingOutcome = RunOutcome<RoamingCounts>;

/** Each two of them are linked: what moves in a line may be lost or come twice (docs/internals/regions-open.md). */
const SHAPES: readonly (readonly [regions: number, topology: Topology])[] = [
  [2, 'pair'],
  [2, 'pair'],
  [3, 'mesh'],
  [3, 'mesh'],
];
const KITS: Readonly<Record<string, readonly RegionFault[]>> = {
  all: [...regionFaults, ...directoryFaults],
  nodes: ['kill', 'power', 'all_down', 'pause', 'disk_slow'],
  links: ['link_cut', 'link_flap', 'link_block', 'link_oneway', 'split'],
  directory: [...directoryFaults, ...directoryFaults, 'kill', 'split'],
};
const MIX = ['all', 'all', 'nodes', 'nodes', 'links', 'links', 'directory'] as const;
/** One way, at most. */
const DELAYS_MS = [10, 100, 300];
/** Devices that come later, in runs that have some. */
const NEWCOMERS: readonly [number, number] = [3, 8];
/** A run without faults moves on for so long. */
const QUIET_MS: readonly [number, number] = [500, 5000];
const ALL_QUIET_MS = 15_000;

export interface RoamingPlan extends RoamingRunOptions {
  readonly regions: number;
  readonly topology: Topology;
  readonly nodes: readonly number[];
  readonly faults: number;
  readonly kinds: readonly RegionFault[];
  readonly delayMaxMs: number;
}

export interface RoamingPlanOptions {
  readonly faults?: number | undefined;
  readonly kinds?: readonly RegionFault[] | undefined;
  /** Regions of several nodes, one at least. */
  readonly hasDatacenters?: boolean;
  /** Devices come while messages flow, and go on at once. */
  readonly hasNewcomers?: boolean;
}

export function roamingPlan(seed: number, options: RoamingPlanOptions = {}): RoamingPlan {
  const { kinds, hasDatacenters = false, hasNewcomers = false } = options;
  const plan = new Prng(Math.imul(seed, 0x9e3779b1) ^ (hasDatacenters ? 0x70a4 : 0x70a3));
  const [regions, topology] = plan.pick(SHAPES);
  const nodes = hasDatacenters ? Array.from({ length: regions }, () => plan.between(1, 3)) : [];
  if (hasDatacenters) nodes[0] = Math.max(2, nodes[0]!);
  const count = plan.once(6) ? 0 : plan.between(1, 5);
  const faults = options.faults ?? count;
  return {
    seed,
    regions,
    topology,
    nodes,
    faults,
    kinds: kinds ?? KITS[plan.pick(MIX)]!,
    delayMaxMs: plan.pick(DELAYS_MS),
    quietMs: faults === 0 ? ALL_QUIET_MS : plan.between(...QUIET_MS),
    hasCassandra: plan.once(4),
    hasResidents: plan.once(3),
    startsClean: plan.once(3),
    changesSubscriptions: plan.once(3),
    newcomers: hasNewcomers ? plan.between(...NEWCOMERS) : 0,
  };
}

export function noRoamingCounts(): RoamingCounts {
  return {
    faults: 0,
    moves: 0,
    away: 0,
    acked: 0,
    delivered: 0,
    lost: 0,
    duplicates: 0,
    orderViolations: 0,
    sessionsLost: 0,
    repeatsExcused: 0,
    ordersExcused: 0,
    unknown: 0,
    unlisted: 0,
    collected: 0,
  };
}

export function runRoamingPlan(plan: RoamingPlan): Promise<RoamingOutcome> {
  const noCounts = noRoamingCounts;
  return outcomeOf(plan, { run: runRoaming, countsOf, noCounts, describe: describePlan });
}

function describePlan({ seed, regions, topology, nodes, ...plan }: RoamingPlan): string {
  const { faults, delayMaxMs, hasResidents, startsClean, changesSubscriptions, newcomers } = plan;
  const of = nodes.length > 0 ? ` of ${nodes.join(', ')} nodes` : '';
  const traits = { hasResidents, startsClean, changesSubscriptions, newcomers };
  const named = Object.entries(traits).filter(([, isOn]) => isOn);
  const also = named.map(([name]) => `, ${name}`).join('');
  return `FAILED ${seed}: ${regions} regions${of}, ${topology}, ${faults} faults, ${delayMaxMs} ms${also}`;
}

function countsOf(report: RoamingRunReport): RoamingCounts {
  const { moves, away, acked, delivered, lost, duplicates, orderViolations } = report;
  const { sessionsLost, repeatsExcused, ordersExcused } = report;
  const { unknown, unlisted, collected } = report.excused;
  return {
    ...{ faults: report.happened.length, moves, away, acked, delivered, lost, duplicates },
    ...{
      orderViolations,
      sessionsLost,
      repeatsExcused,
      ordersExcused,
      unknown,
      unlisted,
      collected,
    },
  };
}

export function describeRoamingCounts(sum: RoamingCounts): string {
  return (
    `faults ${sum.faults}, moves ${sum.moves} (${sum.away} served away), acked ${sum.acked}, ` +
    `delivered ${sum.delivered}, lost ${sum.lost}, duplicates ${sum.duplicates}, ` +
    `order violations ${sum.orderViolations}, sessions lost ${sum.sessionsLost}; not promised: ` +
    `order ${sum.ordersExcused}, repeats ${sum.repeatsExcused}, sessions ${sum.unknown}, ` +
    `not listed ${sum.unlisted}, ended elsewhere ${sum.collected}`
  );
}

/** The seeds from `from` on, one after the other; the failures. */
export function roamingFailuresOf(
  from: number,
  count: number,
  sum: RoamingCounts,
): Promise<string[]> {
  return failuresFrom(from, count, sum, (seed) => runRoamingPlan(roamingPlan(seed)));
}
