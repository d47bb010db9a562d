/** Hard cases 1 to 6: identities and clocks, and routes (docs/adr/0010, 0011). */
import { FrameType } from '../../src/cluster/ports.ts';
import type { Incarnation } from '../../src/core/cluster-ports.ts';
import { DURABLE, FLEETING, type HardCase } from './hard-case.ts';
import {
  believingOldImages,
  EndlessLease,
  hearing,
  inNodes,
  inRedis,
  unfenced,
} from './planting.ts';
import { publishAcked } from './scene-steps.ts';

export const nodeCases: readonly HardCase[] = [
  {
    number: 1,
    title: 'counters restart: an epoch is above every one before, whatever Redis has forgotten',
    promise: async (scene) => {
      await scene.connected('c', 0, { ...DURABLE, cleanStart: true });
      scene.site.redis.flushAll();
      await scene.connected('c', 1, { ...DURABLE, cleanStart: true });
      await scene.pass(5000);
      const owners = [0, 1, 2].filter(
        (index) => scene.life(index).broker.remote!.queueOf('c') !== null,
      );
      return owners.join() === '1';
    },
    without: 'epochs begin again at 1',
    planted: inRedis(
      'session_open_1',
      (twin) => (db, keys, args, nowMs) => twin(db, keys, [args[0]!, '1', ...args.slice(2)], nowMs),
    ),
  },
  {
    number: 1,
    title: 'counters restart: an epoch fences by equality',
    promise: async (scene) => {
      const before = await scene.subscriber('c', 0, 'a', 1, DURABLE);
      // Its node cannot save what it subscribes to, until another has the session.
      scene.life(0).redis.partition();
      before.subscribe('stale', 1);
      await scene.pass(50);
      const after = scene.client('c');
      after.connect(scene.machine(1), DURABLE);
      await scene.until('it is taken', () => after.connack !== null);
      after.subscribe('fresh', 1);
      await scene.pass(1000);
      scene.life(0).redis.heal();
      await scene.pass(3000);
      // Whoever opens it next reads it from Redis.
      const last = scene.client('c');
      last.connect(scene.machine(2), DURABLE);
      await scene.until('it is taken again', () => last.connack !== null);
      const known = scene.life(2).broker.remote!.knownSession('c')!;
      return known.subscriptions.map(({ filter }) => filter).join() === 'a,fresh';
    },
    without: 'what was written under an older epoch is taken',
    planted: inRedis('session_save_1', unfenced),
  },
  {
    number: 2,
    title: 'a paused node wakes: it acks nothing that those who buried it would not deliver',
    promise: async (scene) => {
      const publisher = await scene.connected('p', 0, FLEETING);
      scene.kernel.pause(scene.life(0).node, 8000);
      await scene.pass(6000);
      const subscriber = await scene.subscriber('s', 1, 'a', 1, FLEETING);
      const packetId = publisher.publish('a', 'late', 1);
      await scene.pass(6000);
      return publisher.count('PUBACK', packetId) === 0 || subscriber.taken.includes('late');
    },
    without: 'its lease never ends',
    planted: { membershipParts: (clock) => ({ lease: new EndlessLease(clock, 3000, 500) }) },
  },
  {
    number: 3,
    title: 'only one node loses Redis: the others renew its lease',
    promise: async (scene) => {
      const here = await scene.subscriber('here', 0, 'to/here', 0, FLEETING);
      const there = await scene.subscriber('there', 1, 'to/there', 0, FLEETING);
      scene.life(0).redis.partition();
      await scene.pass(10_000);
      here.publish('to/there', 'from here', 0);
      there.publish('to/here', 'from there', 0);
      await scene.pass(200);
      return here.taken.length === 1 && there.taken.length === 1;
    },
    without: 'no peer asks for another',
    planted: inNodes(({ membership }) => {
      membership.renewFor = (_incarnation, _generation, done) => done(null);
    }),
  },
  {
    number: 3,
    title: 'all lose Redis: without word from every member nobody acks',
    promise: async (scene) => {
      const publisher = await scene.connected('p', 0, FLEETING);
      await scene.subscriber('s', 0, 'a', 1, FLEETING);
      await scene.connected('elsewhere', 2, FLEETING);
      scene.site.redis.down();
      await scene.pass(200);
      scene.site.kill(scene.machine(2));
      await scene.pass(6000);
      const packetId = publisher.publish('a', 'parked', 1);
      await scene.pass(500);
      const isAcked = publisher.count('PUBACK', packetId) > 0;
      scene.site.redis.up(true);
      return !isAcked;
    },
    without: 'a lease never ends',
    planted: { membershipParts: (clock) => ({ lease: new EndlessLease(clock, 3000, 500) }) },
  },
  {
    number: 4,
    title: 'one broken link between two live nodes: one is evicted, no SUBACK hangs',
    promise: async (scene) => {
      const { network } = scene.site;
      const [a, b] = [scene.machine(0).address, scene.machine(1).address];
      const clients = [
        await scene.connected('at-a', 0, FLEETING),
        await scene.connected('at-b', 1, FLEETING),
      ];
      network.block(a, b);
      network.block(b, a);
      const packetIds = clients.map((client) => client.subscribe('x', 1));
      await scene.pass(12_000);
      const acked = clients.filter((client, index) => client.count('SUBACK', packetIds[index]) > 0);
      return acked.length > 0 && clients.every((one) => acked.includes(one) || !one.isOpen);
    },
    without: 'nobody is evicted',
    planted: inNodes(({ membership }) => {
      membership.unreachable = () => {};
    }),
  },
  {
    number: 5,
    title: 'join: whoever is ready knows what was acked before',
    promise: async (scene) => {
      const { site } = scene;
      const joiner = scene.machine(2);
      site.kill(joiner);
      await scene.pass(8000);
      let old = -1;
      site.onLife = hearing((life, frame) => (from, type, buffer, start, end) => {
        frame(from, type, buffer, start, end);
        // Not the one it catches up from, which is the first.
        const last = life.cluster.state().nodes.at(-1)!.incarnation;
        if (type !== FrameType.TABLES_END || from !== last || old >= 0) return;
        old = [0, 1].find((index) => scene.life(index).membership.incarnation === from)!;
        // It has the tables of an old one, who does not hear so.
        site.network.stallDialled(scene.machine(old).address, joiner.address, 2500);
      }).sabotage!;
      site.start(joiner);
      await scene.until('it has tables', () => old >= 0);
      const subscriber = await scene.connected('s', old, FLEETING);
      const packetId = subscriber.subscribe('a', 1);
      await scene.until('subscribed', () => subscriber.count('SUBACK', packetId) > 0);
      await scene.until('ready', () => scene.life(2).isReady);
      const publisher = await scene.connected('p', 2, FLEETING);
      await publishAcked(scene, publisher, 'a', 'seen');
      await scene.pass(6000);
      return subscriber.taken.includes('seen');
    },
    without: 'it does not wait until the others count it in',
    planted: hearing((_life, frame) => {
      const heard = new Set<Incarnation>();
      return (from, type, buffer, start, end) => {
        if (!heard.has(from)) frame(from, FrameType.COUNTED_IN, Buffer.alloc(0), 0, 0);
        heard.add(from);
        frame(from, type, buffer, start, end);
      };
    }),
  },
  {
    number: 6,
    title: 'removal overtakes: late news of a session does not bring back what it has left',
    promise: async (scene) => {
      const { site, kernel } = scene;
      const first = await scene.subscriber('s', 0, 'a', 1, DURABLE);
      site.kill(scene.machine(2));
      await scene.pass(8000);
      const calls = site.redis.calls.get('session_list_1') ?? 0;
      site.start(scene.machine(2));
      // What a joiner reads of Redis is old when it comes.
      const { redis, node } = scene.life(2);
      const call = redis.call.bind(redis);
      redis.call = (fn, keys, args, done) =>
        call(fn, keys, args, (failure, reply) => {
          const isLate = fn.name === 'session_list_1';
          if (isLate) kernel.after(node, 2000, () => done(failure, reply));
          else done(failure, reply);
        });
      await scene.until('it reads', () => site.redis.calls.get('session_list_1')! > calls);
      first.connect(scene.machine(1), DURABLE);
      await scene.until('it has moved', () => first.connack !== null);
      const packetId = first.unsubscribe('a');
      await scene.until('unsubscribed', () => first.count('UNSUBACK', packetId) > 0);
      await scene.until('all are ready', () => scene.isReady);
      const known = scene.life(2).broker.remote!.knownSession('s');
      return known !== null && known.subscriptions.length === 0;
    },
    without: 'an image is believed whatever its epoch',
    planted: believingOldImages,
  },
];
