// WebSocket over real sockets: who is let in and what others are told, frames split anywhere, what
// is refused, and the ways a connection ends.

import { once } from 'node:events';
import { connect as connectTls } from 'node:tls';
import mqtt from 'mqtt';
import type { Test } from 'tap';
import t from 'tap';
import type { ListenerOptions } from '../../src/listeners/listener.ts';
import { Certificates } from './certificates.ts';
import { type RecordedConnection, sleep, until } from './recorder.ts';
import { connectSocket } from './test-client.ts';
import { type Harness, listen, pattern, sameBytes } from './transports.ts';
import { frame, Opcode, type UpgradeOptions, upgrade, WireClient } from './web-socket-frames.ts';

const url = 'ws://127.0.0.1:0';

async function request(harness: Harness, bytes: Buffer): Promise<WireClient> {
  const client = await WireClient.connect(harness.listener.address);
  client.socket.write(bytes);
  return client;
}

async function statusOf(harness: Harness, options: UpgradeOptions): Promise<number> {
  const client = await request(harness, upgrade(options));
  const status = await client.answered();
  client.socket.destroy();
  return status;
}

/** A connection by hand, past its opening handshake. */
async function open(
  harness: Harness,
  options: UpgradeOptions = {},
): Promise<[WireClient, RecordedConnection]> {
  const client = await request(harness, upgrade(options));
  await client.answered();
  return [client, await harness.acceptor.next()];
}

function start(t: Test, more: Partial<ListenerOptions> = {}): Promise<Harness> {
  return listen(t, { url, ...more });
}

t.test('the path', async (t) => {
  const harness = await start(t, { url: `${url}/devices` });
  t.match(harness.listener.address, /^ws:\/\/127\.0\.0\.1:\d+\/devices$/);
  t.equal(await statusOf(harness, { path: '/devices' }), 101);
  t.equal(await statusOf(harness, { path: '/devices?token=1' }), 101);
  for (const path of ['/', '/mqtt', '/devices/', '/Devices', '/devices/1', '//devices', '*']) {
    t.equal(await statusOf(harness, { path }), 404, path);
  }
  t.equal(harness.listener.counters.handshakesFailed, 7);
  t.match(harness.log.problems(), ['MQTT is served at /devices.']);
  const other = await start(t, { websocket: { path: '/from/option', allowedOrigins: null } });
  t.equal(await statusOf(other, { path: '/from/option' }), 101);
  t.equal(await statusOf(other, {}), 404);
  const usual = await start(t);
  t.match(usual.listener.address, /\/mqtt$/);
  t.equal(await statusOf(usual, {}), 101);
});

t.test('plain HTTP is told what this is', async (t) => {
  const harness = await start(t);
  const get = async (first: string): Promise<WireClient> => {
    const client = await request(harness, Buffer.from(`${first}\r\nHost: x\r\n\r\n`));
    await until(() => client.hasEnded, 'the answer is whole');
    return client;
  };
  const page = await get('GET /mqtt HTTP/1.1');
  t.equal(page.status, 426);
  t.match(page.head.toLowerCase(), /upgrade: websocket/);
  t.match(page.bytes.toString(), /This is an MQTT broker/);
  t.equal((await get('GET / HTTP/1.1')).status, 404);
  t.equal((await get('HEAD /mqtt HTTP/1.1')).status, 426);
  t.equal((await get('POST /mqtt HTTP/1.1\r\nContent-Length: 1000')).status, 426);
  t.equal((await get('nonsense')).status, 400);
  t.equal(harness.listener.counters.handshakesFailed, 5);
  const huge = await request(harness, upgrade({ headers: { Cookie: 'x'.repeat(20_000) } }));
  t.ok([400, 431].includes(await huge.answered()), 'headers beyond bound');
  const proxying = await request(harness, Buffer.from('CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n'));
  await until(() => proxying.isClosed || proxying.hasEnded, 'CONNECT is closed');
  await until(() => harness.listener.counters.handshakesFailed === 7, 'all count, once');
  t.strictSame(harness.acceptor.connections, []);
});

