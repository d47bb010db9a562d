/**
 * The kinds of values an option can have, as zod types: each reads what a YAML file, an environment
 * variable or a flag may hold and says in one sentence what it expected. The metadata goes through to
 * the JSON Schema, and from there to the option table. Used by `schema.ts` only.
 */
import { z } from 'zod';
import { describeUnit, parseQuantity, type QuantityUnit, suffixesOf } from './quantity.ts';
import { withoutAnySecrets } from './url-secrets.ts';

/** What every option says of itself. */
export interface LeafText {
  readonly help: string;
  /** A reload applies a change; otherwise the node has to be started again. */
  readonly reloadable: boolean;
}

/** Thrown by the reader of a leaf; the message names what was expected. */
class Unexpected extends Error {
  /** Entry of a list that is meant. */
  index = -1;
}

/** Marks a required option that is absent: another layer may still supply it. */
export const MISSING = 'missing';

function leaf<T>(read: (value: unknown) => T, meta: Record<string, unknown>): z.ZodType<T> {
  const type = z.unknown().transform((value, context): T => {
    try {
      if (value === undefined) throw new Unexpected('is missing');
      return read(value);
    } catch (error) {
      if (!(error instanceof Unexpected)) throw error;
      const { message, index } = error;
      const params = value === undefined ? { kind: MISSING } : {};
      const path = index < 0 ? [] : [index];
      context.issues.push({ code: 'custom', message, input: value, params, path });
      return z.NEVER;
    }
  });
  return type.meta(meta);
}

function metaOf(text: LeafText, more: Record<string, unknown>): Record<string, unknown> {
  return { ...more, description: text.help, 'x-reloadable': text.reloadable };
}

/** A value as an error shows it. */
export function show(value: unknown): string {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object') return 'a section';
  const shown = typeof value === 'string' ? withoutAnySecrets(value) : value;
  const text = JSON.stringify(shown) ?? String(shown);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function unexpected(expected: string, value: unknown): Unexpected {
  return new Unexpected(`expected ${expected}, found ${show(value)}`);
}

export interface QuantityRange {
  readonly unit: QuantityUnit;
  readonly default?: number | undefined;
  readonly min: number;
  readonly max: number;
  /** What a client is told at this bound. */
  readonly told?: string | undefined;
}

/** A whole number with a unit, or the same with a suffix. */
export function quantity(range: QuantityRange, text: LeafText): z.ZodType<number> {
  const { unit, min, max } = range;
  const expected = `a whole number from ${min} to ${max} (${describeUnit(unit)})`;
  const read = (value: unknown): number => {
    const parsed = typeof value === 'string' ? parseQuantity(value, unit) : value;
    if (typeof parsed !== 'number' || !Number.isSafeInteger(parsed)) {
      throw unexpected(expected, value);
    }
    if (parsed < min || parsed > max) throw unexpected(expected, value);
    return parsed;
  };
  const suffixes = suffixesOf(unit);
  const number = { type: 'integer', minimum: min, maximum: max };
  const shape =
    suffixes.length === 0
      ? number
      : {
          anyOf: [number, { type: 'string', pattern: `^\\d+(\\.\\d+)? ?(${suffixes.join('|')})$` }],
        };
  const told = range.told === undefined ? {} : { 'x-told': range.told };
  const meta = { ...shape, 'x-kind': 'number', 'x-unit': unit, 'x-minimum': min, 'x-maximum': max };
  return withDefault(
    leaf(read, metaOf(text, { ...meta, ...told, ...defaultMeta(range.default) })),
    range.default,
  );
}

/** One of a few words. */
export function choice<const T extends string>(
  values: readonly T[],
  fallback: T | undefined,
  text: LeafText,
): z.ZodType<T> {
  const read = (value: unknown): T => {
    const found = values.find((known) => known === value);
    if (found === undefined) throw unexpected(`one of ${values.join(', ')}`, value);
    return found;
  };
  const meta = { type: 'string', enum: [...values], 'x-kind': 'choice', ...defaultMeta(fallback) };
  return withDefault(leaf(read, metaOf(text, meta)), fallback);
}

/** true or false. */
export function truth(fallback: boolean | undefined, text: LeafText): z.ZodType<boolean> {
  const read = (value: unknown): boolean => {
    if (value === true || value === 'true') return true;
    if (value === false || value === 'false') return false;
    throw unexpected('true or false', value);
  };
  const meta = { type: 'boolean', 'x-kind': 'boolean', ...defaultMeta(fallback) };
  return withDefault(leaf(read, metaOf(text, meta)), fallback);
}

export interface TextRule {
  /** What the text is, in a few words. */
  readonly expected: string;
  readonly default?: string | undefined;
  /** A sentence when the text will not do. */
  readonly refuse?: ((text: string) => string | null) | undefined;
  /** An empty one, or an empty list, means something. */
  readonly mayBeEmpty?: boolean | undefined;
}

function readText(rule: TextRule, value: unknown): string {
  const isMissing = value === '' && rule.mayBeEmpty !== true;
  if (typeof value !== 'string' || isMissing) throw unexpected(rule.expected, value);
  const refusal = rule.refuse?.(value) ?? null;
  if (refusal !== null) throw new Unexpected(`${refusal}, found ${show(value)}`);
  return value;
}

/** A line of text: a path, an address, a name. */
export function text(rule: TextRule, about: LeafText): z.ZodType<string> {
  const read = (value: unknown): string => readText(rule, value);
  const meta = { type: 'string', 'x-kind': 'text', 'x-expected': rule.expected };
  const all = metaOf(about, { ...meta, ...defaultMeta(rule.default) });
  return withDefault(leaf(read, all), rule.default);
}

/** A list of texts; a single text counts as a list of one. */
export function texts(
  rule: TextRule,
  about: LeafText,
  fallback?: readonly string[],
): z.ZodType<readonly string[]> {
  const read = (value: unknown): readonly string[] => {
    if (typeof value === 'string') return [readText(rule, value)];
    if (!Array.isArray(value) || (value.length === 0 && rule.mayBeEmpty !== true)) {
      throw unexpected(`a list: ${rule.expected}`, value);
    }
    return value.map((entry: unknown, index) => {
      try {
        return readText(rule, entry);
      } catch (error) {
        if (error instanceof Unexpected) error.index = index;
        throw error;
      }
    });
  };
  const meta = {
    type: 'array',
    items: { type: 'string' },
    'x-kind': 'list',
    'x-expected': rule.expected,
    ...defaultMeta(fallback),
  };
  return withDefault(leaf(read, metaOf(about, meta)), fallback);
}

function defaultMeta(fallback: unknown): Record<string, unknown> {
  return fallback === undefined ? {} : { 'x-default': fallback };
}

function withDefault<T>(type: z.ZodType<T>, fallback: T | undefined): z.ZodType<T> {
  return fallback === undefined ? type : (type.default(fallback as never) as z.ZodType<T>);
}
