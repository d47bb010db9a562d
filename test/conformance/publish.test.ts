/** PUBLISH: its fields, what is forwarded unaltered, what is refused (3.3). */
import assert from 'node:assert/strict';
import { both, every, run, v5, v311 } from './harness.ts';
import { ack, type Property, packet, prefixed, publish } from './packets.ts';
import { property, propertyList } from './reader.ts';

every(
  '[MQTT5-3.3.4-1] [MQTT311-3.3.4-1] the answer to PUBLISH is none, PUBACK or PUBREC by its QoS',
  async (c) => {
    const client = await c.connect();
    client.sendPublish(c.topic(), 'zero');
    await client.expectNothing();
    client.sendPublish(c.topic(), 'one', { qos: 1, packetId: 7 });
    await client.expect('PUBACK', { packetId: 7 });
    client.sendPublish(c.topic(), 'two', { qos: 2, packetId: 8 });
    await client.expect('PUBREC', { packetId: 8 });
    client.send(ack('PUBREL', 8));
    await client.expect('PUBCOMP', { packetId: 8 });
    await client.expectNothing();
  },
);

every(
  '[MQTT5-2.2.1-2] [MQTT5-3.3.1-2] [MQTT5-4.3.1-1] [MQTT5-2.2.2-1] [MQTT311-2.3.1-5] [MQTT311-3.3.1-2] [MQTT311-4.3.1-1] QoS 0 is sent without packet identifier and without DUP',
  async (c) => {
    const client = await c.connect();
    await client.subscribed(c.topic());
    client.sendPublish(c.topic(), 'zero');
    const got = await client.message({ topic: c.topic(), payload: 'zero', qos: 0, dup: false });
    // topic, (empty properties,) payload: nothing is left for an identifier
    const size = 2 + 2 + c.topic().length + (c.isV5 ? 1 : 0) + 4;
    assert.equal(got.bytes.length, size);
  },
);

both('[MQTT5-3.3.1-2] [MQTT311-3.3.1-2] DUP on QoS 0 is refused', async (c) => {
  const client = await c.connect();
  client.sendPublish(c.topic(), 'zero', { dup: true });
  await client.expectError(0x81, 0x82);
});

every('[MQTT5-3.3.1-4] [MQTT311-3.3.1-4] QoS 3 is malformed', async (c) => {
  const client = await c.connect();
  client.sendPublish(c.topic(), 'three', { qos: 3 });
  await client.expectError(0x81);
});

every('[MQTT5-3.3.1-3] [MQTT311-3.3.1-3] DUP of the publisher is not passed on', async (c) => {
  const client = await c.connect();
  await client.subscribed(c.topic(), { qos: 2 });
  await client.publish(c.topic(), 'one', { qos: 1, dup: true });
  await client.message({ payload: 'one', qos: 1, dup: false });
  await client.publish(c.topic(), 'two', { qos: 2, dup: true });
  await client.message({ payload: 'two', qos: 2, dup: false });
});

both(
  '[MQTT5-3.3.2-2] [MQTT5-4.7.0-1] [MQTT311-3.3.2-2] [MQTT311-4.7.1-1] wildcards in a topic name are refused',
  async (c) => {
    for (const topic of [`${c.topic()}/#`, `${c.topic()}/+/x`, '#', '+', `${c.topic()}/a+b`]) {
      const client = await c.connect();
      client.sendPublish(topic, 'no', { qos: 1 });
      await client.expectError(0x81, 0x82, 0x90);
    }
  },
);

both('[MQTT5-4.7.3-1] [MQTT311-4.7.3-1] an empty topic name is refused', async (c) => {
  const client = await c.connect();
  client.sendPublish('', 'no');
  await client.expectError(0x82, 0x81, 0x90);
});

every('[MQTT5-2.2.1-3] [MQTT311-2.3.1-1] packet identifier 0 in PUBLISH is refused', async (c) => {
  for (const qos of [1, 2]) {
    const client = await c.connect();
    client.sendPublish(c.topic(), 'zero id', { qos, packetId: 0 });
    await client.expectError(0x81, 0x82);
  }
});

both(
  '[MQTT5-3.3.2-1] [MQTT311-3.3.2-1] a topic that reaches beyond the packet is malformed',
  async (c) => {
    const client = await c.connect();
    client.send(packet(0x30, Buffer.from([0, 50]), Buffer.from('short')));
    await client.expectError(0x81);
  },
);

