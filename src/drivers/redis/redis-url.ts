/**
 * Where a Redis is and as whom to log in, from one URL: `redis://[user:password@]host[:port][/db]`,
 * `rediss://` for TLS, `unix:/path[?db=1&user=name]`. Its messages and `display` never hold the password.
 */

export interface RedisAddress {
  readonly host: string;
  readonly port: number;
  /** Of a Unix socket; null: TCP. */
  readonly path: string | null;
  readonly isTls: boolean;
  /** Null: Redis' default user. */
  readonly username: string | null;
  readonly password: string | null;
  readonly database: number;
  /** For logs: without user and password. */
  readonly display: string;
}

const PORT = 6379;
const HOW =
  'use redis://[user:password@]host[:port][/db], rediss:// for TLS, or unix:/path/to/socket[?db=1&user=name]';

/** Throws a TypeError that says what is wrong, without repeating the URL. */
export function parseRedisUrl(text: string): RedisAddress {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new TypeError(`is not a URL; ${HOW}`);
  }
  const username = noneWhenEmpty(decode(url.username));
  const password = noneWhenEmpty(decode(url.password));
  if (url.hash !== '') throw new TypeError(`has a part after #; ${HOW}`);
  if (url.protocol === 'unix:') {
    const path = decode(url.pathname);
    if (url.host !== '' || path.length < 2) throw new TypeError(`names no socket file; ${HOW}`);
    for (const name of url.searchParams.keys()) {
      if (name !== 'db' && name !== 'user') {
        throw new TypeError('has an unknown parameter; db and user are known');
      }
    }
    const database = databaseOf(url.searchParams.get('db') ?? '');
    const user = noneWhenEmpty(url.searchParams.get('user') ?? '');
    const display = `unix:${path}${database === 0 ? '' : `?db=${database}`}`;
    return { host: '', port: 0, path, isTls: false, username: user, password, database, display };
  }
  if (url.protocol !== 'redis:' && url.protocol !== 'rediss:') {
    throw new TypeError(`has a scheme that is not known; ${HOW}`);
  }
  if (url.search !== '') throw new TypeError(`has parameters, which are not known; ${HOW}`);
  // An IPv6 address is in brackets there, and sockets want it without.
  const host = url.hostname.startsWith('[') ? url.hostname.slice(1, -1) : decode(url.hostname);
  if (host === '') throw new TypeError(`names no host; ${HOW}`);
  const database = databaseOf(url.pathname.slice(1));
  const port = url.port === '' ? PORT : Number(url.port);
  const display = `${url.protocol}//${url.hostname}:${port}${database === 0 ? '' : `/${database}`}`;
  const isTls = url.protocol === 'rediss:';
  return { host, port, path: null, isTls, username, password, database, display };
}

function noneWhenEmpty(text: string): string | null {
  return text === '' ? null : text;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new TypeError('has a % that is not followed by two hexadecimal digits');
  }
}

function databaseOf(text: string): number {
  if (text === '') return 0;
  if (!/^\d{1,5}$/.test(text)) throw new TypeError('has a database that is not a number');
  return Number(text);
}
