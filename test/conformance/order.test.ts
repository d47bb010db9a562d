/** Message ordering (4.6). */
import assert from 'node:assert/strict';
import type { Client } from './client.ts';
import { both, every, run } from './harness.ts';
import { ack, publish } from './packets.ts';

async function payloads(client: Client, count: number): Promise<string[]> {
  const got: string[] = [];
  while (got.length < count) {
    const one = await client.waitFor('PUBLISH');
    await client.acknowledge(one);
    got.push(one.payload.toString());
  }
  return got;
}

every(
  '[MQTT5-4.6.0-5] [MQTT5-4.6.0-6] [MQTT311-4.6.0-5] [MQTT311-4.6.0-6] messages of one publisher on a topic arrive in their order, at each QoS',
  async (c) => {
    for (const qos of [0, 1, 2]) {
      const client = await c.connect();
      await client.subscribed(c.topic(`q${qos}`), { qos });
      const publisher = await c.connect();
      const sent = Array.from({ length: 100 }, (_, n) => `m${n}`);
      // Within the receive maximum a server may set, so the acknowledgements are read in between.
      for (let at = 0; at < sent.length; at += 10) {
        const part = sent.slice(at, at + 10).map((payload, n) =>
          publish({
            version: c.version,
            topic: c.topic(`q${qos}`),
            payload,
            qos,
            packetId: at + n + 1,
          }),
        );
        publisher.send(...part);
        for (let n = 1; qos > 0 && n <= 10; n++) {
          await publisher.expect(qos === 1 ? 'PUBACK' : 'PUBREC', { packetId: at + n });
        }
        for (let n = 1; qos === 2 && n <= 10; n++) publisher.send(ack('PUBREL', at + n));
        for (let n = 1; qos === 2 && n <= 10; n++) {
          await publisher.expect('PUBCOMP', { packetId: at + n });
        }
      }
      assert.deepEqual(await payloads(client, 100), sent);
    }
  },
);

both(
  '[MQTT5-4.6.0-5] [MQTT311-4.6.0-6] [MQTT311-4.6.0-1] what was unacknowledged, queued and new arrives in its order after a reconnect',
  async (c) => {
    const clientId = c.id();
    const publisher = await c.connect();
    const first = await c.durable({ clientId });
    await first.subscribed(c.topic(), { qos: 1 });
    const sent = Array.from({ length: 15 }, (_, n) => `m${n}`);
    for (const payload of sent.slice(0, 5)) {
      await publisher.publish(c.topic(), payload, { qos: 1 });
      await first.message({ payload }, { acknowledge: false });
    }
    await first.drop();
    for (const payload of sent.slice(5, 10))
      await publisher.publish(c.topic(), payload, { qos: 1 });
    const second = await c.durable({ clientId });
    for (const payload of sent.slice(10)) publisher.sendPublish(c.topic(), payload, { qos: 1 });
    assert.deepEqual(await payloads(second, 15), sent);
  },
);

every(
  '[MQTT311-4.6.0-2] [MQTT311-4.6.0-3] [MQTT5-4.3.2-4] the server acknowledges in the order of arrival',
  async (c) => {
    const client = await c.connect();
    const packets = [1, 2, 1, 2, 1, 2].map((qos, n) =>
      publish({ version: c.version, topic: c.topic(), payload: 'x', qos, packetId: n + 1 }),
    );
    client.send(...packets);
    const order = { PUBACK: [] as number[], PUBREC: [] as number[] };
    for (let n = 0; n < 6; n++) {
      const got = await client.next();
      assert.ok(got?.type === 'PUBACK' || got?.type === 'PUBREC');
      order[got.type].push(got.packetId);
    }
    assert.deepEqual(order, { PUBACK: [1, 3, 5], PUBREC: [2, 4, 6] });
  },
);

every(
  '[MQTT311-4.6.0-4] [MQTT5-4.3.3-4] the server sends PUBREL in the order of the PUBRECs',
  async (c) => {
    const client = await c.connect();
    await client.subscribed(c.topic(), { qos: 2 });
    const publisher = await c.connect();
    const ids: number[] = [];
    for (let n = 0; n < 5; n++) {
      await publisher.publish(c.topic(), `m${n}`, { qos: 2 });
      ids.push((await client.message({}, { acknowledge: false })).packetId);
    }
    ids.reverse();
    client.send(...ids.map((packetId) => ack('PUBREC', packetId)));
    for (const packetId of ids) await client.expect('PUBREL', { packetId });
  },
);

both(
  '[MQTT5-4.6.0-5] [MQTT311-4.6.0-6] order holds over overlapping wildcard subscriptions',
  async (c) => {
    const client = await c.connect();
    await client.subscribed([
      { filter: c.topic('#'), qos: 1 },
      { filter: c.topic('+/b'), qos: 1 },
    ]);
    const publisher = await c.connect();
    const sent = Array.from({ length: 30 }, (_, n) => `m${n}`);
    for (const payload of sent) await publisher.publish(c.topic('a/b'), payload, { qos: 1 });
    const seen: string[] = [];
    while (seen.length < sent.length) {
      const [payload = ''] = await payloads(client, 1);
      // A server may send a copy for each subscription; the first of each message counts.
      if (!seen.includes(payload)) seen.push(payload);
    }
    assert.deepEqual(seen, sent);
  },
);

await run();
