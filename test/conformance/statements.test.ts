/** The table of statements is whole, its tags are right, and the page made of it is current. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { MOSQUITTO } from './known-differences.ts';
import {
  MQTT5_STATEMENTS,
  MQTT311_STATEMENTS,
  readTests,
  renderPage,
  STATEMENTS_PAGE,
  type Statement,
  testsByTag,
} from './statements.ts';

const ALL: readonly Statement[] = [...MQTT5_STATEMENTS, ...MQTT311_STATEMENTS];
const tests = readTests();
const byTag = testsByTag(tests);

/** How many statements each chapter has in appendix B of the specifications. */
const CHAPTER_SIZES = {
  MQTT5: { 1: 5, 2: 7, 3: 175, 4: 60, 6: 4 },
  MQTT311: { 1: 3, 2: 9, 3: 95, 4: 26, 6: 4, 7: 4 },
} as const;

t.test('all statements of the specifications are listed, each once', async (test) => {
  for (const [prefix, sizes] of Object.entries(CHAPTER_SIZES)) {
    const list = ALL.filter(({ tag }) => tag.startsWith(`${prefix}-`));
    const counted: Record<string, number> = {};
    for (const { number } of list) {
      const [chapter = ''] = number.split('.');
      counted[chapter] = (counted[chapter] ?? 0) + 1;
    }
    test.strictSame(counted, { ...sizes }, prefix);
    test.equal(new Set(list.map(({ tag }) => tag)).size, list.length, `${prefix} without doubles`);
  }
});

t.test('every statement that binds a server has a test or a reason', async (test) => {
  for (const { tag, concerns, reason } of ALL) {
    const count = byTag.get(tag)?.length ?? 0;
    if (concerns !== 'client') test.ok(count > 0 || reason !== '', `${tag} has a test or a reason`);
    if (reason !== '') test.equal(count, 0, `${tag} has tests, so it needs no reason`);
  }
});

t.test('every tag in a title is a statement', async (test) => {
  const known = new Set(ALL.map(({ tag }) => tag));
  for (const { file, title, tags } of tests) {
    for (const tag of tags) test.ok(known.has(tag), `${file}: ${tag} in "${title}"`);
  }
  test.ok(tests.length > 200, 'the titles were found');
});

t.test('titles are unique within a file', async (test) => {
  const seen = new Set<string>();
  for (const { file, title } of tests) {
    test.notOk(seen.has(`${file} ${title}`), `${file}: ${title}`);
    seen.add(`${file} ${title}`);
  }
});

t.test('every known difference names a test', async (test) => {
  for (const { titles } of MOSQUITTO) {
    for (const part of titles)
      test.ok(
        tests.some(({ title }) => title.includes(part)),
        part,
      );
  }
});

t.test('docs/reference/mqtt-statements.md is current', async (test) => {
  // Run test/conformance/statements.ts when this fails.
  test.equal(readFileSync(STATEMENTS_PAGE, 'utf8'), renderPage());
});
