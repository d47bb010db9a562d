// A simulation that finds nothing proves nothing: each planted bug (plants.ts) has to be found within a
// few seeds from the one that found it when it was written, and where it is found nothing is wrong without it.
import t from 'tap';
import type { ClusterRunOptions } from './cluster-run.ts';
import { runCluster } from './cluster-run.ts';
import { SimulationFailure } from './kernel.ts';
import { type Plant, plantRun, plants } from './plants.ts';

/** What a seed meets moves with every change of the code. */
const SEEDS_MAX = 40;

t.setTimeout(870_000);
t.ok(plants.length >= 12, 'a dozen bugs at least');

async function isFound(options: ClusterRunOptions): Promise<boolean> {
  try {
    await runCluster(options);
    return false;
  } catch (error) {
    if (!(error instanceof SimulationFailure)) throw error;
    return true;
  }
}

/** Seeds that were needed; -1: too many. */
async function seedsFor(plant: Plant): Promise<number> {
  for (let seeds = 1; seeds <= SEEDS_MAX; seeds++) {
    const run = plantRun(plant, plant.seed + seeds - 1);
    if (!(await isFound({ ...run, ...plant.planted }))) continue;
    // Found when it is the plant that was.
    if (!(await isFound(run))) return seeds;
  }
  return -1;
}

for (const plant of plants) {
  t.test(plant.name, async (t) => {
    const seeds = await seedsFor(plant);
    t.not(seeds, -1, `found within ${SEEDS_MAX} seeds`);
    t.comment(`from seed ${plant.seed} on: ${seeds}`);
  });
}
