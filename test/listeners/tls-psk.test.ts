// Pre-shared keys over real sockets, in TLS 1.2 and 1.3, with Node's and mosquitto's clients: only an
// identity whose key was proven reaches the core, and an unknown one looks like a wrong key.
import { execFile } from 'node:child_process';
import type { ConnectionOptions } from 'node:tls';
import { promisify } from 'node:util';
import t from 'tap';
import { mosquitto } from '../../scripts/provide.ts';
import type { TlsOptions } from '../../src/listeners/listener.ts';
import { Certificates } from './certificates.ts';
import { type RecordedConnection, until } from './recorder.ts';
import { type Shaken, shakeHands } from './shake-hands.ts';
import { type Harness, listen } from './transports.ts';

const files = new Certificates();
files.authority('ca');
files.issue('server', 'ca', 'IP:127.0.0.1');
files.issue('device', 'ca', 'DNS:device', '/CN=device');

const url = 'mqtts://127.0.0.1:0';
const versions = ['TLSv1.2', 'TLSv1.3'] as const;
const key = Buffer.alloc(32, 7);
const wrongKey = Buffer.alloc(32, 8);
const keys = new Map([
  ['meter', key],
  ['größe', Buffer.alloc(16, 9)],
]);
const pskLookup = (identity: string): Buffer | null => keys.get(identity) ?? null;
const pskOnly: TlsOptions = { clientCertificate: 'none', pskLookup };
const both: TlsOptions = {
  clientCertificate: 'none',
  pskLookup,
  certFile: files.path('server.pem'),
  keyFile: files.path('server.key'),
};

function psk(identity: string, psk: Buffer, more: ConnectionOptions = {}): ConnectionOptions {
  return {
    pskCallback: () => ({ psk, identity }),
    ciphers: 'PSK:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384',
    checkServerIdentity: () => undefined,
    ca: files.pem('ca.pem'),
    ...more,
  };
}

const only = (version: 'TLSv1.2' | 'TLSv1.3'): ConnectionOptions => ({
  minVersion: version,
  maxVersion: version,
});

async function taken(
  harness: Harness,
  options: ConnectionOptions,
): Promise<[Shaken, RecordedConnection]> {
  const shaken = await shakeHands(harness, options);
  return [shaken, await harness.acceptor.next()];
}

async function refused(
  harness: Harness,
  options: ConnectionOptions,
): Promise<{ readonly seen: string; readonly told: string }> {
  const before = harness.listener.counters.handshakesFailed;
  const linesBefore = harness.log.problems().length;
  const error = await (await shakeHands(harness, options)).closed;
  await until(() => harness.listener.counters.handshakesFailed === before + 1, 'it counts once');
  return {
    seen: String((error as NodeJS.ErrnoException | null)?.code),
    told: harness.log.problems()[linesBefore] ?? '',
  };
}

for (const version of versions) {
  t.test(`a listener without a certificate, ${version}`, async (t) => {
    const harness = await listen(t, { url, tls: pskOnly });
    for (const [identity, secret] of keys) {
      const [{ socket }, { sink }] = await taken(harness, psk(identity, secret, only(version)));
      t.equal(sink.pskIdentity, identity);
      t.equal(sink.certificate, null);
      t.equal(socket.getProtocol(), version);
    }
  });

  t.test(
    `a wrong key and an unknown identity are told apart by the log alone, ${version}`,
    async (t) => {
      // One listener each: the log says one line per second.
      const first = await refused(
        await listen(t, { url, tls: pskOnly }),
        psk('meter', wrongKey, only(version)),
      );
      const harness = await listen(t, { url, tls: pskOnly });
      const second = await refused(harness, psk('nobody', key, only(version)));
      t.equal(second.seen, first.seen, 'the same for the client');
      t.match(first.told, /^TLS handshake failed: /);
      t.notMatch(first.told, /not known/);
      t.match(second.told, /; the PSK identity is not known$/);
      t.strictSame(harness.acceptor.connections, []);
      t.notMatch(JSON.stringify(harness.log.lines), new RegExp(key.toString('hex')), 'no key');
    },
  );

  t.test(`certificate and keys on one listener, ${version}`, async (t) => {
    const harness = await listen(t, { url, tls: both });
    const [, withKey] = await taken(harness, psk('meter', key, only(version)));
    t.equal(withKey.sink.pskIdentity, 'meter');
    const [shaken, without] = await taken(harness, { ca: files.pem('ca.pem'), ...only(version) });
    t.equal(without.sink.pskIdentity, null);
    t.equal(shaken.socket.authorized, true, 'the certificate is served');
  });

  t.test(`an identity is never carried by a resumed session, ${version}`, async (t) => {
    const harness = await listen(t, { url, tls: both });
    const [first, connection] = await taken(harness, psk('meter', key, only(version)));
    connection.say('x');
    await new Promise((resolve) => first.socket.once('data', resolve));
    const session = first.sessions.at(-1) ?? first.socket.getSession();
    const plain = { ca: files.pem('ca.pem'), ...only(version), ...(session && { session }) };
    const again = await shakeHands(harness, plain);
    t.equal(again.socket.isSessionReused(), false);
    t.equal((await harness.acceptor.next()).sink.pskIdentity, null);
  });
}

