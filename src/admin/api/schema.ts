/**
 * Small builders of JSON Schema for the route table: every object lists its members and takes no
 * others, every member says what it is.
 */

export interface JsonSchema {
  readonly [keyword: string]: unknown;
}

export type Properties = Readonly<Record<string, JsonSchema>>;

export function string(description: string, more: JsonSchema = {}): JsonSchema {
  return { type: 'string', description, ...more };
}

export function integer(description: string, more: JsonSchema = {}): JsonSchema {
  return { type: 'integer', description, ...more };
}

export function number(description: string): JsonSchema {
  return { type: 'number', description };
}

export function boolean(description: string): JsonSchema {
  return { type: 'boolean', description };
}

export function oneOf(description: string, values: readonly (string | number)[]): JsonSchema {
  const type = typeof values[0] === 'number' ? 'integer' : 'string';
  return { type, description, enum: [...values] };
}

export function always(value: string): JsonSchema {
  return { type: 'string', const: value };
}

/** The schema, or null. For schemas of one plain type only. */
export function nullable(schema: JsonSchema): JsonSchema {
  return { ...schema, type: [schema.type, 'null'] };
}

/** An object, or null. */
export function orNull(schema: JsonSchema): JsonSchema {
  return { anyOf: [schema, { type: 'null' }] };
}

export function list(description: string, items: JsonSchema, more: JsonSchema = {}): JsonSchema {
  return { type: 'array', description, items, ...more };
}

/** An object with exactly these members; those in `optional` may be absent. */
export function object(
  description: string,
  properties: Properties,
  optional: readonly string[] = [],
): JsonSchema {
  const required = Object.keys(properties).filter((name) => !optional.includes(name));
  return {
    type: 'object',
    description,
    properties,
    ...(required.length === 0 ? {} : { required }),
    additionalProperties: false,
  };
}

/** A schema of the document's components. */
export function named(name: string): JsonSchema {
  return { $ref: `#/components/schemas/${name}` };
}

/** What every list answers. */
export function page(items: JsonSchema): JsonSchema {
  return object('One page of a list.', {
    items: list('In no particular order.', items),
    cursor: nullable(
      string('Hand it in as `cursor` for the next page; null: this was the last one.'),
    ),
  });
}
