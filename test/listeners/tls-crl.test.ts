// Revoked client certificates over real sockets: refused with a reason, also where certificates are
// optional; lists that are wrong, expired or for somebody else never open anything.
import { copyFileSync, writeFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import t from 'tap';
import type { TlsOptions } from '../../src/listeners/listener.ts';
import { Certificates } from './certificates.ts';
import { until } from './recorder.ts';
import { shakeHands } from './shake-hands.ts';
import { type Harness, listen } from './transports.ts';

const files = new Certificates();
files.authority('ca');
files.authority('stranger');
files.issue('server', 'ca', 'IP:127.0.0.1');
files.issue('good', 'ca', 'DNS:good', '/O=Works/OU=Line 1/CN=good');
files.issue('lost', 'ca', 'DNS:lost');
files.revoke('ca', 'none', []);
files.revoke('ca', 'one', ['lost']);
files.revoke('ca', 'old', [], ['20200101000000Z', '20200201000000Z']);
files.revoke('stranger', 'foreign', []);

const url = 'mqtts://127.0.0.1:0';
const base = { limits: {}, handshakeTimeoutMs: 2000 };

function tlsOptions(more: Partial<TlsOptions> = {}): TlsOptions {
  return {
    certFile: files.path('server.pem'),
    keyFile: files.path('server.key'),
    caFile: files.path('ca.pem'),
    crlFile: files.path('one.crl'),
    clientCertificate: 'required',
    ...more,
  };
}

function as(name: string, more: ConnectionOptions = {}): ConnectionOptions {
  const identity = { cert: files.pem(`${name}.pem`), key: files.pem(`${name}.key`) };
  return { ca: files.pem('ca.pem'), ...identity, ...more };
}

async function refused(harness: Harness, options: ConnectionOptions): Promise<string> {
  const before = harness.listener.counters.handshakesFailed;
  const linesBefore = harness.log.problems().length;
  await (await shakeHands(harness, options)).closed;
  await until(() => harness.listener.counters.handshakesFailed === before + 1, 'it counts once');
  return harness.log.problems()[linesBefore] ?? 'told with the next line';
}

for (const clientCertificate of ['required', 'optional'] as const) {
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    t.test(`revoked, ${clientCertificate}, ${version}`, async (t) => {
      const harness = await listen(t, { url, tls: tlsOptions({ clientCertificate }) });
      const only = { minVersion: version, maxVersion: version };
      t.equal(
        await refused(harness, as('lost', only)),
        'the client certificate is revoked (CERT_REVOKED)',
      );
      t.strictSame(harness.acceptor.connections, []);
      await shakeHands(harness, as('good', only));
      const { certificate } = (await harness.acceptor.next()).sink;
      t.match(certificate, {
        subjectCommonName: 'good',
        organization: 'Works',
        organizationalUnit: 'Line 1',
        issuerCommonName: 'ca',
      });
      const days = (certificate!.validToMs - Date.now()) / 86_400_000;
      t.ok(days > 1.9 && days < 2.1, 'the end of its validity');
    });
  }
}

t.test('a reload revokes for new connections, and tells of old ones', async (t) => {
  copyFileSync(files.path('none.crl'), files.path('live.crl'));
  const tls = tlsOptions({ crlFile: files.path('live.crl') });
  const harness = await listen(t, { url, tls });
  const { listener } = harness;
  await shakeHands(harness, as('lost'));
  const lost = await harness.acceptor.next();
  await shakeHands(harness, as('good'));
  const good = await harness.acceptor.next();
  t.equal(listener.isRevoked(lost.sink.certificate!), false);

  for (const broken of ['', files.pem('one.crl').slice(0, 200), files.pem('foreign.crl')]) {
    writeFileSync(files.path('live.crl'), broken);
    await t.rejects(listener.reload({ ...base, url, tls }), { code: 'LISTENER_TLS' });
  }
  await shakeHands(harness, as('lost'));
  await harness.acceptor.next();
  t.pass('broken lists leave the old state');

  copyFileSync(files.path('one.crl'), files.path('live.crl'));
  await listener.reload({ ...base, url, tls });
  t.match(await refused(harness, as('lost')), /revoked/);
  t.strictSame(lost.closes, [], 'who is connected is for the broker to end');
  t.equal(listener.isRevoked(lost.sink.certificate!), true);
  t.equal(listener.isRevoked(good.sink.certificate!), false);
  const elsewhere = { ...lost.sink.certificate!, issuerCommonName: 'other' };
  t.equal(listener.isRevoked(elsewhere), false, 'a serial is one of its authority');
});

