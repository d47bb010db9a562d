/**
 * Shows a loaded configuration with the origin of every value: as a list for the HTTP API, and as
 * YAML that is itself a valid configuration file for `causeway config`.
 */
import { Document, isMap, isScalar, isSeq, type Node } from 'yaml';
import { formatPath, type Path } from './layer.ts';
import type { LoadedConfig } from './load.ts';

export interface EffectiveOption {
  readonly path: string;
  readonly value: unknown;
  /** `default`, `edge.yaml:3:7`, `CAUSEWAY_DATA` or `--data`. */
  readonly origin: string;
}

export function effectiveOptions(loaded: LoadedConfig): EffectiveOption[] {
  return [...leavesOf(loaded.config, [])].map(({ path, value }) => ({
    path: formatPath(path),
    value,
    origin: loaded.originOf(path),
  }));
}

function* leavesOf(value: unknown, path: Path): Generator<{ path: Path; value: unknown }> {
  if (typeof value !== 'object' || value === null) {
    if (value !== undefined) yield { path, value };
    return;
  }
  for (const [name, inner] of Object.entries(value)) {
    yield* leavesOf(inner, [...path, Array.isArray(value) ? Number(name) : name]);
  }
}

/** YAML with a comment at each value that says where it comes from. */
export function renderEffective(loaded: LoadedConfig): string {
  const document = new Document(loaded.config);
  annotate(document.contents as Node, [], loaded);
  return document.toString({ lineWidth: 0 });
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
