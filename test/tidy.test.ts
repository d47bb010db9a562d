/**
 * The architecture as a test: DESIGN's table of rooms and levels, held against every import of
 * src/, and what the data plane may not call. Each rule is first shown to fire on a made-up tree.
 */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: made-up sources have templates in strings.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import manifest from '../package.json' with { type: 'json' };
import { ScanError, scan } from './support/source-scan.ts';
import { bans, check, type Finding, type House, resolve } from './support/tidy-rules.ts';

const house: House = {
  levels: {
    util: 0,
    wire: 1,
    drivers: 1,
    core: 2,
    client: 2,
    listeners: 3,
    store: 3,
    access: 3,
    quota: 3,
    cluster: 3,
    geo: 3,
    admin: 3,
    config: 4,
    app: 5,
    cli: 6,
  },
  pureRooms: ['util', 'wire', 'core'],
  pureBuiltins: ['node:buffer', 'node:assert'],
  markedRooms: ['listeners'],
  markedInterfaces: ['ByteSink'],
  entries: ['cli/main.ts'],
  schedulerFile: 'listeners/scheduler.ts',
  packages: [...Object.keys(manifest.dependencies), ...Object.keys(manifest.optionalDependencies)],
  exceptions: [
    {
      file: 'core/ports.ts',
      banned: 'Promise',
      reason: 'the type of start and stop, which run before and after all traffic',
    },
    ...['Promise', 'async', 'await'].map((banned) => ({
      file: 'core/broker.ts',
      banned,
      reason: 'start and stop themselves; accept and publish beside them are synchronous',
    })),
  ],
};

const src = fileURLToPath(new URL('../src/', import.meta.url));

function show(finding: Finding): string {
  return `[${finding.rule}] src/${finding.file}:${finding.line} ${finding.message}`;
}

t.test('src/ keeps to the rules', async (t) => {
  const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.ts'),
  );
  const texts = new Map(files.sort().map((file) => [file, readFileSync(`${src}${file}`, 'utf8')]));
  t.ok(texts.size > 0, 'there are sources');
  t.strictSame(check(house, texts).map(show), [], 'nothing found');
});

/** Findings in a made-up tree, with an entry that keeps every other file from being an orphan. */
function findIn(files: Record<string, string>, changes: Partial<House> = {}): string[] {
  const all = Object.keys(files);
  const entry = all.map((file) => `import '../${file}';`).join('\n');
  const texts = new Map(Object.entries({ ...files, 'cli/main.ts': files['cli/main.ts'] ?? entry }));
  const tree: House = { ...house, exceptions: [], ...changes };
  return check(tree, texts).map((finding) => `${finding.rule} ${finding.file}:${finding.line}`);
}

t.test('an import may go down and stay in its room', async (t) => {
  const found = findIn({
    'util/a.ts': "import { b } from './b.ts';\nexport const a = b;",
    'util/b.ts': 'export const b = 1;',
    'wire/c.ts': "import { a } from '../util/a.ts';\nexport const c = a;",
    'core/d.ts': "import type { c } from '../wire/c.ts';\nexport type D = typeof c;",
    'store/memory/e.ts': "import { d } from '../../core/d.ts';\nimport './f.ts';",
    'store/memory/f.ts': 'export const f = 1;',
  });
  t.strictSame(found, []);
});

