/** Hard case 21 of DESIGN §6 as scenes of sessions that go from region to region. Run by hard-cases-regions.test.ts. */
import type { RegionCase } from './hard-case-region.ts';
import type { SimRegion } from './region-life.ts';
import type { RegionScene } from './region-scene.ts';
import { asksNobody, fetchesNothing, oneShare, saysNothingOfAnew } from './roaming-planting.ts';
import { standingsOf } from './roaming-watch.ts';
import type { SimClient } from './sim-client.ts';

const PAIR = { regions: 2, topology: 'pair', roams: true } as const;

/** One region alone has the session, and nothing of it is elsewhere. */
function isAt(scene: RegionScene, clientId: string, name: string): boolean {
  const [one, ...others] = standingsOf(scene.site, clientId);
  if (one === undefined || others.length > 0 || one.region !== name) return false;
  return one.leavesFor === null && one.sources.length === 0;
}

async function publishes(
  scene: RegionScene,
  writer: SimClient<SimRegion>,
  texts: readonly string[],
): Promise<void> {
  for (const text of texts) {
    const packetId = writer.publish('a/1', text, 2);
    await scene.until(`${text} is taken`, () => writer.count('PUBREC', packetId) > 0);
  }
}

async function subscribes(scene: RegionScene, reader: SimClient<SimRegion>): Promise<void> {
  const packetId = reader.subscribe('a/#', 2);
  await scene.until('subscribed', () => reader.count('SUBACK', packetId) > 0);
}

function once(taken: readonly string[], texts: readonly string[]): boolean {
  return taken.length === texts.length && texts.every((text) => taken.includes(text));
}

function split(scene: RegionScene): void {
  scene.site.network.block('eu', 'us');
  scene.site.network.block('us', 'eu');
}

