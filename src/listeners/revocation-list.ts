/**
 * Certificate revocation lists (RFC 5280 §5) of a listener: OpenSSL refuses what they name in the
 * handshake; here they are read to see at start and reload what is wrong with them, and to find those
 * who were connected before their certificate was revoked. Control plane.
 */
import { constants, type KeyObject, verify, type X509Certificate } from 'node:crypto';
import type { PeerCertificate } from '../core/ports.ts';
import {
  BIT_STRING,
  CONTEXT_0,
  DerError,
  DerReader,
  INTEGER,
  OBJECT_ID,
  openSequence,
  readTime,
  SEQUENCE,
} from './der.ts';

const BEGIN = '-----BEGIN X509 CRL-----';
const END = '-----END X509 CRL-----';

/** Object identifiers as their bytes in hex. */
const PSS = '2a864886f70d01010a';
const signatureHashes: ReadonlyMap<string, string | null> = new Map([
  ['2a864886f70d01010b', 'sha256'],
  ['2a864886f70d01010c', 'sha384'],
  ['2a864886f70d01010d', 'sha512'],
  ['2a8648ce3d040302', 'sha256'],
  ['2a8648ce3d040303', 'sha384'],
  ['2a8648ce3d040304', 'sha512'],
  // Ed25519 and Ed448 hash by themselves.
  ['2b6570', null],
  ['2b6571', null],
]);
const pssHashes: ReadonlyMap<string, string> = new Map([
  ['608648016503040201', 'sha256'],
  ['608648016503040202', 'sha384'],
  ['608648016503040203', 'sha512'],
]);
/** 2.5.29.27: what follows lists only changes to another list. */
const DELTA_INDICATOR = '551d1b';

interface ParsedList {
  readonly issuer: Buffer;
  readonly thisUpdateMs: number;
  /** Infinity: it does not say. */
  readonly nextUpdateMs: number;
  readonly serials: ReadonlySet<string>;
  readonly isSignedBy: (key: KeyObject) => boolean;
}

export class RevocationList {
  /** PEM, as OpenSSL gets it. */
  readonly pem: string;
  readonly issuerCommonName: string;
  readonly thisUpdateMs: number;
  readonly nextUpdateMs: number;
  readonly #serials: ReadonlySet<string>;

  constructor(pem: string, issuerCommonName: string, parsed: ParsedList) {
    this.pem = pem;
    this.issuerCommonName = issuerCommonName;
    this.thisUpdateMs = parsed.thisUpdateMs;
    this.nextUpdateMs = parsed.nextUpdateMs;
    this.#serials = parsed.serials;
  }

  get size(): number {
    return this.#serials.size;
  }

  /** Authorities are told apart by their common name, which is all that is kept of a connection. */
  has(certificate: PeerCertificate): boolean {
    return (
      certificate.issuerCommonName === this.issuerCommonName &&
      this.#serials.has(normalSerial(certificate.serialNumber))
    );
  }
}

/**
 * The lists in a PEM file, each signed by one of the authorities. OpenSSL wants a list of every
 * authority on a client's way to the root: without one it refuses all its clients, so that is said here.
 */
export function readRevocationLists(
  text: string,
  authorities: readonly X509Certificate[],
  fail: (problem: string, cause?: unknown) => never,
): RevocationList[] {
  const blocks = text.match(/-----BEGIN X509 CRL-----[^-]*-----END X509 CRL-----/g) ?? [];
  if (text.split(BEGIN).length - 1 !== blocks.length) fail('is cut off or damaged');
  if (blocks.length === 0) fail('holds no revocation list (-----BEGIN X509 CRL-----)');
  const subjects = authorities.map((authority) => ({ authority, subject: subjectOf(authority) }));
  const covered = new Set<X509Certificate>();
  const lists = blocks.map((pem, index) => {
    const which = `list ${index + 1}`;
    let parsed: ParsedList;
    try {
      parsed = parseList(pem);
    } catch (error) {
      if (!(error instanceof DerError)) throw error;
      return fail(`${which} ${error.message}`, error);
    }
    const named = subjects.filter(({ subject }) => subject.equals(parsed.issuer));
    if (named.length === 0) fail(`${which} is by none of the authorities in tls.caFile`);
    const signers = named.filter(({ authority }) => parsed.isSignedBy(authority.publicKey));
    const [signer] = signers;
    if (signer === undefined) {
      return fail(`${which} is not signed by the authority of tls.caFile that it names`);
    }
    // A renewed authority keeps name and key: the list is of both.
    for (const { authority } of signers) covered.add(authority);
    return new RevocationList(pem, commonNameOf(signer.authority), parsed);
  });
  const missing = authorities.find((authority) => !covered.has(authority));
  if (missing !== undefined) {
    fail(
      `has no list by "${commonNameOf(missing)}" of tls.caFile, so every client of it would be refused`,
    );
  }
  return lists;
}

