/**
 * The file of a Unix socket: made with the right permissions from its first moment, put in the place
 * of one that a killed process left behind (and of nothing else), removed at the end. Control plane.
 */
import { once } from 'node:events';
import { chmod, lstat, mkdtemp, rename, rmdir, unlink } from 'node:fs/promises';
import { connect, type Server } from 'node:net';
import { dirname, join } from 'node:path';

/** What macOS takes; Linux takes 107. */
const PATH_BYTES_MAX = 103;
const PROBE_TIMEOUT_MS = 1000;

/** Tells the socket file we made from one that another process has put there since. */
export interface UnixFile {
  readonly path: string;
  readonly device: number;
  readonly inode: number;
}

/**
 * Listens on a socket file. It is bound in a folder of its own that nobody else may enter, given its
 * mode there, and then renamed: there is no moment when the file can be reached with other rights,
 * and a stale file is replaced in one step. Throws an Error with `code`.
 */
export async function listenOnUnixPath(
  server: Server,
  path: string,
  mode: number,
  backlog: number,
): Promise<UnixFile> {
  await assertFree(path);
  // Not with join, which takes the dot away: the folder would be made beside the path's own.
  const folder = await mkdtemp(`${dirname(path)}/.`);
  const temporary = join(folder, 's');
  try {
    if (Buffer.byteLength(path) > PATH_BYTES_MAX) {
      throw coded('ENAMETOOLONG', `the path may have at most ${PATH_BYTES_MAX} bytes`);
    }
    if (Buffer.byteLength(temporary) > PATH_BYTES_MAX) {
      const folderBytesMax = PATH_BYTES_MAX - (temporary.length - dirname(path).length);
      throw coded(
        'ENAMETOOLONG',
        `the path of its folder may have at most ${folderBytesMax} bytes`,
      );
    }
    server.listen({ path: temporary, backlog });
    await once(server, 'listening');
    await chmod(temporary, mode);
    const { dev, ino } = await lstat(temporary);
    await rename(temporary, path);
    return { path, device: dev, inode: ino };
  } catch (error) {
    server.close();
    await unlink(temporary).catch(ignoreMissing);
    throw error;
  } finally {
    await rmdir(folder);
  }
}

/** Removes the file if it is still the one made here. */
export async function removeUnixFile(file: UnixFile): Promise<void> {
  try {
    const { dev, ino } = await lstat(file.path);
    if (dev === file.device && ino === file.inode) await unlink(file.path);
  } catch (error) {
    ignoreMissing(error);
  }
}

/** Throws unless there is nothing at the path, or a socket that nobody answers on. */
async function assertFree(path: string): Promise<void> {
  try {
    const found = await lstat(path);
    if (!found.isSocket()) {
      throw coded(
        'EEXIST',
        'there is a file that is no socket; move it away or choose another path',
      );
    }
  } catch (error) {
    ignoreMissing(error);
    return;
  }
  const answer = await probe(path);
  if (answer !== 'ECONNREFUSED' && answer !== 'ENOENT') {
    throw coded('EADDRINUSE', `another process answers there (${answer})`);
  }
}

/** What a connection attempt meets: 'connected', 'timeout' or an error code. */
function probe(path: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const done = (answer: string): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(PROBE_TIMEOUT_MS, () => done('timeout'));
    socket.once('connect', () => done('connected'));
    socket.on('error', (error: NodeJS.ErrnoException) => done(error.code ?? error.message));
  });
}

function coded(code: string, message: string): NodeJS.ErrnoException {
  return Object.assign(new Error(message), { code });
}

function ignoreMissing(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}
