/**
 * The core with other nodes around it: routes, sessions that move, wills, shared groups, QoS 2 over a
 * crash, retained messages. The datacenter is fake-datacenter.ts; cluster/ has its own tests.
 */
import t from 'tap';
import type { FakeClient } from './fake-client.ts';
import { FakeDatacenter, type FakeNode } from './fake-datacenter.ts';

const NEVER = 0xffff_ffff;

/** Two nodes, and how to connect to one of them. */
async function two(): Promise<{ site: FakeDatacenter; a: FakeNode; b: FakeNode }> {
  const site = new FakeDatacenter();
  const a = await site.node();
  const b = await site.node();
  return { site, a, b };
}

interface Arrived {
  readonly client: FakeClient;
  readonly present: boolean;
}

function connect(
  node: FakeNode,
  clientId: string,
  options: Parameters<FakeClient['connect']>[0] = {},
): Arrived {
  const client = node.world.client(5, clientId);
  client.connect(options);
  node.world.settle();
  return { client, present: client.accepted() };
}

const durable = { clean: false, expiryS: NEVER };

t.test(
  'a message reaches a subscriber of another node once, and nobody who did not ask',
  async (t) => {
    const { site, a, b } = await two();
    const { client: subscriber } = connect(b, 'sub');
    const { client: idle } = connect(b, 'idle');
    subscriber.subscribe(['x/+', 'x/1', 'x/#'], 1);
    site.time.settle();
    t.equal(subscriber.receive()[0]?.type, 'suback');
    const { client: publisher } = connect(a, 'pub');
    publisher.publish('x/1', 'q0');
    publisher.publish('x/1', 'q1', { qos: 1, id: 1 });
    publisher.publish('y', 'nobody');
    site.time.settle();
    t.strictSame(subscriber.payloads(), ['q0', 'q1']);
    t.strictSame(idle.payloads(), []);
    t.strictSame(
      a.forwarded.map(({ topic }) => topic),
      ['x/1', 'x/1'],
      'one copy a node, however many filters match',
    );
    subscriber.unsubscribe('x/+', 'x/1', 'x/#');
    site.time.settle();
    publisher.publish('x/1', 'late');
    site.time.settle();
    t.equal(a.forwarded.length, 2, 'nobody is there any more');
  },
);

t.test('SUBACK waits until the other nodes know', async (t) => {
  const { site, b } = await two();
  const { client } = connect(b, 'sub');
  client.subscribe('x', 1);
  t.strictSame(client.receive(), [], 'not at once');
  site.time.settle();
  t.equal(client.receive()[0]?.type, 'suback');
});

t.test('QoS 1 reaches a durable session through its queue only', async (t) => {
  const { site, a, b } = await two();
  const { client: subscriber } = connect(b, 'sub', durable);
  subscriber.subscribe('x', 1);
  site.time.settle();
  subscriber.receive();
  const { client: publisher } = connect(a, 'pub');
  publisher.publish('x', 'one', { qos: 1, id: 1 });
  t.strictSame(publisher.receive(), [], 'the ack waits for the queue');
  site.time.settle();
  t.equal(publisher.receive()[0]?.type, 'puback');
  t.strictSame(a.forwarded, [], 'its node needs no copy');
  const [first] = subscriber.publishes();
  t.equal(first?.payload, 'one');
  subscriber.ack('puback', first!.packetId);
  site.time.settle();
  t.equal(site.rows.get('sub')!.queue.length, 0, 'settled where it was queued');
  publisher.publish('x', 'zero');
  site.time.settle();
  t.strictSame(subscriber.payloads(), ['zero'], 'QoS 0 comes over the link');
});

