/**
 * Keys that tokens are verified with. Each key knows the algorithms it can be used with, by its kind
 * alone: a public key never becomes a secret, whatever a token says of itself.
 */
import { createPublicKey, createSecretKey, hash, type KeyObject } from 'node:crypto';

export const jwtAlgorithms = [
  'HS256',
  'HS384',
  'HS512',
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
] as const;
export type JwtAlgorithm = (typeof jwtAlgorithms)[number];

export interface JwtKey {
  /** What a token calls it; null: it has no name. */
  readonly id: string | null;
  readonly algorithms: readonly JwtAlgorithm[];
  readonly key: KeyObject;
  /** The same for the same key, read again. */
  readonly print: string;
}

const RSA_BITS_MIN = 2048;
const KEY_ID_LENGTH_MAX = 256;

const secretAlgorithms = ['HS256', 'HS384', 'HS512'] as const;
const rsaAlgorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] as const;
/** By the curve, as Node names it. */
const curveAlgorithms: ReadonlyMap<string, readonly JwtAlgorithm[]> = new Map([
  ['prime256v1', ['ES256']],
  ['secp384r1', ['ES384']],
  ['secp521r1', ['ES512']],
] as const);

export function isSecretAlgorithm(algorithm: JwtAlgorithm): boolean {
  return algorithm.startsWith('HS');
}

/** The key with what it can be used for, or what is wrong with it. */
export function makeJwtKey(id: string | null, key: KeyObject): JwtKey | string {
  if (id !== null && id.length > KEY_ID_LENGTH_MAX) {
    return `its kid is longer than ${KEY_ID_LENGTH_MAX} characters`;
  }
  if (key.type === 'secret') return { id, algorithms: secretAlgorithms, key, print: printOf(key) };
  // From here on the kinds are public ones: nothing below may answer with a secret's algorithm.
  if (key.type !== 'public') return 'is a private key; the broker needs the public one only';
  const print = printOf(key);
  const { modulusLength, namedCurve } = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case 'rsa':
      return (modulusLength ?? 0) < RSA_BITS_MIN
        ? `has ${modulusLength} bits, at least ${RSA_BITS_MIN} are needed`
        : { id, algorithms: rsaAlgorithms, key, print };
    case 'ec': {
      const algorithms = curveAlgorithms.get(namedCurve ?? '');
      return algorithms === undefined
        ? `is on the curve ${namedCurve}, which tokens do not use`
        : { id, algorithms, key, print };
    }
    case 'ed25519':
      return { id, algorithms: ['EdDSA'], key, print };
    default:
      return `is of the kind ${key.asymmetricKeyType}, which tokens do not use`;
  }
}

function printOf(key: KeyObject): string {
  const bytes = key.type === 'public' ? key.export({ type: 'spki', format: 'der' }) : key.export();
  return hash('sha256', bytes, 'base64url');
}

/** A JSON Web Key; a text: what is wrong with it, null: it is for something else than signatures. */
export function readJwk(value: unknown): JwtKey | string | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'is no object';
  // A Map, so that `__proto__` is a name like any other.
  const members = new Map<string, unknown>(Object.entries(value));
  const use = members.get('use');
  if (use !== undefined && use !== 'sig') return null;
  const operations = members.get('key_ops');
  if (Array.isArray(operations) && !operations.includes('verify')) return null;
  const id = members.get('kid') ?? null;
  if (id !== null && typeof id !== 'string') return 'has a kid that is no text';
  if (members.has('d')) return 'is a private key; the broker needs the public one only';
  const key = importJwk(members);
  if (typeof key === 'string') return key;
  const made = makeJwtKey(id, key);
  if (typeof made === 'string') return made;
  const algorithm = members.get('alg');
  if (algorithm === undefined) return made;
  // It may be used for one thing only, or for nothing we know.
  const algorithms = made.algorithms.filter((known) => known === algorithm);
  return algorithms.length === 0 ? null : { ...made, algorithms };
}

function importJwk(members: ReadonlyMap<string, unknown>): KeyObject | string {
  const text = (name: string): string | null => {
    const member = members.get(name);
    return typeof member === 'string' ? member : null;
  };
  const kind = text('kty');
  try {
    if (kind === 'oct') {
      const secret = Buffer.from(text('k') ?? '', 'base64url');
      return secret.length === 0 ? 'is an empty secret' : createSecretKey(secret);
    }
    const jwk: Record<string, string> = Object.create(null);
    for (const name of ['kty', 'crv', 'n', 'e', 'x', 'y']) {
      const member = text(name);
      if (member !== null) jwk[name] = member;
    }
    return createPublicKey({ key: { ...jwk }, format: 'jwk' });
  } catch {
    // OpenSSL's own words may hold parts of the key.
    return 'cannot be read';
  }
}

/** The keys in force. Never changed: a reload makes another one. */
export class JwtKeySet {
  readonly keys: readonly JwtKey[];
  readonly #prints: ReadonlySet<string>;

  constructor(keys: readonly JwtKey[]) {
    this.keys = keys;
    this.#prints = new Set(keys.map(({ print }) => print));
  }

  get size(): number {
    return this.keys.length;
  }

  /** Those that may have signed such a token; one without a name may be any. */
  candidates(algorithm: JwtAlgorithm, keyId: string | null): JwtKey[] {
    return this.keys.filter(
      ({ id, algorithms }) =>
        (keyId === null || id === null || id === keyId) && algorithms.includes(algorithm),
    );
  }

  /** Whether the key with this print is among them. */
  has(print: string): boolean {
    return this.#prints.has(print);
  }

  /** Whether any key can be used with one of these. */
  serves(algorithms: readonly JwtAlgorithm[]): boolean {
    return this.keys.some((key) => key.algorithms.some((one) => algorithms.includes(one)));
  }
}