t.test('an import upward or sideways is found, whatever its form', async (t) => {
  const upward = [
    "import { x } from '../core/x.ts';",
    "import type { x } from '../core/x.ts';",
    "import { type x } from '../core/x.ts';",
    "import * as all from '../core/x.ts';",
    "import '../core/x.ts';",
    "import {\n  x,\n} from '../core/x.ts';",
    'import { x } from "../core/x.ts";',
    "export { x } from '../core/x.ts';\nexport const y = 1;",
    "export * from '../core/x.ts';\nexport const y = 1;",
    "export * as all from '../core/x.ts';\nexport const y = 1;",
    "export type { x } from '../core/x.ts';\nexport const y = 1;",
    "export const load = () => import('../core/x.ts');",
    'export const load = () => import(`../core/x.ts`);',
    "export type Y = import('../core/x.ts').X;",
    "const at = new URL('../core/x.ts', import.meta.url);",
    "import json from '../core/x.ts' with { type: 'json' };",
  ];
  for (const text of upward) {
    const found = findIn({ 'util/a.ts': text, 'core/x.ts': 'export const x = 1;' });
    t.ok(found.includes('layer util/a.ts:1'), text.replaceAll('\n', ' '));
  }
  t.strictSame(
    findIn({
      'store/a.ts': "\nimport { x } from '../admin/x.ts';",
      'wire/b.ts': "import '../drivers/y.ts';",
      'client/c.ts': "// one\n/* two\n three */\nimport '../core/z.ts';",
      'admin/x.ts': 'export const x = 1;',
      'drivers/y.ts': 'export const y = 1;',
      'core/z.ts': "import './../../test/help.ts';",
    }),
    ['layer store/a.ts:2', 'layer wire/b.ts:1', 'layer client/c.ts:4', 'layer core/z.ts:1'],
  );
});

t.test('text that only looks like an import is not one', async (t) => {
  const found = findIn({
    'util/a.ts': [
      "// import '../core/x.ts';",
      "/* import '../core/x.ts'; */",
      'export const a = "import \'../core/x.ts\'";',
      "export const b = `import '../core/x.ts' ${`import '../core/x.ts'`} import '../core/x.ts'`;",
      "export const c = /import '..\\/core\\/x.ts'[/'\"]/g;",
      "export const d = { import: '../core/x.ts', from: '../core/x.ts' };",
      "export const e = d.import + d.from + '../core/x.ts';",
      'export const half = (1 / 2) / 4;',
      "export const third = list[0]! / 2 + one! / 3 + f()! / 4 + n++ / 5 + 'a'.length;",
      'export const no = !/["]/.test(text) && /["]/.test(text);',
    ].join('\n'),
    'core/x.ts': 'export const x = 1;',
  });
  t.strictSame(found, []);
});

t.test('a path computed at run time, a missing file and a file in no room are found', async (t) => {
  t.strictSame(
    findIn({
      'cli/a.ts': "export const load = (n: string) => import(`./${n}.ts`);\nimport './gone.ts';",
      'loose.ts': 'export const loose = 1;',
      'shed/b.ts': 'export const b = 1;',
    }),
    ['import cli/a.ts:1', 'import cli/a.ts:2', 'room loose.ts:1', 'room shed/b.ts:1'],
  );
});

t.test('a cycle is found, types and dynamic imports counted', async (t) => {
  t.strictSame(
    findIn({
      'util/a.ts': "import type { B } from './b.ts';\nexport type A = B;",
      'util/b.ts': "import type { C } from './c.ts';\nexport type B = C;",
      'util/c.ts': "import type { A } from './a.ts';\nexport type C = A;",
      'util/d.ts': "import './a.ts';\nexport const d = 1;",
      'store/e.ts': "export const load = () => import('./f.ts');",
      'store/f.ts': "import './e.ts';\nexport const f = 1;",
      'wire/self.ts': "import './self.ts';\nexport const g = 1;",
    }),
    ['cycle util/a.ts:1', 'cycle store/e.ts:1', 'cycle wire/self.ts:1'],
  );
  const [cycle] = check(
    { ...house, entries: ['util/a.ts'] },
    new Map([
      ['util/a.ts', "import './b.ts';\nexport const a = 1;"],
      ['util/b.ts', "import './a.ts';\nexport const b = 1;"],
    ]),
  );
  t.equal(cycle?.message, 'imports itself: util/a.ts -> util/b.ts -> util/a.ts');
});

t.test('a barrel is found by its name and by its content', async (t) => {
  t.strictSame(
    findIn({
      'util/index.ts': 'export const a = 1;',
      'util/all.ts':
        "/** Everything. */\nexport * from './b.ts';\nexport type { C } from './c.ts';",
      'util/some.ts': "import { b } from './b.ts';\nexport { b };",
      'util/fine.ts': "export { b } from './b.ts';\nexport const fine = true;",
      'util/b.ts': 'export const b = 1;',
      'util/c.ts': 'export interface C {}',
    }),
    ['barrel util/index.ts:1', 'barrel util/all.ts:1', 'barrel util/some.ts:1'],
  );
});

