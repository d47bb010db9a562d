/** Will messages: when they are published, when not, and how they look (3.1.2.5, 3.1.3.2). */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from './client.ts';
import { both, type CaseContext, type ConnectOptions, every, run, v5 } from './harness.ts';
import type { Property, WillFields } from './packets.ts';
import { connect, packet } from './packets.ts';
import { property, propertyList } from './reader.ts';

async function watch(c: CaseContext, qos = 0): Promise<Client> {
  const watcher = await c.connect();
  await watcher.subscribed(c.topic('will'), { qos });
  return watcher;
}

function mortal(
  c: CaseContext,
  will: Partial<WillFields> = {},
  options: ConnectOptions = {},
): Promise<Client> {
  return c.connect({ will: { topic: c.topic('will'), payload: 'gone', ...will }, ...options });
}

every(
  '[MQTT5-3.1.2-7] [MQTT5-3.1.2-8] [MQTT311-3.1.2-8] the will is published when the connection is cut',
  async (c) => {
    const watcher = await watch(c);
    const client = await mortal(c);
    await watcher.expectNothing();
    await client.drop();
    await watcher.message({ topic: c.topic('will'), payload: 'gone', qos: 0, retain: false });
    await watcher.expectNothing();
  },
);

both(
  '[MQTT5-3.1.2-10] [MQTT5-3.14.4-3] [MQTT311-3.1.2-10] [MQTT311-3.14.4-3] DISCONNECT deletes the will',
  async (c) => {
    const watcher = await watch(c);
    const client = await mortal(c);
    await client.disconnect();
    if (c.isV5) await (await mortal(c)).disconnect(0);
    await watcher.expectNothing(400);
  },
);

both('[MQTT5-3.1.2-10] [MQTT311-3.1.2-10] a will is published once', async (c) => {
  const watcher = await watch(c);
  const clientId = c.id();
  const client = await c.durable({ clientId, will: { topic: c.topic('will'), payload: 'gone' } });
  await client.drop();
  await watcher.message({ payload: 'gone' });
  const again = await c.durable({ clientId });
  await again.drop();
  await watcher.expectNothing(300);
});

both('[MQTT311-3.1.2-12] [MQTT5-3.1.2-7] without a will nothing is published', async (c) => {
  const watcher = await watch(c);
  const client = await c.connect();
  await client.drop();
  await watcher.expectNothing(300);
});

both(
  '[MQTT5-3.1.2-8] [MQTT311-3.1.2-8] the will is published when the keep alive runs out',
  async (c) => {
    const watcher = await watch(c);
    await mortal(c, {}, { keepAliveSec: 1 });
    await watcher.message({ payload: 'gone' }, { timeoutMs: 4500 });
  },
);

both(
  '[MQTT5-3.1.2-8] [MQTT311-3.1.2-8] the will is published after a protocol error',
  async (c) => {
    const watcher = await watch(c);
    const client = await mortal(c);
    client.send(packet(0x36));
    await client.closedAfter(['DISCONNECT']);
    await watcher.message({ payload: 'gone' });
  },
);

both(
  '[MQTT5-3.1.2-8] [MQTT311-3.1.2-8] the will is published when another connection takes over',
  async (c) => {
    const watcher = await watch(c);
    const clientId = c.id();
    await mortal(c, {}, { clientId });
    await c.connect({ clientId });
    await watcher.message({ payload: 'gone' });
  },
);

v5('[MQTT5-3.1.2-8] [MQTT5-3.14.2-1] DISCONNECT 0x04 publishes the will', async (c) => {
  const watcher = await watch(c);
  const client = await mortal(c);
  await client.disconnect(4);
  await watcher.message({ payload: 'gone' });
});

v5('[MQTT5-3.1.2-8] a DISCONNECT with an error code publishes the will', async (c) => {
  const watcher = await watch(c);
  const client = await mortal(c);
  await client.disconnect(0x81);
  await watcher.message({ payload: 'gone' });
});

