/** Hard cases 10 and 11 while Redis is away: what a journal promises to publishers of QoS 2 (docs/adr/0017). */
import { FrameType } from '../../src/cluster/ports.ts';
import type { JournalRecord } from '../../src/store/journal/journal-record.ts';
import {
  type InboundChange,
  inboundOf,
  isInbound,
  leftOf,
} from '../../src/store/redis/inbound-change.ts';
import { DURABLE, FLEETING, type HardCase } from './hard-case.ts';
import { EndlessLease, inNodes, openedAs, type Planted } from './planting.ts';
import type { Scene } from './scene.ts';
import type { SimClient } from './sim-client.ts';

/** That a connection has left no will is lost with its node. */
const leftUnsaid: Planted = inNodes(({ store }) => {
  const replay = store.replay.bind(store);
  store.replay = (record, answered) => {
    if (leftOf(record) !== null) answered();
    else replay(record, answered);
  };
});

export const journalCases: readonly HardCase[] = [
  {
    number: 10,
    title: 'inbound QoS 2 without Redis: the node dies, and the packet id is known to the next one',
    promise: async (scene) => {
      const { subscriber, publisher, packetId } = await promised(scene);
      scene.site.kill(scene.machine(0));
      scene.site.redis.up(true);
      return isOnce(scene, 2, subscriber, publisher, packetId);
    },
    without: 'packet ids are not in the journal',
    planted: notReplayed(() => true),
  },
  {
    number: 10,
    title: 'inbound QoS 2 without Redis: what PUBREL has released is forgotten by the next one',
    promise: async (scene) => {
      const { subscriber, publisher, packetId } = await promised(scene);
      publisher.ack('PUBREL', packetId);
      await scene.until('released', () => publisher.count('PUBCOMP', packetId) > 0, 3000);
      scene.site.kill(scene.machine(0));
      scene.site.redis.up(true);
      await connected(scene, publisher, 2);
      publisher.publish('a', 'next', 2, { packetId });
      await scene.pass(6000);
      return subscriber.taken.join() === 'once,next';
    },
    without: 'PUBREL is not in the journal',
    planted: notReplayed(({ op }) => op === 'remove'),
  },
  {
    number: 10,
    title: 'inbound QoS 2 without Redis: it returns, and the publisher goes to the same node',
    promise: async (scene) => {
      const { subscriber, publisher, packetId } = await promised(scene);
      // Redis can be asked for the session before it hears what was promised.
      scene.site.redis.refuse('OOM', ['session_inbound_1']);
      scene.site.redis.up(true);
      scene.kernel.after(null, 1500, () => scene.site.redis.refuse(null));
      return isOnce(scene, 0, subscriber, publisher, packetId);
    },
    without: 'it opens the session before what it has promised is written',
    planted: inNodes(({ store }) => {
      const open = store.ledger.open.bind(store.ledger);
      store.ledger.open = (owner, hlcMs, newSid, request, done) =>
        open(owner, hlcMs, newSid, request, (answer) =>
          done(
            answer.kind === 'opened'
              ? { ...answer, record: { ...answer.record, inboundIds: [], pending: [] } }
              : answer,
          ),
        );
    }),
  },
  {
    number: 11,
    title: 'a publisher moves as Redis returns: it is opened again when its old node has written',
    promise: async (scene) => {
      const { subscriber, publisher, packetId } = await promised(scene);
      scene.site.redis.refuse('OOM', ['session_inbound_1']);
      scene.site.redis.up(true);
      scene.kernel.after(null, 1500, () => scene.site.redis.refuse(null));
      return isOnce(scene, 2, subscriber, publisher, packetId);
    },
    without: 'the new owner believes what it read first',
    planted: inNodes(({ broker }) => {
      const remote = broker.remote!;
      const letGo = remote.letGo.bind(remote);
      remote.letGo = (clientId, epoch, done) => letGo(clientId, epoch, () => done());
    }),
  },
  {
    number: 11,
    title: 'its node is dead, and the keeper of the copy has no Redis: the publisher waits for it',
    promise: async (scene) => {
      const { subscriber, publisher, packetId } = await promised(scene);
      const keeper = keeperOf(scene);
      scene.site.kill(scene.machine(0));
      scene.life(keeper).redis.partition();
      scene.site.redis.up(true);
      await scene.pass(4500);
      const third = 3 - keeper;
      scene.kernel.after(null, 16_000, () => scene.life(keeper).redis.heal());
      return isOnce(scene, third, subscriber, publisher, packetId, 20_000);
    },
    without: 'the keeper is not waited for',
    planted: inNodes(({ journal }) => {
      journal.whenWritten = (_clientId, then) => then();
    }),
  },
  {
    number: 11,
    title: 'only its old node lacks Redis: a publisher is in when its copy is in the queues',
    promise: async (scene) => {
      const { subscriber, publisher } = await published(scene);
      publisher.cut();
      await scene.pass(300);
      const keeper = keeperOf(scene);
      scene.life(0).redis.partition();
      scene.site.redis.refuse('OOM', ['session_append_1']);
      scene.site.redis.up(true);
      // It puts the copy into the queues, but for what Redis refuses, and then loses it as well.
      await scene.pass(1000);
      scene.life(keeper).redis.partition();
      await scene.pass(300);
      scene.site.redis.refuse(null);
      for (const index of [keeper, 0]) {
        scene.kernel.after(null, 4000, () => scene.life(index).redis.heal());
      }
      await connected(scene, publisher, 3 - keeper);
      publisher.publish('a', 'second', 1);
      await scene.pass(8000);
      return subscriber.taken.join() === 'first,second';
    },
    without: 'its session is nobody’s as soon as the copy says that it has left no will',
    planted: inNodes(({ store }) => {
      const replay = store.replay.bind(store);
      store.replay = (record, answered) => {
        const { clientId, sid } = record;
        const left = leftOf(record);
        if (left === null) replay(record, answered);
        else store.ledger.close(clientId, sid, left.epoch, left.expiryIntervalS, -1, answered);
      };
    }),
  },
  {
    number: 10,
    title: 'inbound QoS 2: Redis returns between PUBREC and PUBREL, and both are one exchange',
    promise: async (scene) => {
      const { subscriber, publisher, packetId } = await promised(scene);
      // Whoever keeps the copy does not hear that it may go.
      scene.life(keeperOf(scene)).swallows = (_from, type) => type === FrameType.JOURNAL_DONE;
      scene.site.redis.up(true);
      await scene.pass(3000);
      publisher.ack('PUBREL', packetId);
      await scene.until('released', () => publisher.count('PUBCOMP', packetId) > 0);
      scene.site.redis.refuse('OOM', ['session_append_1']);
      publisher.publish('a', 'next', 2, { packetId });
      await scene.pass(100);
      scene.site.kill(scene.machine(0));
      scene.site.redis.refuse(null);
      await scene.pass(6000);
      await connected(scene, publisher, 1);
      publisher.publish('a', 'next', 2, { packetId });
      await scene.pass(8000);
      return subscriber.taken.join() === 'once,next';
    },
    without: 'what a journal has may be written behind what came later',
    planted: again(),
  },
  {
    number: 12,
    title: 'Redis returns empty: whoever a client has left is asked for what it had promised',
    promise: async (scene) => {
      const { subscriber, publisher, packetId } = await promised(scene);
      publisher.cut();
      await scene.pass(300);
      // Nobody's session is there before what was promised of it.
      scene.site.redis.refuse('OOM', ['session_inbound_1', 'session_append_1']);
      scene.site.redis.up(false);
      scene.kernel.after(null, 1500, () => scene.site.redis.refuse(null));
      return isOnce(scene, 2, subscriber, publisher, packetId);
    },
    without: 'it answers at once, as it has the session no more',
    planted: inNodes(({ broker }) => {
      const remote = broker.remote!;
      const letGo = remote.letGo.bind(remote);
      remote.letGo = (clientId, epoch, done) => {
        letGo(clientId, epoch, () => {});
        done();
      };
    }),
  },
  {
    number: 13,
    title: 'wills without Redis: what a node has published its survivors do not publish again',
    promise: async (scene) => {
      const { watch, client } = await willed(scene);
      client.cut();
      await scene.until('it is published', () => watch.taken.length > 0, 2000);
      await scene.pass(300);
      scene.site.kill(scene.machine(0));
      scene.site.redis.up(true);
      await scene.pass(12_000);
      return watch.taken.join() === 'gone';
    },
    without: 'that it was is not in the journal',
    planted: leftUnsaid,
  },
  {
    number: 13,
    title: 'wills without Redis: whoever has said goodbye leaves none, though its node dies',
    promise: async (scene) => {
      const { watch, client } = await willed(scene);
      client.leave();
      await scene.pass(300);
      scene.site.kill(scene.machine(0));
      scene.site.redis.up(true);
      await scene.pass(12_000);
      return watch.taken.length === 0;
    },
    without: 'a goodbye is not in the journal',
    planted: leftUnsaid,
  },
  {
    number: 13,
    title: 'wills without Redis: a client that is back at its node has its will published once',
    promise: async (scene) => {
      const { watch, client } = await willed(scene);
      client.cut();
      await scene.until('it is published', () => watch.taken.length > 0, 2000);
      // Redis is not told that the connection is gone before what it had published is in the queues.
      scene.site.redis.refuse('OOM', ['session_append_1']);
      scene.site.redis.up(true);
      await connected(scene, client, 0);
      scene.site.redis.refuse(null);
      await scene.pass(5000);
      return watch.taken.join() === 'gone';
    },
    without: 'the node does not know its own will again',
    planted: openedAs((record) => ({
      ...record,
      oldWill: record.oldWill && { ...record.oldWill, epoch: record.oldWill.epoch - 1 },
    })),
  },
  {
    number: 13,
    title: 'wills: a node that may be counted as dead leaves them to the survivors',
    promise: async (scene) => {
      const { network } = scene.site;
      const there = await scene.subscriber('there', 1, 'will/#', 1, FLEETING);
      const here = await scene.subscriber('here', 0, 'will/#', 1, FLEETING);
      const will = { topic: 'will/w', payload: 'gone', qos: 1, properties: [] } as const;
      const client = await scene.connected('w', 0, { ...DURABLE, will });
      await scene.pass(500);
      scene.life(0).redis.partition();
      for (const other of [1, 2]) {
        network.block(scene.machine(0).address, scene.machine(other).address);
        network.block(scene.machine(other).address, scene.machine(0).address);
      }
      await scene.pass(4500);
      client.cut();
      await scene.pass(8000);
      return here.taken.length === 0 && there.taken.join() === 'gone';
    },
    without: 'its lease never ends',
    planted: { membershipParts: (clock) => ({ lease: new EndlessLease(clock, 3000, 500) }) },
  },
];

