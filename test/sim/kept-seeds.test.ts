// Seeds that once found something (kept-seeds.ts): none finds it again.
import t from 'tap';
import { simFaults } from './cluster-faults.ts';
import { runCluster } from './cluster-run.ts';
import { keptSeeds } from './kept-seeds.ts';

t.setTimeout(870_000);

for (const { why, kinds = simFaults, ...kept } of keptSeeds) {
  t.test(`seed ${kept.seed}: ${why}`, async (t) => {
    const report = await runCluster({ ...kept, kinds });
    t.ok(report.isClean);
  });
}

t.test('rows are as the simulation wants them', async (t) => {
  for (const { seed, faults, kinds = simFaults, why } of keptSeeds) {
    t.ok(Number.isInteger(seed) && faults > 0 && why.length > 0, `seed ${seed}`);
    for (const kind of kinds) t.ok(simFaults.includes(kind), `seed ${seed}: ${kind}`);
  }
});
