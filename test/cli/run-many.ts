/**
 * Runs many command lines in one process: a start of Node for each would cost more than what is
 * tested. For commands that print, ask and end; the ways of a process (signals, pipes, `main.ts`) are
 * tested with `run.ts`.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { Outcome, RunOptions } from './run.ts';

const child = join(import.meta.dirname, 'many-child.ts');

export async function runMany(
  lines: readonly (readonly string[])[],
  options: RunOptions = {},
): Promise<Outcome[]> {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('CAUSEWAY_'));
  const started = spawn('/usr/bin/env', ['-u', 'NODE_OPTIONS', process.execPath, child], {
    env: Object.fromEntries(inherited),
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const timer = setTimeout(() => started.kill('SIGKILL'), 60_000);
  const { cwd = null, env = {} } = options;
  started.stdin.end(JSON.stringify(lines.map((args) => ({ args, cwd, env }))));
  const [printed, [code]] = await Promise.all([
    text(started.stdout),
    once(started, 'exit') as Promise<[number | null]>,
  ]);
  clearTimeout(timer);
  if (code !== 0) throw new Error(`the commands ended with ${code}: ${printed}`);
  return JSON.parse(printed) as Outcome[];
}
