// Listeners as their owner sees them: which kind is made, addresses and why one cannot be had, own
// limits, bounds on handshakes, counters, reload and stop.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { createListener } from '../../src/listeners/create-listener.ts';
import type { ListenerOptions } from '../../src/listeners/listener.ts';
import { planListener } from '../../src/listeners/listener-plan.ts';
import { LogThrottle } from '../../src/listeners/log-throttle.ts';
import { rawTcpSupported } from '../../src/listeners/raw-tcp.ts';
import { RawTcpListener } from '../../src/listeners/raw-tcp-listener.ts';
import { StreamListener } from '../../src/listeners/stream-listener.ts';
import { RecordingAcceptor, RecordingLog, sleep, until } from './recorder.ts';
import { connectClient, connectSocket } from './test-client.ts';
import { listen } from './transports.ts';

const url = 'mqtt://127.0.0.1:0';
const base: ListenerOptions = { url, limits: {}, handshakeTimeoutMs: 1000 };

t.test('plain TCP without a PROXY header runs on raw handles, all else on streams', async (t) => {
  t.equal(rawTcpSupported, true, 'Node is as expected');
  const make = (options: Partial<ListenerOptions>): unknown =>
    createListener({ ...base, ...options }, new RecordingAcceptor(), new RecordingLog());
  t.ok(make({}) instanceof RawTcpListener);
  const proxyProtocol = { trustedAddresses: ['127.0.0.1'] };
  t.ok(make({ proxyProtocol }) instanceof StreamListener);
  for (const other of ['ws://127.0.0.1:0', 'unix:/x']) {
    t.ok(make({ url: other }) instanceof StreamListener, other);
  }
});

t.test('CAUSEWAY_NO_RAW_TCP=1 takes streams for TCP too', async (t) => {
  const src = fileURLToPath(new URL('../../src/', import.meta.url));
  const program = `
    import net from 'node:net';
    import { createListener } from '${src}listeners/create-listener.ts';
    import { rawTcpSupported } from '${src}listeners/raw-tcp.ts';
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const echo = (sink) => ({
      onBytes: (buffer, start, end) => {
        sink.write(Buffer.from(buffer.subarray(start, end)), 0, end - start);
      },
      onDrained() {},
      onClosed() {},
    });
    const options = { url: 'mqtt://127.0.0.1:0', limits: {}, handshakeTimeoutMs: 1000 };
    const listener = createListener(options, { accept: echo }, log);
    await listener.start();
    const socket = net.connect(Number(new URL(listener.address).port), '127.0.0.1');
    socket.write('echo');
    const [bytes] = await new Promise((resolve) => socket.on('data', (...all) => resolve(all)));
    console.log(rawTcpSupported, listener.constructor.name, bytes.toString());
    socket.destroy();
    await listener.stop();
  `;
  const env = { ...process.env, NODE_OPTIONS: '', CAUSEWAY_NO_RAW_TCP: '1' };
  const args = ['--input-type=module', '-e', program];
  const output = execFileSync(process.execPath, args, { env, encoding: 'utf8', timeout: 15_000 });
  t.equal(output, 'false StreamListener echo\n');
});

