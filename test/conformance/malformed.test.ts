/** Bytes no client may send: flags, lengths, UTF-8, packets of a server (1.5, 2.1, 4.13). */
import assert from 'node:assert/strict';
import { both, every, run, v5, v31 } from './harness.ts';
import {
  ack,
  connect,
  packet,
  prefixed,
  properties,
  publish,
  subscribe,
  u16,
  unsubscribe,
} from './packets.ts';

const BAD_STRINGS: readonly (readonly [string, Buffer])[] = [
  ['a byte that starts nothing', Buffer.from([0x61, 0xff])],
  ['a lone continuation byte', Buffer.from([0x80])],
  ['a sequence cut short', Buffer.from([0xe2, 0x82])],
  ['an overlong slash', Buffer.from([0xc0, 0xaf])],
  ['an overlong U+0000', Buffer.from([0xc0, 0x80])],
  ['the surrogate U+D800', Buffer.from([0xed, 0xa0, 0x80])],
  ['the surrogate U+DFFF', Buffer.from([0xed, 0xbf, 0xbf])],
  ['a pair of surrogates', Buffer.from([0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80])],
  ['beyond U+10FFFF', Buffer.from([0xf4, 0x90, 0x80, 0x80])],
];
const NULL = Buffer.from('a\0b');

both(
  '[MQTT5-1.5.4-1] [MQTT5-3.3.2-1] [MQTT311-1.5.3-1] [MQTT311-3.3.2-1] ill-formed UTF-8 in a topic name closes the connection',
  async (c) => {
    for (const [, bytes] of BAD_STRINGS) {
      const client = await c.connect();
      client.sendPublish(Buffer.concat([Buffer.from(c.topic()), bytes]), 'x', { qos: 1 });
      await client.expectError(0x81, 0x82, 0x90);
    }
  },
);

both(
  '[MQTT5-1.5.4-1] [MQTT311-1.5.3-1] ill-formed UTF-8 in a topic filter closes the connection',
  async (c) => {
    for (const [, bytes] of BAD_STRINGS) {
      const client = await c.connect();
      const subscriptions = [{ filter: bytes }];
      client.send(subscribe({ version: c.version, packetId: 1, subscriptions }));
      await client.expectError(0x81, 0x82, 0x8f);
    }
  },
);

both('[MQTT5-1.5.4-1] [MQTT311-1.5.3-1] ill-formed UTF-8 in a client id is refused', async (c) => {
  for (const [, clientId] of BAD_STRINGS) {
    const client = await c.open();
    client.send(connect({ version: c.version, clientId }));
    await client.expectRefusal(0x81, 0x82, 0x85);
  }
});

both('[MQTT5-1.5.4-2] [MQTT311-1.5.3-2] U+0000 in a string closes the connection', async (c) => {
  const packets = [
    publish({ version: c.version, topic: NULL, payload: 'x' }),
    subscribe({ version: c.version, packetId: 1, subscriptions: [{ filter: NULL }] }),
    unsubscribe({ version: c.version, packetId: 1, filters: [NULL] }),
  ];
  for (const bytes of packets) {
    const client = await c.connect();
    client.send(bytes);
    await client.expectError(0x81, 0x82, 0x8f, 0x90);
  }
});

v5(
  '[MQTT5-1.5.4-1] [MQTT5-1.5.4-2] [MQTT5-1.5.7-1] [MQTT5-3.3.2-13] [MQTT5-3.3.2-19] ill-formed strings in properties are malformed',
  async (c) => {
    for (const bad of [Buffer.from([0x61, 0xff]), Buffer.from([0xed, 0xa0, 0x80]), NULL]) {
      const lists = [
        [['contentType', bad]],
        [['responseTopic', bad]],
        [['userProperty', [bad, 'value']]],
        [['userProperty', ['name', bad]]],
      ] as const;
      for (const list of lists) {
        const client = await c.connect();
        client.sendPublish(c.topic(), 'x', { qos: 1, properties: list });
        await client.expectError(0x81, 0x82, 0x90);
      }
    }
  },
);

v5('[MQTT5-1.5.4-3] a byte order mark in a property is kept', async (c) => {
  const client = await c.connect();
  await client.subscribed(c.topic());
  await client.publish(c.topic(), 'x', {
    properties: [
      ['contentType', '\ufefftext'],
      ['userProperty', ['\ufeffa', 'b\ufeff']],
    ],
  });
  await client.message({
    properties: { contentType: '\ufefftext', userProperty: ['\ufeffa', 'b\ufeff'] },
  });
});

both(
  '[MQTT5-2.1.3-1] [MQTT311-2.2.2-1] [MQTT311-2.2.2-2] reserved flags of acknowledgements must be as listed',
  async (c) => {
    for (const firstByte of [0x41, 0x52, 0x71, 0x4f]) {
      const client = await c.connect();
      client.send(packet(firstByte, u16(1)));
      await client.expectError(0x81);
    }
  },
);

both('[MQTT5-3.6.1-1] [MQTT311-3.6.1-1] reserved flags of PUBREL must be 0010', async (c) => {
  for (const firstByte of [0x60, 0x63, 0x6a]) {
    const client = await c.connect();
    client.sendPublish(c.topic(), 'x', { qos: 2, packetId: 1 });
    await client.expect('PUBREC', { packetId: 1 });
    client.send(packet(firstByte, u16(1)));
    await client.expectError(0x81);
  }
});

