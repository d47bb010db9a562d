/** DISCONNECT and the end of a connection, from both sides (3.14, 4.13). */
import assert from 'node:assert/strict';
import { both, every, run, v5 } from './harness.ts';
import { disconnect, packet, publish } from './packets.ts';
import { property } from './reader.ts';

every('the server closes after a DISCONNECT of the client', async (c) => {
  const client = await c.connect();
  client.send(disconnect());
  await client.expectClose();
});

v5('the server closes after a DISCONNECT with reason and properties', async (c) => {
  for (const [reasonCode, list] of [
    [0, []],
    [4, undefined],
    [
      0x80,
      [
        ['reasonString', 'bye'],
        ['userProperty', ['a', 'b']],
      ],
    ],
  ] as const) {
    const client = await c.connect();
    client.send(disconnect(reasonCode, list));
    await client.expectClose();
  }
});

every('what follows a DISCONNECT is not processed', async (c) => {
  const watcher = await c.connect();
  await watcher.subscribed(c.topic());
  const client = await c.connect();
  client.send(disconnect(), publish({ version: c.version, topic: c.topic(), payload: 'late' }));
  await client.expectClose();
  await watcher.expectNothing();
});

both('[MQTT5-3.14.1-1] [MQTT311-3.14.1-1] reserved flags of DISCONNECT must be 0', async (c) => {
  const watcher = await c.connect();
  await watcher.subscribed(c.topic());
  const client = await c.connect({ will: { topic: c.topic(), payload: 'will' } });
  client.send(Buffer.from([0xe1, 0]));
  await client.expectError(0x81);
  // It was no DISCONNECT, so the will stands.
  await watcher.message({ payload: 'will' });
});

v5(
  '[MQTT5-3.14.4-1] [MQTT5-3.14.4-2] [MQTT5-3.14.2-1] [MQTT5-3.14.2-2] [MQTT5-4.13.2-1] a DISCONNECT of the server is its last packet, with a known reason and no session expiry',
  async (c) => {
    const client = await c.connect();
    await client.subscribed(c.topic());
    client.send(
      packet(0x36),
      publish({ version: 5, topic: c.topic(), payload: 'late' }),
      Buffer.from([0xc0, 0]),
    );
    const got = await client.expect('DISCONNECT', { reasonCode: 0x81 });
    assert.equal(property(got, 'sessionExpiryInterval'), undefined);
    await client.expectClose();
  },
);

both(
  '[MQTT5-4.13.1-1] [MQTT311-4.8.0-1] nothing behind a malformed packet is processed',
  async (c) => {
    const watcher = await c.connect();
    await watcher.subscribed(c.topic());
    const client = await c.connect();
    client.send(packet(0x36), publish({ version: c.version, topic: c.topic(), payload: 'late' }));
    await client.closedAfter(['DISCONNECT']);
    await watcher.expectNothing();
  },
);

v5('[MQTT5-4.13.1-1] DISCONNECT may not raise a session expiry of 0', async (c) => {
  const client = await c.connect();
  client.send(disconnect(0, [['sessionExpiryInterval', 10]]));
  await client.expectError(0x82);
});

v5('[MQTT5-4.13.1-1] wrong properties in DISCONNECT are refused', async (c) => {
  for (const list of [
    [
      ['sessionExpiryInterval', 1],
      ['sessionExpiryInterval', 1],
    ],
    [['topicAlias', 1]],
  ] as const) {
    const client = await c.durable();
    client.send(disconnect(0, list));
    await client.expectError(0x81, 0x82);
  }
});

both(
  '[MQTT311-4.8.0-1] [MQTT5-4.13.1-1] a DISCONNECT longer than it may be is malformed',
  async (c) => {
    const client = await c.connect();
    client.send(c.isV5 ? packet(0xe0, Buffer.from([0, 0, 0])) : packet(0xe0, Buffer.from([0])));
    await client.expectError(0x81, 0x82);
  },
);

v5(
  '[MQTT5-3.14.0-1] [MQTT5-3.2.2-7] a refused CONNECT is answered by CONNACK, never by DISCONNECT',
  async (c) => {
    const client = await c.open();
    client.send(packet(0x10, Buffer.from('0004', 'hex'), Buffer.from('MQTT'), Buffer.from([5, 1])));
    await client.closedAfter(['CONNACK']);
  },
);

await run();
