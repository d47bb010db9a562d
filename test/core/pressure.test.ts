/**
 * core/connection and delivery: readers that are too slow (FIELD class 20). Publishers wait a little,
 * nobody waits for ever, nobody else is held up, and memory stays within its bounds whatever a client
 * does not read.
 */
import t from 'tap';
import { Drop } from '../../src/core/drop-reason.ts';
import { PINGREQ } from '../../src/wire/ping.ts';
import { publishBytes, subscribeBytes } from './fake-client.ts';
import { FakeSink } from './fake-sink.ts';
import { World } from './world.ts';

const KIB = 1024;

/** A client that reads nothing after its CONNACK and SUBACK. */
function deaf(world: World, id: string, filter: string, qos: 0 | 1, expiryS = 0) {
  const client = world.connected(5, id, { expiryS });
  client.subscribe(filter, qos);
  world.settle();
  client.receive();
  client.sink.room = 0;
  return client;
}

t.test('a publisher waits for its only reader, and goes on when it has drained', async (t) => {
  const world = await World.start({ limits: { outboxBytesMax: 64 * KIB } });
  const reader = deaf(world, 'r', 't', 0);
  const publisher = world.connected(4, 'p');
  const packet = publishBytes(4, 't', 'x'.repeat(1000));
  let sent = 0;
  for (; sent < 200 && !publisher.sink.paused; sent++) {
    publisher.send(packet);
    world.settle();
  }
  t.ok(publisher.sink.paused, `paused after ${sent} messages`);
  t.ok(world.stats.outboxBytes <= 64 * KIB, `${world.stats.outboxBytes} bytes wait`);
  t.equal(world.stats.dropped[Drop.outbox_full], 0, 'nothing is dropped');
  // Bytes that were on their way already.
  publisher.send(packet, packet);
  reader.sink.drain();
  world.settle();
  t.notOk(publisher.sink.paused);
  t.equal(reader.publishes().length, sent + 2, 'all of it comes');
});

t.test('a reader that never drains is not waited for twice, and loses QoS 0 only', async (t) => {
  const world = await World.start({ limits: { outboxBytesMax: 64 * KIB } });
  const reader = deaf(world, 'r', 't', 0);
  const publisher = world.connected(4, 'p');
  const packet = publishBytes(4, 't', 'x'.repeat(1000));
  for (let i = 0; i < 500; i++) {
    publisher.send(packet);
    if (i % 10 === 0) world.time.pass(100);
  }
  world.time.pass(1000);
  t.notOk(publisher.sink.paused);
  t.equal(world.stats.publishersPaused, 1);
  t.ok(world.stats.dropped[Drop.outbox_full]! > 300);
  t.ok(world.stats.outboxBytes < 80 * KIB);
  reader.sink.drain();
  world.settle();
  const seen = reader.publishes().length;
  t.equal(seen + world.stats.dropped[Drop.outbox_full]!, 500);
  // It has caught up: it is waited for again.
  reader.sink.room = 0;
  for (let i = 0; i < 100 && !publisher.sink.paused; i++) {
    publisher.send(packet);
    world.settle();
  }
  t.ok(publisher.sink.paused);
});

t.test('one deaf reader of three holds up nobody', async (t) => {
  const world = await World.start({ limits: { outboxBytesMax: 64 * KIB } });
  deaf(world, 'deaf', 't', 1, 100);
  const readers = ['a', 'b'].map((id) => {
    const client = world.connected(5, id);
    client.subscribe('t', 0);
    world.settle();
    client.receive();
    return client;
  });
  const publisher = world.connected(4, 'p');
  for (let i = 1; i <= 1000; i++) {
    publisher.publish('t', 'x'.repeat(1000), { qos: 1, id: i });
    if (i % 20 === 0) world.settle();
    if (publisher.sink.paused) t.fail('paused');
  }
  world.settle();
  for (const client of readers) t.equal(client.publishes().length, 1000);
});

t.test('two clients that wait for each other, and one that floods itself', async (t) => {
  const world = await World.start({ limits: { outboxBytesMax: 64 * KIB } });
  const a = deaf(world, 'a', 'to/a', 0);
  const b = deaf(world, 'b', 'to/b', 0);
  for (let i = 0; i < 300; i++) {
    a.publish('to/b', 'x'.repeat(1000));
    b.publish('to/a', 'x'.repeat(1000));
    world.settle();
  }
  t.ok(a.sink.paused && b.sink.paused);
  world.time.pass(2000);
  for (const client of [a, b]) client.sink.drain();
  world.time.pass(1000);
  t.notOk(a.sink.paused || b.sink.paused);
  a.publish('to/b', 'after');
  world.settle();
  t.equal(b.payloads().at(-1), 'after');

  const self = deaf(world, 'self', 'self', 0);
  for (let i = 0; i < 300; i++) {
    self.publish('self', 'x'.repeat(1000));
    world.settle();
  }
  world.time.pass(1000);
  self.sink.drain();
  world.time.pass(1000);
  t.notOk(self.sink.paused, 'nobody waits for itself for ever');
  self.publish('self', 'after');
  world.settle();
  t.equal(self.payloads().at(-1), 'after');
});

