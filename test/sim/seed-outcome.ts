/**
 * A run of a seed as data: what is counted of it, and what is said when it is not clean. Used where many
 * seeds are run (seed-pool.ts, the tests of fixed seeds).
 */
import { type ClusterRunReport, runCluster } from './cluster-run.ts';
import { SimulationFailure } from './kernel.ts';
import { type SeedPlan, seedPlan } from './seed-plan.ts';

/** What adds up over seeds. */
export interface SeedCounts {
  faults: number;
  acked: number;
  delivered: number;
  lost: number;
  duplicates: number;
  orderViolations: number;
  sessionsLost: number;
  probes: number;
  probesMissed: number;
}

export interface SeedOutcome {
  readonly seed: number;
  readonly counts: SeedCounts;
  /** Null: clean. */
  readonly failure: string | null;
}

export function noCounts(): SeedCounts {
  return {
    faults: 0,
    acked: 0,
    delivered: 0,
    lost: 0,
    duplicates: 0,
    orderViolations: 0,
    sessionsLost: 0,
    probes: 0,
    probesMissed: 0,
  };
}

export async function runPlan(plan: SeedPlan): Promise<SeedOutcome> {
  const { seed } = plan;
  try {
    return { seed, counts: countsOf(await runCluster(plan)), failure: null };
  } catch (error) {
    if (!(error instanceof SimulationFailure)) throw error;
    const report = error.cause as Partial<ClusterRunReport> | undefined;
    const counts =
      report?.happened === undefined ? noCounts() : countsOf(report as ClusterRunReport);
    return { seed, counts, failure: `${describePlan(plan)}\n${error.message.trimEnd()}` };
  }
}

/** The row that keeps it as a test. */
function describePlan({ seed, faults, kit, isShort, deafMs }: SeedPlan): string {
  return `FAILED { seed: ${seed}, faults: ${faults}, kinds: ${kit}, isShort: ${isShort}, deafMs: ${deafMs} }`;
}

function countsOf(report: ClusterRunReport): SeedCounts {
  const {
    happened,
    acked,
    delivered,
    lost,
    duplicates,
    orderViolations,
    sessionsLost,
    probes,
    probesMissed,
  } = report;
  return {
    faults: happened.length,
    acked,
    delivered,
    lost,
    duplicates,
    orderViolations,
    sessionsLost,
    probes,
    probesMissed,
  };
}

export function addCounts(sum: SeedCounts, { counts }: SeedOutcome): void {
  for (const name of Object.keys(sum) as (keyof SeedCounts)[]) sum[name] += counts[name];
}

/** The seeds from `from` on, one after the other; the failures. */
export async function failuresOf(
  from: number,
  count: number,
  sum: SeedCounts = noCounts(),
  more: Partial<SeedPlan> = {},
): Promise<string[]> {
  const failures: string[] = [];
  for (let seed = from; seed < from + count; seed++) {
    const outcome = await runPlan({ ...seedPlan(seed), ...more });
    addCounts(sum, outcome);
    if (outcome.failure !== null) failures.push(outcome.failure);
  }
  return failures;
}

export function describeCounts(sum: SeedCounts): string {
  return (
    `faults ${sum.faults}, acked ${sum.acked}, delivered ${sum.delivered}, lost ${sum.lost}, ` +
    `duplicates ${sum.duplicates}, order violations ${sum.orderViolations}, ` +
    `sessions lost ${sum.sessionsLost}, probes ${sum.probes}, missed ${sum.probesMissed}`
  );
}
