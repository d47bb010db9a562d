/** Hard cases 7 to 14: sessions and queues (docs/adr/0013, 0014). */
import { decodeLetGo, encodeLetGoDone } from '../../src/cluster/link/frame-codec.ts';
import { FrameType } from '../../src/cluster/ports.ts';
import { DURABLE, FLEETING, type HardCase } from './hard-case.ts';
import {
  hearing,
  inNodes,
  inRedis,
  namingOne,
  ofAnySid,
  openedAs,
  restarting,
  undeduped,
} from './planting.ts';
import type { Scene } from './scene.ts';
import { publishAcked } from './scene-steps.ts';
import type { SimClient, SimClientOptions } from './sim-client.ts';
import type { SimLife } from './sim-site.ts';

export const sessionCases: readonly HardCase[] = [
  {
    number: 7,
    title: 'append is not idempotent: one whose answer was lost is in the queue once',
    promise: async (scene) => {
      const subscriber = await scene.subscriber('s', 0, 'a', 2, DURABLE);
      const publisher = await scene.connected('p', 2, DURABLE);
      const lost = loseAppend(scene.life(2));
      publisher.publish('a', 'once', 1);
      await scene.pass(6000);
      return lost.count === 1 && subscriber.taken.join() === 'once';
    },
    without: 'the queue does not know its writers',
    planted: inRedis('session_append_1', undeduped),
  },
  {
    number: 7,
    title: 'append is not idempotent: a session started clean gets none of its predecessor',
    promise: async (scene) => {
      const before = await scene.subscriber('s', 0, 'a', 1, DURABLE);
      const publisher = await scene.connected('p', 2, FLEETING);
      // On its way to Redis, and held up there.
      scene.site.redis.slow(400);
      publisher.publish('a', 'of the one before', 1);
      await scene.pass(5);
      scene.site.redis.slow(0);
      before.cut();
      const after = await scene.connected('s', 1, { ...DURABLE, cleanStart: true });
      await scene.pass(1000);
      after.subscribe('b', 1);
      await scene.pass(100);
      publisher.publish('b', 'its own', 1);
      await scene.pass(2000);
      return after.taken.join() === 'its own';
    },
    without: 'an append does not name the session it is for',
    planted: inRedis('session_append_1', ofAnySid),
  },
  {
    number: 8,
    title: 'the hint goes astray: an owner looks at its queues itself',
    promise: async (scene) => {
      const { network } = scene.site;
      const subscriber = await scene.subscriber('s', 0, 'a', 1, DURABLE);
      const publisher = await scene.connected('p', 2, FLEETING);
      network.block(scene.machine(2).address, scene.machine(0).address);
      await publishAcked(scene, publisher, 'a', 'queued');
      scene.site.kill(scene.machine(2));
      await scene.pass(10_000);
      return subscriber.taken.join() === 'queued';
    },
    without: 'nobody looks',
    planted: inNodes(({ store }) => {
      store.ledger.tailOf = (_clientId, done) => done(null, 0);
    }),
  },
  {
    number: 9,
    title: 'outbound packet ids: a new owner uses the same',
    promise: async (scene) => {
      const { subscriber, publisher } = await outbound(scene);
      subscriber.isAcking = false;
      for (const text of ['x', 'y']) publisher.publish('a', text, 2);
      await scene.until('both came', () => subscriber.count('PUBLISH') >= 2 + 2);
      const before = idsOf(subscriber.packets.slice(-2));
      subscriber.connect(scene.machine(1), DURABLE);
      await scene.until('both came again', () => subscriber.count('PUBLISH') === 2);
      return idsOf(subscriber.packets) === before && subscriber.taken.join() === '1,2,x,y';
    },
    without: 'positions begin again with each owner',
    planted: inRedis('session_open_1', restarting),
  },
  {
    number: 9,
    title: 'outbound packet ids: what was completed out of order is not sent again',
    promise: async (scene) => {
      const { subscriber, publisher } = await outbound(scene);
      subscriber.isAcking = false;
      publisher.publish('a', 'x', 2);
      publisher.publish('a', 'y', 1);
      await scene.until('both came', () => subscriber.count('PUBLISH') >= 2 + 2);
      const { packetId } = subscriber.packets.findLast(({ qos }) => qos === 1)!;
      subscriber.ack('PUBACK', packetId);
      await scene.pass(1000);
      subscriber.connect(scene.machine(1), DURABLE);
      await scene.pass(2000);
      return subscriber.taken.join() === '1,2,x,y' && subscriber.count('PUBLISH') === 1;
    },
    without: 'what is settled beyond the head is forgotten',
    planted: inRedis(
      'session_settle_1',
      (twin) => (db, keys, args, nowMs) =>
        twin(db, keys, [...args.slice(0, 4 + Number(args[3])), '0'], nowMs),
    ),
  },
  {
    number: 10,
    title: 'inbound QoS 2: a fan-out that was begun is finished by the next owner, once',
    promise: inbound,
    without: 'what is pending is not replayed',
    planted: openedAs((record) => ({ ...record, pending: [] })),
  },
  {
    number: 10,
    title: 'inbound QoS 2: a packet id that was taken is known to the next owner',
    promise: inbound,
    without: 'packet ids are forgotten',
    planted: openedAs((record) => ({ ...record, inboundIds: [] })),
  },
  {
    number: 10,
    title: 'inbound QoS 2: what the next owner hands on is retained as of when it was accepted',
    promise: async (scene) => {
      await scene.subscriber('s', 1, 'a', 2, DURABLE);
      const publisher = await scene.connected('p', 0, DURABLE);
      const other = await scene.connected('o', 1, FLEETING);
      publisher.isAcking = false;
      withoutJournal(scene.life(0));
      scene.site.redis.refuse('OOM', ['session_append_1']);
      const packetId = publisher.publish('a', 'accepted', 2, { retain: true });
      await scene.pass(500);
      scene.site.kill(scene.machine(0));
      scene.site.redis.refuse(null);
      await publishAcked(scene, other, 'a', 'newer', { retain: true });
      publisher.connect(scene.machine(2), DURABLE);
      await scene.until('it is back', () => publisher.connack !== null);
      publisher.publish('a', 'accepted', 2, { packetId, retain: true });
      await scene.pass(6000);
      const shown: string[] = [];
      for (const index of [1, 2]) {
        const reader = await scene.subscriber(`r${index}`, index, 'a', 1, FLEETING);
        await scene.pass(1000);
        shown.push(reader.taken.join());
      }
      return shown.join() === 'newer,newer' && publisher.count('PUBREC', packetId) > 0;
    },
    without: 'it is retained anew',
    planted: inNodes(({ cluster: { bus } }) => {
      const announce = bus.announceRetained.bind(bus);
      bus.isRetainedOver = () => false;
      bus.announceRetained = (topic, message, replaces, awaited) =>
        announce(topic, message, replaces, awaited, null);
    }),
  },
  {
    number: 11,
    title: 'a publisher moves: what the old owner has read comes before what the new one reads',
    promise: async (scene) => {
      const { network } = scene.site;
      const subscriber = await scene.subscriber('s', 2, 'a', 1, FLEETING);
      const publisher = await scene.connected('p', 0, DURABLE);
      network.stall(scene.machine(0).address, scene.machine(2).address, 1500);
      publisher.publish('a', 'first', 1);
      await scene.pass(20);
      publisher.connect(scene.machine(1), DURABLE);
      await scene.until('it has moved', () => publisher.connack !== null);
      publisher.publish('a', 'second', 1);
      await scene.pass(5000);
      return subscriber.taken.join() === 'first,second';
    },
    without: 'it lets go at once',
    planted: hearing(({ mesh }, frame) => (from, type, buffer, start, end) => {
      if (type === FrameType.LET_GO) {
        mesh.send(from, encodeLetGoDone(decodeLetGo(buffer, start, end).request));
      }
      frame(from, type, buffer, start, end);
    }),
  },
  {
    number: 11,
    title: 'a publisher moves on: whoever has it lets go, though the one in between never had it',
    promise: async (scene) => {
      await scene.connected('p', 0, FLEETING);
      // Redis names it as the owner, and it does not hear so.
      loseOpen(scene.life(1));
      const between = scene.client('p');
      between.connect(scene.machine(1), FLEETING);
      await scene.pass(20);
      between.cut();
      await scene.connected('p', 2, FLEETING);
      return scene.life(0).broker.stats.connections === 0;
    },
    without: 'Redis names the last owner only',
    planted: inRedis('session_open_1', namingOne),
  },
  {
    number: 12,
    title: 'Redis fails over: what it may lack of the latest appends is written again',
    options: { historyMs: 2000 },
    promise: async (scene) => {
      const subscriber = await scene.subscriber('s', 0, 'a', 1, DURABLE);
      subscriber.cut();
      await scene.pass(3000);
      const publisher = await scene.connected('p', 1, FLEETING);
      await scene.pass(1000);
      await publishAcked(scene, publisher, 'a', 'latest');
      scene.site.redis.rollBack(300);
      await scene.pass(3000);
      subscriber.connect(scene.machine(2), DURABLE);
      await scene.pass(3000);
      return subscriber.taken.join() === 'latest';
    },
    without: 'it is not written again',
    planted: inNodes(({ store }) => {
      const redisUp = store.redisUp.bind(store);
      store.redisUp = () => redisUp(false);
    }),
  },
  {
    number: 12,
    title: 'Redis is emptied under a read: what it had given is not given again to something else',
    promise: async (scene) => {
      const subscriber = await scene.subscriber('s', 0, 'a', 1, DURABLE);
      const publisher = await scene.connected('p', 1, FLEETING);
      await scene.pass(500);
      const read = holdRead(scene, 's');
      publisher.publish('a', 'x', 1);
      await scene.until('it wants to read', () => read.send !== null);
      // It will find more than it was told of.
      scene.life(0).swallows = (_from, type) => type === FrameType.HINT;
      await publishAcked(scene, publisher, 'a', 'y');
      scene.life(0).swallows = null;
      read.send!();
      await scene.until('it has read', () => subscriber.taken.length === 2);
      publisher.publish('a', 'z', 1);
      await scene.pass(5000);
      return subscriber.taken.join() === 'x,y,z';
    },
    without: 'positions go on where the owner thinks that they have come to',
    planted: inRedis('session_assert_1', (twin) => (db, keys, args, nowMs) => {
      const isLost = db.peekHash(keys[0]!) === undefined;
      const reply = twin(db, keys, args, nowMs);
      if (isLost && reply === 1 && args[9] !== '-1') db.hash(keys[0]!).set('head', args[9]!);
      return reply;
    }),
  },
  {
    number: 13,
    title: 'wills: CONNECT settles the one before, ahead of what it reads',
    promise: async (scene) => {
      const { watch, willed } = await withWill(scene, 0);
      scene.site.kill(scene.machine(0));
      willed.connect(scene.machine(1), DURABLE);
      willed.onPacket = ({ type }) => {
        if (type === 'CONNACK') willed.publish('will/w', 'back', 1);
      };
      await scene.pass(10_000);
      return watch.taken.join() === 'gone,back';
    },
    without: 'the will before is forgotten',
    planted: openedAs((record) => ({ ...record, oldWill: null })),
  },
  {
    number: 13,
    title: 'wills: survivors fire none of a client that is back',
    promise: async (scene) => {
      const { watch, willed } = await withWill(scene, 3);
      scene.site.kill(scene.machine(0));
      await scene.pass(1000);
      willed.connect(scene.machine(1), { ...DURABLE, will: willOf(3) });
      await scene.pass(15_000);
      return willed.isOpen && watch.taken.length === 0;
    },
    without: 'whoever has the session now is not looked at',
    planted: inRedis('session_orphan_1', (twin) => (db, keys, args, nowMs) => {
      const owner = db.peekHash(keys[0]!)?.get('owner') ?? '';
      return twin(db, keys, owner === '' ? args : [owner], nowMs);
    }),
  },
  {
    number: 13,
    title:
      'wills: who said goodbye leaves none, though whoever was handed it dies before it hears so',
    promise: async (scene) => {
      const { network } = scene.site;
      const [first, second, third] = [0, 1, 2].map((index) => scene.machine(index));
      const { watch, willed } = await withWill(scene, 0);
      // The close of the first waits for it, and so does the answer to the second.
      network.block(first!.address, third!.address);
      willed.leave();
      await scene.pass(20);
      willed.connect(second!, DURABLE);
      await scene.pass(100);
      const isWaiting = willed.connack === null;
      scene.life(1).cluster.stop(() => scene.site.kill(second!));
      await scene.pass(1000);
      network.unblock(first!.address, third!.address);
      await scene.pass(10_000);
      watch.connect(first!, DURABLE);
      await scene.pass(2000);
      return isWaiting && watch.taken.length === 0;
    },
    without: 'Redis hears of the goodbye only when the links have all that was sent before',
    planted: inNodes(({ store }) => {
      store.ledger.oldWillSettled = () => {};
    }),
  },
  {
    number: 14,
    title: 'shared groups: a QoS 2 message stays with the member it was given to',
    promise: async (scene) => {
      const members: SimClient[] = [];
      for (const index of [0, 1, 0, 1]) {
        const name = `m${members.length}`;
        members.push(await scene.subscriber(name, index, '$share/g/a', 2, DURABLE));
      }
      const publisher = await scene.connected('p', 2, DURABLE);
      withoutJournal(scene.life(2));
      const first = publisher.publish('a', 'first', 2);
      await scene.until('a turn is over', () => publisher.count('PUBCOMP', first) > 0);
      // It is in the queue of one of them, and its node dies before it hears so.
      loseAppend(scene.life(2));
      const packetId = publisher.publish('a', 'once', 2);
      await scene.pass(30);
      scene.site.kill(scene.machine(2));
      publisher.connect(scene.machine(0), DURABLE);
      await scene.until('it is back', () => publisher.connack !== null);
      publisher.publish('a', 'once', 2, { packetId });
      await scene.pass(8000);
      const taken = members.flatMap((member) => member.taken);
      return taken.sort().join() === 'first,once';
    },
    without: 'whom it was given to is forgotten',
    planted: openedAs((record) => ({
      ...record,
      pending: record.pending.map((pending) => ({ ...pending, choices: new Map() })),
    })),
  },
];

