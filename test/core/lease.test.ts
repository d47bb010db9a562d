/**
 * A node whose lease may be over (hard case 2): what it has read already, what it has not read yet, and
 * what it was about to answer. The datacenter is fake-datacenter.ts.
 */
import t from 'tap';
import { ALLOW, type GateWaiter, type Verdict, WAIT } from '../../src/core/ports.ts';
import type { FakeClient, Version } from './fake-client.ts';
import { FakeDatacenter, type FakeNode } from './fake-datacenter.ts';
import { accepted, FakeClientGate, FakeGate } from './fake-gate.ts';
import { World } from './world.ts';

const durable = { clean: false, expiryS: 3600 };

/** Asked about a publish it says nothing until it is told to. */
class SlowGate extends FakeGate {
  waiter: GateWaiter | null = null;

  override connect(): ReturnType<typeof accepted> {
    const client = new FakeClientGate();
    let isAsked = false;
    client.publish = (_topic, _qos, _retain, _bytes, waiter): Verdict => {
      if (isAsked) return ALLOW;
      isAsked = true;
      this.waiter = waiter;
      return WAIT;
    };
    return accepted(null, client);
  }

  override will(): boolean {
    return true;
  }
}

function connect(
  node: FakeNode,
  clientId: string,
  options: Parameters<FakeClient['connect']>[0] = durable,
  version: Version = 5,
): FakeClient {
  const client = node.world.client(version, clientId);
  client.connect(options);
  node.world.settle();
  const [first] = client.receive();
  if (first?.type !== 'connack' || first.packet.reasonCode !== 0) throw new Error('no CONNACK');
  return client;
}

function goesOn(node: FakeNode): void {
  node.serves = true;
  node.remote.unfenced();
  node.world.settle();
}

t.test('SUBACK and UNSUBACK that waited for the store ask for the lease once more', async (t) => {
  const site = new FakeDatacenter();
  await site.node();
  const b = await site.node();
  const client = connect(b, 'sub');
  // Every node has applied it a turn later, when it is not written yet.
  client.subscribe('x', 1);
  site.time.turn();
  b.serves = false;
  site.time.settle();
  t.equal(site.rows.get('sub')!.record?.subscriptions.length, 1, 'written by now');
  t.strictSame(client.receive(), [], 'a node that has joined since may not know of it');
  goesOn(b);
  t.strictSame(
    client.receive().map(({ type }) => type),
    ['suback'],
  );
  client.unsubscribe('x');
  site.time.turn();
  b.serves = false;
  site.time.settle();
  t.strictSame(client.receive(), []);
  b.remote.lost();
  site.time.settle();
  t.match(client.receive().at(0), { type: 'disconnect', reasonCode: 0x9c }, 'or never');
});

t.test('CONNACK waits for the lease, as it says that every node knows', async (t) => {
  const site = new FakeDatacenter();
  const a = await site.node();
  const client = a.world.client(5, 'c');
  client.connect(durable);
  site.time.turn();
  a.serves = false;
  site.time.settle();
  t.strictSame(client.receive(), []);
  goesOn(a);
  t.equal(client.receive()[0]?.type, 'connack');
});

t.test('S21: the node stands still between its answer and the end of the turn', async (t) => {
  const site = new FakeDatacenter();
  const a = await site.node();
  const fleeting = { clean: true, expiryS: 0 };
  const client = connect(a, 'c', fleeting);
  // Every node has applied it a turn later: then it is answered.
  client.subscribe('x', 1);
  site.time.turn();
  a.serves = false;
  site.time.settle();
  t.strictSame(client.receive(), [], 'decided under the lease, and nobody has heard it');
  client.send(Buffer.from([0xc0, 0]));
  goesOn(a);
  t.strictSame(
    client.receive().map(({ type }) => type),
    ['suback', 'pingresp'],
  );
  client.unsubscribe('x');
  site.time.turn();
  a.serves = false;
  site.time.settle();
  t.strictSame(client.receive(), []);
  a.remote.unfenced();
  site.time.settle();
  t.strictSame(client.receive(), [], 'its lease was over again by then');
  goesOn(a);
  t.equal(client.receive()[0]?.type, 'unsuback');
  // An ack says what is stored, and that is true whatever becomes of the node.
  client.publish('x', 'safe', { qos: 1, id: 1 });
  a.serves = false;
  site.time.settle();
  t.equal(client.receive()[0]?.type, 'puback');
  goesOn(a);
  client.subscribe('y', 1);
  site.time.turn();
  a.serves = false;
  site.time.settle();
  a.remote.lost();
  site.time.settle();
  t.notMatch(client.receive().at(0), { type: 'suback' }, 'or never');
  t.ok(client.sink.ended);
});

t.test('a QoS 2 message that was stored meanwhile is matched when the lease goes on', async (t) => {
  const site = new FakeDatacenter();
  const a = await site.node();
  const b = await site.node();
  const subscriber = connect(b, 'sub');
  subscriber.subscribe('x', 2);
  site.time.settle();
  subscriber.receive();
  const publisher = connect(a, 'pub');
  publisher.publish('x', 'stored', { qos: 2, id: 1 });
  a.serves = false;
  site.time.settle();
  t.ok(site.rows.get('pub')!.inbound.get(1));
  t.equal(site.rows.get('sub')!.tailSeq, 0, 'its routes may be old');
  t.strictSame(publisher.receive(), []);
  goesOn(a);
  t.strictSame(subscriber.payloads(), ['stored']);
  t.equal(publisher.receive()[0]?.type, 'pubrec');
});

