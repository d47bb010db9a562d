/**
 * Checks a password against what Redis holds of a user: a digest with salt beside it (EMQX), or one
 * text with everything in it (mosquitto-go-auth, or the hashes of our own password file). Slow hashes
 * run in the thread pool; whoever calls puts a queue before it.
 */
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { parseHash, type StoredHash } from './hash-format.ts';
import { verifyPassword } from './hash-password.ts';

export type RedisHash = 'sha256' | 'sha512' | 'pbkdf2_sha256' | 'pbkdf2_sha512' | 'plain';
export type SaltPosition = 'prefix' | 'suffix' | 'none';

/** How the passwords of an EMQX layout are hashed. */
export interface DigestOptions {
  readonly hash: RedisHash;
  readonly salt: SaltPosition;
  readonly pbkdf2Iterations: number;
}

type Digest = 'sha256' | 'sha512';

/** Something a password can be compared with. */
export type StoredPassword =
  | { readonly kind: 'plain'; readonly password: Buffer }
  | {
      readonly kind: 'digest';
      readonly digest: Digest;
      readonly before: Buffer;
      readonly after: Buffer;
      readonly key: Buffer;
    }
  | {
      readonly kind: 'pbkdf2';
      readonly digest: Digest;
      readonly iterations: number;
      readonly salt: Buffer;
      readonly key: Buffer;
    }
  | { readonly kind: 'phc'; readonly hash: StoredHash };

const BYTES: { readonly [digest in Digest]: number } = { sha256: 32, sha512: 64 };
const EMPTY = Buffer.alloc(0);
/** Three seconds of a core and more: no honest record asks for that. */
const ITERATIONS_MAX = 5_000_000;
const KEY_BYTES_MIN = 16;
const KEY_BYTES_MAX = 128;
const SALT_BYTES_MAX = 1024;

/** What a record of the EMQX layout holds; null: it cannot be read with these options. */
export function readDigest(
  stored: string,
  salt: string | null,
  options: DigestOptions,
): StoredPassword | null {
  const { hash } = options;
  if (hash === 'plain') {
    // A replacement character stands for bytes that were lost: not comparable.
    if (stored === '' || stored.includes('\ufffd')) return null;
    return { kind: 'plain', password: Buffer.from(stored) };
  }
  const digest: Digest = hash.endsWith('sha256') ? 'sha256' : 'sha512';
  const key = readHex(stored);
  if (key === null || key.length !== BYTES[digest]) return null;
  const saltBytes = Buffer.from(salt ?? '');
  if (hash.startsWith('pbkdf2')) {
    const iterations = options.pbkdf2Iterations;
    return { kind: 'pbkdf2', digest, iterations, salt: saltBytes, key };
  }
  const before = options.salt === 'prefix' ? saltBytes : EMPTY;
  const after = options.salt === 'suffix' ? saltBytes : EMPTY;
  return { kind: 'digest', digest, before, after, key };
}

/** `PBKDF2$sha512$100000$SALT$HASH`, or a hash as in our password file; null: neither. */
export function readText(stored: string): StoredPassword | null {
  if (stored.startsWith('$')) {
    const hash = parseHash(stored);
    return 'problem' in hash ? null : { kind: 'phc', hash };
  }
  const parts = stored.split('$');
  const [kind, digest, count = '', saltText = '', keyText = ''] = parts;
  if (parts.length !== 5 || kind !== 'PBKDF2') return null;
  if (digest !== 'sha256' && digest !== 'sha512') return null;
  if (!/^[1-9]\d{0,9}$/.test(count) || Number(count) > ITERATIONS_MAX) return null;
  const salt = readBase64(saltText);
  const key = readBase64(keyText);
  if (salt === null || key === null || salt.length > SALT_BYTES_MAX) return null;
  if (key.length < KEY_BYTES_MIN || key.length > KEY_BYTES_MAX) return null;
  return { kind: 'pbkdf2', digest, iterations: Number(count), salt, key };
}

/** Whether checking it takes long enough to need a thread. */
export function isSlow(stored: StoredPassword): boolean {
  return stored.kind === 'pbkdf2' || stored.kind === 'phc';
}

export async function isPassword(stored: StoredPassword, password: Buffer): Promise<boolean> {
  switch (stored.kind) {
    case 'plain':
      return sameText(stored.password, password);
    case 'digest': {
      const { digest, before, after } = stored;
      const hash = createHash(digest).update(before).update(password).update(after).digest();
      return timingSafeEqual(hash, stored.key);
    }
    case 'pbkdf2': {
      const { salt, iterations, digest, key } = stored;
      const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
      pbkdf2(password, salt, iterations, key.length, digest, (error, derived) => {
        if (error === null) resolve(derived);
        else reject(error);
      });
      return timingSafeEqual(await promise, key);
    }
    case 'phc':
      return verifyPassword(stored.hash, password);
  }
}

/** Costs what `stored` costs, and no password is right. */
export function decoyOf(stored: StoredPassword): StoredPassword {
  switch (stored.kind) {
    case 'plain':
      return { kind: 'plain', password: randomBytes(32) };
    case 'digest':
    case 'pbkdf2':
      return { ...stored, key: randomBytes(stored.key.length) };
    case 'phc': {
      const { hash } = stored;
      if (hash.algorithm !== 'scram-sha-256') {
        return { kind: 'phc', hash: { ...hash, key: randomBytes(hash.key.length) } };
      }
      return { kind: 'phc', hash: { ...hash, storedKey: randomBytes(hash.storedKey.length) } };
    }
  }
}

/** A decoy before any record has been seen. */
export function firstDecoy(options: DigestOptions | null): StoredPassword {
  if (options === null) {
    return readText(`PBKDF2$sha512$100000$${randomText(16)}$${randomText(64)}`) as StoredPassword;
  }
  const bytes = options.hash.endsWith('sha256') ? 32 : 64;
  const salt = randomBytes(16).toString('hex');
  return readDigest(randomBytes(bytes).toString('hex'), salt, options) as StoredPassword;
}

function randomText(bytes: number): string {
  return randomBytes(bytes).toString('base64');
}

/** Equal length by an HMAC of both, so that not even the length shows in the time. */
function sameText(stored: Buffer, given: Buffer): boolean {
  const secret = randomBytes(32);
  const digest = (bytes: Buffer): Buffer => createHmac('sha256', secret).update(bytes).digest();
  return timingSafeEqual(digest(stored), digest(given));
}

function readHex(text: string): Buffer | null {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]+$/.test(text)) return null;
  return Buffer.from(text, 'hex');
}

function readBase64(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64');
  return text !== '' && bytes.toString('base64') === text ? bytes : null;
}
