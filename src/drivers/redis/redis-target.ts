/**
 * Which Redis is meant: one server, the master that Sentinels name, or a Cluster, from URLs:
 * `redis://[user:password@]host[:port][/db]` (rediss://, unix: as well), several of them with a mode,
 * `redis-sentinel://[user:password@]host:port,host:port/master[/db]` and
 * `redis-cluster://[user:password@]host:port,host:port` (`rediss-…://` for TLS). No message holds a URL.
 */
import { parseRedisUrl, type RedisAddress } from './redis-url.ts';

export type RedisMode = 'standalone' | 'sentinel' | 'cluster';

export interface RedisTarget {
  readonly mode: RedisMode;
  /** The server, the Sentinels, or some members of the Cluster. */
  readonly addresses: readonly RedisAddress[];
  /** What the Sentinels call it; null in the other modes. */
  readonly masterName: string | null;
  /** For the servers that hold data; Sentinels have a login of their own. */
  readonly username: string | null;
  readonly password: string | null;
  readonly database: number;
  readonly isTls: boolean;
}

const LIST = /^redis(s?)-(sentinel|cluster):\/\/(?:([^@/]*)@)?([^/@]*)(?:\/([^?#]*))?$/;
const SENTINEL_PORT = 26379;
const PORT = 6379;
const ADDRESSES_MAX = 64;

/** Throws a TypeError that says what is wrong. `mode` and `masterName` are for plain URLs. */
export function parseRedisTarget(
  urls: readonly string[],
  mode?: RedisMode,
  masterName?: string,
): RedisTarget {
  const first = urls[0];
  if (first === undefined) throw new TypeError('a Redis needs a URL');
  const list = LIST.exec(first);
  if (list !== null) {
    if (urls.length > 1) throw new TypeError('names its hosts in one URL; there are several');
    const named: RedisMode = list[2] === 'sentinel' ? 'sentinel' : 'cluster';
    if (mode !== undefined && mode !== named) throw new TypeError(`is a URL of mode ${named}`);
    return listTarget(named, list, masterName);
  }
  if (urls.length > ADDRESSES_MAX) throw new TypeError(`has more than ${ADDRESSES_MAX} URLs`);
  const addresses = urls.map((url) => parseRedisUrl(url));
  const kind = mode ?? 'standalone';
  if (kind === 'standalone' && urls.length > 1) {
    throw new TypeError('has several URLs: say whether they are of mode sentinel or cluster');
  }
  const address = addresses[0] as RedisAddress;
  if (addresses.some((one) => one.isTls !== address.isTls)) {
    throw new TypeError('mixes redis:// and rediss://');
  }
  if (kind !== 'standalone' && addresses.some((one) => one.path !== null)) {
    throw new TypeError(`has a Unix socket, which mode ${kind} cannot use`);
  }
  const master = masterOf(kind, masterName);
  checkDatabase(kind, address.database);
  const { username, password, database, isTls } = address;
  return { mode: kind, addresses, masterName: master, username, password, database, isTls };
}

function listTarget(
  mode: RedisMode,
  match: RegExpExecArray,
  masterName: string | undefined,
): RedisTarget {
  const isTls = match[1] === 's';
  const login = match[3] ?? '';
  const hosts = (match[4] ?? '').split(',');
  const path = (match[5] ?? '').split('/').filter((part) => part !== '');
  if (hosts.length > ADDRESSES_MAX) throw new TypeError(`has more than ${ADDRESSES_MAX} hosts`);
  const master = mode === 'sentinel' && path.length > 0 ? decodePart(path.shift() as string) : '';
  if (path.length > 1 || (mode === 'cluster' && path.length > 0)) {
    throw new TypeError('has a path that is not understood');
  }
  const port = mode === 'sentinel' ? SENTINEL_PORT : PORT;
  const scheme = isTls ? 'rediss' : 'redis';
  const addresses = hosts.map((host) => {
    if (host === '') throw new TypeError('names an empty host');
    const hasPort = /:\d+$/.test(host);
    return parseRedisUrl(`${scheme}://${hasPort ? host : `${host}:${port}`}`);
  });
  // Parsed by the one that knows how; its host is only there to make a URL of it.
  const account = parseRedisUrl(
    `${scheme}://${login === '' ? '' : `${login}@`}localhost/${path[0] ?? ''}`,
  );
  if (master !== '' && masterName !== undefined && master !== masterName) {
    throw new TypeError('names another master than the option does');
  }
  checkDatabase(mode, account.database);
  return {
    mode,
    addresses,
    masterName: masterOf(mode, master === '' ? masterName : master),
    username: account.username,
    password: account.password,
    database: account.database,
    isTls,
  };
}

function masterOf(mode: RedisMode, name: string | undefined): string | null {
  if (mode !== 'sentinel') return null;
  if (name === undefined || name === '') {
    throw new TypeError('does not say what the Sentinels call their master: …/mymaster');
  }
  return name;
}

function checkDatabase(mode: RedisMode, database: number): void {
  if (mode === 'cluster' && database !== 0) {
    throw new TypeError('has a database number; a Redis Cluster has only database 0');
  }
}

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new TypeError('has a % that is not followed by two hexadecimal digits');
  }
}
