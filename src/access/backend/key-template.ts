/**
 * The key of a client in Redis, from a template such as `mqtt_user:%u`. A value that could make it the
 * key of something else gives no key: keys are cut by `:` and hash tags by `{}`, so a user named
 * `alice:su` must not reach what belongs to alice.
 */
import { type Lookup, namesIn, parseTemplate, type TemplatePart } from './template.ts';

const VALUE_LENGTH_MAX = 512;
const COLON = 0x3a;
const BRACE_OPEN = 0x7b;
const BRACE_CLOSE = 0x7d;
const DELETE = 0x7f;

export class KeyTemplate {
  readonly #parts: readonly TemplatePart[];
  /** The value ends the key and something stands before it: a `:` in it leads nowhere else. */
  readonly #endsInValue: boolean;

  /**
   * `isRoot`: other keys are made by adding to this one. Throws a TypeError, also when the user name
   * is not in it: then nothing would tie the name to what is found there.
   */
  constructor(prefix: string, template: string, known: readonly string[], isRoot = false) {
    const parts = parseTemplate(template, known);
    if (!namesIn(parts).includes('u')) throw new TypeError('has to hold %u, the user name');
    this.#parts = prefix === '' ? parts : [{ kind: 'text', text: prefix }, ...parts];
    this.#endsInValue = !isRoot && this.#parts.length > 1 && this.#parts.at(-1)?.kind === 'value';
  }

  /** Null: this client can have no key. */
  render(lookup: Lookup): string | null {
    let key = '';
    for (const [index, part] of this.#parts.entries()) {
      if (part.kind === 'text') {
        key += part.text;
        continue;
      }
      const value = lookup(part.name);
      const mayHoldColon = this.#endsInValue && index === this.#parts.length - 1;
      if (value === null || !isSafe(value, mayHoldColon)) return null;
      key += value;
    }
    return key;
  }
}

function isSafe(value: string, mayHoldColon: boolean): boolean {
  if (value.length === 0 || value.length > VALUE_LENGTH_MAX) return false;
  for (let i = 0; i < value.length; i += 1) {
    const code = value.charCodeAt(i);
    if (code < 0x20 || code === DELETE || code === BRACE_OPEN || code === BRACE_CLOSE) return false;
    if (code === COLON && !mayHoldColon) return false;
  }
  return true;
}
