/**
 * The name of a promotion: a file in the data directory, from its first write into Redis until all of it
 * is done, so that a run after a crash knows what the one before has moved. Used by promote.ts.
 */
import { randomBytes } from 'node:crypto';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

const FILE = 'promotion';
const ID_BYTES = 8;
const FORM = /^[0-9a-f]{16}$/;

/** Null: none has begun. */
export async function readPromotionId(directory: string): Promise<string | null> {
  try {
    const text = (await readFile(join(directory, FILE), 'utf8')).trim();
    return FORM.test(text) ? text : null;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** The one that has begun, or a new one, which is on the disk when this resolves. */
export async function beginPromotion(directory: string): Promise<string> {
  const known = await readPromotionId(directory);
  if (known !== null) return known;
  const id = randomBytes(ID_BYTES).toString('hex');
  const path = join(directory, FILE);
  const file = await open(`${path}.new`, 'w', 0o600);
  try {
    await file.writeFile(`${id}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
  const folder = await open(directory, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
  return id;
}

export async function endPromotion(directory: string): Promise<void> {
  await rm(join(directory, FILE), { force: true });
}
