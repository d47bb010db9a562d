// Builds a small program as the broker is built and runs it as a user does: from an empty folder,
// with no Node on the path. What matters: the store's native part works from inside, wherever it
// can be written out; NODE_OPTIONS does not reach in; nothing is left behind.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import manifest from '../../package.json' with { type: 'json' };
import { build } from '../../scripts/build.ts';

const manifestPath = fileURLToPath(new URL('../../package.json', import.meta.url));
const program = `
import { ClassicLevel } from 'classic-level';
import manifest from '${manifestPath}' with { type: 'json' };
declare const CAUSEWAY_COMMIT: string;

async function main(folder: string): Promise<void> {
  const db = new ClassicLevel<string, string>(folder);
  await db.batch([{ type: 'put', key: 'k', value: 'kept' }], { sync: true });
  console.log(await db.get('k'));
  await db.close();
}

if (process.argv[2] === 'version') console.log(manifest.version, CAUSEWAY_COMMIT);
else void main(process.argv[2] as string);
`;

/** A folder of this run alone: tap's own fixture folders are shared by runs at the same time. */
function makeFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'causeway-build-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

t.test('one executable', async (t) => {
  const folder = makeFolder(t);
  writeFileSync(join(folder, 'entry.ts'), program);
  for (const name of ['empty', 'tmp']) mkdirSync(join(folder, name));
  const output = join(folder, 'causeway');
  const lines: string[] = [];
  const log = (line: string) => lines.push(line);
  const bytes = await build({ entry: join(folder, 'entry.ts'), output, isBundle: false, log });
  t.ok(bytes < 150e6, `${bytes} bytes`);
  t.match(lines[0], /^bundled \d+ KiB of code with \d+ packages$/);
  t.notOk(
    readdirSync(folder).some((name) => name.includes('.work-')),
    'no work folder is left',
  );

  const cwd = join(folder, 'empty');
  const run = (args: string[], env: NodeJS.ProcessEnv) => {
    const done = spawnSync(output, args, { cwd, env, encoding: 'utf8', timeout: 60_000 });
    return { code: done.status, stdout: done.stdout.trim(), stderr: done.stderr.trim() };
  };

  const version = run(['version'], {});
  t.equal(version.code, 0, version.stderr);
  t.match(version.stdout, new RegExp(`^${manifest.version.replaceAll('.', '\\.')} \\S+$`));

  const tmp = join(folder, 'tmp');
  t.strictSame(run([join(folder, 'db')], { TMPDIR: tmp, NODE_OPTIONS: '--no-such-option' }), {
    code: 0,
    stdout: 'kept',
    stderr: '',
  });
  t.strictSame(readdirSync(tmp), [], 'the temporary folder is clean again');

  const nowhere = run([join(folder, 'db2')], { TMPDIR: join(folder, 'not-there') });
  t.strictSame(nowhere, { code: 0, stdout: 'kept', stderr: '' }, 'another folder is found');
  t.strictSame(readdirSync(cwd), [], 'and is clean again');
});

t.test('the bundle of the npm package', async (t) => {
  const folder = makeFolder(t);
  writeFileSync(join(folder, 'entry.ts'), program);
  const output = join(folder, 'causeway.cjs');
  const modules = fileURLToPath(new URL('../../node_modules', import.meta.url));
  symlinkSync(modules, join(folder, 'node_modules'));
  await build({ entry: join(folder, 'entry.ts'), output, isBundle: true, log: () => {} });
  const done = spawnSync(process.execPath, [output, 'version'], {
    env: { CAUSEWAY_COMMIT: 'ignored at run time' },
    encoding: 'utf8',
  });
  t.equal(done.status, 0, done.stderr);
  t.ok(done.stdout.startsWith(`${manifest.version} `), done.stdout);
});

t.test('the launcher runs the bundle where there are no sources', async (t) => {
  const folder = makeFolder(t);
  for (const name of ['scripts', 'dist']) mkdirSync(join(folder, name));
  const launch = join(folder, 'scripts', 'launch.mjs');
  copyFileSync(new URL('../../scripts/launch.mjs', import.meta.url), launch);
  writeFileSync(
    join(folder, 'dist', 'causeway.cjs'),
    'console.log(process.argv.slice(2).join()); process.exitCode = 7;',
  );
  const run = () => spawnSync(process.execPath, [launch, 'a', 'b'], { env: {}, encoding: 'utf8' });
  t.match(run(), { status: 7, stdout: 'a,b\n' });
  writeFileSync(
    join(folder, 'dist', 'causeway.cjs'),
    "setInterval(() => {}, 1000); process.kill(process.pid, 'SIGTERM');",
  );
  t.match(run(), { status: 128 + 15 }, 'a signal shows in the exit code');
});