t.test('a file nobody imports is found; entries and workers are not', async (t) => {
  t.strictSame(
    findIn({
      'cli/main.ts':
        "import './run.ts';\nnew Worker(new URL('./worker.ts', import.meta.url), { name: 'w' });",
      'cli/run.ts': 'export const run = 1;',
      'cli/worker.ts': 'postMessage(1);',
      'cli/old.ts': "import './worker.ts';\nnew URL('./old.ts', import.meta.url);",
    }),
    ['orphan cli/old.ts:1'],
  );
});

t.test('pure rooms have no packages and few builtins, the others what is listed', async (t) => {
  t.strictSame(
    findIn(
      {
        'core/a.ts': [
          "import assert from 'node:assert';",
          "import { Buffer } from 'node:buffer';",
          "import type { Socket } from 'node:net';",
          "import { z } from 'zod';",
        ].join('\n'),
        'store/b.ts': [
          "import { open } from 'node:fs/promises';",
          "import { Thing } from '@scope/listed/deep.js';",
          "import { Other } from '@scope/unlisted';",
          "import type tap from 'tap';",
        ].join('\n'),
      },
      { packages: ['@scope/listed'] },
    ),
    ['builtin core/a.ts:3', 'package core/a.ts:4', 'package store/b.ts:3', 'package store/b.ts:4'],
  );
});

t.test('what the data plane may not call is found', async (t) => {
  const banned: Record<string, readonly string[]> = {
    async: [
      'async function f() {}',
      'const f = async () => 1;',
      'const f = async (x) => 1;',
      'const f = async x => 1;',
      'class A { async run() {} }',
      'const o = { async *all() {} };',
      'class A { async [name]() {} }',
      'const f = async <T>(x: T) => x;',
    ],
    await: ['await store.append(batch);', 'for await (const x of y) {}'],
    Promise: ['new Promise(run);', 'Promise.resolve();', 'let later: Promise<void>;'],
    EventEmitter: ['class A extends EventEmitter {}', 'new EventEmitter();'],
    'process.nextTick': ['process.nextTick(f);', 'process?.nextTick(f);'],
    queueMicrotask: ['queueMicrotask(f);'],
    setTimeout: ['setTimeout(f, 10);'],
    setInterval: ['setInterval(f, 10);'],
    'Date.now': ['const now = Date.now();', 'const { t = Date.now() } = x;'],
    'new Date': ['const d = new Date();'],
    'performance.now': ['const now = performance.now();'],
    'Math.random': ['const x = Math\n  .random();'],
    JSON: ['JSON.parse(text);', 'const s = `${JSON.stringify(x)}`;'],
    'argument spread': [
      'f(...list);',
      'new F(1, ...list);',
      'list.push(...more);',
      'f(...list.map((x) => x));',
      'f(...[1, 2]);',
      'const x = ok ? f(...list) : 0;',
      'f((x) => x, ...list);',
      'f(`${g(...list)}`);',
    ],
    'Buffer.concat': ['Buffer.concat([a, b]);'],
  };
  t.strictSame(
    Object.keys(banned).sort(),
    bans.map((ban) => ban.name).sort(),
    'each ban has a case here',
  );
  for (const [name, cases] of Object.entries(banned)) {
    for (const text of cases) {
      for (const room of house.pureRooms) {
        const texts = new Map([[`${room}/a.ts`, `\n${text}`]]);
        const found = check({ ...house, entries: [`${room}/a.ts`] }, texts);
        t.match(found, [{ rule: 'data plane', line: /^[23]$/ }], `${room}: ${text}`);
        t.ok(
          found.some((finding) => finding.message.startsWith(`uses ${name}; use `)),
          `${name} is named with its replacement`,
        );
      }
    }
  }
});

