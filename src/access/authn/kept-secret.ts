/**
 * A secret of this node that outlives restarts: made once, kept in the data folder, nobody else's to
 * read. Used for what has to look the same tomorrow; knows nothing of what for.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, open } from 'node:fs/promises';
import path from 'node:path';
import type { Log } from '../../core/ports.ts';
import { AccessError } from '../access-error.ts';
import { readSecretFile } from './secret-file.ts';

const SECRET_BYTES = 32;
const FILE_MODE = 0o600;
const FOLDER_MODE = 0o700;

/** Reads it, or makes it where there is none. Throws an AccessError. */
export async function keptSecret(file: string, what: string, log: Log): Promise<Buffer> {
  await makeOnce(file, what);
  const secret = await readSecretFile(file, { what, isSecret: true, log });
  if (secret.length === SECRET_BYTES) return secret;
  const message = `${what} has ${secret.length} bytes, not ${SECRET_BYTES}; remove the file, and another is made`;
  throw new AccessError([{ where: file, message }]);
}

async function makeOnce(file: string, what: string): Promise<void> {
  try {
    await mkdir(path.dirname(file), { recursive: true, mode: FOLDER_MODE });
    const handle = await open(file, 'wx', FILE_MODE);
    try {
      await handle.writeFile(randomBytes(SECRET_BYTES));
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    const { code = 'unknown error' } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    throw new AccessError([{ where: file, message: `${what} cannot be made: ${code}` }]);
  }
}
