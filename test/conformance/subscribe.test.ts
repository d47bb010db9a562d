/** SUBSCRIBE and SUBACK: options, replacing, overlapping, identifiers (3.8, 3.9). */
import assert from 'node:assert/strict';
import { both, every, run, v5, v311 } from './harness.ts';
import { connect, packet, prefixed, properties, subscribe, u16 } from './packets.ts';
import { propertyList } from './reader.ts';

const ILL_FORMED = Buffer.from([0x61, 0xff, 0x62]);

every(
  '[MQTT5-3.8.4-1] [MQTT5-3.8.4-2] [MQTT5-2.2.1-6] [MQTT311-3.8.4-1] [MQTT311-3.8.4-2] [MQTT311-2.3.1-7] SUBACK answers SUBSCRIBE with its identifier',
  async (c) => {
    const client = await c.connect();
    for (const packetId of [1, 255, 256, 65535]) {
      client.send(
        subscribe({ version: c.version, packetId, subscriptions: [{ filter: c.topic() }] }),
      );
      await client.expect('SUBACK', { packetId, reasonCodes: [0] });
    }
  },
);

both('[MQTT5-3.8.1-1] [MQTT311-3.8.1-1] reserved flags of SUBSCRIBE must be 0010', async (c) => {
  for (const firstByte of [0x80, 0x83, 0x8a]) {
    const client = await c.connect();
    const subscriptions = [{ filter: c.topic() }];
    client.send(subscribe({ version: c.version, packetId: 1, subscriptions, firstByte }));
    await client.expectError(0x81);
  }
});

both('[MQTT5-3.8.3-1] [MQTT311-3.8.3-1] topic filters must be UTF-8', async (c) => {
  for (const filter of [ILL_FORMED, Buffer.from('a\0b'), Buffer.from([0xed, 0xa0, 0x80])]) {
    const client = await c.connect();
    client.send(subscribe({ version: c.version, packetId: 1, subscriptions: [{ filter }] }));
    await client.expectError(0x81, 0x82, 0x8f);
  }
});

both(
  '[MQTT5-3.8.3-2] [MQTT311-3.8.3-3] a SUBSCRIBE without a filter is a protocol error',
  async (c) => {
    const client = await c.connect();
    client.send(subscribe({ version: c.version, packetId: 1, subscriptions: [] }));
    await client.expectError(0x82, 0x81);
  },
);

both(
  '[MQTT5-3.8.3-2] [MQTT311-4.8.0-1] a filter without its options byte is malformed',
  async (c) => {
    const client = await c.connect();
    const props = c.isV5 ? [properties()] : [];
    client.send(packet(0x82, u16(1), ...props, prefixed(c.topic())));
    await client.expectError(0x81, 0x82);
  },
);

v5('[MQTT5-3.8.3-5] reserved bits of the subscription options must be 0', async (c) => {
  for (const options of [0x40, 0x80, 0xc1]) {
    const client = await c.connect();
    const subscriptions = [{ filter: c.topic(), options }];
    client.send(subscribe({ version: 5, packetId: 1, subscriptions }));
    await client.expectError(0x81);
  }
});

v311(
  '[MQTT311-3.8.3-4] reserved bits of the requested QoS must be 0, and the QoS 0 to 2',
  async (c) => {
    for (const options of [0x03, 0x04, 0x10, 0x80]) {
      const client = await c.connect();
      const subscriptions = [{ filter: c.topic(), options }];
      client.send(subscribe({ version: 4, packetId: 1, subscriptions }));
      await client.expectClose();
    }
  },
);

v5('[MQTT5-4.13.1-1] maximum QoS 3 and retain handling 3 are protocol errors', async (c) => {
  for (const options of [0x03, 0x30]) {
    const client = await c.connect();
    const subscriptions = [{ filter: c.topic(), options }];
    client.send(subscribe({ version: 5, packetId: 1, subscriptions }));
    await client.expectError(0x82, 0x81);
  }
});

both('[MQTT5-2.2.1-3] [MQTT311-2.3.1-1] packet identifier 0 in SUBSCRIBE is refused', async (c) => {
  const client = await c.connect();
  const subscriptions = [{ filter: c.topic() }];
  client.send(subscribe({ version: c.version, packetId: 0, subscriptions }));
  await client.expectError(0x81, 0x82);
});

