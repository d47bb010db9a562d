/**
 * Attacks with MQTT itself: readers that stop reading, garbage, subscriptions by the thousand. Each
 * meets a limit with a name, costs bounded memory, and disturbs nobody.
 */
import { randomFillSync } from 'node:crypto';
import t from 'tap';
import { Client, connectClient, openSocket } from '../conformance/client.ts';
import { connect, publish, subscribe } from '../conformance/packets.ts';
import { packetLength, readPacket } from '../conformance/reader.ts';
import { MIB, openRogues, pause, Rogue, type Scene, underAttack } from './attack.ts';

const KIB = 1024;
const FLOOD_BYTES = 48 * MIB;
const FLOOD_PAYLOAD = Buffer.alloc(16 * KIB, 0x78);
/**
 * Payloads of a QoS 1 flood lie outside the heap and hardly press the collector. That this is all:
 * 77 MiB more at a flood of 48 MiB, 82 MiB at one of 192 MiB.
 */
const UNCOLLECTED_BYTES = 48 * MIB;
const GARBAGE_S = 4;

async function friend(port: number, clientId: string, version: 4 | 5 = 5): Promise<Client> {
  const client = new Client(await openSocket('127.0.0.1', port), version, clientId);
  return connectClient(client, { version, clientId, keepAliveSec: 0 });
}

/** A client that subscribes to the flood and then takes nothing from its socket any more. */
async function deafReader(port: number, qos: number, version: 4 | 5): Promise<Rogue> {
  const clientId = `deaf-${qos}-${version}`;
  const subscriptions = [{ filter: 'flood', qos }];
  const rogue = new Rogue(port, ({ socket }) => {
    socket.write(connect({ version, clientId, keepAliveSec: 0 }));
    socket.write(subscribe({ version, packetId: 1, subscriptions }));
  });
  const deadline = performance.now() + 5000;
  const isSubscribed = (): boolean => {
    const first = packetLength(rogue.received);
    return first > 0 && packetLength(rogue.received.subarray(first)) > 0;
  };
  while (!isSubscribed() && performance.now() < deadline) await pause(10);
  rogue.socket.pause();
  return rogue;
}

/** Publishes the flood, a window of acks or a PING at a time, so that nothing piles up here. */
async function flood(port: number, qos: 0 | 1): Promise<number> {
  const client = await friend(port, `flooder-${qos}`, 4);
  const count = FLOOD_BYTES / FLOOD_PAYLOAD.length;
  for (let sent = 0; sent < count; sent += 16) {
    const ids = Array.from({ length: 16 }, () =>
      client.sendPublish('flood', FLOOD_PAYLOAD, { qos }),
    );
    if (qos === 0) await client.ping();
    else for (const id of ids) await client.ackOf('PUBACK', id);
  }
  await client.disconnect();
  return count;
}

for (const qos of [0, 1] as const) {
  const title = `a reader of a QoS ${qos} flood that stops reading`;
  t.test(title, { timeout: 90_000 }, async (t) => {
    const flags = [
      ...['--set', 'limits.outboxStallMs=3000'],
      ...['--set', 'limits.queueBytesMax=4MiB'],
      ...['--set', 'limits.lingerMs=500'],
    ];
    // Two of them, each with an outbox of 1 MiB; at QoS 1 also a queue of 4 MiB, and what the kernel
    // took for them (6 MiB at most) in case it has to be sent again.
    const held = 2 * (1 + (qos === 0 ? 0 : 4 + 6)) * MIB + (qos === 0 ? 0 : UNCOLLECTED_BYTES);
    await underAttack(t, flags, held, async ({ broker, port }: Scene) => {
      const deaf = [await deafReader(port, qos, 4), await deafReader(port, qos, 5)];
      const eager = await friend(port, 'eager');
      await eager.subscribed('flood', { qos: 1 });
      let heard = 0;
      const listening = (async () => {
        for (;;) {
          const packet = await eager.next(2000);
          if (packet === null) return;
          if (packet.type === 'PUBLISH') heard++;
          await eager.acknowledge(packet);
        }
      })();
      const count = await flood(port, qos);
      const reason = qos === 0 ? 'outbox_full' : 'queue_full';
      const dropped = await broker.metric(`causeway_messages_dropped_total{reason="${reason}"}`);
      t.ok(dropped > count, `${dropped} messages dropped as ${reason}`);
      const stalled = 'causeway_connections_closed_total{reason="outbox_stalled"}';
      t.equal(await broker.metricReaches(stalled, 2, 15_000), 2, 'they are closed for the stall');
      await listening;
      t.equal(heard, count, 'who reads gets all of the same flood');
      eager.destroy();
      for (const { socket } of deaf) socket.destroy();
    });
  });
}

