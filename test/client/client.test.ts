// The client against a server that follows a script: what it sends, repeats, refuses and reports.
import t, { type Test } from 'tap';
import { Client } from '../../src/client/client.ts';
import type { ClientError } from '../../src/client/client-error.ts';
import type { ReceivedMessage } from '../../src/client/message.ts';
import type { ClientOptions } from '../../src/client/options.ts';
import { encodeConnack } from '../../src/wire/connack.ts';
import { encodeDisconnect } from '../../src/wire/disconnect.ts';
import { PacketType } from '../../src/wire/packet-type.ts';
import { PINGRESP } from '../../src/wire/ping.ts';
import { FakeServer, type Peer, publishBytes } from './fake-server.ts';

const FAST = { minMs: 5, maxMs: 20, random: () => 0.5 };

async function serve(t: Test): Promise<FakeServer> {
  const server = await FakeServer.start();
  t.teardown(() => server.stop());
  return server;
}

/** A connected client and the server's side of it. */
async function open(
  t: Test,
  options: Partial<ClientOptions> = {},
  connack: Parameters<Peer['accept']>[0] = {},
): Promise<{ server: FakeServer; client: Client; peer: Peer }> {
  const server = await serve(t);
  const client = new Client({ url: server.url, clientId: 'c', ...options });
  t.teardown(() => client.destroy());
  const connected = client.connect();
  const peer = await server.peer();
  await peer.accept(connack);
  await connected;
  return { server, client, peer };
}

async function failure(promise: Promise<unknown>): Promise<ClientError> {
  try {
    await promise;
  } catch (error) {
    return error as ClientError;
  }
  throw new Error('it did not fail');
}

/** Collects what the handler gets. */
function inbox(): { messages: ReceivedMessage[]; onMessage: (m: ReceivedMessage) => void } {
  const messages: ReceivedMessage[] = [];
  return { messages, onMessage: (message) => void messages.push(message) };
}

