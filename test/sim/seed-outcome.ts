/**
 * A run of a seed as data: what is counted of it, and what is said when it is not clean. Used where many
 * seeds are run (seed-pool.ts, the tests of fixed seeds).
 */
import { type ClusterRunReport, runCluster } from './cluster-run.ts';
import { failuresFrom, outcomeOf, type RunOutcome } from './run-outcome.ts';
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

export type SeedOutcome = RunOutcome<SeedCounts>;

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

export function runPlan(plan: SeedPlan): Promise<SeedOutcome> {
  return outcomeOf(plan, { run: runCluster, countsOf, noCounts, describe: describePlan });
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

/** The seeds from `from` on, one after the other; the failures. */
export function failuresOf(
  from: number,
  count: number,
  sum: SeedCounts = noCounts(),
  more: Partial<SeedPlan> = {},
): Promise<string[]> {
  return failuresFrom(from, count, sum, (seed) => runPlan({ ...seedPlan(seed), ...more }));
}

export function describeCounts(sum: SeedCounts): string {
  return (
    `faults ${sum.faults}, acked ${sum.acked}, delivered ${sum.delivered}, lost ${sum.lost}, ` +
    `duplicates ${sum.duplicates}, order violations ${sum.orderViolations}, ` +
    `sessions lost ${sum.sessionsLost}, probes ${sum.probes}, missed ${sum.probesMissed}`
  );
}
