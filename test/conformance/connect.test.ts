/** CONNECT: what a server must take, must refuse and with which words (3.1). */
import assert from 'node:assert/strict';
import type { Client } from './client.ts';
import { both, type CaseContext, every, run, v5, v31, v311 } from './harness.ts';
import {
  connect,
  type Property,
  packet,
  prefixed,
  properties,
  propertyBytes,
  publish,
  subscribe,
  u16,
} from './packets.ts';
import { property } from './reader.ts';

const ILL_FORMED = Buffer.from([0x61, 0xff, 0x62]);
const SURROGATE = Buffer.from([0xed, 0xa0, 0x80]);

/** Opens a connection, sends these bytes, and gives the client back. */
async function sending(c: CaseContext, ...bytes: readonly Buffer[]): Promise<Client> {
  const client = await c.open();
  client.send(...bytes);
  return client;
}

/** A CONNECT whose payload, after the client id, is given as bytes. */
function connectWith(c: CaseContext, flags: number, ...payload: readonly Buffer[]): Buffer {
  const head = [prefixed('MQTT'), Buffer.from([c.version, flags]), u16(60)];
  const props = c.isV5 ? [properties()] : [];
  return packet(0x10, ...head, ...props, prefixed(c.id('x')), ...payload);
}

/** Will topic and payload, with will properties in MQTT 5. */
function willBytes(c: CaseContext): Buffer[] {
  return [...(c.isV5 ? [properties()] : []), prefixed(c.topic('will')), prefixed('gone')];
}

every('[MQTT5-3.1.0-1] [MQTT311-3.1.0-1] the first packet must be CONNECT', async (c) => {
  const firsts = [
    Buffer.from([0xc0, 0]),
    Buffer.from([0xe0, 0]),
    publish({ version: c.version, topic: c.topic(), payload: 'early' }),
    subscribe({ version: c.version, packetId: 1, subscriptions: [{ filter: c.topic() }] }),
  ];
  const watcher = await c.connect();
  await watcher.subscribed(c.topic());
  for (const first of firsts) {
    const client = await sending(c, first);
    // [MQTT5-3.14.0-1] a DISCONNECT would be wrong here
    await client.closedAfter(c.isV5 ? ['CONNACK'] : []);
  }
  await watcher.expectNothing();
});

every(
  '[MQTT5-3.1.0-2] [MQTT5-3.2.0-2] [MQTT311-3.1.0-2] a second CONNECT is a protocol error',
  async (c) => {
    const client = await c.connect();
    client.send(connect(c.fields(client)));
    await client.expectError(0x82);
  },
);

every(
  '[MQTT5-3.1.4-5] [MQTT5-3.2.2-1] [MQTT5-3.2.2-8] [MQTT311-3.1.4-4] [MQTT311-7.0.0-2] a good CONNECT gets CONNACK 0 with its reserved bits 0',
  async (c) => {
    const client = await c.connect();
    assert.equal(client.connack.bytes[2], 0);
    assert.equal(client.connack.bytes[3], 0);
    await client.expectNothing();
  },
);

both('[MQTT5-3.1.2-1] [MQTT311-3.1.2-1] an unknown protocol name is not served', async (c) => {
  for (const protocolName of ['MQTX', 'mqtt', 'MQTT5', '']) {
    const client = await c.open({ raw: true });
    client.send(connect({ ...c.fields(client), protocolName }));
    await client.closedAfter([]);
    const answer = client.rawBytes.toString('hex');
    assert.ok(['', '20020001', '2003008400'].includes(answer), `answered ${answer}`);
  }
});

both(
  '[MQTT5-3.1.2-2] [MQTT311-3.1.2-2] an unknown protocol level is told so and closed',
  async (c) => {
    for (const protocolLevel of [0, 2, 6, 127]) {
      const client = await c.open({ raw: true });
      client.send(connect({ ...c.fields(client), protocolLevel }));
      await client.closedAfter([]);
      const answer = client.rawBytes.toString('hex');
      // Either form is right: the version both sides could speak is not known.
      assert.ok(['20020001', '2003008400'].includes(answer), `level ${protocolLevel}: ${answer}`);
    }
  },
);

v31('MQTT 3.1 connects with the name MQIsdp and level 3', async (c) => {
  const client = await c.connect();
  await client.subscribed(c.topic(), { qos: 1 });
  await client.publish(c.topic(), 'old and good', { qos: 1 });
  await client.message({ topic: c.topic(), payload: 'old and good', qos: 1 });
});

v31('MQTT 3.1: the name MQIsdp with a level that is not 3 is not served', async (c) => {
  const client = await c.open({ raw: true });
  client.send(connect({ ...c.fields(client), protocolLevel: 9 }));
  await client.closedAfter([]);
});

