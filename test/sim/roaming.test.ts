// The short form of `npm run simulate -- --roaming`: known seeds of sessions that go from region to region.
import t from 'tap';
import {
  describeRoamingCounts,
  noRoamingCounts,
  roamingPlan,
  runRoamingPlan,
} from './roaming-seeds.ts';
import { addCounts } from './run-outcome.ts';

/** Of two regions and of three. */
const SEEDS = 12;

/** Seeds that once failed, with what they found. */
const KEPT: readonly (readonly [seed: number, why: string])[] = [
  [115, 'a question that came late had a home forget what was there since'],
  [130, 'what of a queue was in doubt was handed to a third region all the same'],
  [162, 'each of two homes gave up the other one, as both had a CONNECT while they asked'],
  [99, 'what a client was told of its subscriptions was in no row when its region was cut off'],
  [121, 'a region claimed below what its own records knew, as its clock began anew with it'],
];

/** The same with clients that are new and go on at once. */
const NEWCOMERS: readonly number[] = [5, 10, 14];

t.setTimeout(280_000);

for (const [seed, why] of KEPT) {
  t.test(`seed ${seed}: ${why}`, async (t) => {
    t.equal((await runRoamingPlan(roamingPlan(seed))).failure, null);
  });
}

for (const seed of NEWCOMERS) {
  t.test(`seed ${seed}: a client that is new elsewhere is found before it is listed`, async (t) => {
    const plan = roamingPlan(seed, { hasNewcomers: true });
    t.equal((await runRoamingPlan(plan)).failure, null);
  });
}

t.test(`the first ${SEEDS} seeds: every promise holds`, async (t) => {
  const sum = noRoamingCounts();
  for (let seed = 1; seed <= SEEDS; seed++) {
    const outcome = await runRoamingPlan(roamingPlan(seed));
    addCounts(sum, outcome);
    t.equal(outcome.failure, null, `seed ${seed}`);
  }
  t.comment(describeRoamingCounts(sum));
  t.ok(sum.moves > 5 * SEEDS && sum.away > 0, 'sessions moved, some without their home');
  t.ok(sum.faults >= SEEDS && sum.acked > 20 * SEEDS, 'faults happened, messages were acked');
});