t.test('a list that has expired refuses everybody it is about, and says so', async (t) => {
  for (const clientCertificate of ['required', 'optional'] as const) {
    const crlFile = files.path('old.crl');
    const harness = await listen(t, { url, tls: tlsOptions({ crlFile, clientCertificate }) });
    t.match(harness.log.lines, [
      {
        level: 'warn',
        message: /^revocation list has expired; .* refused$/,
        fields: { crlFile, issuer: 'ca' },
      },
    ]);
    t.match(await refused(harness, as('good')), /^tls\.crlFile does not say .*CRL_HAS_EXPIRED/);
    t.strictSame(harness.acceptor.connections, []);
  }
});

t.test('what is wrong with the list is said in words', async (t) => {
  writeFileSync(files.path('two.pem'), files.pem('ca.pem') + files.pem('stranger.pem'));
  // Another key behind the same name.
  files.openssl(
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
    ...['-keyout', 'twin.key', '-out', 'twin.pem', '-days', '2', '-subj', '/CN=ca'],
  );
  files.revoke('twin', 'twin', []);
  writeFileSync(
    files.path('bytes.crl'),
    '-----BEGIN X509 CRL-----\nMAMCAQE=\n-----END X509 CRL-----\n',
  );
  const body = files.pem('one.crl').replaceAll(/-----.*-----|\n/g, '');
  const half = Buffer.from(body, 'base64').subarray(0, 80).toString('base64');
  writeFileSync(
    files.path('half.crl'),
    `-----BEGIN X509 CRL-----\n${half}\n-----END X509 CRL-----\n`,
  );
  const crl = (name: string): Partial<TlsOptions> => ({ crlFile: files.path(name) });
  const wrong: [Partial<TlsOptions>, RegExp][] = [
    [crl('nowhere.crl'), /cannot read tls\.crlFile .*nowhere\.crl: ENOENT/],
    [crl('ca.pem'), /tls\.crlFile .*ca\.pem holds no revocation list/],
    [crl('foreign.crl'), /foreign\.crl list 1 is by none of the authorities in tls\.caFile/],
    [crl('twin.crl'), /twin\.crl list 1 is not signed by the authority of tls\.caFile/],
    [crl('bytes.crl'), /bytes\.crl list 1 has tag/],
    [crl('half.crl'), /half\.crl list 1 is cut off/],
    [
      { ...crl('one.crl'), caFile: files.path('two.pem') },
      /one\.crl has no list by "stranger" of tls\.caFile, so every client of it would be refused/,
    ],
  ];
  for (const [options, message] of wrong) {
    const starting = listen(t, { url, tls: tlsOptions(options) });
    await t.rejects(starting, { code: 'LISTENER_TLS', message }, String(message));
  }
  await t.rejects(listen(t, { url, tls: tlsOptions({ clientCertificate: 'none' }) }), {
    code: 'LISTENER_OPTIONS',
    message: /tls\.crlFile is about client certificates/,
  });
});

t.test('several authorities, one below the other, each with its list', async (t) => {
  files.subAuthority('plant', 'ca');
  files.issue('worker', 'plant', 'DNS:worker');
  files.issue('leaver', 'plant', 'DNS:leaver');
  files.revoke('plant', 'plant', ['leaver']);
  writeFileSync(files.path('chain.pem'), files.pem('plant.pem') + files.pem('ca.pem'));
  writeFileSync(files.path('chain.crl'), files.pem('plant.crl') + files.pem('one.crl'));
  const tls = tlsOptions({ caFile: files.path('chain.pem'), crlFile: files.path('chain.crl') });
  const harness = await listen(t, { url, tls });
  await shakeHands(harness, as('worker'));
  t.equal((await harness.acceptor.next()).sink.certificate?.issuerCommonName, 'plant');
  t.match(await refused(harness, as('leaver')), /revoked/);
});

t.test('an authority with an RSA key, plain and PSS', async (t) => {
  const rsa = ['-newkey', 'rsa:2048', '-nodes', '-days', '2'];
  files.openssl(
    ...['req', '-x509', ...rsa, '-keyout', 'rsa.key', '-out', 'rsa.pem', '-subj', '/CN=rsa'],
  );
  files.issue('rsa-device', 'rsa', 'DNS:rsa-device');
  files.revoke('rsa', 'rsa', ['rsa-device']);
  files.openssl(
    ...['ca', '-config', 'rsa.cnf', '-keyfile', 'rsa.key', '-cert', 'rsa.pem', '-gencrl'],
    ...['-out', 'pss.crl', '-crlhours', '1', '-sigopt', 'rsa_padding_mode:pss'],
  );
  for (const name of ['rsa.crl', 'pss.crl']) {
    const tls = tlsOptions({ caFile: files.path('rsa.pem'), crlFile: files.path(name) });
    const harness = await listen(t, { url, tls });
    t.match(await refused(harness, as('rsa-device')), /revoked/, name);
  }
});
