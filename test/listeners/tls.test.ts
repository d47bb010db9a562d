// TLS over real sockets: who must show a certificate, what the core learns of it, new certificates
// without a restart, and what is said when something is wrong with them.
import { copyFileSync, writeFileSync } from 'node:fs';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import t from 'tap';
import type { TlsOptions } from '../../src/listeners/listener.ts';
import { splitAltNames } from '../../src/listeners/peer-certificate.ts';
import { Certificates } from './certificates.ts';
import { type RecordedConnection, sleep, until } from './recorder.ts';
import { type Shaken, shakeHands } from './shake-hands.ts';
import { connectSocket } from './test-client.ts';
import { type Harness, listen } from './transports.ts';

const files = new Certificates();
files.authority('ca');
files.authority('stranger');
files.issue('server', 'ca', 'IP:127.0.0.1');
files.issue('renewed', 'ca', 'IP:127.0.0.1');
files.issue(
  'device',
  'ca',
  'DNS:device-7.example,IP:192.0.2.7,URI:urn:dev:7,email:a@b.example',
  '/O=Example/CN=device 7',
);
files.issue('two-names', 'ca', 'DNS:x', '/CN=first/CN=second');
files.issue('forged', 'stranger', 'DNS:device-7.example', '/CN=device 7');

const url = 'mqtts://127.0.0.1:0';
const base = { limits: {}, handshakeTimeoutMs: 2000 };

function tlsOptions(more: Partial<TlsOptions> = {}): TlsOptions {
  return {
    certFile: files.path('server.pem'),
    keyFile: files.path('server.key'),
    caFile: files.path('ca.pem'),
    clientCertificate: 'none',
    ...more,
  };
}

function identity(name: string): ConnectionOptions {
  return { cert: files.pem(`${name}.pem`), key: files.pem(`${name}.key`) };
}

function shake(harness: Harness, options: ConnectionOptions = {}): Promise<Shaken> {
  return shakeHands(harness, { ca: files.pem('ca.pem'), ...options });
}

async function taken(
  harness: Harness,
  options: ConnectionOptions = {},
): Promise<RecordedConnection> {
  await shake(harness, options);
  return harness.acceptor.next();
}

t.test('no client certificate is asked for', async (t) => {
  const harness = await listen(t, { url, tls: tlsOptions() });
  t.equal((await taken(harness)).sink.certificate, null);
  const withOne = await taken(harness, identity('device'));
  t.equal(withOne.sink.certificate, null, 'and none is looked at');
  t.strictSame(withOne.listener, { name: url, transport: 'tls', limits: {} });
});

t.test('optional: a verified certificate is told, anything else counts as none', async (t) => {
  const harness = await listen(t, { url, tls: tlsOptions({ clientCertificate: 'optional' }) });
  t.equal((await taken(harness)).sink.certificate, null);
  t.equal((await taken(harness, identity('forged'))).sink.certificate, null, 'another authority');
  const { certificate } = (await taken(harness, identity('device'))).sink;
  t.match(certificate, {
    subjectCommonName: 'device 7',
    subjectAltNames: [
      'DNS:device-7.example',
      'IP Address:192.0.2.7',
      'URI:urn:dev:7',
      'email:a@b.example',
    ],
    serialNumber: /^[0-9A-F]{8,}$/,
    fingerprint256: /^(?:[0-9A-F]{2}:){31}[0-9A-F]{2}$/,
  });
  const { certificate: double } = (await taken(harness, identity('two-names'))).sink;
  t.equal(double?.subjectCommonName, '', 'of two names none is chosen');
});