/** One whose will is due at once, at the first node, and Redis is away; one who watches live at the second. */
async function willed(scene: Scene) {
  const watch = await scene.subscriber('watch', 1, 'will/#', 1, FLEETING);
  await scene.subscriber('queue', 1, 'will/#', 1, DURABLE);
  const will = { topic: 'will/w', payload: 'gone', qos: 1, properties: [] } as const;
  const client = await scene.connected('w', 0, { ...DURABLE, will });
  await scene.pass(500);
  scene.site.redis.down();
  await scene.pass(100);
  return { watch, client };
}

/** A QoS 2 message has its PUBREC while Redis is away; its publisher does not go on by itself. */
async function promised(scene: Scene) {
  const subscriber = await scene.subscriber('s', 1, 'a', 2, DURABLE);
  const publisher = await scene.connected('p', 0, DURABLE);
  await scene.pass(500);
  publisher.isAcking = false;
  scene.site.redis.down();
  const packetId = publisher.publish('a', 'once', 2);
  await scene.until('promised', () => publisher.count('PUBREC', packetId) > 0, 3000);
  return { subscriber, publisher, packetId };
}

/** A QoS 1 message has its PUBACK while Redis is away. */
async function published(scene: Scene) {
  const subscriber = await scene.subscriber('s', 1, 'a', 1, DURABLE);
  const publisher = await scene.connected('p', 0, DURABLE);
  await scene.pass(500);
  scene.site.redis.down();
  const packetId = publisher.publish('a', 'first', 1);
  await scene.until('acknowledged', () => publisher.count('PUBACK', packetId) > 0, 3000);
  return { subscriber, publisher };
}

