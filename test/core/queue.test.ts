/**
 * core/delivery: the queue of a session. Its bounds in messages and bytes, what goes when it is full,
 * what memory holds of it when a store keeps it, and that its counters tell the truth.
 */
import t from 'tap';
import { Drop } from '../../src/core/drop-reason.ts';
import type { FakeClient } from './fake-client.ts';
import { World } from './world.ts';

async function offlineReader(options: Parameters<typeof World.start>[0]): Promise<{
  world: World;
  publisher: FakeClient;
}> {
  const world = await World.start(options);
  const reader = world.connected(5, 'reader', { expiryS: 1000 });
  reader.subscribe('t/#', 2);
  reader.sink.close();
  return { world, publisher: world.connected(5, 'publisher') };
}

function resumed(world: World, receiveMaximum = 65_535): FakeClient {
  return world.connected(5, 'reader', { clean: false, expiryS: 1000, receiveMaximum });
}

t.test('drop_oldest keeps the newest, in order, and counts', async (t) => {
  const { world, publisher } = await offlineReader({ limits: { queueMessagesMax: 3 } });
  for (let i = 1; i <= 10; i++) publisher.publish('t/1', `${i}`, { qos: 1, id: i });
  world.settle();
  t.equal(world.stats.queuedMessages, 3);
  t.equal(world.stats.dropped[Drop.queue_full], 7);
  t.same(resumed(world).payloads(), ['8', '9', '10']);
});

t.test('drop_newest keeps the oldest and tells a v5 publisher', async (t) => {
  const { world, publisher } = await offlineReader({
    limits: { queueMessagesMax: 3 },
    queueOverflow: 'drop_newest',
  });
  for (let i = 1; i <= 4; i++) publisher.publish('t/1', `${i}`, { qos: 1, id: i });
  world.settle();
  const codes = publisher
    .receive()
    .flatMap((packet) => (packet.type === 'puback' ? [packet.reasonCode] : []));
  t.same(codes, [0, 0, 0, 0x97]);
  t.same(resumed(world).payloads(), ['1', '2', '3']);
});

t.test('disconnect ends the connection of a reader that is too slow', async (t) => {
  const world = await World.start({
    limits: { queueMessagesMax: 3 },
    queueOverflow: 'disconnect',
  });
  const reader = world.connected(5, 'reader', { receiveMaximum: 1 });
  reader.subscribe('t/#', 1);
  const publisher = world.connected(5, 'publisher');
  for (let i = 1; i <= 9; i++) publisher.publish('t/1', `${i}`, { qos: 1, id: i });
  world.settle();
  t.ok(publisher.sink.paused, 'it is asked to wait first');
  world.time.pass(1000);
  t.same(reader.receive().at(-1), { type: 'disconnect', reasonCode: 0x97 });
  reader.sink.close();
  publisher.sink.close();
  t.same(world.leftovers(), {});
});

t.test('bytes are bounded when large messages push out small ones', async (t) => {
  const { world, publisher } = await offlineReader({ limits: { queueBytesMax: 100_000 } });
  for (let i = 0; i < 3000; i++) publisher.publish('t/1', 'small', { qos: 1, id: 1 });
  for (let i = 0; i < 1000; i++) publisher.publish('t/1', 'x'.repeat(10_000), { qos: 1, id: 1 });
  world.settle();
  t.ok(world.stats.queuedBytes <= 110_100, `${world.stats.queuedBytes} bytes queued`);
  t.equal(resumed(world).payloads().length, world.stats.queuedMessages);
});

t.test('a QoS 2 exchange that has begun is not pushed out', async (t) => {
  const world = await World.start({ limits: { queueMessagesMax: 4 } });
  const reader = world.connected(5, 'reader', { expiryS: 1000 });
  reader.subscribe('t/#', 2);
  const publisher = world.connected(5, 'publisher');
  publisher.publish('t/1', 'received', { qos: 2, id: 1 });
  publisher.publish('t/1', 'sent', { qos: 2, id: 2 });
  world.settle();
  const [received, sent] = reader.publishes();
  reader.ack('pubrec', received!.packetId);
  world.settle();
  reader.sink.close();
  for (let i = 1; i <= 10; i++) publisher.publish('t/1', `${i}`, { qos: 1, id: 10 + i });
  world.settle();
  const again = resumed(world);
  const packets = again.receive();
  t.same(packets[0], { type: 'pubrel', packetId: received!.packetId, reasonCode: 0 });
  t.same(
    packets.flatMap((packet) =>
      packet.type === 'publish' ? [`${packet.publish.payload} ${packet.publish.dup}`] : [],
    ),
    ['sent true', '9 false', '10 false'],
  );
  t.equal(packets[1]?.type === 'publish' && packets[1].publish.packetId, sent!.packetId);
});

