// Every link between the project's own pages leads somewhere: relative links to files that exist, and
// anchors to headings that are there. What is outside (http, mailto) is not asked.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = fileURLToPath(new URL('../../', import.meta.url));
const folders = ['docs', 'bench', 'config', 'src', 'test', 'scripts'];

function pages(): string[] {
  const top = readdirSync(root).filter((name) => name.endsWith('.md'));
  const below = folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.md') && !/(^|\/)(node_modules|\.)/.test(name))
      .map((name) => join(folder, name)),
  );
  return [...top, ...below].map((name) => join(root, name));
}

interface Link {
  readonly target: string;
  readonly line: number;
}

/** `[text](target)`, `[text]: target`, and `<a href="target">`. */
function linksOf(text: string): Link[] {
  // What is shown as code is no link.
  const source = text.replace(/^[ >]*```[\s\S]*?^[ >]*```$/gm, (block) =>
    block.replace(/[^\n]/g, ' '),
  );
  const inline = source.replace(/`[^`\n]*`/g, (code) => '`'.repeat(code.length));
  const patterns = [
    /\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g,
    /^\s{0,3}\[[^\]]+\]:\s*<?(\S+?)>?(?:\s|$)/gm,
    /<a\s+href="([^"]+)"/g,
  ];
  return patterns.flatMap((pattern) =>
    Array.from(inline.matchAll(pattern), (match) => ({
      target: match[1]!,
      line: inline.slice(0, match.index).split('\n').length,
    })),
  );
}

/** As GitHub makes them of headings. */
function anchorsOf(text: string): Set<string> {
  const anchors = new Set<string>();
  const seen = new Map<string, number>();
  let isCode = false;
  for (const line of text.split('\n')) {
    if (/^\s*(```|~~~)/.test(line)) isCode = !isCode;
    const heading = isCode ? null : /^#{1,6}\s+(.+?)\s*#*\s*$/.exec(line);
    if (heading === null) continue;
    const slug = heading[1]!
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\p{M}_ -]/gu, '')
      .replaceAll(' ', '-');
    const times = seen.get(slug) ?? 0;
    seen.set(slug, times + 1);
    anchors.add(times === 0 ? slug : `${slug}-${times}`);
  }
  for (const [, id] of text.matchAll(/<a\s+(?:id|name)="([^"]+)"/g)) anchors.add(id!);
  return anchors;
}

/** What is wrong with the links of a page. */
function problemsOf(page: string, text: string, anchors: (file: string) => Set<string>): string[] {
  const problems: string[] = [];
  for (const { target, line } of linksOf(text)) {
    if (/^[a-z][a-z0-9+.-]*:/i.test(target) || target.startsWith('//')) continue;
    const [path = '', anchor] = target.split('#', 2) as [string, string?];
    const file = path === '' ? page : resolve(dirname(page), decodeURIComponent(path));
    const where = `${relative(root, page)}:${line}`;
    if (!file.startsWith(root)) problems.push(`${where}: ${target} leads out of the project`);
    else if (!existsSync(file)) problems.push(`${where}: ${target} does not exist`);
    else if (anchor !== undefined && (statSync(file).isDirectory() || !file.endsWith('.md'))) {
      problems.push(`${where}: ${target} has an anchor, but is no page`);
    } else if (anchor !== undefined && !anchors(file).has(anchor)) {
      problems.push(`${where}: ${target} has no such heading`);
    }
  }
  return problems;
}

t.test('links of all pages', async (t) => {
  const known = new Map<string, Set<string>>();
  const anchors = (file: string): Set<string> => {
    const found = known.get(file) ?? anchorsOf(readFileSync(file, 'utf8'));
    known.set(file, found);
    return found;
  };
  const all = pages();
  t.ok(all.length > 20, `${all.length} pages`);
  let links = 0;
  for (const page of all) {
    const text = readFileSync(page, 'utf8');
    links += linksOf(text).length;
    t.same(problemsOf(page, text, anchors), [], relative(root, page));
  }
  t.ok(links > 100, `${links} links`);
});

t.test('every guide can be found from the README', async (t) => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const targets = new Set(linksOf(readme).map(({ target }) => target.split('#', 1)[0]));
  for (const name of readdirSync(join(root, 'docs/guides'))) {
    t.ok(targets.has(`docs/guides/${name}`), name);
  }
});

t.test('what is broken is found', async (t) => {
  const page = join(root, 'README.md');
  const anchors = (): Set<string> => anchorsOf('# A heading\n## Again\n## Again\n');
  const find = (text: string): string[] => problemsOf(page, text, anchors);
  t.same(find('[a](README.md) [b](docs) [c](https://example.org/x) [d](mailto:a@b.example)'), []);
  t.same(find('[a](#a-heading) [b](README.md#again-1)'), []);
  t.same(find('`[a](nowhere.md)`\n```\n[b](nowhere.md)\n```\n'), []);
  t.same(find('text\n\n[a](nowhere.md)'), ['README.md:3: nowhere.md does not exist']);
  t.same(find('[a](#another)'), ['README.md:1: #another has no such heading']);
  t.same(find('[a](package.json#x)'), [
    'README.md:1: package.json#x has an anchor, but is no page',
  ]);
  t.same(find('[a](../elsewhere.md)'), ['README.md:1: ../elsewhere.md leads out of the project']);
  t.same(find('[a]: nowhere.md'), ['README.md:1: nowhere.md does not exist']);
  t.same([...anchorsOf('## `GET /node` & *more*, (x)\n```\n# no\n```\n')], ['get-node--more-x']);
});
