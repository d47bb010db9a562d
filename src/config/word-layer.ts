/**
 * Options given as words: environment variables and command-line flags. Values stay text; the leaves
 * of the schema read them. Called by `load.ts`.
 */

import { nearest } from '../util/nearest.ts';
import { formatPath, type Layer, type Path, type Problem, putAt, type Tree } from './layer.ts';
import { type Option, optionTable } from './option-table.ts';

/** Names the configuration file; read by the command line, not an option of the node. */
export const CONFIG_VARIABLE = 'CAUSEWAY_CONFIG';

/** Read by others: `pub`, `sub` and `rr`, the socket side of listeners, the build. */
const otherVariables: ReadonlySet<string> = new Set([
  CONFIG_VARIABLE,
  'CAUSEWAY_PASSWORD',
  'CAUSEWAY_ADMIN_TOKEN',
  'CAUSEWAY_API_TOKEN',
  'CAUSEWAY_API_URL',
  'CAUSEWAY_NO_RAW_TCP',
  'CAUSEWAY_COMMIT',
]);

/** One option given on the command line. */
export interface FlagValue {
  /** As the user wrote it: `--data`. */
  readonly flag: string;
  /** Option it sets: `data`. */
  readonly path: string;
  readonly value: string | readonly string[];
}

export interface WordsRead {
  readonly layer: Layer;
  readonly problems: readonly Problem[];
}

/**
 * What Kubernetes puts into the environment of every pod beside a Service named `causeway` or
 * `causeway-…`; refusing those would keep the broker from starting there.
 */
const serviceLink =
  /^CAUSEWAY_(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/;

export function readEnvironment(environment: NodeJS.ProcessEnv): WordsRead {
  const values: WordValue[] = [];
  const problems: Problem[] = [];
  const options = new Map<string, Option>();
  const ours = Object.keys(environment).filter(
    (name) => name.startsWith('CAUSEWAY_') && !otherVariables.has(name),
  );
  // The table takes a while to make, which most starts can do without.
  for (const option of ours.length === 0 ? [] : optionTable()) {
    if (option.environment !== null) options.set(option.environment, option);
  }
  for (const name of ours) {
    const value = environment[name] ?? '';
    const option = options.get(name);
    if (option !== undefined) values.push({ where: name, path: option.path, value });
    else if (!serviceLink.test(name)) {
      const near = nearest(name, [...options.keys(), CONFIG_VARIABLE]);
      const hint = near === null ? '' : `, did you mean ${near}?`;
      problems.push({ where: name, message: `unknown environment variable${hint}` });
    }
  }
  return { layer: layerOf(values), problems };
}

/** Flags have been checked against the known ones; `--set PATH=VALUE` may still name any option. */
export function readFlags(flags: readonly FlagValue[]): WordsRead {
  const paths = new Map(
    (flags.length === 0 ? [] : optionTable()).map((option) => [option.path, option]),
  );
  const values: WordValue[] = [];
  const problems: Problem[] = [];
  for (const { flag, path, value } of flags) {
    const option = paths.get(path);
    if (option !== undefined && option.environment !== null) {
      values.push({ where: flag, path, value });
      continue;
    }
    const near = nearest(path, paths.keys());
    const hint = near === null ? '' : `, did you mean ${near}?`;
    problems.push({
      where: flag,
      message:
        option === undefined
          ? `unknown option ${path}${hint}`
          : `${path} belongs to one listener: set it in a file`,
    });
  }
  return { layer: layerOf(values), problems };
}

interface WordValue {
  readonly where: string;
  readonly path: string;
  readonly value: string | readonly string[];
}

function layerOf(values: readonly WordValue[]): Layer {
  const tree: Tree = {};
  const origins = new Map<string, string>();
  for (const { where, path, value } of values) {
    putAt(tree, path, value);
    origins.set(path, where);
  }
  const locate = (path: Path): string => {
    for (let length = path.length; length > 0; length -= 1) {
      const found = origins.get(formatPath(path.slice(0, length)));
      if (found !== undefined) return found;
    }
    return [...origins.values()].join(', ');
  };
  return { tree, locate, folder: process.cwd() };
}
