/**
 * The file of API tokens: names, roles and hashes, never a token. Read and written whole, with a rename,
 * so that a crash leaves the old or the new one. Used by the token store and by `causeway init`.
 */
import { type FileHandle, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Role, roles } from './role.ts';

export interface TokenRecord {
  readonly name: string;
  readonly role: Role;
  /** Of the token, as hex. The token is random, so that a fast hash is as good as a slow one. */
  readonly sha256: string;
  /** ISO 8601. */
  readonly createdAt: string;
  /** ISO 8601; null: never. */
  readonly expiresAt: string | null;
}

export class TokenFileError extends Error {
  /** `message` begins with the path of the file. */
  constructor(path: string, message: string) {
    super(`${path}: ${message}`);
    this.name = 'TokenFileError';
  }
}

export const TOKENS_MAX = 1000;
const FILE_MODE = 0o600;
const FILE_BYTES_MAX = 1024 * 1024;
const OTHERS_MAY_WRITE = 0o022;
const FIELDS: readonly string[] = ['name', 'role', 'sha256', 'createdAt', 'expiresAt'];

export function isTokenName(name: string): boolean {
  return /^[A-Za-z0-9._-]{1,64}$/.test(name);
}

/** What the file holds; nothing when there is none. Throws a TokenFileError for one that is broken. */
export async function readTokenFile(path: string): Promise<TokenRecord[]> {
  let text: string;
  try {
    const { mode, size } = await stat(path);
    if ((mode & OTHERS_MAY_WRITE) !== 0) {
      throw new TokenFileError(path, 'others may write to it; make it yours with chmod 600');
    }
    if (size > FILE_BYTES_MAX) throw new TokenFileError(path, 'is too large for a file of tokens');
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    if (error instanceof TokenFileError) throw error;
    throw new TokenFileError(path, (error as Error).message);
  }
  return parse(path, text);
}

/** Replaces the file; it and its folder are its owner's alone. */
export async function writeTokenFile(path: string, records: readonly TokenRecord[]): Promise<void> {
  const folder = dirname(path);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const temporary = `${path}.new`;
  // One that a crash left may have another mode.
  await rm(temporary, { force: true });
  const file = await open(temporary, 'wx', FILE_MODE);
  await file
    .writeFile(`${JSON.stringify({ tokens: records }, null, 2)}\n`)
    .then(() => file.sync())
    .finally(() => file.close());
  await rename(temporary, path);
  const directory: FileHandle = await open(folder, 'r');
  await directory.sync().finally(() => directory.close());
}

function parse(path: string, text: string): TokenRecord[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's message may quote what is in the file.
    throw new TokenFileError(path, 'is not JSON');
  }
  const { tokens } = (value ?? {}) as { tokens?: unknown };
  if (!Array.isArray(tokens)) throw new TokenFileError(path, 'has no list `tokens`');
  if (tokens.length > TOKENS_MAX) throw new TokenFileError(path, `has more than ${TOKENS_MAX}`);
  const names = new Set<string>();
  return tokens.map((token: unknown, index) => {
    const fault = faultOf(token, names);
    if (fault !== null) throw new TokenFileError(path, `tokens[${index}]: ${fault}`);
    const record = token as TokenRecord;
    names.add(record.name);
    return record;
  });
}

function faultOf(token: unknown, names: ReadonlySet<string>): string | null {
  if (typeof token !== 'object' || token === null) return 'is not an object';
  const unknown = Object.keys(token).find((field) => !FIELDS.includes(field));
  if (unknown !== undefined) return `unknown field ${JSON.stringify(unknown)}`;
  const { name, role, sha256, createdAt, expiresAt } = token as Partial<TokenRecord>;
  if (typeof name !== 'string' || !isTokenName(name)) return 'name is missing or not allowed';
  if (names.has(name)) return `a second token with the name ${name}`;
  if (!roles.includes(role as Role)) return `role is none of ${roles.join(', ')}`;
  if (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256)) return 'sha256 is not 64 hex';
  if (!isTime(createdAt)) return 'createdAt is not a time';
  if (expiresAt !== null && !isTime(expiresAt)) return 'expiresAt is neither a time nor null';
  return null;
}

function isTime(text: unknown): boolean {
  return typeof text === 'string' && !Number.isNaN(Date.parse(text));
}
