// A password file with as many users as wanted, all with one password: the hash is made once, at
// the cost `causeway passwd` has as its default, and each user still costs the broker a hash.

import { randomBytes, scryptSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Login } from '../load/protocol.ts';

const LOG_N = 15;
const MEMORY_BYTES_MAX = 64 * 1024 * 1024;
const PASSWORD = 'correct horse battery staple';

function unpadded(bytes: Buffer): string {
  return bytes.toString('base64').replaceAll('=', '');
}

function hashOnce(): string {
  const salt = randomBytes(16);
  const cost = { N: 2 ** LOG_N, r: 8, p: 1, maxmem: MEMORY_BYTES_MAX };
  const key = scryptSync(PASSWORD, salt, 32, cost);
  return `$scrypt$ln=${LOG_N},r=8,p=1$${unpadded(salt)}$${unpadded(key)}`;
}

/** Writes the file into the folder; the lines of `authentication.password`. */
export function configurePasswords(directory: string, users: readonly string[]): string {
  const file = join(directory, 'passwords');
  const hash = hashOnce();
  writeFileSync(file, users.map((user) => `${user}:${hash}\n`).join(''), { mode: 0o600 });
  return `  password: { file: ${file} }`;
}

export function rightLogin(user: string): Login {
  return { username: user, password: PASSWORD };
}

export function wrongLogin(user: string): Login {
  return { username: user, password: 'incorrect horse' };
}