t.test('a session resumes on another node with what waits and what was in flight', async (t) => {
  const { site, a, b } = await two();
  const { client: first } = connect(b, 'sub', durable);
  first.subscribe('x', 1);
  site.time.settle();
  first.receive();
  const { client: publisher } = connect(a, 'pub');
  publisher.publish('x', 'm1', { qos: 1, id: 1 });
  site.time.settle();
  const [sent] = first.publishes();
  first.sink.close();
  site.time.settle();
  t.equal(site.rows.get('sub')!.owner, null);
  publisher.publish('x', 'm2', { qos: 1, id: 2 });
  site.time.settle();
  const { client: again, present } = connect(a, 'sub', durable);
  t.ok(present);
  site.time.settle();
  const got = again.publishes();
  t.strictSame(
    got.map(({ payload }) => payload),
    ['m1', 'm2'],
  );
  t.equal(got[0]!.packetId, sent!.packetId, 'the same packet id under the new owner');
  t.ok(got[0]!.dup, 'it may have been sent before');
  publisher.publish('x', 'm3', { qos: 1, id: 3 });
  site.time.settle();
  const [late] = again.publishes();
  t.match(late, { payload: 'm3', dup: false });
  t.equal(b.world.stats.queuedMessages, 0);
});

t.test('a client that connects elsewhere ends its connection here', async (t) => {
  const { site, a, b } = await two();
  const { client: old } = connect(a, 'c', durable);
  old.subscribe('x', 1);
  site.time.settle();
  old.receive();
  const { client: plain } = connect(a, 'plain');
  const { client: next, present } = connect(b, 'c', durable);
  t.ok(present);
  const end = old.receive().at(-1);
  t.match(end, { type: 'disconnect', reasonCode: 0x8e });
  const { client: plainNext, present: plainPresent } = connect(b, 'plain');
  t.notOk(plainPresent);
  t.match(plain.receive().at(-1), { type: 'disconnect', reasonCode: 0x8e });
  plainNext.publish('x', 'for the new one', { qos: 1, id: 1 });
  site.time.settle();
  t.strictSame(next.payloads(), ['for the new one']);
  t.strictSame(old.payloads(), []);
  t.equal(a.world.stats.clientsConnected, 0);
});

t.test('ten connects at once leave one connection', async (t) => {
  const { site, a, b } = await two();
  const clients = Array.from({ length: 10 }, (_, index) => {
    const client = (index % 2 === 0 ? a : b).world.client(5, 'c');
    client.connect(durable);
    return client;
  });
  site.time.settle();
  const alive = clients.filter(({ sink }) => !sink.ended && !sink.destroyed);
  t.equal(alive.length, 1);
  t.equal(a.world.stats.clientsConnected + b.world.stats.clientsConnected, 1);
});

t.test('the will of a connection is published by whoever has its session', async (t) => {
  const { site, a, b } = await two();
  const { client: watcher } = connect(b, 'watcher');
  watcher.subscribe('w/#', 1);
  site.time.settle();
  watcher.receive();
  const will = (topic: string, delayIntervalS = 0) => ({ will: { topic, qos: 1, delayIntervalS } });
  connect(a, 'broken', { ...will('w/broken') } as never).client.sink.close();
  site.time.settle();
  t.strictSame(watcher.payloads(), ['will'], 'a broken connection');
  connect(a, 'moves', { ...durable, ...will('w/moves') } as never);
  connect(b, 'moves', durable);
  site.time.settle();
  t.strictSame(watcher.payloads(), ['will'], 'taken over: its network connection was closed');
  connect(a, 'patient', { ...durable, ...will('w/patient', 60) } as never);
  connect(b, 'patient', durable);
  site.time.settle();
  t.strictSame(watcher.payloads(), [], 'a delayed one is void when the session goes on');
  connect(a, 'ends', { ...durable, ...will('w/ends', 60) } as never);
  connect(b, 'ends', { clean: true });
  site.time.settle();
  t.strictSame(watcher.payloads(), ['will'], 'and due when it ends');
  const polite = connect(a, 'polite', { ...will('w/polite') } as never).client;
  polite.disconnect();
  site.time.settle();
  t.strictSame(watcher.payloads(), [], 'goodbye');
});

t.test('S25: who has read the goodbye publishes no will that Redis hands to it', async (t) => {
  const { site, a, b } = await two();
  const { client: watcher } = connect(b, 'watcher');
  watcher.subscribe('w/#', 1);
  site.time.settle();
  watcher.receive();
  const { client } = connect(a, 'polite', {
    ...durable,
    will: { topic: 'w/polite', qos: 1 },
  } as never);
  const { sid, epoch, will } = site.rows.get('polite')!;
  client.disconnect();
  site.time.settle();
  const handed = { clientId: 'polite', identity: null, tenant: '', sid, message: will!.message };
  const awaited = { unsafeCount: 0, waiter: null, failed: false };
  a.remote.publishWill({ ...handed, epoch }, awaited);
  site.time.settle();
  t.strictSame(watcher.payloads(), []);
  t.strictSame(awaited, { unsafeCount: 0, waiter: null, failed: false }, 'it is over');
  a.remote.publishWill({ ...handed, epoch: epoch + 1 }, awaited);
  site.time.settle();
  t.strictSame(watcher.payloads(), ['will'], 'of another connection of the client');
});