export const roamingCases: readonly RegionCase[] = [
  {
    number: 21,
    title: 'a home that is cut off: its client is served at once, and has all of both in the end',
    options: PAIR,
    promise: async (scene) => {
      const reader = await scene.subscriber('reader', 'eu', 'a/#', 2);
      const [inEu, inUs] = [await scene.connected('one', 'eu'), await scene.connected('two', 'us')];
      reader.leave();
      await scene.pass(2000);
      split(scene);
      await publishes(scene, inEu, ['eu 1', 'eu 2']);
      await scene.again(reader, 'us');
      if (reader.connack?.sessionPresent !== true) return false;
      await publishes(scene, inUs, ['us 1']);
      if (!(await scene.comesTrue(() => reader.taken.includes('us 1')))) return false;
      if (reader.taken.length > 1) return false;
      scene.site.network.unblockAll();
      if (!(await scene.comesTrue(() => isAt(scene, 'reader', 'us'), 120_000))) return false;
      return once(reader.taken, ['us 1', 'eu 1', 'eu 2']);
    },
    without: 'nobody goes for what waits elsewhere',
    sabotage: fetchesNothing,
  },
  {
    number: 21,
    title: 'what a client knows from a home that is cut off keeps its packet identifier to itself',
    options: PAIR,
    promise: async (scene) => {
      const reader = await scene.subscriber('reader', 'eu', 'a/#', 2);
      const [inEu, inUs] = [await scene.connected('one', 'eu'), await scene.connected('two', 'us')];
      await scene.pass(2000);
      reader.isAcking = false;
      await publishes(scene, inEu, ['eu 1']);
      await scene.until('it is there', () => reader.taken.length === 1);
      split(scene);
      reader.cut();
      reader.isAcking = true;
      await scene.again(reader, 'us');
      await publishes(scene, inUs, ['us 1']);
      if (!(await scene.comesTrue(() => reader.taken.includes('us 1')))) return false;
      scene.site.network.unblockAll();
      if (!(await scene.comesTrue(() => isAt(scene, 'reader', 'us'), 120_000))) return false;
      await scene.pass(1000);
      return once(reader.taken, ['us 1', 'eu 1']);
    },
    without: 'every home gives identifiers of one share',
    sabotage: oneShare,
  },
  {
    number: 21,
    title: 'a client that is new is in another region before any row names its first one',
    options: PAIR,
    promise: async (scene) => {
      const [inEu, inUs] = [await scene.connected('one', 'eu'), await scene.connected('two', 'us')];
      // What eu writes has not come to the table of us.
      scene.site.sessions!.isReplicating = false;
      const first = await scene.connected('reader', 'eu');
      await subscribes(scene, first);
      const reader = await scene.connected('reader', 'us');
      scene.site.sessions!.isReplicating = true;
      if (reader.connack?.sessionPresent !== true) return false;
      if (!(await scene.comesTrue(() => !first.isOpen))) return false;
      await publishes(scene, inEu, ['eu 1']);
      await publishes(scene, inUs, ['us 1']);
      if (!(await scene.comesTrue(() => isAt(scene, 'reader', 'us')))) return false;
      await scene.pass(1000);
      return once(reader.taken, ['us 1', 'eu 1']) && first.taken.length === 0;
    },
    without: 'nobody is asked who has it',
    sabotage: asksNobody,
  },
  {
    number: 21,
    title: 'a client that is new and connects in two regions at once is served in one',
    options: PAIR,
    promise: async (scene) => {
      const clients = [scene.connecting('reader', 'eu'), scene.connecting('reader', 'us')];
      await scene.until('answered', () => clients.every((one) => one.count('CONNACK') > 0));
      await scene.pass(2000);
      if (clients.filter(({ isOpen }) => isOpen).length !== 1) return false;
      return isAt(scene, 'reader', 'eu') || isAt(scene, 'reader', 'us');
    },
    without: 'nobody is asked who has it',
    sabotage: asksNobody,
  },
  {
    number: 21,
    title:
      'a client that began anew, as its home could not be asked, has one home in the end, and what waited',
    options: PAIR,
    promise: async (scene) => {
      const [inEu, inUs] = [await scene.connected('one', 'eu'), await scene.connected('two', 'us')];
      scene.site.sessions!.isReplicating = false;
      const first = await scene.connected('reader', 'eu');
      await subscribes(scene, first);
      split(scene);
      const reader = await scene.connected('reader', 'us');
      scene.site.sessions!.isReplicating = true;
      if (reader.connack?.sessionPresent === true) return false;
      await subscribes(scene, reader);
      first.leave();
      await scene.pass(1000);
      await publishes(scene, inEu, ['eu 1']);
      await publishes(scene, inUs, ['us 1']);
      scene.site.network.unblockAll();
      const isOne = (): boolean => isAt(scene, 'reader', 'us') || isAt(scene, 'reader', 'eu');
      if (!(await scene.comesTrue(isOne, 120_000))) return false;
      // The clocks of the regions have said which.
      if (!reader.isOpen) await scene.again(reader, 'us');
      if (!(await scene.comesTrue(() => isAt(scene, 'reader', 'us')))) return false;
      await scene.pass(1000);
      return once(reader.taken, ['us 1', 'eu 1']);
    },
    without: 'nobody is told that it has begun anew',
    sabotage: saysNothingOfAnew,
  },
  {
    number: 21,
    title: 'a clean start that the home could not be told of ends its session, also after kill -9',
    options: PAIR,
    promise: async (scene) => {
      const reader = await scene.subscriber('reader', 'eu', 'a/#', 2);
      reader.leave();
      await scene.pass(2000);
      split(scene);
      await scene.again(reader, 'us', { cleanStart: true });
      scene.site.kill(scene.region('us'));
      scene.site.network.unblockAll();
      scene.site.start(scene.region('us'));
      return scene.comesTrue(() => isAt(scene, 'reader', 'us'), 120_000);
    },
    without: 'nobody is told that it has begun anew',
    sabotage: saysNothingOfAnew,
  },
];
