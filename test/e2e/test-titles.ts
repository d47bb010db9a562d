/** Titles of the tests in a source file, as far as they are written out. Used by `bug-classes.test.ts`. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';

/** `t.test('…'`, and `both('…'` and its like of the conformance tests; not what is made at run time. */
const call =
  /\b(?:t\.test|both|every|v5|v311|v31)\(\s*(?:'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\$]|\\.)*)`)/g;

export function titlesIn(source: string): string[] {
  return [...source.matchAll(call)].map(([, single, double, template]) => {
    const text = single ?? double ?? template ?? '';
    return text.replace(/\\(.)/g, '$1');
  });
}

/** By path below `root`, with `/`. */
export function allTitles(root: string): Map<string, readonly string[]> {
  const titles = new Map<string, readonly string[]>();
  const names = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' });
  for (const name of names.sort()) {
    if (!name.endsWith('.test.ts')) continue;
    const path = join(root, 'test', name);
    titles.set(relative(root, path), titlesIn(readFileSync(path, 'utf8')));
  }
  return titles;
}

/** Numbers of the bug classes that a title names: `class 7: …`, `FIELD class 7 …`, `classes 2 and 26: …`. */
export function classesIn(title: string): number[] {
  const found = /\bclass(?:es)? (\d+)(?: and (\d+))?\b/.exec(title);
  return (found?.slice(1) ?? []).filter((text) => text !== undefined).map(Number);
}
