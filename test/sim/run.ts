/**
 * `npm run simulate -- [--seeds 100000] [--from 1] [--faults N] [--kinds kill,pause,…] [--jobs CORES]
 * [--probes N] [--groups] [--trace]`: runs of the datacenter in virtual time. What a seed is like it says itself
 * (seed-plan.ts), unless faults or kinds are given; `--probes`: until so many messages were published
 * elsewhere at their SUBACK, in runs that do little else; `--groups`: all who subscribe are members of
 * shared groups, and often all away. Prints each seed that fails at once, and sums
 * at the end; exit code 1 when any failed. `--trace`: failures come with the last lines of their trace.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { namedFaults, type SimFault, simFaults } from './cluster-faults.ts';
import { addCounts, describeCounts, noCounts } from './seed-outcome.ts';
import { OF_GROUPS, type SeedPlan, seedPlan } from './seed-plan.ts';
import { runPool } from './seed-pool.ts';

const PROBES = { probeEveryMs: [10, 40], probesMax: 200, isShort: true } as const;
const SEEDS_MAX = Number.MAX_SAFE_INTEGER;
/** Between two lines of progress. */
const PROGRESS_MS = 30_000;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    from: { type: 'string', default: '1' },
    faults: { type: 'string' },
    kinds: { type: 'string' },
    jobs: { type: 'string', default: `${availableParallelism()}` },
    probes: { type: 'string' },
    groups: { type: 'boolean', default: false },
    trace: { type: 'boolean', default: false },
  },
});

function number(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,15}$/.test(text)) throw new Error(`--${name} ${text}: not a whole number`);
  return Number(text);
}

function kindsOf(text: string | undefined): readonly SimFault[] | undefined {
  return text?.split(',').map((name) => {
    const all = [...simFaults, ...namedFaults];
    const kind = all.find((fault) => fault === name);
    if (kind === undefined) throw new Error(`--kinds ${name}: one of ${all.join(', ')}`);
    return kind;
  });
}

const from = number('from', values.from)!;
const probesWanted = number('probes', values.probes);
const seeds = number('seeds', values.seeds) ?? (probesWanted === undefined ? 100_000 : SEEDS_MAX);
const faults = number('faults', values.faults);
const kinds = kindsOf(values.kinds);

const sum = noCounts();
const failed: number[] = [];
const startedMs = performance.now();
let nextSeed = from;
let done = 0;

function summary(): string {
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(0);
  return `${done} seeds, ${describeCounts(sum)}, failures ${failed.length}; ${seconds} s`;
}

function next(): SeedPlan | null {
  if (nextSeed >= from + seeds || (probesWanted !== undefined && sum.probes >= probesWanted)) {
    return null;
  }
  const seeded = seedPlan(nextSeed++, { faults, kinds });
  const plan: SeedPlan = values.groups ? { ...seeded, ...OF_GROUPS } : seeded;
  const traced = values.trace ? { ...plan, isTracing: true } : plan;
  return probesWanted === undefined ? traced : { ...traced, ...PROBES };
}

const progress = setInterval(() => console.error(summary()), PROGRESS_MS);
await runPool({
  jobs: Math.max(1, number('jobs', values.jobs)!),
  next,
  onOutcome: (outcome) => {
    done++;
    addCounts(sum, outcome);
    if (outcome.failure === null) return;
    failed.push(outcome.seed);
    console.log(outcome.failure);
  },
});
clearInterval(progress);
if (failed.length > 0) console.log(`failed seeds: ${failed.sort((a, b) => a - b).join(' ')}`);
console.log(`simulate: ${summary()}`);
process.exitCode = failed.length > 0 ? 1 : 0;