t.test('required: nobody without a certificate of the authority', async (t) => {
  const harness = await listen(t, { url, tls: tlsOptions({ clientCertificate: 'required' }) });
  const { listener, acceptor, log } = harness;
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const failedBefore = listener.counters.handshakesFailed;
    const only = { minVersion: version, maxVersion: version };
    const without = await shake(harness, only);
    t.ok(await without.closed, `${version}: none`);
    const forged = await shake(harness, { ...only, ...identity('forged') });
    await forged.closed;
    await until(() => listener.counters.handshakesFailed - failedBefore === 2, 'both count once');
    t.equal(acceptor.connections.length, version === 'TLSv1.2' ? 0 : 1);
    const connection = await taken(harness, { ...only, ...identity('device') });
    t.equal(connection.sink.certificate?.subjectCommonName, 'device 7', version);
  }
  t.match(log.problems()[0], /^TLS handshake failed: .*certificate/i);
  await sleep(30);
  t.equal(listener.counters.handshakesFailed, 4, 'once each');
});

t.test('a certificate that is not verified is told as such', async (t) => {
  const harness = await listen(t, { url, tls: tlsOptions({ clientCertificate: 'required' }) });
  await (await shake(harness, identity('forged'))).closed;
  await until(() => harness.listener.counters.handshakesFailed === 1, 'it counts');
  t.match(harness.log.problems(), [
    /^the client certificate is not verified by tls\.caFile \(UNABLE_TO_VERIFY_LEAF_SIGNATURE\)$/,
  ]);
  t.strictSame(harness.acceptor.connections, []);
});

t.test('a resumed session keeps its certificate, or its lack of one', async (t) => {
  const harness = await listen(t, { url, tls: tlsOptions({ clientCertificate: 'optional' }) });
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    for (const [who, name] of [
      [identity('device'), 'device 7'],
      [{}, undefined],
    ] as const) {
      const options = { ...who, minVersion: version, maxVersion: version };
      const first = await shake(harness, options);
      (await harness.acceptor.next()).say('x');
      await until(() => first.sessions.length > 0, 'a session ticket');
      const session = first.sessions.at(-1)!;
      const second = await shake(harness, { ...options, session });
      t.equal(second.socket.isSessionReused(), true, version);
      const { certificate } = (await harness.acceptor.next()).sink;
      t.equal(certificate?.subjectCommonName, name, `${version}, ${name}`);
    }
  }
});

t.test('oldest version and ciphers are as asked', async (t) => {
  const modern = await listen(t, { url, tls: tlsOptions({ minVersion: 'TLSv1.3' }) });
  const old = await shake(modern, { maxVersion: 'TLSv1.2' });
  t.ok(await old.closed);
  t.equal(modern.listener.counters.handshakesFailed, 1);
  const { socket } = await shake(modern);
  t.equal(socket.getProtocol(), 'TLSv1.3');
  const usual = await listen(t, { url, tls: tlsOptions() });
  const ancient = await shake(usual, {
    minVersion: 'TLSv1',
    maxVersion: 'TLSv1.1',
    ciphers: 'DEFAULT@SECLEVEL=0',
  });
  t.ok(await ancient.closed, 'TLS 1.1 is refused');
  const ciphers = 'ECDHE-ECDSA-AES256-GCM-SHA384';
  const one = await listen(t, { url, tls: tlsOptions({ ciphers }) });
  const shaken = await shake(one, { maxVersion: 'TLSv1.2' });
  t.equal(shaken.socket.getCipher().name, ciphers);
});

t.test('something else than TLS', async (t) => {
  const { listener, acceptor, log } = await listen(t, { url, tls: tlsOptions() });
  const socket = await connectSocket({ address: listener.address });
  socket.on('error', () => {});
  socket.resume();
  const closed = new Promise((resolve) => socket.on('close', resolve));
  socket.write(Buffer.from('101000044d51545404020000', 'hex'));
  await closed;
  await until(() => listener.counters.handshakesFailed === 1, 'it counts');
  t.match(log.problems(), [/^TLS handshake failed: /]);
  t.strictSame(acceptor.connections, []);
  await until(() => listener.connections === 0, 'no connection is left');
});

