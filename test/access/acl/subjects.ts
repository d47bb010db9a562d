/** Clients for tests of rules: connected, anonymous and without anything special, unless told. */
import type { AclSubject } from '../../../src/access/acl/subject.ts';
import type { PeerCertificate } from '../../../src/core/ports.ts';

export function subject(known: Partial<AclSubject> = {}): AclSubject {
  return {
    clientId: 'dev1',
    user: null,
    tenant: '',
    remoteAddress: '192.0.2.7',
    listenerName: 'mqtt://127.0.0.1:1883',
    certificate: null,
    claims: null,
    isSuperuser: false,
    grants: null,
    ...known,
  };
}

export function certificate(known: Partial<PeerCertificate> = {}): PeerCertificate {
  return {
    subjectCommonName: 'gateway-1',
    subjectAltNames: ['DNS:gateway-1.example', 'URI:urn:gateway:1'],
    organization: 'Acme',
    organizationalUnit: 'Line 7',
    issuerCommonName: 'Acme Devices',
    serialNumber: '0A',
    fingerprint256: Array.from({ length: 32 }, () => 'AB').join(':'),
    validToMs: 4_000_000_000_000,
    ...known,
  };
}
