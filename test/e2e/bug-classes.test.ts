/**
 * docs/reference/bug-classes.md against the tests there are: every class has a test or says why not,
 * every test it names exists, and every test that names a class is of one of them.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { allTitles, classesIn, titlesIn } from './test-titles.ts';

const CLASSES = Array.from({ length: 31 }, (_, index) => index + 1);
/** Shorter ones are no reason. */
const REASON_LENGTH_MIN = 60;

const root = join(import.meta.dirname, '..', '..');
const page = readFileSync(join(root, 'docs', 'reference', 'bug-classes.md'), 'utf8');
const titles = allTitles(root);

interface Section {
  readonly tests: readonly { readonly file: string; readonly title: string }[];
  /** What is said beside the tests. */
  readonly reason: string;
}

function sectionOf(number: number): Section | null {
  const start = page.indexOf(`\n### ${number}\n`);
  if (start === -1) return null;
  const end = page.indexOf('\n### ', start + 1);
  const lines = page
    .slice(start, end === -1 ? undefined : end)
    .split('\n')
    .slice(2);
  const tests = lines.flatMap((line) => {
    const [, file, title] = /^- `([^`]+)`: (.+)$/.exec(line) ?? [];
    return file === undefined || title === undefined ? [] : [{ file, title }];
  });
  return {
    tests,
    reason: lines
      .filter((line) => !line.startsWith('- '))
      .join(' ')
      .trim(),
  };
}

t.test('each of the 31 classes has a test, or says why it has none', async (t) => {
  for (const number of CLASSES) {
    t.match(
      page,
      new RegExp(`^\\| \\[${number}\\]\\(#${number}\\) \\| [^|]+ \\| [^|]+ \\|$`, 'm'),
      `row ${number}`,
    );
    const section = sectionOf(number);
    const count = section?.tests.length ?? 0;
    t.ok(
      count > 0 || (section?.reason.length ?? 0) >= REASON_LENGTH_MIN,
      `class ${number}: ${count} tests`,
    );
  }
  t.equal(sectionOf(CLASSES.length + 1), null);
});

t.test('each test the page names is there', async (t) => {
  const named = CLASSES.flatMap((number) => sectionOf(number)?.tests ?? []);
  t.equal(named.length, page.split('\n- ').length - 1, 'no line is left out');
  for (const { file, title } of named) {
    t.ok(titles.get(file)?.includes(title), `${file}: ${title}`);
  }
});

t.test(
  'each class has a test over real sockets with its number in the title, where it can',
  async (t) => {
    // Those that the older suites prove against a whole broker under names of their own, and two that
    // concern nothing yet.
    const elsewhere = [12, 13, 17, 18, 19, 20, 21, 22, 24];
    const found = new Set<number>();
    for (const [file, list] of titles) {
      for (const title of list) {
        for (const number of classesIn(title)) {
          t.ok(CLASSES.includes(number), `${file}: ${title}`);
          if (file.startsWith('test/e2e/')) found.add(number);
        }
      }
    }
    t.strictSame(
      CLASSES.filter((number) => !found.has(number)),
      elsewhere,
    );
  },
);

t.test('titles are read as they are written', async (t) => {
  const source = `
    t.test('plain', async () => {});
    t.test(
      "it's \\"quoted\\"", async () => {});
    t.test(\`a template\`, f); t.test(\`made of \${parts}\`, f);
    both('[MQTT5-1] for two', f); test('another one', f);
  `;
  t.strictSame(titlesIn(source), ['plain', 'it\'s "quoted"', 'a template', '[MQTT5-1] for two']);
  t.strictSame(classesIn('class 7: x'), [7]);
  t.strictSame(classesIn('classes 2 and 26: x'), [2, 26]);
  t.strictSame(classesIn('(FIELD class 31)'), [31]);
  t.strictSame(classesIn('a classic 7'), []);
});