t.test('the subprotocol', async (t) => {
  const harness = await start(t);
  const offer = async (protocol: string | null): Promise<[number, string]> => {
    const headers = { 'Sec-WebSocket-Protocol': protocol };
    const client = await request(harness, upgrade({ headers }));
    const status = await client.answered();
    client.socket.destroy();
    return [status, /sec-websocket-protocol: (.*)/i.exec(client.head)?.[1] ?? ''];
  };
  t.strictSame(await offer('mqtt'), [101, 'mqtt']);
  t.strictSame(await offer('mqttv3.1'), [101, 'mqttv3.1']);
  t.strictSame(await offer('chat, mqtt'), [101, 'mqtt']);
  t.strictSame(await offer('mqttv3.1,mqtt'), [101, 'mqtt']);
  // [MQTT5-6.0.0-3] [MQTT5-6.0.0-4]
  for (const protocol of [null, '', 'chat', 'MQTT', 'mqttx', 'mqtt;v=5']) {
    t.equal((await offer(protocol))[0], 400, String(protocol));
  }
  t.equal((await offer('mqtt, mqtt'))[0], 400, 'twice the same');
});

t.test('the opening handshake', async (t) => {
  const harness = await start(t);
  const wrong: [string, UpgradeOptions, number][] = [
    ['no key', { headers: { 'Sec-WebSocket-Key': null } }, 400],
    ['short key', { headers: { 'Sec-WebSocket-Key': 'abc' } }, 400],
    ['no version', { headers: { 'Sec-WebSocket-Version': null } }, 400],
    ['old version', { headers: { 'Sec-WebSocket-Version': '7' } }, 400],
    [
      'a version that names the origin elsewhere',
      { headers: { 'Sec-WebSocket-Version': '8' } },
      400,
    ],
    ['another upgrade', { headers: { Upgrade: 'h2c' } }, 400],
    ['another method', { method: 'PUT' }, 400],
  ];
  for (const [name, options, status] of wrong) {
    t.equal(await statusOf(harness, options), status, name);
  }
  t.equal(harness.listener.counters.handshakesFailed, wrong.length);
  const withBody = { headers: { 'Content-Length': '10' }, after: '12345' };
  const client = await request(harness, upgrade(withBody));
  await until(() => client.isClosed || client.hasEnded, 'a request with a body');
  client.socket.destroy();
  await until(() => harness.listener.connections === 0, 'no connection is left');
  t.strictSame(harness.acceptor.connections, []);
});

t.test('the origin', async (t) => {
  const from = (harness: Harness, origin: string | null, host = '127.0.0.1'): Promise<number> =>
    statusOf(harness, { headers: { Origin: origin, Host: host } });
  const usual = await start(t);
  t.equal(await from(usual, null), 101, 'no browser');
  t.equal(await from(usual, 'http://localhost:3000'), 101);
  t.equal(await from(usual, 'http://127.0.0.1:5173'), 101);
  t.equal(await from(usual, 'http://[::1]:5173'), 101);
  t.equal(await from(usual, 'http://192.0.2.7', '192.0.2.7:8083'), 101, 'where it came from');
  t.equal(await from(usual, 'https://evil.example'), 403);
  t.equal(await from(usual, 'https://evil.example', 'evil.example'), 403, 'DNS rebinding');
  t.equal(await from(usual, 'null'), 403);
  t.match(usual.log.problems(), [/Pages of https:\/\/evil\.example may not connect/]);

  const listed = await start(t, { websocket: { allowedOrigins: ['https://app.example.com'] } });
  t.equal(await from(listed, 'https://app.example.com'), 101);
  t.equal(await from(listed, 'http://app.example.com'), 403);
  t.equal(await from(listed, 'http://localhost'), 403, 'the list is all there is');
  t.equal(await from(listed, null), 101);
  const all = await start(t, { websocket: { allowedOrigins: ['*'] } });
  t.equal(await from(all, 'https://anything.example'), 101);

  await listed.listener.reload({
    url,
    websocket: { allowedOrigins: ['https://new.example'] },
    limits: {},
    handshakeTimeoutMs: 1000,
  });
  t.equal(await from(listed, 'https://app.example.com'), 403, 'after a reload');
  t.equal(await from(listed, 'https://new.example'), 101);
});

