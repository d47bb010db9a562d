/** Quotas in a whole broker without sockets: what clients see at each limit. */
import t from 'tap';
import { Drop } from '../../src/core/drop-reason.ts';
import type { ClientGate, Gate } from '../../src/core/ports.ts';
import { QuotaGate } from '../../src/quota/quota-gate.ts';
import type { QuotaOptions } from '../../src/quota/quota-options.ts';
import type { FakeClient, Received, Version } from '../core/fake-client.ts';
import { accepted, FakeGate } from '../core/fake-gate.ts';
import { ManualTime } from '../core/manual-time.ts';
import { World, type WorldOptions } from '../core/world.ts';
import { ManualShared } from './scene.ts';

interface Quoted {
  readonly world: World;
  readonly gate: QuotaGate;
}

/** A broker where the user name is who the client is, under these quotas. */
async function quoted(
  quotas: readonly QuotaOptions[],
  options: WorldOptions & { readonly inner?: Gate } = {},
): Promise<Quoted> {
  const time = new ManualTime();
  const inner = options.inner ?? new FakeGate();
  if (options.inner === undefined) {
    inner.connect = (request) => accepted(request.packet?.username ?? null, null);
  }
  const gate = new QuotaGate({
    quotas,
    inner,
    clock: time,
    scheduler: time,
    log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
    shared: new ManualShared(time),
    retained: () => [],
    wrapsEveryone: true,
  });
  return { world: await World.start({ ...options, time, gate }), gate };
}

function of(received: readonly Received[], type: Received['type']): Received[] {
  return received.filter((packet) => packet.type === type);
}

function publishes(client: FakeClient): string[] {
  return client
    .receive()
    .flatMap((packet) => (packet.type === 'publish' ? [packet.publish.payload] : []));
}

const rate = (max: number, more: Partial<QuotaOptions> = {}): QuotaOptions => ({
  name: 'rate',
  of: 'publishMessagesPerS',
  per: 'client',
  max,
  ...more,
});

for (const version of [4, 5] as const) {
  t.test(
    `v${version}: a publisher that is slowed down loses nothing and keeps its order`,
    async (t) => {
      const { world } = await quoted([rate(100, { burst: 5 })]);
      const reader = world.connected(version, 'reader');
      reader.subscribe([{ filter: 'a/#', qos: 1 }]);
      const writer = world.connected(version, 'writer');
      world.settle();
      reader.receive();
      const expected: string[] = [];
      for (let i = 0; i < 40; i++) {
        expected.push(String(i));
        writer.publish('a/b', String(i), { qos: 1, id: i + 1 });
      }
      world.settle();
      const got = publishes(reader);
      t.equal(got.length, 5, 'the burst');
      t.ok(writer.sink.paused, 'its socket is not read');
      for (let i = 0; i < 60; i++) {
        world.time.pass(10, 10);
        got.push(...publishes(reader));
      }
      t.strictSame(got, expected);
      t.equal(of(writer.receive(), 'puback').length, 40);
      t.notOk(writer.sink.paused);
    },
  );

  t.test(`v${version}: drop`, async (t) => {
    const { world } = await quoted([rate(10, { burst: 2, action: 'drop' })]);
    const reader = world.connected(version, 'reader');
    reader.subscribe([{ filter: 'a', qos: 2 }]);
    const writer = world.connected(version, 'writer');
    world.settle();
    reader.receive();
    for (let i = 1; i <= 2; i++) writer.publish('a', String(i), { qos: 1, id: i });
    writer.publish('a', '3', { qos: 0 });
    writer.publish('a', '4', { qos: 1, id: 4 });
    world.settle();
    t.strictSame(publishes(reader), ['1', '2']);
    const codes = of(writer.receive(), 'puback').map(
      (ack) => 'reasonCode' in ack && ack.reasonCode,
    );
    t.strictSame(codes, version === 5 ? [0, 0, 0x97] : [0, 0]);
    // 3.1.1 has no negative ack.
    t.equal(world.stats.closed.get('quota_exceeded') ?? 0, version === 5 ? 0 : 1);
    t.equal(world.stats.dropped[Drop.publish_quota], 2);
  });

  t.test(`v${version}: disconnect`, async (t) => {
    const { world } = await quoted([rate(10, { burst: 2, action: 'disconnect' })]);
    const writer = world.connected(version, 'writer');
    for (let i = 1; i <= 3; i++) writer.publish('a', String(i), { qos: 0 });
    world.settle();
    t.equal(world.stats.closed.get('message_rate'), 1);
    if (version === 5) t.match(writer.receive(), [{ type: 'disconnect', reasonCode: 0x96 }]);
  });
}

