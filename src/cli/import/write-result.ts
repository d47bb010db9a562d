/**
 * Writes what an import made into a folder: nothing that is there is overwritten, secrets are only
 * their owner's, and what was written is checked as `causeway check` does.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Document } from 'yaml';
import { defaultCost, hashPassword } from '../../access/authn/hash-password.ts';
import type { Converted } from './convert.ts';
import { ImportError } from './mosquitto-lines.ts';
import { formatNote, type Note } from './note.ts';

const CONFIG_NAME = 'causeway.yaml';
const COPY_BYTES_MAX = 64 * 1024 * 1024;
const LOCKED_USER = 'nobody-yet';

/** Name of the configuration file; throws an ImportError before anything is written. */
export async function writeResult(
  converted: Converted,
  notes: readonly Note[],
  original: string,
  folder: string,
): Promise<string> {
  const files = new Map<string, Buffer>();
  for (const [from, to] of converted.copies) files.set(to, readCopy(from));
  for (const [name, text] of converted.made) files.set(name, Buffer.from(text));
  if (converted.needsLockedUser) {
    const hash = await hashPassword(randomBytes(32), 'scrypt', defaultCost.scrypt);
    files.set(
      'passwords',
      Buffer.from(`# The password of this user is known to nobody.\n${LOCKED_USER}:${hash}\n`),
    );
  }
  files.set(CONFIG_NAME, Buffer.from(render(converted, notes, original)));
  for (const name of files.keys()) {
    if (existsSync(join(folder, name)))
      throw new ImportError(`${join(folder, name)} is there already`);
  }
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const [name, bytes] of files) {
      writeFileSync(join(folder, name), bytes, { flag: 'wx', mode: 0o600 });
    }
  } catch (error) {
    throw new ImportError((error as Error).message);
  }
  return join(folder, CONFIG_NAME);
}

function readCopy(file: string): Buffer {
  try {
    if (statSync(file).size > COPY_BYTES_MAX) throw new Error(`${file} is too large`);
    return readFileSync(file);
  } catch (error) {
    throw new ImportError((error as Error).message);
  }
}

function render(converted: Converted, notes: readonly Note[], original: string): string {
  const document = new Document(converted.tree);
  const lines = [
    ` Made by causeway import mosquitto from ${original}.`,
    ...notes.map((note) => ` ${formatNote(note)}`),
  ];
  document.commentBefore = lines.map((line) => line.replaceAll(/[\r\n]+/g, ' ')).join('\n');
  return document.toString({ lineWidth: 0 });
}