every(
  '[MQTT5-4.13.1-1] [MQTT311-4.8.0-1] packets only a server sends are refused from a client',
  async (c) => {
    const props = c.isV5 ? [properties()] : [];
    const packets = [
      packet(0x20, Buffer.from([0, 0]), ...props),
      packet(0x90, u16(1), ...props, Buffer.from([0])),
      packet(0xb0, u16(1), ...(c.isV5 ? [properties(), Buffer.from([0])] : [])),
      packet(0xd0),
    ];
    for (const bytes of packets) {
      const client = await c.connect();
      client.send(bytes);
      await client.expectError(0x82, 0x81);
    }
  },
);

every(
  '[MQTT5-4.13.1-1] [MQTT311-4.8.0-1] packet type 0, and AUTH before MQTT 5, are refused',
  async (c) => {
    const zero = await c.connect();
    zero.send(packet(0x00));
    await zero.expectError(0x81, 0x82);
    if (c.isV5) return;
    const fifteen = await c.connect();
    fifteen.send(packet(0xf0));
    await fifteen.expectClose();
  },
);

every(
  '[MQTT5-1.5.5-1] [MQTT311-4.8.0-1] a remaining length of more than four bytes is malformed',
  async (c) => {
    const client = await c.connect();
    client.send(Buffer.from([0x30, 0x80, 0x80, 0x80, 0x80, 0x01]));
    await client.expectError(0x81, 0x82);
  },
);

v5(
  '[MQTT5-1.5.5-1] [MQTT5-2.2.2-1] lengths the server sends are in their shortest form, property length 0 included',
  async (c) => {
    // The reader of these tests refuses longer forms; these sizes sit on both sides of the steps.
    const client = await c.connect();
    await client.subscribed(c.topic(), { qos: 1 });
    for (const size of [0, 100, 127, 128, 16_383, 16_384, 100_000]) {
      const value = 'v'.repeat(Math.min(size, 60_000));
      await client.publish(c.topic(), Buffer.alloc(size), {
        qos: 1,
        properties: size % 2 === 0 ? [] : [['userProperty', ['k', value]]],
      });
      assert.equal((await client.message()).payload.length, size);
    }
  },
);

v5('[MQTT5-1.5.5-1] a property length of five bytes is malformed', async (c) => {
  const client = await c.connect();
  client.send(packet(0x30, prefixed(c.topic()), Buffer.from([0x80, 0x80, 0x80, 0x80, 0x01])));
  await client.expectError(0x81, 0x82);
});

every('[MQTT5-4.13.1-1] [MQTT311-4.8.0-1] packets cut short inside are malformed', async (c) => {
  const packets = [
    packet(0x40, Buffer.from([1])),
    packet(0x62, Buffer.from([1])),
    packet(0x82, Buffer.from([0])),
    packet(0xa2, Buffer.from([0])),
    packet(0x30, Buffer.from([0])),
    packet(0x30),
  ];
  for (const bytes of packets) {
    const client = await c.connect();
    client.send(bytes);
    await client.expectError(0x81, 0x82);
  }
});

both(
  '[MQTT311-4.8.0-1] [MQTT5-4.13.1-1] acknowledgements with bytes too many are malformed',
  async (c) => {
    const extra = c.isV5 ? Buffer.from([0, 0, 0]) : Buffer.from([0]);
    for (const firstByte of [0x40, 0x50, 0x62, 0x70]) {
      const client = await c.connect();
      client.send(packet(firstByte, u16(1), extra));
      await client.expectError(0x81, 0x82);
    }
  },
);

v5('[MQTT5-4.13.1-1] properties of another packet are refused in acknowledgements', async (c) => {
  for (const type of ['PUBACK', 'PUBREC', 'PUBREL', 'PUBCOMP'] as const) {
    const client = await c.connect();
    client.send(ack(type, 1, 0, [['topicAlias', 1]]));
    await client.expectError(0x81, 0x82);
  }
});

v5('[MQTT5-4.13.1-1] a reason string given twice is a protocol error', async (c) => {
  const client = await c.connect();
  client.send(
    ack('PUBACK', 1, 0, [
      ['reasonString', 'a'],
      ['reasonString', 'b'],
    ]),
  );
  await client.expectError(0x82, 0x81);
});

v5('[MQTT5-1.5.5-1] lengths that are not in their shortest form are malformed', async (c) => {
  const remaining = await c.connect();
  remaining.send(Buffer.from([0xc0, 0x80, 0x00]));
  await remaining.expectError(0x81);
  const section = await c.connect();
  section.send(packet(0x30, prefixed(c.topic()), Buffer.from([0x80, 0x00]), Buffer.from('x')));
  await section.expectError(0x81);
});

v31(
  'MQTT 3.1: DUP on PUBREL, SUBSCRIBE and UNSUBSCRIBE marks a repetition and is taken',
  async (c) => {
    const client = await c.connect();
    const subscriptions = [{ filter: c.topic() }];
    client.send(subscribe({ version: 3, packetId: 1, subscriptions, firstByte: 0x8a }));
    await client.expect('SUBACK', { packetId: 1 });
    client.send(unsubscribe({ version: 3, packetId: 2, filters: [c.topic()], firstByte: 0xaa }));
    await client.expect('UNSUBACK', { packetId: 2 });
    client.sendPublish(c.topic(), 'x', { qos: 2, packetId: 3 });
    await client.expect('PUBREC', { packetId: 3 });
    client.send(packet(0x6a, u16(3)));
    await client.expect('PUBCOMP', { packetId: 3 });
  },
);

await run();
