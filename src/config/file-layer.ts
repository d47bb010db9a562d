/**
 * Reads a YAML configuration file into a layer that can say line and column of every value. Knows
 * YAML and positions; what the values mean is checked by `load.ts`.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { isTree, type Layer, type Path, type Problem, type Tree } from './layer.ts';
import { type JsonSchema, schemaAsJson } from './option-table.ts';

/** No honest configuration is larger. */
const FILE_BYTES_MAX = 4 * 1024 * 1024;

export interface FileRead {
  readonly layer: Layer | null;
  readonly problems: readonly Problem[];
}

export function readConfigFile(name: string): FileRead {
  const refuse = (message: string): FileRead => ({
    layer: null,
    problems: [{ where: name, message }],
  });
  let bytes: Buffer;
  try {
    bytes = readFileSync(name);
  } catch (error) {
    return refuse(`cannot be read: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  }
  if (bytes.length > FILE_BYTES_MAX) return refuse(`is larger than ${FILE_BYTES_MAX} bytes`);
  try {
    return parseConfigText(new TextDecoder('utf-8', { fatal: true }).decode(bytes), name);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return refuse('is not UTF-8 text');
  }
}

/** `name` is what positions are printed with, and its folder what file names are relative to. */
export function parseConfigText(text: string, name: string): FileRead {
  const lines = new LineCounter();
  const position = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${name}:${line}:${col}`;
  };
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
  });
  const problems = [...document.errors, ...document.warnings].map((error) => ({
    where: position(error.pos[0]),
    message:
      error.code === 'MULTIPLE_DOCS'
        ? 'expected one document, found a second'
        : error.message.split('\n')[0]!.trim(),
  }));
  if (problems.length > 0) return { layer: null, problems };

  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 }) ?? {};
  } catch (error) {
    return { layer: null, problems: [{ where: name, message: (error as Error).message }] };
  }
  if (!isTree(value)) {
    return {
      layer: null,
      problems: [{ where: position(0), message: 'expected options, such as `data: ./data`' }],
    };
  }

  const root = document.contents as Node | null;
  const locate = (path: Path, atKey = false): string => position(offsetOf(root, path, atKey));
  const tree = withoutEmptySections(value, schemaAsJson());
  return { layer: { tree, locate, folder: dirname(resolve(name)) }, problems: [] };
}

/** Offset of the node at the path, or of the nearest one above it that exists. */
function offsetOf(root: Node | null, path: Path, atKey: boolean): number {
  let node = root;
  let offset = root?.range?.[0] ?? 0;
  for (const part of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && item.key.value === part);
      if (pair === undefined) return offset;
      const key = pair.key as Node;
      const value = pair.value as Node | null;
      const isEmpty = value === null || (isScalar(value) && value.source === '');
      offset = (atKey || isEmpty ? key.range?.[0] : value.range?.[0]) ?? offset;
      node = value;
    } else if (isSeq(node)) {
      node = (node.items[Number(part)] as Node | undefined) ?? null;
      offset = node?.range?.[0] ?? offset;
    } else return offset;
  }
  return offset;
}

/** A section whose lines are all commented out is null in YAML; here it is an empty section. */
function withoutEmptySections(value: Tree, schema: JsonSchema): Tree {
  const entries = Object.entries(value).map(([name, inner]): [string, unknown] => {
    const below = Object.hasOwn(schema.properties ?? {}, name)
      ? schema.properties?.[name]
      : undefined;
    if (below?.properties === undefined) return [name, inner];
    if (inner === null) return [name, {}];
    return [name, isTree(inner) ? withoutEmptySections(inner, below) : inner];
  });
  return Object.fromEntries(entries);
}
