/**
 * The queue of a shared subscription whose members are all away (ADR 0019, hard case 14): who takes what
 * waits, that QoS 2 comes once whatever dies meanwhile, and that nothing is left of it in the end.
 */
import t from 'tap';
import { groupQueueId, isGroupQueue } from '../../src/core/group-queue-id.ts';
import { type FakeClient, subscribeBytes } from './fake-client.ts';
import { FakeDatacenter, type FakeNode } from './fake-datacenter.ts';
import { SeededRandom } from './manual-time.ts';

const FILTER = '$share/g/x/#';
const QUEUE = groupQueueId(FILTER);
const durable = { clean: false, expiryS: 3600 };

async function site(count: number): Promise<{ site: FakeDatacenter; nodes: FakeNode[] }> {
  const made = new FakeDatacenter();
  const nodes: FakeNode[] = [];
  for (let i = 0; i < count; i++) nodes.push(await made.node());
  return { site: made, nodes };
}

type Options = Parameters<FakeClient['connect']>[0];

function connect(node: FakeNode, clientId: string, options: Options = {}): FakeClient {
  const client = node.world.client(5, clientId);
  client.connect(options);
  node.world.settle();
  client.accepted();
  return client;
}

/** A durable member of the group. */
function member(node: FakeNode, clientId: string, qos: 0 | 1 | 2 = 2): FakeClient {
  const client = connect(node, clientId, durable);
  client.subscribe([{ filter: FILTER, qos }]);
  node.world.settle();
  client.receive();
  return client;
}

/** What it gets, all acked. */
function taken(site: FakeDatacenter, client: FakeClient): string[] {
  const payloads: string[] = [];
  for (;;) {
    site.time.pass(1100);
    const packets = client.receive();
    if (packets.length === 0) return payloads;
    for (const packet of packets) {
      if (packet.type === 'publish') {
        const { publish } = packet;
        payloads.push(publish.payload);
        client.ack(publish.qos === 1 ? 'puback' : 'pubrec', publish.packetId);
      } else if (packet.type === 'pubrel') {
        client.ack('pubcomp', packet.packetId);
      }
    }
  }
}

function publish(site: FakeDatacenter, publisher: FakeClient, texts: readonly string[]): void {
  for (const [index, text] of texts.entries()) {
    publisher.publish('x/1', text, { qos: index % 2 === 0 ? 1 : 2, id: index + 1 });
  }
  site.time.settle();
  for (const packet of publisher.receive()) {
    if (packet.type === 'pubrec') publisher.ack('pubrel', packet.packetId);
  }
  site.time.settle();
  publisher.receive();
}

const texts = (count: number): string[] => Array.from({ length: count }, (_, i) => `m${i}`);
const sorted = (list: readonly string[]): string[] =>
  [...list].sort((a, b) => Number(a.slice(1)) - Number(b.slice(1)));

t.test('whichever member comes first gets all that came when all were away', async (t) => {
  const { site: dc, nodes } = await site(3);
  const [a, b, c] = nodes as [FakeNode, FakeNode, FakeNode];
  const first = member(a, 'first');
  const second = member(b, 'second');
  t.ok(dc.rows.has(QUEUE), 'the group has a queue of its own');
  const publisher = connect(c, 'pub', durable);
  first.sink.close();
  second.sink.close();
  dc.time.pass(2000);
  t.equal(dc.rows.get(QUEUE)!.owner, null, 'nobody owns it');
  publish(dc, publisher, texts(200));
  t.equal(dc.rows.get(QUEUE)!.queue.length, 200);
  t.equal(dc.rows.get('first')!.queue.length, 0);
  const again = connect(a, 'second', durable);
  t.strictSame(sorted(taken(dc, again)), texts(200));
  t.equal(dc.rows.get(QUEUE)!.queue.length, 0, 'settled');
  t.equal(dc.rows.get(QUEUE)!.owner, a.incarnation);
  publish(dc, publisher, ['live']);
  t.strictSame(taken(dc, again), ['live']);
  t.equal(dc.rows.get(QUEUE)!.tailSeq, 200, 'with a member there it needs no detour');
});

t.test('members share what waits, wherever they are', async (t) => {
  const { site: dc, nodes } = await site(3);
  const [a, b, c] = nodes as [FakeNode, FakeNode, FakeNode];
  const gone = ['one', 'two', 'three'].map((clientId) => member(a, clientId));
  for (const client of gone) client.sink.close();
  dc.time.pass(2000);
  publish(dc, connect(c, 'pub', durable), texts(300));
  const here = [
    connect(a, 'one', durable),
    connect(b, 'two', durable),
    connect(b, 'three', durable),
  ];
  const got = here.map(() => [] as string[]);
  for (let round = 0; round < 4; round++) {
    for (const [index, client] of here.entries()) got[index]!.push(...taken(dc, client));
  }
  t.strictSame(sorted(got.flat()), texts(300));
  for (const one of got) t.ok(one.length > 10, `${one.length}`);
});

