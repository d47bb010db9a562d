/** Retained messages: stored, replaced, removed, sent and marked (3.3.1.3, 3.8.3.1). */
import assert from 'node:assert/strict';
import { both, every, run, v5, v311 } from './harness.ts';
import { property, propertyList } from './reader.ts';

every(
  '[MQTT5-3.3.1-5] [MQTT311-3.3.1-5] [MQTT311-3.3.1-6] [MQTT311-3.3.1-8] a retained message is stored, replaced by the next, and sent to new subscribers with RETAIN 1',
  async (c) => {
    const publisher = await c.connect();
    await publisher.publish(c.topic(), 'first', { qos: 1, retain: true });
    await publisher.publish(c.topic(), 'second', { qos: 1, retain: true });
    const reader = await c.connect();
    await reader.subscribed(c.topic(), { qos: 2 });
    await reader.message({ payload: 'second', retain: true, qos: 1 });
    await reader.expectNothing();
    await publisher.publish(c.topic(), '', { retain: true });
  },
);

every(
  '[MQTT5-3.3.1-6] [MQTT5-3.3.1-7] [MQTT311-3.3.1-10] [MQTT311-3.3.1-11] an empty retained message is delivered, removes the stored one and is not stored',
  async (c) => {
    const publisher = await c.connect();
    await publisher.publish(c.topic(), 'stored', { qos: 1, retain: true });
    const live = await c.connect();
    await live.subscribed(c.topic());
    await live.message({ payload: 'stored', retain: true });
    await publisher.publish(c.topic(), '', { qos: 1, retain: true });
    await live.message({ payload: '', topic: c.topic() });
    const late = await c.connect();
    await late.subscribed(c.topic());
    await late.expectNothing();
  },
);

every(
  '[MQTT5-3.3.1-8] [MQTT311-3.3.1-12] a message without RETAIN leaves the stored one alone',
  async (c) => {
    const publisher = await c.connect();
    await publisher.publish(c.topic(), 'stored', { qos: 1, retain: true });
    await publisher.publish(c.topic(), 'passing', { qos: 1 });
    await publisher.publish(c.topic(), '', { qos: 1 });
    const reader = await c.connect();
    await reader.subscribed(c.topic());
    await reader.message({ payload: 'stored', retain: true });
    await reader.expectNothing();
    await publisher.publish(c.topic('none'), 'passing', { qos: 1 });
    await reader.subscribed(c.topic('none'));
    await reader.expectNothing();
    await publisher.publish(c.topic(), '', { retain: true });
  },
);

both(
  '[MQTT311-3.3.1-7] [MQTT5-3.3.1-5] a retained QoS 0 message replaces the stored one',
  async (c) => {
    const publisher = await c.connect();
    await publisher.publish(c.topic(), 'old', { qos: 1, retain: true });
    await publisher.publish(c.topic(), 'new', { qos: 0, retain: true });
    const reader = await c.connect();
    await reader.subscribed(c.topic(), { qos: 1 });
    await reader.message({ payload: 'new', retain: true, qos: 0 });
    await reader.expectNothing();
    await publisher.publish(c.topic(), '', { retain: true });
  },
);

every(
  '[MQTT311-3.3.1-9] [MQTT5-3.3.1-12] a live message has RETAIN 0 for an ordinary subscription',
  async (c) => {
    const client = await c.connect();
    await client.subscribed(c.topic(), { qos: 1 });
    await client.publish(c.topic(), 'live', { qos: 1, retain: true });
    await client.message({ payload: 'live', retain: false });
    await client.publish(c.topic(), '', { retain: true });
  },
);

both(
  '[MQTT5-3.8.4-8] [MQTT311-3.8.4-6] a retained message has the lower of its QoS and the granted one',
  async (c) => {
    const publisher = await c.connect();
    for (const qos of [0, 1, 2]) {
      await publisher.publish(c.topic(`q${qos}`), `q${qos}`, { qos, retain: true });
    }
    for (const granted of [0, 1, 2]) {
      const reader = await c.connect();
      for (const qos of [0, 1, 2]) {
        await reader.subscribed(c.topic(`q${qos}`), { qos: granted });
        await reader.message({ payload: `q${qos}`, retain: true, qos: Math.min(qos, granted) });
      }
    }
    for (const qos of [0, 1, 2]) await publisher.publish(c.topic(`q${qos}`), '', { retain: true });
  },
);

both(
  '[MQTT5-3.3.1-9] [MQTT311-3.3.1-6] a wildcard subscription gets every matching retained message once',
  async (c) => {
    const publisher = await c.connect();
    const topics = ['a', 'a/b', 'a/b/c', 'x/b'].map((suffix) => c.topic(suffix));
    for (const topic of topics) await publisher.publish(topic, topic, { qos: 1, retain: true });
    const reader = await c.connect();
    await reader.subscribed(c.topic('#'));
    const got: string[] = [];
    for (let n = 0; n < topics.length; n++)
      got.push((await reader.message({ retain: true })).topic);
    assert.deepEqual(got.sort(), [...topics].sort());
    await reader.subscribed(c.topic('+/b'));
    await reader.message({ retain: true });
    await reader.message({ retain: true });
    await reader.expectNothing();
    for (const topic of topics) await publisher.publish(topic, '', { retain: true });
  },
);