t.test('who is refused and does not leave is closed, and takes a place until then', async (t) => {
  const harness = await start(t, { handshakesMax: 2, handshakeTimeoutMs: 30_000 });
  const beganMs = performance.now();
  const first = await request(harness, upgrade({ path: '/wrong' }));
  const second = await request(harness, Buffer.from('nonsense\r\n\r\n'));
  t.equal(await first.answered(), 404);
  t.equal(await second.answered(), 400);
  const third = await request(harness, upgrade());
  await until(() => third.isClosed || third.hasEnded, 'no place is left');
  t.equal(third.status, 0);
  t.equal(harness.listener.counters.refused, 1);
  await until(() => harness.listener.connections === 0, 'all are closed');
  t.ok(performance.now() - beganMs < 15_000, 'within the bound');
  t.equal(await statusOf(harness, {}), 101, 'and there is place again');
  t.equal(harness.listener.counters.handshakesFailed, 2);
});

t.test('a request that never ends', async (t) => {
  const harness = await start(t, { handshakeTimeoutMs: 120 });
  const client = await request(harness, Buffer.from('GET /mqtt HTTP/1.1\r\nHost: x\r\n'));
  const drip = setInterval(() => client.socket.write('X-A: b\r\n'), 20);
  const beganMs = performance.now();
  await until(() => client.isClosed || client.hasEnded, 'it is closed');
  clearInterval(drip);
  t.ok(performance.now() - beganMs < 8000);
  t.equal(harness.listener.counters.handshakesFailed, 1);
  t.match(harness.log.problems(), ['handshake took too long']);
});

t.test('frames split anywhere, messages in fragments, several in one segment', async (t) => {
  const harness = await start(t);
  const bytes = pattern(70_000);
  const first = frame(Opcode.BINARY, bytes.subarray(0, 3), { isFinal: false });
  const wire = Buffer.concat([
    first,
    frame(Opcode.PING, Buffer.from('amid')),
    frame(Opcode.CONTINUATION, Buffer.alloc(0), { isFinal: false }),
    frame(Opcode.CONTINUATION, bytes.subarray(3, 200)),
    frame(Opcode.BINARY, Buffer.alloc(0)),
    frame(Opcode.BINARY, bytes.subarray(200, 201)),
    frame(Opcode.BINARY, bytes.subarray(201, 326)),
    frame(Opcode.BINARY, bytes.subarray(326, 452)),
    frame(Opcode.BINARY, bytes.subarray(452, 66_000)),
    frame(Opcode.BINARY, bytes.subarray(66_000)),
  ]);
  // Some come with the opening handshake already.
  const [client, connection] = await open(harness, { after: wire.subarray(0, 5) });
  for (let at = 5; at < 700; at += 1) {
    client.socket.write(wire.subarray(at, at + 1));
    if (at % 40 === 0) await sleep(1);
  }
  client.socket.write(wire.subarray(700));
  sameBytes(t, await connection.receivedBytes(bytes.length), bytes, 'fragments and splits');
  await until(() => client.frames().length > 0, 'a pong');
  t.match(client.frames()[0], { opcode: Opcode.PONG });
  t.equal(client.frames()[0]?.payload.toString(), 'amid');

  // All of it at once, on another connection.
  const [, atOnce] = await open(harness, { after: wire });
  sameBytes(t, await atOnce.receivedBytes(bytes.length), bytes, 'in one piece');
});

