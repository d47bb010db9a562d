/**
 * core/connection: acks that wait for the store (DESIGN P1). In order, never early, an error when the
 * store fails, and nothing lost or acked twice when connections end meanwhile.
 */
import t from 'tap';
import { publishBytes, type Received, subscribeBytes } from './fake-client.ts';
import { World } from './world.ts';

const failed = new Error('disk full');

function acks(packets: readonly Received[]): string[] {
  return packets.map((packet) => {
    if (packet.type === 'publish') return `publish ${packet.publish.payload}`;
    if ('packetId' in packet) {
      const code = 'reasonCode' in packet && packet.reasonCode !== 0 ? ` ${packet.reasonCode}` : '';
      return `${packet.type} ${packet.packetId}${code}`;
    }
    return packet.type === 'disconnect' ? `disconnect ${packet.reasonCode}` : packet.type;
  });
}

t.test('an ack leaves when the message is committed, or acked by who it was for', async (t) => {
  const world = await World.durable();
  const reader = world.connected(5, 'r', { expiryS: 1000 });
  reader.subscribe('t', 1);
  world.store.commit();
  world.settle();
  reader.receive();
  const publisher = world.connected(5, 'p');
  publisher.publish('t', 'a', { qos: 1, id: 1 });
  world.settle();
  t.same(acks(publisher.receive()), [], 'nothing is safe yet');
  const [got] = reader.publishes();
  reader.ack('puback', got!.packetId);
  world.settle();
  t.same(acks(publisher.receive()), ['puback 1'], 'safe: its only receiver has it');
  t.equal(world.stats.acksElided, 1);

  reader.sink.close();
  publisher.publish('t', 'b', { qos: 1, id: 2 });
  publisher.publish('nobody', 'c', { qos: 1, id: 3 });
  world.settle();
  t.same(acks(publisher.receive()), [], 'acks keep the order of their packets');
  world.store.commit();
  world.settle();
  t.same(acks(publisher.receive()), ['puback 2', 'puback 3 16']);
  t.equal(world.stats.parkedAcks, 0);
});

t.test(
  'a store that fails: v5 is told, 3.1.1 is closed, and neither is told success',
  async (t) => {
    const world = await World.durable();
    const reader = world.connected(5, 'r', { expiryS: 1000 });
    reader.subscribe('t', 2);
    world.store.commit();
    world.settle();
    reader.sink.close();
    const five = world.connected(5, 'five');
    const four = world.connected(4, 'four');
    five.publish('t', 'a', { qos: 1, id: 1 });
    five.publish('t', 'b', { qos: 2, id: 2 });
    four.publish('t', 'c', { qos: 1, id: 3 });
    world.store.commit(failed);
    world.settle();
    t.same(acks(five.receive()), ['puback 1 151', 'pubrec 2 151']);
    t.same(acks(four.receive()), []);
    t.ok(four.sink.ended);
    t.equal(world.stats.queuedMessages, 0, 'what could not be stored is not queued');
    // The id of the refused QoS 2 message is free again.
    five.publish('t', 'd', { qos: 2, id: 2 });
    world.store.commit();
    world.settle();
    t.same(acks(five.receive()), ['pubrec 2']);
    t.equal(world.stats.queuedMessages, 1);
  },
);

t.test('a message two sessions wait for is safe only when both have it', async (t) => {
  const world = await World.durable();
  for (const id of ['r1', 'r2']) {
    const reader = world.connected(5, id, { expiryS: 1000 });
    reader.subscribe('t', 1);
    world.store.commit();
    world.settle();
    reader.sink.close();
  }
  const publisher = world.connected(5, 'p');
  publisher.publish('t', 'a', { qos: 1, id: 1 });
  world.store.commit(failed);
  world.settle();
  t.same(acks(publisher.receive()), ['puback 1 151']);
  t.equal(world.stats.acksElided, 0, 'a failure is no elision');
  publisher.publish('t', 'b', { qos: 1, id: 2 });
  world.store.commit();
  world.settle();
  t.same(acks(publisher.receive()), ['puback 2']);
});

t.test('a QoS 2 message refused to a 3.1.1 client is taken when it comes again', async (t) => {
  const world = await World.durable();
  const reader = world.connected(5, 'r', { expiryS: 1000 });
  reader.subscribe('t', 2);
  world.store.commit();
  world.settle();
  reader.sink.close();
  const four = world.connected(4, 'four', { clean: false });
  four.publish('t', 'once', { qos: 2, id: 9 });
  world.store.commit(failed);
  world.settle();
  t.ok(four.sink.ended);
  four.sink.close();
  const again = world.connected(4, 'four', { clean: false });
  again.publish('t', 'once', { qos: 2, id: 9, dup: true });
  world.store.commit();
  world.settle();
  t.same(acks(again.receive()), ['pubrec 9']);
  t.equal(world.stats.queuedMessages, 1, 'an acked message is kept');
});

