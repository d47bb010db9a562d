/**
 * The list of commands, each loaded only when asked for. Used by `main.ts` and by the generator of
 * the command-line reference.
 */
import type { Command } from './command.ts';

interface Module {
  readonly command: Command;
}

const loaders: Readonly<Record<string, () => Promise<Module>>> = {
  start: () => import('./commands/start.ts'),
  check: () => import('./commands/check.ts'),
  config: () => import('./commands/config.ts'),
  version: () => import('./commands/version.ts'),
  pub: () => import('./commands/pub.ts'),
  sub: () => import('./commands/sub.ts'),
  rr: () => import('./commands/rr.ts'),
  probe: () => import('./commands/probe.ts'),
  passwd: () => import('./commands/passwd.ts'),
  init: () => import('./commands/init.ts'),
  acl: () => import('./commands/acl.ts'),
  ctl: () => import('./commands/ctl.ts'),
  trace: () => import('./commands/trace.ts'),
  import: () => import('./commands/import.ts'),
  cassandra: () => import('./commands/cassandra.ts'),
  promote: () => import('./commands/promote.ts'),
};

export const commandNames: readonly string[] = Object.keys(loaders);

export async function loadCommand(name: string): Promise<Command | null> {
  if (!Object.hasOwn(loaders, name)) return null;
  return (await loaders[name]!()).command;
}

export async function loadCommands(): Promise<Command[]> {
  const modules = await Promise.all(Object.values(loaders).map((load) => load()));
  return modules.map((module) => module.command);
}
