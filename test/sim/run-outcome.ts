/**
 * A run of a seed as data, whatever it simulates: what is counted of it, and what is said when it is not clean.
 * What adds up over many is kept by whoever runs them. Used by seed-outcome.ts, region-seeds.ts and
 * roaming-seeds.ts, which know the plans.
 */
import { SimulationFailure } from './kernel.ts';

export interface RunOutcome<Counts> {
  readonly seed: number;
  readonly counts: Counts;
  /** Null: clean. */
  readonly failure: string | null;
}

/** How runs of one kind are counted and named. */
export interface RunBooks<Plan, Report, Counts> {
  readonly run: (plan: Plan) => Promise<Report>;
  readonly countsOf: (report: Report) => Counts;
  readonly noCounts: () => Counts;
  /** The row that keeps it as a test. */
  readonly describe: (plan: Plan) => string;
}

export async function outcomeOf<
  Plan extends { readonly seed: number },
  Report extends { readonly happened: readonly string[] },
  Counts,
>(plan: Plan, books: RunBooks<Plan, Report, Counts>): Promise<RunOutcome<Counts>> {
  const { seed } = plan;
  try {
    return { seed, counts: books.countsOf(await books.run(plan)), failure: null };
  } catch (error) {
    if (!(error instanceof SimulationFailure)) throw error;
    const report = error.cause as Partial<Report> | undefined;
    const isReport = report?.happened !== undefined;
    const counts = isReport ? books.countsOf(report as Report) : books.noCounts();
    return { seed, counts, failure: `${books.describe(plan)}\n${error.message.trimEnd()}` };
  }
}

export function addCounts<Counts extends object>(
  sum: Counts,
  { counts }: RunOutcome<Counts>,
): void {
  const [into, from] = [sum, counts] as Record<string, number>[];
  for (const name of Object.keys(sum)) into![name]! += from![name]!;
}

/** The seeds from `from` on, one after the other; the failures. */
export async function failuresFrom<Counts extends object>(
  from: number,
  count: number,
  sum: Counts,
  run: (seed: number) => Promise<RunOutcome<Counts>>,
): Promise<string[]> {
  const failures: string[] = [];
  for (let seed = from; seed < from + count; seed++) {
    const outcome = await run(seed);
    addCounts(sum, outcome);
    if (outcome.failure !== null) failures.push(outcome.failure);
  }
  return failures;
}
