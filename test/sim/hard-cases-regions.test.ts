// The interleavings of regions that break a promise when their rule is missing (docs/adr/0022), by number and
// name. Each is played for a few seeds: the promise holds in all; with its rule taken out it breaks.
import t from 'tap';
import { linkIdOf } from '../../src/core/link-names.ts';
import type { RegionCase } from './hard-case-region.ts';
import { datacenterCases } from './hard-cases-datacenters.ts';
import { regionCases } from './hard-cases-regions.ts';
import { roamingCases } from './hard-cases-roaming.ts';
import type { RegionLife } from './region-life.ts';
import { RegionScene } from './region-scene.ts';

t.setTimeout(280_000);

const SEEDS = [1, 2];

async function isKept(
  { promise, options }: RegionCase,
  seed: number,
  sabotage: (life: RegionLife) => void = () => {},
): Promise<boolean> {
  return promise(await RegionScene.begin(seed, { ...options, sabotage }));
}

for (const regionCase of [...regionCases, ...datacenterCases, ...roamingCases]) {
  const { number, title, without, sabotage } = regionCase;
  t.test(`hard case ${number}, ${title}`, async (t) => {
    for (const seed of SEEDS) t.ok(await isKept(regionCase, seed), `seed ${seed}: it holds`);
    const broken: number[] = [];
    for (const seed of SEEDS) if (!(await isKept(regionCase, seed, sabotage))) broken.push(seed);
    t.not(broken.length, 0, `it breaks when ${without}`);
  });
}

t.test('a holder that may not serve for a moment goes on with what it has', async (t) => {
  const scene = await RegionScene.begin(1, { regions: 2, topology: 'pair', nodes: [2, 1] });
  const reader = await scene.subscriber('reader', 'eu', 'a/#', 2);
  const writer = await scene.connected('writer', 'us');
  const { holder, member } = scene.holder('eu');
  const { membership } = member!;
  const { window } = holder;
  const mayServe = membership.mayServe.bind(membership);
  membership.mayServe = () => false;
  writer.publish('a/1', 'one', 2);
  writer.publish('a/1', 'two', 1);
  await scene.pass(700);
  t.strictSame(reader.taken, []);
  membership.mayServe = mayServe;
  await scene.until('both are there', () => reader.taken.length > 1);
  t.strictSame(reader.taken, ['one', 'two']);
  t.ok(holder.isHolder && holder.window === window, 'its notes were not taken anew');
});

t.test('wanted again while UNSUBSCRIBE has no answer: subscribed to again', async (t) => {
  const scene = await RegionScene.begin(1, { regions: 2, topology: 'pair' });
  const { site } = scene;
  const reader = await scene.subscriber('reader', 'eu', 'a/#', 1);
  reader.unsubscribe('a/#');
  await scene.pass(500);
  site.network.block('us', 'eu');
  const there = scene.life('us').broker.admin;
  await scene.until('given up', () => there.subscriptions(linkIdOf('eu'))?.length === 0);
  const packetId = reader.subscribe('a/#');
  await scene.until('subscribed', () => reader.count('SUBACK', packetId) > 0);
  await scene.pass(500);
  site.network.cut('eu', 'us', 'both');
  site.network.unblockAll();
  t.ok(await scene.comesTrue(() => site.isLinked, 60_000), 'the link has it');
  t.equal(there.subscriptions(linkIdOf('eu'))?.length, 1);
});
