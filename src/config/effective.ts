/**
 * Shows a loaded configuration with the origin of every value, as YAML that is itself a valid
 * configuration file. For `causeway config`.
 */
import { Document, isMap, isScalar, isSeq, type Node } from 'yaml';
import type { Path } from './layer.ts';
import type { LoadedConfig } from './load.ts';
import { withoutUrlSecrets } from './url-secrets.ts';

/** YAML with a comment at each value that says where it comes from. */
export function renderEffective(loaded: LoadedConfig): string {
  const document = new Document(withoutSecrets(loaded.config));
  annotate(document.contents as Node, [], loaded);
  return document.toString({ lineWidth: 0 });
}

/** Passwords and queries of URLs are not for screens; other secrets are in files of their own. */
export function withoutSecrets(value: unknown): unknown {
  if (typeof value === 'string') return withoutUrlSecrets(value);
  if (Array.isArray(value)) return value.map(withoutSecrets);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([name, inner]) => [name, withoutSecrets(inner)]);
  return Object.fromEntries(entries);
}

function annotate(node: Node, path: Path, loaded: LoadedConfig): void {
  if (isMap(node)) {
    for (const pair of node.items) {
      const name = isScalar(pair.key) ? String(pair.key.value) : String(pair.key);
      annotate(pair.value as Node, [...path, name], loaded);
    }
  } else if (isSeq(node)) {
    for (const [index, item] of node.items.entries()) {
      annotate(item as Node, [...path, index], loaded);
    }
  } else node.comment = ` ${loaded.originOf(path)}`;
}