t.test('a QoS 2 id refused by the store is not remembered over a restart', async (t) => {
  const world = await World.durable();
  const reader = world.connected(5, 'r', { expiryS: 1000 });
  reader.subscribe('t', 2);
  const publisher = world.connected(5, 'p', { expiryS: 1000 });
  // Refused after its id is in the open batch.
  publisher.publish('t', 'x', { qos: 2, id: 5 });
  world.store.commit(failed);
  world.settle();
  publisher.publish('t', 'y', { qos: 2, id: 6 });
  world.store.commit();
  world.settle();
  t.same(acks(publisher.receive()), ['pubrec 5 151', 'pubrec 6']);
  const stored = [...world.store.disk.sessions.values()].find((s) => s.record.clientId === 'p');
  t.same([...stored!.inboundIds], [6]);
});

t.test(
  'a connection that ends before its PUBREC: the repetition waits for the same commit',
  async (t) => {
    const world = await World.durable();
    const reader = world.connected(5, 'r', { expiryS: 1000 });
    reader.subscribe('t', 2);
    world.store.commit();
    world.settle();
    reader.receive();
    const publisher = world.connected(5, 'p', { expiryS: 1000 });
    publisher.publish('t', 'once', { qos: 2, id: 9 });
    world.settle();
    publisher.sink.close();
    const again = world.client(5, 'p');
    again.connect({ clean: false, expiryS: 1000 });
    again.publish('t', 'once', { qos: 2, id: 9, dup: true });
    world.settle();
    t.same(acks(again.receive()), [], 'nothing is stored yet');
    world.store.commit();
    world.settle();
    t.same(acks(again.receive()), ['connack', 'pubrec 9']);
    t.same(reader.payloads(), ['once'], 'and it is delivered once');
  },
);

t.test(
  'a connection that ends before its PUBREC, and the store fails: it comes again',
  async (t) => {
    const world = await World.durable();
    const reader = world.connected(5, 'r', { expiryS: 1000 });
    reader.subscribe('t', 2);
    world.store.commit();
    world.settle();
    reader.receive();
    const publisher = world.connected(5, 'p', { expiryS: 1000 });
    publisher.publish('t', 'once', { qos: 2, id: 9 });
    publisher.sink.close();
    world.store.commit(failed);
    world.settle();
    t.same(reader.payloads(), [], 'what is not stored does not leave at QoS 2');
    const again = world.connected(5, 'p', { clean: false, expiryS: 1000 });
    again.publish('t', 'once', { qos: 2, id: 9, dup: true });
    world.store.commit();
    world.settle();
    t.same(acks(again.receive()).at(-1), 'pubrec 9');
    t.same(reader.payloads(), ['once'], 'an acked message is delivered');
  },
);

t.test('CONNACK and SUBACK wait for the store; nothing precedes CONNACK', async (t) => {
  const world = await World.durable();
  const client = world.client(5, 'c');
  client.connect({ expiryS: 1000 });
  client.send(subscribeBytes(5, 7, ['t'], 1), publishBytes(5, 't', 'self', { qos: 1, id: 8 }));
  world.settle();
  t.same(client.receive(), []);
  t.ok(client.sink.paused);
  world.store.commit();
  world.settle();
  t.same(acks(client.receive()), ['connack', 'publish self']);
  world.store.commit();
  world.settle();
  t.same(acks(client.receive()), ['suback 7', 'puback 8']);
});

t.test('[MQTT5-3.2.0-1] a client taken over before its CONNACK gets no DISCONNECT', async (t) => {
  const world = await World.durable();
  const first = world.client(5, 'c');
  first.connect({ expiryS: 1000 });
  const second = world.client(5, 'c');
  second.connect({ expiryS: 1000, clean: false });
  world.store.commit();
  world.settle();
  t.same(acks(first.receive()), []);
  t.ok(first.sink.ended);
  t.same(acks(second.receive()), ['connack']);
});

t.test('a session that cannot be stored is refused in CONNACK', async (t) => {
  const world = await World.durable();
  const clients = ([5, 4] as const).map((version) => {
    const client = world.client(version, `c${version}`);
    client.connect({ clean: false, ...(version === 5 ? { expiryS: 1000 } : {}) });
    return client;
  });
  world.store.commit(failed);
  world.settle();
  for (const client of clients) {
    const [answer] = client.receive();
    t.equal(answer?.type, 'connack');
    t.equal(answer?.type === 'connack' && answer.packet.reasonCode, 0x88);
    t.ok(client.sink.ended);
  }
});

