/**
 * The file of pre-shared keys: `identity:hexkey` per line, as mosquitto has it; lines that begin with
 * `#` and empty lines say nothing. Anything else is an error with its place, all errors at once, and
 * then nothing of the file counts.
 */
import { isUtf8 } from 'node:buffer';
import { scheduler } from 'node:timers/promises';
import type { Log } from '../../core/ports.ts';
import { AccessError } from '../access-error.ts';
import { type LineProblem, LineProblems } from './line-problems.ts';
import { readSecretFile } from './secret-file.ts';

export type PskKeys = ReadonlyMap<string, Buffer>;

/** What cannot be guessed. */
const KEY_BYTES_MIN = 16;
/** What OpenSSL takes, as identity and as key. */
const IDENTITY_BYTES_MAX = 256;
const KEY_BYTES_MAX = 256;
/** Lines read without letting the event loop go on: a few ms. */
const LINES_PER_TURN = 2000;

/** Reads the file; throws an AccessError when it cannot be read, holds no key, or is damaged. */
export async function loadPskFile(file: string, log: Log): Promise<PskKeys> {
  const what = 'the file of pre-shared keys';
  const keys = await parsePskFile(await readSecretFile(file, { what, isSecret: true, log }), file);
  if (keys.size > 0) return keys;
  const message = 'holds no key, so nobody could connect with one; a line is IDENTITY:HEXKEY';
  throw new AccessError([{ where: file, message: `${what} ${message}` }]);
}

/** Reads its text; throws an AccessError with all errors. */
export async function parsePskFile(bytes: Buffer, file: string): Promise<PskKeys> {
  const keys = new Map<string, Buffer>();
  const lineOf = new Map<string, number>();
  const problems = new LineProblems(file);
  if (!isUtf8(bytes)) throw new AccessError([{ where: file, message: 'is not UTF-8 text' }]);
  const lines = bytes
    .toString('utf8')
    .replace(/^\ufeff/, '')
    .split('\n');
  for (const [index, raw] of lines.entries()) {
    if (index % LINES_PER_TURN === LINES_PER_TURN - 1) await scheduler.yield();
    const text = raw.endsWith('\r') ? raw.slice(0, -1) : raw;
    if (text.startsWith('#') || text.trim() === '') continue;
    const line = parseLine(text);
    if ('message' in line) {
      problems.report(index + 1, line);
      continue;
    }
    const first = lineOf.get(line.identity);
    if (first !== undefined) {
      const message = `the identity ${JSON.stringify(line.identity)} is in line ${first} already`;
      problems.report(index + 1, { column: 1, message });
      continue;
    }
    lineOf.set(line.identity, index + 1);
    keys.set(line.identity, line.key);
  }
  problems.check();
  return keys;
}

function parseLine(
  text: string,
): { readonly identity: string; readonly key: Buffer } | LineProblem {
  // An identity may hold colons, a key cannot.
  const colon = text.lastIndexOf(':');
  if (colon === -1) return { column: 1, message: 'expected IDENTITY:HEXKEY' };
  const identity = text.slice(0, colon);
  const problem = identityProblem(identity);
  if (problem !== null) return { column: 1, message: problem };
  const hex = text.slice(colon + 1);
  const column = colon + 2;
  const wrong = hex.search(/[^0-9a-fA-F]/);
  if (wrong !== -1) return { column: column + wrong, message: 'the key is not hexadecimal' };
  if (hex.length % 2 !== 0) return { column, message: 'the key has half a byte too many' };
  const keyBytes = hex.length / 2;
  if (keyBytes < KEY_BYTES_MIN) {
    return {
      column,
      message: `the key has ${keyBytes} bytes, at least ${KEY_BYTES_MIN} are needed`,
    };
  }
  if (keyBytes > KEY_BYTES_MAX) {
    return { column, message: `the key has ${keyBytes} bytes, ${KEY_BYTES_MAX} are the most` };
  }
  return { identity, key: Buffer.from(hex, 'hex') };
}

function identityProblem(identity: string): string | null {
  if (identity === '') return 'the identity is empty';
  if (identity !== identity.trim()) return 'the identity begins or ends with white space';
  if (/\p{Cc}/u.test(identity)) return 'the identity holds a control character';
  // What Node makes of bytes that are no text: different ones would be one identity.
  if (identity.includes('\ufffd')) return 'the identity holds U+FFFD';
  if (Buffer.byteLength(identity) > IDENTITY_BYTES_MAX) {
    return `the identity is over ${IDENTITY_BYTES_MAX} bytes`;
  }
  return null;
}
