/** The short form of `npm run simulate`: its 1,000 fixed seeds, 250 in each of the files seeds-1 to seeds-4. */
import t from 'tap';
import { describeCounts, failuresOf, noCounts } from './seed-outcome.ts';

const SEEDS = 250;

export function testSeedsFrom(from: number): void {
  t.setTimeout(870_000);
  t.test(`seeds ${from} to ${from + SEEDS - 1}: every promise holds`, async (t) => {
    const sum = noCounts();
    const reports = await failuresOf(from, SEEDS, sum);
    t.comment(describeCounts(sum));
    for (const report of reports) t.fail(report);
    t.equal(reports.length, 0, 'runs that are not clean');
    t.ok(sum.faults >= SEEDS && sum.acked > 20 * SEEDS, 'faults happened, messages were acked');
    t.ok(sum.probes > 5 * SEEDS, 'and subscribers were published to elsewhere');
  });
}
