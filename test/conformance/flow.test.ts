/** Receive maximum and maximum packet size, in both directions (4.9, 3.1.2.11, 3.2.2.3). */
import assert from 'node:assert/strict';
import type { Client } from './client.ts';
import { type CaseContext, NotHere, run, v5 } from './harness.ts';
import { ack, packet, prefixed, publish, subscribe, unsubscribe, varint } from './packets.ts';
import { property, type ReadPacket } from './reader.ts';

async function receiver(c: CaseContext, receiveMaximum: number): Promise<Client> {
  const client = await c.connect({ properties: [['receiveMaximum', receiveMaximum]] });
  await client.subscribed(c.topic(), { qos: 2 });
  return client;
}

v5(
  '[MQTT5-3.3.4-9] [MQTT5-4.9.0-1] [MQTT5-4.9.0-2] no more QoS 1 and 2 messages are under way than the client takes',
  async (c) => {
    const client = await receiver(c, 3);
    const publisher = await c.connect();
    for (let n = 0; n < 9; n++) await publisher.publish(c.topic(), `m${n}`, { qos: 1 + (n % 2) });
    const open: ReadPacket[] = [];
    for (let n = 0; n < 3; n++)
      open.push(await client.message({ payload: `m${n}` }, { acknowledge: false }));
    await client.expectNothing();
    for (let n = 3; n < 9; n++) {
      const done = open.shift();
      assert.ok(done !== undefined);
      if (done.qos === 2) {
        // PUBREC alone frees nothing; PUBCOMP does.
        client.send(ack('PUBREC', done.packetId));
        await client.expect('PUBREL', { packetId: done.packetId });
        await client.expectNothing(60);
        client.send(ack('PUBCOMP', done.packetId));
      } else client.send(ack('PUBACK', done.packetId));
      open.push(await client.message({ payload: `m${n}` }, { acknowledge: false }));
      await client.expectNothing(60);
    }
  },
);

v5('[MQTT5-4.9.0-2] a refusing PUBREC frees a place too', async (c) => {
  const client = await receiver(c, 1);
  const publisher = await c.connect();
  for (let n = 0; n < 3; n++) await publisher.publish(c.topic(), `m${n}`, { qos: 2 });
  for (let n = 0; n < 3; n++) {
    const got = await client.message({ payload: `m${n}` }, { acknowledge: false });
    client.send(ack('PUBREC', got.packetId, 0x80));
  }
  await client.expectNothing();
});

v5(
  '[MQTT5-3.3.4-10] [MQTT5-4.9.0-3] a full receive maximum delays no other packet: QoS 0, acknowledgements, SUBACK, UNSUBACK, PINGRESP',
  async (c) => {
    const client = await receiver(c, 1);
    const publisher = await c.connect();
    await publisher.publish(c.topic(), 'first', { qos: 1 });
    const first = await client.message({ payload: 'first' }, { acknowledge: false });
    await publisher.publish(c.topic(), 'waits', { qos: 1 });
    await client.expectNothing();
    client.sendPublish(c.topic('other'), 'x', { qos: 1, packetId: 1 });
    await client.expect('PUBACK', { packetId: 1 });
    client.sendPublish(c.topic('other'), 'x', { qos: 2, packetId: 2 });
    await client.expect('PUBREC', { packetId: 2 });
    client.send(ack('PUBREL', 2));
    await client.expect('PUBCOMP', { packetId: 2 });
    client.send(
      subscribe({ version: 5, packetId: 3, subscriptions: [{ filter: c.topic('zero') }] }),
    );
    await client.expect('SUBACK', { packetId: 3 });
    client.send(unsubscribe({ version: 5, packetId: 4, filters: [c.topic('none')] }));
    await client.expect('UNSUBACK', { packetId: 4 });
    await publisher.publish(c.topic('zero'), 'zero');
    await client.message({ payload: 'zero', qos: 0 });
    await client.acknowledge(first);
    await client.message({ payload: 'waits' });
  },
);

v5(
  '[MQTT5-3.3.4-9] the receive maximum of a new connection holds for what is sent again',
  async (c) => {
    const clientId = c.id();
    const first = await c.durable({ clientId });
    await first.subscribed(c.topic(), { qos: 1 });
    const publisher = await c.connect();
    for (let n = 0; n < 4; n++) {
      await publisher.publish(c.topic(), `m${n}`, { qos: 1 });
      await first.message({ payload: `m${n}` }, { acknowledge: false });
    }
    await first.drop();
    const second = await c.durable({ clientId, properties: [['receiveMaximum', 2]] });
    const one = await second.message({ payload: 'm0', dup: true }, { acknowledge: false });
    await second.message({ payload: 'm1', dup: true }, { acknowledge: false });
    await second.expectNothing();
    await second.acknowledge(one);
    await second.message({ payload: 'm2' }, { acknowledge: false });
    await second.expectNothing();
  },
);

v5(
  '[MQTT5-3.3.4-7] more than the receive maximum of the server is refused with 0x93',
  async (c) => {
    const client = await c.connect();
    const maximum = Number(property(client.connack, 'receiveMaximum') ?? 65_535);
    if (maximum > 5000) throw new NotHere(`the receive maximum of ${maximum} is out of reach`);
    const flood: Buffer[] = [];
    for (let packetId = 1; packetId <= maximum + 1; packetId++) {
      flood.push(publish({ version: 5, topic: c.topic(), payload: 'x', qos: 2, packetId }));
    }
    client.send(...flood);
    const got = await client.waitFor('DISCONNECT');
    assert.equal(got.reasonCode, 0x93);
  },
);

