/** Hard cases 19 and 20 of DESIGN §6 as scenes of regions that are linked. Run by hard-cases-regions.test.ts. */
import { linkIdOf } from '../../src/core/link-names.ts';
import { NEW } from '../../src/geo/identity-window.ts';
import { forgetting, notWaitingForLinks, type RegionCase } from './hard-case-region.ts';
import { publishAcked } from './scene-steps.ts';

const PAIR = { regions: 2, topology: 'pair' } as const;
const RING = { regions: 3, topology: 'ring' } as const;
const RING_OF_FOUR = { regions: 4, topology: 'ring' } as const;

export const regionCases: readonly RegionCase[] = [
  {
    number: 19,
    title: 'what sessions want whose clients are away is fetched, also after a restart',
    options: PAIR,
    promise: async (scene) => {
      const reader = await scene.subscriber('reader', 'eu', 'a/#', 1);
      reader.leave();
      scene.site.kill(scene.region('eu'));
      scene.site.start(scene.region('eu'));
      await scene.linked();
      // Longer than what is not wanted any more is kept.
      await scene.pass(8000);
      const writer = await scene.connected('writer', 'us');
      await publishAcked(scene, writer, 'a/1', 'one');
      await scene.again(reader, 'eu');
      return scene.comesTrue(() => reader.taken.includes('one'));
    },
    without: 'what a restart finds in sessions does not count as wanted',
    sabotage: (life) => {
      const { wanted } = life.links;
      const add = wanted.add.bind(wanted);
      wanted.add = (filter, regions) => {
        if (life.isReady) add(filter, regions);
      };
    },
  },
  {
    number: 19,
    title: 'a session that the other region has lost is a counted gap, and made anew',
    options: PAIR,
    promise: async (scene) => {
      const { network } = scene.site;
      const reader = await scene.subscriber('reader', 'eu', 'a/#', 1);
      const writer = await scene.connected('writer', 'us');
      network.block('us', 'eu');
      await publishAcked(scene, writer, 'a/1', 'lost');
      scene.site.kill(scene.region('eu'));
      scene.life('us').broker.admin.endSession(linkIdOf('eu'));
      network.unblockAll();
      scene.site.start(scene.region('eu'));
      await scene.linked();
      await scene.again(reader, 'eu');
      writer.publish('a/1', 'later');
      const hasLater = await scene.comesTrue(() => reader.taken.includes('later'));
      const [link] = scene.life('eu').holder.links;
      return hasLater && link!.counters.gaps === 1;
    },
    without: 'it is not kept that there was a session',
    sabotage: forgetting('l/'),
  },
  {
    number: 19,
    title: 'what is not wanted any more after a restart is given up there',
    options: PAIR,
    promise: async (scene) => {
      const reader = await scene.subscriber('reader', 'eu', 'a/#', 1);
      scene.site.network.block('us', 'eu');
      await scene.pass(200);
      const packetId = reader.unsubscribe('a/#');
      await scene.until('unsubscribed', () => reader.count('UNSUBACK', packetId) > 0);
      // Longer than the disk takes at most.
      await scene.pass(500);
      scene.site.kill(scene.region('eu'));
      scene.site.network.unblockAll();
      scene.site.start(scene.region('eu'));
      return scene.comesTrue(() => scene.site.isLinked, 60_000);
    },
    without: 'it is not kept what was subscribed there',
    sabotage: forgetting('s/'),
  },
  {
    number: 20,
    title: 'two ways lead to a region: a message is taken once',
    options: RING,
    promise: async (scene) => {
      const reader = await scene.subscriber('reader', 'ap', 'a/#', 2);
      await scene.subscriber('other', 'us', 'a/#', 2);
      const writer = await scene.connected('writer', 'eu');
      writer.publish('a/1', 'one', 2);
      await scene.until('it is there', () => reader.taken.length > 0);
      await scene.pass(5000);
      return reader.taken.length === 1;
    },
    without: 'names of messages are not looked at',
    sabotage: (life) => {
      life.onBegun = () => {
        life.holder.window.seen = () => NEW;
      };
    },
  },
  {
    number: 20,
    title: 'a node dies between commit and acknowledgement: what comes again is dropped',
    options: PAIR,
    promise: async (scene) => {
      const { network } = scene.site;
      const reader = await scene.subscriber('reader', 'eu', 'a/#', 2);
      const writer = await scene.connected('writer', 'us');
      network.block('eu', 'us');
      writer.publish('a/1', 'one', 2);
      await scene.until('it is there', () => reader.taken.length > 0);
      await scene.pass(500);
      network.cut('eu', 'us', 'both');
      scene.site.kill(scene.region('eu'));
      network.unblockAll();
      scene.site.start(scene.region('eu'));
      await scene.linked();
      await scene.again(reader, 'eu');
      await scene.pass(5000);
      return reader.taken.length === 1;
    },
    without: 'names of messages are not kept',
    sabotage: forgetting('w/'),
  },
  {
    number: 20,
    title: 'a message goes over each link of a ring once each way at most, and never home',
    options: RING,
    promise: async (scene) => {
      const { watch } = scene;
      for (const name of ['eu', 'us', 'ap']) await scene.subscriber(`in-${name}`, name, 'a/#', 1);
      const writer = await scene.connected('writer', 'eu');
      // At first only the long way is free.
      scene.site.network.block('eu', 'ap');
      for (let count = 1; count <= 5; count++) writer.publish('a/1', `${count}`, 1);
      await scene.pass(5000);
      scene.site.network.unblockAll();
      await scene.pass(5000);
      // From eu to both, and from each of these to the other.
      return watch.taken === 10 && watch.sent <= 20 && watch.broken.length === 0;
    },
    without: 'a path has only the last region',
    sabotage: ({ broker: { linkInlet } }) => {
      const publish = linkInlet.publish.bind(linkInlet);
      linkInlet.publish = (from, topic, start, mark, ...rest) => {
        const { id, path } = mark.origin!;
        const origin = { id, path: path.split(',').at(-1)! };
        publish(from, topic, start, { ...mark, origin }, ...rest);
      };
    },
  },
  {
    number: 20,
    title: 'nothing goes on to a third region that a crash here could take back',
    options: RING_OF_FOUR,
    promise: async (scene) => {
      // The ring: eu, us, ap, af. The other way from af to us, over ap, is shut at first.
      const { network } = scene.site;
      const reader = await scene.subscriber('reader', 'eu', 'a/#', 1);
      const other = await scene.subscriber('other', 'us', 'a/#', 1);
      const writer = await scene.connected('writer', 'af');
      network.block('af', 'ap');
      scene.disk('eu').busyUntilMs = scene.kernel.nowMs + 10_000;
      writer.publish('a/1', 'one', 1);
      await scene.comesTrue(() => other.taken.includes('one'), 3000);
      await scene.pass(1000);
      scene.site.kill(scene.region('eu'));
      scene.disk('eu').busyUntilMs = 0;
      network.block('af', 'eu');
      network.unblock('af', 'ap');
      writer.publish('a/1', 'two', 1);
      await scene.until('two is in us', () => other.taken.includes('two'));
      reader.taken.length = 0;
      scene.site.start(scene.region('eu'));
      await scene.until('eu is there', () => scene.life('eu').isReady);
      await scene.again(reader, 'eu');
      await scene.until('two is in eu', () => reader.taken.includes('two'));
      network.unblockAll();
      await scene.until('one is in eu', () => reader.taken.includes('one'));
      return reader.taken.indexOf('one') < reader.taken.indexOf('two');
    },
    without: 'QoS 1 leaves before it is durable',
    sabotage: notWaitingForLinks,
  },
];
