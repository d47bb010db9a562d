// The contract of ByteSink and ByteHandler (core/ports.ts), run against every transport over real
// sockets: bytes, memory, backpressure, pause, the ways to end, errors of either side.
import type { Test } from 'tap';
import t from 'tap';
import { type RecordedConnection, sleep, until } from './recorder.ts';
import type { TestClient } from './test-client.ts';
import { listenOn, pattern, sameBytes, type Transport, transports } from './transports.ts';

/** More than the kernel's socket buffers take on both sides. */
const MORE_THAN_FITS = 8 * 1024 * 1024;

/** Writes all of `bytes` through one small buffer that is reused as soon as the sink allows it. */
function writeThroughOneBuffer(
  connection: RecordedConnection,
  bytes: Buffer,
  sizes: readonly number[],
): { readonly done: () => boolean; readonly held: () => number } {
  const buffer = Buffer.alloc(Math.max(...sizes));
  let at = 0;
  let turn = 0;
  let held = 0;
  const go = (): void => {
    while (at < bytes.length && connection.sink.unsentBytes() === 0) {
      const size = Math.min(sizes[turn++ % sizes.length]!, bytes.length - at);
      bytes.copy(buffer, 0, at, at + size);
      at += size;
      const isFree = connection.call((sink) => sink.write(buffer, 0, size));
      if (isFree) buffer.fill(0xee);
      else held++;
    }
  };
  connection.onDrainedToo = () => {
    buffer.fill(0xdd);
    go();
  };
  go();
  return {
    done: () => at === bytes.length && connection.sink.unsentBytes() === 0,
    held: () => held,
  };
}

/** Over WebSocket a client that was not answered may say little. */
async function answer(client: TestClient, connection: RecordedConnection): Promise<void> {
  connection.say('!');
  await client.receivedBytes(1);
  await until(() => connection.sink.unsentBytes() === 0, 'the answer is sent');
}

async function expectClean(t: Test, connection: RecordedConnection): Promise<void> {
  t.strictSame(connection.reentered, [], 'no callback from inside a call');
  await sleep(20);
  t.equal(connection.closes.length, 1, 'onClosed came once');
}

/** What a PROXY header in front might disturb too. */
function basics(t: Test, transport: Transport): void {
  t.test('single bytes and their echo arrive in order', async (t) => {
    const { pair } = await start(t, transport);
    const [client, connection] = await pair();
    const bytes = pattern(300);
    connection.onBytesToo = (chunk) => connection.say(chunk);
    for (let i = 0; i < bytes.length; i += 1) {
      client.send(bytes.subarray(i, i + 1));
      if (i % 50 === 0) await sleep(1);
    }
    sameBytes(t, await connection.receivedBytes(300), bytes, 'at the broker');
    sameBytes(t, await client.receivedBytes(300), bytes, 'at the client');
    const [address, port] = transport.remote ?? ['127.0.0.1', client.socket.localPort];
    t.equal(connection.sink.remoteAddress, address);
    t.equal(connection.sink.remotePort, port);
    t.equal(connection.sink.certificate, null);
    client.end();
    t.equal(await connection.closed(), null, 'an end is no error');
    await expectClean(t, connection);
    await client.closed();
  });

  t.test('bursts of a megabyte, both ways at once', async (t) => {
    const { pair } = await start(t, transport);
    const [client, connection] = await pair();
    await answer(client, connection);
    const up = pattern(1024 * 1024, 2);
    const down = pattern(1024 * 1024, 3);
    client.send(up);
    const sizes = [1, 100, 65_536, 3, 200_000, 126, 125, 65_535];
    const writing = writeThroughOneBuffer(connection, down, sizes);
    sameBytes(t, await connection.receivedBytes(up.length), up, 'at the broker');
    const received = await client.receivedBytes(1 + down.length);
    sameBytes(t, received.subarray(1), down, 'at the client');
    await until(writing.done, 'all is sent');
    t.strictSame(connection.reentered, []);
    t.strictSame(connection.closes, []);
  });

  t.test('end: a client that goes on sending reads the last bytes', async (t) => {
    const { pair } = await start(t, transport);
    const [client, connection] = await pair({ isHalfOpen: true });
    await answer(client, connection);
    const chatter = setInterval(() => client.send(pattern(20_000)), 1);
    t.teardown(() => clearInterval(chatter));
    await connection.receivedBytes(100_000);
    const heard = connection.bytesReceived;
    // What was sent while it was paused is unread: closing now would reset the connection.
    connection.sink.pause();
    await sleep(20);
    connection.say('the last word');
    const beganMs = performance.now();
    connection.call((sink) => sink.end(150));
    connection.call((sink) => sink.end(10_000));
    t.ok(
      connection.call((sink) => sink.write(Buffer.from('too late'), 0, 8)),
      'nothing after',
    );
    t.equal((await client.receivedBytes(14)).toString(), '!the last word');
    await until(() => client.hasEnded, 'the client sees the end');
    t.equal(await connection.closed(), null);
    const tookMs = performance.now() - beganMs;
    // A WebSocket is over when the client has answered the closing frame.
    const isWebSocket = transport.options.url.startsWith('ws');
    t.ok(tookMs < 8000 && (isWebSocket || tookMs >= 140), 'closed after the linger time');
    await client.closed();
    clearInterval(chatter);
    t.equal(client.bytesReceived, 14);
    t.ok(connection.bytesReceived - heard < 200_000, 'the core hears no more');
    await expectClean(t, connection);
  });

  t.test('a reset by the client is an error of this connection', async (t) => {
    const { pair } = await start(t, transport);
    const [client, connection] = await pair({ isPaused: true });
    connection.say(pattern(100_000));
    await sleep(10);
    client.reset();
    const error = await connection.closed();
    t.match(error, { code: /^(?:ECONNRESET|EPIPE)$/, message: /ECONNRESET|EPIPE/ });
    await expectClean(t, connection);
    const [other, living] = await pair();
    other.send('x');
    await living.receivedBytes(1);
  });
}

