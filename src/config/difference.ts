/**
 * What a reload changes: which options differ, and which of them a running node can take over. Knows
 * the option table only; `app` applies the changes.
 */
import type { Config } from './config.ts';
import { optionTable } from './option-table.ts';

export interface Difference {
  /** Paths that differ and take effect by the reload. */
  readonly applied: readonly string[];
  /** Paths that differ and wait for the next start. */
  readonly needsRestart: readonly string[];
}

/** Compares option by option; listeners are told apart by their URL, not by their place. */
export function compareConfigs(before: Config, after: Config): Difference {
  const reloadable = new Map(optionTable().map((option) => [option.path, option.reloadable]));
  const applied: string[] = [];
  const needsRestart: string[] = [];
  const left = flatten(before);
  const right = flatten(after);
  const differing = new Set(
    [...left.keys(), ...right.keys()].filter((path) => left.get(path) !== right.get(path)),
  );
  for (const path of differing) {
    const [listener] = /^listeners\[.*\](?=\.[a-zA-Z.]+$)/.exec(path) ?? [];
    // A listener that comes or goes is one change, not one for each of its options.
    const isWhole = listener !== undefined && differing.has(`${listener}.url`);
    if (isWhole && path !== `${listener}.url`) continue;
    if (isWhole) needsRestart.push(listener);
    else if (reloadable.get(optionPathOf(path)) === true) applied.push(path);
    else needsRestart.push(path);
  }
  return { applied, needsRestart };
}

/** `listeners[mqtt://…].tls.certFile` gives `listeners[].tls.certFile`, the row of the table. */
function optionPathOf(path: string): string {
  return path.replace(/^listeners\[.*\](?=\.[a-zA-Z.]+$)/, 'listeners[]');
}

/** Every value as text under its path; lists of texts are one value. */
function flatten(config: Config): Map<string, string> {
  const values = new Map<string, string>();
  const put = (prefix: string, section: object): void => {
    for (const [name, value] of Object.entries(section)) {
      if (value === undefined) continue;
      const isSection = typeof value === 'object' && value !== null && !Array.isArray(value);
      if (isSection) put(`${prefix}${name}.`, value as object);
      else values.set(`${prefix}${name}`, JSON.stringify(value));
    }
  };
  const { listeners, ...rest } = config;
  put('', rest);
  const seen = new Map<string, number>();
  for (const listener of listeners) {
    const count = (seen.get(listener.url) ?? 0) + 1;
    seen.set(listener.url, count);
    put(`listeners[${listener.url}${count === 1 ? '' : `#${count}`}].`, listener);
  }
  return values;
}
