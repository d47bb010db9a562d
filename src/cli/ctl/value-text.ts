/**
 * Values of API answers as short text for people: times, lists, nothing. Everything comes out safe for
 * a terminal.
 */
import { safeText } from './terminal-text.ts';

/** A field of an answer as a cell; the name says what the number is. */
export function valueText(name: string, value: unknown): string {
  if (value === null || value === undefined || value === '') return '-';
  if (typeof value === 'number' && /(?:^a|A)tMs$|ToMs$/.test(name)) {
    return value === 0 ? '-' : timeText(value);
  }
  if (Array.isArray(value)) {
    return value.length === 0 ? '-' : value.map((entry) => valueText(name, entry)).join(', ');
  }
  if (typeof value === 'object') return safeText(JSON.stringify(value));
  return safeText(String(value));
}

function timeText(wallMs: number): string {
  const time = new Date(wallMs);
  return Number.isNaN(time.getTime()) ? String(wallMs) : time.toISOString();
}

/** An answer as pairs; sections become `outer.inner`. */
export function pairsOf(value: unknown, prefix = ''): [string, string][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return [[safeText(prefix === '' ? 'value' : prefix), valueText(prefix, value)]];
  }
  const pairs: [string, string][] = [];
  for (const [name, inner] of Object.entries(value)) {
    const path = prefix === '' ? name : `${prefix}.${name}`;
    if (typeof inner === 'object' && inner !== null && !Array.isArray(inner)) {
      pairs.push(...pairsOf(inner, path));
    } else if (Array.isArray(inner) && inner.some((entry) => typeof entry === 'object')) {
      for (const [index, entry] of inner.entries())
        pairs.push(...pairsOf(entry, `${path}[${index}]`));
    } else pairs.push([safeText(path), valueText(name, inner)]);
  }
  return pairs;
}
