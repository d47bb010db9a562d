#!/usr/bin/env node
/**
 * The command line: finds the command, runs it, ends with its exit code. Commands are loaded when
 * they are used, so that `version` does not pay for what `start` needs.
 */
import { nearest } from '../util/nearest.ts';
import { type Command, EXIT_OK, EXIT_USAGE, UsageError } from './command.ts';
import { commandNames, loadCommand, loadCommands } from './commands.ts';
import { refusePlatform } from './platform.ts';
import { version } from './version.ts';

async function main(args: readonly string[]): Promise<number> {
  const refusal = refusePlatform();
  if (refusal !== null) return complain(refusal);
  const [name, ...rest] = args;
  if (name === undefined) {
    process.stderr.write(overview(await loadCommands()));
    return EXIT_USAGE;
  }
  if (name === '--version' || name === '-v') return print(`causeway ${version}\n`);
  if (name === '--help' || name === '-h' || name === 'help') {
    const topic = rest[0];
    if (topic === undefined) return print(overview(await loadCommands()));
    return main([topic, '--help']);
  }
  const command = await loadCommand(name);
  if (command === null) {
    const near = nearest(name, commandNames);
    const hint = near === null ? '' : `, did you mean ${near}?`;
    return complain(`unknown command ${name}${hint}`, 'causeway --help lists the commands');
  }
  if (wantsHelp(rest)) return print(`${command.usage.trim()}\n`);
  try {
    return await command.run(rest);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return complain(`${name}: ${error.message}`, `causeway ${name} --help shows its usage`);
  }
}

/** `--help` anywhere before `--`, or `-h` alone: beside other words it is the host of `pub`. */
function wantsHelp(args: readonly string[]): boolean {
  const end = args.indexOf('--');
  const flags = end === -1 ? args : args.slice(0, end);
  return flags.includes('--help') || (args.length === 1 && args[0] === '-h');
}

function overview(commands: readonly Command[]): string {
  const width = Math.max(...commands.map(({ name }) => name.length));
  const lines = commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
  return `causeway ${version}, an MQTT broker

Usage: causeway COMMAND [FLAGS]

${lines.join('\n')}

causeway COMMAND --help shows the flags of a command.
Exit codes: 0 done, 1 wrong command line or configuration, 2 cannot start or failed.
`;
}

function print(text: string): number {
  process.stdout.write(text);
  return EXIT_OK;
}

function complain(...lines: readonly string[]): number {
  process.stderr.write(`${lines.map((line) => `causeway: ${line}`).join('\n')}\n`);
  return EXIT_USAGE;
}

// A reader that goes away early (`causeway config | head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

void main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
