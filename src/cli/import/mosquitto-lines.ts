/**
 * Reads mosquitto's configuration as mosquitto 2.0 does: `name value` lines, `#` in the first column,
 * and the `*.conf` files of `include_dir` in byte order. Knows no option but `include_dir`.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

export interface Directive {
  /** `file:line`. */
  readonly where: string;
  /** Each file begins with the default listener again. */
  readonly file: string;
  readonly name: string;
  readonly value: string;
}

/** A file of the original cannot be read: nothing can be imported. */
export class ImportError extends Error {
  override readonly name: string = 'ImportError';
}

const FILE_BYTES_MAX = 4 * 1024 * 1024;
const FILES_MAX = 1000;

/** All lines in the order mosquitto reads them; `folder` is what relative names are relative to. */
export function readDirectives(file: string, folder: string): Directive[] {
  const directives: Directive[] = [];
  for (const directive of parseFile(file)) {
    if (directive.name !== 'include_dir') {
      directives.push(directive);
      continue;
    }
    for (const included of includedFiles(directive, folder)) {
      for (const inner of parseFile(included)) {
        // mosquitto follows it in the main file only.
        if (inner.name !== 'include_dir') directives.push(inner);
      }
    }
  }
  return directives;
}

function parseFile(file: string): Directive[] {
  const directives: Directive[] = [];
  for (const [index, raw] of readText(file).split(/\r?\n/).entries()) {
    if (raw.startsWith('#')) continue;
    const line = raw.replace(/[ \t\r]+$/, '').replace(/^ +/, '');
    if (line === '') continue;
    const space = line.indexOf(' ');
    const name = space === -1 ? line : line.slice(0, space);
    const value = space === -1 ? '' : line.slice(space + 1).replace(/^[ \t]+/, '');
    directives.push({ where: `${file}:${index + 1}`, file, name, value });
  }
  return directives;
}

function readText(file: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    throw new ImportError(`${file}: cannot be read: ${(error as NodeJS.ErrnoException).code}`);
  }
  if (bytes.length > FILE_BYTES_MAX) {
    throw new ImportError(`${file}: is larger than ${FILE_BYTES_MAX} bytes`);
  }
  if (bytes.includes(0)) throw new ImportError(`${file}: is not text`);
  return bytes.toString('utf8');
}

function includedFiles({ where, value }: Directive, folder: string): string[] {
  const directory = resolve(folder, value);
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    throw new ImportError(`${where}: include_dir: ${(error as Error).message}`);
  }
  const files = names.filter((name) => name.endsWith('.conf')).sort(compareNames);
  if (files.length > FILES_MAX) throw new ImportError(`${where}: more than ${FILES_MAX} files`);
  return files.map((name) => join(directory, name));
}

/** As mosquitto's manual says: `00 01 A a B b`. */
function compareNames(left: string, right: string): number {
  const [a, b] = [left.toLowerCase(), right.toLowerCase()];
  if (a !== b) return a < b ? -1 : 1;
  return left < right ? -1 : left > right ? 1 : 0;
}