t.test('a member that does not ack gets no more than it has room for', async (t) => {
  const { site: dc, nodes } = await site(2);
  const [a, b] = nodes as [FakeNode, FakeNode];
  member(a, 'slow').sink.close();
  member(a, 'fast').sink.close();
  dc.time.pass(2000);
  publish(dc, connect(b, 'pub', durable), texts(200));
  const slow = connect(a, 'slow', { ...durable, receiveMaximum: 2 } as Options);
  dc.time.pass(3000);
  t.equal(dc.rows.get('slow')!.queue.length, 4, 'its window, and as much again');
  const fast = connect(a, 'fast', durable);
  t.equal(taken(dc, fast).length, 196);
  t.equal(slow.publishes().length, 2);
});

t.test('what the group takes is sent as the member has subscribed', async (t) => {
  const { site: dc, nodes } = await site(1);
  const [a] = nodes as [FakeNode];
  const client = connect(a, 'm', durable);
  client.send(subscribeBytes(5, 1, [{ filter: FILTER, retainAsPublished: true }], 1, 7));
  a.world.settle();
  client.sink.close();
  dc.time.pass(2000);
  const publisher = connect(a, 'pub', durable);
  publisher.publish('x/1', 'm', { qos: 2, id: 1, retain: true });
  publisher.publish('x/2', 'short', { qos: 1, id: 2, expiryS: 1 });
  a.world.settle();
  t.equal(dc.rows.get(QUEUE)!.queue.length, 2);
  dc.time.pass(1500);
  const again = connect(a, 'm', durable);
  dc.time.pass(100);
  const got = again.publishes();
  t.equal(got.length, 1, 'the other one has expired');
  t.match(got[0], { qos: 1, retain: true, subscriptionIds: [7], payload: 'm' });
  t.equal(dc.rows.get(QUEUE)!.queue.length, 0);
});

t.test('a QoS 2 message stays with whom it was given to, whoever dies', async (t) => {
  // After so many turns the node that moves is gone.
  for (let turns = 0; turns < 14; turns++) {
    const { site: dc, nodes } = await site(3);
    const [a, b, c] = nodes as [FakeNode, FakeNode, FakeNode];
    member(a, 'one').sink.close();
    member(b, 'two').sink.close();
    dc.time.pass(2000);
    publish(dc, connect(c, 'pub', durable), texts(100));
    const client = a.world.client(5, 'one');
    client.connect(durable);
    for (let turn = 0; turn < turns; turn++) dc.time.turn();
    a.serves = false;
    a.kill();
    dc.rows.get(QUEUE)!.owner = null;
    for (const row of dc.rows.values()) if (row.owner === a.incarnation) row.owner = null;
    dc.time.settle();
    const two = connect(b, 'two', durable);
    const one = connect(c, 'one', durable);
    const got: string[] = [];
    for (let round = 0; round < 3; round++) {
      got.push(...taken(dc, two), ...taken(dc, one));
    }
    const exact = sorted(got).filter((text) => Number(text.slice(1)) % 2 === 1);
    t.strictSame(
      exact,
      texts(100).filter((_, index) => index % 2 === 1),
      `QoS 2 once, death after ${turns} turns`,
    );
    t.strictSame(sorted([...new Set(got)]), texts(100), 'none is lost');
  }
});

t.test('what a member that goes has not acked returns to the group', async (t) => {
  const { site: dc, nodes } = await site(2);
  const [a, b] = nodes as [FakeNode, FakeNode];
  const one = member(a, 'one');
  member(b, 'two').sink.close();
  dc.time.pass(2000);
  const publisher = connect(b, 'pub', durable);
  publish(dc, publisher, ['m0', 'm1', 'm2']);
  t.equal(one.publishes().length, 3);
  one.sink.close();
  dc.time.pass(2000);
  const waiting = dc.rows.get(QUEUE)!.queue.map(({ append }) => append.message.payload.toString());
  t.strictSame(waiting, ['m0', 'm2'], 'QoS 1');
  const two = connect(b, 'two', durable);
  t.strictSame(sorted(taken(dc, two)), ['m0', 'm2']);
  t.strictSame(taken(dc, connect(a, 'one', durable)), ['m1'], 'QoS 2 has begun');
});

t.test('a member alone keeps what it has not acked', async (t) => {
  const { site: dc, nodes } = await site(1);
  const [a] = nodes as [FakeNode];
  const one = member(a, 'one');
  publish(dc, connect(a, 'pub', durable), ['m0']);
  t.equal(one.publishes().length, 1);
  one.sink.close();
  dc.time.pass(2000);
  t.equal(dc.rows.get('one')!.queue.length, 1);
});