both(
  '[MQTT5-4.13.1-1] [MQTT311-4.8.0-1] a QoS 1 PUBLISH without room for an identifier is malformed',
  async (c) => {
    const client = await c.connect();
    client.send(packet(0x32, prefixed(c.topic()), Buffer.from([1])));
    await client.expectError(0x81);
  },
);

both('[MQTT5-3.3.2-3] [MQTT311-3.3.2-3] the topic name arrives as it was published', async (c) => {
  const client = await c.connect();
  await client.subscribed(`${c.topic()}/#`);
  for (const topic of [c.topic(), `${c.topic()}/`, `${c.topic()}//x`, `${c.topic()}/ü €/😀 b`]) {
    await client.publish(topic, topic, { qos: 1 });
    await client.message({ topic, payload: topic });
  }
});

both('any bytes may be a payload, none at all, and 200 kB of them', async (c) => {
  const client = await c.connect();
  await client.subscribed(c.topic(), { qos: 1 });
  const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  const large = Buffer.alloc(200_000, 'ab');
  for (const payload of [all, Buffer.alloc(0), large]) {
    await client.publish(c.topic(), payload, { qos: 1 });
    const got = await client.message();
    assert.ok(got.payload.equals(payload));
  }
});

v5(
  '[MQTT5-3.3.2-4] [MQTT5-3.3.2-15] [MQTT5-3.3.2-16] [MQTT5-3.3.2-20] format, response topic, correlation data and content type arrive unaltered',
  async (c) => {
    const client = await c.connect();
    await client.subscribed(c.topic(), { qos: 1 });
    for (const format of [0, 1]) {
      const correlation = Buffer.from([0, 1, 2, 254, 255]);
      await client.publish(c.topic(), 'request', {
        qos: 1,
        properties: [
          ['payloadFormatIndicator', format],
          ['contentType', 'text/plain; charset=utf-8'],
          ['responseTopic', 'ans/wer//ü'],
          ['correlationData', correlation],
        ],
      });
      await client.message({
        properties: {
          payloadFormatIndicator: format,
          contentType: 'text/plain; charset=utf-8',
          responseTopic: 'ans/wer//ü',
          correlationData: correlation,
        },
      });
    }
    await client.publish(c.topic(), 'plain');
    const plain = await client.message({ payload: 'plain' });
    assert.deepEqual(plain.properties, []);
  },
);

v5(
  '[MQTT5-3.3.2-17] [MQTT5-3.3.2-18] user properties arrive unaltered and in their order',
  async (c) => {
    const client = await c.connect();
    await client.subscribed(c.topic(), { qos: 1 });
    const list: Property[] = [
      ['userProperty', ['z', '1']],
      ['userProperty', ['a', '2']],
      ['userProperty', ['z', '1']],
      ['userProperty', ['__proto__', 'constructor']],
      ['userProperty', ['', '']],
      ['userProperty', ['ü', '€']],
    ];
    for (const qos of [0, 1]) {
      await client.publish(c.topic(), 'with properties', { qos, properties: list });
      const got = await client.message();
      assert.deepEqual(
        propertyList(got, 'userProperty'),
        list.map(([, value]) => value),
      );
    }
  },
);

both(
  'messages cross between MQTT 3.1.1 and MQTT 5 without their properties being lost or made up',
  async (c) => {
    const client = await c.connect();
    await client.subscribed(c.topic(), { qos: 1 });
    const list: readonly Property[] = c.isV5 ? [['contentType', 'x']] : [];
    await client.publish(c.topic(), 'here', { qos: 1, properties: list });
    const got = await client.message({ payload: 'here' });
    assert.equal(property(got, 'contentType'), c.isV5 ? 'x' : undefined);
  },
);

v5('[MQTT5-3.3.2-14] wildcards in a response topic are refused', async (c) => {
  for (const responseTopic of ['a/+', '#']) {
    const client = await c.connect();
    client.sendPublish(c.topic(), 'x', { qos: 1, properties: [['responseTopic', responseTopic]] });
    await client.expectError(0x81, 0x82, 0x90);
  }
});

v5('[MQTT5-3.3.4-6] a subscription identifier from a client is a protocol error', async (c) => {
  const client = await c.connect();
  client.sendPublish(c.topic(), 'x', { properties: [['subscriptionIdentifier', 1]] });
  await client.expectError(0x82, 0x81);
});