function keeperOf(scene: Scene): number {
  const { peer } = scene.life(0).journal;
  return [1, 2].find((index) => scene.life(index).cluster.bus.incarnation === peer)!;
}

/** It may be refused while Redis is away, and comes again. */
async function connected(scene: Scene, publisher: SimClient, index: number): Promise<void> {
  for (let left = 20; left > 0; left--) {
    publisher.connect(scene.machine(index), DURABLE);
    await scene.comesTrue(() => publisher.connack !== null, 14_000);
    if (publisher.connack?.reasonCode === 0) return;
    await scene.pass(500);
  }
  scene.kernel.fail('it is never in');
}

async function isOnce(
  scene: Scene,
  index: number,
  subscriber: SimClient,
  publisher: SimClient,
  packetId: number,
  withinMs = 8000,
): Promise<boolean> {
  await connected(scene, publisher, index);
  publisher.publish('a', 'once', 2, { packetId });
  await scene.until('answered', () => publisher.count('PUBREC', packetId) > 0);
  publisher.ack('PUBREL', packetId);
  publisher.publish('a', 'after', 1);
  await scene.pass(withinMs);
  return subscriber.taken.join() === 'once,after';
}

/** Changes like that are lost with their node. */
function notReplayed(isLost: (change: InboundChange) => boolean): Planted {
  return inNodes(({ store }) => {
    const replay = store.replay.bind(store);
    store.replay = (record, answered) => {
      const isChange = isInbound(record) && leftOf(record) === null;
      if (isChange && isLost(inboundOf(record).change)) answered();
      else replay(record, answered);
    };
  });
}

/** What is replayed of a journal is written whatever came later. */
function again(): Planted {
  return inNodes(({ store }) => {
    const replay = store.replay.bind(store);
    store.replay = (record, answered) => replay(renumbered(record), answered);
  });
}

function renumbered(record: JournalRecord): JournalRecord {
  return isInbound(record) ? { ...record, seq: record.seq + 1_000_000 } : record;
}
