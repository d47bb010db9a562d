/**
 * Files that options name, read at start: what cannot be read is a StartError that names the file. Used by
 * the parts of app that open connections; knows nothing of them.
 */
import { readFile } from 'node:fs/promises';
import { StartError } from './start-error.ts';

export async function read(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new StartError('FILE', `cannot read ${file}: ${reason}`, error);
  }
}

/** A secret from a file, without the line end that editors leave. */
export async function readSecret(file: string): Promise<string> {
  const text = (await read(file)).replace(/\r?\n$/, '');
  if (text === '') throw new StartError('SECRET', `${file} is empty`, null);
  return text;
}

export interface PemFiles {
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
}

export interface Pem {
  readonly ca: string | null;
  readonly cert: string | null;
  readonly key: string | null;
}

/** Authorities, certificate and private key of one end; null where the configuration names none. */
export async function readPem({ caFile, certFile, keyFile }: PemFiles): Promise<Pem> {
  const of = async (file: string | undefined): Promise<string | null> =>
    file === undefined ? null : await read(file);
  const [ca, cert, key] = await Promise.all([of(caFile), of(certFile), of(keyFile)]);
  return { ca, cert, key };
}
