/** Shared subscriptions (4.8.2), for MQTT 3.1.1 too by our choice. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from './client.ts';
import { both, type CaseContext, run, v5, v311 } from './harness.ts';
import { ack, subscribe } from './packets.ts';
import { propertyList, type ReadPacket } from './reader.ts';

async function member(c: CaseContext, qos = 1, filter = `$share/g/${c.topic()}`): Promise<Client> {
  const client = await c.connect();
  await client.subscribed(filter, { qos });
  return client;
}

/** Everything that came to each of these clients, acknowledged. */
async function collect(clients: readonly Client[]): Promise<ReadPacket[][]> {
  const all: ReadPacket[][] = [];
  for (const client of clients) {
    const got: ReadPacket[] = [];
    for (;;) {
      const one = await client.next(200);
      if (one === null) break;
      if (one.type !== 'PUBLISH') continue;
      await client.acknowledge(one);
      got.push(one);
    }
    all.push(got);
  }
  return all;
}

async function eachOnce(c: CaseContext): Promise<void> {
  const members = [await member(c), await member(c), await member(c)];
  const ordinary = await c.connect();
  await ordinary.subscribed(c.topic(), { qos: 1 });
  const otherGroup = await member(c, 1, `$share/h/${c.topic()}`);
  const publisher = await c.connect();
  const sent = Array.from({ length: 12 }, (_, n) => `m${n}`);
  for (const payload of sent) await publisher.publish(c.topic(), payload, { qos: 1 });
  const got = await collect([...members, ordinary, otherGroup]);
  const texts = got.map((list) => list.map((one) => one.payload.toString()));
  assert.deepEqual(texts.slice(0, 3).flat().sort(), [...sent].sort(), 'once per group');
  assert.deepEqual(texts[3], sent, 'the ordinary subscriber gets all');
  assert.deepEqual(texts[4], sent, 'another group gets all');
}

v5(
  '[MQTT5-4.8.2-1] a message goes to one member of each group, and to ordinary subscribers',
  eachOnce,
);
v311('choice: shared subscriptions work for MQTT 3.1.1 as for MQTT 5', eachOnce);

v5('[MQTT5-4.8.2-1] [MQTT5-4.8.2-2] malformed shared filters are refused', async (c) => {
  for (const filter of [
    '$share//t',
    '$share/g',
    '$share/g/',
    '$share/',
    '$share/g+/t',
    '$share/+/t',
    '$share/g#/t',
    '$share/#/t',
  ]) {
    const client = await c.connect();
    client.send(subscribe({ version: 5, packetId: 1, subscriptions: [{ filter }] }));
    const got = await client.next();
    if (got?.type === 'SUBACK') {
      assert.ok((got.reasonCodes[0] ?? 0) >= 0x80, `${filter} was granted`);
    } else if (got !== null) {
      assert.equal(got.type, 'DISCONNECT');
      assert.ok([0x81, 0x82, 0x8f].includes(got.reasonCode), `${filter}: ${got.reasonCode}`);
    }
    client.destroy();
  }
});

v5('[MQTT5-4.8.2-2] a shared subscription may have wildcards after its name', async (c) => {
  const client = await member(c, 1, `$share/gü 1/${c.topic('+/#')}`);
  await client.publish(c.topic('a/b'), 'x', { qos: 1 });
  await client.message({ topic: c.topic('a/b'), payload: 'x' });
  await client.expectNothing();
});

v5('[MQTT5-4.8.2-3] each member gets the QoS granted to it', async (c) => {
  const members = [await member(c, 0), await member(c, 2)];
  const publisher = await c.connect();
  for (let n = 0; n < 6; n++) await publisher.publish(c.topic(), `m${n}`, { qos: 2 });
  const [low = [], high = []] = await collect(members);
  assert.equal(low.length + high.length, 6);
  assert.ok(low.every((one) => one.qos === 0));
  assert.ok(high.every((one) => one.qos === 2));
});

v5(
  '[MQTT5-4.8.2-4] a QoS 2 delivery begun with a member is completed with it after its return',
  async (c) => {
    const clientId = c.id('m');
    const first = await c.durable({ clientId });
    const filter = `$share/g/${c.topic()}`;
    await first.subscribed(filter, { qos: 2 });
    const publisher = await c.connect();
    await publisher.publish(c.topic(), 'mine', { qos: 2 });
    const begun = await first.message({ payload: 'mine', qos: 2 }, { acknowledge: false });
    const other = await member(c, 2, filter);
    await first.drop();
    await other.expectNothing(300);
    const second = await c.durable({ clientId });
    await second.message({ payload: 'mine', packetId: begun.packetId, dup: true });
    await other.expectNothing();
  },
);