function parseList(pem: string): ParsedList {
  const bytes = Buffer.from(pem.slice(BEGIN.length, -END.length), 'base64');
  const outer = openSequence(bytes);
  const signed = outer.next(SEQUENCE);
  const algorithm = outer.next(SEQUENCE);
  const signature = outer.next(BIT_STRING).content.subarray(1);

  const body = new DerReader(signed.content);
  body.take(INTEGER);
  body.next(SEQUENCE);
  const issuer = body.next(SEQUENCE).whole;
  const thisUpdateMs = readTime(body.next());
  // What may follow: a time, a sequence of entries, extensions.
  const hasNextUpdate = body.peek() !== -1 && body.peek() !== SEQUENCE && body.peek() !== CONTEXT_0;
  const nextUpdateMs = hasNextUpdate ? readTime(body.next()) : Number.POSITIVE_INFINITY;
  const serials = new Set<string>();
  const entries = body.take(SEQUENCE);
  if (entries !== null) {
    const reader = new DerReader(entries.content);
    while (!reader.isAtEnd) {
      const entry = new DerReader(reader.next(SEQUENCE).content);
      serials.add(normalSerial(entry.next(INTEGER).content.toString('hex')));
    }
  }
  const extensions = body.take(CONTEXT_0);
  if (extensions !== null) refuseDelta(openSequence(extensions.content));
  return {
    issuer,
    thisUpdateMs,
    nextUpdateMs,
    serials,
    isSignedBy: signatureCheck(signed.whole, algorithm.content, signature),
  };
}

function refuseDelta(extensions: DerReader): void {
  while (!extensions.isAtEnd) {
    const extension = new DerReader(extensions.next(SEQUENCE).content);
    if (extension.next(OBJECT_ID).content.toString('hex') === DELTA_INDICATOR) {
      throw new DerError('is a delta list, which says only what changed; give the whole list');
    }
  }
}

function signatureCheck(
  data: Buffer,
  algorithm: Buffer,
  signature: Buffer,
): (key: KeyObject) => boolean {
  const reader = new DerReader(algorithm);
  const id = reader.next(OBJECT_ID).content.toString('hex');
  if (id === PSS) {
    const hash = pssHash(new DerReader(reader.next(SEQUENCE).content));
    const padding = constants.RSA_PKCS1_PSS_PADDING;
    const saltLength = constants.RSA_PSS_SALTLEN_AUTO;
    return (key) => tryVerify(() => verify(hash, data, { key, padding, saltLength }, signature));
  }
  const hash = signatureHashes.get(id);
  if (hash === undefined) {
    throw new DerError('is signed by an algorithm that is not accepted; use SHA-256 or better');
  }
  return (key) => tryVerify(() => verify(hash, data, key, signature));
}

function pssHash(parameters: DerReader): string {
  const wrapped = parameters.take(CONTEXT_0);
  const id =
    wrapped === null ? '' : openSequence(wrapped.content).next(OBJECT_ID).content.toString('hex');
  const hash = pssHashes.get(id);
  if (hash === undefined) {
    throw new DerError('is signed by an algorithm that is not accepted; use SHA-256 or better');
  }
  return hash;
}

/** A key of another kind than the signature's makes OpenSSL throw. */
function tryVerify(check: () => boolean): boolean {
  try {
    return check();
  } catch {
    return false;
  }
}

/** The subject's name as bytes: what a list has to name as its issuer. */
function subjectOf(certificate: X509Certificate): Buffer {
  const body = new DerReader(openSequence(certificate.raw).next(SEQUENCE).content);
  body.take(CONTEXT_0);
  body.next(INTEGER);
  body.next(SEQUENCE);
  body.next(SEQUENCE);
  body.next(SEQUENCE);
  return body.next(SEQUENCE).whole;
}

function commonNameOf(certificate: X509Certificate): string {
  const name: unknown = certificate.toLegacyObject().subject?.CN;
  return typeof name === 'string' ? name : '';
}

/** Upper-case hex without leading zeros, as both sides pad differently. */
function normalSerial(hex: string): string {
  return hex.toUpperCase().replace(/^0+(?=.)/, '');
}
