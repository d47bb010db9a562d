/** PINGREQ and keep alive (3.12, 3.1.2.10), over real sockets. */
import assert from 'node:assert/strict';
import { both, every, run, v5 } from './harness.ts';
import { PINGREQ, packet } from './packets.ts';
import { property } from './reader.ts';

every('[MQTT5-3.12.4-1] [MQTT311-3.12.4-1] every PINGREQ gets one PINGRESP', async (c) => {
  const client = await c.connect();
  client.send(PINGREQ);
  await client.expect('PINGRESP');
  client.send(PINGREQ, PINGREQ, PINGREQ);
  for (let i = 0; i < 3; i++) await client.expect('PINGRESP');
  await client.expectSilence(100);
});

every(
  '[MQTT5-3.1.2-22] [MQTT5-3.2.2-22] [MQTT311-3.1.2-24] a client silent for 1.5 times its keep alive is closed',
  async (c) => {
    const client = await c.connect({ keepAliveSec: 1 });
    assert.equal(property(client.connack, 'serverKeepAlive'), undefined);
    const start = performance.now();
    // The reason code 0x8D is ours to send; the statement asks for the close.
    if (c.isV5) await client.closedAfter(['DISCONNECT']);
    else await client.expectClose();
    const elapsedMs = performance.now() - start;
    assert.ok(elapsedMs >= 1400, `closed after ${elapsedMs} ms, before 1.5 s`);
    assert.ok(elapsedMs < 4000, `closed after ${elapsedMs} ms`);
  },
);

v5('choice: DISCONNECT 0x8D tells a silent client that its keep alive ran out', async (c) => {
  const client = await c.connect({ keepAliveSec: 1 });
  await client.expect('DISCONNECT', { reasonCode: 0x8d });
  await client.expectClose();
});

every('[MQTT5-3.1.2-22] [MQTT311-3.1.2-24] any packet counts against the keep alive', async (c) => {
  const client = await c.connect({ keepAliveSec: 1 });
  const end = performance.now() + 3200;
  while (performance.now() < end) {
    await client.expectSilence(800);
    client.sendPublish(c.topic(), 'alive');
  }
  client.send(PINGREQ);
  await client.expect('PINGRESP');
});

every('choice: keep alive 0 turns the check off', async (c) => {
  const client = await c.connect({ keepAliveSec: 0 });
  await client.expectSilence(3000);
  await client.ping();
});

both(
  '[MQTT5-2.1.3-1] [MQTT311-2.2.2-1] [MQTT311-2.2.2-2] reserved flags of PINGREQ must be 0',
  async (c) => {
    const client = await c.connect();
    client.send(packet(0xc1));
    await client.expectError(0x81);
  },
);

every('[MQTT5-4.13.1-1] [MQTT311-4.8.0-1] a PINGREQ with a body is malformed', async (c) => {
  const client = await c.connect();
  client.send(packet(0xc0, Buffer.from([0])));
  await client.expectError(0x81);
});

await run();