both('[MQTT5-3.1.2-12] [MQTT311-3.1.2-14] a will has the QoS it was given', async (c) => {
  const watcher = await watch(c, 2);
  for (const qos of [0, 1, 2]) {
    const client = await mortal(c, { qos, payload: `will ${qos}` });
    await client.drop();
    await watcher.message({ payload: `will ${qos}`, qos });
  }
});

both('[MQTT5-3.1.2-14] [MQTT311-3.1.2-16] a will without retain is not retained', async (c) => {
  const watcher = await watch(c);
  const client = await mortal(c, { retain: false });
  await client.drop();
  await watcher.message({ retain: false });
  const late = await c.connect();
  await late.subscribed(c.topic('will'));
  await late.expectNothing();
});

both('[MQTT5-3.1.2-15] [MQTT311-3.1.2-17] a will with retain is retained', async (c) => {
  const client = await mortal(c, { retain: true, qos: 1 });
  const watcher = await watch(c);
  await client.drop();
  await watcher.message({ payload: 'gone' });
  const late = await c.connect();
  await late.subscribed(c.topic('will'), { qos: 1 });
  await late.message({ payload: 'gone', retain: true, qos: 1 });
  await late.publish(c.topic('will'), '', { retain: true });
});

both('[MQTT5-3.1.2-9] a will may have an empty payload', async (c) => {
  const watcher = await watch(c);
  const client = await mortal(c, { payload: '' });
  await client.drop();
  await watcher.message({ topic: c.topic('will'), payload: '' });
});

v5('[MQTT5-3.1.2-8] a will waits for its delay', async (c) => {
  const watcher = await watch(c);
  const client = await c.durable({
    will: { topic: c.topic('will'), payload: 'gone', properties: [['willDelayInterval', 2]] },
  });
  await client.drop();
  await watcher.expectSilence(1500);
  await watcher.message({ payload: 'gone' }, { timeoutMs: 3000 });
});

v5(
  '[MQTT5-3.1.3-9] [MQTT5-3.1.2-8] coming back within the will delay keeps the will unpublished',
  async (c) => {
    const watcher = await watch(c);
    const clientId = c.id();
    const client = await c.durable({
      clientId,
      will: { topic: c.topic('will'), payload: 'gone', properties: [['willDelayInterval', 1]] },
    });
    await client.drop();
    const back = await c.durable({ clientId });
    assert.equal(back.connack.sessionPresent, true);
    await watcher.expectNothing(2300);
  },
);

v5(
  '[MQTT5-3.1.2-8] the end of the session publishes a will before its delay is over',
  async (c) => {
    const watcher = await watch(c);
    const delayed = [['willDelayInterval', 30]] as const;
    const will = { topic: c.topic('will'), payload: 'gone', properties: delayed };
    // No expiry: the session ends with the connection.
    const short = await c.connect({ will });
    await short.drop();
    await watcher.message({ payload: 'gone' });
    const expiring = await c.durable({ will: { ...will, payload: 'expired' } }, 1);
    await expiring.drop();
    await watcher.message({ payload: 'expired' }, { timeoutMs: 4000 });
  },
);

v5(
  '[MQTT5-3.1.2-8] clean start ends the old session and so publishes its delayed will',
  async (c) => {
    const watcher = await watch(c);
    const clientId = c.id();
    const client = await c.durable({
      clientId,
      will: { topic: c.topic('will'), payload: 'gone', properties: [['willDelayInterval', 30]] },
    });
    await client.drop();
    await c.connect({ clientId, clean: true });
    await watcher.message({ payload: 'gone' });
  },
);

v5('[MQTT5-3.1.3-10] [MQTT5-3.3.2-18] user properties of a will keep their order', async (c) => {
  const watcher = await watch(c);
  const list: Property[] = [
    ['userProperty', ['b', '2']],
    ['userProperty', ['a', '1']],
    ['userProperty', ['b', '1']],
  ];
  const client = await mortal(c, { properties: list });
  await client.drop();
  const got = await watcher.message();
  assert.deepEqual(
    propertyList(got, 'userProperty'),
    list.map(([, value]) => value),
  );
});

