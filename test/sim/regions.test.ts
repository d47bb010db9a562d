// The short form of `npm run simulate -- --regions`: known seeds of regions and their links.
import t from 'tap';
import { describeRegionCounts, noRegionCounts, regionFailuresOf } from './region-seeds.ts';

const SEEDS = 30;

t.setTimeout(280_000);

t.test(`seeds 1 to ${SEEDS} of regions: every promise holds`, async (t) => {
  const sum = noRegionCounts();
  const reports = await regionFailuresOf(1, SEEDS, sum);
  t.comment(describeRegionCounts(sum));
  for (const report of reports) t.fail(report);
  t.equal(reports.length, 0, 'runs that are not clean');
  t.ok(sum.faults >= SEEDS && sum.acked > 20 * SEEDS, 'faults happened, messages were acked');
  t.ok(sum.taken > 20 * SEEDS && sum.sent > sum.taken, 'links brought them, some over two ways');
});
