/** The QoS 1 and QoS 2 delivery protocols, both roles of the server (4.3, 4.4). */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { both, every, run, v5 } from './harness.ts';
import { ack } from './packets.ts';
import type { ReadPacket } from './reader.ts';

every(
  '[MQTT5-4.3.2-4] [MQTT5-2.2.1-5] [MQTT311-4.3.2-2] [MQTT311-2.3.1-6] PUBACK carries the identifier of its PUBLISH',
  async (c) => {
    const client = await c.connect();
    for (const packetId of [1, 255, 256, 65535]) {
      client.sendPublish(c.topic(), 'one', { qos: 1, packetId });
      await client.expect('PUBACK', { packetId });
    }
  },
);

every(
  '[MQTT5-4.3.2-5] [MQTT311-4.3.2-2] after PUBACK the same identifier is a new message, DUP or not',
  async (c) => {
    const client = await c.connect();
    const watcher = await c.connect();
    await watcher.subscribed(c.topic(), { qos: 1 });
    for (const dup of [false, true, false]) {
      client.sendPublish(c.topic(), `dup ${dup}`, { qos: 1, packetId: 9, dup });
      await client.expect('PUBACK', { packetId: 9 });
      await watcher.message({ payload: `dup ${dup}` });
    }
  },
);

every(
  '[MQTT5-4.3.2-1] [MQTT5-4.3.2-2] [MQTT5-4.3.2-3] [MQTT5-2.2.1-4] [MQTT311-4.3.2-1] [MQTT311-2.3.1-4] the server uses an unused identifier and DUP 0 for each new QoS 1 message',
  async (c) => {
    const client = await c.connect();
    await client.subscribed(c.topic(), { qos: 1 });
    const publisher = await c.connect();
    const open: ReadPacket[] = [];
    for (let n = 0; n < 10; n++) {
      await publisher.publish(c.topic(), `m${n}`, { qos: 1 });
      const got = await client.message(
        { payload: `m${n}`, qos: 1, dup: false },
        { acknowledge: false },
      );
      open.push(got);
    }
    assert.equal(new Set(open.map((one) => one.packetId)).size, 10);
    for (const one of open) await client.acknowledge(one);
    await client.expectNothing();
  },
);

every('[MQTT5-4.4.0-1] nothing is sent again while the connection lasts', async (c) => {
  const client = await c.connect();
  await client.subscribed(c.topic(), { qos: 2 });
  await client.publish(c.topic(), 'one', { qos: 1 });
  await client.message({ payload: 'one', dup: false }, { acknowledge: false });
  await client.publish(c.topic(), 'two', { qos: 2 });
  await client.message({ payload: 'two', dup: false }, { acknowledge: false });
  await client.expectNothing(2500);
});

both(
  '[MQTT5-4.4.0-1] [MQTT5-3.3.1-1] [MQTT311-4.4.0-1] [MQTT311-3.3.1-1] [MQTT311-2.3.1-3] [MQTT311-4.6.0-1] unacknowledged messages come again with their identifiers, DUP and order',
  async (c) => {
    const clientId = c.id();
    const first = await c.durable({ clientId });
    await first.subscribed(c.topic(), { qos: 2 });
    const publisher = await c.connect();
    const sent: ReadPacket[] = [];
    for (const [n, qos] of [1, 2, 1, 2].entries()) {
      await publisher.publish(c.topic(), `m${n}`, { qos });
      sent.push(await first.message({ payload: `m${n}`, qos }, { acknowledge: false }));
    }
    first.send(ack('PUBACK', sent[0]?.packetId ?? 0));
    await first.ping();
    await first.drop();
    const second = await c.durable({ clientId });
    for (const one of sent.slice(1)) {
      const again = await second.message(
        { payload: one.payload.toString(), packetId: one.packetId, qos: one.qos, dup: true },
        { acknowledge: false },
      );
      assert.equal(again.topic, c.topic());
    }
    await second.expectNothing();
  },
);

every(
  '[MQTT5-4.3.3-8] [MQTT5-4.3.3-11] [MQTT5-2.2.1-5] [MQTT311-4.3.3-2] [MQTT311-2.3.1-6] PUBREC and PUBCOMP carry the identifier of PUBLISH and PUBREL',
  async (c) => {
    const client = await c.connect();
    for (const packetId of [1, 255, 256, 65535]) {
      client.sendPublish(c.topic(), 'two', { qos: 2, packetId });
      await client.expect('PUBREC', { packetId });
      client.send(ack('PUBREL', packetId));
      await client.expect('PUBCOMP', { packetId });
    }
  },
);