v5(
  '[MQTT5-3.1.2-24] [MQTT5-3.1.2-25] a message larger than the client takes is not sent, and counts as sent',
  async (c) => {
    const clientId = c.id();
    const properties = [
      ['maximumPacketSize', 128],
      ['receiveMaximum', 1],
    ] as const;
    const client = await c.durable({ clientId, properties });
    await client.subscribed(c.topic(), { qos: 2 });
    const publisher = await c.connect();
    for (const qos of [0, 1, 2]) {
      await publisher.publish(c.topic(), Buffer.alloc(200, 'x'), { qos });
      await publisher.publish(c.topic(), `small ${qos}`, { qos });
      await client.message({ payload: `small ${qos}`, qos });
    }
    await client.expectNothing();
    await client.drop();
    const again = await c.durable({ clientId, properties });
    await again.expectNothing();
  },
);

v5('[MQTT5-3.1.2-24] a packet of exactly the maximum size is sent', async (c) => {
  const size = 128;
  const client = await c.connect({ properties: [['maximumPacketSize', size]] });
  await client.subscribed(c.topic());
  const overhead = publish({ version: 5, topic: c.topic(), payload: '' }).length;
  const publisher = await c.connect();
  await publisher.publish(c.topic(), Buffer.alloc(size - overhead + 1, 'n'));
  await publisher.publish(c.topic(), Buffer.alloc(size - overhead, 'y'));
  const got = await client.message();
  assert.equal(got.bytes.length, size);
  await client.expectNothing();
});

v5('[MQTT5-3.1.2-25] others get a message that is too large for one client', async (c) => {
  const small = await c.connect({ properties: [['maximumPacketSize', 128]] });
  const large = await c.connect();
  for (const client of [small, large]) await client.subscribed(c.topic(), { qos: 1 });
  await large.publish(c.topic(), Buffer.alloc(500, 'x'), { qos: 1 });
  assert.equal((await large.message()).payload.length, 500);
  await small.expectNothing();
});

v5('[MQTT5-3.2.2-15] a packet above the maximum of the server is refused with 0x95', async (c) => {
  const client = await c.connect();
  const maximum = property(client.connack, 'maximumPacketSize');
  if (typeof maximum !== 'number') throw new NotHere('the server names no maximum packet size');
  // The announced length is enough; the rest need not come.
  client.send(Buffer.from([0x30]), varint(maximum), prefixed(c.topic()), Buffer.from([0]));
  await client.expectError(0x95);
});

/** Makes the server send every acknowledgement it may add a reason string to. */
async function provoke(client: Client, c: CaseContext): Promise<ReadPacket[]> {
  const topic = `$SYS/${c.prefix}`;
  client.send(
    publish({ version: 5, topic, payload: 'x', qos: 1, packetId: 1 }),
    publish({ version: 5, topic, payload: 'x', qos: 2, packetId: 2 }),
    ack('PUBREL', 3),
    ack('PUBREC', 4),
    subscribe({ version: 5, packetId: 5, subscriptions: [{ filter: '$causeway/x/#' }] }),
    unsubscribe({ version: 5, packetId: 6, filters: [c.topic('none')] }),
  );
  const got: ReadPacket[] = [];
  for (const type of ['PUBACK', 'PUBREC', 'PUBCOMP', 'PUBREL', 'SUBACK', 'UNSUBACK'] as const) {
    got.push(await client.waitFor(type));
  }
  return got;
}

v5(
  '[MQTT5-3.4.2-2] [MQTT5-3.4.2-3] [MQTT5-3.5.2-2] [MQTT5-3.5.2-3] [MQTT5-3.6.2-2] [MQTT5-3.6.2-3] [MQTT5-3.7.2-2] [MQTT5-3.7.2-3] [MQTT5-3.9.2-1] [MQTT5-3.9.2-2] [MQTT5-3.11.2-1] [MQTT5-3.11.2-2] [MQTT5-3.14.2-3] [MQTT5-3.14.2-4] no reason string or user property lifts a packet over the maximum size of the client',
  async (c) => {
    const probe = await c.connect({ properties: [['maximumPacketSize', 1000]] });
    // As small as the CONNACK allows: it has to fit too.
    const maximumPacketSize = Math.max(12, probe.connack.bytes.length);
    const client = await c.connect({ properties: [['maximumPacketSize', maximumPacketSize]] });
    for (const got of await provoke(client, c)) {
      assert.ok(got.bytes.length <= maximumPacketSize, `${got.type} of ${got.bytes.length} bytes`);
    }
    client.send(packet(0x36));
    const last = await client.expect('DISCONNECT');
    assert.ok(last.bytes.length <= maximumPacketSize);
  },
);

v5(
  '[MQTT5-3.1.2-29] without problem information only CONNACK, PUBLISH and DISCONNECT have reason strings or user properties',
  async (c) => {
    const client = await c.connect({ properties: [['requestProblemInformation', 0]] });
    for (const got of await provoke(client, c)) {
      assert.deepEqual(got.properties, [], got.type);
    }
    await client.subscribed(c.topic());
    await client.publish(c.topic(), 'x', { properties: [['userProperty', ['a', 'b']]] });
    const message = await client.message();
    assert.deepEqual(property(message, 'userProperty'), ['a', 'b']);
  },
);

await run();