t.test('a reload: who is connected stays, who comes sees the new certificate', async (t) => {
  for (const name of ['pem', 'key'])
    copyFileSync(files.path(`server.${name}`), files.path(`live.${name}`));
  const tls = tlsOptions({ certFile: files.path('live.pem'), keyFile: files.path('live.key') });
  const harness = await listen(t, { url, tls });
  const { listener } = harness;
  const served = (socket: TLSSocket): string => String(socket.getPeerCertificate().subject.CN);
  const before = await shake(harness);
  const connection = await harness.acceptor.next();
  t.equal(served(before.socket), 'server');

  for (const name of ['pem', 'key'])
    copyFileSync(files.path(`renewed.${name}`), files.path(`live.${name}`));
  await listener.reload({ ...base, url, tls });
  const after = await shake(harness);
  t.equal(served(after.socket), 'renewed');
  await harness.acceptor.next();
  before.socket.write('still here');
  await connection.receivedBytes(10);

  // A broken file: the old state holds.
  writeFileSync(files.path('live.pem'), files.pem('renewed.pem').slice(0, 300));
  await t.rejects(listener.reload({ ...base, url, tls }), {
    name: 'ListenerError',
    code: 'LISTENER_TLS',
    message: /tls.certFile .*live.pem is cut off or damaged/,
  });
  t.equal(served((await shake(harness)).socket), 'renewed');
  await harness.acceptor.next();
  t.strictSame(connection.closes, []);

  // A reload may ask for client certificates, and an old session does not get around it.
  await until(() => after.sessions.length > 0, 'a session ticket');
  const session = after.sessions.at(-1)!;
  copyFileSync(files.path('renewed.pem'), files.path('live.pem'));
  await listener.reload({ ...base, url, tls: { ...tls, clientCertificate: 'required' } });
  const resumed = await shake(harness, { session });
  t.ok(await resumed.closed, 'a session from before needs a certificate too');
  const device = await taken(harness, identity('device'));
  t.equal(device.sink.certificate?.subjectCommonName, 'device 7');
  before.socket.write('!');
  await connection.receivedBytes(11);
});

t.test('what is wrong with the files is said in words', async (t) => {
  writeFileSync(files.path('empty.pem'), '');
  writeFileSync(files.path('text.pem'), 'no certificate at all\n');
  writeFileSync(
    files.path('damaged.pem'),
    '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
  );
  const encrypt = ['-aes256', '-passout', 'pass:secret'];
  files.openssl('ec', '-in', 'server.key', '-out', 'encrypted.key', ...encrypt);
  const wrong: [Partial<TlsOptions>, RegExp][] = [
    [
      { keyFile: files.path('device.key') },
      /tls\.keyFile .*device\.key is not the key of tls\.certFile .*server\.pem/,
    ],
    [{ certFile: files.path('nowhere.pem') }, /cannot read tls\.certFile .*nowhere\.pem: ENOENT/],
    [{ keyFile: files.path('nowhere.key') }, /cannot read tls\.keyFile .*nowhere\.key: ENOENT/],
    [{ caFile: files.path('nowhere.pem') }, /cannot read tls\.caFile .*nowhere\.pem: ENOENT/],
    [{ certFile: files.path('empty.pem') }, /tls\.certFile .*empty\.pem holds no certificate/],
    [{ certFile: files.path('text.pem') }, /tls\.certFile .*text\.pem holds no certificate/],
    [
      { certFile: files.path('damaged.pem') },
      /tls\.certFile .*damaged\.pem: certificate 1 is damaged/,
    ],
    [{ keyFile: files.path('server.pem') }, /tls\.keyFile .*server\.pem is no PEM key/],
    [{ keyFile: files.path('encrypted.key') }, /tls\.keyFile .*encrypted\.key is encrypted/],
    [{ caFile: files.path('text.pem') }, /tls\.caFile .*text\.pem holds no certificate/],
    [{ ciphers: 'NO-SUCH-CIPHER' }, /tls settings are refused/],
  ];
  for (const [options, message] of wrong) {
    const starting = listen(t, { url, tls: tlsOptions(options) });
    await t.rejects(starting, { code: 'LISTENER_TLS', message }, String(message));
  }
  const named = listen(t, { url, name: 'devices', tls: tlsOptions({ keyFile: '/nowhere' }) });
  await t.rejects(named, { message: /^listener devices: / });
});

