/**
 * Pre-shared keys in the TLS handshakes of one listener: hands OpenSSL the key of an identity, and
 * afterwards says which identity was proven. That a key was asked for proves nothing: TLS 1.3 asks,
 * and may then take the certificate instead. Control plane; the keys belong to whoever looks them up.
 */
import { constants, randomBytes } from 'node:crypto';
import { DEFAULT_CIPHERS, type TlsOptions as NodeTlsOptions, type TLSSocket } from 'node:tls';

/** The key of an identity, or null: there is no such identity. Called in each handshake. */
export type PskLookup = (identity: string) => Buffer | null;

/** Forward-secret ones first; the plain ones are for small devices. */
const PSK_CIPHERS = [
  'ECDHE-PSK-CHACHA20-POLY1305',
  'DHE-PSK-AES256-GCM-SHA384',
  'DHE-PSK-AES128-GCM-SHA256',
  'DHE-PSK-CHACHA20-POLY1305',
  'ECDHE-PSK-AES256-CBC-SHA384',
  'ECDHE-PSK-AES128-CBC-SHA256',
  'PSK-AES256-GCM-SHA384',
  'PSK-CHACHA20-POLY1305',
  'PSK-AES128-GCM-SHA256',
  'PSK-AES128-CBC-SHA256',
];
/** An external key of TLS 1.3 goes with SHA-256 only: these have to be chosen before the other. */
const TLS13_CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_CHACHA20_POLY1305_SHA256',
  'TLS_AES_256_GCM_SHA384',
];
const DECOY_BYTES = 32;

/** Node's list with pre-shared keys added. */
export function pskCiphers(hasCertificate: boolean): string {
  const usual = DEFAULT_CIPHERS.split(':').filter(
    (name) => !name.startsWith('TLS_') && name !== '!PSK',
  );
  return [...TLS13_CIPHERS, ...(hasCertificate ? usual : []), ...PSK_CIPHERS].join(':');
}

export class PskHandshakes {
  readonly #lookup: PskLookup;
  readonly #hasCertificate: boolean;
  /** The last identity whose key was handed out. */
  readonly #claimed: WeakMap<TLSSocket, string> = new WeakMap();
  readonly #unknown: WeakSet<TLSSocket> = new WeakSet();

  constructor(lookup: PskLookup, hasCertificate: boolean) {
    this.#lookup = lookup;
    this.#hasCertificate = hasCertificate;
  }

  /** What the server needs for it, beside ciphers. */
  get options(): NodeTlsOptions {
    return {
      pskCallback: (socket, identity) => this.#keyOf(socket as TLSSocket, identity),
      // A resumed session would not say by which key it was made.
      secureOptions: constants.SSL_OP_NO_TICKET,
    };
  }

  /** Of a finished handshake: the identity that was proven, or null. */
  identityOf(socket: TLSSocket): string | null {
    const identity = this.#claimed.get(socket) ?? null;
    if (identity === null) return null;
    const isReused = socket.isSessionReused();
    // In TLS 1.3 a key counts as the resumption of a session, and there is no other kind here.
    if (socket.getProtocol() === 'TLSv1.3') return isReused ? identity : null;
    return !isReused && socket.getCipher().name.includes('PSK') ? identity : null;
  }

  /** Of a failed handshake: the client named an identity that is not in the file. */
  wasUnknown(socket: TLSSocket): boolean {
    return this.#unknown.has(socket);
  }

  #keyOf(socket: TLSSocket, identity: string): Buffer | null {
    const key = this.#lookup(identity);
    if (key !== null) {
      this.#claimed.set(socket, identity);
      return key;
    }
    this.#claimed.delete(socket);
    this.#unknown.add(socket);
    // In TLS 1.3 it may be a session ticket from before, whose owner goes on with the certificate.
    const mayGoOn = this.#hasCertificate && socket.getProtocol() === 'TLSv1.3';
    // A key nobody has, so that a wrong identity fails as a wrong key does.
    return mayGoOn ? null : randomBytes(DECOY_BYTES);
  }
}
