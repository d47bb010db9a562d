/**
 * Keys of tokens from files: a shared secret, or public keys as PEM or JSON Web Keys. Read at start and
 * reload; whatever is wrong is an error that names the file, and then no key of it counts.
 */
import { isUtf8 } from 'node:buffer';
import { createPublicKey, createSecretKey, X509Certificate } from 'node:crypto';
import type { Log } from '../../core/ports.ts';
import { AccessError } from '../access-error.ts';
import {
  isSecretAlgorithm,
  type JwtAlgorithm,
  type JwtKey,
  JwtKeySet,
  makeJwtKey,
  readJwk,
} from './jwt-key.ts';
import { readSecretFile } from './secret-file.ts';

/** More would only slow down tokens that name none. */
const KEYS_MAX = 100;

interface KeyFileOptions {
  readonly file: string;
  /** Those in use. */
  readonly algorithms: readonly JwtAlgorithm[];
  readonly log: Log;
}

/** One secret (the bytes of the file, without a last line feed) or JSON Web Keys of the kind `oct`. */
export async function loadSecretFile(options: KeyFileOptions): Promise<JwtKeySet> {
  const { file, algorithms, log } = options;
  const fail = failWith(file);
  const bytes = await readSecretFile(file, { what: 'the secret of tokens', isSecret: true, log });
  const start = bytes.subarray(0, 64).toString('latin1').trimStart();
  if (start.startsWith('-----BEGIN')) {
    // A public key as secret would let everybody sign who can read it.
    return fail('holds a PEM key; secretFile is for secrets, publicKeyFile for public keys');
  }
  // One in two hundred random secrets begins like JSON, and is no text all the same.
  const isJson = start.startsWith('{') && isUtf8(bytes);
  const keys = isJson ? readJwks(bytes, fail) : [rawSecret(bytes, fail)];
  if (keys.some(({ key }) => key.type !== 'secret')) {
    return fail('holds a public key; secretFile is for secrets, publicKeyFile for public keys');
  }
  for (const { key, id } of keys) warnIfShort(key.symmetricKeySize ?? 0, id, options);
  return serving(new JwtKeySet(keys), algorithms, fail);
}

/** PEM public keys and certificates, or JSON Web Keys. */
export async function loadPublicKeyFile(options: KeyFileOptions): Promise<JwtKeySet> {
  const { file, algorithms, log } = options;
  const fail = failWith(file);
  const what = 'the public keys of tokens';
  const bytes = await readSecretFile(file, { what, isSecret: false, log });
  const isJson = bytes.subarray(0, 64).toString('latin1').trimStart().startsWith('{');
  const keys = isJson ? readJwks(bytes, fail) : readPem(bytes.toString('latin1'), fail);
  if (keys.some(({ key }) => key.type === 'secret')) {
    return fail('holds a secret; publicKeyFile is for public keys, secretFile for secrets');
  }
  return serving(new JwtKeySet(keys), algorithms, fail);
}

type Fail = (message: string) => never;

function failWith(file: string): Fail {
  return (message) => {
    throw new AccessError([{ where: file, message }]);
  };
}

function serving(keys: JwtKeySet, algorithms: readonly JwtAlgorithm[], fail: Fail): JwtKeySet {
  if (keys.serves(algorithms)) return keys;
  const found = [...new Set(keys.keys.flatMap((key) => key.algorithms))].join(', ') || 'none';
  return fail(`holds no key for ${algorithms.join(', ')} (its keys are for: ${found})`);
}

function rawSecret(bytes: Buffer, fail: Fail): JwtKey {
  // Editors end a text with a line feed; in random bytes it is one of them.
  const isText = isUtf8(bytes) && !/\p{Cc}/u.test(bytes.toString('utf8').replace(/\r?\n$/, ''));
  const text = bytes.toString('latin1');
  const secret = isText ? Buffer.from(text.replace(/\r?\n$/, ''), 'latin1') : bytes;
  if (secret.length === 0) fail('holds no secret: it is empty');
  return makeJwtKey(null, createSecretKey(secret)) as JwtKey;
}

function warnIfShort(secretBytes: number, id: string | null, options: KeyFileOptions): void {
  const used = options.algorithms.filter(isSecretAlgorithm);
  const neededBytes = Math.max(...used.map((algorithm) => Number(algorithm.slice(2)) / 8));
  if (secretBytes >= neededBytes) return;
  options.log.warn(
    { file: options.file, kid: id ?? undefined, secretBytes, neededBytes },
    'the secret of tokens is shorter than its algorithm asks for; it may be guessed from one token',
  );
}

/** A JSON Web Key, or a set of them. */
function readJwks(bytes: Buffer, fail: Fail): JwtKey[] {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    // The error of JSON.parse shows a part of the text.
    return fail('begins as JSON and cannot be read as such');
  }
  const list = Object.hasOwn(value as object, 'keys') ? (value as { keys: unknown }).keys : [value];
  if (!Array.isArray(list)) return fail('has "keys", which is no list');
  if (list.length > KEYS_MAX) return fail(`holds more than ${KEYS_MAX} keys`);
  const keys = list.flatMap((entry, index): JwtKey[] => {
    const key = readJwk(entry);
    if (typeof key === 'string') return fail(`key ${index + 1} ${key}`);
    return key === null ? [] : [key];
  });
  return keys.length === 0 ? fail('holds no key for signatures') : keys;
}

function readPem(text: string, fail: Fail): JwtKey[] {
  if (/-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----/.test(text)) {
    return fail('holds a private key; the broker needs the public one only');
  }
  const blocks = text.match(/-----BEGIN ([A-Z ]+)-----[^-]*-----END \1-----/g) ?? [];
  const begun = text.match(/-----BEGIN /g)?.length ?? 0;
  if (begun === 0) return fail('holds neither a PEM public key nor a JSON Web Key');
  if (begun !== blocks.length) return fail('is cut off or damaged');
  if (blocks.length > KEYS_MAX) return fail(`holds more than ${KEYS_MAX} keys`);
  return blocks.map((block, index) => {
    let made: JwtKey | string;
    try {
      const key = block.startsWith('-----BEGIN CERTIFICATE-----')
        ? new X509Certificate(block).publicKey
        : createPublicKey(block);
      made = makeJwtKey(null, key);
    } catch {
      made = 'cannot be read';
    }
    return typeof made === 'string' ? fail(`key ${index + 1} ${made}`) : made;
  });
}
