/**
 * How a password is stored, as text: one parser for every kind of hash that a password file may hold,
 * and the writer for those we make. Strict on purpose: what is not exactly one of these forms, with
 * parameters a broker can bear, is no hash at all, so no damaged line can ever match a password.
 */

export interface ScryptHash {
  readonly algorithm: 'scrypt';
  readonly logN: number;
  readonly r: number;
  readonly p: number;
  readonly salt: Buffer;
  readonly key: Buffer;
}

export interface Argon2idHash {
  readonly algorithm: 'argon2id';
  readonly memoryKiB: number;
  readonly passes: number;
  readonly lanes: number;
  readonly salt: Buffer;
  readonly key: Buffer;
}

/** `$7$` of mosquitto 1.6 to 2.0. */
export interface Pbkdf2Hash {
  readonly algorithm: 'pbkdf2-sha512';
  readonly iterations: number;
  readonly salt: Buffer;
  readonly key: Buffer;
}

/** `$6$` of mosquitto before 1.6: one SHA-512 over password and salt. */
export interface Sha512Hash {
  readonly algorithm: 'sha512';
  readonly salt: Buffer;
  readonly key: Buffer;
}

/** What a server keeps for SCRAM-SHA-256 (RFC 5802); a plain password can be checked with it too. */
export interface ScramHash {
  readonly algorithm: 'scram-sha-256';
  readonly iterations: number;
  readonly salt: Buffer;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

export type StoredHash = ScryptHash | Argon2idHash | Pbkdf2Hash | Sha512Hash | ScramHash;

/** Why a text is no hash; never holds any of the text, which may be a password in the clear. */
export interface HashProblem {
  readonly problem: string;
  /** Characters from the start of the text. */
  readonly offset: number;
}

const MIB = 1024 * 1024;

/** One check must not take a large part of a small machine, nor many seconds. */
const MEMORY_BYTES_MAX = 256 * MIB;
/** Memory written in all: about three seconds of one core. */
const SCRYPT_BYTES_MAX = 1024 * MIB;
const ARGON2_BYTES_MAX = 2048 * MIB;
const PARALLEL_MAX = 16;
const PBKDF2_ITERATIONS_MAX = 5_000_000;
/** RFC 7677 §4 asks for at least so many; they are the client's work. */
export const SCRAM_ITERATIONS_MIN = 4096;
export const SCRAM_ITERATIONS_MAX = 1_000_000;
const SALT_BYTES_MIN = 8;
const SALT_BYTES_MAX = 64;
/** A key cut short would match by chance. */
const KEY_BYTES_MIN = 16;
const KEY_BYTES_MAX = 64;
const SHA512_BYTES = 64;
const SHA256_BYTES = 32;

/** Thrown inside this file only; becomes a HashProblem. */
class Refused {
  readonly problem: string;
  readonly offset: number;

  constructor(problem: string, offset: number) {
    this.problem = problem;
    this.offset = offset;
  }
}

/** The parts between `$`, each with its place. */
class Parts {
  readonly #text: string;
  readonly #parts: readonly string[];

  constructor(text: string) {
    this.#text = text;
    this.#parts = text.split('$');
  }

  get kind(): string {
    return this.#parts[1] ?? '';
  }