v5('[MQTT5-3.8.3-3] no local keeps messages from the connection that published them', async (c) => {
  const client = await c.connect();
  const other = await c.connect();
  await client.subscribed(c.topic(), { noLocal: true, qos: 1 });
  await client.publish(c.topic(), 'own', { qos: 1 });
  await client.expectNothing();
  await other.publish(c.topic(), 'of another', { qos: 1 });
  await client.message({ payload: 'of another' });
  await client.subscribed(c.topic(), { noLocal: false, qos: 1 });
  await client.publish(c.topic(), 'own again', { qos: 1 });
  await client.message({ payload: 'own again' });
});

v5('[MQTT5-3.8.3-3] no local goes by the client id, over a reconnect too', async (c) => {
  const clientId = c.id();
  const first = await c.durable({ clientId });
  await first.subscribed(c.topic(), { noLocal: true, qos: 1 });
  await first.disconnect();
  const second = await c.durable({ clientId });
  await second.publish(c.topic(), 'own', { qos: 1 });
  await second.expectNothing();
});

v5(
  '[MQTT5-3.8.3-3] no local of one subscription does not silence an overlapping one',
  async (c) => {
    const client = await c.connect();
    await client.subscribed(c.topic('#'), { noLocal: true, qos: 1 });
    await client.subscribed(c.topic('+'), { qos: 1 });
    await client.publish(c.topic('t'), 'own', { qos: 1 });
    await client.message({ payload: 'own' });
    await client.expectNothing();
  },
);

v5('[MQTT5-3.8.3-4] no local on a shared subscription is a protocol error', async (c) => {
  const client = await c.connect();
  const subscriptions = [{ filter: `$share/g/${c.topic()}`, noLocal: true }];
  client.send(subscribe({ version: 5, packetId: 1, subscriptions }));
  await client.expectError(0x82);
});

both(
  '[MQTT5-3.8.4-3] [MQTT5-3.8.4-4] [MQTT311-3.8.4-3] subscribing again replaces the subscription and loses nothing',
  async (c) => {
    const client = await c.connect();
    const publisher = await c.connect();
    await client.subscribed(c.topic(), { qos: 0 });
    await client.publish(c.topic(), 'at 0', { qos: 2 });
    await client.message({ payload: 'at 0', qos: 0 });
    await client.subscribed(c.topic(), { qos: 2 });
    await client.publish(c.topic(), 'at 2', { qos: 2 });
    await client.message({ payload: 'at 2', qos: 2 });
    await client.expectNothing();
    // Replacing again and again while messages flow: each arrives once.
    const wanted: string[] = [];
    for (let n = 0; n < 20; n++) {
      publisher.sendPublish(c.topic(), `m${n}`, { qos: 1 });
      wanted.push(`m${n}`);
      if (n % 4 === 0) client.send(resubscribe(n + 1));
    }
    const got: string[] = [];
    while (got.length < wanted.length) {
      const one = await client.waitFor('PUBLISH');
      await client.acknowledge(one);
      got.push(one.payload.toString());
    }
    assert.deepEqual(got, wanted);

    function resubscribe(packetId: number): Buffer {
      const subscriptions = [{ filter: c.topic(), qos: 1 }];
      return subscribe({ version: c.version, packetId, subscriptions });
    }
  },
);

every(
  '[MQTT5-3.8.4-5] [MQTT5-3.8.4-6] [MQTT5-3.8.4-7] [MQTT5-3.9.3-1] [MQTT5-3.9.3-2] [MQTT311-3.8.4-4] [MQTT311-3.8.4-5] [MQTT311-3.9.3-1] [MQTT311-3.9.3-2] many filters get one SUBACK with a code for each, in their order',
  async (c) => {
    const client = await c.connect();
    const qoss = [2, 0, 1, 1, 0, 2];
    const suback = await client.subscribe(
      qoss.map((qos, n) => ({ filter: c.topic(`f${n}`), qos })),
    );
    assert.deepEqual(suback.reasonCodes, qoss);
    await client.expectNothing();
    for (const n of qoss.keys()) {
      await client.publish(c.topic(`f${n}`), `m${n}`, { qos: 2 });
      await client.message({ payload: `m${n}`, qos: qoss[n] ?? 0 });
    }
  },
);

both(
  '[MQTT5-3.8.4-5] [MQTT311-3.8.4-4] the last of equal filters in one SUBSCRIBE counts',
  async (c) => {
    const client = await c.connect();
    const suback = await client.subscribe([
      { filter: c.topic(), qos: 0 },
      { filter: c.topic(), qos: 2 },
    ]);
    assert.deepEqual(suback.reasonCodes, [0, 2]);
    await client.publish(c.topic(), 'once', { qos: 2 });
    await client.message({ payload: 'once', qos: 2 });
    await client.expectNothing();
  },
);