t.test('a publisher that is read too far ahead of the store is held, and goes on', async (t) => {
  const world = await World.durable();
  const reader = world.connected(5, 'r', { expiryS: 1000 });
  reader.subscribe('t', 1);
  world.store.commit();
  world.settle();
  reader.sink.close();
  const publisher = world.connected(4, 'p');
  const packets: Buffer[] = [];
  for (let id = 1; id <= 8200; id++) packets.push(publishBytes(4, 't', `${id}`, { qos: 1, id }));
  publisher.send(...packets);
  t.ok(publisher.sink.paused);
  t.equal(world.stats.parkedAcks, 8192);
  world.store.commit();
  world.settle();
  t.notOk(publisher.sink.paused);
  world.store.commit();
  world.settle();
  t.equal(publisher.receive().length, 8200);
  t.equal(world.stats.parkedAcks, 0);
});

t.test('a held publisher let go from inside a fan-out does not disturb that fan-out', async (t) => {
  const world = await World.durable({ limits: { queueMessagesMax: 1 } });
  const offline = world.connected(5, 'offline', { expiryS: 1000 });
  offline.subscribe('full', 1);
  world.store.commit();
  world.settle();
  offline.sink.close();
  // Subscribes after `offline`, so it comes later in the fan-out of `full`.
  const watcher = world.connected(5, 'watcher');
  watcher.subscribe(['full', 'secret']);
  world.store.commit();
  world.settle();
  watcher.receive();
  const other = world.connected(5, 'other');
  const held = world.connected(4, 'held');
  // All acks wait for the first, and the last packet for the acks.
  const packets = [publishBytes(4, 'full', 'old', { qos: 1, id: 1 })];
  for (let id = 2; id <= 8192; id++) packets.push(publishBytes(4, 'nobody', '', { qos: 1, id }));
  held.send(...packets, publishBytes(4, 'secret', 'for others', { qos: 1, id: 8193 }));
  t.ok(held.sink.paused);
  world.settle();
  t.same(watcher.payloads(), ['old']);
  // Pushes the first out of the queue: then nothing is owed for it, and `held` may go on.
  other.publish('full', 'new', { qos: 1, id: 1 });
  world.settle();
  const seen = watcher.publishes().map(({ topic, payload }) => `${topic}: ${payload}`);
  t.same(seen, ['full: new', 'secret: for others']);
  t.notOk(held.sink.paused);
});

t.test('[MQTT5-4.9.0-2] a new connection begins with a full Receive Maximum', async (t) => {
  const world = await World.start({ limits: { receiveMaximum: 2 } });
  const first = world.connected(5, 'p', { expiryS: 100 });
  first.publish('t', 'a', { qos: 2, id: 1 });
  first.publish('t', 'b', { qos: 2, id: 2 });
  world.settle();
  t.same(acks(first.receive()), ['pubrec 1 16', 'pubrec 2 16']);
  first.sink.close();
  const again = world.connected(5, 'p', { clean: false, expiryS: 100 });
  again.ack('pubrel', 1);
  again.ack('pubrel', 2);
  again.publish('t', 'c', { qos: 2, id: 3 });
  again.publish('t', 'd', { qos: 2, id: 4 });
  world.settle();
  t.same(acks(again.receive()), ['pubcomp 1', 'pubcomp 2', 'pubrec 3 16', 'pubrec 4 16']);
  again.publish('t', 'e', { qos: 1, id: 5 });
  world.settle();
  t.same(acks(again.receive()), ['disconnect 147'], 'and no more than that');
});

t.test('a full retained store does not close 3.1.1 clients, and tells v5', async (t) => {
  const world = await World.start({ limits: { retainedMessagesMax: 1 } });
  const four = world.connected(4, 'four');
  const five = world.connected(5, 'five');
  five.publish('r/1', 'x', { retain: true });
  for (const client of [four, five]) {
    client.publish('r/2', 'x', { retain: true, qos: 1, id: 1 });
    client.publish('r/3', 'x', { retain: true, qos: 2, id: 2 });
    world.settle();
  }
  t.same(acks(four.receive()), ['puback 1', 'pubrec 2']);
  t.same(acks(five.receive()), ['puback 1 151', 'pubrec 2 151']);
  t.notOk(four.sink.ended);
  t.equal(world.stats.retainedMessages, 1);

  // What v5 is told has failed was not delivered either: it may be sent again.
  const reader = world.connected(5, 'reader');
  reader.subscribe('r/#', 1);
  world.settle();
  reader.receive();
  five.publish('r/4', 'again', { retain: true, qos: 1, id: 3 });
  four.publish('r/4', 'once', { retain: true, qos: 1, id: 3 });
  world.settle();
  t.same(reader.payloads(), ['once'], '3.1.1 has no such word: delivered, not retained');
});
