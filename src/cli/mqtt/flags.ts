/**
 * Reads the flags of `pub`, `sub`, `rr` and `probe`. Unlike those of the other commands `-h` is the host, as
 * mosquitto's users expect, and an empty value is a value. Used by those commands only.
 */
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import { nearest } from '../../util/nearest.ts';
import { UsageError } from '../command.ts';

/** What was given, by long name, in order; a flag without a value has ''. */
export class Flags {
  /** What is no flag, in order. */
  readonly positionals: readonly string[];
  readonly #values: ReadonlyMap<string, readonly string[]>;

  constructor(values: ReadonlyMap<string, readonly string[]>, positionals: readonly string[]) {
    this.#values = values;
    this.positionals = positionals;
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }

  all(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  text(name: string): string | undefined {
    return this.#values.get(name)?.at(-1);
  }

  /** A whole number within bounds; throws UsageError for anything else. */
  count(name: string, min: number, max: number): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= min && value <= max) return value;
    throw new UsageError(`--${name} must be a number from ${min} to ${max}`);
  }

  /** Seconds, fractions allowed. */
  seconds(name: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (/^\d*\.?\d+$/.test(text) && value <= 2_000_000) return value;
    throw new UsageError(`--${name} must be a number of seconds`);
  }

  qos(name: string): 0 | 1 | 2 {
    return (this.count(name, 0, 2) ?? 0) as 0 | 1 | 2;
  }
}

/** Throws UsageError for what is not a flag, naming the nearest one. */
export function readFlags(
  args: readonly string[],
  options: ParseArgsOptionsConfig,
  positionalsMax = 0,
): Flags {
  const { tokens } = parseArgs({ args: [...args], options, strict: false, tokens: true });
  const values = new Map<string, string[]>();
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') {
      positionals.push(token.value);
      if (positionals.length <= positionalsMax) continue;
      throw new UsageError(`unexpected argument ${JSON.stringify(token.value)}`);
    }
    if (token.kind !== 'option') continue;
    const { name, rawName, value } = token;
    const known = Object.hasOwn(options, name) ? options[name] : undefined;
    if (known === undefined) {
      const near = nearest(
        rawName,
        Object.keys(options).map((one) => `--${one}`),
      );
      const hint = near === null ? '' : `, did you mean ${near}?`;
      throw new UsageError(`unknown flag ${rawName}${hint}`);
    }
    if (known.type === 'string' && value === undefined) {
      throw new UsageError(`${rawName} needs a value`);
    }
    if (known.type === 'boolean' && value !== undefined) {
      throw new UsageError(`${rawName} takes no value`);
    }
    const given = values.get(name) ?? [];
    if (given.length > 0 && known.multiple !== true) {
      throw new UsageError(`${rawName} is given twice`);
    }
    values.set(name, [...given, value ?? '']);
  }
  return new Flags(values, positionals);
}
