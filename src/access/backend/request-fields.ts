/**
 * What is sent to an HTTP service: fields `name=template`, as a JSON object, a form or a query. Values
 * are encoded by the format, so nothing a client is called can become another field.
 */
import { type Lookup, namesIn, parseTemplate, type TemplatePart } from './template.ts';

interface Field {
  readonly name: string;
  readonly parts: readonly TemplatePart[];
}

export class RequestFields {
  readonly #fields: readonly Field[];
  /** Every placeholder that occurs. */
  readonly names: ReadonlySet<string>;

  /** Throws a TypeError that names the field. */
  constructor(fields: readonly string[], known: readonly string[]) {
    this.#fields = fields.map((text) => {
      const equals = text.indexOf('=');
      if (equals < 1) throw new TypeError('a field is not NAME=TEMPLATE');
      const name = text.slice(0, equals);
      try {
        return { name, parts: parseTemplate(text.slice(equals + 1), known) };
      } catch (error) {
        throw new TypeError(`field ${name}: ${(error as Error).message}`);
      }
    });
    const twice = this.#fields.find(({ name }, at) => {
      return this.#fields.findIndex((other) => other.name === name) !== at;
    });
    if (twice !== undefined) throw new TypeError(`field ${twice.name} is there twice`);
    this.names = new Set(this.#fields.flatMap(({ parts }) => namesIn(parts)));
  }

  /** What the client does not have is null, or '' within a longer text. */
  json(lookup: Lookup): string {
    const members = this.#fields.map(({ name, parts }) => {
      return `${JSON.stringify(name)}:${JSON.stringify(expand(parts, lookup))}`;
    });
    return `{${members.join(',')}}`;
  }

  /** `a=1&b=2`, for a body or a query; what the client does not have is ''. */
  form(lookup: Lookup): string {
    return this.#fields
      .map(({ name, parts }) => {
        const value = expand(parts, lookup) ?? '';
        // A lone surrogate cannot be encoded; MQTT lets none in, a token might.
        return `${encodeURIComponent(name)}=${encodeURIComponent(value.toWellFormed())}`;
      })
      .join('&');
  }
}

function expand(parts: readonly TemplatePart[], lookup: Lookup): string | null {
  const [first] = parts;
  if (parts.length === 1 && first?.kind === 'value') return lookup(first.name);
  let text = '';
  for (const part of parts) text += part.kind === 'text' ? part.text : (lookup(part.name) ?? '');
  return text;
}
