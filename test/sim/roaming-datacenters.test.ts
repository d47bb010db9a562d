// The short form of `npm run simulate -- --roaming --datacenters`: known seeds of two regions and of three, one
// datacenter at least, between which devices go with their sessions.
import t from 'tap';
import {
  describeRoamingCounts,
  noRoamingCounts,
  roamingPlan,
  runRoamingPlan,
} from './roaming-seeds.ts';
import { addCounts } from './run-outcome.ts';

/** Seeds that once failed, with what they found. */
const KEPT: readonly (readonly [seed: number, why: string])[] = [
  [18, 'nodes said of a later CONNECT again what they had said, and then could say nothing else'],
  [38, 'a node opened a session that was let go of meanwhile'],
  [45, 'a word about a session that was not on its way was passed over'],
  [48, 'a word from before the last CONNECT here was taken for one from before the session'],
  [73, 'nodes that came back published before they knew what was on its way'],
  [98, 'a session was forgotten with what a third region had given back since its last page'],
];
/** Without faults. */
const KEPT_QUIET: readonly (readonly [seed: number, why: string])[] = [
  [8, 'a clean start elsewhere took the new session out of the directory'],
  [79, 'a clean start elsewhere had a lower epoch than the session it ended'],
];

/** Where nodes die, and their Redis. */
const KEPT_DEATHS: readonly (readonly [seed: number, why: string])[] = [
  [3023, 'a holder had noted how far another region was, and had not settled what that has'],
  [3214, 'a holder had taken more from another region than it had noted, and the next one said so'],
];
const DEATHS = ['holder_kill', 'kill', 'redis_down', 'all_down', 'power'] as const;

t.setTimeout(280_000);

t.test('known seeds: every promise holds', async (t) => {
  const sum = noRoamingCounts();
  const plans = [
    ...KEPT.map(([seed, why]) => ({ plan: roamingPlan(seed, { hasDatacenters: true }), why })),
    ...KEPT_QUIET.map(([seed, why]) => ({
      plan: roamingPlan(seed, { hasDatacenters: true, faults: 0 }),
      why,
    })),
    ...KEPT_DEATHS.map(([seed, why]) => ({
      plan: roamingPlan(seed, { hasDatacenters: true, kinds: DEATHS }),
      why,
    })),
  ];
  for (const { plan, why } of plans) {
    const outcome = await runRoamingPlan(plan);
    addCounts(sum, outcome);
    t.equal(outcome.failure, null, `seed ${plan.seed}: ${why}`);
  }
  t.comment(describeRoamingCounts(sum));
  t.ok(sum.moves > 5 * plans.length && sum.away > 0, 'sessions moved, some without their home');
  t.ok(sum.faults >= KEPT.length && sum.acked > 20 * plans.length, 'faults happened');
});

t.test('a seed says what happens, to the last event', async (t) => {
  const plan = roamingPlan(45, { hasDatacenters: true });
  const [first, second] = [await runRoamingPlan(plan), await runRoamingPlan(plan)];
  t.strictSame(first, second);
});