t.test('drop at QoS 2: PUBREC 0x97, and the id is free again', async (t) => {
  const { world } = await quoted([rate(1, { burst: 1, action: 'drop' })]);
  const writer = world.connected(5, 'writer');
  writer.publish('a', '1', { qos: 2, id: 1 });
  writer.publish('a', '2', { qos: 2, id: 2 });
  world.settle();
  t.match(of(writer.receive(), 'pubrec'), [
    { packetId: 1, reasonCode: 0x10 },
    { packetId: 2, reasonCode: 0x97 },
  ]);
  world.time.pass(1000);
  writer.publish('a', '2', { qos: 2, id: 2 });
  world.settle();
  t.match(of(writer.receive(), 'pubrec'), [{ packetId: 2, reasonCode: 0x10 }]);
});

// The test's client reads return code 0x03 of 3.1.1 as 0x88.
const refusals: readonly [Version, QuotaOptions, number][] = [
  [5, { name: 'q', of: 'connections', per: 'user', max: 1 }, 0x97],
  [4, { name: 'q', of: 'connections', per: 'user', max: 1 }, 0x88],
  [5, { name: 'q', of: 'connectsPerS', per: 'user', max: 1 }, 0x9f],
  [4, { name: 'q', of: 'connectsPerS', per: 'user', max: 1 }, 0x88],
];
for (const [version, quota, code] of refusals) {
  t.test(`v${version}: CONNACK ${code} over ${quota.of}`, async (t) => {
    const { world } = await quoted([quota]);
    const connect = async (clientId: string): Promise<FakeClient> => {
      const client = world.client(version, clientId);
      client.connect({ username: 'u' });
      for (let i = 0; i < 10; i++) await Promise.resolve();
      world.settle();
      return client;
    };
    const first = await connect('a');
    t.match(first.receive(), [{ type: 'connack', packet: { reasonCode: 0 } }]);
    const second = await connect('b');
    const [connack] = second.receive();
    t.match(connack, { type: 'connack', packet: { reasonCode: code } });
    if (version === 5) t.match(connack, { packet: { reasonString: /quota q/ } });
    first.sink.handler!.onClosed(null);
    world.time.pass(1000);
    t.match((await connect('c')).receive(), [{ type: 'connack', packet: { reasonCode: 0 } }]);
  });
}

t.test('SUBACK 0x97 for the filter that is too much', async (t) => {
  const { world } = await quoted([{ name: 's', of: 'subscriptions', per: 'user', max: 2 }]);
  const client = world.connected(5, 'a', { username: 'u' });
  client.subscribe([
    { filter: 'a', qos: 0 },
    { filter: 'b', qos: 1 },
    { filter: 'c', qos: 1 },
  ]);
  world.settle();
  t.match(of(client.receive(), 'suback'), [{ reasonCodes: [0, 1, 0x97] }]);
  client.unsubscribe('a');
  client.subscribe([{ filter: 'c', qos: 1 }]);
  world.settle();
  t.match(of(client.receive(), 'suback'), [{ reasonCodes: [1] }]);
});

