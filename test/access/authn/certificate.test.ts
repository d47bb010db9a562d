// Which name of a certificate is the user, and what is none. That certificates are verified, revoked
// and handed on is in test/listeners/tls*.test.ts.
import t from 'tap';
import {
  CertificateAuthenticator,
  type CertificateIdentity,
} from '../../../src/access/authn/certificate-authenticator.ts';
import type { PeerCertificate } from '../../../src/core/ports.ts';
import { credentials } from './token-workshop.ts';

const certificate: PeerCertificate = {
  subjectCommonName: 'device 7',
  subjectAltNames: ['DNS:d7.example', 'IP Address:192.0.2.7', 'URI:urn:dev:7', 'email:a@b.example'],
  organization: 'Works',
  organizationalUnit: 'Line 1',
  issuerCommonName: 'ca',
  serialNumber: '0A1B',
  fingerprint256: 'AA:BB',
  validToMs: 1_900_000_000_000,
};

function ask(identity: CertificateIdentity, changes: Partial<PeerCertificate> = {}): string {
  const authenticator = new CertificateAuthenticator({ identity });
  const shown = credentials({ username: 'admin', certificate: { ...certificate, ...changes } });
  const answer = authenticator.authenticate(shown);
  if (answer.kind === 'accepted') return `${answer.who.user} until ${answer.who.expiresAtMs}`;
  return answer.kind === 'refused' ? `${answer.reason}: ${answer.detail}` : answer.kind;
}

t.test('each field', async (t) => {
  const until = ' until 1900000000000';
  t.equal(ask('common_name'), `device 7${until}`);
  t.equal(ask('san_dns'), `d7.example${until}`);
  t.equal(ask('san_uri'), `urn:dev:7${until}`);
  t.equal(ask('san_email'), `a@b.example${until}`);
  t.equal(ask('serial'), `0A1B${until}`);
  t.equal(ask('fingerprint'), `AA:BB${until}`);
});

t.test('no name, or more than one', async (t) => {
  t.match(
    ask('common_name', { subjectCommonName: '' }),
    /^bad_credentials: .* no usable common name/,
  );
  t.match(ask('san_dns', { subjectAltNames: ['URI:DNS:x'] }), /no usable DNS name/);
  t.match(
    ask('san_dns', { subjectAltNames: ['DNS:a', 'DNS:admin'] }),
    /^bad_credentials: the certificate has 2 names of the kind DNS name, and one is asked for/,
  );
  t.match(ask('san_uri', { subjectAltNames: ['DNS:a', 'DNS:b', 'URI:u'] }), /^u until/);
  for (const subjectCommonName of ['a\0b', 'a\nb', ' a', 'a\ufffd', '\ud800', 'x'.repeat(65_536)]) {
    const shown = JSON.stringify(subjectCommonName.slice(0, 8));
    t.match(ask('common_name', { subjectCommonName }), /^bad_credentials/, shown);
  }
});

t.test('without a certificate the next one is asked', async (t) => {
  const authenticator = new CertificateAuthenticator({ identity: 'common_name' });
  await authenticator.start();
  t.strictSame(authenticator.authenticate(credentials({ username: 'device 7' })), {
    kind: 'ignored',
  });
  authenticator.authenticate(credentials({ certificate }));
  authenticator.authenticate(
    credentials({ certificate: { ...certificate, subjectCommonName: '' } }),
  );
  const counters = { accepted: 1, refused: 1, ignored: 1, errors: 0, cacheHits: 0 };
  t.strictSame({ ...authenticator.counters }, counters);
});