t.test('a session that ended meanwhile', async (t) => {
  const { site: dc, nodes } = await site(2);
  const [a, b] = nodes as [FakeNode, FakeNode];
  member(a, 'one').sink.close();
  member(a, 'two').sink.close();
  dc.time.pass(2000);
  publish(dc, connect(b, 'pub', durable), texts(20));
  const one = a.world.client(5, 'one');
  one.connect(durable);
  while (dc.rows.get(QUEUE)!.owner !== a.incarnation) dc.time.turn();
  // It is chosen under a name that Redis has no session of any more.
  dc.rows.get('one')!.sid = 'another';
  dc.time.pass(3000);
  const two = connect(a, 'two', durable);
  const late = taken(dc, two);
  one.receive();
  t.ok(late.length > 0, 'goes to others');
  t.equal(dc.rows.get(QUEUE)!.queue.length + late.length, 20);
});

t.test('it ends with the last durable member, and what waits is counted', async (t) => {
  const { site: dc, nodes } = await site(2);
  const [a, b] = nodes as [FakeNode, FakeNode];
  const one = member(a, 'one');
  one.unsubscribe(FILTER);
  dc.time.pass(2000);
  t.notOk(dc.rows.has(QUEUE), 'unsubscribed');
  member(a, 'one').sink.close();
  dc.time.pass(2000);
  publish(dc, connect(b, 'pub'), texts(10));
  t.equal(dc.rows.get(QUEUE)!.queue.length, 10);
  connect(b, 'one', { clean: true });
  dc.time.pass(20_000);
  t.notOk(dc.rows.has(QUEUE), 'its session has ended');
  const drops = [a, b].map(({ world }) => world.stats.dropped.reduce((sum, count) => sum + count));
  t.equal(Math.max(...drops), 10);
  for (const { world } of nodes) t.equal(world.broker.remote!.knownSession(QUEUE), null);
});

t.test('it ends soon after its last member wherever that was, whatever chance says', async (t) => {
  class Unlucky extends SeededRandom {
    override below(bound: number): number {
      return bound - 1;
    }
  }
  const dc = new FakeDatacenter();
  const [a, b] = [
    await dc.node({ random: new Unlucky(1) }),
    await dc.node({ random: new Unlucky(2) }),
  ];
  member(a, 'one').sink.close();
  dc.time.pass(2000);
  connect(b, 'one', { clean: true });
  dc.time.pass(3000);
  t.ok(dc.rows.has(QUEUE), 'it may be told late of another one');
  dc.time.pass(5000);
  t.notOk(dc.rows.has(QUEUE));
});

t.test('a queue that has ended, as nobody here has heard yet, loses nothing', async (t) => {
  const { site: dc, nodes } = await site(2);
  const [a, b] = nodes as [FakeNode, FakeNode];
  member(a, 'one').sink.close();
  const publisher = connect(b, 'pub', durable);
  dc.time.pass(2000);
  // Its last member had gone, and this one came elsewhere since.
  dc.rows.delete(QUEUE);
  publish(dc, publisher, texts(4));
  t.equal(dc.rows.get('one')!.queue.length, 4, 'the member has it');
  const client = connect(a, 'one', durable);
  t.strictSame(taken(dc, client), texts(4));
});

t.test('what it counts', async (t) => {
  const { site: dc, nodes } = await site(1);
  const [a] = nodes as [FakeNode];
  const { stats } = a.world;
  member(a, 'one').sink.close();
  t.equal(stats.groupQueues, 1);
  dc.time.pass(2000);
  publish(dc, connect(a, 'pub', durable), texts(60));
  t.equal(stats.groupQueuedMessages, 60);
  t.equal(stats.groupQueues, 0, 'nobody owns it');
  t.equal(taken(dc, connect(a, 'one', durable)).length, 60);
  t.equal(stats.groupQueues, 1);
  t.equal(stats.groupMovedMessages, 60);
});

t.test('nobody sees it as a session, and nobody can be it', async (t) => {
  const { nodes } = await site(1);
  const [a] = nodes as [FakeNode];
  member(a, 'one');
  const { admin } = a.world.broker;
  t.strictSame(
    [...admin.sessions()].map(({ clientId }) => clientId),
    ['one'],
  );
  t.equal(a.world.stats.sessions, 1);
  t.equal(admin.session(QUEUE), null);
  t.equal(admin.endSession(QUEUE), false);
  t.ok(isGroupQueue(QUEUE));
  t.notOk(isGroupQueue(''));
  const thief = a.world.client(5, QUEUE);
  thief.connect(durable);
  a.world.settle();
  t.ok(thief.sink.ended || thief.sink.destroyed, 'U+0000 is malformed');
});

t.test('groups that have no durable member have no queue', async (t) => {
  const { site: dc, nodes } = await site(1);
  const [a] = nodes as [FakeNode];
  const plain = connect(a, 'plain');
  plain.subscribe([FILTER], 2);
  const zero = connect(a, 'zero', durable);
  zero.subscribe([FILTER], 0);
  dc.time.pass(3000);
  t.notOk(dc.rows.has(QUEUE));
});