for (const kind of [RawTcpListener, StreamListener]) {
  t.test(`${kind.name}: addresses`, async (t) => {
    const make = (address: string, log = new RecordingLog()) =>
      new kind(planListener({ ...base, url: address }), new RecordingAcceptor(), log);
    const listener = make(url);
    t.equal(listener.address, url, 'before it listens');
    await listener.start();
    t.teardown(() => listener.stop());
    t.match(listener.address, /^mqtt:\/\/127\.0\.0\.1:[1-9]\d*$/);
    const { port } = new URL(listener.address);
    await t.rejects(make(listener.address).start(), {
      name: 'ListenerError',
      code: 'LISTENER_ADDRESS',
      message:
        `listener ${listener.address}: port ${port} is taken; stop the process that listens ` +
        `there (ss -ltnp 'sport = :${port}' shows it) or choose another port (EADDRINUSE)`,
    });
    await t.rejects(make('mqtt://192.0.2.77:0').start(), {
      code: 'LISTENER_ADDRESS',
      message: /192\.0\.2\.77 is no address of this machine.*EADDRNOTAVAIL/,
    });
    await t.rejects(make('mqtt://host.invalid:0').start(), {
      code: 'LISTENER_ADDRESS',
      message: /host host\.invalid cannot be resolved.*(?:ENOTFOUND|EAI_AGAIN)/,
    });
    const six = make('mqtt://[::1]:0');
    await six.start();
    t.match(six.address, /^mqtt:\/\/\[::1\]:[1-9]\d*$/);
    await six.stop();
    await listener.stop();
    await t.rejects(connectSocket({ address: listener.address }), { code: 'ECONNREFUSED' });
    const again = make(`mqtt://127.0.0.1:${port}`);
    await again.start();
    await again.stop();
  });

  t.test(
    `${kind.name}: a client of a listener for both families has its IPv4 address`,
    async (t) => {
      const acceptor = new RecordingAcceptor();
      const options = { ...base, url: 'mqtt://[::]:0' };
      const listener = new kind(planListener(options), acceptor, new RecordingLog());
      await listener.start();
      t.teardown(() => listener.stop());
      const { port } = new URL(listener.address);
      const socket = await connectSocket({ address: `mqtt://127.0.0.1:${port}` });
      const connection = await acceptor.next();
      t.equal(connection.sink.remoteAddress, '127.0.0.1');
      t.equal(connection.sink.remotePort, socket.localPort);
      const six = await connectSocket({ address: `mqtt://[::1]:${port}` });
      t.equal((await acceptor.next()).sink.remoteAddress, '::1');
      socket.destroy();
      six.destroy();
      await until(() => listener.connections === 0, 'both are gone');
      t.equal(connection.sink.remoteAddress, '127.0.0.1', 'also afterwards');
    },
  );

  t.test(`${kind.name}: a half-open peer is looked for by TCP`, async (t) => {
    const acceptor = new RecordingAcceptor();
    const listener = new kind(planListener(base), acceptor, new RecordingLog());
    await listener.start();
    t.teardown(() => listener.stop());
    const socket = await connectSocket({ address: listener.address });
    t.teardown(() => socket.destroy());
    await acceptor.next();
    const { port } = new URL(listener.address);
    // Number, local end, remote end, state (01: established), queues, timer (02: keepalive).
    const hex = Number(port).toString(16).toUpperCase().padStart(4, '0');
    const fields = readFileSync('/proc/net/tcp', 'latin1')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .find(([, local, , state]) => local === `0100007F:${hex}` && state === '01');
    t.match(fields?.[5], /^02:/, 'keepalive is armed');
  });

  t.test(`${kind.name}: a reload changes what new connections get`, async (t) => {
    const acceptor = new RecordingAcceptor();
    const options = { ...base, limits: { packetBytesMax: 100 } };
    const listener = new kind(planListener(options), acceptor, new RecordingLog());
    await listener.start();
    t.teardown(() => listener.stop());
    const first = await connectSocket({ address: listener.address });
    t.teardown(() => first.destroy());
    const old = await acceptor.next();
    await listener.reload({ ...base, limits: { packetBytesMax: 200 } });
    t.strictSame(listener.info.limits, { packetBytesMax: 200 });
    const second = await connectSocket({ address: listener.address });
    t.teardown(() => second.destroy());
    t.equal((await acceptor.next()).listener, listener.info);
    t.strictSame(old.listener.limits, { packetBytesMax: 100 }, 'the old one keeps what it had');
    const { info } = listener;
    await listener.reload({ ...base, limits: { packetBytesMax: 200, receiveMaximum: undefined } });
    t.equal(
      listener.info,
      info,
      'the same limits are the same object: connections are counted by it',
    );
    await t.rejects(listener.reload({ ...base, url: 'mqtt://127.0.0.1:1' }), {
      code: 'LISTENER_RESTART',
    });
    await t.rejects(listener.reload({ ...base, url: 'ws://127.0.0.1:0' }), {
      code: 'LISTENER_RESTART',
    });
    await t.rejects(listener.reload({ ...base, handshakeTimeoutMs: 0 }), {
      code: 'LISTENER_OPTIONS',
    });
    t.equal(listener.info, info, 'a refused reload changes nothing');
  });
}

