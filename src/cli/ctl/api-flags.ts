/**
 * The flags and variables by which commands are told which node to ask and with which token, and the
 * client made of them. A token is never an argument: arguments are seen by every user of the machine.
 */
import { readFileSync } from 'node:fs';
import type { ParseArgsOptionsConfig } from 'node:util';
import { type Flags, UsageError } from '../command.ts';
import { ApiClient } from './api-client.ts';

export const URL_VARIABLE = 'CAUSEWAY_API_URL';
export const TOKEN_VARIABLE = 'CAUSEWAY_API_TOKEN';
const DEFAULT_URL = 'http://127.0.0.1:8080';

export const apiFlags: ParseArgsOptionsConfig = {
  url: { type: 'string' },
  'token-file': { type: 'string' },
  ca: { type: 'string' },
};

export const apiFlagsUsage: string = `      --url URL            http(s)://HOST:PORT of the node (default ${DEFAULT_URL};
                           also ${URL_VARIABLE})
      --token-file FILE    the token is its first line (default: the variable ${TOKEN_VARIABLE})
      --ca FILE            PEM of the authorities to trust instead of the system's`;

/** Throws a UsageError that never shows the token. */
export function makeApiClient(flags: Flags): ApiClient {
  const single = (name: string): string | undefined => flags.values.get(name)?.[0];
  const given = single('url') ?? (process.env[URL_VARIABLE] || DEFAULT_URL);
  const url = readUrl(given, single('url') === undefined ? URL_VARIABLE : '--url');
  const caFile = single('ca');
  const token = readToken(single('token-file'));
  if (token !== null && url.protocol === 'http:' && !isOwnMachine(url.hostname)) {
    process.stderr.write(`causeway: the token goes to ${url.host} unencrypted (http)\n`);
  }
  return new ApiClient({
    url,
    token,
    ca: caFile === undefined ? null : readText('--ca', caFile),
  });
}

function readUrl(text: string, from: string): URL {
  const url = URL.parse(text);
  const isHttp = url?.protocol === 'http:' || url?.protocol === 'https:';
  if (url === null || !isHttp) throw new UsageError(`${from} needs http(s)://HOST:PORT`);
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw new UsageError(`${from} takes no user, query or fragment`);
  }
  return url;
}

function readToken(file: string | undefined): string | null {
  const from = file === undefined ? TOKEN_VARIABLE : '--token-file';
  const text = file === undefined ? process.env[TOKEN_VARIABLE] : readText(from, file);
  const token = text?.split(/\r?\n/, 1)[0]?.trim() ?? '';
  if (token === '') {
    if (file !== undefined) throw new UsageError(`${from}: the first line is empty`);
    return null;
  }
  if (!/^[\x21-\x7e]+$/.test(token)) throw new UsageError(`${from} holds no token`);
  return token;
}

function readText(flag: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`${flag}: ${(error as Error).message}`);
  }
}

function isOwnMachine(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127(\.\d+){3}$/.test(host);
}