t.test('dates are looked at, not judged', async (t) => {
  const dates = ['-not_before', '20200101000000Z', '-not_after', '20200201000000Z'];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const out = ['-keyout', 'expired.key', '-out', 'expired.pem', '-subj', '/CN=expired'];
  try {
    files.openssl('req', '-x509', ...key, ...out, ...dates);
  } catch {
    // OpenSSL before 3.4 sets dates through its ca command only.
    writeFileSync(
      files.path('ca.cnf'),
      '[ca]\ndefault_ca=c\n[c]\ndatabase=index.txt\nnew_certs_dir=.\nserial=serial.txt\n' +
        'default_md=sha256\npolicy=p\nrand_serial=yes\n[p]\ncommonName=supplied\n',
    );
    writeFileSync(files.path('index.txt'), '');
    const request = ['-keyout', 'expired.key', '-out', 'expired.csr', '-subj', '/CN=expired'];
    files.openssl('req', ...key, ...request);
    const signer = ['-cert', 'ca.pem', '-keyfile', 'ca.key', '-config', 'ca.cnf', '-batch'];
    const range = ['-startdate', '20200101000000Z', '-enddate', '20200201000000Z'];
    files.openssl(
      'ca',
      ...signer,
      ...range,
      '-in',
      'expired.csr',
      '-out',
      'expired.pem',
      '-notext',
    );
  }
  const certFile = files.path('expired.pem');
  const tls = tlsOptions({ certFile, keyFile: files.path('expired.key') });
  const harness = await listen(t, { url, tls });
  t.match(harness.log.lines, [
    { level: 'warn', message: 'certificate has expired', fields: { certFile } },
  ]);
  await taken(harness, { rejectUnauthorized: false });
});

t.test('names with commas and quotes stay one name', async (t) => {
  t.strictSame(splitAltNames(''), []);
  t.strictSame(splitAltNames('DNS:a, DNS:b'), ['DNS:a', 'DNS:b']);
  t.strictSame(splitAltNames('URI:"http://a/?x, DNS:evil", DNS:b'), [
    'URI:http://a/?x, DNS:evil',
    'DNS:b',
  ]);
  t.strictSame(splitAltNames('DNS:"a\\"b", IP Address:::1'), ['DNS:a"b', 'IP Address:::1']);
  t.strictSame(splitAltNames('DNS:a, "unreadable'), ['DNS:a'], 'nothing after what is unreadable');
  t.strictSame(splitAltNames('DNS:"\\x", DNS:b'), ['DNS:b']);
});

t.test('a certificate with such a name, over the wire', async (t) => {
  files.issue('comma', 'ca', '@names\n[names]\nURI=http://a/?x, DNS:evil.example');
  const harness = await listen(t, { url, tls: tlsOptions({ clientCertificate: 'required' }) });
  const names = (await taken(harness, identity('comma'))).sink.certificate?.subjectAltNames;
  t.strictSame(names, ['URI:http://a/?x, DNS:evil.example'], 'no second name is made of it');
});

t.test('a handshake that stands still is ended, and counts once', async (t) => {
  const { listener, acceptor } = await listen(t, {
    url,
    tls: tlsOptions(),
    handshakeTimeoutMs: 120,
  });
  const beganMs = performance.now();
  const socket = await connectSocket({ address: listener.address });
  socket.on('error', () => {});
  const closed = new Promise((resolve) => socket.on('close', resolve));
  socket.write(Buffer.from('160301', 'hex'));
  socket.resume();
  await closed;
  const tookMs = performance.now() - beganMs;
  t.ok(tookMs >= 110 && tookMs < 8000);
  await sleep(50);
  t.equal(listener.counters.handshakesFailed, 1);
  t.strictSame(acceptor.connections, []);
});