t.test(
  'retained messages over the quota are refused, smaller ones in their place are not',
  async (t) => {
    const { world, gate } = await quoted([
      { name: 'm', of: 'retainedMessages', per: 'user', max: 1 },
    ]);
    const client = world.connected(5, 'a', { username: 'u' });
    const codes = (packetId: number, topic: string, payload: string): number => {
      client.publish(topic, payload, { qos: 1, id: packetId, retain: true });
      world.settle();
      const [ack] = of(client.receive(), 'puback');
      return ack !== undefined && 'reasonCode' in ack ? (ack.reasonCode as number) : -1;
    };
    t.equal(codes(1, 'a', 'x'), 0x10);
    t.equal(codes(2, 'b', 'x'), 0x97);
    t.equal(codes(3, 'a', 'y'), 0x10);
    t.equal(codes(4, 'a', ''), 0x10, 'deleted');
    t.strictSame([...gate.use(5)], []);
    t.equal(codes(5, 'b', 'x'), 0x10);
  },
);

t.test('queued bytes: the new message is dropped, or the session loses its client', async (t) => {
  for (const action of ['drop', 'disconnect'] as const) {
    const { world, gate } = await quoted([
      { name: 'q', of: 'queueBytes', per: 'user', max: 1000, action },
    ]);
    const away = world.connected(5, 'away', { username: 'u', expiryS: 100, receiveMaximum: 1 });
    away.subscribe([{ filter: 'a', qos: 1 }]);
    const writer = world.connected(5, 'writer');
    world.settle();
    away.receive();
    for (let i = 1; i <= 10; i++) {
      writer.publish('a', 'x'.repeat(300), { qos: 1, id: i });
    }
    world.settle();
    const used = [...gate.use(5)][0]!.used;
    t.ok(used > 600 && used <= 1000, `${used}`);
    t.equal(world.stats.closed.get('queue_overflow') ?? 0, action === 'drop' ? 0 : 1);
    away.sink.handler!.onClosed(null);
    world.time.pass(200_000, 5000);
    t.strictSame([...gate.use(5)], [], 'the session has ended');
  }
});

t.test('delivered bytes: QoS 0 is dropped, QoS 1 comes later', async (t) => {
  const { world } = await quoted([
    { name: 'd', of: 'deliverBytesPerS', per: 'client', max: 1000, burst: 400, users: ['slow'] },
  ]);
  const slow = world.connected(5, 'slow', { username: 'slow' });
  const fast = world.connected(5, 'fast', { username: 'fast' });
  for (const client of [slow, fast]) {
    client.subscribe([
      { filter: 'zero', qos: 0 },
      { filter: 'one', qos: 1 },
    ]);
  }
  const writer = world.connected(5, 'writer');
  world.settle();
  for (const client of [slow, fast]) client.receive();
  const expected: string[] = [];
  for (let i = 1; i <= 20; i++) {
    expected.push(`${i}`.padEnd(100, '.'));
    writer.publish('one', expected.at(-1)!, { qos: 1, id: i });
  }
  world.settle();
  t.equal(publishes(fast).length, 20);
  const got = publishes(slow);
  t.equal(got.length, 3);
  writer.publish('zero', 'z', { qos: 0 });
  world.settle();
  t.strictSame(publishes(fast), ['z']);
  t.strictSame(publishes(slow), [], 'dropped');
  for (let i = 0; i < 25; i++) {
    world.time.pass(100, 10);
    got.push(...publishes(slow));
  }
  t.strictSame(got, expected);
});

t.test('in-flight messages', async (t) => {
  const { world } = await quoted([
    { name: 'w', of: 'inflightMessages', per: 'client', max: 3, users: ['u'] },
  ]);
  const reader = world.connected(5, 'reader', { username: 'u' });
  reader.subscribe([{ filter: 'a', qos: 1 }]);
  const writer = world.connected(5, 'writer');
  world.settle();
  reader.receive();
  for (let i = 1; i <= 10; i++) writer.publish('a', `${i}`, { qos: 1, id: i });
  world.settle();
  t.equal(publishes(reader).length, 3);
});

