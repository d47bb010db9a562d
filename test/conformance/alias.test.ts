/** Topic aliases in both directions (3.3.2.3.4, 3.1.2.11.5). */
import assert from 'node:assert/strict';
import type { Client } from './client.ts';
import { type CaseContext, NotHere, run, v5 } from './harness.ts';
import { property, type ReadPacket } from './reader.ts';

/** The greatest alias this server takes. */
function aliasMaximum(client: Client): number {
  const maximum = Number(property(client.connack, 'topicAliasMaximum') ?? 0);
  if (maximum === 0) throw new NotHere('the server takes no topic aliases');
  return maximum;
}

/** Resolves the aliases of one connection as a client must. */
class Aliases {
  readonly #topics = new Map<number, string>();
  uses = 0;
  greatest = 0;

  topicOf(got: ReadPacket): string {
    const alias = property(got, 'topicAlias');
    if (typeof alias !== 'number') return got.topic;
    assert.ok(alias > 0, 'topic alias 0');
    this.greatest = Math.max(this.greatest, alias);
    if (got.topic !== '') this.#topics.set(alias, got.topic);
    else this.uses++;
    const topic = this.#topics.get(alias);
    assert.ok(topic !== undefined, `alias ${alias} without a topic`);
    return topic;
  }
}

async function watcher(c: CaseContext): Promise<Client> {
  const client = await c.connect();
  await client.subscribed(c.topic('#'), { qos: 1 });
  return client;
}

v5(
  '[MQTT5-3.3.2-12] [MQTT5-3.3.2-10] every alias up to the maximum of the server works',
  async (c) => {
    const reader = await watcher(c);
    const client = await c.connect();
    const maximum = aliasMaximum(client);
    for (const alias of new Set([1, Math.ceil(maximum / 2), maximum])) {
      await client.publish(c.topic(`a${alias}`), 'set', { properties: [['topicAlias', alias]] });
      await reader.message({ topic: c.topic(`a${alias}`), payload: 'set' });
      await client.publish('', 'used', { qos: 1, properties: [['topicAlias', alias]] });
      const got = await reader.message({ topic: c.topic(`a${alias}`), payload: 'used' });
      // A publisher's alias is no business of the subscriber.
      assert.equal(property(got, 'topicAlias'), undefined);
    }
  },
);

v5('[MQTT5-3.3.2-12] an alias may be given another topic', async (c) => {
  const reader = await watcher(c);
  const client = await c.connect();
  aliasMaximum(client);
  for (const suffix of ['a', 'b']) {
    await client.publish(c.topic(suffix), 'set', { properties: [['topicAlias', 1]] });
    await reader.message({ topic: c.topic(suffix) });
    await client.publish('', 'used', { properties: [['topicAlias', 1]] });
    await reader.message({ topic: c.topic(suffix), payload: 'used' });
  }
});

v5('[MQTT5-3.3.2-8] topic alias 0 is refused', async (c) => {
  const client = await c.connect();
  client.sendPublish(c.topic(), 'x', { properties: [['topicAlias', 0]] });
  await client.expectError(0x94, 0x82, 0x81);
});

v5(
  '[MQTT5-3.3.2-9] [MQTT5-3.2.2-17] [MQTT5-3.2.2-18] a topic alias above the maximum is refused with 0x94',
  async (c) => {
    const client = await c.connect();
    const maximum = Number(property(client.connack, 'topicAliasMaximum') ?? 0);
    if (maximum === 65_535) throw new NotHere('no alias is above the maximum');
    client.sendPublish(c.topic(), 'x', { properties: [['topicAlias', maximum + 1]] });
    await client.expectError(0x94);
  },
);

v5('[MQTT5-4.13.1-1] an alias nobody set is a protocol error', async (c) => {
  const client = await c.connect();
  aliasMaximum(client);
  client.sendPublish('', 'x', { qos: 1, properties: [['topicAlias', 1]] });
  await client.expectError(0x82);
});