t.test('1 MB/s of garbage', { timeout: 60_000 }, async (t) => {
  await underAttack(t, [], 4 * MIB, async ({ broker, port }) => {
    let connections = 0;
    let sentBytes = 0;
    const beganMs = performance.now();
    const elapsedMs = (): number => performance.now() - beganMs;
    while (elapsedMs() < GARBAGE_S * 1000) {
      const chunk = randomFillSync(Buffer.alloc(10 * KIB));
      const hasGreeting = connections % 3 !== 0;
      const version = connections % 2 === 0 ? 4 : 5;
      const greeting = connect({ version, clientId: `garbage-${connections}` });
      const rogue = new Rogue(port, ({ socket }) => {
        socket.write(hasGreeting ? Buffer.concat([greeting, chunk]) : chunk);
      });
      // Some noise looks like the beginning of a packet that is yet to come.
      setTimeout(() => rogue.socket.destroy(), 1000);
      connections++;
      sentBytes += chunk.length;
      await pause((sentBytes / MIB) * 1000 - elapsedMs());
    }
    await pause(1200);
    t.comment(`${connections} connections, ${(sentBytes / MIB).toFixed(1)} MiB`);
    t.ok(sentBytes > (GARBAGE_S * MIB) / 2, 'about 1 MB/s');
    const metrics = await broker.metrics();
    const closed = (reason: string): number =>
      metrics.get(`causeway_connections_closed_total{reason="${reason}"}`) ?? 0;
    const named = ['not_connect', 'malformed_packet', 'protocol_error', 'packet_too_large'];
    const total = named.reduce((sum, reason) => sum + closed(reason), 0);
    t.ok(closed('not_connect') > 0 && closed('malformed_packet') + closed('protocol_error') > 0);
    t.ok(total > connections * 0.6, `${total} of ${connections} closed as ${named.join(', ')}`);
  });
});

t.test('subscriptions by the thousand', { timeout: 60_000 }, async (t) => {
  const flags = ['--set', 'limits.subscriptionsPerClientMax=2000'];
  await underAttack(t, flags, 32 * MIB, async ({ broker, port }) => {
    const levels = 11;
    // Every way to put + into a topic of eleven levels: each of them matches it.
    const names = Array.from({ length: levels }, (_, level) => `l${level}`);
    const all = Array.from({ length: 2 ** levels }, (_, mask) =>
      names.map((name, level) => (((mask >> level) & 1) === 1 ? '+' : name)).join('/'),
    );
    for (const clientId of ['bomber-1', 'bomber-2', 'bomber-3']) {
      const bomber = await friend(port, clientId);
      let granted = 0;
      let refused = 0;
      for (let from = 0; from < all.length; from += 512) {
        const suback = await bomber.subscribe(all.slice(from, from + 512), { qos: 1 });
        granted += suback.reasonCodes.filter((code) => code === 1).length;
        refused += suback.reasonCodes.filter((code) => code === 0x97).length;
      }
      t.equal(granted, 2000);
      t.equal(refused, all.length - 2000, 'the rest is over the limit, and told so');
    }
    const writer = await friend(port, 'writer');
    const beganMs = performance.now();
    for (let i = 0; i < 200; i++) {
      await writer.publish(names.join('/'), 'boom', { qos: 1 });
    }
    // Topics nobody used before have to be matched anew each time.
    for (let i = 0; i < 500; i++) {
      await writer.publish([...names.slice(0, -1), `other${i}`].join('/'), 'boom', { qos: 1 });
    }
    t.comment(
      `700 messages against 6,000 filters took ${Math.round(performance.now() - beganMs)} ms`,
    );
    t.equal(await broker.metric('causeway_subscriptions'), 6004);
  });
});

t.test('the deepest and longest topics and filters', { timeout: 60_000 }, async (t) => {
  await underAttack(t, [], 8 * MIB, async ({ port }) => {
    const client = await friend(port, 'digger');
    const deep = '/'.repeat(65_535);
    const filters = [
      deep,
      `${'+/'.repeat(32_766)}+`,
      `${'+/'.repeat(32_766)}#`,
      'x'.repeat(65_535),
    ];
    for (const filter of filters) {
      const suback = await client.subscribe(filter, { qos: 1 });
      const expected = filter.includes('/') ? 0x8f : 1;
      t.equal(suback.reasonCodes[0], expected, `${filter.slice(0, 8)}… (${filter.length})`);
    }
    const wide = `${'+/'.repeat(198)}#`;
    await client.subscribed([wide, `${'+/'.repeat(199)}+`], { qos: 1 });
    client.sendPublish(deep, 'x', { qos: 1, packetId: 9 });
    t.equal((await client.waitFor('PUBACK', { packetId: 9 })).reasonCode, 0x90);
    for (let i = 0; i < 50; i++) {
      await client.publish(`${'a/'.repeat(199)}${i}`, 'deep', { qos: 1 });
    }
    await client.disconnect();
  });
});

t.test('acknowledgements of nothing, and windows that never close', async (t) => {
  await underAttack(t, [], 4 * MIB, async ({ broker, port }) => {
    // QoS 2 begun and never released, beyond what may be open.
    const begun = Array.from({ length: 2000 }, (_, index) =>
      publish({ version: 5, topic: 'open', qos: 2, packetId: index + 1 }),
    );
    const greedy = new Rogue(port, ({ socket }) => {
      socket.write(connect({ version: 5, clientId: 'greedy' }));
      socket.write(Buffer.concat(begun));
    });
    await Promise.race([greedy.closed, pause(5000)]);
    t.ok(greedy.isClosed);
    t.equal(await broker.closed('receive_maximum'), 1);
    const [noisy] = await openRogues(port, 1, ({ socket }) => {
      socket.write(connect({ version: 4, clientId: 'noisy' }));
      for (let id = 1; id < 5000; id++) {
        socket.write(Buffer.from([0x40, 2, id >> 8, id & 0xff, 0x70, 2, id >> 8, id & 0xff]));
      }
      socket.write(Buffer.from([0xc0, 0]));
    });
    await pause(500);
    const last = noisy?.received.subarray(-2) ?? Buffer.alloc(0);
    const isOpen = noisy?.isClosed === false && readPacket(last, 4).type === 'PINGRESP';
    t.ok(isOpen || noisy?.isClosed, 'ignored, or closed');
    noisy?.socket.destroy();
  });
});