async function until(done: () => boolean): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!done()) {
    if (performance.now() > deadline) throw new Error('it did not happen');
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

t.test('CONNECT carries every option', async (t) => {
  const server = await serve(t);
  const client = new Client({
    url: server.url.replace('mqtt://', 'mqtt://me%40home:s%3Acret@'),
    clientId: 'id',
    cleanStart: false,
    keepAliveS: 17,
    will: {
      topic: 'gone',
      payload: Buffer.from('bye'),
      qos: 2,
      retain: true,
      delayIntervalS: 9,
      properties: { contentType: 'text/plain', messageExpiryS: 33, userProperties: [['k', 'v']] },
    },
    properties: {
      sessionExpiryIntervalS: 77,
      receiveMaximum: 5,
      maximumPacketSize: 4096,
      topicAliasMaximum: 3,
      requestResponseInformation: true,
      requestProblemInformation: false,
      userProperties: [
        ['a', '1'],
        ['a', '2'],
      ],
      authenticationMethod: 'M',
    },
    authenticate: () => Buffer.from('first'),
  });
  t.teardown(() => client.destroy());
  const connected = client.connect();
  const peer = await server.peer();
  const connect = await peer.accept({ assignedClientId: 'given', responseInformation: 'r' });
  t.match(connect, {
    protocolVersion: 5,
    clientId: 'id',
    cleanStart: false,
    keepAliveS: 17,
    username: 'me@home',
    sessionExpiryIntervalS: 77,
    receiveMaximum: 5,
    maximumPacketSize: 4096,
    topicAliasMaximum: 3,
    requestResponseInformation: true,
    requestProblemInformation: false,
    authenticationMethod: 'M',
  });
  t.strictSame(connect.userProperties, [
    ['a', '1'],
    ['a', '2'],
  ]);
  t.equal(connect.password?.toString(), 's:cret');
  t.equal(connect.authenticationData?.toString(), 'first');
  const { will } = connect;
  t.match(will, { topic: 'gone', qos: 2, retain: true, delayIntervalS: 9, messageExpiryS: 33 });
  t.equal(will?.payload.toString(), 'bye');
  // content type (0x03) and the user property (0x26), nothing else
  t.equal(
    will?.properties.toString('hex'),
    `03000a${hex('text/plain')}260001${hex('k')}0001${hex('v')}`,
  );
  const connack = await connected;
  t.equal(connack.responseInformation, 'r');
  t.equal(client.clientId, 'given');
});

function hex(text: string): string {
  return Buffer.from(text).toString('hex');
}

t.test('a refusal says why, with the words of the server', async (t) => {
  for (const [version, text] of [
    [5, 'connection refused: not authorized (0x87), "not ? you", server: other:1883'],
    [4, 'connection refused: not authorized (0x87)'],
  ] as const) {
    const server = await serve(t);
    const client = new Client({ url: server.url, version });
    const connected = failure(client.connect());
    const peer = await server.peer();
    await peer.accept({
      reasonCode: 0x87,
      reasonString: 'not \x1b you',
      serverReference: 'other:1883',
    });
    const error = await connected;
    t.equal(error.code, 'refused');
    t.equal(error.reasonCode, 0x87);
    t.equal(error.message, text);
    t.equal((await client.closed)?.code, 'refused');
    t.equal((await failure(client.publish('a'))).code, 'closed');
  }
});

t.test('no connection, no answer', async (t) => {
  const server = await serve(t);
  const { url } = server;
  const silent = new Client({ url, connectTimeoutMs: 50 });
  t.equal((await failure(silent.connect())).code, 'connect_timeout');
  await server.stop();
  const refused = await failure(new Client({ url }).connect());
  t.equal(refused.code, 'connect_failed');
  t.match(refused.message, /connection refused \(ECONNREFUSED\)/);
  const missing = new Client({ url: 'unix:/nowhere/at/all.sock' });
  t.match((await failure(missing.connect())).message, /no such socket/);
});

t.test('enhanced authentication goes on until CONNACK', async (t) => {
  const server = await serve(t);
  const client = new Client({
    url: server.url,
    properties: { authenticationMethod: 'M' },
    authenticate: async (data) => Buffer.from(`to ${data === null ? 'begin' : data}`),
  });
  t.teardown(() => client.destroy());
  const connected = client.connect();
  const peer = await server.peer();
  const { connect } = await peer.expect('CONNECT');
  t.equal(connect?.authenticationData?.toString(), 'to begin');
  peer.send(Buffer.from('f00c180a1500014d16000378797a', 'hex').fill(0x0a, 3, 4));
  const auth = await peer.expect('AUTH');
  t.match(auth.bytes.toString('latin1'), /to xyz$/);
  peer.send(encodeConnack(5, { sessionPresent: false, reasonCode: 0 }));
  await connected;
});

t.test('QoS 0, 1 and 2 are resolved by what ends their exchange', async (t) => {
  for (const version of [3, 4, 5] as const) {
    const { client, peer } = await open(t, { version });
    await client.publish('a', 'zero');
    t.match(await peer.expect('PUBLISH'), { topic: 'a', payload: 'zero', qos: 0 });

    let isDone = false;
    const one = client.publish('a', 'one', { qos: 1, retain: true }).then((result) => {
      isDone = true;
      return result;
    });
    const first = await peer.expect('PUBLISH');
    t.match(first, { payload: 'one', qos: 1, dup: false });
    t.equal(first.bytes[0]! & 1, 1, 'retain');
    t.notOk(isDone, 'not before PUBACK');
    peer.ack(PacketType.PUBACK, first.packetId!);
    t.equal((await one).reasonCode, 0);

    const two = client.publish('a', 'two', { qos: 2 });
    const { packetId } = await peer.expect('PUBLISH');
    peer.ack(PacketType.PUBREC, packetId!);
    t.equal((await peer.expect('PUBREL')).packetId, packetId);
    t.equal(client.pendingMessages, 1, 'not before PUBCOMP');
    peer.ack(PacketType.PUBCOMP, packetId!);
    t.equal((await two).reasonCode, 0);
    t.equal(client.pendingMessages, 0);
    await client.disconnect();
    t.match(await peer.expect('DISCONNECT'), { reasonCode: 0 });
  }
});

t.test('a negative PUBACK or PUBREC rejects, and frees its place', async (t) => {
  const { client, peer } = await open(t, {}, { receiveMaximum: 1 });
  const refused = failure(client.publish('a/b', 'x', { qos: 1 }));
  const next = failure(client.publish('a/b', 'y', { qos: 2 }));
  const last = client.publish('a/b', 'z', { qos: 1 });
  peer.ack(PacketType.PUBACK, (await peer.expect('PUBLISH')).packetId!, 0x97);
  t.match(await refused, {
    code: 'publish_refused',
    reasonCode: 0x97,
    message: 'publish to "a/b" refused: quota exceeded (0x97)',
  });
  peer.ack(PacketType.PUBREC, (await peer.expect('PUBLISH')).packetId!, 0x87);
  t.match(await next, { code: 'publish_refused', reasonCode: 0x87 });
  peer.ack(PacketType.PUBACK, (await peer.expect('PUBLISH')).packetId!, 0x10);
  t.equal((await last).reasonCode, 0x10, 'no matching subscribers is a success');
});

t.test('the receive maximum of the server bounds what is open', async (t) => {
  const { client, peer } = await open(t, {}, { receiveMaximum: 3 });
  const all = Promise.all(
    Array.from({ length: 10 }, (_, i) => client.publish('a', String(i), { qos: 1 })),
  );
  const payloads: string[] = [];
  for (let i = 0; i < 10; i += 1) {
    if (i === 0) await until(() => peer.waiting === 3);
    await new Promise((resolve) => setTimeout(resolve, 5));
    t.ok(peer.waiting <= 3, `${peer.waiting} are open`);
    const { packetId, payload } = await peer.expect('PUBLISH');
    payloads.push(payload!);
    peer.ack(PacketType.PUBACK, packetId!);
  }
  await all;
  t.strictSame(payloads, ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'], 'in order');
});

t.test('what CONNACK has ruled out is refused here', async (t) => {
  const { client, peer } = await open(
    t,
    {},
    { maximumQos: 1, retainAvailable: false, maximumPacketSize: 64 },
  );
  t.match(await failure(client.publish('a', 'x', { qos: 2 })), {
    code: 'not_supported',
    reasonCode: 0x9b,
  });
  t.match(await failure(client.publish('a', 'x', { retain: true })), {
    code: 'not_supported',
    reasonCode: 0x9a,
  });
  t.match(await failure(client.publish('a', Buffer.alloc(64))), { code: 'packet_too_large' });
  await client.publish('a', Buffer.alloc(58));
  t.equal((await peer.expect('PUBLISH')).bytes.length, 64, 'the first that came');
  t.equal(client.pendingMessages, 0);
});

t.test('what MQTT cannot carry is refused before it is sent', async (t) => {
  const { client } = await open(t);
  const bad: [string, Parameters<Client['publish']>[2]][] = [
    ['', {}],
    ['a/+', {}],
    ['a/#', {}],
    ['nul\0', {}],
    ['lone\ud800', {}],
    ['x'.repeat(65_536), {}],
    ['a', { properties: { responseTopic: '+' } }],
    ['a', { properties: { contentType: 'y'.repeat(65_536) } }],
    ['a', { properties: { userProperties: [['k', 'n\0']] } }],
  ];
  for (const [topic, options] of bad) {
    t.equal((await failure(client.publish(topic, 'x', options))).code, 'invalid_argument');
  }
  for (const filter of ['', 'a/#/b', 'a+', '$share/g', '$share//f', '$share/a+/f']) {
    t.equal((await failure(client.subscribe(filter))).code, 'invalid_argument', filter);
  }
  t.equal(
    (await failure(client.subscribe([{ filter: '$share/g/f', noLocal: true }]))).code,
    'invalid_argument',
  );
  for (const options of [
    { url: 'http://x' },
    { url: 'mqtt://' },
    { url: 'nonsense' },
    { url: 'mqtt://h', keepAliveS: 70_000 },
    { url: 'mqtt://h', version: 4, password: 'p' },
    { url: 'mqtt://h', properties: { receiveMaximum: 0 } },
    { url: 'mqtt://h', will: { topic: '#', payload: Buffer.alloc(0) } },
  ] as ClientOptions[]) {
    t.throws(() => new Client(options), { code: 'invalid_argument' }, JSON.stringify(options));
  }
});

t.test('unacknowledged messages are repeated in order when the session is resumed', async (t) => {
  const { server, client, peer } = await open(t, {
    reconnect: FAST,
    properties: { sessionExpiryIntervalS: 60 },
  });
  const results: string[] = [];
  for (const [payload, qos] of [
    ['a', 1],
    ['b', 2],
    ['c', 2],
    ['d', 1],
  ] as const) {
    void client.publish('t', payload, { qos }).then(() => results.push(payload));
  }
  const ids = new Map<string, number>();
  for (let i = 0; i < 4; i++) {
    const { payload, packetId } = await peer.expect('PUBLISH');
    ids.set(payload!, packetId!);
  }
  peer.ack(PacketType.PUBREC, ids.get('b')!);
  await peer.expect('PUBREL');
  peer.cut();

  const again = await server.peer();
  const connect = await again.accept({ sessionPresent: true });
  t.equal(connect.cleanStart, false, 'a session that is kept is resumed');
  t.match(await again.expect('PUBLISH'), { payload: 'a', dup: true, packetId: ids.get('a') });
  t.match(await again.expect('PUBREL'), { packetId: ids.get('b') });
  t.match(await again.expect('PUBLISH'), { payload: 'c', dup: true, packetId: ids.get('c') });
  t.match(await again.expect('PUBLISH'), { payload: 'd', dup: true, packetId: ids.get('d') });
  again.ack(PacketType.PUBACK, ids.get('a')!);
  again.ack(PacketType.PUBCOMP, ids.get('b')!, 0x92);
  again.ack(PacketType.PUBREC, ids.get('c')!);
  await again.expect('PUBREL');
  again.ack(PacketType.PUBCOMP, ids.get('c')!);
  again.ack(PacketType.PUBACK, ids.get('d')!);
  await until(() => results.length === 4);
  t.strictSame(results.sort(), ['a', 'b', 'c', 'd']);
});

t.test('repetitions keep to a smaller receive maximum', async (t) => {
  const { server, client, peer } = await open(t, {
    reconnect: FAST,
    properties: { sessionExpiryIntervalS: 60 },
  });
  const all = Promise.all(['a', 'b', 'c'].map((one) => client.publish('t', one, { qos: 1 })));
  for (let i = 0; i < 3; i++) await peer.expect('PUBLISH');
  peer.cut();
  const again = await server.peer();
  await again.accept({ sessionPresent: true, receiveMaximum: 1 });
  for (const payload of ['a', 'b', 'c']) {
    const seen = await again.expect('PUBLISH');
    t.match(seen, { payload, dup: true });
    await new Promise((resolve) => setTimeout(resolve, 5));
    t.equal(again.waiting, 0);
    again.ack(PacketType.PUBACK, seen.packetId!);
  }
  await all;
});

t.test('without the session QoS 1 starts again and QoS 2 is the caller’s to decide', async (t) => {
  const { server, client, peer } = await open(t, { reconnect: FAST });
  const one = client.publish('t', 'one', { qos: 1 });
  const two = failure(client.publish('t', 'two', { qos: 2 }));
  await peer.expect('PUBLISH');
  await peer.expect('PUBLISH');
  peer.cut();
  const again = await server.peer();
  await again.accept();
  const seen = await again.expect('PUBLISH');
  t.match(seen, { payload: 'one', dup: false });
  again.ack(PacketType.PUBACK, seen.packetId!);
  await one;
  t.equal((await two).code, 'session_lost');
});

t.test(
  'of QoS 2 fewer may be in flight; it begins again in order where that is wanted',
  async (t) => {
    const options = { reconnect: FAST, inflightQos2Max: 1, resendsLost: true };
    const { server, client, peer } = await open(t, options);
    const published = Promise.all(
      ([2, 1, 2, 1] as const).map((qos, i) => client.publish('t', `${i}`, { qos })),
    );
    const before = [await peer.expect('PUBLISH'), await peer.expect('PUBLISH')];
    t.strictSame(
      before.map(({ payload }) => payload),
      ['0', '1'],
      'the third waits for the first',
    );
    peer.cut();
    const again = await server.peer();
    await again.accept();
    for (const [i, qos] of [2, 1].entries()) {
      const seen = await again.expect('PUBLISH');
      t.match(seen, { payload: `${i}`, qos, dup: false });
      again.ack(qos === 2 ? PacketType.PUBREC : PacketType.PUBACK, seen.packetId!);
    }
    const { packetId } = await again.expect('PUBREL');
    again.ack(PacketType.PUBCOMP, packetId!);
    const third = await again.expect('PUBLISH');
    t.match(third, { payload: '2', qos: 2 });
    const fourth = await again.expect('PUBLISH');
    again.ack(PacketType.PUBREC, third.packetId!);
    await again.expect('PUBREL');
    again.ack(PacketType.PUBCOMP, third.packetId!);
    again.ack(PacketType.PUBACK, fourth.packetId!);
    t.equal((await published).length, 4);
  },
);

t.test('messages published between two connections wait, within bounds', async (t) => {
  const { server, client, peer } = await open(t, { reconnect: FAST, queueMessagesMax: 2 });
  peer.cut();
  await until(() => !client.isConnected);
  const first = client.publish('t', '1');
  const second = client.publish('t', '2', { qos: 1 });
  t.equal((await failure(client.publish('t', '3'))).code, 'queue_full');
  t.equal((await failure(client.subscribe('x'))).code, 'not_connected');
  const again = await server.peer();
  await again.accept();
  t.match(await again.expect('PUBLISH'), { payload: '1' });
  const { packetId } = await again.expect('PUBLISH');
  again.ack(PacketType.PUBACK, packetId!);
  await Promise.all([first, second]);
});

t.test('subscriptions: options, answers per filter, and again after a lost session', async (t) => {
  const { server, client, peer } = await open(t, { reconnect: FAST });
  const answer = client.subscribe(
    [
      { filter: 'a/+', qos: 2, noLocal: true, retainAsPublished: true, retainHandling: 2 },
      'denied',
      { filter: '$share/g/b', qos: 1 },
    ],
    { subscriptionId: 300, userProperties: [['u', 'v']] },
  );
  const seen = await peer.grant([2, 0x87, 1]);
  t.strictSame(seen.subscribe?.subscriptions[0], {
    filter: 'a/+',
    qos: 2,
    noLocal: true,
    retainAsPublished: true,
    retainHandling: 2,
  });
  t.match(seen.subscribe, { subscriptionId: 300, userProperties: [['u', 'v']] });
  const results = await answer;
  t.strictSame(
    results.map(({ filter, reasonCode }) => [filter, reasonCode]),
    [
      ['a/+', 2],
      ['denied', 0x87],
      ['$share/g/b', 1],
    ],
  );
  t.strictSame(
    results.map(({ error }) => error?.message ?? null),
    [null, 'subscription of "denied" refused: not authorized (0x87)', null],
  );

  const gone = client.unsubscribe('$share/g/b');
  const { packetId } = await peer.expect('UNSUBSCRIBE').then(({ bytes }) => ({
    packetId: bytes.readUInt16BE(2),
  }));
  peer.send(Buffer.from([0xb0, 4, packetId >> 8, packetId & 255, 0, 0]));
  t.strictSame(await gone, [{ filter: '$share/g/b', reasonCode: 0, error: null }]);

  peer.cut();
  const again = await server.peer();
  await again.accept();
  const repeated = await again.grant([0x87]);
  t.strictSame(
    repeated.subscribe?.subscriptions.map(({ filter }) => filter),
    ['a/+'],
  );
  t.equal(repeated.subscribe?.subscriptionId, 300);
  t.equal((await client.closed)?.code, 'subscribe_refused', 'and is told when it is refused now');
});

t.test('subscriptions that the server still has are not asked for again', async (t) => {
  const { server, client, peer } = await open(t, {
    reconnect: FAST,
    properties: { sessionExpiryIntervalS: 60 },
  });
  const answer = client.subscribe('a');
  await peer.grant([0]);
  await answer;
  peer.cut();
  const again = await server.peer();
  await again.accept({ sessionPresent: true });
  await client.publish('after', '');
  t.match(await again.expect('PUBLISH'), { topic: 'after' });
});

t.test('an answer that does not come is an error', async (t) => {
  const { client } = await open(t, { answerTimeoutMs: 30 });
  t.equal((await failure(client.subscribe('a'))).code, 'request_timeout');
});

t.test('messages come in order, acknowledged when the handler is done', async (t) => {
  const gates: PromiseWithResolvers<void>[] = [];
  const got: string[] = [];
  const { peer } = await open(t, {
    onMessage: (message) => {
      got.push(message.payload.toString());
      const gate = Promise.withResolvers<void>();
      gates.push(gate);
      return gate.promise;
    },
  });
  peer.send(publishBytes('t', 'one', { qos: 1, packetId: 7 }));
  peer.send(publishBytes('t', 'two', { qos: 2, packetId: 8 }));
  await until(() => got.length === 1);
  await new Promise((resolve) => setTimeout(resolve, 10));
  t.strictSame([got, peer.waiting], [['one'], 0], 'nothing acknowledged, nothing overtakes');
  gates[0]!.resolve();
  t.match(await peer.expect('PUBACK'), { packetId: 7, reasonCode: 0 });
  await until(() => got.length === 2);
  gates[1]!.resolve();
  t.match(await peer.expect('PUBREC'), { packetId: 8 });
  peer.send(publishBytes('t', 'two', { qos: 2, packetId: 8, dup: true }));
  t.match(await peer.expect('PUBREC'), { packetId: 8 });
  t.equal(got.length, 2, 'not handed over twice');
  peer.ack(PacketType.PUBREL, 8);
  t.match(await peer.expect('PUBCOMP'), { packetId: 8, reasonCode: 0 });
  peer.ack(PacketType.PUBREL, 9);
  t.match(await peer.expect('PUBCOMP'), { packetId: 9, reasonCode: 0x92 });
});

t.test('exactly once over a lost connection', async (t) => {
  const { messages, onMessage } = inbox();
  const { server, peer } = await open(t, {
    onMessage,
    reconnect: FAST,
    properties: { sessionExpiryIntervalS: 60 },
  });
  peer.send(publishBytes('t', 'x', { qos: 2, packetId: 5 }));
  await peer.expect('PUBREC');
  peer.cut();
  const again = await server.peer();
  await again.accept({ sessionPresent: true });
  again.send(publishBytes('t', 'x', { qos: 2, packetId: 5, dup: true }));
  await again.expect('PUBREC');
  again.ack(PacketType.PUBREL, 5);
  await again.expect('PUBCOMP');
  again.send(publishBytes('t', 'y', { qos: 2, packetId: 5 }));
  await again.expect('PUBREC');
  t.strictSame(
    messages.map(({ payload }) => payload.toString()),
    ['x', 'y'],
  );
  again.cut();
  const third = await server.peer();
  await third.accept({ sessionPresent: false });
  third.send(publishBytes('t', 'z', { qos: 2, packetId: 5 }));
  await third.expect('PUBREC');
  t.equal(messages.length, 3, 'a new session knows no identifiers');
});

t.test(
  'thousands of acknowledgements leave in order, and other packets at their place',
  async (t) => {
    const count = 3000;
    const open3000: ((isTaken: boolean) => void)[] = [];
    const { client, peer } = await open(t, {
      onArrival: (_view, _topic, done) => void open3000.push(done),
    });
    const packets = Array.from({ length: count }, (_, i) =>
      publishBytes('t', `${i}`, { qos: i % 3 === 2 ? 2 : 1, packetId: i + 1 }),
    );
    peer.send(Buffer.concat(packets));
    await until(() => open3000.length === count);
    const half = count / 2;
    // Out of order, but for the first, which all others wait for.
    for (let i = half - 1; i > 0; i--) open3000[i]!(true);
    await new Promise((resolve) => setTimeout(resolve, 10));
    t.equal(peer.waiting, 0);
    open3000[0]!(true);
    const subscribed = client.subscribe('x');
    for (let i = half; i < count; i++) open3000[i]!(true);
    for (let i = 0; i < count; i++) {
      if (i === half) await peer.grant();
      const { type, packetId } = (await peer.next())!;
      const wanted = i % 3 === 2 ? 'PUBREC' : 'PUBACK';
      if (type !== wanted || packetId !== i + 1) t.strictSame([type, packetId], [wanted, i + 1]);
    }
    await subscribed;
    t.equal(peer.waiting, 0);
  },
);

t.test('a handler that fails leaves its message unacknowledged', async (t) => {
  for (const isAsync of [true, false]) {
    let failures = 0;
    const got: string[] = [];
    const { server, peer } = await open(t, {
      reconnect: FAST,
      properties: { sessionExpiryIntervalS: 60 },
      onMessage: (message) => {
        const payload = message.payload.toString();
        if (payload === 'bad' && failures++ === 0) {
          if (isAsync) return Promise.reject(new Error('no'));
          throw new Error('no');
        }
        got.push(payload);
        return undefined;
      },
    });
    peer.send(
      Buffer.concat([
        publishBytes('t', 'bad', { qos: 1, packetId: 1 }),
        publishBytes('t', 'next', { qos: 1, packetId: 2 }),
      ]),
    );
    t.match(await peer.expect('DISCONNECT'), { reasonCode: 0x83 });
    const again = await server.peer();
    await again.accept({ sessionPresent: true });
    again.send(publishBytes('t', 'bad', { qos: 1, packetId: 1, dup: true }));
    t.match(await again.expect('PUBACK'), { packetId: 1 });
    again.send(publishBytes('t', 'next', { qos: 1, packetId: 2, dup: true }));
    t.match(await again.expect('PUBACK'), { packetId: 2 });
    t.strictSame(got, ['bad', 'next'], 'in order');
  }
});

t.test('properties and topic aliases of received messages', async (t) => {
  const { messages, onMessage } = inbox();
  const { peer } = await open(t, { onMessage, properties: { topicAliasMaximum: 2 } });
  const all = Buffer.from(
    `0101020000003c030004${hex('text')}080003${hex('r/t')}0900020102260001${hex('k')}0001${hex('v')}` +
      `260001${hex('k')}0001${hex('w')}0b050bac02230001`,
    'hex',
  );
  peer.send(publishBytes('topic/é', 'body', { properties: all }));
  peer.send(publishBytes('', 'second', { properties: Buffer.from('230001', 'hex') }));
  peer.send(publishBytes('new', 'third', { properties: Buffer.from('230001', 'hex') }));
  peer.send(publishBytes('', 'fourth', { properties: Buffer.from('230001', 'hex') }));
  await until(() => messages.length === 4);
  t.strictSame(
    messages.map(({ topic }) => topic),
    ['topic/é', 'topic/é', 'new', 'new'],
  );
  t.strictSame(messages[0]?.properties, {
    messageExpiryS: 60,
    payloadFormatIndicator: 1,
    contentType: 'text',
    responseTopic: 'r/t',
    correlationData: Buffer.from([1, 2]),
    userProperties: [
      ['k', 'v'],
      ['k', 'w'],
    ],
  });
  t.strictSame(messages[0]?.subscriptionIds, [5, 300]);
  t.strictSame(messages[1]?.subscriptionIds, []);
});

t.test('what a server may not send ends the connection with its reason', async (t) => {
  const cases: [string, Buffer, number][] = [
    ['an alias over our maximum', publishBytes('a', 'x', { properties: hexBytes('230009') }), 0x94],
    ['an unknown alias', publishBytes('', 'x', { properties: hexBytes('230001') }), 0x82],
    ['a PUBLISH without topic', publishBytes('', 'x'), 0x90],
    ['a wildcard as topic', publishBytes('a/#', 'x'), 0x90],
    ['bad UTF-8', publishBytes('a', 'x').fill(0xff, 4, 5), 0x81],
    ['a second CONNACK', hexBytes('2003000000'), 0x82],
    ['packet type 0', hexBytes('0000'), 0x81],
    ['a client’s packet', hexBytes('c000'), 0x82],
    ['a length of five bytes', hexBytes('30ffffffff7f'), 0x81],
    ['more than our maximum packet size', publishBytes('a', 'y'.repeat(300)), 0x95],
    ['a SUBACK with no codes', hexBytes('9003000100'), 0x82],
  ];
  for (const [what, bytes, reasonCode] of cases) {
    const { client, peer } = await open(t, {
      properties: { topicAliasMaximum: 2, maximumPacketSize: 256 },
    });
    peer.send(bytes);
    t.match(await peer.expect('DISCONNECT'), { reasonCode }, what);
    t.match(await client.closed, { code: 'protocol_error', reasonCode }, what);
  }
  const { client, peer } = await open(t, { version: 4 });
  peer.send(hexBytes('e000'));
  t.match(await client.closed, { code: 'protocol_error' }, '3.1.1 servers send no DISCONNECT');
  t.equal(await peer.next(), null, 'and get none');
});

function hexBytes(text: string): Buffer {
  return Buffer.from(text, 'hex');
}

t.test('packets cut at every byte are the same packets', async (t) => {
  const { messages, onMessage } = inbox();
  const { peer } = await open(t, { onMessage });
  const big = 'z'.repeat(20_000);
  const bytes = Buffer.concat([
    publishBytes('a', 'first', { qos: 1, packetId: 1 }),
    publishBytes('b', big),
    publishBytes('c', 'last', { qos: 1, packetId: 2 }),
  ]);
  peer.socket.setNoDelay(true);
  for (let i = 0; i < 40; i++) {
    peer.send(bytes.subarray(i, i + 1));
    await new Promise((resolve) => setImmediate(resolve));
  }
  peer.send(bytes.subarray(40, 15_000));
  await new Promise((resolve) => setTimeout(resolve, 5));
  peer.send(bytes.subarray(15_000));
  await peer.expect('PUBACK');
  await peer.expect('PUBACK');
  t.strictSame(
    messages.map(({ topic }) => topic),
    ['a', 'b', 'c'],
  );
  t.equal(messages[1]?.payload.toString(), big);
});

t.test('DISCONNECT of the server, and who comes back after it', async (t) => {
  const { server, client, peer } = await open(t, { reconnect: FAST });
  peer.send(encodeDisconnect(5, { reasonCode: 0x8b }));
  const again = await server.peer();
  await again.accept();
  await until(() => client.isConnected);
  again.send(encodeDisconnect(5, { reasonCode: 0x8e, reasonString: 'elsewhere' }));
  const error = await client.closed;
  t.match(error, { code: 'closed_by_server', reasonCode: 0x8e, reasonString: 'elsewhere' });
  t.match(error?.message, /session taken over by another connection \(0x8e\), "elsewhere"/);
  t.equal(server.connections, 2, 'two clients of one name do not fight');
});

t.test('reconnect.always also goes on after refusals and a failed start', async (t) => {
  const server = await serve(t);
  const delays: (number | null)[] = [];
  const client = new Client({
    url: server.url,
    reconnect: { ...FAST, always: true },
    onDisconnected: (_error, retryMs) => delays.push(retryMs),
  });
  t.teardown(() => client.destroy());
  const connected = client.connect();
  for (const reasonCode of [0x87, 0x86, 0x88]) {
    await (await server.peer()).accept({ reasonCode });
  }
  await (await server.peer()).accept();
  await connected;
  t.strictSame(delays, [3.75, 7.5, 15], 'doubled, half of it by chance');
});

t.test('keep alive: pings when silent, gives up without an answer', async (t) => {
  const { client, peer } = await open(t, { answerTimeoutMs: 500 }, { serverKeepAliveS: 3 });
  const startMs = performance.now();
  await peer.expect('PINGREQ');
  const waitedMs = performance.now() - startMs;
  t.ok(waitedMs > 1500 && waitedMs < 3000, `after ${waitedMs} ms, within the server's keep alive`);
  peer.send(PINGRESP);
  await peer.expect('PINGREQ');
  t.ok(client.isConnected, 'the answer counted');
  t.match(await client.closed, { code: 'keep_alive_timeout' });
});

t.test('a slow handler stops the reading and not the pings', async (t) => {
  const gate = Promise.withResolvers<void>();
  let got = 0;
  const { client, peer } = await open(
    t,
    { answerTimeoutMs: 500, onMessage: () => (got++ === 0 ? gate.promise : undefined) },
    { serverKeepAliveS: 1 },
  );
  const message = publishBytes('flood', Buffer.alloc(64 * 1024));
  for (let i = 0; i < 600; i++) peer.send(message);
  await peer.expect('PINGREQ');
  t.ok(peer.socket.writableLength > 0, 'the server is held back');
  await peer.expect('PINGREQ');
  t.ok(client.isConnected, 'silence while not reading proves nothing');
  gate.resolve();
  await until(() => got === 600);
});

t.test('disconnect from inside the handler acknowledges that message and no other', async (t) => {
  const got: string[] = [];
  let stop: () => void = () => {};
  const { client, peer } = await open(t, {
    onMessage: (message) => {
      got.push(message.payload.toString());
      stop();
    },
  });
  stop = () => void client.disconnect({ sessionExpiryIntervalS: 0 });
  peer.send(
    Buffer.concat([
      publishBytes('t', 'one', { qos: 1, packetId: 1 }),
      publishBytes('t', 'two', { qos: 1, packetId: 2 }),
    ]),
  );
  t.match(await peer.expect('PUBACK'), { packetId: 1 });
  await peer.expect('DISCONNECT');
  t.equal(await peer.next(), null);
  t.equal(await client.closed, null);
  t.strictSame(got, ['one']);
});

t.test('closing tells everyone who waits', async (t) => {
  const { client, peer } = await open(t, { reconnect: FAST });
  const publish = failure(client.publish('a', 'x', { qos: 1 }));
  const subscribe = failure(client.subscribe('a'));
  await peer.expect('PUBLISH');
  await client.destroy();
  t.equal((await publish).code, 'closed');
  t.equal((await subscribe).code, 'closed');
  t.equal(await client.closed, null);
  const never = new Client({ url: 'mqtt://127.0.0.1:1' });
  t.equal((await failure(never.publish('a'))).code, 'not_connected');
  await never.disconnect();
  t.equal((await failure(never.connect())).code, 'closed');
});