both('[MQTT5-3.1.2-3] [MQTT311-3.1.2-3] the reserved CONNECT flag must be 0', async (c) => {
  const client = await sending(c, connectWith(c, 0x03));
  await client.expectRefusal(0x81);
});

both(
  '[MQTT5-3.1.2-11] [MQTT311-3.1.2-11] [MQTT311-3.1.2-13] will QoS must be 0 without a will',
  async (c) => {
    for (const flags of [0x0a, 0x12]) {
      const client = await sending(c, connectWith(c, flags));
      await client.expectRefusal(0x81, 0x82);
    }
  },
);

both('[MQTT5-3.1.2-12] [MQTT311-3.1.2-14] will QoS 3 is refused', async (c) => {
  const client = await sending(c, connectWith(c, 0x1e, ...willBytes(c)));
  await client.expectRefusal(0x81, 0x82, 0x9b);
});

both('[MQTT5-3.1.2-13] [MQTT311-3.1.2-15] will retain must be 0 without a will', async (c) => {
  const client = await sending(c, connectWith(c, 0x22));
  await client.expectRefusal(0x81, 0x82);
});

both(
  '[MQTT5-3.1.2-9] [MQTT311-3.1.2-9] a will flag without will topic and payload is malformed',
  async (c) => {
    const bare = await sending(c, connectWith(c, 0x06));
    await bare.expectRefusal(0x81, 0x82);
    const half = await sending(c, connectWith(c, 0x06, ...willBytes(c).slice(0, -1)));
    await half.expectRefusal(0x81, 0x82);
  },
);

both(
  '[MQTT311-3.1.2-11] [MQTT5-3.1.4-1] will fields without a will flag are malformed',
  async (c) => {
    const client = await sending(c, connectWith(c, 0x02, ...willBytes(c)));
    await client.expectRefusal(0x81, 0x82);
  },
);

both('[MQTT5-3.1.2-16] [MQTT311-3.1.2-18] a user name without its flag is malformed', async (c) => {
  const client = await sending(c, connectWith(c, 0x02, prefixed('user')));
  await client.expectRefusal(0x81, 0x82);
});

both('[MQTT5-3.1.2-17] [MQTT311-3.1.2-19] a user name flag needs a user name', async (c) => {
  const client = await sending(c, connectWith(c, 0x82));
  await client.expectRefusal(0x81, 0x82);
});

both('[MQTT5-3.1.2-18] [MQTT311-3.1.2-20] a password without its flag is malformed', async (c) => {
  const client = await sending(c, connectWith(c, 0x82, prefixed('user'), prefixed('secret')));
  await client.expectRefusal(0x81, 0x82);
});

both('[MQTT5-3.1.2-19] [MQTT311-3.1.2-21] a password flag needs a password', async (c) => {
  const client = await sending(c, connectWith(c, 0xc2, prefixed('user')));
  await client.expectRefusal(0x81, 0x82);
});

v311('[MQTT311-3.1.2-22] a password flag without a user name flag is refused', async (c) => {
  const client = await sending(c, connectWith(c, 0x42, prefixed('secret')));
  await client.expectClose();
});

v5('choice: a password without a user name is read as MQTT 5 allows', async (c) => {
  const client = await c.connect({ password: 'secret' });
  await client.ping();
});

both(
  '[MQTT5-3.1.3-1] [MQTT311-3.1.3-1] client id, will, user name and password are read in this order',
  async (c) => {
    const watcher = await c.connect();
    await watcher.subscribed(c.topic('#'));
    const client = await c.connect({
      will: { topic: c.topic('will'), payload: 'payload of the will' },
      username: 'user',
      password: 'secret',
    });
    await client.drop();
    await watcher.message({ topic: c.topic('will'), payload: 'payload of the will' });
  },
);

both(
  '[MQTT5-3.1.3-3] [MQTT311-3.1.3-3] a CONNECT without a client id field is malformed',
  async (c) => {
    const head = [prefixed('MQTT'), Buffer.from([c.version, 0x02]), u16(60)];
    const client = await sending(c, packet(0x10, ...head, ...(c.isV5 ? [properties()] : [])));
    await client.expectRefusal(0x81, 0x82);
  },
);

both('[MQTT5-3.1.3-4] [MQTT311-3.1.3-4] the client id must be UTF-8', async (c) => {
  for (const clientId of [ILL_FORMED, SURROGATE, Buffer.from('a\0b')]) {
    const client = await sending(c, connect({ version: c.version, clientId }));
    await client.expectRefusal(0x81, 0x82, 0x85);
  }
});

