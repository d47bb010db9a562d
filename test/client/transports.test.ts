// The client and a real broker over every transport that needs no certificate, in every version.
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Client } from '../../src/client/client.ts';
import { startBroker, type TestBroker } from './broker.ts';

let broker: TestBroker;
const folder = mkdtempSync(join(tmpdir(), 'causeway-client-'));

t.before(async () => {
  broker = await startBroker([
    'mqtt://127.0.0.1:0',
    'ws://127.0.0.1:0/mqtt',
    `unix:${join(folder, 'mqtt.sock')}`,
  ]);
});

t.teardown(async () => {
  await broker.stop();
  rmSync(folder, { recursive: true, force: true });
});

const COUNT = 15;

for (const index of [0, 1, 2]) {
  for (const version of [3, 4, 5] as const) {
    t.test(`listener ${index}, protocol version ${version}`, async (t) => {
      const url = broker.urls[index]!;
      const topic = `client/${randomBytes(6).toString('hex')}`;
      for (const qos of [0, 1, 2] as const) {
        const got: string[] = [];
        const all = Promise.withResolvers<void>();
        const client = new Client({
          url,
          version,
          onMessage: (message) => {
            got.push(`${message.qos} ${message.topic} ${message.payload}`);
            if (got.length === COUNT) all.resolve();
          },
        });
        t.teardown(() => client.destroy());
        await client.connect();
        const [answer] = await client.subscribe([{ filter: `${topic}/+`, qos: 2 }]);
        t.equal(answer?.reasonCode, 2);
        const wanted: string[] = [];
        for (let i = 0; i < COUNT; i++) {
          wanted.push(`${qos} ${topic}/x message ${i}`);
          await client.publish(`${topic}/x`, `message ${i}`, { qos });
        }
        await all.promise;
        t.strictSame(got, wanted, `QoS ${qos}`);
        t.strictSame(await client.unsubscribe(`${topic}/+`), [
          { filter: `${topic}/+`, reasonCode: 0, error: null },
        ]);
        await client.disconnect();
        t.equal(await client.closed, null);
      }
    });
  }
}

t.test('a large message in both directions', async (t) => {
  for (const url of broker.urls) {
    const payload = randomBytes(900_000);
    const received = Promise.withResolvers<Buffer>();
    const client = new Client({ url, onMessage: (message) => received.resolve(message.payload) });
    t.teardown(() => client.destroy());
    await client.connect();
    const topic = `large/${randomBytes(6).toString('hex')}`;
    await client.subscribe(topic);
    await client.publish(topic, payload, { qos: 1 });
    t.ok((await received.promise).equals(payload));
    await client.disconnect();
  }
});

t.test('a session is resumed: what was published meanwhile comes', async (t) => {
  const clientId = `resume-${randomBytes(6).toString('hex')}`;
  const properties = { sessionExpiryIntervalS: 60 };
  const first = new Client({ url: broker.url, clientId, properties });
  await first.connect();
  await first.subscribe([{ filter: `${clientId}/#`, qos: 2 }]);
  await first.disconnect();
  const publisher = new Client({ url: broker.url });
  await publisher.connect();
  for (const qos of [1, 2] as const) await publisher.publish(`${clientId}/a`, `q${qos}`, { qos });
  await publisher.disconnect();
  const got: string[] = [];
  const both = Promise.withResolvers<void>();
  const second = new Client({
    url: broker.url,
    clientId,
    cleanStart: false,
    properties,
    onMessage: (message) => {
      got.push(message.payload.toString());
      if (got.length === 2) both.resolve();
    },
  });
  t.teardown(() => second.destroy());
  const connack = await second.connect();
  t.equal(connack.sessionPresent, true);
  await both.promise;
  t.strictSame(got, ['q1', 'q2']);
  await second.disconnect({ sessionExpiryIntervalS: 0 });
});

t.test('the will comes after a broken connection and not after a clean end', async (t) => {
  const topic = `will/${randomBytes(6).toString('hex')}`;
  const got: string[] = [];
  const came = Promise.withResolvers<void>();
  const watcher = new Client({
    url: broker.url,
    onMessage: (message) => {
      got.push(message.payload.toString());
      came.resolve();
    },
  });
  t.teardown(() => watcher.destroy());
  await watcher.connect();
  await watcher.subscribe(topic);
  for (const [payload, end] of [
    ['clean', 'disconnect'],
    ['broken', 'destroy'],
  ] as const) {
    const will = { topic, payload: Buffer.from(payload) };
    const client = new Client({ url: broker.url, will });
    await client.connect();
    await client[end]();
  }
  await came.promise;
  t.strictSame(got, ['broken']);
  await watcher.disconnect();
});