t.test('an owner that has lost a session writes nothing more for it', async (t) => {
  const { site, a, b } = await two();
  const { client: old } = connect(a, 'c', durable);
  old.subscribe('x', 1);
  site.time.settle();
  old.receive();
  // Its answers stand still, as those of a node that was paused.
  const row = site.rows.get('c')!;
  row.epoch += 5;
  row.owner = b.incarnation;
  old.subscribe('y', 1);
  site.time.settle();
  t.match(old.receive().at(-1), { type: 'disconnect', reasonCode: 0x8e });
  t.equal(row.record?.subscriptions.length, 1, 'the refused write is not there');
});

t.test('QoS 2 of a publisher whose node dies reaches a queue once', async (t) => {
  const { site, a, b } = await two();
  const { client: subscriber } = connect(b, 'sub', durable);
  subscriber.subscribe('x', 2);
  site.time.settle();
  subscriber.receive();
  const { client: publisher } = connect(a, 'pub', durable);
  publisher.publish('x', 'before', { qos: 2, id: 1 });
  publisher.publish('x', 'behind', { qos: 1, id: 2 });
  t.equal(site.rows.get('sub')!.tailSeq, 0, 'nothing leaves before it is stored');
  site.time.settle();
  t.strictSame(
    publisher.receive().map(({ type }) => type),
    ['pubrec', 'puback'],
  );
  t.equal(site.rows.get('pub')!.inbound.get(1), null, 'handed on');
  publisher.ack('pubrel', 1);
  site.time.settle();
  publisher.receive();
  publisher.publish('x', 'accepted', { qos: 2, id: 7 });
  // Stored and fanned out, but the node dies before it knows.
  for (let turn = 0; turn < 3; turn++) site.time.turn();
  const { inbound } = site.rows.get('pub')!;
  t.ok(inbound.get(7), 'it is not known to be handed on');
  a.kill();
  site.time.settle();
  const { client: again, present } = connect(b, 'pub', durable);
  t.ok(present);
  site.time.settle();
  again.publish('x', 'accepted', { qos: 2, id: 7, dup: true });
  site.time.settle();
  t.match(again.receive().at(-1), { type: 'pubrec', packetId: 7 });
  const { queue } = site.rows.get('sub')!;
  t.strictSame(
    queue.map(({ append }) => append.message.payload.toString()),
    ['before', 'behind', 'accepted'],
  );
});

t.test('S24: what is handed on again is retained as of when it was accepted', async (t) => {
  const { site, a, b } = await two();
  const { client: publisher } = connect(a, 'pub', durable);
  for (const [id, text] of ['of a', 'of a', ''].entries()) {
    publisher.publish(`r/${id}`, text, { retain: true, qos: 2, id: 1 + id });
  }
  // Stored, and the node dies before it knows.
  site.time.turn();
  const { inbound } = site.rows.get('pub')!;
  t.ok(inbound.get(1) && inbound.get(2) && inbound.get(3));
  const versions = [...inbound.values()].map((pending) => pending!.message.version!);
  a.kill();
  site.time.settle();
  const { client: other } = connect(b, 'other');
  for (const topic of ['r/0', 'r/2']) other.publish(topic, 'newer', { retain: true });
  other.publish('r/1', '', { retain: true });
  connect(b, 'pub', durable);
  site.time.settle();
  t.ok(inbound.get(1) === null && inbound.get(2) === null && inbound.get(3) === null);
  const shown = (topic: string): string | undefined =>
    b.world.broker.admin.retainedMessage(topic)?.payload.toString();
  t.strictSame(['r/0', 'r/1', 'r/2'].map(shown), ['newer', undefined, 'newer']);
  t.ok(versions.every(({ writer }) => writer === 0));
});

