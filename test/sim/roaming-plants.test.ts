// A simulation that finds nothing proves nothing: each planted bug of moves (roaming-plants.ts) has to be found
// within a few seeds, and where it is found nothing is wrong without it.
import t from 'tap';
import { SimulationFailure } from './kernel.ts';
import { type RoamingPlant, roamingPlantRun, roamingPlants } from './roaming-plants.ts';
import { type RoamingRunOptions, runRoaming } from './roaming-run.ts';

/** What a seed meets moves with every change of the code. */
const SEEDS_MAX = 40;

t.setTimeout(280_000);

async function isFound(options: RoamingRunOptions): Promise<boolean> {
  try {
    await runRoaming(options);
    return false;
  } catch (error) {
    if (!(error instanceof SimulationFailure)) throw error;
    return true;
  }
}

/** Seeds that were needed; -1: too many. */
async function seedsFor(plant: RoamingPlant): Promise<number> {
  for (let seeds = 1; seeds <= SEEDS_MAX; seeds++) {
    const run = roamingPlantRun(plant, plant.seed + seeds - 1);
    if (!(await isFound({ ...run, sabotage: plant.sabotage }))) continue;
    // Found when it is the plant that was.
    if (!(await isFound(run))) return seeds;
  }
  return -1;
}

for (const plant of roamingPlants) {
  t.test(plant.name, async (t) => {
    const seeds = await seedsFor(plant);
    t.not(seeds, -1, `found within ${SEEDS_MAX} seeds`);
    t.comment(`from seed ${plant.seed} on: ${seeds}`);
  });
}