v5(
  '[MQTT5-4.13.1-1] an empty topic without an alias, and two aliases, are protocol errors',
  async (c) => {
    const empty = await c.connect();
    empty.sendPublish('', 'x', { qos: 1 });
    await empty.expectError(0x82);
    const twice = await c.connect();
    twice.sendPublish(c.topic(), 'x', {
      properties: [
        ['topicAlias', 1],
        ['topicAlias', 1],
      ],
    });
    await twice.expectError(0x82, 0x81);
  },
);

v5('[MQTT5-3.3.2-7] aliases of a client end with its connection', async (c) => {
  const clientId = c.id();
  const first = await c.durable({ clientId });
  aliasMaximum(first);
  await first.publish(c.topic(), 'set', { properties: [['topicAlias', 1]] });
  await first.disconnect();
  const second = await c.durable({ clientId });
  second.sendPublish('', 'x', { properties: [['topicAlias', 1]] });
  await second.expectError(0x82);
});

v5('[MQTT5-3.1.2-27] the server sends no alias to a client that takes none', async (c) => {
  for (const properties of [[], [['topicAliasMaximum', 0]]] as const) {
    const client = await c.connect({ properties });
    await client.subscribed(c.topic());
    for (let n = 0; n < 3; n++) {
      await client.publish(c.topic(), `m${n}`);
      const got = await client.message({ topic: c.topic(), payload: `m${n}` });
      assert.equal(property(got, 'topicAlias'), undefined);
    }
  }
});

v5(
  '[MQTT5-3.1.2-26] [MQTT5-3.3.2-11] [MQTT5-3.3.2-8] aliases of the server stay within the maximum of the client and resolve to the right topics',
  async (c) => {
    const client = await c.connect({ properties: [['topicAliasMaximum', 2]] });
    await client.subscribed(c.topic('#'), { qos: 1 });
    const publisher = await c.connect();
    const aliases = new Aliases();
    for (let round = 0; round < 4; round++) {
      for (const suffix of ['a', 'b', 'c', 'd']) {
        await publisher.publish(c.topic(suffix), suffix, { qos: round % 2 });
        const got = await client.message({ payload: suffix });
        assert.equal(aliases.topicOf(got), c.topic(suffix));
      }
    }
    assert.ok(aliases.greatest <= 2);
  },
);

v5('choice: the server uses aliases towards a client that takes them', async (c) => {
  const client = await c.connect({ properties: [['topicAliasMaximum', 5]] });
  await client.subscribed(c.topic());
  const aliases = new Aliases();
  for (let n = 0; n < 4; n++) {
    await client.publish(c.topic(), `m${n}`);
    assert.equal(aliases.topicOf(await client.message({ payload: `m${n}` })), c.topic());
  }
  assert.ok(aliases.uses > 0);
});

v5('[MQTT5-3.3.2-7] after a reconnect the server names topics anew', async (c) => {
  const clientId = c.id();
  const properties = [['topicAliasMaximum', 5]] as const;
  const first = await c.durable({ clientId, properties });
  await first.subscribed(c.topic(), { qos: 1 });
  const publisher = await c.connect();
  const before = new Aliases();
  for (let n = 0; n < 3; n++) {
    await publisher.publish(c.topic(), `m${n}`, { qos: 1 });
    const got = await first.message({ payload: `m${n}` }, { acknowledge: n < 2 });
    assert.equal(before.topicOf(got), c.topic());
  }
  await first.ping();
  await first.drop();
  await publisher.publish(c.topic(), 'queued', { qos: 1 });
  const second = await c.durable({ clientId, properties });
  const after = new Aliases();
  for (const payload of ['m2', 'queued']) {
    assert.equal(after.topicOf(await second.message({ payload })), c.topic());
  }
  await second.drop();
  const third = await c.durable({ clientId });
  await publisher.publish(c.topic(), 'plain', { qos: 1 });
  const plain = await third.message({ topic: c.topic(), payload: 'plain' });
  assert.equal(property(plain, 'topicAlias'), undefined);
});

await run();