  /** Characters before this part. */
  offset(index: number): number {
    let offset = 0;
    for (let i = 0; i < index; i += 1) offset += (this.#parts[i]?.length ?? 0) + 1;
    return Math.min(offset, this.#text.length);
  }

  expectCount(count: number, form: string): void {
    if (this.#parts.length !== count) throw new Refused(`expected ${form}`, 0);
  }

  text(index: number): string {
    return this.#parts[index] ?? '';
  }

  /** A decimal number without sign or leading zeros. */
  number(index: number, name: string, min: number, max: number): number {
    return readNumber(this.text(index), name, min, max, this.offset(index));
  }

  /** Comma-separated `name=number`, exactly these in this order. */
  numbers(index: number, names: readonly string[]): number[] {
    const at = this.offset(index);
    const pairs = this.text(index).split(',');
    const form = names.map((name) => `${name}=NUMBER`).join(',');
    if (pairs.length !== names.length) throw new Refused(`expected ${form}`, at);
    let offset = at;
    return names.map((name, i) => {
      const pair = pairs[i]!;
      if (!pair.startsWith(`${name}=`)) throw new Refused(`expected ${form}`, offset);
      const value = readNumber(
        pair.slice(name.length + 1),
        name,
        1,
        0xffff_ffff,
        offset + name.length + 1,
      );
      offset += pair.length + 1;
      return value;
    });
  }

  /** Base64 of the standard alphabet in its one canonical form. */
  bytes(index: number, name: string, min: number, max: number, isPadded: boolean): Buffer {
    const text = this.text(index);
    const bytes = Buffer.from(text, 'base64');
    const canonical = bytes.toString('base64');
    if (text === '' || text !== (isPadded ? canonical : unpadded(canonical))) {
      throw new Refused(`${name} is not base64`, this.offset(index));
    }
    if (bytes.length < min || bytes.length > max) {
      const size = min === max ? `${min}` : `${min} to ${max}`;
      throw new Refused(`${name} must have ${size} bytes`, this.offset(index));
    }
    return bytes;
  }

  salt(index: number, isPadded: boolean): Buffer {
    return this.bytes(index, 'the salt', SALT_BYTES_MIN, SALT_BYTES_MAX, isPadded);
  }

  key(index: number, isPadded: boolean): Buffer {
    return this.bytes(index, 'the hash', KEY_BYTES_MIN, KEY_BYTES_MAX, isPadded);
  }
}

function readNumber(text: string, name: string, min: number, max: number, offset: number): number {
  const value = /^(?:0|[1-9]\d{0,9})$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) {
    throw new Refused(`${name} must be a number from ${min} to ${max}`, offset);
  }
  return value;
}

function unpadded(base64: string): string {
  return base64.replace(/=+$/, '');
}

/** Reads one stored hash. */
export function parseHash(text: string): StoredHash | HashProblem {
  try {
    return parse(text);
  } catch (error) {
    if (error instanceof Refused) return { problem: error.problem, offset: error.offset };
    throw error;
  }
}

function parse(text: string): StoredHash {
  if (!text.startsWith('$')) {
    throw new Refused('the password is not hashed; causeway passwd writes hashes', 0);
  }
  const parts = new Parts(text);
  if (parts.kind === 'scrypt') return parseScrypt(parts);
  if (parts.kind === 'argon2id') return parseArgon2id(parts);
  if (parts.kind === '7') {
    parts.expectCount(5, '$7$ITERATIONS$SALT$HASH');
    return {
      algorithm: 'pbkdf2-sha512',
      iterations: parts.number(2, 'the iterations', 1, PBKDF2_ITERATIONS_MAX),
      salt: parts.salt(3, true),
      key: parts.bytes(4, 'the hash', SHA512_BYTES, SHA512_BYTES, true),
    };
  }
  if (parts.kind === '6') {
    parts.expectCount(4, '$6$SALT$HASH');
    return {
      algorithm: 'sha512',
      salt: parts.salt(2, true),
      key: parts.bytes(3, 'the hash', SHA512_BYTES, SHA512_BYTES, true),
    };
  }
  if (parts.kind === 'scram-sha-256') {
    parts.expectCount(6, '$scram-sha-256$ITERATIONS$SALT$STORED_KEY$SERVER_KEY');
    return {
      algorithm: 'scram-sha-256',
      iterations: parts.number(2, 'the iterations', SCRAM_ITERATIONS_MIN, SCRAM_ITERATIONS_MAX),
      salt: parts.salt(3, true),
      storedKey: parts.bytes(4, 'the stored key', SHA256_BYTES, SHA256_BYTES, true),
      serverKey: parts.bytes(5, 'the server key', SHA256_BYTES, SHA256_BYTES, true),
    };
  }
  throw new Refused('unknown kind of hash; known: $scrypt, $argon2id, $scram-sha-256, $7, $6', 0);
}

function parseScrypt(parts: Parts): ScryptHash {
  parts.expectCount(5, '$scrypt$ln=LN,r=R,p=P$SALT$HASH');
  const [logN = 0, r = 0, p = 0] = parts.numbers(2, ['ln', 'r', 'p']);
  const bytes = logN > 40 ? Number.POSITIVE_INFINITY : 128 * r * 2 ** logN;
  // RFC 7914 §2 bounds N by r; with r >= 8 that is never the tighter bound.
  const isSound = p <= PARALLEL_MAX && logN < 16 * r;
  if (bytes > MEMORY_BYTES_MAX || bytes * p > SCRYPT_BYTES_MAX || !isSound) {
    throw new Refused(
      'ln, r and p ask for more memory or time than a login may take',
      parts.offset(2),
    );
  }
  return { algorithm: 'scrypt', logN, r, p, salt: parts.salt(3, false), key: parts.key(4, false) };
}

function parseArgon2id(parts: Parts): Argon2idHash {
  parts.expectCount(6, '$argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$HASH');
  if (parts.text(2) !== 'v=19') throw new Refused('only version 19 is known', parts.offset(2));
  const [memoryKiB = 0, passes = 0, lanes = 0] = parts.numbers(3, ['m', 't', 'p']);
  const bytes = memoryKiB * 1024;
  if (bytes > MEMORY_BYTES_MAX || bytes * passes > ARGON2_BYTES_MAX || lanes > PARALLEL_MAX) {
    throw new Refused(
      'm, t and p ask for more memory or time than a login may take',
      parts.offset(3),
    );
  }
  if (memoryKiB < 8 * lanes) throw new Refused('m must be at least 8 times p', parts.offset(3));
  const salt = parts.salt(4, false);
  return { algorithm: 'argon2id', memoryKiB, passes, lanes, salt, key: parts.key(5, false) };
}

/** The text `parseHash` reads. */
export function formatHash(hash: StoredHash): string {
  const phc = (bytes: Buffer): string => unpadded(bytes.toString('base64'));
  const base64 = (bytes: Buffer): string => bytes.toString('base64');
  switch (hash.algorithm) {
    case 'scrypt': {
      const { logN, r, p, salt, key } = hash;
      return `$scrypt$ln=${logN},r=${r},p=${p}$${phc(salt)}$${phc(key)}`;
    }
    case 'argon2id': {
      const { memoryKiB, passes, lanes, salt, key } = hash;
      return `$argon2id$v=19$m=${memoryKiB},t=${passes},p=${lanes}$${phc(salt)}$${phc(key)}`;
    }
    case 'pbkdf2-sha512':
      return `$7$${hash.iterations}$${base64(hash.salt)}$${base64(hash.key)}`;
    case 'sha512':
      return `$6$${base64(hash.salt)}$${base64(hash.key)}`;
    case 'scram-sha-256': {
      const { iterations, salt, storedKey, serverKey } = hash;
      const keys = `${base64(storedKey)}$${base64(serverKey)}`;
      return `$scram-sha-256$${iterations}$${base64(salt)}$${keys}`;
    }
  }
}
