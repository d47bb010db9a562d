// Our own broker: from source by default, as the executable with `--causeway-bin`, or by any
// command line with `--causeway-cmd`; and an older executable beside it with `--base-bin`.
// `commandLine` is the one place that knows its flags: limits stay at their defaults, metrics stay
// on, as a user would run it.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Feature, Launch, LaunchOptions, Peer } from './peer.ts';
import { firstLine, projectDirectory } from './tools.ts';

export interface CausewayOptions {
  /** Path of the single executable to measure instead of the source. */
  readonly executable?: string | undefined;
  /** Command line to measure instead; `{port}` and `{store}` are filled in. */
  readonly command?: string | undefined;
  /** Path of an executable to hold against, as the broker `causeway-base`. */
  readonly base?: string | undefined;
}

/**
 * Flags of one run. Filled in: `{port}`, `{admin}`, `{listen}` (`--listen URL`, or `--config FILE`
 * when the run has a configuration) and `{store}` (`--ephemeral` or `--data FOLDER`).
 */
const commandLine: readonly string[] = [
  'start',
  '{listen}',
  '--admin',
  'http://127.0.0.1:{admin}',
  '--set',
  'log.level=warn',
  '{store}',
];

function fill(words: readonly string[], options: LaunchOptions): string[] {
  const { port, adminPort, directory, durable } = options;
  if (options.configuration !== undefined && !words.includes('{listen}')) {
    throw new Error('--causeway-cmd needs the word {listen} for a run with a configuration');
  }
  const store = durable ? ['--data', join(directory, 'data')] : ['--ephemeral'];
  return words.flatMap((word) => {
    if (word === '{store}') return store;
    if (word === '{listen}') return listen(options);
    return [word.replaceAll('{port}', String(port)).replaceAll('{admin}', String(adminPort))];
  });
}

function listen({ port, directory, configuration }: LaunchOptions): string[] {
  if (configuration === undefined) return ['--listen', `mqtt://127.0.0.1:${port}`];
  const file = join(directory, 'causeway.yaml');
  writeFileSync(file, configuration);
  return ['--config', file];
}

/** The source tree's own entry, run by the Node that runs the harness. */
function sourceProgram(): readonly string[] {
  return [process.execPath, '--inspect-port=0', join(projectDirectory, 'src', 'cli', 'main.ts')];
}

function sourceVersion(): string {
  const text = readFileSync(join(projectDirectory, 'package.json'), 'utf8');
  const commit = firstLine(['git', 'describe', '--always', '--dirty']);
  return `causeway ${(JSON.parse(text) as { version: string }).version} (${commit})`;
}

export function causeway(given: CausewayOptions, name: string = 'causeway'): Peer {
  const words = given.command?.split(/\s+/).filter((word) => word !== '');
  const program = given.executable === undefined ? sourceProgram() : [given.executable];

  function prepare(): string | undefined {
    const file = program.at(-1)!;
    return words === undefined && !existsSync(file) ? `${file} does not exist` : undefined;
  }

  function version(): string {
    if (words !== undefined) {
      return `${sourceVersion()}, started as: ${words.join(' ')}`;
    }
    return given.executable === undefined
      ? `${sourceVersion()}, from source on Node ${process.version}`
      : `${firstLine([given.executable, 'version'])}, executable`;
  }

  function lacks(_feature: Feature): string | undefined {
    return undefined;
  }

  function launch(options: LaunchOptions): Launch {
    return {
      command: fill(words ?? [...program, ...commandLine], options),
      collector: 'inspector',
    };
  }

  return { name, prepare, version, lacks, launch };
}
