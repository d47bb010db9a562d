/**
 * The configuration in force as a flat list with the origin of each value, for the API. What is secret
 * is in files of its own; passwords in URLs are masked.
 */
import type { ShownOption } from '../admin/api/ports.ts';
import type { Config } from '../config/config.ts';
import { withoutSecrets } from '../config/effective.ts';
import type { Path } from '../config/layer.ts';

export function shownOptions(config: Config, originOf: (path: Path) => string): ShownOption[] {
  const options: ShownOption[] = [];
  const walk = (value: unknown, path: Path): void => {
    if (value === undefined) return;
    if (isLeaf(value)) {
      options.push({ path: path.join('.'), value, origin: originOf(path) });
      return;
    }
    for (const [name, inner] of Object.entries(value as object)) {
      walk(inner, [...path, Array.isArray(value) ? Number(name) : name]);
    }
  };
  walk(withoutSecrets(config), []);
  return options;
}

function isLeaf(value: unknown): value is ShownOption['value'] {
  if (typeof value !== 'object' || value === null) return true;
  return Array.isArray(value) && value.every((entry) => typeof entry !== 'object');
}
