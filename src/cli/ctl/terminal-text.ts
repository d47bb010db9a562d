/**
 * Text of others made fit for a terminal: client identifiers and topics may hold escape sequences,
 * and a name that turns the reading direction can pretend to be another one. Used by everything `ctl`
 * and `trace` print for people.
 */

/** Control and formatting characters (bidi among them), lone surrogates, private ones, separators. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\u2028\u2029\\]/gu;
const MARK = /^[\p{Mn}\p{Me}]$/u;

/** Ranges of characters two cells wide; what is missing here only costs alignment. */
const WIDE: readonly (readonly [number, number])[] = [
  [0x1100, 0x115f],
  [0x2e80, 0x303e],
  [0x3041, 0xa4cf],
  [0xa960, 0xa97f],
  [0xac00, 0xd7a3],
  [0xf900, 0xfaff],
  [0xfe30, 0xfe6f],
  [0xff00, 0xff60],
  [0xffe0, 0xffe6],
  [0x1f300, 0x1f64f],
  [0x1f680, 0x1f6ff],
  [0x1f900, 0x1f9ff],
  [0x20000, 0x3fffd],
];

const NAMED: ReadonlyMap<string, string> = new Map([
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
  // So that what was escaped cannot be mistaken for what was sent.
  ['\\', '\\\\'],
]);

function escapeCharacter(character: string): string {
  const named = NAMED.get(character);
  if (named !== undefined) return named;
  const code = character.codePointAt(0)!;
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
}

/** One line that a terminal shows as it is. */
export function safeText(text: string): string {
  return text.replace(UNSAFE, escapeCharacter);
}

/** JSON that a terminal shows as it is, and that says the same to a program. */
export function safeJson(value: unknown, indent?: number): string {
  // Line breaks are our own: those inside texts are escaped by JSON already.
  return JSON.stringify(value, null, indent).replace(
    /[\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function cellsOf(character: string): number {
  if (MARK.test(character)) return 0;
  const code = character.codePointAt(0)!;
  return WIDE.some(([from, to]) => code >= from && code <= to) ? 2 : 1;
}

/** Terminal cells a text takes. */
export function cellWidth(text: string): number {
  let cells = 0;
  for (const character of text) cells += cellsOf(character);
  return cells;
}

/** The text, cut with `…` when it takes more cells than there are. */
export function fitCells(text: string, cellsMax: number): string {
  if (cellWidth(text) <= cellsMax) return text;
  let cells = 1;
  let fitting = '';
  for (const character of text) {
    cells += cellsOf(character);
    if (cells > cellsMax) break;
    fitting += character;
  }
  return `${fitting}…`;
}
