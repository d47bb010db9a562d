/**
 * The JSON Schema that editors use to complete and check configuration files. Printed by
 * `causeway config --schema`; `config/causeway.schema.json` is this, and a test compares them.
 */
import { type JsonSchema, schemaAsJson } from './option-table.ts';

export function editorSchema(): JsonSchema {
  const { $schema, ...root } = plain(schemaAsJson()) as Record<string, unknown>;
  const properties = root.properties as Record<string, Record<string, unknown>>;
  const listeners = properties.listeners!;
  const url = (listeners.items as JsonSchema).properties?.url;
  listeners.items = { anyOf: [{ ...url }, listeners.items] };
  // What the file lacks of this section the environment may supply.
  delete properties.tls?.required;
  return { $schema, title: 'Causeway configuration', ...root };
}

/** Without the `x-` keys; `x-default` becomes what editors know, a section may be left empty. */
function plain(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(plain);
  if (typeof node !== 'object' || node === null) return node;
  const entries = Object.entries(node).flatMap(([key, value]): [string, unknown][] => {
    if (key === 'x-default') return [['default', value]];
    if (key.startsWith('x-')) return [];
    if (key === 'type' && value === 'object') return [['type', ['object', 'null']]];
    return [[key, plain(value)]];
  });
  return Object.fromEntries(entries);
}