t.test('a client that closes while it is slowed down leaves nothing behind', async (t) => {
  const { world, gate } = await quoted([rate(1, { burst: 1, per: 'user' })]);
  for (let round = 0; round < 20; round++) {
    const clients = ['a', 'b', 'c'].map((id) => world.connected(5, id, { username: 'u' }));
    for (const client of clients) {
      for (let i = 0; i < 5; i++) client.publish('a', 'x', { qos: 0 });
    }
    world.settle();
    for (const client of clients) client.sink.handler!.onClosed(null);
    world.settle();
  }
  const [state] = [...gate.states()];
  t.equal(state!.waiting, 0);
  world.time.pass(3000);
  t.equal([...gate.states()][0]!.keys, 0);
  t.strictSame(world.leftovers(), {});
});

t.test('reload: the client stays, its next message is under the new quota', async (t) => {
  const { world, gate } = await quoted([]);
  const writer = world.connected(5, 'writer');
  for (let i = 1; i <= 5; i++) writer.publish('a', 'x', { qos: 1, id: i });
  world.settle();
  gate.reload([rate(1, { burst: 1, action: 'drop' })]);
  for (let i = 6; i <= 8; i++) writer.publish('a', 'x', { qos: 1, id: i });
  world.settle();
  t.strictSame(
    of(writer.receive(), 'puback').map((ack) => 'reasonCode' in ack && ack.reasonCode),
    [0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x97, 0x97],
  );
});

t.test('rights behind the quotas still decide: topics, filters, wills', async (t) => {
  const inner = new FakeGate();
  const rights: ClientGate = {
    publish: (topic) => (topic === 'no' ? 0 : 1),
    subscribe: (filter) => (filter === 'no' ? 0 : 1),
    keeps: () => true,
    knows: () => true,
    receive: (topic) => topic !== 'secret',
    filtersReceive: true,
    allowsAll: false,
    why: null,
    closeReason: 'quota_exceeded',
    closed: () => {},
  };
  inner.connect = () => accepted('u', rights);
  let asked: ClientGate | null = null;
  inner.will = (_principal, client) => {
    asked = client;
    return true;
  };
  const { world } = await quoted([rate(1000)], { inner });
  const client = world.connected(5, 'a', { will: { topic: 'w', payload: Buffer.from('w') } });
  t.equal(asked, rights, 'rules see their own gate');
  client.subscribe([
    { filter: 'no', qos: 1 },
    { filter: '#', qos: 1 },
  ]);
  client.publish('no', 'x', { qos: 1, id: 1 });
  client.publish('secret', 'x', { qos: 0 });
  client.publish('open', 'x', { qos: 0 });
  world.settle();
  const received = client.receive();
  t.match(of(received, 'suback'), [{ reasonCodes: [0x87, 1] }]);
  t.match(of(received, 'puback'), [{ reasonCode: 0x87 }]);
  t.match(of(received, 'publish'), [{ publish: { topic: 'open' } }]);
});

t.test('what is dropped has been read first: who floods is read a little at a time', async (t) => {
  const { world } = await quoted([rate(1, { action: 'drop' })]);
  const writer = world.connected(5, 'writer');
  for (let i = 0; i < 1000; i++) writer.publish('a', String(i));
  world.settle();
  const dropped = (): number => world.stats.dropped[Drop.publish_quota]!;
  t.equal(dropped(), 200, 'the socket rests');
  t.ok(writer.sink.paused);
  for (let i = 0; i < 60 && dropped() < 999; i++) world.time.pass(10);
  t.equal(dropped(), 999, 'each is dropped in the end, once');
  t.notOk(writer.sink.paused);
  writer.publish('a', 'late');
  writer.disconnect();
  writer.sink.close();
  world.settle();
  t.equal(world.stats.clientsConnected, 0);
});
