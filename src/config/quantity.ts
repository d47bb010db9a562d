/**
 * Sizes and durations as people write them: a number in the option's own unit, or a number with a
 * suffix (`64KiB`, `1MiB`, `10s`, `30d`). Used by the leaves of the schema.
 */

/** `amount`: of whatever the option next to it says, bytes among them. */
export type QuantityUnit = 'bytes' | 'ms' | 's' | 'count' | 'messages' | 'levels' | 'amount';

const bytesOf: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

const msOf: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Suffixes a value of this unit may carry; none for plain counts. */
export function suffixesOf(unit: QuantityUnit): readonly string[] {
  if (unit === 'bytes' || unit === 'amount') return Object.keys(bytesOf);
  if (unit === 'ms') return Object.keys(msOf);
  if (unit === 's') return Object.keys(msOf).filter((suffix) => suffix !== 'ms');
  return [];
}

/** The value in `unit`, or null when the text is no such quantity; fractions must come out whole. */
export function parseQuantity(text: string, unit: QuantityUnit): number | null {
  const match = /^(\d{1,16}(?:\.\d{1,9})?) ?([A-Za-z]{0,4})$/.exec(text.trim());
  if (match === null) return null;
  const amount = Number(match[1]);
  const suffix = match[2] ?? '';
  if (suffix === '') return Number.isSafeInteger(amount) ? amount : null;
  if (!suffixesOf(unit).includes(suffix)) return null;
  const factor = bytesOf[suffix] ?? msOf[suffix]! / (unit === 's' ? 1000 : 1);
  const value = amount * factor;
  return Number.isSafeInteger(value) ? value : null;
}

/** What to write, for errors and the reference: `bytes, or a size such as 64KiB`. */
export function describeUnit(unit: QuantityUnit): string {
  if (unit === 'bytes') return 'bytes, or a size such as 64KiB or 1MiB';
  if (unit === 'amount') return 'a number, of bytes also as 64KiB or 1MiB';
  if (unit === 'ms') return 'ms, or a duration such as 500ms, 10s or 2min';
  if (unit === 's') return 's, or a duration such as 10s, 5min or 30d';
  return unit;
}