function contract(t: Test, transport: Transport): void {
  basics(t, transport);

  t.test('a reader that stops: held memory, unsent bytes, one onDrained', async (t) => {
    const { pair } = await start(t, transport);
    const [client, connection] = await pair({ isPaused: true });
    const { sink } = connection;
    t.equal(sink.unsentBytes(), 0);
    const bytes = pattern(MORE_THAN_FITS, 4);
    const memory = Buffer.from(bytes);
    const isFree = connection.call((sink) => sink.write(memory, 0, memory.length));
    if (isFree) memory.fill(0xee);
    await sleep(30);
    t.ok(sink.unsentBytes() > 0, 'some is unsent');
    t.ok(sink.unsentBytes() < bytes.length + 1024, 'no more than was given');
    t.equal(connection.drained, 0);
    client.resume();
    await until(() => connection.drained > 0, 'onDrained');
    t.equal(sink.unsentBytes(), 0, 'all is sent at onDrained');
    memory.fill(0xdd);
    sameBytes(t, await client.receivedBytes(bytes.length), bytes, 'at the client');
    connection.say('after');
    await client.receivedBytes(bytes.length + 5);
    await sleep(10);
    // TLS takes every write later, so the second write owes another one there.
    const wanted = transport.options.tls === undefined ? 1 : 2;
    t.equal(connection.drained, wanted, 'one onDrained per write that left some');
    t.strictSame(connection.reentered, []);
  });

  t.test('memory is reused under a slow reader', async (t) => {
    const { pair } = await start(t, transport);
    const [client, connection] = await pair({ isPaused: true });
    const bytes = pattern(MORE_THAN_FITS / 2, 5);
    const writing = writeThroughOneBuffer(connection, bytes, [1_000_000, 70_000]);
    await sleep(20);
    t.notOk(writing.done(), 'it does not fit at once');
    const slower = setInterval(() => {
      client.pause();
      setTimeout(() => client.resume(), 2);
    }, 5);
    client.resume();
    t.teardown(() => clearInterval(slower));
    sameBytes(t, await client.receivedBytes(bytes.length), bytes, 'at the client');
    await until(writing.done, 'all is sent');
    if (transport.options.tls === undefined) t.ok(writing.held() > 0, 'some writes were held');
    t.strictSame(connection.reentered, []);
  });

  t.test(
    'what the client says while it does not read is heard, and onDrained follows',
    async (t) => {
      const { pair } = await start(t, transport);
      const [client, connection] = await pair({ isPaused: true });
      connection.say(pattern(MORE_THAN_FITS, 6));
      client.send('meanwhile');
      t.equal((await connection.receivedBytes(9)).toString(), 'meanwhile');
      t.ok(connection.sink.unsentBytes() > 0);
      client.resume();
      await until(() => connection.drained === 1, 'onDrained');
    },
  );

  t.test('pause and resume are idempotent and lose nothing', async (t) => {
    const { pair } = await start(t, transport);
    const [client, connection] = await pair();
    const { sink } = connection;
    await answer(client, connection);
    client.send('first');
    await connection.receivedBytes(5);
    sink.pause();
    sink.pause();
    const rest = pattern(3_000_000, 7);
    client.send(rest);
    await sleep(60);
    t.ok(connection.bytesReceived < 500_000, 'reading stands still');
    const before = connection.bytesReceived;
    await sleep(40);
    t.equal(connection.bytesReceived, before);
    sink.resume();
    sink.resume();
    const received = await connection.receivedBytes(5 + rest.length);
    sameBytes(t, received.subarray(5), rest, 'after resume');

    // From inside onBytes, as the core does it.
    const more = pattern(400_000, 8);
    connection.onBytesToo = () => {
      connection.call((sink) => sink.pause());
      setTimeout(() => connection.call((sink) => sink.resume()), 1);
    };
    client.send(more);
    const all = await connection.receivedBytes(5 + rest.length + more.length);
    sameBytes(t, all.subarray(5 + rest.length), more, 'paused after every chunk');
    t.strictSame(connection.reentered, []);
  });

  t.test('a connection that is paused while it is accepted stays so', async (t) => {
    const { pair, acceptor } = await start(t, transport);
    acceptor.onAccept = ({ sink }) => {
      sink.pause();
      return true;
    };
    const [client, connection] = await pair();
    client.send('early');
    await sleep(60);
    t.equal(connection.bytesReceived, 0);
    connection.sink.resume();
    t.equal((await connection.receivedBytes(5)).toString(), 'early');
  });

  t.test('end: a client that reads late still finds the last bytes', async (t) => {
    const { pair } = await start(t, transport);
    const [client, connection] = await pair({ isPaused: true });
    connection.sink.pause();
    client.send(pattern(100_000));
    await sleep(20);
    // More than the client's kernel takes, so that the broker's holds some beyond the close. If the
    // client's bytes were left unread then, the close would be a reset, which throws that away.
    const isUnix = transport.options.url.startsWith('unix');
    const last = pattern(isUnix ? 50_000 : 1_500_000, 15);
    connection.say(last);
    connection.call((sink) => sink.end(100));
    t.equal(await connection.closed(), null);
    await sleep(20);
    client.resume();
    sameBytes(t, await client.receivedBytes(last.length), last, 'at the client');
    await client.closed();
  });

  t.test('end: everything unsent is sent first', async (t) => {
    const { pair } = await start(t, transport);
    const [client, connection] = await pair({ isPaused: true });
    const bytes = pattern(MORE_THAN_FITS, 9);
    connection.say(bytes);
    connection.call((sink) => sink.end(5000));
    await sleep(20);
    client.resume();
    sameBytes(t, await client.receivedBytes(bytes.length), bytes, 'at the client');
    t.equal(await connection.closed(), null);
    t.equal(connection.drained, 0, 'nobody asked for more');
    await client.closed();
    await expectClean(t, connection);
  });

  t.test('end: a client that never reads is closed within the bound', async (t) => {
    const { pair } = await start(t, transport);
    const [client, connection] = await pair({ isPaused: true });
    connection.say(pattern(MORE_THAN_FITS, 10));
    const beganMs = performance.now();
    connection.call((sink) => sink.end(80));
    t.equal(await connection.closed(), null);
    const tookMs = performance.now() - beganMs;
    t.ok(tookMs >= 70 && tookMs < 8000, 'after the linger time');
    client.destroy();
    await expectClean(t, connection);
  });

  t.test('destroy closes at once', async (t) => {
    const { pair, listener } = await start(t, transport);
    const [client, connection] = await pair();
    connection.call((sink) => sink.destroy());
    connection.call((sink) => sink.destroy());
    t.strictSame(connection.closes, [], 'not from inside');
    t.ok(
      connection.call((sink) => sink.write(Buffer.from('x'), 0, 1)),
      'write is a no-op',
    );
    connection.call((sink) => sink.end(1000));
    connection.call((sink) => sink.pause());
    connection.call((sink) => sink.resume());
    t.equal(await connection.closed(), null);
    connection.call((sink) => sink.destroy());
    connection.call((sink) => sink.end(10));
    t.equal(connection.sink.unsentBytes(), 0);
    await client.closed();
    await expectClean(t, connection);
    await until(() => listener.connections === 0, 'no connection is left');
  });

  t.test('destroy forgets what is unsent', async (t) => {
    const { pair } = await start(t, transport);
    const [client, connection] = await pair({ isPaused: true });
    connection.say(pattern(MORE_THAN_FITS, 11));
    connection.call((sink) => sink.destroy());
    t.equal(await connection.closed(), null);
    t.equal(connection.drained, 0);
    client.destroy();
    await expectClean(t, connection);
  });

  t.test('destroy during end', async (t) => {
    const { pair } = await start(t, transport);
    const [client, connection] = await pair({ isPaused: true });
    connection.say(pattern(MORE_THAN_FITS, 12));
    connection.call((sink) => sink.end(60_000));
    connection.call((sink) => sink.destroy());
    t.equal(await connection.closed(), null);
    client.destroy();
    await expectClean(t, connection);
  });

  t.test('a reset while bytes are unsent', async (t) => {
    const { pair } = await start(t, transport);
    const [client, connection] = await pair({ isPaused: true });
    connection.say(pattern(MORE_THAN_FITS, 13));
    await sleep(10);
    client.reset();
    t.match(await connection.closed(), { code: /^(?:ECONNRESET|EPIPE)$/ });
    t.equal(connection.drained, 0, 'a failed write is no drain');
    t.equal(connection.sink.write(Buffer.from('x'), 0, 1), true);
    await expectClean(t, connection);
  });

  t.test('writes after a reset nobody has noticed yet', async (t) => {
    const { pair } = await start(t, transport);
    const [client, connection] = await pair({ isPaused: true });
    connection.say(pattern(100_000));
    await sleep(10);
    // A paused sink hears nothing; the writes meet the reset.
    connection.sink.pause();
    client.reset();
    await sleep(20);
    for (let i = 0; i < 5 && connection.closes.length === 0; i += 1) {
      if (connection.sink.unsentBytes() === 0) connection.say(pattern(50_000));
      await sleep(5);
    }
    t.match(await connection.closed(), { code: /^(?:ECONNRESET|EPIPE)$/ });
    await expectClean(t, connection);
  });

  t.test('a handler that throws costs its connection only', async (t) => {
    const { pair, log } = await start(t, transport);
    const [client, connection] = await pair();
    const [other, living] = await pair();
    connection.onBytesToo = () => {
      throw new Error('our bug');
    };
    client.send('x');
    t.match(await connection.closed(), { message: 'our bug' });
    await client.closed();
    await expectClean(t, connection);
    t.match(log.lines, [
      { level: 'error', message: 'connection handler failed', fields: { err: Error } },
    ]);

    living.onClosedToo = () => {
      throw new Error('at the end');
    };
    other.send('y');
    await living.receivedBytes(1);
    other.end();
    await living.closed();
    t.equal(log.lines.length, 2);
    await expectClean(t, living);
  });

  t.test('a handler that throws in onDrained', async (t) => {
    const { pair, log } = await start(t, transport);
    const [client, connection] = await pair({ isPaused: true });
    connection.onDrainedToo = () => {
      throw new Error('in onDrained');
    };
    connection.say(pattern(MORE_THAN_FITS, 14));
    client.resume();
    t.match(await connection.closed(), { message: 'in onDrained' });
    t.equal(log.lines.length, 1);
    await expectClean(t, connection);
  });

  t.test('a connection that is not taken, and an acceptor that throws', async (t) => {
    const { client: connect, acceptor, listener, log } = await start(t, transport);
    acceptor.onAccept = () => false;
    await (await connect()).closed();
    t.equal(listener.counters.refused, 1);
    acceptor.onAccept = () => {
      throw new Error('broken acceptor');
    };
    await (await connect()).closed();
    t.equal(listener.counters.refused, 2);
    t.match(log.lines, [{ level: 'error', message: 'connection handler failed' }]);
    await until(() => listener.connections === 0, 'no connection is left');
    t.equal(listener.counters.accepted, 2);
    t.equal(listener.counters.handshakesFailed, 0);
  });

  t.test('ended or destroyed while it is accepted', async (t) => {
    const { client: connect, acceptor } = await start(t, transport);
    acceptor.onAccept = (connection) => {
      connection.say('go away');
      connection.sink.end(100);
      return true;
    };
    const told = await connect({ isPaused: false });
    t.equal((await told.receivedBytes(7)).toString(), 'go away');
    t.equal(await (await acceptor.next()).closed(), null);
    acceptor.onAccept = ({ sink }) => {
      sink.destroy();
      return true;
    };
    await connect().then(
      (client) => client.closed(),
      () => {},
    );
    const connection = await acceptor.next();
    t.equal(await connection.closed(), null);
    await expectClean(t, connection);
  });

  t.test('connections outlive their listener', async (t) => {
    const { pair, listener, client: connect } = await start(t, transport);
    const [client, connection] = await pair();
    await listener.stop();
    client.send('still here');
    await connection.receivedBytes(10);
    connection.say('so am I');
    await client.receivedBytes(7);
    await t.rejects(connect(), 'nobody new');
    t.equal(listener.connections, 1);
  });
}

async function start(t: Test, transport: Transport) {
  const harness = await listenOn(t, transport);
  return {
    listener: harness.listener,
    acceptor: harness.acceptor,
    log: harness.log,
    client: harness.client.bind(harness),
    pair: harness.pair.bind(harness),
  };
}

for (const transport of transports()) {
  t.test(transport.name, async (t) => (transport.isVariation ? basics : contract)(t, transport));
}