t.test('each write leaves as one binary message', async (t) => {
  const harness = await start(t);
  const [client, connection] = await open(harness);
  const writes = [1, 125, 126, 65_535, 65_536].map((size) => pattern(size, size));
  for (const write of writes) {
    await until(() => connection.sink.unsentBytes() === 0, 'the last write is done');
    connection.say(write);
  }
  await until(() => client.frames().length === writes.length, 'all have come');
  for (const [index, { opcode, payload }] of client.frames().entries()) {
    t.equal(opcode, Opcode.BINARY);
    sameBytes(t, payload, writes[index]!, `message ${index}`);
  }
});

t.test('text is refused', async (t) => {
  const harness = await start(t);
  const [client, connection] = await open(harness);
  // [MQTT5-6.0.0-1]
  client.socket.write(frame(Opcode.TEXT, Buffer.from('hello')));
  client.socket.write(frame(Opcode.BINARY, Buffer.from('too late')));
  t.equal(await client.closeCode(), 1003);
  const beganMs = performance.now();
  t.match(await connection.closed(), { message: /binary/ });
  t.ok(performance.now() - beganMs < 8000, 'also when the client does not answer');
  t.equal(connection.bytesReceived, 0);
});

t.test('broken frames', async (t) => {
  const limits = { packetBytesMax: 10_000 };
  const harness = await start(t, { limits });
  const tooLarge = Buffer.alloc(10_000 + 64 * 1024 + 1);
  const head = frame(Opcode.BINARY, tooLarge).subarray(0, 14);
  const many = Buffer.concat([
    frame(Opcode.BINARY, Buffer.from('x'), { isFinal: false }),
    ...Array.from({ length: 5000 }, () =>
      frame(Opcode.CONTINUATION, Buffer.from('x'), { isFinal: false }),
    ),
  ]);
  const fragment = frame(Opcode.CONTINUATION, Buffer.alloc(40_000), { isFinal: false });
  const wrong: [string, Buffer, number][] = [
    ['a message over the bound, by its header', head, 1009],
    [
      'a message over the bound, by its fragments',
      Buffer.concat([
        frame(Opcode.BINARY, Buffer.alloc(40_000), { isFinal: false }),
        fragment,
        fragment,
      ]),
      1009,
    ],
    ['too many fragments', many, 1008],
    ['no mask', frame(Opcode.BINARY, Buffer.from('x'), { isMasked: false }), 1002],
    ['a fragment of nothing', frame(Opcode.CONTINUATION, Buffer.from('x')), 1002],
    ['an unknown opcode', frame(5, Buffer.from('x')), 1002],
    ['a ping in fragments', frame(Opcode.PING, Buffer.from('x'), { isFinal: false }), 1002],
    ['compressed', Buffer.from('c10137fa213d00', 'hex'), 1002],
  ];
  for (const [name, bytes, code] of wrong) {
    const [client, connection] = await open(harness);
    client.socket.write(bytes);
    t.equal(await client.closeCode(), code, name);
    client.socket.end();
    t.type(await connection.closed(), Error, `${name}: told as an error`);
    t.equal(connection.bytesReceived, 0, name);
    await sleep(5);
    t.equal(connection.closes.length, 1, name);
  }
  const [client, connection] = await open(harness);
  const largest = pattern(10_000 + 64 * 1024);
  client.socket.write(frame(Opcode.BINARY, largest));
  sameBytes(t, await connection.receivedBytes(largest.length), largest, 'the largest');
  // The client stays where it is: it is closed all the same.
  client.socket.write(head);
  const beganMs = performance.now();
  t.type(await connection.closed(), Error);
  t.ok(performance.now() - beganMs < 8000, 'within the bound');
});