every(
  '[MQTT5-3.8.4-8] [MQTT5-3.8.4-7] [MQTT311-3.8.4-6] [MQTT311-3.8.4-5] a message has the lower of the published and the granted QoS',
  async (c) => {
    const publisher = await c.connect();
    for (const granted of [0, 1, 2]) {
      const client = await c.connect();
      const suback = await client.subscribe(c.topic(`g${granted}`), { qos: granted });
      assert.deepEqual(suback.reasonCodes, [granted]);
      for (const qos of [0, 1, 2]) {
        await publisher.publish(c.topic(`g${granted}`), `${qos}`, { qos });
        await client.message({ payload: `${qos}`, qos: Math.min(qos, granted) });
      }
    }
  },
);

every(
  '[MQTT5-3.3.4-2] [MQTT311-3.3.5-1] overlapping subscriptions deliver with the highest of their QoS',
  async (c) => {
    const client = await c.connect();
    await client.subscribed([
      { filter: c.topic('#'), qos: 0 },
      { filter: c.topic('+'), qos: 2 },
      { filter: c.topic('t'), qos: 1 },
    ]);
    const publisher = await c.connect();
    await publisher.publish(c.topic('t'), 'x', { qos: 2 });
    let highest = 0;
    // One copy for all or one for each subscription; the specification allows both.
    const first = await client.message({ payload: 'x' });
    highest = first.qos;
    await client.ping();
    for (let n = 0; n < 2 && highest < 2; n++) {
      highest = Math.max(highest, (await client.message({ payload: 'x' })).qos);
    }
    assert.equal(highest, 2);
  },
);

every('choice: overlapping subscriptions deliver one copy, with the highest QoS', async (c) => {
  const client = await c.connect();
  await client.subscribed([
    { filter: c.topic('#'), qos: 0 },
    { filter: c.topic('+'), qos: 2 },
    { filter: c.topic('t'), qos: 1 },
  ]);
  await client.publish(c.topic('t'), 'x', { qos: 2 });
  await client.message({ payload: 'x', qos: 2 });
  await client.expectNothing();
});

v5('[MQTT5-3.3.4-3] a message carries the identifier of its subscription', async (c) => {
  const client = await c.connect();
  for (const id of [1, 127, 128, 16_384, 268_435_455]) {
    await client.subscribed(c.topic(`${id}`), {
      qos: 1,
      properties: [['subscriptionIdentifier', id]],
    });
    await client.publish(c.topic(`${id}`), 'x', { qos: 1 });
    const got = await client.message();
    assert.deepEqual(propertyList(got, 'subscriptionIdentifier'), [id]);
  }
  await client.subscribed(c.topic('none'));
  await client.publish(c.topic('none'), 'x');
  const got = await client.message();
  assert.deepEqual(propertyList(got, 'subscriptionIdentifier'), []);
});

v5(
  '[MQTT5-3.3.4-3] [MQTT5-3.3.4-4] [MQTT5-3.3.4-5] every matching subscription with an identifier is named: all in one copy, or each in its own',
  async (c) => {
    const client = await c.connect();
    const subscriptions = [
      ['#', 3],
      ['+', 5],
      ['t', 0],
    ] as const;
    for (const [suffix, id] of subscriptions) {
      await client.subscribed(c.topic(suffix), {
        properties: id === 0 ? [] : [['subscriptionIdentifier', id]],
      });
    }
    await client.publish(c.topic('t'), 'x');
    const ids: unknown[] = [];
    let copies = 0;
    const first = await client.message({ payload: 'x' });
    ids.push(...propertyList(first, 'subscriptionIdentifier'));
    copies++;
    if (ids.length < 2) {
      for (; copies < subscriptions.length; copies++) {
        const more = await client.message({ payload: 'x' });
        ids.push(...propertyList(more, 'subscriptionIdentifier'));
      }
    }
    assert.deepEqual(ids.sort(), [3, 5]);
    await client.expectNothing();
  },
);

v5('choice: one copy carries the identifiers of all matching subscriptions', async (c) => {
  const client = await c.connect();
  for (const [suffix, id] of [
    ['#', 3],
    ['+', 5],
    ['t', 7],
    ['other', 9],
  ] as const) {
    await client.subscribed(c.topic(suffix), { properties: [['subscriptionIdentifier', id]] });
  }
  await client.publish(c.topic('t'), 'x');
  const got = await client.message({ payload: 'x' });
  assert.deepEqual(propertyList(got, 'subscriptionIdentifier').sort(), [3, 5, 7]);
  await client.expectNothing();
});

