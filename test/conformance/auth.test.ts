/** Enhanced authentication, as far as a server without a method can show it (3.15, 4.12). */
import assert from 'node:assert/strict';
import { run, v5 } from './harness.ts';
import { auth, connect, packet, publish } from './packets.ts';
import { property } from './reader.ts';

const METHOD = 'conformance-no-such-method';

v5(
  '[MQTT5-4.12.0-1] [MQTT5-3.1.4-2] [MQTT5-4.12.0-4] an unknown authentication method is refused with 0x8C or 0x87',
  async (c) => {
    const client = await c.open();
    client.send(connect(c.fields(client, { properties: [['authenticationMethod', METHOD]] })));
    await client.expectRefusal(0x8c, 0x87);
  },
);

v5(
  '[MQTT5-3.1.4-6] packets behind a CONNECT with a refused method are not processed',
  async (c) => {
    const watcher = await c.connect();
    await watcher.subscribed(c.topic());
    const client = await c.open();
    client.send(
      connect(c.fields(client, { properties: [['authenticationMethod', METHOD]] })),
      publish({ version: 5, topic: c.topic(), payload: 'late' }),
    );
    await client.expectRefusal(0x8c, 0x87);
    await watcher.expectNothing();
  },
);

v5(
  '[MQTT5-4.12.0-6] without a method in CONNECT there is no AUTH and no method in CONNACK',
  async (c) => {
    const client = await c.connect({ username: 'user', password: 'secret' });
    assert.equal(property(client.connack, 'authenticationMethod'), undefined);
    assert.equal(property(client.connack, 'authenticationData'), undefined);
    await client.expectNothing();
  },
);

v5(
  '[MQTT5-4.12.0-7] [MQTT5-4.12.1-1] AUTH from a client without an authentication method is a protocol error',
  async (c) => {
    for (const reasonCode of [0x18, 0x19]) {
      const client = await c.connect();
      client.send(auth(reasonCode, [['authenticationMethod', METHOD]]));
      await client.expectError(0x82, 0x8c);
    }
  },
);

v5('[MQTT5-3.15.1-1] reserved flags of AUTH must be 0', async (c) => {
  const client = await c.connect();
  client.send(packet(0xf1, auth(0x19, [['authenticationMethod', METHOD]]).subarray(2)));
  await client.expectError(0x81);
});

v5('[MQTT5-3.1.0-1] AUTH before CONNECT closes the connection', async (c) => {
  const client = await c.open();
  client.send(auth(0x18, [['authenticationMethod', METHOD]]));
  await client.closedAfter(['CONNACK']);
});

await run();