v5(
  '[MQTT5-4.8.2-5] a QoS 2 delivery begun with a member whose session ends goes to nobody else',
  async (c) => {
    const filter = `$share/g/${c.topic()}`;
    const first = await c.durable({}, 1);
    await first.subscribed(filter, { qos: 2 });
    const publisher = await c.connect();
    await publisher.publish(c.topic(), 'mine', { qos: 2 });
    await first.message({ payload: 'mine', qos: 2 }, { acknowledge: false });
    const other = await member(c, 2, filter);
    await first.drop();
    await sleep(2200);
    await other.expectNothing();
  },
);

v5('[MQTT5-4.8.2-6] a message refused by a member is not offered to another', async (c) => {
  const filter = `$share/g/${c.topic()}`;
  const first = await member(c, 2, filter);
  const publisher = await c.connect();
  await publisher.publish(c.topic(), 'one', { qos: 1 });
  const one = await first.message({ payload: 'one' }, { acknowledge: false });
  await publisher.publish(c.topic(), 'two', { qos: 2 });
  const two = await first.message({ payload: 'two' }, { acknowledge: false });
  const other = await member(c, 2, filter);
  first.send(ack('PUBACK', one.packetId, 0x80), ack('PUBREC', two.packetId, 0x83));
  await first.expectNothing();
  await first.disconnect();
  await other.expectNothing(300);
});

both('choice: QoS 1 messages a member left unacknowledged go to another member', async (c) => {
  const filter = `$share/g/${c.topic()}`;
  const first = await member(c, 1, filter);
  const publisher = await c.connect();
  await publisher.publish(c.topic(), 'orphan', { qos: 1 });
  await first.message({ payload: 'orphan' }, { acknowledge: false });
  const other = await member(c, 1, filter);
  await first.drop();
  await other.message({ payload: 'orphan' });
});

both('a shared subscription gets no retained messages when it is made', async (c) => {
  const publisher = await c.connect();
  await publisher.publish(c.topic(), 'stored', { retain: true, qos: 1 });
  const client = await member(c);
  await client.expectNothing();
  await publisher.publish(c.topic(), 'live', { qos: 1 });
  await client.message({ payload: 'live', retain: false });
  await publisher.publish(c.topic(), '', { retain: true });
});

v5('[MQTT5-3.3.4-3] a shared subscription has its subscription identifier', async (c) => {
  const client = await c.connect();
  await client.subscribed(`$share/g/${c.topic()}`, {
    properties: [['subscriptionIdentifier', 8]],
  });
  await client.publish(c.topic(), 'x');
  assert.deepEqual(propertyList(await client.message(), 'subscriptionIdentifier'), [8]);
});

v5(
  '[MQTT5-3.3.4-2] a shared and an ordinary subscription of one client both deliver',
  async (c) => {
    const client = await c.connect();
    await client.subscribed([`$share/g/${c.topic()}`, c.topic()]);
    await client.publish(c.topic(), 'x', { qos: 1 });
    await client.message({ payload: 'x' });
    await client.message({ payload: 'x' });
    await client.expectNothing();
  },
);

both('choice: members of a group take turns', async (c) => {
  const members = [await member(c), await member(c), await member(c)];
  const publisher = await c.connect();
  for (let n = 0; n < 9; n++) await publisher.publish(c.topic(), `m${n}`, { qos: 1 });
  const got = await collect(members);
  assert.deepEqual(
    got.map((list) => list.length),
    [3, 3, 3],
  );
});

both('a shared subscription without members online keeps QoS 1 for a durable one', async (c) => {
  const clientId = c.id('m');
  const first = await c.durable({ clientId });
  await first.subscribed(`$share/g/${c.topic()}`, { qos: 1 });
  await first.disconnect();
  const publisher = await c.connect();
  await publisher.publish(c.topic(), 'waits', { qos: 1 });
  const second = await c.durable({ clientId });
  await second.message({ payload: 'waits', qos: 1 });
  await second.expectNothing();
});

await run();