v5('[MQTT5-4.13.1-1] [MQTT5-4.13.2-1] wrong PUBLISH properties are refused', async (c) => {
  const lists: readonly (readonly Property[])[] = [
    [['payloadFormatIndicator', 2]],
    [
      ['payloadFormatIndicator', 1],
      ['payloadFormatIndicator', 1],
    ],
    [
      ['messageExpiryInterval', 5],
      ['messageExpiryInterval', 5],
    ],
    [
      ['contentType', 'a'],
      ['contentType', 'a'],
    ],
    [['sessionExpiryInterval', 5]],
    [['willDelayInterval', 5]],
    [['reasonString', 'no']],
  ];
  for (const list of lists) {
    const client = await c.connect();
    client.sendPublish(c.topic(), 'x', { qos: 1, properties: list });
    await client.expectError(0x81, 0x82);
  }
});

v5('[MQTT5-4.13.1-1] a property section that does not fit its length is malformed', async (c) => {
  const sections = [Buffer.from([5, 1]), Buffer.from([1, 0x7f]), Buffer.from([3, 0x02, 0, 0])];
  for (const section of sections) {
    const client = await c.connect();
    client.send(packet(0x30, prefixed(c.topic()), section));
    await client.expectError(0x81, 0x82);
  }
});

v311(
  '[MQTT311-3.3.5-2] choice: a publish to a $-topic is acknowledged and dropped, the connection kept',
  async (c) => {
    const client = await c.connect();
    const watcher = await c.connect();
    await watcher.subscribed(`$SYS/${c.prefix}/#`, { qos: 1 });
    for (const qos of [0, 1, 2]) {
      await client.publish(`$SYS/${c.prefix}/x`, 'no', { qos });
    }
    await watcher.expectNothing();
  },
);

v5(
  'choice: a publish to a $-topic is refused with 0x87 at QoS 1 and 2 and dropped at QoS 0',
  async (c) => {
    const client = await c.connect();
    const watcher = await c.connect();
    await watcher.subscribed(`$SYS/${c.prefix}/#`, { qos: 1 });
    const topic = `$SYS/${c.prefix}/x`;
    client.sendPublish(topic, 'no');
    client.sendPublish(topic, 'no', { qos: 1, packetId: 1 });
    await client.expect('PUBACK', { packetId: 1, reasonCode: 0x87 });
    client.sendPublish(topic, 'no', { qos: 2, packetId: 2 });
    await client.expect('PUBREC', { packetId: 2, reasonCode: 0x87 });
    await client.expectNothing();
    await watcher.expectNothing();
  },
);

v5(
  '[MQTT5-3.4.2-1] [MQTT5-3.5.2-1] a PUBLISH nobody subscribed to is acknowledged as success or 0x10',
  async (c) => {
    const client = await c.connect();
    client.sendPublish(c.topic('lonely'), 'x', { qos: 1, packetId: 1 });
    const puback = await client.expect('PUBACK', { packetId: 1 });
    assert.ok([0, 0x10].includes(puback.reasonCode));
    client.sendPublish(c.topic('lonely'), 'x', { qos: 2, packetId: 2 });
    const pubrec = await client.expect('PUBREC', { packetId: 2 });
    assert.ok([0, 0x10].includes(pubrec.reasonCode));
  },
);

both('many packets in one write are all read, and one packet in many writes', async (c) => {
  const client = await c.connect();
  await client.subscribed(c.topic());
  const one = (n: number): Buffer =>
    publish({ version: c.version, topic: c.topic(), payload: `m${n}` });
  client.send(...Array.from({ length: 50 }, (_, n) => one(n)));
  for (let n = 0; n < 50; n++) await client.message({ payload: `m${n}` });
  for (const byte of one(99)) {
    client.send(Buffer.from([byte]));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await client.message({ payload: 'm99' });
});

v5(
  '[MQTT5-2.2.2-1] a PUBLISH without properties is malformed without their zero length',
  async (c) => {
    const client = await c.connect();
    // The payload's first byte would be read as a property length that reaches beyond the packet.
    client.send(packet(0x30, prefixed(c.topic()), Buffer.from('zzz')));
    await client.expectError(0x81, 0x82);
  },
);

await run();