every(
  '[MQTT5-3.1.3-5] [MQTT311-3.1.3-5] client ids of 1 to 23 letters and digits are accepted',
  async (c) => {
    const alphabet = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
    // The version makes each id one of this case; 1 to 23 bytes in all.
    const ids = [`${c.version}`];
    for (let at = 0; at < alphabet.length; at += 22) {
      ids.push(`${c.version}${alphabet.slice(at, at + 22)}`);
    }
    for (const clientId of ids) {
      const client = await c.connect({ clientId });
      await client.disconnect();
    }
  },
);

v5(
  '[MQTT5-3.1.3-6] [MQTT5-3.1.3-7] [MQTT5-3.2.2-16] an empty client id gets a new one, told in CONNACK',
  async (c) => {
    const one = await c.connect({ clientId: '' });
    const two = await c.connect({ clientId: '', clean: false });
    const idOne = property(one.connack, 'assignedClientIdentifier');
    const idTwo = property(two.connack, 'assignedClientIdentifier');
    assert.ok(typeof idOne === 'string' && idOne.length > 0);
    assert.ok(typeof idTwo === 'string' && idTwo.length > 0);
    assert.notEqual(idOne, idTwo);
    assert.equal(two.connack.sessionPresent, false);
    await Promise.all([one.ping(), two.ping()]);
    // It is a client id like any other: whoever uses it takes the connection over.
    await c.connect({ clientId: idOne });
    await one.expectError(0x8e);
  },
);

v5('[MQTT5-3.2.2-16] no client id is assigned to a client that brought its own', async (c) => {
  const client = await c.connect();
  assert.equal(property(client.connack, 'assignedClientIdentifier'), undefined);
});

v311(
  '[MQTT311-3.1.3-6] an empty client id with clean session 1 gets a session of its own',
  async (c) => {
    const one = await c.connect({ clientId: '' });
    const two = await c.connect({ clientId: '' });
    await one.subscribed(c.topic());
    await two.publish(c.topic(), 'for one only');
    await one.message({ payload: 'for one only' });
    await two.expectNothing();
  },
);

v311(
  '[MQTT311-3.1.3-7] [MQTT311-3.1.3-8] [MQTT311-3.1.3-9] [MQTT311-3.2.2-5] an empty client id with clean session 0 is refused with 0x02',
  async (c) => {
    const client = await c.open();
    client.send(connect({ version: 4, clientId: '', clean: false }));
    await client.expect('CONNACK', { reasonCode: 2, sessionPresent: false });
    await client.expectClose();
  },
);

both('[MQTT5-3.1.3-11] [MQTT311-3.1.3-10] the will topic must be UTF-8', async (c) => {
  for (const topic of [ILL_FORMED, SURROGATE, Buffer.from('a\0b')]) {
    const client = await c.open();
    client.send(connect(c.fields(client, { will: { topic } })));
    await client.expectRefusal(0x81, 0x82, 0x90);
  }
});

both('[MQTT5-3.1.3-12] [MQTT311-3.1.3-11] the user name must be UTF-8', async (c) => {
  for (const username of [ILL_FORMED, SURROGATE, Buffer.from('a\0b')]) {
    const client = await c.open();
    client.send(connect(c.fields(client, { username })));
    await client.expectRefusal(0x81, 0x82, 0x86);
  }
});

both(
  '[MQTT5-3.1.4-1] [MQTT5-3.2.2-7] [MQTT311-3.1.4-1] [MQTT311-3.2.2-6] a malformed CONNECT is closed, before MQTT 5 without CONNACK',
  async (c) => {
    const good = connect({ version: c.version, clientId: c.id('m') });
    const longer = Buffer.concat([good, Buffer.from([0])]);
    longer[1] = (longer[1] ?? 0) + 1;
    const shorter = Buffer.from(good.subarray(0, -1));
    shorter[1] = (shorter[1] ?? 0) - 1;
    const flagged = Buffer.from(good);
    flagged[0] = 0x11;
    for (const bytes of [longer, shorter, flagged]) {
      const client = await sending(c, bytes);
      await client.expectRefusal(0x81, 0x82);
    }
  },
);

const BAD_PROPERTIES: readonly (readonly [string, readonly Property[], number])[] = [
  ['a property of another packet', [['topicAlias', 1]], 0x81],
  ['a will property outside the will', [['willDelayInterval', 1]], 0x81],
  [
    'session expiry twice',
    [
      ['sessionExpiryInterval', 1],
      ['sessionExpiryInterval', 1],
    ],
    0x82,
  ],
  [
    'receive maximum twice',
    [
      ['receiveMaximum', 9],
      ['receiveMaximum', 9],
    ],
    0x82,
  ],
  ['receive maximum 0', [['receiveMaximum', 0]], 0x82],
  ['maximum packet size 0', [['maximumPacketSize', 0]], 0x82],
  ['request response information 2', [['requestResponseInformation', 2]], 0x82],
  ['request problem information 2', [['requestProblemInformation', 2]], 0x82],
  ['authentication data without a method', [['authenticationData', Buffer.from('x')]], 0x82],
];

