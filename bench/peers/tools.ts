// Helpers for obtaining a peer: where builds are kept, and running an installer at low priority.
// Used by the peer files only.

import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The checkout. */
export const projectDirectory: string = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** A folder for built peers that git does not see. */
export function cacheDirectory(name: string): string {
  const cache = join(projectDirectory, 'bench', '.cache');
  const directory = join(cache, name);
  mkdirSync(directory, { recursive: true });
  const ignore = join(cache, '.gitignore');
  if (!existsSync(ignore)) {
    writeFileSync(ignore, '*\n');
  }
  return directory;
}

/** Full path of an executable, looking where Debian puts daemons as well. */
export function findExecutable(name: string): string | undefined {
  const home = process.env.HOME ?? '/root';
  const folders = [
    ...(process.env.PATH ?? '').split(delimiter),
    '/usr/sbin',
    '/usr/local/go/bin',
    join(home, '.cargo', 'bin'),
  ];
  for (const folder of folders) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here; the next folder may have it.
    }
  }
  return undefined;
}

/** Runs an installer with its output on ours; answers why it failed, or undefined. */
export function install(command: readonly string[], directory: string): string | undefined {
  const [executable, ...parameters] = ['nice', '-n', '10', ...command];
  process.stderr.write(`peers: ${command.join(' ')}\n`);
  const result = spawnSync(executable!, parameters, {
    cwd: directory,
    stdio: ['ignore', 2, 2],
    timeout: 30 * 60 * 1000,
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  if (result.error !== undefined) {
    return `${command[0]}: ${result.error.message}`;
  }
  if (result.status !== 0) {
    return `${command.join(' ')} ended with ${result.status ?? result.signal}`;
  }
  return undefined;
}

/** First line a program prints, for version questions. */
export function firstLine(command: readonly string[]): string {
  const [executable, ...parameters] = command;
  const result = spawnSync(executable!, parameters, {
    encoding: 'utf8',
    timeout: 20_000,
    cwd: projectDirectory,
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  const text = `${result.stdout ?? ''}${result.stderr ?? ''}`.trim();
  return text.split('\n')[0]?.trim() || 'unknown';
}