t.test('a client that was not answered may say little', async (t) => {
  const harness = await start(t, { connectBytesMax: 1000 });
  const bound = 1000 + 64 * 1024;
  const part = frame(Opcode.BINARY, pattern(bound), { isFinal: false });
  // One message that never ends, or many small ones.
  const floods = [part, Buffer.concat(Array(1200).fill(frame(Opcode.BINARY, pattern(60))))];
  for (const flood of floods) {
    const [client, connection] = await open(harness);
    client.socket.write(flood);
    t.match(await connection.closed(), { message: /before CONNECT/ });
    t.ok(connection.bytesReceived <= bound);
  }
  const [client, connection] = await open(harness);
  client.socket.write(part.subarray(0, 900));
  connection.say('welcome');
  client.socket.write(part.subarray(900));
  client.socket.write(frame(Opcode.CONTINUATION, pattern(100_000, 2)));
  const wanted = Buffer.concat([pattern(bound), pattern(100_000, 2)]);
  sameBytes(t, await connection.receivedBytes(wanted.length), wanted, 'and much afterwards');
});

const files = new Certificates();
files.authority('ca');
files.issue('server', 'ca', 'IP:127.0.0.1');
files.issue('device', 'ca', 'DNS:x');
const serverTls = {
  certFile: files.path('server.pem'),
  keyFile: files.path('server.key'),
  caFile: files.path('ca.pem'),
  clientCertificate: 'optional' as const,
};
const trust = { ca: files.pem('ca.pem'), host: '127.0.0.1' };

for (const scheme of ['ws', 'wss']) {
  t.test(`${scheme}: pings are answered, also behind a write that waits`, async (t) => {
    const tls = scheme === 'wss' ? serverTls : undefined;
    const harness = await start(t, { url: `${scheme}://127.0.0.1:0`, tls });
    const [client, connection] = await harness.pair({ isPaused: true, tls: trust });
    const bytes = pattern(8 * 1024 * 1024);
    connection.say(bytes);
    t.ok(connection.sink.unsentBytes() > 0);
    // The pongs wait in the same stream, behind the write.
    for (let i = 0; i < 3; i += 1) client.ping();
    client.send('heard');
    await connection.receivedBytes(5);
    client.resume();
    await until(() => connection.drained === 1, 'onDrained');
    t.equal(connection.sink.unsentBytes(), 0);
    await client.receivedBytes(bytes.length);
    await sleep(10);
    t.equal(connection.drained, 1, 'and not once more for the pongs');

    // A write right behind a pong: its memory is the caller's again when `write` says so.
    let answers = 0;
    connection.onBytesToo = () => {
      if (connection.sink.unsentBytes() > 0) return;
      answers++;
      const answer = Buffer.from('answer');
      if (connection.call((sink) => sink.write(answer, 0, answer.length))) answer.fill('!');
    };
    for (let round = 1; round <= 5; round += 1) {
      // Paused, so that ping and message are read in one turn.
      connection.sink.pause();
      client.ping();
      client.send('x');
      await sleep(10);
      connection.sink.resume();
      await connection.receivedBytes(5 + round);
      await until(() => connection.sink.unsentBytes() === 0, 'the answer is sent');
    }
    t.equal(answers, 5);
    const received = await client.receivedBytes(bytes.length + answers * 6);
    t.equal(received.subarray(bytes.length).toString(), 'answer'.repeat(answers));
    t.strictSame(connection.reentered, []);
  });
}

t.test('a flood of pings nobody reads the answers of is ended', async (t) => {
  const harness = await start(t);
  const client = await WireClient.connect(harness.listener.address);
  client.socket.write(upgrade());
  await client.answered();
  const connection = await harness.acceptor.next();
  client.socket.pause();
  connection.say(pattern(8 * 1024 * 1024));
  const ping = frame(Opcode.PING, Buffer.alloc(100));
  for (let i = 0; i < 200; i += 1) client.socket.write(ping);
  await connection.closed();
  client.socket.destroy();
  t.equal(connection.closes.length, 1);
});