t.test('expired messages go and are counted; what is left says how long it lives', async (t) => {
  const { world, publisher } = await offlineReader({});
  publisher.publish('t/1', 'short', { qos: 1, id: 1, expiryS: 10 });
  publisher.publish('t/1', 'long', { qos: 1, id: 2, expiryS: 100 });
  world.time.pass(30_500);
  const publishes = resumed(world).publishes();
  t.same(
    publishes.map(({ payload, expiryS }) => `${payload} ${expiryS}`),
    ['long 70'],
  );
  t.equal(world.stats.dropped[Drop.expired], 1);
});

t.test('memory holds a window of a stored queue, in messages and in bytes', async (t) => {
  for (const bytes of [10, 50_000]) {
    const world = await World.durable({ commitsAlone: true });
    const reader = world.connected(5, 'reader', { expiryS: 1000 });
    reader.subscribe('t/#', 1);
    world.settle();
    reader.sink.close();
    const publisher = world.connected(5, 'publisher');
    const payload = 'x'.repeat(bytes);
    for (let i = 1; i <= 600; i++) {
      publisher.publish('t/1', `${i}:${payload}`, { qos: 1, id: i });
      if (i % 10 === 0) world.settle();
    }
    world.settle();
    t.equal(world.stats.queuedMessages, 600);
    // What is not read from the store was in memory.
    let inMemory = -1;
    const read = world.store.read.bind(world.store);
    world.store.read = (session, fromSeq, ...rest) => {
      if (inMemory === -1) inMemory = fromSeq - 1;
      read(session, fromSeq, ...rest);
    };
    // All of it comes, in order, however small the window.
    const again = resumed(world, 10);
    const seen: number[] = [];
    for (let i = 0; i < 2000 && seen.length < 600; i++) {
      for (const publish of again.publishes()) {
        seen.push(Number(publish.payload.split(':')[0]));
        again.ack('puback', publish.packetId);
      }
      world.settle();
    }
    t.same(
      seen,
      Array.from({ length: 600 }, (_, i) => i + 1),
    );
    world.settle();
    t.equal(world.stats.queuedMessages, 0);
    t.equal(world.stats.queuedBytes, 0);
    t.ok(inMemory > 0 && inMemory <= 256, `${inMemory} messages were in memory`);
    t.ok((inMemory - 1) * bytes <= 256 * 1024, `${inMemory} of ${bytes} bytes were in memory`);
  }
});

t.test('a queue that is never read does not outgrow its bound in a store either', async (t) => {
  const world = await World.durable({
    commitsAlone: true,
    limits: { queueMessagesMax: 1000 },
  });
  const reader = world.connected(5, 'reader', { expiryS: 1000 });
  reader.subscribe('t/#', 1);
  world.settle();
  reader.sink.close();
  const publisher = world.connected(5, 'publisher');
  for (let i = 1; i <= 5000; i++) {
    publisher.publish('t/1', `${i}`, { qos: 1, id: (i % 1000) + 1 });
    if (i % 50 === 0) world.settle();
  }
  world.settle();
  t.ok(world.stats.queuedMessages <= 1256, `${world.stats.queuedMessages} queued`);
  const stored = [...world.store.disk.sessions.values()].find((s) => s.entries.size > 0)!;
  t.equal(stored.entries.size, world.stats.queuedMessages);
  const again = resumed(world);
  const seen: string[] = [];
  for (let i = 0; i < 100; i++) {
    for (const publish of again.publishes()) {
      seen.push(publish.payload);
      again.ack('puback', publish.packetId);
    }
    world.settle();
  }
  t.equal(seen.at(-1), '5000');
  t.same(
    seen,
    seen.slice().sort((a, b) => Number(a) - Number(b)),
  );
  t.equal(world.stats.queuedMessages, 0);
});
