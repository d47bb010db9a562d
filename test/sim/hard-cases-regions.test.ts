// The interleavings of regions that break a promise when their rule is missing (docs/adr/0022), by number and
// name. Each is played for a few seeds: the promise holds in all; with its rule taken out it breaks.
import t from 'tap';
import { type RegionCase, regionCases } from './hard-cases-regions.ts';
import { RegionScene } from './region-scene.ts';
import type { RegionLife } from './region-site.ts';

t.setTimeout(280_000);

const SEEDS = [1, 2];

async function isKept(
  { promise, options }: RegionCase,
  seed: number,
  sabotage: (life: RegionLife) => void = () => {},
): Promise<boolean> {
  return promise(await RegionScene.begin(seed, { ...options, sabotage }));
}

for (const regionCase of regionCases) {
  const { number, title, without, sabotage } = regionCase;
  t.test(`hard case ${number}, ${title}`, async (t) => {
    for (const seed of SEEDS) t.ok(await isKept(regionCase, seed), `seed ${seed}: it holds`);
    const broken: number[] = [];
    for (const seed of SEEDS) if (!(await isKept(regionCase, seed, sabotage))) broken.push(seed);
    t.not(broken.length, 0, `it breaks when ${without}`);
  });
}