v5('[MQTT5-3.8.4-3] subscribing again replaces the subscription identifier', async (c) => {
  const client = await c.connect();
  for (const list of [
    [['subscriptionIdentifier', 3]],
    [['subscriptionIdentifier', 4]],
    [],
  ] as const) {
    await client.subscribed(c.topic(), { properties: list });
    await client.publish(c.topic(), 'x');
    const got = await client.message();
    const wanted: number[] = list.map((one) => one[1]);
    assert.deepEqual(propertyList(got, 'subscriptionIdentifier'), wanted);
  }
});

v5('[MQTT5-4.13.1-1] subscription identifier 0, or two of them, is a protocol error', async (c) => {
  const lists = [
    [['subscriptionIdentifier', 0]],
    [
      ['subscriptionIdentifier', 1],
      ['subscriptionIdentifier', 2],
    ],
  ] as const;
  for (const list of lists) {
    const client = await c.connect();
    const subscriptions = [{ filter: c.topic() }];
    client.send(subscribe({ version: 5, packetId: 1, subscriptions, properties: list }));
    await client.expectError(0x82, 0x81);
  }
});

v5('[MQTT5-3.3.4-3] subscription identifiers belong to the session', async (c) => {
  const clientId = c.id();
  const first = await c.durable({ clientId });
  await first.subscribed(c.topic(), { qos: 1, properties: [['subscriptionIdentifier', 12]] });
  await first.disconnect();
  const publisher = await c.connect();
  await publisher.publish(c.topic(), 'queued', { qos: 1 });
  const second = await c.durable({ clientId });
  const queued = await second.message({ payload: 'queued' });
  assert.deepEqual(propertyList(queued, 'subscriptionIdentifier'), [12]);
  await publisher.publish(c.topic(), 'live', { qos: 1 });
  const live = await second.message({ payload: 'live' });
  assert.deepEqual(propertyList(live, 'subscriptionIdentifier'), [12]);
});

both(
  '[MQTT5-3.8.4-7] [MQTT311-3.8.3-2] wildcard filters are taken, or refused by their SUBACK code',
  async (c) => {
    const client = await c.connect();
    const suback = await client.subscribe([c.topic('#'), c.topic('+/x'), `${c.topic()}/+`]);
    for (const code of suback.reasonCodes) assert.ok(code <= 2 || code === 0x80 || code === 0xa2);
  },
);

both(
  '[MQTT5-3.8.4-7] [MQTT311-3.8.4-5] other filters of a SUBSCRIBE work though one is refused',
  async (c) => {
    const client = await c.connect();
    const suback = await client.subscribe([
      { filter: c.topic('a'), qos: 1 },
      { filter: '$causeway/internal/#', qos: 1 },
      { filter: c.topic('b'), qos: 1 },
    ]);
    assert.deepEqual([suback.reasonCodes[0], suback.reasonCodes[2]], [1, 1]);
    assert.equal(suback.reasonCodes.length, 3);
    await client.publish(c.topic('b'), 'x', { qos: 1 });
    await client.message({ payload: 'x' });
  },
);

both(
  '[MQTT5-4.5.0-1] [MQTT311-4.5.0-1] every client with a matching subscription gets the message',
  async (c) => {
    const clients = [];
    for (let n = 0; n < 10; n++) {
      const client = await c.connect();
      await client.subscribed(n % 2 === 0 ? c.topic() : c.topic('#').replace('/#', '/+'), {
        qos: n % 3,
      });
      clients.push(client);
    }
    await clients[0]?.publish(c.topic(), 'for all', { qos: 2 });
    for (const [n, client] of clients.entries())
      await client.message({ payload: 'for all', qos: n % 3 });
  },
);

both('[MQTT5-3.8.4-1] SUBSCRIBE right behind CONNECT works', async (c) => {
  const client = await c.open();
  client.send(
    connect(c.fields(client)),
    subscribe({ version: c.version, packetId: 3, subscriptions: [{ filter: c.topic(), qos: 1 }] }),
  );
  await client.expect('CONNACK', { reasonCode: 0 });
  await client.expect('SUBACK', { packetId: 3, reasonCodes: [1] });
});

both(
  'choice: a filter of a $-namespace that is not open gets 0x87, before MQTT 5 0x80',
  async (c) => {
    const client = await c.connect();
    const filters = ['$causeway/#', '$CONTROL/x', `$share/g/$causeway/${c.prefix}`];
    const suback = await client.subscribe([...filters, '$SYS/#']);
    const refused = c.isV5 ? 0x87 : 0x80;
    assert.deepEqual(suback.reasonCodes, [refused, refused, refused, 0]);
  },
);

await run();
