// Asks this machine for programs, runs them, and installs Debian's packages where it may. Used by the
// scripts that provide what tests need (provide.ts, provide-cassandra.ts).
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

export interface Answer {
  readonly isOk: boolean;
  readonly output: string;
}

/** Runs a program to its end. */
export function ask(
  command: string,
  args: readonly string[],
  cwd?: string,
  timeoutMs: number = 240_000,
): Answer {
  const done = spawnSync(command, args, {
    encoding: 'utf8',
    timeout: timeoutMs,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', NODE_OPTIONS: '' },
    ...(cwd === undefined ? {} : { cwd }),
  });
  const output = `${done.stdout ?? ''}${done.stderr ?? ''}${done.error?.message ?? ''}`;
  return { isOk: done.status === 0, output };
}

/** Absolute path of a program, or undefined. */
export function onPath(name: string): string | undefined {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    if (folder !== '' && existsSync(join(folder, name))) return join(folder, name);
  }
  return undefined;
}

/** Root on a Debian. */
export function mayInstall(): boolean {
  return process.getuid?.() === 0 && onPath('apt-get') !== undefined;
}

export function aptInstall(...packages: readonly string[]): Answer {
  const wait = ['-o', 'DPkg::Lock::Timeout=120'];
  const install = [...wait, 'install', '-y', '--no-install-recommends', ...packages];
  const first = ask('apt-get', install);
  if (first.isOk) return first;
  const update = ask('apt-get', ['update']);
  return update.isOk ? ask('apt-get', install) : update;
}
