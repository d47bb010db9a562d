/**
 * `npm run simulate -- [--seeds 100000] [--from 1] [--faults N] [--kinds kill,pause,…] [--jobs CORES]
 * [--probes N] [--groups] [--regions] [--datacenters] [--roaming] [--newcomers] [--trace]`: runs of the datacenter in virtual time. What a seed is like it says itself
 * (seed-plan.ts), unless faults or kinds are given; `--probes`: until so many messages were published
 * elsewhere at their SUBACK, in runs that do little else; `--groups`: all who subscribe are members of
 * shared groups, and often all away; `--regions`: of two to four regions and their links instead,
 * `--datacenters`: some of which are of several nodes, `--roaming`: between which sessions move, `--newcomers`: also
 * of clients that go on at once. Prints each seed that fails at once, and sums
 * at the end; exit code 1 when any failed. `--trace`: failures come with the last lines of their trace.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { namedFaults, simFaults } from './cluster-faults.ts';
import { allRegionFaults, directoryFaults } from './region-faults.ts';
import {
  datacenterPlan,
  describeRegionCounts,
  noRegionCounts,
  type RegionOutcome,
  type RegionPlan,
  regionPlan,
} from './region-seeds.ts';
import {
  describeRoamingCounts,
  noRoamingCounts,
  type RoamingOutcome,
  type RoamingPlan,
  roamingPlan,
} from './roaming-seeds.ts';
import { addCounts, type RunOutcome } from './run-outcome.ts';
import { describeCounts, noCounts, type SeedOutcome } from './seed-outcome.ts';
import { OF_GROUPS, type SeedPlan, seedPlan } from './seed-plan.ts';
import { runPool } from './seed-pool.ts';

const PROBES = { probeEveryMs: [10, 40], probesMax: 200, isShort: true } as const;
const SEEDS_MAX = Number.MAX_SAFE_INTEGER;
/** Between two lines of progress. */
const PROGRESS_MS = 30_000;

/** What seeds are run as. */
interface Campaign<Plan, Outcome> {
  readonly worker: URL;
  readonly plan: (seed: number) => Plan;
  /** Enough is known. */
  readonly isOver: () => boolean;
  readonly count: (outcome: Outcome) => void;
  readonly describe: () => string;
}

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    from: { type: 'string', default: '1' },
    faults: { type: 'string' },
    kinds: { type: 'string' },
    jobs: { type: 'string', default: `${availableParallelism()}` },
    probes: { type: 'string' },
    groups: { type: 'boolean', default: false },
    regions: { type: 'boolean', default: false },
    datacenters: { type: 'boolean', default: false },
    roaming: { type: 'boolean', default: false },
    newcomers: { type: 'boolean', default: false },
    trace: { type: 'boolean', default: false },
  },
});

function number(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,15}$/.test(text)) throw new Error(`--${name} ${text}: not a whole number`);
  return Number(text);
}

function kindsOf<Kind extends string>(all: readonly Kind[]): readonly Kind[] | undefined {
  return values.kinds?.split(',').map((name) => {
    const kind = all.find((fault) => fault === name);
    if (kind === undefined) throw new Error(`--kinds ${name}: one of ${all.join(', ')}`);
    return kind;
  });
}

const from = number('from', values.from)!;
const probesWanted = number('probes', values.probes);
const seeds = number('seeds', values.seeds) ?? (probesWanted === undefined ? 100_000 : SEEDS_MAX);
const faults = number('faults', values.faults);
const jobs = Math.max(1, number('jobs', values.jobs)!);

function ofDatacenter(): Campaign<SeedPlan, SeedOutcome> {
  const sum = noCounts();
  const kinds = kindsOf([...simFaults, ...namedFaults]);
  return {
    worker: new URL('./seed-worker.ts', import.meta.url),
    plan: (seed) => {
      const seeded = seedPlan(seed, { faults, kinds });
      const plan: SeedPlan = values.groups ? { ...seeded, ...OF_GROUPS } : seeded;
      const traced = values.trace ? { ...plan, isTracing: true } : plan;
      return probesWanted === undefined ? traced : { ...traced, ...PROBES };
    },
    isOver: () => probesWanted !== undefined && sum.probes >= probesWanted,
    count: (outcome) => addCounts(sum, outcome),
    describe: () => describeCounts(sum),
  };
}

function ofRegions(): Campaign<RegionPlan, RegionOutcome> {
  const sum = noRegionCounts();
  const kinds = kindsOf(allRegionFaults);
  return {
    worker: new URL('./region-worker.ts', import.meta.url),
    plan: (seed) => {
      const planOf = values.datacenters ? datacenterPlan : regionPlan;
      return { ...planOf(seed, { faults, kinds }), isTracing: values.trace };
    },
    isOver: () => false,
    count: (outcome) => addCounts(sum, outcome),
    describe: () => describeRegionCounts(sum),
  };
}

function ofRoaming(): Campaign<RoamingPlan, RoamingOutcome> {
  const sum = noRoamingCounts();
  const kinds = kindsOf([...allRegionFaults, ...directoryFaults]);
  const { datacenters: hasDatacenters, newcomers: hasNewcomers } = values;
  return {
    worker: new URL('./roaming-worker.ts', import.meta.url),
    plan: (seed) => ({
      ...roamingPlan(seed, { faults, kinds, hasDatacenters, hasNewcomers }),
      isTracing: values.trace,
    }),
    isOver: () => false,
    count: (outcome) => addCounts(sum, outcome),
    describe: () => describeRoamingCounts(sum),
  };
}

/** Whether all were clean. */
async function run<Plan, Outcome extends RunOutcome<object>>({
  worker,
  plan,
  isOver,
  count,
  describe,
}: Campaign<Plan, Outcome>): Promise<boolean> {
  const failed: number[] = [];
  const startedMs = performance.now();
  let nextSeed = from;
  let done = 0;
  const summary = (): string => {
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(0);
    return `${done} seeds, ${describe()}, failures ${failed.length}; ${seconds} s`;
  };
  const progress = setInterval(() => console.error(summary()), PROGRESS_MS);
  await runPool<Plan, Outcome>({
    jobs,
    worker,
    next: () => (nextSeed >= from + seeds || isOver() ? null : plan(nextSeed++)),
    onOutcome: (outcome) => {
      done++;
      count(outcome);
      if (outcome.failure === null) return;
      failed.push(outcome.seed);
      console.log(outcome.failure);
    },
  });
  clearInterval(progress);
  if (failed.length > 0) console.log(`failed seeds: ${failed.sort((a, b) => a - b).join(' ')}`);
  console.log(`simulate: ${summary()}`);
  return failed.length === 0;
}

function runAsked(): Promise<boolean> {
  if (values.roaming) return run(ofRoaming());
  return values.regions || values.datacenters ? run(ofRegions()) : run(ofDatacenter());
}

const isClean = await runAsked();
process.exitCode = isClean ? 0 : 1;
