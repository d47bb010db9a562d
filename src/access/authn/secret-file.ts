/**
 * Reads a file that holds keys: pre-shared keys, secrets and public keys of tokens. Errors name the
 * file and never what is in it.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Log } from '../../core/ports.ts';
import { AccessError } from '../access-error.ts';

const FILE_BYTES_MAX = 64 * 1024 * 1024;

export interface SecretFileOptions {
  /** What it is, for words: `the file of pre-shared keys`. */
  readonly what: string;
  /** Whether it is nobody else's to read. */
  readonly isSecret: boolean;
  readonly log: Log;
}

/** Throws an AccessError when it cannot be read; warns when others of the machine can read it too. */
export async function readSecretFile(file: string, options: SecretFileOptions): Promise<Buffer> {
  const fail = (message: string): never => {
    throw new AccessError([{ where: file, message: `${options.what} ${message}` }]);
  };
  try {
    // Without O_NONBLOCK, opening a named pipe would wait for ever.
    const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = await handle.stat();
      if (!stats.isFile()) return fail('is not a file');
      if (stats.size > FILE_BYTES_MAX) return fail(`is over ${FILE_BYTES_MAX} bytes`);
      if (options.isSecret && (stats.mode & 0o077) !== 0) {
        options.log.warn(
          { file, mode: (stats.mode & 0o777).toString(8).padStart(4, '0') },
          `other users of this machine may open ${options.what}; chmod 600 keeps them out`,
        );
      }
      return await handle.readFile();
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof AccessError) throw error;
    return fail(`cannot be read: ${(error as NodeJS.ErrnoException).code ?? 'unknown error'}`);
  }
}
