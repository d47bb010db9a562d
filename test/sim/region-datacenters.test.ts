// The short form of `npm run simulate -- --datacenters`: known seeds of regions some of which are datacenters, whose
// links one of their nodes has at a time.
import t from 'tap';
import {
  datacenterPlan,
  describeRegionCounts,
  noRegionCounts,
  regionFailuresOf,
  runRegionPlan,
} from './region-seeds.ts';

const SEEDS = 10;

/** Seeds that once failed, with what they found. */
const KEPT: readonly (readonly [seed: number, why: string])[] = [
  [152, 'a queue that was let go of was read all the same: its messages stayed in memory'],
];

t.setTimeout(280_000);

for (const [seed, why] of KEPT) {
  t.test(`seed ${seed}: ${why}`, async (t) => {
    t.equal((await runRegionPlan(datacenterPlan(seed))).failure, null);
  });
}

t.test(`seeds 1 to ${SEEDS} of datacenters: every promise holds`, async (t) => {
  const sum = noRegionCounts();
  const reports = await regionFailuresOf(1, SEEDS, sum, datacenterPlan);
  t.comment(describeRegionCounts(sum));
  for (const report of reports) t.fail(report);
  t.equal(reports.length, 0, 'runs that are not clean');
  t.ok(sum.faults >= SEEDS && sum.acked > 20 * SEEDS, 'faults happened, messages were acked');
  t.ok(sum.taken > 20 * SEEDS && sum.sent > sum.taken, 'links brought them');
});