every(
  '[MQTT5-4.3.3-10] [MQTT5-4.3.3-12] [MQTT311-4.3.3-2] until PUBREL a repeated PUBLISH is acknowledged and delivered once; after PUBCOMP it is new',
  async (c) => {
    const client = await c.connect();
    const watcher = await c.connect();
    await watcher.subscribed(c.topic(), { qos: 0 });
    client.sendPublish(c.topic(), 'two', { qos: 2, packetId: 5 });
    await client.expect('PUBREC', { packetId: 5 });
    client.sendPublish(c.topic(), 'two', { qos: 2, packetId: 5, dup: true });
    await client.expect('PUBREC', { packetId: 5 });
    client.sendPublish(c.topic(), 'two', { qos: 2, packetId: 5 });
    await client.expect('PUBREC', { packetId: 5 });
    client.send(ack('PUBREL', 5));
    await client.expect('PUBCOMP', { packetId: 5 });
    await watcher.message({ payload: 'two' });
    await watcher.expectNothing();
    await client.publish(c.topic(), 'new', { qos: 2, packetId: 5 });
    await watcher.message({ payload: 'new' });
    await watcher.expectNothing();
  },
);

both(
  '[MQTT5-4.3.3-10] [MQTT311-4.3.3-2] [MQTT311-4.4.0-1] a QoS 2 PUBLISH sent again by a resumed session is delivered once',
  async (c) => {
    const clientId = c.id();
    const watcher = await c.connect();
    await watcher.subscribed(c.topic(), { qos: 0 });
    const first = await c.durable({ clientId });
    first.sendPublish(c.topic(), 'once', { qos: 2, packetId: 77 });
    await first.expect('PUBREC', { packetId: 77 });
    await first.drop();
    const second = await c.durable({ clientId });
    second.sendPublish(c.topic(), 'once', { qos: 2, packetId: 77, dup: true });
    await second.expect('PUBREC', { packetId: 77 });
    second.send(ack('PUBREL', 77));
    await second.expect('PUBCOMP', { packetId: 77 });
    await second.drop();
    // PUBREL again: the sender may have lost the PUBCOMP.
    const third = await c.durable({ clientId });
    third.send(ack('PUBREL', 77));
    await third.expect('PUBCOMP', { packetId: 77 });
    await watcher.message({ payload: 'once' });
    await watcher.expectNothing();
  },
);

both(
  '[MQTT5-3.7.2-1] [MQTT311-4.3.3-2] PUBREL for an unknown identifier gets PUBCOMP, 0x92 in MQTT 5',
  async (c) => {
    const client = await c.connect();
    client.send(ack('PUBREL', 4711));
    await client.expect('PUBCOMP', { packetId: 4711, reasonCode: c.isV5 ? 0x92 : 0 });
    await client.expectNothing();
  },
);

v5('[MQTT5-3.6.2-1] PUBREC for an unknown identifier gets PUBREL 0x92', async (c) => {
  const client = await c.connect();
  client.send(ack('PUBREC', 4711));
  await client.expect('PUBREL', { packetId: 4711, reasonCode: 0x92 });
  client.send(ack('PUBCOMP', 4711));
  await client.expectNothing();
});

both('choice: PUBACK and PUBCOMP for an unknown identifier are ignored', async (c) => {
  const client = await c.connect();
  client.send(ack('PUBACK', 4711), ack('PUBCOMP', 4712));
  await client.expectNothing();
});

every(
  '[MQTT5-4.3.3-1] [MQTT5-4.3.3-2] [MQTT5-4.3.3-4] [MQTT311-4.3.3-1] [MQTT311-2.3.1-6] the server sends QoS 2 with an unused identifier, DUP 0, and PUBREL with the same',
  async (c) => {
    const client = await c.connect();
    await client.subscribed(c.topic(), { qos: 2 });
    const publisher = await c.connect();
    const open: ReadPacket[] = [];
    for (let n = 0; n < 5; n++) {
      await publisher.publish(c.topic(), `m${n}`, { qos: 2 });
      const got = await client.message(
        { payload: `m${n}`, qos: 2, dup: false },
        { acknowledge: false },
      );
      open.push(got);
    }
    assert.equal(new Set(open.map((one) => one.packetId)).size, 5);
    for (const { packetId } of open) {
      client.send(ack('PUBREC', packetId));
      await client.expect('PUBREL', { packetId, reasonCode: 0 });
    }
    // The identifiers stay in use until PUBCOMP.
    await publisher.publish(c.topic(), 'one more', { qos: 2 });
    const more = await client.message({ payload: 'one more' }, { acknowledge: false });
    assert.ok(open.every((one) => one.packetId !== more.packetId));
    for (const { packetId } of open) client.send(ack('PUBCOMP', packetId));
    await client.expectNothing();
  },
);

