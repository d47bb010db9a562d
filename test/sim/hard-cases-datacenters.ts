/**
 * Hard cases 15 to 20 of DESIGN §6 as scenes of regions, one of which is a datacenter where that matters. Run
 * by hard-cases-regions.test.ts.
 */
import { linkIdOf } from '../../src/core/link-names.ts';
import { OWN_IDENTITY } from '../../src/core/shared-append.ts';
import { forgetting, type RegionCase } from './hard-case-region.ts';
import type { Twin } from './model-db.ts';
import { TWINS } from './model-functions.ts';
import type { RegionLife } from './region-life.ts';
import type { RegionScene } from './region-scene.ts';
import { publishAcked } from './scene-steps.ts';

/** A datacenter of two nodes, and a node alone. */
const PAIR = { regions: 2, topology: 'pair', nodes: [2, 1] } as const;
const TABLES = { regions: 2, topology: 'pair', hasCassandra: true } as const;
/** Until a round has been over what was stamped before: it leaves alone what is younger than a minute. */
const ROUNDS_MS = 90_000;
/** More than clocks may differ by. */
const AHEAD_MS = 120_000;

export const datacenterCases: readonly RegionCase[] = [
  {
    number: 15,
    title: 'a retained change is acknowledged when a SUBSCRIBE at any other node finds it',
    options: PAIR,
    promise: async (scene) => {
      const [here, there] = [scene.holder('eu'), scene.other('eu')];
      const writer = await scene.connectedAt('writer', here);
      const reader = await scene.connectedAt('reader', there);
      stall(scene, here, there, 1000);
      await publishAcked(scene, writer, 'kept/a', 'new', { retain: true });
      const subscribed = reader.subscribe('kept/#');
      await scene.until('subscribed', () => reader.count('SUBACK', subscribed) > 0);
      await scene.pass(100);
      return reader.taken.join() === 'new';
    },
    without: 'its acknowledgement does not wait for the other nodes',
    sabotage: ({ member }) => {
      if (member === null) return;
      const { bus } = member.cluster;
      const announce = bus.announceRetained.bind(bus);
      bus.announceRetained = (topic, message, replaces, _awaited, accepted) =>
        announce(topic, message, replaces, null, accepted);
    },
  },
  {
    number: 16,
    title: 'a version ahead of its time is not taken over by others before that comes',
    options: TABLES,
    promise: async (scene) => {
      const reader = await scene.subscriber('reader', 'us', 'kept/#', 1);
      const writer = await scene.connected('writer', 'eu');
      const kept = (): string | undefined =>
        scene.life('us').broker.admin.retainedMessage('kept/a')?.payload.toString();
      scene.life('eu').node.clock.jumpWall(AHEAD_MS);
      writer.publish('kept/a', 'ahead', 1, { retain: true });
      // It is a message like any other, for whoever is there.
      await scene.until('it has come', () => reader.taken.includes('ahead'));
      await scene.pass(15_000);
      const isEarly = kept() !== undefined;
      await scene.pass(AHEAD_MS);
      return !isEarly && kept() === 'ahead';
    },
    without: 'whatever a version says is believed',
    sabotage: ({ retained }) => {
      if (retained !== null) retained.hybridClock.observe = () => 'observed';
    },
  },
  {
    number: 17,
    title: 'what Cassandra never brought to a region is written there by a round, with its version',
    options: TABLES,
    promise: async (scene) => {
      const tables = scene.site.tables!;
      tables.isReplicating = false;
      await scene.subscriber('reader', 'us', 'kept/#', 1);
      const writer = await scene.connected('writer', 'eu');
      await publishAcked(scene, writer, 'kept/a', 'new', { retain: true });
      await scene.pass(ROUNDS_MS);
      return tables.textsOf('kept/a').join() === 'new,new';
    },
    without: 'nobody goes round',
    sabotage: withoutRounds,
  },
  {
    number: 18,
    title:
      'a region that was away for longer than clears are remembered does not bring back what was',
    options: { ...TABLES, tombstoneS: 60 },
    promise: async (scene) => {
      const writer = await scene.connected('writer', 'us');
      const kept = (name: string): boolean =>
        scene.life(name).broker.admin.retainedMessage('kept/a') !== null;
      await scene.subscriber('reader', 'eu', 'kept/#', 1);
      writer.publish('kept/a', 'old', 1, { retain: true });
      await scene.until('it is there', () => kept('eu'));
      // A round of each has seen it.
      await scene.pass(15_000);
      scene.site.kill(scene.region('eu'));
      // Nothing is to tell it of the clear but what it finds.
      scene.life('us').broker.admin.endSession(linkIdOf('eu'));
      await publishAcked(scene, writer, 'kept/a', '', { retain: true });
      await scene.pass(90_000);
      scene.site.start(scene.region('eu'));
      await scene.linked();
      await scene.pass(15_000);
      return !kept('eu') && !kept('us') && scene.site.tables!.textsOf('kept/a').join() === ',';
    },
    without: 'a mirror of long ago is believed',
    sabotage: withoutRounds,
  },
  {
    number: 19,
    title: 'the holder of the links dies, and its session elsewhere: the next one counts the gap',
    options: PAIR,
    promise: async (scene) => {
      const reader = await scene.subscriber('reader', 'eu', 'a/#', 1);
      const writer = await scene.connected('writer', 'us');
      const next = scene.other('eu');
      scene.killNode(scene.holder('eu'));
      scene.life('us').broker.admin.endSession(linkIdOf('eu'));
      await scene.until('somebody has the links', () => next.holder.isHolder);
      scene.site.start(scene.region('eu'));
      await scene.linked();
      await scene.again(reader, 'eu');
      writer.publish('a/1', 'later');
      const hasLater = await scene.comesTrue(() => reader.taken.includes('later'));
      const [link] = next.holder.links;
      return hasLater && link!.counters.gaps === 1;
    },
    without: 'it is not in Redis that there was a session',
    sabotage: forgetting('l/'),
  },
  {
    number: 20,
    title:
      'the holder dies when QoS 2 is in the queues and not named: the next one does not queue it again',
    options: PAIR,
    promise: async (scene) => {
      const reader = await scene.subscriber('reader', 'eu', 'a/#', 2);
      const writer = await scene.connected('writer', 'us');
      const [holder, next] = [scene.holder('eu'), scene.other('eu')];
      beforeNamed(scene, () => scene.killNode(holder));
      writer.publish('a/1', 'one', 2);
      await scene.until('the other has the links', () => next.holder.isHolder);
      writer.publish('a/1', 'two', 2);
      await scene.pass(1000);
      await scene.again(reader, 'eu');
      await scene.until('two is there', () => reader.taken.includes('two'));
      await scene.pass(2000);
      return reader.taken.join() === 'one,two';
    },
    without: 'queues do not know it by the name that was noted',
    sabotage: ({ broker: { linkInlet } }) => {
      const publish = linkInlet.publish.bind(linkInlet);
      linkInlet.publish = (from, topic, start, mark, ticket, settled, _identity, choices) =>
        publish(from, topic, start, mark, ticket, settled, OWN_IDENTITY, choices);
    },
  },
  {
    number: 20,
    title:
      'the holder dies before another region has its acknowledgement: the next one knows the name',
    options: PAIR,
    promise: async (scene) => {
      const { network } = scene.site;
      const reader = await scene.subscriber('reader', 'eu', 'a/#', 2);
      const writer = await scene.connected('writer', 'us');
      const [holder, next] = [scene.holder('eu'), scene.other('eu')];
      network.block('eu', 'us');
      writer.publish('a/1', 'one', 2);
      await scene.until('it is queued', () => queued(next, 'reader') || reader.taken.length > 0);
      await scene.pass(500);
      network.cut('eu', 'us', 'both');
      scene.killNode(holder);
      network.unblockAll();
      await scene.until('the other has the links', () => next.holder.isHolder);
      await scene.pass(2000);
      await scene.again(reader, 'eu');
      await scene.until('it is there', () => reader.taken.length > 0);
      await scene.pass(2000);
      return reader.taken.length === 1;
    },
    without: 'names of messages are not in Redis',
    sabotage: forgetting('w/'),
  },
];

function withoutRounds({ retained }: RegionLife): void {
  if (retained === null) return;
  retained.rounds.begin = (_around, ready) => ready(true);
}

function queued({ broker }: RegionLife, clientId: string): boolean {
  return (broker.admin.session(clientId)?.queuedMessages ?? 0) > 0;
}

/** What one node sends to the other comes so much later. */
function stall(scene: RegionScene, from: RegionLife, to: RegionLife, forMs: number): void {
  const { network, machines } = scene.datacenter(from.region);
  const address = (life: RegionLife): string =>
    machines.find((machine) => machine.life === life.member)!.address;
  network.block(address(from), address(to));
  scene.kernel.after(null, forMs, () => network.unblockAll());
}

/** Its name is on its way to Redis, and never comes there. */
function beforeNamed(scene: RegionScene, then: () => void): void {
  const twin = TWINS.get('links_put_1')!;
  let isOver = false;
  const once: Twin = (db, keys, args, nowMs) => {
    const isName = args.some((arg) => arg.startsWith('w/'));
    if (!isName || isOver) return twin(db, keys, args, nowMs);
    isOver = true;
    scene.kernel.after(null, 0, then);
    return 0;
  };
  scene.datacenter('eu').redis.override('links_put_1', once);
}
