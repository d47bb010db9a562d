/**
 * The directory the embedded store lives in: made and opened, its schema version checked, and asked
 * whether it takes writes again. Says what is wrong in words an operator can act on.
 */
import { chmod, mkdir, open, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../../core/ports.ts';
import { RecordDamage } from './damage.ts';
import type { Database } from './database.ts';
import { Prefix, plainKey } from './keys.ts';
import type { MoveAside } from './quarantine.ts';
import { decodeNumbers, encodeNumbers } from './session-codec.ts';

const SCHEMA_VERSION = 1;
const DIRECTORY_MODE = 0o700;
const OTHERS_MODE = 0o007;
const PROBE_FILE = 'space-probe';

/** The directory cannot be used; the message says why and what to do. */
export class StoreOpenError extends Error {}

export async function openDirectory(db: Database, directory: string, log: Log): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode: DIRECTORY_MODE });
    await closeToOthers(directory, log);
    await db.open();
  } catch (error) {
    throw openError(directory, error);
  }
}

/** Nobody else may read what clients have sent. */
async function closeToOthers(directory: string, log: Log): Promise<void> {
  try {
    await chmod(directory, DIRECTORY_MODE);
  } catch (error) {
    // A mounted volume may belong to another user and be ours to write by group.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
    const { mode } = await stat(directory);
    if ((mode & OTHERS_MODE) !== 0) {
      log.warn(
        { directory },
        'other users may read the data directory, and it is not ours to close',
      );
    }
  }
}

/** Marks a new store; refuses one that a newer program has written. */
export async function checkVersion(
  db: Database,
  directory: string,
  quarantine: MoveAside,
): Promise<void> {
  const key = plainKey(Prefix.VERSION);
  const value = await db.get(key);
  if (value !== undefined) {
    try {
      const found = decodeNumbers(value)[0] ?? 0;
      if (found > SCHEMA_VERSION) throw newerSchema(directory, found);
      return;
    } catch (error) {
      if (!(error instanceof RecordDamage)) throw error;
      // Every record is checked by itself, so the rest can be read all the same.
      await quarantine(key, value, error.message);
    }
  }
  await db.put(key, encodeNumbers([SCHEMA_VERSION], 1), { sync: true });
}

/** Rejects while the disk does not take so many bytes. */
export async function probeSpace(directory: string, byteCount: number): Promise<void> {
  const path = join(directory, PROBE_FILE);
  const file = await open(path, 'w', 0o600);
  try {
    await file.writeFile(Buffer.alloc(byteCount));
    await file.sync();
  } finally {
    await file.close();
    await unlink(path);
  }
}

function newerSchema(directory: string, found: number): StoreOpenError {
  return new StoreOpenError(
    `the data in ${directory} has schema version ${found}, this program knows ` +
      `${SCHEMA_VERSION}: start the newer program that wrote it, or choose another directory (--data)`,
  );
}

function openError(directory: string, error: unknown): StoreOpenError {
  const { code, cause, message } = error as NodeJS.ErrnoException & { cause?: Error };
  const inner = cause as NodeJS.ErrnoException | undefined;
  if (inner?.code === 'LEVEL_LOCKED') {
    return new StoreOpenError(
      `${directory} is in use by another process; stop it, or choose another directory (--data)`,
    );
  }
  const why = inner?.message ?? message;
  const isDenied = code === 'EACCES' || /permission denied/i.test(why);
  const what = isDenied ? 'this user may not use it' : why;
  return new StoreOpenError(
    `${directory} cannot be opened as the data directory: ${what}; ` +
      'correct that, or choose another directory (--data)',
  );
}