t.test('S24: what only its dead owner has known is retained by the next one', async (t) => {
  const { site, a, b } = await two();
  const { client: other } = connect(b, 'other');
  other.publish('r/0', 'older', { retain: true });
  other.publish('r/1', 'older', { retain: true });
  site.time.pass(1000);
  const told = a.remote;
  const { client: publisher } = connect(a, 'pub', durable);
  // Nobody hears of it.
  a.announceRetained = (_topic, _message, _replaces, _awaited, accepted) =>
    accepted ?? { timeUs: site.time.wallMs() * 1000, writer: 0 };
  publisher.publish('r/0', 'of a', { retain: true, qos: 2, id: 1 });
  publisher.publish('r/1', '', { retain: true, qos: 2, id: 2 });
  site.time.turn();
  const { version } = told.retainedOf('r/0')!;
  const pending = [...site.rows.get('pub')!.inbound.values()];
  t.strictSame(pending[0]!.message.version, version);
  a.kill();
  site.time.pass(1000);
  const c = await site.node();
  connect(b, 'pub', durable);
  site.time.settle();
  for (const { remote } of [b, c]) {
    t.match(remote.retainedOf('r/0'), { version });
    t.equal(remote.retainedOf('r/0')?.payload.toString(), 'of a');
  }
  t.equal(b.remote.retainedOf('r/1'), null);
  t.strictSame(b.kept.get('r/1'), pending[1]!.message.version);
});

t.test('S24: of a record without a version all that is retained is newer', async (t) => {
  const { site, a, b } = await two();
  const { client: publisher } = connect(a, 'pub', durable);
  publisher.publish('r/0', 'of a', { retain: true, qos: 2, id: 1 });
  publisher.publish('r/1', 'of a', { retain: true, qos: 2, id: 2 });
  site.time.turn();
  for (const pending of site.rows.get('pub')!.inbound.values()) pending!.message.version = null;
  a.kill();
  site.time.settle();
  const { client: other } = connect(b, 'other');
  other.publish('r/0', 'newer', { retain: true });
  const gone = b.remote.retainedOf('r/1')!;
  b.remote.applyRetained('r/1', null, { ...gone.version!, writer: 9 });
  b.remote.forgetTombstone('r/1');
  connect(b, 'pub', durable);
  site.time.settle();
  t.equal(b.remote.retainedOf('r/0')?.payload.toString(), 'newer');
  t.equal(b.remote.retainedOf('r/1')?.payload.toString(), 'of a', 'nothing is known of it');
});

t.test('a shared group has one receiver in the whole datacenter', async (t) => {
  const { site, a, b } = await two();
  const members = [connect(a, 'm1').client, connect(b, 'm2').client, connect(b, 'm3').client];
  for (const member of members) member.subscribe('$share/g/x', 1);
  site.time.settle();
  for (const member of members) member.receive();
  const { client: publisher } = connect(a, 'pub');
  const sent = Array.from({ length: 60 }, (_, index) => `${index}`);
  for (const [index, text] of sent.entries()) {
    publisher.publish('x', text, { qos: index % 2 === 0 ? 0 : 1, id: index + 1 });
    site.time.settle();
  }
  const got = members.map((member) => member.payloads());
  t.strictSame(
    got.flat().sort((x, y) => Number(x) - Number(y)),
    sent,
  );
  for (const one of got) t.ok(one.length > 5, 'each member has its share');
});

t.test(
  'members with queues elsewhere are chosen, and those that are away when nobody is there',
  async (t) => {
    const { site, a, b } = await two();
    const { client: member } = connect(b, 'm', durable);
    member.subscribe('$share/g/x', 1);
    site.time.settle();
    member.receive();
    const { client: publisher } = connect(a, 'pub');
    publisher.publish('x', 'there', { qos: 1, id: 1 });
    site.time.settle();
    t.strictSame(member.payloads(), ['there']);
    member.sink.close();
    site.time.settle();
    publisher.publish('x', 'away', { qos: 1, id: 2 });
    site.time.settle();
    const { client: again } = connect(a, 'm', durable);
    site.time.settle();
    t.strictSame(again.payloads(), ['there', 'away']);
  },
);

