/**
 * What a command of the command line is, its exit codes, and how it reads its flags. Commands are in
 * `commands/`, `main.ts` finds and runs them.
 */
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import { nearest } from '../util/nearest.ts';

export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Text of `--help`; the first line is the synopsis. */
  readonly usage: string;
  /** Gives the exit code. */
  run(args: readonly string[]): Promise<number>;
}

export const EXIT_OK = 0;
/** The command line or the configuration is wrong. */
export const EXIT_USAGE = 1;
/** The node cannot start, or cannot stop as it should. */
export const EXIT_FAILED = 2;

/** The command line is wrong; the message is for the user. */
export class UsageError extends Error {
  override readonly name: string = 'UsageError';
}

export interface Flags {
  /** Values in the order given; flags without a value have ''. */
  readonly values: ReadonlyMap<string, readonly string[]>;
  readonly positionals: readonly string[];
}

/** Reads flags strictly; throws a UsageError that names the nearest known flag. */
export function readArguments(
  args: readonly string[],
  options: ParseArgsOptionsConfig,
  positionalsMax = 0,
): Flags {
  // `main.ts` has answered it; here only so that it is suggested.
  const all: ParseArgsOptionsConfig = { ...options, help: { type: 'boolean' } };
  const { tokens } = parseArgs({
    args: [...args],
    options: all,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const values = new Map<string, string[]>();
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    const { name, rawName, value } = token;
    const known = Object.hasOwn(all, name) ? all[name] : undefined;
    if (known === undefined)
      throw new UsageError(`unknown flag ${rawName}${suggest(rawName, all)}`);
    const given = values.get(name) ?? [];
    if (known.type === 'string' && (value === undefined || value === '')) {
      throw new UsageError(`${rawName} needs a value`);
    }
    if (known.type === 'boolean' && value !== undefined) {
      throw new UsageError(`${rawName} takes no value`);
    }
    if (given.length > 0 && known.multiple !== true) {
      throw new UsageError(`${rawName} is given twice`);
    }
    values.set(name, [...given, value ?? '']);
  }
  if (positionals.length > positionalsMax) {
    throw new UsageError(`unexpected argument ${JSON.stringify(positionals[positionalsMax])}`);
  }
  return { values, positionals };
}

function suggest(flag: string, options: ParseArgsOptionsConfig): string {
  const near = nearest(
    flag,
    Object.keys(options).map((name) => `--${name}`),
  );
  return near === null ? '' : `, did you mean ${near}?`;
}
