/**
 * One source of options: the file, the environment or the flags. A layer holds the raw values as a
 * tree shaped like the schema, and knows where each was written. `load.ts` checks and merges layers.
 */

export type PathPart = string | number;
export type Path = readonly PathPart[];

export interface Tree {
  [name: string]: unknown;
}

export interface Layer {
  readonly tree: Tree;
  /**
   * Where the value at this path was written: `edge.yaml:3:7`, `CAUSEWAY_DATA` or `--data`. With
   * `atKey`, where its name was written.
   */
  locate(path: Path, atKey?: boolean): string;
  /** Folder that relative file names of this layer are relative to. */
  readonly folder: string;
}

/** What is wrong, and where. */
export interface Problem {
  readonly where: string;
  readonly message: string;
}

export function formatProblem(problem: Problem): string {
  return problem.where === '' ? problem.message : `${problem.where}: ${problem.message}`;
}

/** `listeners[0].tls.certFile` */
export function formatPath(path: Path): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else text += text === '' ? part : `.${part}`;
  }
  return text;
}

export function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The value at a path of own properties; undefined when there is none. */
export function valueAt(tree: unknown, path: Path): unknown {
  let value = tree;
  for (const part of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part))
      return undefined;
    value = (value as Record<PathPart, unknown>)[part];
  }
  return value;
}

/** Puts a value at a dotted path; sections are made on the way. */
export function putAt(tree: Tree, dotted: string, value: unknown): void {
  const names = dotted.split('.');
  const last = names.pop()!;
  let section = tree;
  for (const name of names) {
    const next = section[name];
    if (isTree(next)) section = next;
    else {
      const made: Tree = {};
      section[name] = made;
      section = made;
    }
  }
  section[last] = value;
}

/** Later trees win; sections are merged, lists and values replaced. */
export function mergeTrees(trees: readonly Tree[]): Tree {
  const merged = new Map<string, unknown>();
  for (const tree of trees) {
    for (const [name, value] of Object.entries(tree)) {
      const below = merged.get(name);
      merged.set(name, isTree(value) && isTree(below) ? mergeTrees([below, value]) : value);
    }
  }
  return Object.fromEntries(merged) as Tree;
}