t.test('retained messages are everywhere, the last writer wins, a clear is one', async (t) => {
  const { site, a, b } = await two();
  const { client: publisher } = connect(a, 'pub');
  publisher.publish('r/1', 'one', { retain: true });
  publisher.publish('r/2', 'two', { retain: true, qos: 1, id: 1 });
  site.time.settle();
  const { client: reader } = connect(b, 'reader');
  reader.subscribe('r/#');
  site.time.settle();
  t.strictSame(reader.payloads().sort(), ['one', 'two']);
  const other = connect(b, 'other').client;
  other.publish('r/1', 'newer', { retain: true });
  other.publish('r/2', '', { retain: true });
  site.time.settle();
  const late = connect(a, 'late').client;
  late.subscribe('r/#');
  site.time.settle();
  t.strictSame(late.payloads(), ['newer']);
  const known = b.world.broker.admin.retainedMessage('r/1')!;
  b.remote.applyRetained('r/1', null, { timeUs: known.version!.timeUs - 1, writer: 9 });
  t.ok(b.world.broker.admin.retainedMessage('r/1'), 'an older clear changes nothing');
  for (const node of [a, b]) {
    t.strictSame([...node.kept.keys()], ['r/2'], 'the store keeps the tombstone');
    node.remote.forgetTombstone('r/2');
    t.equal(node.kept.size, 0);
  }
  b.remote.applyRetained('r/4', null, { timeUs: 5, writer: 9 });
  t.strictSame([...b.kept.keys()], ['r/4'], 'also of a topic that is not known yet');
});

t.test(
  'a retained message that expires is buried: what it replaced must not come back',
  async (t) => {
    const { site, a, b } = await two();
    const { client: publisher } = connect(a, 'pub');
    publisher.publish('r/1', 'one', { retain: true, expiryS: 5 });
    site.time.settle();
    const { version } = b.world.broker.admin.retainedMessage('r/1')!;
    site.time.pass(7000);
    for (const node of [a, b]) {
      t.equal(node.world.broker.admin.retainedMessage('r/1'), null);
      t.strictSame(node.buried.get('r/1'), version);
      t.strictSame(node.kept.get('r/1'), version);
    }
  },
);

t.test('a node whose lease may be over matches nothing until it knows', async (t) => {
  const { site, a, b } = await two();
  const { client: subscriber } = connect(b, 'sub');
  subscriber.subscribe('x');
  site.time.settle();
  subscriber.receive();
  const { client: publisher } = connect(a, 'pub');
  a.serves = false;
  publisher.publish('x', 'held', { qos: 1, id: 1 });
  site.time.settle();
  t.strictSame(subscriber.payloads(), []);
  t.strictSame(publisher.receive(), []);
  a.serves = true;
  a.remote.unfenced();
  site.time.settle();
  t.strictSame(subscriber.payloads(), ['held']);
  t.equal(publisher.receive()[0]?.type, 'puback');
});

t.test(
  'a node that is dead to the others closes its clients and keeps nothing of them',
  async (t) => {
    const { site, a, b } = await two();
    const { client: watcher } = connect(b, 'watcher');
    watcher.subscribe('w');
    site.time.settle();
    watcher.receive();
    const { client } = connect(a, 'c', { ...durable, will: { topic: 'w' } });
    client.subscribe('x', 1);
    site.time.settle();
    client.receive();
    a.remote.lost();
    site.time.settle();
    t.match(client.receive().at(-1), { type: 'disconnect', reasonCode: 0x9c });
    t.strictSame(watcher.payloads(), [], 'the will is for those who go on');
    t.equal(a.world.stats.connections, 0);
    t.strictSame([...a.remote.ownedSessions()], []);
  },
);

t.test('CONNECT during which the client goes away leaves the session as it was', async (t) => {
  const { site, a, b } = await two();
  const { client: first } = connect(a, 'c', durable);
  first.subscribe('x', 1);
  site.time.settle();
  first.sink.close();
  site.time.settle();
  site.isStuck = true;
  const hasty = b.world.client(5, 'c');
  hasty.connect(durable);
  site.time.turn();
  hasty.sink.close();
  site.goOn();
  t.equal(site.rows.get('c')!.owner, null);
  t.equal(b.world.stats.clientsConnected, 0);
  const { present } = connect(b, 'c', durable);
  t.ok(present);
  t.equal([...b.remote.interests()].length, 1);
});