t.test('end: a client that never answers the closing frame', async (t) => {
  const harness = await start(t);
  const [client, connection] = await open(harness);
  const chatter = setInterval(() => client.socket.write(frame(Opcode.BINARY, pattern(5000))), 2);
  t.teardown(() => clearInterval(chatter));
  await connection.receivedBytes(20_000);
  connection.say('the last word');
  const beganMs = performance.now();
  connection.call((sink) => sink.end(150));
  t.equal(await client.closeCode(), 1000);
  t.equal(client.frames()[0]?.payload.toString(), 'the last word');
  t.equal(await connection.closed(), null);
  const tookMs = performance.now() - beganMs;
  t.ok(tookMs >= 140 && tookMs < 8000, 'closed after the linger time');
});

t.test('a client that says goodbye and stays', async (t) => {
  const harness = await start(t);
  const [client, connection] = await open(harness);
  client.socket.write(frame(Opcode.CLOSE, Buffer.from([0x03, 0xe8])));
  t.equal(await client.closeCode(), 1000);
  const beganMs = performance.now();
  t.equal(await connection.closed(), null, 'an end is no error');
  t.ok(performance.now() - beganMs < 8000, 'it does not hold its session');
});

t.test('over TLS: refusals count once, resets hurt nobody, certificates go through', async (t) => {
  const harness = await start(t, { url: 'wss://127.0.0.1:0/here', tls: serverTls });
  const identity = { cert: files.pem('device.pem'), key: files.pem('device.key') };
  const wrongPath = harness.listener.address.replace('/here', '/there');
  for (let i = 0; i < 5; i += 1) {
    await t.rejects(harness.client({ address: wrongPath, tls: trust }), { message: /404/ });
  }
  await until(() => harness.listener.counters.handshakesFailed === 5, 'each counts');
  const plain = await WireClient.connect(harness.listener.address);
  plain.socket.write(upgrade());
  await until(() => plain.isClosed || plain.hasEnded, 'plain HTTP on a TLS port is closed');
  plain.socket.destroy();
  await until(() => harness.listener.connections === 0, 'no connection is left');
  t.equal(harness.listener.counters.handshakesFailed, 6, 'once');
  for (let i = 0; i < 5; i += 1) {
    const raw = await connectSocket({ address: harness.listener.address });
    const secure = connectTls({ ...trust, socket: raw });
    secure.on('error', () => {});
    await once(secure, 'secureConnect');
    secure.write(upgrade({ path: i % 2 === 0 ? '/there' : '/here' }).subarray(0, i < 3 ? 999 : 40));
    if (i > 0) await sleep(i);
    raw.resetAndDestroy();
  }
  await until(() => harness.listener.connections === 0, 'no connection is left');

  // The certificate goes through to the core.
  harness.acceptor.skip();
  const [, connection] = await harness.pair({ tls: { ...trust, ...identity } });
  t.equal(connection.sink.certificate?.subjectCommonName, 'device');
  t.equal(connection.listener.transport, 'wss');
  const [, nobody] = await harness.pair({ tls: trust });
  t.equal(nobody.sink.certificate, null);
});

t.test('MQTT.js connects, publishes, and hears the answer', async (t) => {
  const harness = await start(t);
  harness.acceptor.onAccept = (connection) => {
    connection.onBytesToo = () => {
      const bytes = connection.received();
      if (connection.chunks.length === 1) connection.say(Buffer.from('20020000', 'hex'));
      // A PUBLISH of QoS 1 with packet id 1 to topic t and 150 000 bytes.
      const end = bytes.length - 150_000;
      if (end > 0) connection.say(Buffer.from([0x40, 2, bytes[end - 2]!, bytes[end - 1]!]));
    };
    return true;
  };
  const client = await mqtt.connectAsync(harness.listener.address, {
    protocolVersion: 4,
    reconnectPeriod: 0,
    connectTimeout: 5000,
  });
  const payload = pattern(150_000);
  await client.publishAsync('t', payload, { qos: 1 });
  const [connection] = harness.acceptor.connections;
  sameBytes(t, connection!.received().subarray(-150_000), payload, 'the payload');
  await client.endAsync();
  t.equal(await connection!.closed(), null);
});
