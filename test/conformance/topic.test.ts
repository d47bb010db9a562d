/** Topic names and filters: wildcards, $-topics, and no normalisation (4.7). */
import assert from 'node:assert/strict';
import { both, every, run } from './harness.ts';
import { subscribe } from './packets.ts';

/** Filter, topics it matches, topics it does not; all below a prefix of the case. */
const MATCHES: readonly (readonly [string, readonly string[], readonly string[]])[] = [
  ['a/b', ['a/b'], ['a', 'a/b/', 'a/b/c', 'A/b', 'a//b', '/a/b']],
  ['a/#', ['a', 'a/', 'a/b', 'a/b/c', 'a//'], ['ab', 'b/a', '/a']],
  ['a/+', ['a/b', 'a/'], ['a', 'a/b/c', 'a//']],
  ['+/b', ['a/b', '/b'], ['b', 'a/b/c', 'a//b']],
  ['+/+', ['a/b', '/', 'a/'], ['a', 'a/b/c']],
  ['a/+/c', ['a/b/c', 'a//c'], ['a/c', 'a/b/b/c']],
  ['a/+/#', ['a/b', 'a/b/c', 'a/', 'a//'], ['a']],
  ['+/+/#', ['a/b', 'a/b/c', '/'], ['a']],
  ['a//b', ['a//b'], ['a/b', 'a/x/b']],
  ['/', ['/'], ['', 'a', '//']],
  ['a b/ü', ['a b/ü'], ['a b/u', 'ab/ü']],
];

every(
  '[MQTT5-4.7.1-1] [MQTT5-4.7.1-2] [MQTT5-3.3.2-3] [MQTT311-4.7.1-2] [MQTT311-4.7.1-3] [MQTT311-3.3.2-3] wildcards match as they should',
  async (c) => {
    const publisher = await c.connect();
    for (const [n, [filter, matching, others]] of MATCHES.entries()) {
      const client = await c.connect();
      const below = (topic: string): string => `${c.topic(`${n}`)}/${topic}`;
      await client.subscribed(below(filter));
      for (const topic of others) publisher.sendPublish(below(topic), 'no');
      for (const topic of matching) publisher.sendPublish(below(topic), topic);
      await publisher.ping();
      for (const topic of matching) {
        await client.message({ topic: below(topic), payload: topic });
      }
      await client.expectNothing(30);
    }
  },
);

both(
  '[MQTT5-4.7.1-1] [MQTT5-4.7.1-2] [MQTT311-4.7.1-2] [MQTT311-4.7.1-3] misplaced wildcards are refused',
  async (c) => {
    for (const filter of ['a/#/b', 'a#', '#a', 'a/b#', 'a+', '+a', 'a/+b/c', '##', '++', '#/']) {
      const client = await c.connect();
      const subscriptions = [{ filter: `${c.topic()}/${filter}` }];
      client.send(subscribe({ version: c.version, packetId: 1, subscriptions }));
      const got = await client.next();
      // Refused by SUBACK, or as malformed with the connection.
      if (got?.type === 'SUBACK') {
        assert.ok([0x80, 0x8f].includes(got.reasonCodes[0] ?? 0), `${filter} was granted`);
      } else if (got !== null) {
        assert.equal(got.type, 'DISCONNECT');
        assert.ok([0x81, 0x82, 0x8f].includes(got.reasonCode), `${filter}: ${got.reasonCode}`);
      }
      client.destroy();
    }
  },
);

both('[MQTT5-4.7.3-1] [MQTT311-4.7.3-1] an empty topic filter is refused', async (c) => {
  const client = await c.connect();
  client.send(subscribe({ version: c.version, packetId: 1, subscriptions: [{ filter: '' }] }));
  const got = await client.next();
  if (got?.type === 'SUBACK') assert.ok((got.reasonCodes[0] ?? 0) >= 0x80);
  else if (got !== null) assert.ok([0x81, 0x82, 0x8f].includes(got.reasonCode));
});

both('[MQTT5-4.7.3-2] [MQTT311-4.7.3-2] U+0000 in a topic name is refused', async (c) => {
  const client = await c.connect();
  client.sendPublish(Buffer.from(`${c.topic()}\0x`), 'no');
  await client.expectError(0x81, 0x82, 0x90);
});

both(
  '[MQTT5-4.7.2-1] [MQTT311-4.7.2-1] a filter that starts with a wildcard does not match $-topics',
  async (c) => {
    // $SYS topics are the server's own: there are some, and a subscriber of # does not see them.
    const other = await c.connect();
    await other.subscribed('$SYS/#');
    const sys = await other.expect('PUBLISH', {}, 15_000);
    assert.ok(sys.topic.startsWith('$SYS/'));
    const client = await c.connect();
    await client.subscribed(['#', '+/#', `+/${sys.topic.slice('$SYS/'.length)}`]);
    const end = performance.now() + 1500;
    for (;;) {
      const got = await client.next(Math.max(1, end - performance.now()));
      if (got === null) break;
      if (got.type === 'PUBLISH') assert.ok(!got.topic.startsWith('$'), got.topic);
    }
  },
);

both(
  '[MQTT5-4.7.3-3] [MQTT311-4.7.3-3] the server keeps its topic length within 65,535 bytes and says so for longer than it takes',
  async (c) => {
    const client = await c.connect();
    await client.subscribed(c.topic('#'));
    for (const size of [1000, 65_535]) {
      const topic = c.topic('').padEnd(size, 'x');
      const packetId = client.sendPublish(topic, 'long', { qos: 1 });
      const got = await client.next();
      if (got === null || got.type === 'DISCONNECT') break;
      if (got.type === 'PUBLISH') {
        assert.equal(got.topic.length, size);
        await client.waitFor('PUBACK', { packetId });
      } else if (got.type === 'PUBACK' && got.reasonCode < 0x80) {
        await client.message({ topic });
      }
    }
  },
);

both(
  '[MQTT5-4.7.3-4] [MQTT311-4.7.3-4] topics are compared as they are: no case folding, no normalisation, no trimming',
  async (c) => {
    const client = await c.connect();
    const composed = c.topic('\u00e9');
    await client.subscribed(composed, { qos: 1 });
    for (const suffix of ['e\u0301', '\u00c9', '\u00e9 ', ' \u00e9', '\u00e9/', '%C3%A9']) {
      await client.publish(c.topic(suffix), 'no', { qos: 1 });
    }
    await client.expectNothing();
    await client.publish(composed, 'yes', { qos: 1 });
    await client.message({ topic: composed, payload: 'yes' });
    // Control and non-characters may be refused (1.5.4); where taken, they stay as they are.
    const odd = c.topic('\u{10ffff}\ufdd0\u0001\u007f//../.');
    client.send(subscribe({ version: c.version, packetId: 9, subscriptions: [{ filter: odd }] }));
    const got = await client.next();
    if (got?.type !== 'SUBACK' || (got.reasonCodes[0] ?? 0x80) >= 0x80) return;
    await client.publish(odd, 'odd', { qos: 1 });
    await client.message({ topic: odd });
  },
);

both(
  '[MQTT5-1.5.4-3] [MQTT311-1.5.3-3] a byte order mark in a topic is a character like others',
  async (c) => {
    const client = await c.connect();
    const marked = `\ufeff${c.topic()}`;
    await client.subscribed([marked, c.topic()], { qos: 1 });
    await client.publish(marked, 'marked', { qos: 1 });
    const got = await client.message({ topic: marked, payload: 'marked' });
    assert.equal(got.topic.charCodeAt(0), 0xfeff);
    await client.expectNothing();
  },
);

await run();