t.test('TLS 1.3: a key that was asked for and not used proves nobody', async (t) => {
  const harness = await listen(t, { url, tls: both });
  // A key goes with SHA-256; offering only SHA-384 makes OpenSSL ask for it and drop it.
  const ciphers = 'TLS_AES_256_GCM_SHA384';
  const options = psk('meter', wrongKey, { ...only('TLSv1.3'), ciphers });
  const [, { sink }] = await taken(harness, options);
  t.equal(sink.pskIdentity, null);
  // With that and the certificate of somebody else.
  const mixed = await listen(t, {
    url,
    tls: { ...both, clientCertificate: 'optional', caFile: files.path('ca.pem') },
  });
  const identity = { cert: files.pem('device.pem'), key: files.pem('device.key') };
  const [, second] = await taken(mixed, { ...options, ...identity });
  t.equal(second.sink.pskIdentity, null);
  t.equal(second.sink.certificate?.subjectCommonName, 'device');
});

t.test('keys that change count for the next handshake', async (t) => {
  const harness = await listen(t, { url, tls: pskOnly });
  t.teardown(() => keys.set('meter', key));
  const [, connection] = await taken(harness, psk('meter', key));
  keys.set('meter', wrongKey);
  await refused(harness, psk('meter', key));
  await taken(harness, psk('meter', wrongKey));
  keys.delete('meter');
  await refused(harness, psk('meter', wrongKey));
  t.strictSame(connection.closes, [], 'who is connected stays');
});

t.test('over WebSocket too', async (t) => {
  const harness = await listen(
    t,
    { url: 'wss://127.0.0.1:0', tls: pskOnly },
    { tls: { ...psk('meter', key), host: '127.0.0.1' } },
  );
  const [, { sink }] = await harness.pair();
  t.equal(sink.pskIdentity, 'meter');
});

t.test('what does not fit together is refused', async (t) => {
  const wrong: [TlsOptions, RegExp][] = [
    [{ clientCertificate: 'none' }, /needs tls\.certFile and tls\.keyFile/],
    [{ ...pskOnly, certFile: files.path('server.pem') }, /needs tls\.certFile and tls\.keyFile/],
    [
      { ...both, clientCertificate: 'required', caFile: files.path('ca.pem') },
      /exclude each other; make it optional/,
    ],
    [
      { ...pskOnly, clientCertificate: 'optional', caFile: files.path('ca.pem') },
      /tls\.clientCertificate needs tls\.certFile/,
    ],
    [{ ...both, ciphers: 'ECDHE-ECDSA-AES256-GCM-SHA384' }, /tls\.ciphers has none for pre-shared/],
  ];
  for (const [tls, message] of wrong) {
    await t.rejects(
      listen(t, { url, tls }),
      { code: 'LISTENER_OPTIONS', message },
      String(message),
    );
  }
});

t.test('mosquitto_pub --psk', async (t) => {
  const harness = await listen(t, { url, tls: pskOnly });
  const publish = (identity: string, secret: Buffer): Promise<unknown> =>
    promisify(execFile)(mosquitto('mosquitto_pub'), [
      ...['-h', '127.0.0.1', '-p', String(harness.port), '-t', 'a', '-m', 'b'],
      ...['--psk-identity', identity, '--psk', secret.toString('hex')],
    ]);
  harness.acceptor.onAccept = (connection) => {
    // The broker's part of a QoS 0 publish.
    connection.onBytesToo = (bytes) => {
      if (bytes[0] === 0x10) setImmediate(() => connection.say(Buffer.from('20020000', 'hex')));
    };
    return true;
  };
  await publish('meter', key);
  const [connection] = harness.acceptor.connections;
  t.equal(connection?.sink.pskIdentity, 'meter');
  t.match(connection?.received().toString('latin1'), /\x00\x01ab/, 'the message arrived');
  await t.rejects(publish('meter', wrongKey));
  t.equal(harness.acceptor.connections.length, 1);
});
