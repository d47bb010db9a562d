/** UNSUBSCRIBE and UNSUBACK (3.10, 3.11). */
import assert from 'node:assert/strict';
import { both, every, run, v5 } from './harness.ts';
import { ack, unsubscribe } from './packets.ts';

both(
  '[MQTT5-3.10.1-1] [MQTT311-3.10.1-1] reserved flags of UNSUBSCRIBE must be 0010',
  async (c) => {
    for (const firstByte of [0xa0, 0xa3, 0xaa]) {
      const client = await c.connect();
      client.send(
        unsubscribe({ version: c.version, packetId: 1, filters: [c.topic()], firstByte }),
      );
      await client.expectError(0x81);
    }
  },
);

both(
  '[MQTT5-3.10.3-1] [MQTT311-3.10.3-1] topic filters of UNSUBSCRIBE must be UTF-8',
  async (c) => {
    for (const filter of [Buffer.from([0x61, 0xff]), Buffer.from('a\0b')]) {
      const client = await c.connect();
      client.send(unsubscribe({ version: c.version, packetId: 1, filters: [filter] }));
      await client.expectError(0x81, 0x82, 0x8f);
    }
  },
);

both(
  '[MQTT5-3.10.3-2] [MQTT311-3.10.3-2] an UNSUBSCRIBE without a filter is a protocol error',
  async (c) => {
    const client = await c.connect();
    client.send(unsubscribe({ version: c.version, packetId: 1, filters: [] }));
    await client.expectError(0x82, 0x81);
  },
);

both(
  '[MQTT5-2.2.1-3] [MQTT311-2.3.1-1] packet identifier 0 in UNSUBSCRIBE is refused',
  async (c) => {
    const client = await c.connect();
    client.send(unsubscribe({ version: c.version, packetId: 0, filters: [c.topic()] }));
    await client.expectError(0x81, 0x82);
  },
);

every(
  '[MQTT5-3.10.4-4] [MQTT5-3.10.4-5] [MQTT5-2.2.1-6] [MQTT311-3.10.4-4] [MQTT311-3.10.4-5] [MQTT311-2.3.1-7] UNSUBACK answers with the same identifier, also when nothing is deleted',
  async (c) => {
    const client = await c.connect();
    await client.subscribed(c.topic());
    for (const packetId of [1, 255, 256, 65535]) {
      client.send(unsubscribe({ version: c.version, packetId, filters: [c.topic()] }));
      const unsuback = await client.expect('UNSUBACK', { packetId });
      assert.equal(unsuback.bytes.length, c.isV5 ? 6 : 4);
    }
  },
);

every(
  '[MQTT5-3.10.4-1] [MQTT5-3.10.4-2] [MQTT311-3.10.4-1] [MQTT311-3.10.4-2] an equal filter is deleted, character by character, and gets no new messages',
  async (c) => {
    const client = await c.connect();
    await client.subscribed([c.topic('a/+'), c.topic('b/#')]);
    // Each of these matches the topics, but is another filter.
    await client.unsubscribe(c.topic('a/x'), c.topic('A/+'), c.topic('#'), c.topic('b/+'));
    await client.publish(c.topic('a/x'), 'a');
    await client.message({ payload: 'a' });
    await client.publish(c.topic('b/x'), 'b');
    await client.message({ payload: 'b' });
    await client.unsubscribe(c.topic('a/+'));
    await client.publish(c.topic('a/x'), 'no more');
    await client.publish(c.topic('b/x'), 'b');
    await client.message({ payload: 'b' });
    await client.expectNothing();
  },
);

both(
  '[MQTT5-3.10.4-3] [MQTT311-3.10.4-3] QoS 1 and 2 messages under way are completed after UNSUBSCRIBE',
  async (c) => {
    const client = await c.connect();
    await client.subscribed(c.topic(), { qos: 2 });
    await client.publish(c.topic(), 'one', { qos: 1 });
    const one = await client.message({ payload: 'one' }, { acknowledge: false });
    await client.publish(c.topic(), 'two', { qos: 2 });
    const two = await client.message({ payload: 'two' }, { acknowledge: false });
    await client.unsubscribe(c.topic());
    client.send(ack('PUBACK', one.packetId), ack('PUBREC', two.packetId));
    await client.expect('PUBREL', { packetId: two.packetId });
    client.send(ack('PUBCOMP', two.packetId));
    await client.expectNothing();
  },
);

both(
  '[MQTT5-3.10.4-3] [MQTT311-3.10.4-3] a message sent before UNSUBSCRIBE comes again after a reconnect',
  async (c) => {
    const clientId = c.id();
    const first = await c.durable({ clientId });
    await first.subscribed(c.topic(), { qos: 1 });
    await first.publish(c.topic(), 'one', { qos: 1 });
    const one = await first.message({ payload: 'one' }, { acknowledge: false });
    await first.unsubscribe(c.topic());
    await first.drop();
    const second = await c.durable({ clientId });
    await second.message({ payload: 'one', packetId: one.packetId, dup: true });
  },
);

both(
  '[MQTT5-3.10.4-6] [MQTT5-3.11.3-1] [MQTT5-3.11.3-2] [MQTT311-3.10.4-6] many filters get one UNSUBACK, in MQTT 5 with a code for each in their order',
  async (c) => {
    const client = await c.connect();
    await client.subscribed([c.topic('a'), c.topic('c')]);
    const unsuback = await client.unsubscribe(c.topic('a'), c.topic('b'), c.topic('c'));
    if (c.isV5) assert.deepEqual(unsuback.reasonCodes, [0, 0x11, 0]);
    for (const suffix of ['a', 'b', 'c']) await client.publish(c.topic(suffix), 'x');
    await client.expectNothing();
  },
);

v5('[MQTT5-3.10.4-1] a shared subscription is deleted by its whole filter', async (c) => {
  const client = await c.connect();
  const filter = `$share/g/${c.topic()}`;
  await client.subscribed([filter, c.topic()]);
  const unsuback = await client.unsubscribe(filter, `$share/h/${c.topic()}`);
  assert.deepEqual(unsuback.reasonCodes, [0, 0x11]);
  await client.publish(c.topic(), 'once');
  await client.message({ payload: 'once' });
  await client.expectNothing();
});

both(
  '[MQTT5-3.10.4-1] [MQTT311-3.10.4-1] deleting one of overlapping subscriptions leaves the other',
  async (c) => {
    const client = await c.connect();
    await client.subscribed([
      { filter: c.topic('#'), qos: 0 },
      { filter: c.topic('t'), qos: 2 },
    ]);
    await client.unsubscribe(c.topic('t'));
    await client.publish(c.topic('t'), 'x', { qos: 2 });
    await client.message({ payload: 'x', qos: 0 });
    await client.expectNothing();
  },
);

both(
  '[MQTT5-3.10.4-1] [MQTT311-3.10.4-1] a deleted subscription stays deleted in the resumed session',
  async (c) => {
    const clientId = c.id();
    const first = await c.durable({ clientId });
    await first.subscribed([
      { filter: c.topic('a'), qos: 1 },
      { filter: c.topic('b'), qos: 1 },
    ]);
    await first.unsubscribe(c.topic('a'));
    await first.disconnect();
    const publisher = await c.connect();
    await publisher.publish(c.topic('a'), 'no', { qos: 1 });
    await publisher.publish(c.topic('b'), 'yes', { qos: 1 });
    const second = await c.durable({ clientId });
    await second.message({ payload: 'yes' });
    await second.expectNothing();
  },
);

await run();