v5(
  '[MQTT5-3.3.2-4] [MQTT5-3.3.2-15] [MQTT5-3.3.2-16] [MQTT5-3.3.2-20] the properties of a will reach the subscriber',
  async (c) => {
    const watcher = await watch(c);
    const client = await mortal(c, {
      properties: [
        ['payloadFormatIndicator', 1],
        ['messageExpiryInterval', 100],
        ['contentType', 'text/plain'],
        ['responseTopic', 'answer/here'],
        ['correlationData', Buffer.from([1, 0, 255])],
      ],
    });
    await client.drop();
    const got = await watcher.message({
      properties: {
        payloadFormatIndicator: 1,
        contentType: 'text/plain',
        responseTopic: 'answer/here',
        correlationData: Buffer.from([1, 0, 255]),
        willDelayInterval: undefined,
      },
    });
    const expirySec = Number(property(got, 'messageExpiryInterval'));
    assert.ok(expirySec <= 100 && expirySec > 95);
  },
);

both('[MQTT5-3.3.2-2] [MQTT311-3.3.2-2] a will topic must not have wildcards', async (c) => {
  for (const topic of [`${c.topic('a')}/#`, `${c.topic('a')}/+/b`]) {
    const client = await c.open();
    client.send(connect(c.fields(client, { will: { topic } })));
    if (c.isV5) await client.expectRefusal(0x81, 0x82, 0x90);
    else await client.closedAfter(['CONNACK']);
  }
});

v5(
  '[MQTT5-3.1.2-8] a delayed will with a session that lives on is published when due, though nobody is connected',
  async (c) => {
    const client = await c.durable({
      will: {
        topic: c.topic('will'),
        payload: 'gone',
        retain: true,
        properties: [['willDelayInterval', 1]],
      },
    });
    await client.drop();
    await sleep(2400);
    const late = await c.connect();
    await late.subscribed(c.topic('will'));
    await late.message({ payload: 'gone', retain: true });
    await late.publish(c.topic('will'), '', { retain: true });
  },
);

both('choice: a will to a $-topic is refused, in MQTT 5 with 0x87', async (c) => {
  const client = await c.open();
  client.send(connect(c.fields(client, { will: { topic: `$SYS/${c.prefix}` } })));
  // 3.1.1 has a return code of its own for this: 0x05, not authorised.
  await client.expect('CONNACK', { reasonCode: c.isV5 ? 0x87 : 5, sessionPresent: false });
  await client.expectClose();
});

both(
  '[MQTT5-3.1.2-8] [MQTT5-4.5.0-1] [MQTT311-3.1.2-8] [MQTT311-4.5.0-1] a will waits in the queue of an absent session',
  async (c) => {
    const clientId = c.id('w');
    const watcher = await c.durable({ clientId });
    await watcher.subscribed(c.topic('will'), { qos: 2 });
    await watcher.disconnect();
    const client = await mortal(c, { qos: 2 });
    await client.drop();
    const back = await c.durable({ clientId });
    await back.message({ payload: 'gone', qos: 2 });
    await back.expectNothing();
  },
);

v5('[MQTT5-3.1.2-8] a new will replaces the old one of a taken over connection', async (c) => {
  const watcher = await watch(c);
  const clientId = c.id();
  const delayed = [['willDelayInterval', 20]] as const;
  const will = (payload: string): WillFields => ({
    topic: c.topic('will'),
    payload,
    properties: delayed,
  });
  const first = await c.durable({ clientId, will: will('first') });
  await first.drop();
  const second = await c.durable({ clientId, will: will('second') }, 1);
  await watcher.expectNothing();
  await second.drop();
  await watcher.message({ payload: 'second' }, { timeoutMs: 4000 });
  await watcher.expectNothing();
});

await run();