v5('[MQTT5-3.1.4-1] [MQTT5-4.13.1-1] wrong CONNECT properties are refused', async (c) => {
  for (const [what, list, reasonCode] of BAD_PROPERTIES) {
    const client = await c.open();
    client.send(connect(c.fields(client, { properties: list })));
    const got = await client.expect('CONNACK', { sessionPresent: false });
    // A property in the wrong place is a malformed packet and a protocol error alike (4.13.1).
    assert.ok([reasonCode, 0x81, 0x82].includes(got.reasonCode), `${what}: ${got.reasonCode}`);
    await client.expectClose();
  }
});

v5('[MQTT5-3.1.4-1] [MQTT5-4.13.1-1] wrong will properties are refused', async (c) => {
  const lists: readonly (readonly Property[])[] = [
    [['payloadFormatIndicator', 2]],
    [
      ['willDelayInterval', 1],
      ['willDelayInterval', 1],
    ],
    [['sessionExpiryInterval', 1]],
    [['topicAlias', 1]],
    [['responseTopic', 'with/+/wildcard']],
  ];
  for (const list of lists) {
    const client = await c.open();
    client.send(connect(c.fields(client, { will: { topic: c.topic(), properties: list } })));
    await client.expectRefusal(0x81, 0x82, 0x90, 0x99);
  }
});

v5('[MQTT5-3.1.4-1] an unknown property or a wrong property length is malformed', async (c) => {
  const head = [prefixed('MQTT'), Buffer.from([5, 2]), u16(60)];
  const sections = [
    Buffer.from([2, 0x7f, 0]),
    Buffer.from([200, 1, 0]),
    Buffer.concat([Buffer.from([3]), propertyBytes(['sessionExpiryInterval', 7])]),
  ];
  for (const section of sections) {
    const client = await sending(c, packet(0x10, ...head, section, prefixed(c.id('p'))));
    await client.expectRefusal(0x81, 0x82);
  }
});

v5('[MQTT5-3.1.4-1] user properties of CONNECT may repeat and are accepted', async (c) => {
  const client = await c.connect({
    properties: [
      ['userProperty', ['a', '1']],
      ['userProperty', ['a', '1']],
      ['userProperty', ['', '']],
    ],
  });
  await client.ping();
});

both(
  '[MQTT5-3.1.4-3] [MQTT5-4.13.2-1] [MQTT311-3.1.4-2] a second connection with the same client id takes over',
  async (c) => {
    const first = await c.connect({ clientId: c.id() });
    const second = await c.connect({ clientId: c.id() });
    await first.expectError(0x8e);
    await second.ping();
  },
);

both(
  '[MQTT5-3.1.4-6] [MQTT311-3.1.4-5] what follows a refused CONNECT is not processed',
  async (c) => {
    const watcher = await c.connect();
    await watcher.subscribed(c.topic());
    const refused = c.isV5
      ? connectWith(c, 0x03)
      : connect({ version: 4, clientId: '', clean: false });
    const late = publish({ version: c.version, topic: c.topic(), payload: 'no', retain: true });
    const client = await sending(c, refused, late);
    await client.closedAfter(['CONNACK']);
    await watcher.expectNothing();
    await watcher.subscribed(c.topic());
    await watcher.expectNothing();
  },
);

every(
  '[MQTT5-3.2.0-1] [MQTT311-3.2.0-1] CONNACK comes first, also when packets follow CONNECT in one write',
  async (c) => {
    const client = await c.open();
    client.send(
      connect(c.fields(client)),
      subscribe({ version: c.version, packetId: 1, subscriptions: [{ filter: c.topic() }] }),
      publish({ version: c.version, topic: c.topic(), payload: 'early' }),
    );
    await client.expect('CONNACK', { reasonCode: 0 });
    await client.expect('SUBACK', { packetId: 1 });
    await client.expect('PUBLISH', { payload: 'early' });
  },
);

every('[MQTT311-7.1.1-1] [MQTT5-4.2.0-1] a CONNECT may come byte by byte', async (c) => {
  const client = await c.open();
  for (const byte of connect(c.fields(client))) {
    client.send(Buffer.from([byte]));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await client.expect('CONNACK', { reasonCode: 0 });
});

await run();
