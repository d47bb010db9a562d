/**
 * Makes password hashes and checks passwords against them, always in the thread pool of libuv: one
 * hash of the default cost takes about 90 ms of a core, which no event loop may spend. Called by the
 * password authenticator (through its queue) and by `causeway passwd`.
 */
import {
  argon2,
  createHash,
  createHmac,
  pbkdf2,
  randomBytes,
  scrypt,
  timingSafeEqual,
} from 'node:crypto';
import { formatHash, type StoredHash } from './hash-format.ts';

export type NewHashAlgorithm = 'scrypt' | 'argon2id' | 'scram-sha-256';

/**
 * `scrypt`: log2 of N (r 8, p 1). `argon2id`: memory in KiB (2 passes, 1 lane). `scram-sha-256`:
 * iterations. Measured on one core of a 2-core VM: scrypt 14: 52 ms and 16 MiB, 15: 87 ms and 32 MiB,
 * 16: 203 ms and 64 MiB; argon2id 19456: 40 ms and 19 MiB. A SCRAM client does the iterations at each
 * connect, so they suit a microcontroller; the server's own share is a few microseconds.
 */
export const defaultCost: { readonly [algorithm in NewHashAlgorithm]: number } = {
  scrypt: 15,
  argon2id: 19_456,
  'scram-sha-256': 16_384,
};

const SALT_BYTES = 16;
const KEY_BYTES = 32;
const SCRYPT_R = 8;
/** Over what `parseHash` lets through, for scrypt's own check. */
const SCRYPT_MEMORY_BYTES_MAX = 320 * 1024 * 1024;

type Done = (error: Error | null, key: Buffer) => void;

function derive(run: (done: Done) => void): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    run((error, key) => {
      if (error) reject(error);
      else resolve(key);
    });
  });
}

function deriveScrypt(
  password: Buffer,
  salt: Buffer,
  cost: { readonly logN: number; readonly r: number; readonly p: number },
  keyBytes: number,
): Promise<Buffer> {
  const { r, p } = cost;
  const options = { N: 2 ** cost.logN, r, p, maxmem: SCRYPT_MEMORY_BYTES_MAX };
  return derive((done) => scrypt(password, salt, keyBytes, options, done));
}

function deriveArgon2id(
  password: Buffer,
  salt: Buffer,
  cost: { readonly memoryKiB: number; readonly passes: number; readonly lanes: number },
  keyBytes: number,
): Promise<Buffer> {
  const parameters = {
    message: password,
    nonce: salt,
    parallelism: cost.lanes,
    tagLength: keyBytes,
    memory: cost.memoryKiB,
    passes: cost.passes,
  };
  return derive((done) => argon2('argon2id', parameters, done));
}

/** StoredKey and ServerKey of RFC 5802 §3. */
async function deriveScram(
  password: Buffer,
  salt: Buffer,
  iterations: number,
): Promise<{ readonly storedKey: Buffer; readonly serverKey: Buffer }> {
  const salted = await derive((done) => {
    pbkdf2(password, salt, iterations, KEY_BYTES, 'sha256', done);
  });
  const clientKey = createHmac('sha256', salted).update('Client Key').digest();
  const storedKey = createHash('sha256').update(clientKey).digest();
  const serverKey = createHmac('sha256', salted).update('Server Key').digest();
  return { storedKey, serverKey };
}

/**
 * Whether the password is the one that was stored. HMAC, inside all but Argon2 and plain SHA-512, fills
 * up keys with zeros, so that `x` and `x\0` would be one password: none that ends with NUL is right.
 */
export async function verifyPassword(stored: StoredHash, password: Buffer): Promise<boolean> {
  return (await matches(stored, password)) && password.at(-1) !== 0;
}

async function matches(stored: StoredHash, password: Buffer): Promise<boolean> {
  switch (stored.algorithm) {
    case 'scrypt': {
      const key = await deriveScrypt(password, stored.salt, stored, stored.key.length);
      return timingSafeEqual(key, stored.key);
    }
    case 'argon2id': {
      const key = await deriveArgon2id(password, stored.salt, stored, stored.key.length);
      return timingSafeEqual(key, stored.key);
    }
    case 'pbkdf2-sha512': {
      const { salt, iterations, key: expected } = stored;
      const key = await derive((done) => {
        pbkdf2(password, salt, iterations, expected.length, 'sha512', done);
      });
      return timingSafeEqual(key, expected);
    }
    case 'sha512': {
      // No thread needed: a microsecond for what fits into a CONNECT.
      const key = createHash('sha512').update(password).update(stored.salt).digest();
      return timingSafeEqual(key, stored.key);
    }
    case 'scram-sha-256': {
      const { storedKey } = await deriveScram(password, stored.salt, stored.iterations);
      return timingSafeEqual(storedKey, stored.storedKey);
    }
  }
}

/** A hash with a new salt, as the password file holds it. */
export async function hashPassword(
  password: Buffer,
  algorithm: NewHashAlgorithm,
  cost: number,
): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  switch (algorithm) {
    case 'scrypt': {
      const parameters = { logN: cost, r: SCRYPT_R, p: 1 };
      const key = await deriveScrypt(password, salt, parameters, KEY_BYTES);
      return formatHash({ algorithm, ...parameters, salt, key });
    }
    case 'argon2id': {
      const parameters = { memoryKiB: cost, passes: 2, lanes: 1 };
      const key = await deriveArgon2id(password, salt, parameters, KEY_BYTES);
      return formatHash({ algorithm, ...parameters, salt, key });
    }
    case 'scram-sha-256': {
      const keys = await deriveScram(password, salt, cost);
      return formatHash({ algorithm, iterations: cost, salt, ...keys });
    }
  }
}
