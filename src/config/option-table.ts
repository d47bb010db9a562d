/**
 * The schema as a flat list of options, for environment variables, origins, suggestions, reload and
 * the reference in docs. Read from the schema's JSON form, so nothing is said twice.
 */
import { z } from 'zod';
import { schema } from './schema.ts';

export type OptionKind = 'number' | 'choice' | 'boolean' | 'text' | 'list' | 'sections';

export interface Option {
  /** `limits.packetBytesMax`; `[]` stands for the entries of a list: `listeners[].url`. */
  readonly path: string;
  readonly kind: OptionKind;
  readonly help: string;
  readonly reloadable: boolean;
  readonly default: unknown;
  readonly unit: string | null;
  readonly minimum: number | null;
  readonly maximum: number | null;
  readonly values: readonly string[];
  /** What a text has to be. */
  readonly expected: string | null;
  /** What a client is told at this bound. */
  readonly told: string | null;
  /** Null where a variable could not say which entry of the list it means. */
  readonly environment: string | null;
}

/** The part of JSON Schema that our schema uses. */
export interface JsonSchema {
  readonly [key: string]: unknown;
  readonly properties?: { readonly [name: string]: JsonSchema };
  readonly items?: JsonSchema;
  readonly description?: string;
}

let json: JsonSchema | null = null;

/** The schema as JSON Schema, with `x-` keys for what JSON Schema has no word for; made once. */
export function schemaAsJson(): JsonSchema {
  json ??= z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonSchema;
  return json;
}

export function environmentName(path: string): string {
  const words = path.replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2').replaceAll('.', '_');
  return `CAUSEWAY_${words.toUpperCase()}`;
}

let table: readonly Option[] | null = null;

/** All options, in the order of the schema; made once, when first asked for. */
export function optionTable(): readonly Option[] {
  table ??= Object.freeze([...optionsOf(schemaAsJson(), '')]);
  return table;
}

function* optionsOf(section: JsonSchema, prefix: string): Generator<Option> {
  for (const [name, node] of Object.entries(section.properties ?? {})) {
    const path = `${prefix}${name}`;
    if (node['x-kind'] !== undefined) yield optionOf(node, path, node['x-kind'] as OptionKind);
    else if (node.properties !== undefined) yield* optionsOf(node, `${path}.`);
    else if (node.items !== undefined) {
      yield optionOf(node, path, 'sections');
      yield* optionsOf(node.items, `${path}[].`);
    }
  }
}

function optionOf(node: JsonSchema, path: string, kind: OptionKind): Option {
  const number = (key: string): number | null => (node[key] as number | undefined) ?? null;
  const string = (key: string): string | null => (node[key] as string | undefined) ?? null;
  return {
    path,
    kind,
    help: node.description ?? '',
    reloadable: node['x-reloadable'] === true,
    default: node['x-default'],
    unit: string('x-unit'),
    minimum: number('x-minimum'),
    maximum: number('x-maximum'),
    values: (node.enum as readonly string[] | undefined) ?? [],
    expected: string('x-expected'),
    told: string('x-told'),
    environment: path.includes('[]') ? null : environmentName(path),
  };
}