both(
  '[MQTT5-3.8.4-4] [MQTT311-3.8.4-3] subscribing again sends the retained message again',
  async (c) => {
    const client = await c.connect();
    await client.publish(c.topic(), 'stored', { qos: 1, retain: true });
    for (let n = 0; n < 2; n++) {
      await client.subscribed(c.topic());
      await client.message({ payload: 'stored', retain: true });
    }
    await client.expectNothing();
    await client.publish(c.topic(), '', { retain: true });
  },
);

v5('[MQTT5-3.3.1-9] retain handling 0 sends retained messages at every subscribe', async (c) => {
  const client = await c.connect();
  await client.publish(c.topic(), 'stored', { retain: true });
  for (let n = 0; n < 2; n++) {
    await client.subscribed(c.topic(), { retainHandling: 0 });
    await client.message({ payload: 'stored', retain: true });
  }
  await client.publish(c.topic('end'), '', { retain: true });
});

v5(
  '[MQTT5-3.3.1-10] retain handling 1 sends retained messages to a new subscription only',
  async (c) => {
    const client = await c.connect();
    await client.publish(c.topic(), 'stored', { retain: true });
    await client.subscribed(c.topic(), { retainHandling: 1 });
    await client.message({ payload: 'stored', retain: true });
    await client.subscribed(c.topic(), { retainHandling: 1, qos: 1 });
    await client.expectNothing();
    await client.unsubscribe(c.topic());
    await client.subscribed(c.topic(), { retainHandling: 1 });
    await client.message({ payload: 'stored', retain: true });
    await client.expectNothing();
  },
);

v5('[MQTT5-3.3.1-11] retain handling 2 sends no retained messages', async (c) => {
  const client = await c.connect();
  await client.publish(c.topic(), 'stored', { retain: true });
  await client.subscribed(c.topic(), { retainHandling: 2 });
  await client.expectNothing();
  await client.publish(c.topic(), 'live', { qos: 1 });
  await client.message({ payload: 'live' });
});

v5(
  '[MQTT5-3.3.1-12] without retain as published live messages have RETAIN 0, stored ones 1',
  async (c) => {
    const client = await c.connect();
    await client.publish(c.topic(), 'stored', { retain: true });
    await client.subscribed(c.topic(), { retainAsPublished: false });
    await client.message({ payload: 'stored', retain: true });
    await client.publish(c.topic(), 'live', { retain: true, qos: 1 });
    await client.message({ payload: 'live', retain: false });
  },
);

v5('[MQTT5-3.3.1-13] retain as published keeps RETAIN as it was', async (c) => {
  const client = await c.connect();
  await client.subscribed(c.topic(), { retainAsPublished: true });
  await client.publish(c.topic(), 'kept', { retain: true, qos: 1 });
  await client.message({ payload: 'kept', retain: true });
  await client.publish(c.topic(), 'plain', { qos: 1 });
  await client.message({ payload: 'plain', retain: false });
});

v5('[MQTT5-3.3.1-13] retain as published holds for messages from the queue', async (c) => {
  const clientId = c.id();
  const publisher = await c.connect();
  const first = await c.durable({ clientId });
  await first.subscribed(c.topic(), { retainAsPublished: true, qos: 1 });
  await first.disconnect();
  await publisher.publish(c.topic(), 'kept', { retain: true, qos: 1 });
  const second = await c.durable({ clientId });
  await second.message({ payload: 'kept', retain: true });
  await publisher.publish(c.topic(), '', { retain: true });
});

v5('[MQTT5-3.3.2-17] [MQTT5-3.3.2-4] a retained message keeps its properties', async (c) => {
  const client = await c.connect();
  await client.publish(c.topic(), 'stored', {
    retain: true,
    properties: [
      ['payloadFormatIndicator', 1],
      ['contentType', 'text'],
      ['responseTopic', 'r'],
      ['correlationData', Buffer.from('c')],
      ['userProperty', ['b', '1']],
      ['userProperty', ['a', '2']],
    ],
  });
  await client.subscribed(c.topic());
  const got = await client.message({ payload: 'stored', retain: true });
  assert.equal(property(got, 'payloadFormatIndicator'), 1);
  assert.equal(property(got, 'contentType'), 'text');
  assert.equal(property(got, 'responseTopic'), 'r');
  assert.deepEqual(property(got, 'correlationData'), Buffer.from('c'));
  assert.deepEqual(propertyList(got, 'userProperty'), [
    ['b', '1'],
    ['a', '2'],
  ]);
});

v5(
  '[MQTT5-3.3.4-3] a retained message carries the subscription identifier of the subscribe',
  async (c) => {
    const client = await c.connect();
    await client.publish(c.topic(), 'stored', { retain: true });
    await client.subscribed(c.topic(), { properties: [['subscriptionIdentifier', 42]] });
    const got = await client.message({ payload: 'stored', retain: true });
    assert.deepEqual(propertyList(got, 'subscriptionIdentifier'), [42]);
  },
);

v311(
  '[MQTT311-3.3.1-10] the empty message that removes a retained one has RETAIN 0 for subscribers',
  async (c) => {
    const client = await c.connect();
    await client.subscribed(c.topic());
    await client.publish(c.topic(), '', { retain: true });
    await client.message({ payload: '', retain: false });
  },
);

await run();
