/**
 * The password file: `user:HASH` per line, or `user:HASH:tenant=NAME,superuser`; lines that begin with
 * `#` and empty lines say nothing. One parser for the broker (passwords and SCRAM) and for
 * `causeway passwd`. Anything else in it is an error with its place, all errors at once, and then
 * nothing of the file counts: a damaged line must never become a user, nor take one away in silence.
 */
import { isUtf8 } from 'node:buffer';
import { type BigIntStats, constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { scheduler } from 'node:timers/promises';
import type { Log } from '../../core/ports.ts';
import { AccessError } from '../access-error.ts';
import { parseHash } from './hash-format.ts';
import { type LineProblem, LineProblems } from './line-problems.ts';

export interface PasswordEntry {
  /** As in the file; `parseHash` accepts it. */
  readonly hash: string;
  readonly tenant: string | null;
  readonly superuser: boolean;
  /** From 1. */
  readonly line: number;
}

export type PasswordEntries = ReadonlyMap<string, PasswordEntry>;

/** About half a million users. */
const FILE_BYTES_MAX = 64 * 1024 * 1024;
/** Lines read without letting the event loop go on: about 5 ms. */
const LINES_PER_TURN = 500;
const NEWLINE = 0x0a;

interface Line {
  readonly user: string;
  readonly hash: string;
  readonly tenant: string | null;
  readonly superuser: boolean;
}

/** Reads the file; throws an AccessError when it cannot be read, holds nobody, or is damaged. */
export async function loadPasswordFile(file: string, log: Log): Promise<PasswordEntries> {
  const { bytes, stats } = await readPasswordBytes(file);
  const mode = Number(stats.mode & 0o777n);
  const entries = await parsePasswordFile(bytes, file);
  if (entries.size === 0) {
    const message = 'it holds no user, so nobody could log in; causeway passwd adds users';
    throw new AccessError([{ where: file, message }]);
  }
  if ((mode & 0o077) !== 0) {
    log.warn(
      { file, mode: mode.toString(8).padStart(4, '0') },
      'other users of this machine may open the password file; chmod 600 keeps them out',
    );
  }
  return entries;
}

/** The content of the file and what `stat` says of the very same file. */
export async function readPasswordBytes(
  file: string,
): Promise<{ readonly bytes: Buffer; readonly stats: BigIntStats }> {
  const fail = (message: string): never => {
    throw new AccessError([{ where: file, message }]);
  };
  try {
    // Without O_NONBLOCK, opening a named pipe would wait for ever.
    const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = await handle.stat({ bigint: true });
      if (!stats.isFile()) return fail('is not a file');
      if (stats.size > FILE_BYTES_MAX) return fail(`is over ${FILE_BYTES_MAX} bytes`);
      return { bytes: await handle.readFile(), stats };
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof AccessError) throw error;
    return fail(`cannot be read: ${(error as NodeJS.ErrnoException).code ?? 'unknown error'}`);
  }
}

/** Reads the text of a password file, which may hold nobody; throws an AccessError with all errors. */
export async function parsePasswordFile(bytes: Buffer, file: string): Promise<PasswordEntries> {
  const entries = new Map<string, PasswordEntry>();
  const problems = new LineProblems(file);
  let number = 0;
  for (const raw of linesOf(bytes)) {
    number += 1;
    if (number % LINES_PER_TURN === 0) await scheduler.yield();
    const text = decodeLine(raw, number);
    if (text === null) {
      problems.report(number, { column: 1, message: 'not UTF-8' });
      continue;
    }
    const line = parseLine(text);
    if (line === null) continue;
    if ('message' in line) {
      problems.report(number, line);
      continue;
    }
    const { user, ...rest } = line;
    const first = entries.get(user);
    if (first !== undefined) {
      const message = `the user ${JSON.stringify(user)} is in line ${first.line} already`;
      problems.report(number, { column: 1, message });
      continue;
    }
    entries.set(user, { ...rest, line: number });
  }
  problems.check();
  return entries;
}