function loseAppend(life: SimLife): { readonly count: number } {
  return loseNext(life, 'session_append_1');
}

function loseOpen(life: SimLife): void {
  loseNext(life, 'session_open_1');
}

/** The next one is executed, and nobody hears so: the connection breaks. */
function loseNext({ redis }: SimLife, name: string): { readonly count: number } {
  const call = redis.call.bind(redis);
  const lost = { count: 0 };
  redis.call = (fn, keys, args, done) => {
    if (fn.name === name && lost.count === 0) {
      lost.count++;
      redis.loseReplies();
    }
    call(fn, keys, args, done);
  };
  return lost;
}

/**
 * The next read of that queue by the first node is sent when it is told to; then Redis is emptied, and the
 * answer comes when the session is being written again.
 */
function holdRead(scene: Scene, clientId: string): { send: (() => void) | null } {
  const { redis } = scene.life(0);
  const call = redis.call.bind(redis);
  const read: { send: (() => void) | null } = { send: null };
  let answer: (() => void) | null = null;
  redis.call = (fn, keys, args, done) => {
    const isIts = keys[0]?.includes(`{${clientId}}`) === true;
    if (isIts && fn.name === 'session_read_1' && read.send === null) {
      read.send = () =>
        call(fn, keys, args, (failure, reply) => {
          answer = () => done(failure, reply);
          scene.site.redis.flushAll();
        });
      return;
    }
    call(fn, keys, args, done);
    if (!isIts || fn.name !== 'session_assert_1') return;
    answer?.();
    answer = null;
  };
  return read;
}