t.test('publishers go on when the reader they wait for is gone', async (t) => {
  const world = await World.start({ limits: { outboxBytesMax: 64 * KIB } });
  const publishers = ['p', 'q'].map((id) => world.connected(4, id));
  for (const isGraceful of [true, false]) {
    const reader = deaf(world, 'r', 't', 0);
    for (const publisher of publishers) {
      for (let i = 0; i < 100 && !publisher.sink.paused; i++) {
        publisher.publish('t', 'x'.repeat(1000));
        world.settle();
      }
      t.ok(publisher.sink.paused);
    }
    if (isGraceful) reader.disconnect();
    reader.sink.close();
    world.settle();
    for (const publisher of publishers) t.notOk(publisher.sink.paused);
  }
  for (const publisher of publishers) publisher.sink.close();
  world.time.pass(1000);
  t.same(world.leftovers(), {});
});

t.test('a publisher that leaves while it waits is forgotten', async (t) => {
  const world = await World.start({ limits: { outboxBytesMax: 64 * KIB } });
  const reader = deaf(world, 'r', 't', 0);
  const publisher = world.connected(4, 'p');
  for (let i = 0; i < 100 && !publisher.sink.paused; i++) {
    publisher.publish('t', 'x'.repeat(1000));
    world.settle();
  }
  publisher.sink.close();
  reader.sink.drain();
  world.time.pass(1000);
  reader.sink.close();
  t.same(world.leftovers(), {});
});

t.test(
  'a client that reads no answers cannot make the broker keep them without bound',
  async (t) => {
    const requests: { readonly [name: string]: (i: number) => Buffer } = {
      PINGREQ: () => PINGREQ,
      'QoS 1': (i) => publishBytes(4, 'nobody', '', { qos: 1, id: (i % 65_535) + 1 }),
      'PUBREL of nothing': (i) => Buffer.from([0x62, 2, (i >> 8) & 0xff, (i & 0xff) | 1]),
      SUBSCRIBE: (i) => subscribeBytes(4, (i % 65_535) + 1, ['s']),
    };
    for (const [name, request] of Object.entries(requests)) {
      const limit = 64 * KIB;
      const world = await World.start({ limits: { outboxBytesMax: limit } });
      const sink = new FakeSink();
      const client = world.connected(4, 'x', {}, sink);
      sink.room = 0;
      let chunk: Buffer[] = [];
      for (let i = 0; i < 400_000 && !sink.paused; i++) {
        chunk.push(request(i));
        if (chunk.length < 2000) continue;
        client.send(...chunk);
        chunk = [];
        world.settle();
      }
      t.ok(
        world.stats.outboxBytes <= limit + 64 * KIB,
        `${name}: ${world.stats.outboxBytes} bytes`,
      );
      t.ok(sink.paused, `${name}: it is not read until it reads`);
      sink.drain();
      world.settle();
      t.notOk(sink.paused, `${name}: and goes on then`);
      sink.room = 0;
      for (let i = 0; i < 100; i++) {
        client.send(...Array.from({ length: 2000 }, () => PINGREQ));
        world.settle();
      }
      world.time.pass(130_000, 1000);
      t.ok(sink.ended, `${name}: closed when it takes nothing for outboxStallMs`);
      sink.close();
      t.same(world.leftovers(), {});
    }
  },
);

t.test('a retained replay to a reader that stops waits, and goes on', async (t) => {
  const world = await World.start({ limits: { outboxBytesMax: 64 * KIB } });
  const publisher = world.connected(4, 'p');
  for (let i = 0; i < 2000; i++) {
    publisher.publish(`r/${i}`, 'x'.repeat(500), { retain: true, qos: 1, id: 1 });
  }
  for (const qos of [0, 1] as const) {
    const sink = new FakeSink();
    const reader = world.connected(5, `r${qos}`, { receiveMaximum: 100 }, sink);
    sink.room = 2000;
    reader.subscribe('r/#', qos);
    for (let i = 0; i < 50; i++) world.time.turn();
    t.ok(world.stats.outboxBytes < 600 * KIB, `${world.stats.outboxBytes} bytes wait`);
    const seen = new Set<string>();
    for (let i = 0; i < 3000 && seen.size < 2000; i++) {
      sink.drain(i % 3 === 0 ? 1000 : 100_000);
      world.settle();
      for (const publish of reader.publishes()) {
        seen.add(publish.topic);
        if (qos === 1) reader.ack('puback', publish.packetId);
      }
    }
    t.equal(seen.size, 2000, `QoS ${qos}: all retained messages come`);
    t.equal(world.stats.dropped[Drop.outbox_full], 0);
    reader.sink.close();
  }
});

t.test('a reader that acks steadily is waited for as long as it takes', async (t) => {
  const world = await World.start({ limits: { queueMessagesMax: 3000, inflightMessagesMax: 100 } });
  const reader = world.connected(4, 'r');
  reader.subscribe('t', 1);
  world.settle();
  reader.receive();
  const publisher = world.connected(4, 'p');
  const total = 5000;
  for (let i = 0; i < total; i++) publisher.publish('t', `${i}`, { qos: 1, id: 1 + i });
  world.settle();
  t.ok(publisher.sink.paused, 'the queue is long enough');
  const seen: string[] = [];
  // A hundred acks every 100 ms: far longer in all than an audience without progress is waited for.
  for (let round = 0; round < 200 && seen.length < total; round++) {
    for (const got of reader.publishes()) {
      seen.push(String(got.payload));
      reader.ack('puback', got.packetId);
    }
    world.time.pass(100);
  }
  t.equal(world.stats.dropped[Drop.queue_full], 0);
  t.same(
    seen,
    Array.from({ length: total }, (_, i) => `${i}`),
    'all of it, in order',
  );
});