/** Who came in under `before` and may not go on: gone, of another hash or tenant, no superuser now. */
export function usersToEnd(before: PasswordEntries, now: PasswordEntries): Set<string> {
  const found = new Set<string>();
  for (const [user, { hash, tenant, superuser }] of before) {
    const entry = now.get(user);
    const isSame = entry?.hash === hash && entry.tenant === tenant;
    if (!isSame || (superuser && !entry.superuser)) found.add(user);
  }
  return found;
}

/** Lines without their line feed; nothing after the last one is no line. */
export function* linesOf(bytes: Buffer): Generator<Buffer> {
  let start = 0;
  while (start < bytes.length) {
    const end = bytes.indexOf(NEWLINE, start);
    yield bytes.subarray(start, end === -1 ? bytes.length : end);
    if (end === -1) return;
    start = end + 1;
  }
}

/** Without the carriage return of a Windows editor, nor its byte order mark; null: not UTF-8. */
function decodeLine(raw: Buffer, number: number): string | null {
  if (!isUtf8(raw)) return null;
  let text = raw.toString('utf8');
  if (number === 1 && text.startsWith('\ufeff')) text = text.slice(1);
  return text.endsWith('\r') ? text.slice(0, -1) : text;
}

/** Null: the line says nothing. */
function parseLine(text: string): Line | LineProblem | null {
  if (text.startsWith('#') || text.trim() === '') return null;
  const colon = text.indexOf(':');
  if (colon === -1) return { column: 1, message: 'expected USER:HASH' };
  const user = text.slice(0, colon);
  const userProblem = userNameProblem(user);
  if (userProblem !== null) return { column: 1, message: userProblem };
  const end = text.indexOf(':', colon + 1);
  const hash = text.slice(colon + 1, end === -1 ? text.length : end);
  const parsed = parseHash(hash);
  if ('problem' in parsed) return { column: colon + 2 + parsed.offset, message: parsed.problem };
  if (end === -1) return { user, hash, tenant: null, superuser: false };
  const attributes = parseAttributes(text.slice(end + 1), end + 2);
  return 'message' in attributes ? attributes : { user, hash, ...attributes };
}

/** What forbids a user name in the file, or null. */
export function userNameProblem(user: string): string | null {
  if (user === '') return 'the user name is empty';
  if (user.startsWith('#')) return 'a user name must not begin with #';
  if (user.includes(':')) return 'a user name must not hold a colon';
  if (user !== user.trim()) return 'the user name begins or ends with white space';
  if (/\p{Cc}/u.test(user)) return 'the user name holds a control character';
  if (!user.isWellFormed()) return 'the user name is not Unicode text';
  if (Buffer.byteLength(user) > 0xffff) return 'the user name is over 65535 bytes';
  return null;
}

/** What forbids a tenant in the file, or null. */
export function tenantProblem(tenant: string): string | null {
  if (tenant === '') return 'tenant= needs a name';
  const isFit = /^[^\s,:=\p{Cc}]+$/u.test(tenant) && tenant.isWellFormed();
  return isFit ? null : 'a tenant must not hold white space, comma, colon or =';
}

function parseAttributes(
  text: string,
  column: number,
): { readonly tenant: string | null; readonly superuser: boolean } | LineProblem {
  let tenant: string | null = null;
  let superuser = false;
  let at = column;
  for (const attribute of text.split(',')) {
    if (attribute === 'superuser' && !superuser) superuser = true;
    else if (attribute.startsWith('tenant=') && tenant === null) {
      tenant = attribute.slice('tenant='.length);
      const message = tenantProblem(tenant);
      if (message !== null) return { column: at, message };
    } else {
      return { column: at, message: 'expected tenant=NAME or superuser, each at most once' };
    }
    at += attribute.length + 1;
  }
  return { tenant, superuser };
}

/** One line of the file. */
export function formatPasswordLine(
  user: string,
  entry: Pick<PasswordEntry, 'hash' | 'tenant' | 'superuser'>,
): string {
  const attributes = [
    ...(entry.tenant === null ? [] : [`tenant=${entry.tenant}`]),
    ...(entry.superuser ? ['superuser'] : []),
  ];
  const tail = attributes.length === 0 ? '' : `:${attributes.join(',')}`;
  return `${user}:${entry.hash}${tail}`;
}
