/**
 * Makes an authority and a server certificate signed by it (X.509 v3, ECDSA P-256, RFC 5280), which
 * node:crypto can read but not write. Called by `causeway init`; touches no file.
 */
import {
  createHash,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from 'node:crypto';
import { isIP } from 'node:net';
import { parseIpAddress } from '../../util/ip-address.ts';
import {
  bitString,
  boolean,
  explicit,
  implicit,
  objectId,
  octetString,
  sequence,
  set,
  time,
  unsigned,
  utf8String,
} from './der.ts';

export interface Issued {
  /** PEM. */
  readonly certificate: string;
  /** PEM, PKCS #8. */
  readonly key: string;
}

export interface IssuedPair {
  /** What clients have to trust. */
  readonly authority: Issued;
  readonly server: Issued;
  /** Wall-clock ms. */
  readonly serverExpiresAtMs: number;
}

const DAY_MS = 86_400_000;
const AUTHORITY_DAYS = 3650;
/** Some systems refuse server certificates that live longer. */
const SERVER_DAYS = 825;
/** For clients whose clock is behind. */
const EARLIER_MS = 3_600_000;

const ECDSA_SHA256 = sequence(objectId('1.2.840.10045.4.3.2'));
const COMMON_NAME = '2.5.4.3';
const SUBJECT_KEY_ID = '2.5.29.14';
const KEY_USAGE = '2.5.29.15';
const SUBJECT_ALT_NAME = '2.5.29.17';
const BASIC_CONSTRAINTS = '2.5.29.19';
const AUTHORITY_KEY_ID = '2.5.29.35';
const EXTENDED_KEY_USAGE = '2.5.29.37';
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
/** Upper bound of RFC 5280 for a common name. */
const COMMON_NAME_MAX = 64;

interface Request {
  readonly subject: string;
  readonly issuer: string;
  readonly publicKey: KeyObject;
  readonly signingKey: KeyObject;
  readonly fromMs: number;
  readonly toMs: number;
  readonly extensions: readonly Buffer[];
}

/** `hosts`: DNS names and IP addresses by which clients reach the server; at least one. */
export function issueCertificates(hosts: readonly string[], nowMs: number): IssuedPair {
  const authorityKeys = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const serverKeys = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  // Told apart from the authority of another node in a list of them.
  const issuer = `Causeway authority ${randomBytes(4).toString('hex')}`;
  const authorityKeyId = keyId(authorityKeys.publicKey);
  const fromMs = nowMs - EARLIER_MS;
  const serverExpiresAtMs = nowMs + SERVER_DAYS * DAY_MS;
  const authority = makeCertificate({
    subject: issuer,
    issuer,
    publicKey: authorityKeys.publicKey,
    signingKey: authorityKeys.privateKey,
    fromMs,
    toMs: nowMs + AUTHORITY_DAYS * DAY_MS,
    extensions: [
      // An authority, with none below it.
      extension(BASIC_CONSTRAINTS, true, sequence(boolean(true), unsigned(Buffer.of(0)))),
      // keyCertSign and cRLSign.
      extension(KEY_USAGE, true, bitString(Buffer.of(0b0000_0110), 1)),
      extension(SUBJECT_KEY_ID, false, octetString(authorityKeyId)),
    ],
  });
  const server = makeCertificate({
    subject: hosts[0]!.slice(0, COMMON_NAME_MAX),
    issuer,
    publicKey: serverKeys.publicKey,
    signingKey: authorityKeys.privateKey,
    fromMs,
    toMs: serverExpiresAtMs,
    extensions: [
      extension(BASIC_CONSTRAINTS, true, sequence()),
      // digitalSignature.
      extension(KEY_USAGE, true, bitString(Buffer.of(0b1000_0000), 7)),
      extension(EXTENDED_KEY_USAGE, false, sequence(objectId(SERVER_AUTH))),
      extension(SUBJECT_ALT_NAME, false, sequence(...hosts.map(altName))),
      extension(SUBJECT_KEY_ID, false, octetString(keyId(serverKeys.publicKey))),
      extension(AUTHORITY_KEY_ID, false, sequence(implicit(0, authorityKeyId))),
    ],
  });
  return {
    authority: { certificate: authority, key: pemOf(authorityKeys.privateKey) },
    server: { certificate: server, key: pemOf(serverKeys.privateKey) },
    serverExpiresAtMs,
  };
}

function makeCertificate(request: Request): string {
  const body = sequence(
    // v3
    explicit(0, unsigned(Buffer.of(2))),
    unsigned(serialNumber()),
    ECDSA_SHA256,
    nameOf(request.issuer),
    sequence(time(request.fromMs), time(request.toMs)),
    nameOf(request.subject),
    request.publicKey.export({ type: 'spki', format: 'der' }),
    explicit(3, sequence(...request.extensions)),
  );
  const signature = sign('sha256', body, { key: request.signingKey, dsaEncoding: 'der' });
  return new X509Certificate(sequence(body, ECDSA_SHA256, bitString(signature))).toString();
}

/** 127 bits nobody can foresee, never 0. */
function serialNumber(): Buffer {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return bytes;
}

function nameOf(commonName: string): Buffer {
  return sequence(set(sequence(objectId(COMMON_NAME), utf8String(commonName))));
}

function extension(id: string, isCritical: boolean, value: Buffer): Buffer {
  const critical = isCritical ? [boolean(true)] : [];
  return sequence(objectId(id), ...critical, octetString(value));
}

function altName(host: string): Buffer {
  const address = isIP(host) === 0 ? null : parseIpAddress(host);
  return address === null ? implicit(2, Buffer.from(host, 'latin1')) : implicit(7, address);
}

function keyId(key: KeyObject): Buffer {
  return createHash('sha1')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest();
}

function pemOf(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }) as string;
}
