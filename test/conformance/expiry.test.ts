/** Message expiry (3.3.2.3.3). */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { run, v5 } from './harness.ts';
import { property } from './reader.ts';

v5(
  '[MQTT5-3.3.2-6] a message delivered at once keeps its expiry interval, one without gets none',
  async (c) => {
    const client = await c.connect();
    await client.subscribed(c.topic(), { qos: 1 });
    await client.publish(c.topic(), 'x', { qos: 1, properties: [['messageExpiryInterval', 1000]] });
    const expirySec = Number(property(await client.message(), 'messageExpiryInterval'));
    assert.ok(expirySec === 1000 || expirySec === 999, `${expirySec}`);
    await client.publish(c.topic(), 'x', { qos: 1 });
    await client.message({ properties: { messageExpiryInterval: undefined } });
  },
);

v5(
  '[MQTT5-3.3.2-5] [MQTT5-3.3.2-6] a queued message expires, another is sent with what is left',
  async (c) => {
    const clientId = c.id();
    const first = await c.durable({ clientId });
    await first.subscribed(c.topic(), { qos: 1 });
    await first.disconnect();
    const publisher = await c.connect();
    const expiring = (
      seconds: number,
    ): { qos: number; properties: readonly ['messageExpiryInterval', number][] } => ({
      qos: 1,
      properties: [['messageExpiryInterval', seconds]],
    });
    await publisher.publish(c.topic(), 'short', expiring(1));
    await publisher.publish(c.topic(), 'long', expiring(100));
    await publisher.publish(c.topic(), 'forever', { qos: 1 });
    await sleep(2300);
    const second = await c.durable({ clientId });
    const long = await second.message({ payload: 'long' });
    const leftSec = Number(property(long, 'messageExpiryInterval'));
    assert.ok(leftSec <= 98 && leftSec >= 95, `${leftSec} s left`);
    await second.message({ payload: 'forever', properties: { messageExpiryInterval: undefined } });
    await second.expectNothing();
  },
);

v5(
  '[MQTT5-3.3.2-5] [MQTT5-3.3.2-6] a retained message expires, another is sent with what is left',
  async (c) => {
    const publisher = await c.connect();
    for (const [suffix, seconds] of [
      ['short', 1],
      ['long', 100],
    ] as const) {
      await publisher.publish(c.topic(suffix), suffix, {
        qos: 1,
        retain: true,
        properties: [['messageExpiryInterval', seconds]],
      });
    }
    await sleep(2300);
    const reader = await c.connect();
    await reader.subscribed(c.topic('#'), { qos: 1 });
    const got = await reader.message({ payload: 'long', retain: true });
    const leftSec = Number(property(got, 'messageExpiryInterval'));
    assert.ok(leftSec <= 98 && leftSec >= 95, `${leftSec} s left`);
    await reader.expectNothing();
    await publisher.publish(c.topic('long'), '', { retain: true });
  },
);

v5('[MQTT5-3.3.2-5] a message waiting for the receive maximum expires', async (c) => {
  const client = await c.connect({ properties: [['receiveMaximum', 1]] });
  await client.subscribed(c.topic(), { qos: 1 });
  const publisher = await c.connect();
  await publisher.publish(c.topic(), 'first', { qos: 1 });
  const first = await client.message({ payload: 'first' }, { acknowledge: false });
  await publisher.publish(c.topic(), 'expires', {
    qos: 1,
    properties: [['messageExpiryInterval', 1]],
  });
  await publisher.publish(c.topic(), 'stays', { qos: 1 });
  await sleep(2300);
  await client.acknowledge(first);
  await client.message({ payload: 'stays' });
  await client.expectNothing();
});

await run();