both(
  '[MQTT5-4.3.3-3] [MQTT5-4.3.3-5] [MQTT5-4.3.3-6] [MQTT5-4.4.0-1] [MQTT311-4.3.3-1] [MQTT311-4.4.0-1] after PUBREC only PUBREL comes again, before it the PUBLISH',
  async (c) => {
    const clientId = c.id();
    const first = await c.durable({ clientId });
    await first.subscribed(c.topic(), { qos: 2 });
    await first.publish(c.topic(), 'released', { qos: 2 });
    const released = await first.message({ payload: 'released' }, { acknowledge: false });
    await first.publish(c.topic(), 'open', { qos: 2 });
    const open = await first.message({ payload: 'open' }, { acknowledge: false });
    first.send(ack('PUBREC', released.packetId));
    await first.expect('PUBREL', { packetId: released.packetId });
    await first.drop();
    const second = await c.durable({ clientId });
    await second.waitFor('PUBREL', { packetId: released.packetId });
    await second.message({ payload: 'open', packetId: open.packetId, dup: true });
    second.send(ack('PUBCOMP', released.packetId));
    await second.ping();
    await second.drop();
    const third = await c.durable({ clientId });
    await third.expectNothing();
  },
);

v5(
  '[MQTT5-4.4.0-2] [MQTT5-4.3.3-4] a message refused with PUBACK or PUBREC 0x80 and up is done: no PUBREL, no repetition',
  async (c) => {
    const clientId = c.id();
    const first = await c.durable({ clientId });
    await first.subscribed(c.topic(), { qos: 2 });
    await first.publish(c.topic(), 'one', { qos: 1 });
    const one = await first.message({ payload: 'one' }, { acknowledge: false });
    await first.publish(c.topic(), 'two', { qos: 2 });
    const two = await first.message({ payload: 'two' }, { acknowledge: false });
    first.send(ack('PUBACK', one.packetId, 0x80), ack('PUBREC', two.packetId, 0x83, []));
    await first.expectNothing();
    await first.drop();
    const second = await c.durable({ clientId });
    await second.expectNothing();
  },
);

v5('acknowledgements may carry reason codes and properties', async (c) => {
  const client = await c.connect();
  await client.subscribed(c.topic(), { qos: 2 });
  const list = [
    ['reasonString', 'fine'],
    ['userProperty', ['a', 'b']],
  ] as const;
  await client.publish(c.topic(), 'one', { qos: 1 });
  const one = await client.message({}, { acknowledge: false });
  client.send(ack('PUBACK', one.packetId, 0x10, list));
  await client.publish(c.topic(), 'two', { qos: 2 });
  const two = await client.message({}, { acknowledge: false });
  client.send(ack('PUBREC', two.packetId, 0, list));
  await client.expect('PUBREL', { packetId: two.packetId });
  client.send(ack('PUBCOMP', two.packetId, 0, list));
  await client.expectNothing();
});

v5(
  '[MQTT5-4.3.3-9] after a refusing PUBREC the identifier is free for a new message',
  async (c) => {
    const client = await c.connect();
    const watcher = await c.connect();
    await watcher.subscribed(c.topic());
    client.sendPublish(`$SYS/${c.prefix}`, 'no', { qos: 2, packetId: 3 });
    const refused = await client.expect('PUBREC', { packetId: 3 });
    assert.ok(refused.reasonCode >= 0x80);
    await client.publish(c.topic(), 'new', { qos: 2, packetId: 3 });
    await watcher.message({ payload: 'new' });
  },
);

v5('[MQTT5-4.3.3-7] a message that has been sent does not expire any more', async (c) => {
  const clientId = c.id();
  const first = await c.durable({ clientId });
  await first.subscribed(c.topic(), { qos: 2 });
  await first.publish(c.topic(), 'sent', { qos: 2, properties: [['messageExpiryInterval', 1]] });
  const sent = await first.message({ payload: 'sent' }, { acknowledge: false });
  await first.drop();
  await sleep(2200);
  const second = await c.durable({ clientId });
  await second.message({ payload: 'sent', packetId: sent.packetId, dup: true });
});

v5('[MQTT5-4.3.3-13] PUBREL is answered though the message has expired', async (c) => {
  const client = await c.connect();
  client.sendPublish(c.topic(), 'old', {
    qos: 2,
    packetId: 6,
    properties: [['messageExpiryInterval', 1]],
  });
  await client.ackOf('PUBREC', 6);
  await sleep(2200);
  client.send(ack('PUBREL', 6));
  await client.expect('PUBCOMP', { packetId: 6, reasonCode: 0 });
});

both('packet identifiers of the two directions are apart', async (c) => {
  const client = await c.connect();
  await client.subscribed(c.topic(), { qos: 2 });
  await client.publish(c.topic(), 'down', { qos: 2 });
  const down = await client.message({ payload: 'down' }, { acknowledge: false });
  await client.publish(c.topic('other'), 'up', { qos: 2, packetId: down.packetId });
  await client.acknowledge(down);
  await client.expectNothing();
});

both(
  '[MQTT5-2.2.1-4] [MQTT311-2.3.1-4] identifiers may come round: 70 messages acknowledged one by one',
  async (c) => {
    const client = await c.connect();
    await client.subscribed(c.topic(), { qos: 1 });
    for (let n = 0; n < 70; n++) {
      client.sendPublish(c.topic(), `m${n}`);
      await client.message({ payload: `m${n}` });
    }
    await client.expectNothing();
  },
);

await run();
