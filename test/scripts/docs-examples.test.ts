// The YAML in README and guides is what a node would take: configurations pass the reader of
// configurations, rules the reader of rules, and everything else is YAML at least. The files they name
// need not exist.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { parse } from 'yaml';
import { AccessError } from '../../src/access/access-error.ts';
import { parseRules } from '../../src/access/acl/load-rules.ts';
import { ConfigError, loadConfig } from '../../src/config/load.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
/** First words of YAML that is for somebody else. */
const foreign = ['scrape_configs:', 'groups:'];

interface Example {
  readonly text: string;
  readonly line: number;
}

/** Blocks of YAML, also within quotes and lists, without what stands before each of their lines. */
function examplesOf(page: string): Example[] {
  const lines = page.split('\n');
  const examples: Example[] = [];
  let open: { prefix: string; line: number; body: string[] } | null = null;
  for (const [index, line] of lines.entries()) {
    const begin = /^([ >]*)```yaml\s*$/.exec(line);
    if (open === null && begin !== null) {
      open = { prefix: begin[1]!, line: index + 2, body: [] };
    } else if (open !== null && line.trimEnd() === `${open.prefix}\`\`\``) {
      examples.push({ text: open.body.join('\n'), line: open.line });
      open = null;
    } else open?.body.push(line.slice(open.prefix.length));
  }
  return examples;
}

/** What is wrong with an example; '': nothing. */
function problemsOf(text: string): string {
  const lines = text.split('\n').filter((line) => !/^\s*(#|$)/.test(line));
  const [first = ''] = lines;
  try {
    if (foreign.some((word) => first.startsWith(word))) parse(text);
    else if (/^- (allow|deny):/.test(first)) run(`rules:\n${text}`);
    else if (first === 'rules:') run(text);
    else loadConfig({ file: join(root, 'example.yaml'), text, environment: {}, flags: [] });
    return '';
  } catch (error) {
    if (error instanceof ConfigError || error instanceof AccessError) return error.message;
    return String(error);
  }
}

function run(rules: string): void {
  const steps = parseRules(`${rules}\n`, 'example.yaml');
  while (steps.next().done !== true);
}

t.test('YAML of README and guides', async (t) => {
  const guides = readdirSync(join(root, 'docs/guides')).map((name) => `docs/guides/${name}`);
  let count = 0;
  for (const page of [
    'README.md',
    'docs/reference/rules.md',
    'docs/reference/limits.md',
    ...guides,
  ]) {
    for (const { text, line } of examplesOf(readFileSync(join(root, page), 'utf8'))) {
      t.equal(problemsOf(text), '', `${page}:${line}`);
      count += 1;
    }
  }
  t.ok(count > 15, `${count} examples`);
});

t.test('what a node would not take is found', async (t) => {
  const page =
    'text\n> ```yaml\n> limits: { packetBytesMax: 1 }\n> ```\n\n  ```yaml\n  - allow: x\n  ```\n';
  const examples = examplesOf(page);
  t.same(
    examples.map(({ line }) => line),
    [3, 7],
  );
  for (const { text } of examples) t.not(problemsOf(text), '', text);
  t.not(problemsOf('authentication: { chain: [jwt] }'), '');
  t.not(problemsOf('nothing: 1'), '');
  t.not(problemsOf('rules:\n  - allow: publish\n'), '');
  t.not(problemsOf('groups: [}'), '');
});
