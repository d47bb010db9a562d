/** Sessions: what is kept, what is forgotten, and when (3.1.2.4, 3.1.2.11.2, 4.1, 4.4). */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { both, every, run, v5, v311 } from './harness.ts';
import { connect } from './packets.ts';
import { property } from './reader.ts';

both(
  '[MQTT5-3.1.2-4] [MQTT5-3.1.4-4] [MQTT311-3.1.2-6] [MQTT311-3.1.4-3] clean start forgets subscriptions and queue',
  async (c) => {
    const clientId = c.id();
    const publisher = await c.connect();
    const first = await c.durable({ clientId });
    await first.subscribed(c.topic(), { qos: 1 });
    await first.disconnect();
    await publisher.publish(c.topic(), 'queued', { qos: 1 });
    const second = await c.connect({ clientId, clean: true });
    assert.equal(second.connack.sessionPresent, false);
    await second.expectNothing();
    await publisher.publish(c.topic(), 'later', { qos: 1 });
    await second.expectNothing();
    await second.disconnect();
    // What the clean session saw is not reused either.
    const third = await c.durable({ clientId });
    assert.equal(third.connack.sessionPresent, false);
    await third.expectNothing();
  },
);

v311('[MQTT311-3.1.2-6] a clean session ends with its connection', async (c) => {
  const clientId = c.id();
  const publisher = await c.connect();
  const first = await c.connect({ clientId, clean: true });
  await first.subscribed(c.topic(), { qos: 1 });
  await first.drop();
  await publisher.publish(c.topic(), 'queued', { qos: 1 });
  const second = await c.connect({ clientId, clean: false });
  assert.equal(second.connack.sessionPresent, false);
  await second.expectNothing();
});

every(
  '[MQTT5-3.1.2-5] [MQTT5-3.1.2-23] [MQTT5-4.5.0-1] [MQTT311-3.1.2-4] [MQTT311-3.1.2-5] [MQTT311-4.5.0-1] [MQTT311-4.1.0-1] a session goes on with its subscriptions and queue',
  async (c) => {
    const clientId = c.id();
    const publisher = await c.connect();
    const first = await c.durable({ clientId });
    await first.subscribed([
      { filter: c.topic('one'), qos: 1 },
      { filter: c.topic('two'), qos: 2 },
    ]);
    await first.drop();
    await publisher.publish(c.topic('one'), 'q1', { qos: 1 });
    await publisher.publish(c.topic('two'), 'q2', { qos: 2 });
    const second = await c.durable({ clientId });
    if (c.version > 3) assert.equal(second.connack.sessionPresent, true);
    await second.message({ topic: c.topic('one'), payload: 'q1', qos: 1, dup: false });
    await second.message({ topic: c.topic('two'), payload: 'q2', qos: 2, dup: false });
    await publisher.publish(c.topic('one'), 'live', { qos: 1 });
    await second.message({ payload: 'live', qos: 1 });
    await second.expectNothing();
  },
);

both(
  '[MQTT5-3.1.2-6] [MQTT311-3.1.2-4] without a session clean start 0 makes a new one',
  async (c) => {
    const client = await c.durable();
    assert.equal(client.connack.sessionPresent, false);
    await client.subscribed(c.topic(), { qos: 1 });
    await client.publish(c.topic(), 'new', { qos: 1 });
    await client.message({ payload: 'new' });
  },
);

both(
  '[MQTT5-3.1.3-2] [MQTT311-3.1.3-2] the client id names the session, and only that one',
  async (c) => {
    const publisher = await c.connect();
    const a = await c.durable({ clientId: c.id('a') });
    await a.subscribed(c.topic('a'), { qos: 1 });
    await a.disconnect();
    const b = await c.durable({ clientId: c.id('b') });
    assert.equal(b.connack.sessionPresent, false);
    await b.subscribed(c.topic('b'), { qos: 1 });
    await b.disconnect();
    await publisher.publish(c.topic('a'), 'for a', { qos: 1 });
    await publisher.publish(c.topic('b'), 'for b', { qos: 1 });
    const upper = await c.durable({ clientId: c.id('A') });
    assert.equal(upper.connack.sessionPresent, false, 'client ids differ by case');
    await (await c.durable({ clientId: c.id('a') })).message({ payload: 'for a' });
    await (await c.durable({ clientId: c.id('b') })).message({ payload: 'for b' });
  },
);

