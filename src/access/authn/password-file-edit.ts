/**
 * Changes a password file in place without ever leaving half of one: for `causeway passwd` and
 * `causeway init`. Comments, order and line ends stay; a file with errors is not touched. Knows hashes
 * only, no passwords.
 */
import { randomBytes } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { type FileHandle, link, open, realpath, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { AccessError } from '../access-error.ts';
import {
  formatPasswordLine,
  linesOf,
  type PasswordEntry,
  parsePasswordFile,
  readPasswordBytes,
} from './password-file.ts';

const OWNER_ONLY = 0o600;
const CARRIAGE_RETURN = 0x0d;

export class PasswordFileEdit {
  /** As the caller named it, for messages. */
  readonly #file: string;
  /** What a symbolic link stands for: the link stays. */
  readonly #target: string;
  /** Of the file that was read; null: it is to be made. */
  readonly #before: BigIntStats | null;
  readonly #lines: Buffer[];
  readonly #entries: Map<string, PasswordEntry>;

  private constructor(
    file: string,
    target: string,
    before: BigIntStats | null,
    lines: Buffer[],
    entries: Map<string, PasswordEntry>,
  ) {
    this.#file = file;
    this.#target = target;
    this.#before = before;
    this.#lines = lines;
    this.#entries = entries;
  }

  /**
   * Reads the file; throws an AccessError when that cannot be done or the file has errors. With
   * `create` a file that is missing counts as empty.
   */
  static async open(file: string, create: boolean): Promise<PasswordFileEdit> {
    const target = await resolveTarget(file);
    if (target === null) {
      if (create) return new PasswordFileEdit(file, file, null, [], new Map());
      throw problem(file, 'there is no such file; --create makes one');
    }
    const { bytes, stats } = await readPasswordBytes(file);
    const entries = new Map(await parsePasswordFile(bytes, file));
    return new PasswordFileEdit(file, target, stats, [...linesOf(bytes)], entries);
  }

  get size(): number {
    return this.#entries.size;
  }

  /** True: the file does not exist yet. */
  get isNew(): boolean {
    return this.#before === null;
  }

  get(user: string): PasswordEntry | null {
    return this.#entries.get(user) ?? null;
  }

  set(user: string, entry: Pick<PasswordEntry, 'hash' | 'tenant' | 'superuser'>): void {
    const { hash, tenant, superuser } = entry;
    const known = this.#entries.get(user);
    const line = known?.line ?? this.#lines.length + 1;
    const like = this.#lines[known === undefined ? line - 2 : line - 1];
    const end = like?.at(-1) === CARRIAGE_RETURN ? '\r' : '';
    this.#lines[line - 1] = Buffer.from(`${formatPasswordLine(user, entry)}${end}`);
    this.#entries.set(user, { hash, tenant, superuser, line });
  }

  /** False: there is no such user. */
  delete(user: string): boolean {
    const known = this.#entries.get(user);
    if (known === undefined) return false;
    this.#entries.delete(user);
    this.#lines.splice(known.line - 1, 1);
    for (const [name, entry] of this.#entries) {
      if (entry.line > known.line) this.#entries.set(name, { ...entry, line: entry.line - 1 });
    }
    return true;
  }

  /** Replaces the file at once; throws an AccessError and leaves it alone when that cannot be done. */
  async save(): Promise<void> {
    const bytes = Buffer.concat(this.#lines.flatMap((line) => [line, Buffer.from('\n')]));
    // What was written must read back as what was meant, or nothing is written.
    const entries = await parsePasswordFile(bytes, this.#file);
    for (const [user, { hash }] of this.#entries) {
      if (entries.get(user)?.hash !== hash) throw new Error('a user would not be what was meant');
    }
    if (entries.size !== this.#entries.size) throw new Error('a user would be left over');
    const name = `.${basename(this.#target)}.${process.pid}.${randomBytes(4).toString('hex')}`;
    const temporary = join(dirname(this.#target), name);
    try {
      await this.#writeTemporary(temporary, bytes);
      await this.#replace(temporary);
    } catch (error) {
      await unlink(temporary).catch(() => {});
      if (error instanceof AccessError) throw error;
      const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
      throw problem(this.#file, `cannot be written: ${code}`);
    }
  }

  async #writeTemporary(temporary: string, bytes: Buffer): Promise<void> {
    const handle = await open(temporary, 'wx', OWNER_ONLY);
    try {
      await this.#takeOwner(handle);
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  /** Owner, group and their rights as before; nothing for all others. */
  async #takeOwner(handle: FileHandle): Promise<void> {
    if (this.#before === null) return handle.chmod(OWNER_ONLY);
    const { uid, gid, mode } = this.#before;
    const own = await handle.stat({ bigint: true });
    if (own.uid !== uid || own.gid !== gid) {
      try {
        await handle.chown(Number(uid), Number(gid));
      } catch {
        const message = `belongs to another user (${uid}:${gid}); change it as that user`;
        throw problem(this.#file, message);
      }
    }
    return handle.chmod(Number(mode & 0o770n));
  }

  async #replace(temporary: string): Promise<void> {
    if (this.#before === null) {
      // Unlike a rename, a link does not replace what somebody made meanwhile.
      await link(temporary, this.#target).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
        throw problem(this.#file, 'was made by somebody else meanwhile; try again');
      });
      await unlink(temporary);
    } else {
      const now = await stat(this.#target, { bigint: true });
      const isSame = now.ino === this.#before.ino && now.ctimeNs === this.#before.ctimeNs;
      if (!isSame) throw problem(this.#file, 'was changed by somebody else meanwhile; try again');
      await rename(temporary, this.#target);
    }
    const folder = await open(dirname(this.#target), 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }
}

/** The file a path stands for, through symbolic links; null: there is none. */
async function resolveTarget(file: string): Promise<string | null> {
  try {
    return await realpath(file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    if (code === 'ENOENT') return null;
    throw problem(file, `cannot be read: ${code}`);
  }
}

function problem(file: string, message: string): AccessError {
  return new AccessError([{ where: file, message }]);
}
