// The short form of `npm run simulate`: 250 of its 1,000 fixed seeds; the others are next door.
import t from 'tap';
import { describeCounts, failuresOf, noCounts } from './seed-outcome.ts';

const FROM = 1;
const SEEDS = 250;

t.setTimeout(870_000);

t.test(`seeds ${FROM} to ${FROM + SEEDS - 1}: every promise holds`, async (t) => {
  const sum = noCounts();
  const reports = await failuresOf(FROM, SEEDS, sum);
  t.comment(describeCounts(sum));
  for (const report of reports) t.fail(report);
  t.equal(reports.length, 0, 'runs that are not clean');
  t.ok(sum.faults >= SEEDS && sum.acked > 20 * SEEDS, 'faults happened, messages were acked');
  t.ok(sum.probes > 5 * SEEDS, 'and subscribers were published to elsewhere');
});
