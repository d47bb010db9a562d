/**
 * Says who a client with a certificate is: one field of it is the user. TLS has verified it already,
 * revocation included, or the client counts as having none. Where a field could hold several names,
 * only a single one counts, as a client must not choose who it is.
 */
import type { PeerCertificate } from '../../core/ports.ts';
import type {
  AuthenticationAnswer,
  Authenticator,
  AuthenticatorCounters,
  Credentials,
} from '../authenticator.ts';
import { type Prepared, prepared } from '../prepared.ts';
import { identified, ignored, newAuthenticatorCounters, refusal } from './answers.ts';

export type CertificateIdentity =
  | 'common_name'
  | 'san_dns'
  | 'san_uri'
  | 'san_email'
  | 'serial'
  | 'fingerprint';

export interface CertificateOptions {
  /** `serial` tells clients apart as long as one authority signs them all. */
  readonly identity: CertificateIdentity;
}

/** As long as a user name may be in CONNECT. */
const IDENTITY_BYTES_MAX = 0xffff;

/** What Node writes before a name of each kind. */
const altNameKinds = { san_dns: 'DNS:', san_uri: 'URI:', san_email: 'email:' } as const;

const inWords: Readonly<Record<CertificateIdentity, string>> = {
  common_name: 'common name',
  san_dns: 'DNS name',
  san_uri: 'URI name',
  san_email: 'email name',
  serial: 'serial number',
  fingerprint: 'fingerprint',
};

export class CertificateAuthenticator implements Authenticator {
  readonly kind = 'certificate';
  readonly counters: AuthenticatorCounters = newAuthenticatorCounters();
  readonly #identity: CertificateIdentity;

  constructor(options: CertificateOptions) {
    this.#identity = options.identity;
  }

  async start(): Promise<void> {
    // Nothing to read: authorities and revocation lists belong to the listeners.
  }

  async prepare(): Promise<Prepared> {
    // As at start.
    return prepared(() => {});
  }

  async stop(): Promise<void> {
    // Nothing is open.
  }

  authenticate({ certificate }: Credentials): AuthenticationAnswer {
    if (certificate === null) {
      this.counters.ignored += 1;
      return ignored;
    }
    const names = namesOf(certificate, this.#identity);
    const [user] = names;
    if (names.length !== 1 || user === undefined || !isUserName(user)) {
      this.counters.refused += 1;
      const what = inWords[this.#identity];
      const detail =
        names.length > 1
          ? `the certificate has ${names.length} names of the kind ${what}, and one is asked for`
          : `the certificate has no usable ${what}`;
      return refusal('bad_credentials', detail);
    }
    this.counters.accepted += 1;
    const who = identified(user, { expiresAtMs: certificate.validToMs });
    return { kind: 'accepted', who };
  }
}

function namesOf(certificate: PeerCertificate, identity: CertificateIdentity): readonly string[] {
  switch (identity) {
    case 'common_name':
      // '' also stands for several.
      return [certificate.subjectCommonName];
    case 'serial':
      return [certificate.serialNumber];
    case 'fingerprint':
      return [certificate.fingerprint256];
    default: {
      const kind = altNameKinds[identity];
      return certificate.subjectAltNames
        .filter((name) => name.startsWith(kind))
        .map((name) => name.slice(kind.length));
    }
  }
}

function isUserName(name: string): boolean {
  return (
    name !== '' &&
    name === name.trim() &&
    !/\p{Cc}/u.test(name) &&
    // What stands for bytes that are no text.
    !name.includes('\ufffd') &&
    name.isWellFormed() &&
    Buffer.byteLength(name) <= IDENTITY_BYTES_MAX
  );
}