t.test('several listeners at once, each with its own limits', async (t) => {
  const acceptor = new RecordingAcceptor();
  const log = new RecordingLog();
  const tcpLimits = { connectionsMax: 10, packetBytesMax: 1000 };
  const wsLimits = { packetBytesMax: 70_000, receiveMaximum: 3 };
  const tcp = createListener({ ...base, name: 'field', limits: tcpLimits }, acceptor, log);
  const web = createListener({ ...base, url: 'ws://127.0.0.1:0', limits: wsLimits }, acceptor, log);
  await Promise.all([tcp.start(), web.start()]);
  t.teardown(() => Promise.all([tcp.stop(), web.stop()]));
  const overTcp = await connectClient({ address: tcp.address });
  const first = await acceptor.next();
  const overWeb = await connectClient({ address: web.address });
  const second = await acceptor.next();
  t.strictSame(first.listener, { name: 'field', transport: 'tcp', limits: tcpLimits });
  t.strictSame(second.listener, { name: 'ws://127.0.0.1:0', transport: 'ws', limits: wsLimits });
  t.equal(first.listener, tcp.info, 'one object per listener');
  t.equal(tcp.connections, 1);
  t.equal(web.connections, 1);
  t.equal(tcp.counters.accepted, 1);
  await tcp.stop();
  overWeb.send('x');
  await second.receivedBytes(1);
  overTcp.send('y');
  await first.receivedBytes(1);
  overTcp.destroy();
  overWeb.destroy();
  await until(() => tcp.connections + web.connections === 0, 'both are gone');
});

t.test('handshakes are bounded in number, and told', async (t) => {
  const { listener, acceptor, log } = await listen(t, {
    url: 'ws://127.0.0.1:0',
    handshakesMax: 2,
    handshakeTimeoutMs: 20_000,
  });
  const idle = await Promise.all([
    connectSocket({ address: listener.address }),
    connectSocket({ address: listener.address }),
  ]);
  await until(() => listener.counters.accepted === 2, 'both are there');
  const third = await connectSocket({ address: listener.address });
  third.on('error', () => {});
  await new Promise((resolve) => {
    third.on('close', resolve);
    third.resume();
  });
  t.equal(listener.counters.refused, 1);
  t.strictSame(log.problems(), ['too many unfinished handshakes']);
  idle[0].destroy();
  await until(() => listener.connections === 1, 'one has left');
  t.equal(listener.counters.handshakesFailed, 1, 'without a handshake');
  const client = await connectClient({ address: listener.address });
  await acceptor.next();
  const another = await connectClient({ address: listener.address });
  await acceptor.next();
  t.equal(listener.counters.refused, 1, 'finished handshakes take no place');
  for (const socket of [idle[1], client, another]) socket.destroy();
});

t.test('a handshake that takes too long is ended', async (t) => {
  for (const address of ['ws://127.0.0.1:0', 'mqtt://127.0.0.1:0']) {
    const proxyProtocol = { trustedAddresses: ['127.0.0.1'] };
    const isPlain = address.startsWith('mqtt');
    const { listener, log } = await listen(t, {
      url: address,
      proxyProtocol: isPlain ? proxyProtocol : undefined,
      handshakeTimeoutMs: 100,
    });
    const beganMs = performance.now();
    const socket = await connectSocket({ address: listener.address });
    socket.on('error', () => {});
    socket.resume();
    await new Promise((resolve) => socket.on('close', resolve));
    const tookMs = performance.now() - beganMs;
    t.ok(tookMs >= 80 && tookMs < 8000, address);
    t.equal(listener.counters.handshakesFailed, 1);
    t.strictSame(log.problems(), ['handshake took too long']);
    await until(() => listener.connections === 0, 'no connection is left');
  }
});

t.test('stop ends unfinished handshakes at once, and may be called again', async (t) => {
  const { listener } = await listen(t, { url: 'ws://127.0.0.1:0', handshakeTimeoutMs: 20_000 });
  const sockets = await Promise.all(
    Array.from({ length: 5 }, () => connectSocket({ address: listener.address })),
  );
  for (const socket of sockets) socket.on('error', () => {}).resume();
  await until(() => listener.connections === 5, 'all are there');
  await listener.stop();
  await until(() => listener.connections === 0, 'no connection is left');
  t.equal(listener.counters.handshakesFailed, 0, 'nobody is to blame');
  await listener.stop();
});

t.test('a listener that never started can be stopped', async (t) => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  t.teardown(() => other.close());
  const { port } = other.address() as AddressInfo;
  for (const scheme of ['mqtt', 'ws']) {
    const options = { ...base, url: `${scheme}://127.0.0.1:${port}` };
    const listener = createListener(options, new RecordingAcceptor(), new RecordingLog());
    await t.rejects(listener.start(), { message: /EADDRINUSE/ });
    await listener.stop();
  }
});

t.test('what strangers can cause is told once a second, with the number left out', async (t) => {
  const throttle = new LogThrottle();
  const told: number[] = [];
  for (let i = 0; i < 5; i += 1) throttle.log((suppressed) => told.push(suppressed));
  t.strictSame(told, [0]);
  await sleep(1020);
  throttle.log((suppressed) => told.push(suppressed));
  t.strictSame(told, [0, 4]);
});