/** It is full: what waits for Redis waits. */
function withoutJournal({ journal }: SimLife): void {
  Object.defineProperty(journal, 'hasRoom', { value: false });
}

/** Somebody who has had two messages, and one who sends more. */
async function outbound(scene: Scene) {
  const subscriber = await scene.subscriber('s', 0, 'a', 2, DURABLE);
  const publisher = await scene.connected('p', 2, DURABLE);
  for (const text of ['1', '2']) publisher.publish('a', text, 2);
  await scene.until('two are done', () => subscriber.count('PUBREL') === 2);
  await scene.pass(1000);
  return { subscriber, publisher };
}

function idsOf(packets: readonly { readonly type: string; readonly packetId: number }[]): string {
  return packets
    .filter(({ type }) => type === 'PUBLISH')
    .map(({ packetId }) => packetId)
    .join();
}

/** The node of a publisher dies when it has taken a message and nobody has it in his queue. */
async function inbound(scene: Scene): Promise<boolean> {
  const subscriber = await scene.subscriber('s', 1, 'a', 2, DURABLE);
  const publisher = await scene.connected('p', 0, DURABLE);
  publisher.isAcking = false;
  withoutJournal(scene.life(0));
  scene.site.redis.refuse('OOM', ['session_append_1']);
  const packetId = publisher.publish('a', 'once', 2);
  await scene.pass(500);
  scene.site.kill(scene.machine(0));
  scene.site.redis.refuse(null);
  publisher.connect(scene.machine(2), DURABLE);
  await scene.until('it is back', () => publisher.connack !== null);
  publisher.publish('a', 'once', 2, { packetId });
  await scene.pass(6000);
  return subscriber.taken.join() === 'once' && publisher.count('PUBREC', packetId) > 0;
}

function willOf(delayS: number): NonNullable<SimClientOptions['will']> {
  return {
    topic: 'will/w',
    payload: 'gone',
    qos: 1,
    properties: [['willDelayInterval', delayS]],
  };
}

/** One whose will is due `delayS` after it vanishes, at the first node; and one who watches, at the second. */
async function withWill(scene: Scene, delayS: number) {
  const watch = await scene.subscriber('watch', 1, 'will/#', 2, DURABLE);
  const willed = await scene.connected('w', 0, {
    ...DURABLE,
    will: willOf(delayS),
  });
  await scene.pass(200);
  return { watch, willed };
}
