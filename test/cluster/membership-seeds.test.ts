/**
 * Membership under random faults: over every seed no node serves that another one, which serves too, does
 * not count in; nobody who died lives again; a role has one holder an epoch; afterwards all come together.
 * And each rule that is taken out must be noticed. More seeds: `node test/cluster/membership-run.ts`, or
 * MEMBERSHIP_SEEDS here.
 */
import t from 'tap';
import { seedOr } from '../support/seed.ts';
import { runSeed } from './membership-faults.ts';
import { PLANTED, type Planted } from './membership-world.ts';

const SEEDS = Number(process.env.MEMBERSHIP_SEEDS ?? 250);
const RANDOM_SEEDS = 50;
/** All planted bugs are found long before. */
const PLANTED_SEEDS_MAX = 1500;
/** Where to begin, so that rare ones are found soon. */
const FIRST_SEED: ReadonlyMap<string, number> = new Map([
  ['lease counted from the answer', 30],
  ['a lease goes on for any heartbeat', 110],
  ['a burial does not compare the counter', 530],
]);

t.test(`${SEEDS} seeds`, async (t) => {
  const seen = new Map<string, number>();
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { counts } = runSeed(seed);
    for (const [what, count] of counts) seen.set(what, (seen.get(what) ?? 0) + count);
  }
  t.comment([...seen].map(([what, count]) => `${what} ${count}`).join(', '));
  for (const what of ['joined', 'died', 'fenced', 'unfenced', 'lost', 'emptied', 'asserts']) {
    t.ok((seen.get(what) ?? 0) > SEEDS / 10, `${what} happens often enough to mean something`);
  }
});

t.test('and some more, or others (CAUSEWAY_SEED)', async (t) => {
  const from = seedOr(1_000_000);
  t.comment(`seeds ${from} to ${from + RANDOM_SEEDS - 1}`);
  for (let i = 0; i < RANDOM_SEEDS; i++) runSeed(from + i);
});

t.test('a seed decides everything', async (t) => {
  const first = runSeed(77);
  const second = runSeed(77);
  t.equal(first.events, second.events);
  t.strictSame([...first.counts], [...second.counts]);
});

function findsBug(name: string, planted: Planted): number {
  const first = FIRST_SEED.get(name) ?? 1;
  for (let seed = first; seed < first + PLANTED_SEEDS_MAX; seed++) {
    try {
      runSeed(seed, planted);
    } catch {
      return seed;
    }
  }
  return -1;
}

for (const [name, planted] of PLANTED) {
  t.test(`planted: ${name}`, async (t) => {
    const seed = findsBug(name, planted);
    t.ok(seed > 0, `found by seed ${seed}`);
    t.doesNotThrow(() => runSeed(seed), 'which is fine without it');
  });
}