t.test('what only resembles a banned call is left alone', async (t) => {
  const found = findIn({
    'core/a.ts': [
      '// async Promise JSON.parse(x) f(...list) Date.now()',
      "export const a = 'await new Promise(Buffer.concat) Math.random()';",
      'export const b = [...list, ...more];',
      'export const c = { ...defaults, ...given };',
      'export function d(...rest: number[]): number { return rest.length; }',
      'export const e = (...rest: number[]) => rest.length;',
      'export const f: (...rest: unknown[]) => void = (...rest) => use(rest);',
      'export type G = (...rest: unknown[]) => void;',
      'export const h = { async: true, await: 1 };',
      'export const i = options.async && scheduler.setImmediate && socket.setTimeout(1);',
      'export const j = use([...list], { ...given });',
      'export const k = clock.now() + random.next() + Math.floor(1) + Buffer.from(text).length;',
      'export type L = readonly [first: number, ...rest: number[]];',
    ].join('\n'),
  });
  t.strictSame(found, []);
});

t.test('only marked files of the listeners are data plane', async (t) => {
  const text = 'export const now = Date.now();\nsetTimeout(stop, 10);\n';
  t.strictSame(
    findIn({
      'listeners/a.ts': `/**\n * Data plane: writes to sockets.\n */\n${text}`,
      'listeners/b.ts': `// Reads sockets; part of the data\n// plane.\n${text}`,
      'listeners/c.ts': `/** Opens ports. */\n${text}/* no data plane */`,
      'admin/d.ts': `/** Not the data plane. */\n${text}`,
    }),
    ['data plane listeners/a.ts:4', 'data plane listeners/b.ts:3'],
  );
});

t.test('a listener file that writes to sockets has to be marked', async (t) => {
  t.strictSame(
    findIn({
      'listeners/a.ts': '/** A sink. */\nexport class A implements Other, ByteSink {}',
      'listeners/b.ts': '/** Data plane: a sink. */\nexport class B implements ByteSink {}',
      'listeners/c.ts': 'export class C implements Other { sink: ByteSink; }',
    }),
    ['unmarked listeners/a.ts:2'],
  );
});

t.test('setImmediate is for one file alone', async (t) => {
  t.strictSame(
    findIn({
      [house.schedulerFile]: 'export const later = (f: () => void) => setImmediate(f);',
      'admin/a.ts': 'setImmediate(run);',
      'store/b.ts': "import { setImmediate } from 'node:timers/promises';",
      'core/c.ts': 'setImmediate(run);',
    }),
    ['setImmediate admin/a.ts:1', 'setImmediate store/b.ts:1', 'setImmediate core/c.ts:1'],
  );
});

t.test(
  'an exception holds for one file and one thing, and ends when it is not needed',
  async (t) => {
    const exceptions = [
      { file: 'core/a.ts', banned: 'Promise', reason: 'a type' },
      { file: 'core/b.ts', banned: 'Promise', reason: 'no longer true' },
    ];
    t.strictSame(
      findIn(
        {
          'core/a.ts': 'export type A = Promise<void>;\nexport const now = Date.now();',
          'core/b.ts': 'export const b = 1;',
          'core/c.ts': 'export type C = Promise<void>;',
        },
        { exceptions },
      ),
      ['data plane core/a.ts:2', 'data plane core/c.ts:1', 'exception core/b.ts:1'],
    );
  },
);

t.test('a text that cannot be read is refused, not passed over', async (t) => {
  t.strictSame(findIn({ 'util/a.ts': "\nconst a = 'open\n" }), ['unreadable util/a.ts:2']);
  t.throws(() => scan('const a = `open'), ScanError);
  t.throws(() => scan('const a = /open\n'), ScanError);
  t.throws(() => scan('/* open'), ScanError);
});

t.test('paths resolve as Node resolves them', async (t) => {
  t.equal(resolve('a/b/c.ts', './d.ts'), 'a/b/d.ts');
  t.equal(resolve('a/b/c.ts', '../d.ts'), 'a/d.ts');
  t.equal(resolve('a/c.ts', '../../package.json'), '../package.json');
  t.equal(resolve('a/c.ts', '../../../x.ts'), '../../x.ts');
});
