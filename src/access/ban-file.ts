/**
 * The bans as a file in the data folder. Written whole into a neighbour, made durable, and renamed: a
 * crash leaves the old file or the new one. A file that cannot be read or understood is an AccessError:
 * a broker that starts without its bans lets in whom it should not.
 */
import { open, readFile, rename, stat } from 'node:fs/promises';
import path from 'node:path';
import { AccessError } from './access-error.ts';
import {
  BAN_REASON_CHARACTERS_MAX,
  type Ban,
  type BanKind,
  type BanOrigin,
  banKinds,
  banOrigins,
  canonicalBanValue,
} from './ban.ts';
import { type Lift, liftOf, lineOfLift } from './ban-lifts.ts';

const VERSION = 1;
/** Above what the bounded table can write; what is larger is not ours. */
const FILE_BYTES_MAX = 256 * 1024 * 1024;
const MODE = 0o600;
/** Written at one time: made in well under a millisecond. */
const CHUNK_CHARACTERS = 64 * 1024;

/** What is kept of a ban. */
export type StoredBan = Omit<Ban, 'hits'>;

export interface StoredBans {
  readonly bans: readonly StoredBan[];
  /** In a datacenter only: what a node that was away must not bring back. */
  readonly lifts: readonly Lift[];
}

export class BanFile {
  readonly path: string;

  constructor(file: string) {
    this.path = file;
  }

  /** No file: nobody was banned yet. Throws an AccessError on everything else that is no ban list. */
  async load(): Promise<StoredBans> {
    let text: string;
    try {
      const { size } = await stat(this.path);
      if (size > FILE_BYTES_MAX) throw this.#broken(`is ${size} bytes long`);
      text = await readFile(this.path, 'utf8');
    } catch (error) {
      if (error instanceof AccessError) throw error;
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { bans: [], lifts: [] };
      throw this.#broken(`cannot be read: ${(error as Error).message}`);
    }
    let document: unknown;
    try {
      document = JSON.parse(text);
    } catch {
      // What the parser says quotes the file.
      throw this.#broken('is no JSON');
    }
    if (
      !isRecord(document) ||
      document['version'] !== VERSION ||
      !Array.isArray(document['bans'])
    ) {
      throw this.#broken(`is no list of bans of version ${VERSION}`);
    }
    const bans = document['bans'].map((entry: unknown, index) => {
      const ban = storedBanOf(entry);
      if (typeof ban === 'string') throw this.#broken(`bans[${index}]: ${ban}`);
      return ban;
    });
    const { lifted = [] } = document;
    if (!Array.isArray(lifted)) throw this.#broken('lifted is no list');
    const lifts = lifted.map((entry: unknown, index) => {
      const lift = liftOf(entry);
      if (typeof lift === 'string') throw this.#broken(`lifted[${index}]: ${lift}`);
      return lift;
    });
    return { bans, lifts };
  }

  /** Over several turns: what comes or goes meanwhile may be in it or not. */
  async save(bans: Iterable<StoredBan>, lifts: Iterable<Lift> = []): Promise<void> {
    const temporary = `${this.path}.new`;
    const file = await open(temporary, 'w', MODE);
    try {
      // The mode of `open` does not touch a file that a crash has left.
      await file.chmod(MODE);
      let text = `{"version":${VERSION},"bans":[`;
      let separator = '\n';
      const add = async (line: string): Promise<void> => {
        text += separator + line;
        separator = ',\n';
        if (text.length < CHUNK_CHARACTERS) return;
        await file.appendFile(text);
        text = '';
      };
      for (const ban of bans) await add(lineOfBan(ban));
      text += '\n]';
      separator = ',"lifted":[\n';
      let hasLifts = false;
      for (const lift of lifts) {
        hasLifts = true;
        await add(lineOfLift(lift));
      }
      await file.appendFile(`${text}${hasLifts ? '\n]' : ''}}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, this.path);
    const folder = await open(path.dirname(this.path), 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  #broken(what: string): AccessError {
    return new AccessError([
      {
        where: this.path,
        message:
          `${what}. It holds who is banned, and the broker does not start without it: restore it ` +
          'from a copy, or remove it to start with nobody banned.',
      },
    ]);
  }
}

export function lineOfBan(ban: StoredBan): string {
  const { id, kind, value, user, origin, reason, by, createdAtMs, expiresAtMs, step } = ban;
  return JSON.stringify({
    id,
    kind,
    value,
    user,
    origin,
    reason,
    by,
    createdAtMs,
    expiresAtMs,
    step,
  });
}

function isRecord(value: unknown): value is { readonly [name: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** The ban, or what is wrong with it. */
export function storedBanOf(entry: unknown): StoredBan | string {
  if (!isRecord(entry)) return 'is no object';
  const { id, kind, value, user, origin, reason, by, createdAtMs, expiresAtMs, step } = entry;
  if (typeof id !== 'string' || id === '') return 'id is missing';
  if (!banKinds.includes(kind as BanKind)) return `kind is none of ${banKinds.join(', ')}`;
  if (typeof value !== 'string' || canonicalBanValue(kind as BanKind, value) !== value) {
    return `value is no ${String(kind)}`;
  }
  if (user !== undefined && user !== null && typeof user !== 'string') return 'user is no text';
  if (!banOrigins.includes(origin as BanOrigin)) {
    return `origin is none of ${banOrigins.join(', ')}`;
  }
  if (typeof reason !== 'string' || reason.length > BAN_REASON_CHARACTERS_MAX) {
    return 'reason is missing or too long';
  }
  if (typeof by !== 'string') return 'by is missing';
  if (!isCount(createdAtMs) || !isCount(expiresAtMs) || !isCount(step)) {
    return 'createdAtMs, expiresAtMs and step are counts';
  }
  return {
    id,
    kind: kind as BanKind,
    value,
    ...(user === undefined ? {} : { user }),
    origin: origin as BanOrigin,
    reason,
    by,
    createdAtMs,
    expiresAtMs,
    step,
  };
}