t.test('what was held for a decision is matched under a lease, too', async (t) => {
  const site = new FakeDatacenter();
  const gate = new SlowGate();
  const a = await site.node({ gate });
  const b = await site.node();
  const subscriber = connect(b, 'sub', {});
  subscriber.subscribe('x');
  site.time.settle();
  subscriber.receive();
  const publisher = connect(a, 'pub', {});
  publisher.publish('x', 'decided late');
  a.serves = false;
  gate.waiter!.resume();
  site.time.settle();
  t.strictSame(a.forwarded, []);
  goesOn(a);
  t.strictSame(subscriber.payloads(), ['decided late']);
});

const goodbyes = [
  { version: 5, reasonCode: 0, isPublished: false },
  { version: 5, reasonCode: 4, isPublished: true },
  { version: 4, reasonCode: 0, isPublished: false },
  { version: 3, reasonCode: 0, isPublished: false },
] as const;

for (const { version, reasonCode, isPublished } of goodbyes) {
  const what = `v${version} DISCONNECT 0x0${reasonCode}`;
  t.test(`${what} that was held when the socket closed [MQTT5-3.14.4-3]`, async (t) => {
    const site = new FakeDatacenter();
    const a = await site.node();
    const b = await site.node();
    const watcher = connect(b, 'watcher', {});
    watcher.subscribe('w');
    site.time.settle();
    watcher.receive();
    const client = connect(a, 'c', { ...durable, will: { topic: 'w' } }, version);
    a.serves = false;
    client.publish('x', 'unread', { qos: 1, id: 1 });
    client.disconnect(reasonCode);
    client.sink.close();
    goesOn(a);
    t.strictSame(watcher.payloads(), isPublished ? ['will'] : []);
    t.equal(a.world.stats.connections, 0);
    t.equal(site.rows.get('c')!.owner, null);
  });
}

t.test('half a DISCONNECT is none', async (t) => {
  const site = new FakeDatacenter();
  const a = await site.node();
  const b = await site.node();
  const watcher = connect(b, 'watcher', {});
  watcher.subscribe('w');
  site.time.settle();
  watcher.receive();
  const client = connect(a, 'c', { ...durable, will: { topic: 'w' } });
  client.send(Buffer.from([0xc0]));
  a.serves = false;
  client.send(Buffer.from([0x00, 0xe0]));
  client.sink.close();
  goesOn(a);
  t.strictSame(watcher.payloads(), ['will']);
});

t.test('a DISCONNECT in pieces, behind what was read before the lease was over', async (t) => {
  const site = new FakeDatacenter();
  const a = await site.node();
  const client = connect(a, 'c', { ...durable, will: { topic: 'w' } });
  client.send(Buffer.from([0xc0]));
  a.serves = false;
  client.send(Buffer.from([0x00, 0xe0]));
  client.send(Buffer.from([0x00]));
  client.sink.close();
  goesOn(a);
  t.equal(site.rows.get('c')!.will, null);
  t.equal(a.world.stats.willsPublished, 0);
});

t.test(
  'a session that is taken by another node: a goodbye that was held makes its will void',
  async (t) => {
    const site = new FakeDatacenter();
    const a = await site.node();
    await site.node();
    const client = connect(a, 'c', { ...durable, will: { topic: 'w' } });
    const row = site.rows.get('c')!;
    a.serves = false;
    client.disconnect();
    let isDone = false;
    a.remote.letGo('c', row.epoch + 1, () => {
      isDone = true;
    });
    site.time.settle();
    t.ok(isDone);
    t.equal(row.will, null, 'closed by its client, not taken over');
    t.equal(a.world.stats.sessionsTakenOver, 0);
  },
);

t.test('a node alone: a DISCONNECT behind a packet that waits for a decision', async (t) => {
  const gate = new SlowGate();
  const world = await World.start({ gate });
  const watcher = world.client(5, 'watcher');
  watcher.connect();
  watcher.subscribe('w');
  world.settle();
  watcher.receive();
  const client = world.client(4, 'c');
  client.connect({ will: { topic: 'w' } });
  world.settle();
  client.publish('x', 'waits', { qos: 1, id: 1 });
  client.disconnect();
  client.sink.close();
  world.settle();
  gate.waiter!.resume();
  t.strictSame(watcher.payloads(), []);
});

t.test('a will waits for the lease: others may publish it by now [hard case 13]', async (t) => {
  for (const isLost of [false, true]) {
    const site = new FakeDatacenter();
    await site.node();
    const b = await site.node();
    const watch = connect(b, 'watch', {});
    watch.subscribe('w/#', 0);
    site.time.settle();
    watch.receive();
    const client = connect(b, 'c', { ...durable, will: { topic: 'w/c', qos: 1 } } as never);
    b.serves = false;
    client.sink.close();
    site.time.settle();
    t.strictSame(watch.receive(), [], 'not while it may be counted as dead');
    if (isLost) b.remote.lost();
    goesOn(b);
    const wills = watch.receive().filter(({ type }) => type === 'publish');
    t.equal(wills.length, isLost ? 0 : 1, isLost ? 'the survivors did' : 'once it goes on');
  }
});