t.test('a CONNECT is void when the end of its socket is right behind it', async (t) => {
  const { site, a, b } = await two();
  const { client } = connect(a, 'c', durable);
  client.subscribe('x', 1);
  site.time.settle();
  client.receive();
  const { sid, epoch } = site.rows.get('c')!;
  // A node was stopped: the client has waited here, and has been elsewhere since.
  const before = b.world.client(5, 'c');
  before.connect({ clean: true, expiryS: NEVER });
  before.sink.close();
  site.time.settle();
  t.match(site.rows.get('c'), { sid, epoch });
  t.strictSame(client.receive(), []);
});

t.test(
  'a clean start that is not waited for leaves no session to be taken for the old one',
  async (t) => {
    const { site, a, b } = await two();
    const { client } = connect(a, 'c', durable);
    client.subscribe('x', 1);
    site.time.settle();
    client.sink.close();
    site.time.settle();
    const hasty = b.world.client(5, 'c');
    hasty.connect({ clean: true, expiryS: NEVER });
    site.time.turn();
    hasty.sink.close();
    site.time.settle();
    t.notOk(connect(b, 'c', durable).present, 'its subscription is gone');
  },
);

t.test('another user is told that the session is not theirs', async (t) => {
  const { site, a, b } = await two();
  connect(a, 'c', durable);
  site.rows.get('c')!.identity = 'ann';
  const { client } = { client: b.world.client(5, 'c') };
  client.connect(durable);
  site.time.settle();
  t.match(client.receive()[0], { type: 'connack', packet: { reasonCode: 0x87 } });
});

t.test('a session ended from another node is gone everywhere', async (t) => {
  const { site, a, b } = await two();
  const { client } = connect(a, 'c', durable);
  client.subscribe('x', 1);
  site.time.settle();
  client.receive();
  t.ok(b.world.broker.admin.endSession('c'));
  site.time.settle();
  t.match(client.receive().at(-1), { type: 'disconnect' });
  t.notOk(site.rows.has('c'));
  t.equal(a.world.stats.sessions, 0);
  t.equal(b.world.stats.sessions, 0);
  const { present } = connect(b, 'c', durable);
  t.notOk(present);
});

t.test('queueOverflow disconnect: positions that were passed over are no backlog', async (t) => {
  const site = new FakeDatacenter();
  const a = await site.node();
  const options = { queueOverflow: 'disconnect', limits: { queueMessagesMax: 5 } } as const;
  const b = await site.node(options);
  const { client: publisher } = connect(a, 'pub');
  const { client: reader } = connect(b, 'reader', durable);
  reader.subscribe('x', 1);
  site.time.settle();
  reader.receive();
  // As when Redis came back empty.
  site.rows.get('reader')!.tailSeq += 4096;
  publisher.publish('x', '1', { qos: 1, id: 1 });
  site.time.settle();
  t.strictSame(reader.payloads(), ['1']);
  // Six at once for who has waited for nothing: too many are found when they are read.
  for (let id = 2; id <= 7; id++) publisher.publish('x', `${id}`, { qos: 1, id });
  site.time.settle();
  t.equal(reader.receive().at(-1)?.type, 'disconnect');
});

t.test('queueOverflow disconnect: a client that lets its queue fill up has to go', async (t) => {
  const site = new FakeDatacenter();
  const a = await site.node();
  const options = { queueOverflow: 'disconnect', limits: { queueMessagesMax: 5 } } as const;
  const b = await site.node(options);
  const { client: publisher } = connect(a, 'pub');
  const { client: reader } = connect(b, 'reader', { ...durable, receiveMaximum: 1 });
  reader.subscribe('x', 1);
  site.time.settle();
  reader.receive();
  for (let id = 1; id <= 4; id++) publisher.publish('x', `${id}`, { qos: 1, id });
  site.time.settle();
  t.strictSame(
    reader.receive().map(({ type }) => type),
    ['publish'],
    'one of four: it has not answered',
  );
  publisher.publish('x', '5', { qos: 1, id: 5 });
  site.time.settle();
  t.match(reader.receive(), [{ type: 'disconnect', reasonCode: 0x97 }]);
  t.equal(b.world.broker.stats.closed.get('queue_overflow'), 1);
});
