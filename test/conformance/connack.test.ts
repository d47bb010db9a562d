/** CONNACK: session present, capabilities, and how a refusal looks (3.2). */
import assert from 'node:assert/strict';
import { both, every, run, v5, v31, v311 } from './harness.ts';
import { connect } from './packets.ts';
import { property } from './reader.ts';

both(
  '[MQTT5-3.2.2-2] [MQTT311-3.2.2-1] clean start answers session present 0 though a session exists',
  async (c) => {
    const clientId = c.id();
    await (await c.durable({ clientId })).disconnect();
    const again = await c.connect({ clientId, clean: true });
    assert.equal(again.connack.sessionPresent, false);
  },
);

both(
  '[MQTT5-3.2.2-3] [MQTT311-3.2.2-2] [MQTT311-3.2.2-3] session present tells whether the server has the session',
  async (c) => {
    const clientId = c.id();
    const first = await c.durable({ clientId });
    assert.equal(first.connack.sessionPresent, false);
    await first.disconnect();
    const second = await c.durable({ clientId });
    assert.equal(second.connack.sessionPresent, true);
  },
);

v311(
  '[MQTT311-3.2.2-4] [MQTT311-3.2.2-5] a refusal has session present 0 and closes',
  async (c) => {
    const clientId = c.id();
    await (await c.durable({ clientId })).disconnect();
    const client = await c.open({ raw: true });
    client.send(connect({ version: 4, clientId, clean: false, protocolLevel: 9 }));
    await client.closedAfter([]);
    assert.ok(['20020001', '2003008400'].includes(client.rawBytes.toString('hex')));
  },
);

v5('[MQTT5-3.2.2-6] [MQTT5-3.2.2-7] a refusal has session present 0 and closes', async (c) => {
  const clientId = c.id();
  await (await c.durable({ clientId })).disconnect();
  const client = await c.open();
  const list = [['authenticationMethod', 'conformance-no-such-method']] as const;
  client.send(connect(c.fields(client, { clientId, clean: false, properties: list })));
  const connack = await client.expect('CONNACK', { sessionPresent: false });
  assert.ok(connack.reasonCode >= 0x80);
  await client.expectClose();
});

v5(
  '[MQTT5-3.2.2-9] [MQTT5-3.2.2-10] without Maximum QoS every QoS works; SUBSCRIBE QoS 0 to 2 is taken anyway',
  async (c) => {
    const client = await c.connect();
    const maximumQos = property(client.connack, 'maximumQos') ?? 2;
    assert.ok(maximumQos !== 2 || property(client.connack, 'maximumQos') === undefined);
    for (const qos of [0, 1, 2]) {
      const suback = await client.subscribe(c.topic(`q${qos}`), { qos });
      assert.ok((suback.reasonCodes[0] ?? 0x80) <= qos);
    }
    const highest = Number(maximumQos);
    await client.publish(c.topic(`q${highest}`), 'highest', { qos: highest });
    await client.message({ payload: 'highest', qos: highest });
  },
);

v5('[MQTT5-3.2.2-12] a will QoS within Maximum QoS is taken, beyond it refused', async (c) => {
  const probe = await c.connect();
  const maximumQos = Number(property(probe.connack, 'maximumQos') ?? 2);
  for (const qos of [0, 1, 2]) {
    const client = await c.open();
    client.send(connect(c.fields(client, { will: { topic: c.topic(), qos } })));
    if (qos <= maximumQos) await client.expect('CONNACK', { reasonCode: 0 });
    else await client.expectRefusal(0x9b);
  }
});

v5('[MQTT5-3.2.2-13] a retained will is taken unless Retain Available is 0', async (c) => {
  const probe = await c.connect();
  const available = property(probe.connack, 'retainAvailable') !== 0;
  const client = await c.open();
  client.send(connect(c.fields(client, { will: { topic: c.topic(), retain: true } })));
  if (available) await client.expect('CONNACK', { reasonCode: 0 });
  else await client.expectRefusal(0x9a);
  await client.disconnect();
});

v5(
  '[MQTT5-3.2.2-19] [MQTT5-3.2.2-20] [MQTT5-3.1.2-24] reasons and user properties never lift CONNACK over Maximum Packet Size',
  async (c) => {
    const client = await c.open();
    const list = [
      ['maximumPacketSize', 10],
      ['authenticationMethod', 'conformance-no-such-method'],
    ] as const;
    client.send(connect(c.fields(client, { properties: list })));
    for (const got of await client.closedAfter(['CONNACK'])) {
      assert.ok(got.bytes.length <= 10, `CONNACK of ${got.bytes.length} bytes`);
    }
    const accepted = await c.connect({ properties: [['maximumPacketSize', 80]] });
    assert.ok(accepted.connack.bytes.length <= 80);
  },
);

v5('[MQTT5-3.1.2-28] Response Information is not sent unless asked for', async (c) => {
  for (const list of [[], [['requestResponseInformation', 0]]] as const) {
    const client = await c.connect({ properties: list });
    assert.equal(property(client.connack, 'responseInformation'), undefined);
  }
});

v5('a server asked for Response Information gives a usable topic prefix or none', async (c) => {
  const client = await c.connect({ properties: [['requestResponseInformation', 1]] });
  const prefix = property(client.connack, 'responseInformation');
  if (prefix === undefined) return;
  assert.ok(typeof prefix === 'string' && prefix.length > 0 && !/[+#]/.test(prefix));
});

v5('the capabilities in CONNACK are values the specification knows', async (c) => {
  const client = await c.connect();
  const flags = [
    'maximumQos',
    'retainAvailable',
    'wildcardSubscriptionAvailable',
    'subscriptionIdentifierAvailable',
    'sharedSubscriptionAvailable',
  ] as const;
  for (const name of flags) {
    assert.ok([undefined, 0, 1].includes(property(client.connack, name) as number), name);
  }
  assert.notEqual(property(client.connack, 'receiveMaximum'), 0);
  assert.notEqual(property(client.connack, 'maximumPacketSize'), 0);
});

v5('choice: topic aliases are offered, and no capability is switched off', async (c) => {
  const { connack } = await c.connect();
  assert.ok(Number(property(connack, 'topicAliasMaximum') ?? 0) > 0);
  assert.equal(property(connack, 'maximumQos'), undefined);
  assert.notEqual(property(connack, 'retainAvailable'), 0);
  assert.notEqual(property(connack, 'wildcardSubscriptionAvailable'), 0);
  assert.notEqual(property(connack, 'subscriptionIdentifierAvailable'), 0);
  assert.notEqual(property(connack, 'sharedSubscriptionAvailable'), 0);
});

every('[MQTT5-3.2.0-2] one CONNECT gets one CONNACK', async (c) => {
  const client = await c.connect();
  await client.expectNothing(300);
});

v31('MQTT 3.1 knows no session present flag: the byte stays 0', async (c) => {
  const clientId = c.id();
  const first = await c.durable({ clientId });
  await first.subscribed(c.topic(), { qos: 1 });
  await first.disconnect();
  const second = await c.durable({ clientId });
  assert.equal(second.connack.sessionPresent, false);
  await second.publish(c.topic(), 'resumed all the same', { qos: 1 });
  await second.message({ payload: 'resumed all the same' });
});

await run();
