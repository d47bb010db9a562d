// The interleavings that break a promise when their rule is missing (docs/adr/0010 to 0014), by number and
// name. Each is played for a few seeds: the promise holds in all; with its rule taken out it breaks.
import t from 'tap';
import type { HardCase } from './hard-case.ts';
import { journalCases } from './hard-cases-journal.ts';
import { nodeCases } from './hard-cases-nodes.ts';
import { sessionCases } from './hard-cases-sessions.ts';
import type { Planted } from './planting.ts';
import { Scene } from './scene.ts';

t.setTimeout(870_000);

const cases = [...nodeCases, ...sessionCases, ...journalCases];
const SEEDS = [1, 2, 3, 4];
const PLANTED_SEEDS = 16;

async function isKept({ promise, options }: HardCase, seed: number, planted: Planted) {
  const { plant, ...rest } = planted;
  const scene = await Scene.begin(seed, { ...options, ...rest });
  plant?.(scene.site);
  return promise(scene);
}

for (const hardCase of cases) {
  const { number, title, without, planted } = hardCase;
  t.test(`hard case ${number}, ${title}`, async (t) => {
    for (const seed of SEEDS) t.ok(await isKept(hardCase, seed, {}), `seed ${seed}: it holds`);
    const broken: number[] = [];
    // The first that breaks is enough; whether one does may hang on who is a moment earlier.
    for (let seed = 1; broken.length === 0 && seed <= PLANTED_SEEDS; seed++) {
      if (!(await isKept(hardCase, seed, planted))) broken.push(seed);
    }
    t.not(broken.length, 0, `it breaks when ${without}`);
    t.comment(`broken with seed ${broken.join()}`);
  });
}

t.test('every hard case of a datacenter has its test', async (t) => {
  const numbers = new Set(cases.map(({ number }) => number));
  for (let number = 1; number <= 14; number++) t.ok(numbers.has(number), `${number}`);
});