both(
  '[MQTT311-3.1.2-7] [MQTT5-3.3.1-5] retained messages outlive the session that published them',
  async (c) => {
    const publisher = await c.connect();
    await publisher.publish(c.topic(), 'stays', { qos: 1, retain: true });
    await publisher.disconnect();
    const reader = await c.connect();
    await reader.subscribed(c.topic());
    await reader.message({ payload: 'stays', retain: true });
    await reader.publish(c.topic(), '', { retain: true });
  },
);

v5(
  '[MQTT5-4.1.0-2] [MQTT5-3.1.2-23] a session is forgotten when its expiry has passed, not before',
  async (c) => {
    const clientId = c.id();
    const first = await c.durable({ clientId }, 2);
    await first.subscribed(c.topic(), { qos: 1 });
    await first.drop();
    await sleep(700);
    const second = await c.durable({ clientId }, 1);
    assert.equal(second.connack.sessionPresent, true);
    await second.disconnect();
    await sleep(2500);
    const third = await c.durable({ clientId }, 1);
    assert.equal(third.connack.sessionPresent, false);
  },
);

v5('[MQTT5-4.1.0-2] without an expiry interval the session ends with the connection', async (c) => {
  const clientId = c.id();
  for (const properties of [[], [['sessionExpiryInterval', 0]]] as const) {
    const first = await c.connect({ clientId, clean: false, properties });
    await first.subscribed(c.topic(), { qos: 1 });
    await first.disconnect();
    const second = await c.connect({ clientId, clean: false });
    assert.equal(second.connack.sessionPresent, false);
    await second.disconnect();
  }
});

both('[MQTT5-4.1.0-1] [MQTT311-4.1.0-2] the session lasts as long as its connection', async (c) => {
  const client = await c.durable({}, 1);
  await client.subscribed(c.topic(), { qos: 1 });
  await sleep(2200);
  await client.publish(c.topic(), 'still subscribed', { qos: 1 });
  await client.message({ payload: 'still subscribed' });
});

v5('[MQTT5-4.1.0-2] DISCONNECT may change the session expiry interval', async (c) => {
  const shortened = await c.durable({ clientId: c.id('s') });
  await shortened.disconnect(0, [['sessionExpiryInterval', 0]]);
  const lengthened = await c.durable({ clientId: c.id('l') }, 1);
  await lengthened.disconnect(0, [['sessionExpiryInterval', 60]]);
  await sleep(2500);
  assert.equal((await c.durable({ clientId: c.id('s') })).connack.sessionPresent, false);
  assert.equal((await c.durable({ clientId: c.id('l') })).connack.sessionPresent, true);
});

v5('[MQTT5-4.1.0-2] a session expiry of 0xFFFFFFFF is taken or capped in CONNACK', async (c) => {
  const clientId = c.id();
  const first = await c.durable({ clientId }, 0xffffffff);
  const cap = property(first.connack, 'sessionExpiryInterval');
  assert.ok(cap === undefined || (typeof cap === 'number' && cap > 0));
  await first.disconnect();
  assert.equal((await c.durable({ clientId })).connack.sessionPresent, true);
});

both(
  '[MQTT5-4.4.0-1] [MQTT311-4.4.0-1] taking over goes on with the session of the old connection',
  async (c) => {
    const clientId = c.id();
    const first = await c.durable({ clientId });
    await first.subscribed(c.topic(), { qos: 1 });
    await first.publish(c.topic(), 'unacked', { qos: 1 });
    const sent = await first.message({ payload: 'unacked' }, { acknowledge: false });
    const second = await c.durable({ clientId });
    assert.equal(second.connack.sessionPresent, true);
    await second.message({ payload: 'unacked', packetId: sent.packetId, dup: true });
    await first.expectError(0x8e);
  },
);

both(
  '[MQTT5-3.1.2-4] [MQTT311-3.1.2-6] taking over with clean start 1 leaves nothing of the old session',
  async (c) => {
    const clientId = c.id();
    const first = await c.durable({ clientId });
    await first.subscribed(c.topic(), { qos: 1 });
    await first.publish(c.topic(), 'unacked', { qos: 1 });
    await first.message({ payload: 'unacked' }, { acknowledge: false });
    const second = await c.open();
    second.send(connect(c.fields(second, { clientId, clean: true })));
    await second.expect('CONNACK', { reasonCode: 0, sessionPresent: false });
    await second.expectNothing();
    await first.expectError(0x8e);
  },
);

await run();
