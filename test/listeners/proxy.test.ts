// PROXY headers over real sockets: whom they are believed from, what follows them, how long they
// are waited for.
import t from 'tap';
import { sleep, until } from './recorder.ts';
import { connectSocket } from './test-client.ts';
import { listen } from './transports.ts';

const trusting = { trustedAddresses: ['127.0.0.1'] };
const V1 = 'PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n';
const V2_LOCAL = Buffer.from('0d0a0d0a000d0a515549540a20000000', 'hex');

t.test('bytes in the segment of the header are the first of the client', async (t) => {
  const { listener, acceptor } = await listen(t, {
    url: 'mqtt://127.0.0.1:0',
    proxyProtocol: trusting,
  });
  const preface = Buffer.from(`${V1}hello`);
  const socket = await connectSocket({ address: listener.address, preface });
  t.teardown(() => socket.destroy());
  const connection = await acceptor.next();
  t.equal((await connection.receivedBytes(5)).toString(), 'hello');
  t.equal(connection.sink.remoteAddress, '192.0.2.1');
  t.equal(connection.sink.remotePort, 4711);
});

t.test('a header in single bytes', async (t) => {
  const { listener, acceptor } = await listen(t, {
    url: 'mqtt://127.0.0.1:0',
    proxyProtocol: trusting,
  });
  const socket = await connectSocket({ address: listener.address });
  t.teardown(() => socket.destroy());
  for (const char of V1) {
    socket.write(char);
    await sleep(0);
  }
  socket.write('then');
  const connection = await acceptor.next();
  t.equal((await connection.receivedBytes(4)).toString(), 'then');
  t.equal(connection.sink.remoteAddress, '192.0.2.1');
});

t.test('the proxy about itself: the address of the socket holds', async (t) => {
  const { listener, acceptor } = await listen(t, {
    url: 'mqtt://127.0.0.1:0',
    proxyProtocol: trusting,
  });
  const socket = await connectSocket({ address: listener.address, preface: V2_LOCAL });
  t.teardown(() => socket.destroy());
  const connection = await acceptor.next();
  t.equal(connection.sink.remoteAddress, '127.0.0.1');
  t.equal(connection.sink.remotePort, socket.localPort);
});

t.test('an address that is not trusted is refused, whatever it says', async (t) => {
  const { listener, acceptor, log } = await listen(t, {
    url: 'mqtt://127.0.0.1:0',
    proxyProtocol: { trustedAddresses: ['10.0.0.0/8', '127.0.0.2'] },
  });
  const socket = await connectSocket({ address: listener.address });
  const closed = new Promise((resolve) => socket.on('close', resolve));
  socket.on('error', () => {});
  socket.write(`${V1}hello`);
  await closed;
  t.equal(listener.counters.untrusted, 1);
  t.equal(listener.counters.handshakesFailed, 0);
  t.strictSame(acceptor.connections, []);
  t.strictSame(log.problems(), ['not from a trusted proxy']);
  await until(() => listener.connections === 0, 'no connection is left');
});

t.test('malformed, missing, cut off, too slow', async (t) => {
  const { listener, acceptor, log } = await listen(t, {
    url: 'mqtt://127.0.0.1:0',
    proxyProtocol: trusting,
    handshakeTimeoutMs: 150,
  });
  const meet = async (bytes: string | Buffer, endsToo: boolean): Promise<number> => {
    const beganMs = performance.now();
    const socket = await connectSocket({ address: listener.address });
    socket.on('error', () => {});
    const closed = new Promise((resolve) => socket.on('close', resolve));
    if (bytes.length > 0) socket.write(bytes);
    if (endsToo) socket.end();
    socket.resume();
    await closed;
    return performance.now() - beganMs;
  };
  await meet('PROXY TCP4 1.2.3.4 nonsense\r\n', false);
  t.equal(listener.counters.handshakesFailed, 1);
  t.strictSame(log.problems(), ['not four fields after the protocol']);
  await meet(Buffer.from('101000044d515454', 'hex'), false);
  await meet('PROXY TCP4 1.2.3', true);
  await meet('', true);
  t.equal(listener.counters.handshakesFailed, 4);
  t.ok((await meet('PROXY TCP4 1.2.3', false)) >= 140, 'waited for');
  t.ok((await meet('', false)) >= 140, 'waited for');
  t.equal(listener.counters.handshakesFailed, 6);
  t.strictSame(acceptor.connections, []);
  await until(() => listener.connections === 0, 'no connection is left');
});

t.test('time in the PROXY header is time of the handshake', async (t) => {
  const { listener, acceptor } = await listen(t, {
    url: 'ws://127.0.0.1:0',
    proxyProtocol: trusting,
    handshakeTimeoutMs: 200,
  });
  const socket = await connectSocket({ address: listener.address });
  const beganMs = performance.now();
  socket.on('error', () => {});
  const closed = new Promise((resolve) => socket.on('close', resolve));
  await sleep(150);
  socket.write(V1);
  await closed;
  t.ok(performance.now() - beganMs < 8000, 'no second period for HTTP');
  t.equal(listener.counters.handshakesFailed, 1);
  t.strictSame(acceptor.connections, []);
});

t.test('a client that is gone before its header is whole', async (t) => {
  const { listener } = await listen(t, { url: 'mqtt://127.0.0.1:0', proxyProtocol: trusting });
  const socket = await connectSocket({ address: listener.address, preface: Buffer.from('PROXY ') });
  await sleep(10);
  socket.resetAndDestroy();
  await until(() => listener.counters.handshakesFailed === 1, 'it counts as failed');
  await until(() => listener.connections === 0, 'no connection is left');
});

t.test('trust can be changed by a reload, the protocol not', async (t) => {
  const url = 'mqtt://127.0.0.1:0';
  const harness = await listen(t, { url, proxyProtocol: trusting });
  const { listener, acceptor } = harness;
  const options = { url, limits: {}, handshakeTimeoutMs: 1000 };
  await listener.reload({ ...options, proxyProtocol: { trustedAddresses: ['192.0.2.0/24'] } });
  const socket = await connectSocket({ address: listener.address, preface: Buffer.from(V1) });
  socket.on('error', () => {});
  await until(() => listener.counters.untrusted === 1, 'refused');
  await t.rejects(listener.reload(options), { code: 'LISTENER_RESTART', message: /proxyProtocol/ });
  const plain = await listen(t, { url });
  await t.rejects(plain.listener.reload({ ...options, proxyProtocol: trusting }), {
    code: 'LISTENER_RESTART',
    message: /proxyProtocol/,
  });
  t.strictSame(acceptor.connections, []);
});
