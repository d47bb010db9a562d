/**
 * Text with `*` for any characters, as operators filter lists. One pass of searches, no RegExp: both
 * sides come from outside.
 */

/** A test of one text; null matches nothing. */
export type TextTest = (text: string | null) => boolean;

/** Null: everything passes. */
export function globTest(pattern: string | null): TextTest | null {
  if (pattern === null) return null;
  if (!pattern.includes('*')) return (text) => text === pattern;
  const parts = pattern.split('*');
  return (text) => text !== null && matchesParts(parts, text);
}

function matchesParts(parts: readonly string[], text: string): boolean {
  const first = parts[0]!;
  const last = parts[parts.length - 1]!;
  if (text.length < first.length + last.length) return false;
  if (!text.startsWith(first) || !text.endsWith(last)) return false;
  const end = text.length - last.length;
  let at = first.length;
  for (let i = 1; i < parts.length - 1; i++) {
    const found = text.indexOf(parts[i]!, at);
    if (found === -1 || found + parts[i]!.length > end) return false;
    at = found + parts[i]!.length;
  }
  return true;
}
