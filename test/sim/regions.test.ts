// The short form of `npm run simulate -- --regions`: known seeds of regions and their links.
import t from 'tap';
import {
  describeRegionCounts,
  noRegionCounts,
  regionFailuresOf,
  regionPlan,
  runRegionPlan,
} from './region-seeds.ts';

const SEEDS = 20;

/** Seeds that once failed, with what they found. */
const KEPT: readonly (readonly [seed: number, why: string])[] = [
  [405, 'QoS 1 left over a link before it was durable, and a crash took it back: order'],
  [3199, 'a link subscribed before its note of it was durable: the filter stayed for ever'],
];

t.setTimeout(280_000);

for (const [seed, why] of KEPT) {
  t.test(`seed ${seed}: ${why}`, async (t) => {
    t.equal((await runRegionPlan(regionPlan(seed))).failure, null);
  });
}

t.test(`seeds 1 to ${SEEDS} of regions: every promise holds`, async (t) => {
  const sum = noRegionCounts();
  const reports = await regionFailuresOf(1, SEEDS, sum);
  t.comment(describeRegionCounts(sum));
  for (const report of reports) t.fail(report);
  t.equal(reports.length, 0, 'runs that are not clean');
  t.ok(sum.faults >= SEEDS && sum.acked > 20 * SEEDS, 'faults happened, messages were acked');
  t.ok(sum.taken > 20 * SEEDS && sum.sent > sum.taken, 'links brought them, some over two ways');
});
