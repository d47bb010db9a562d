#!/usr/bin/env node
// `npm run build`: dist/causeway, one executable with Node, all code and the native part of the
// embedded store inside; `--bundle` makes only dist/causeway.cjs, which the npm package ships.
// The order matters: Node is stripped before the code goes in (stripping afterwards breaks it).
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build as esbuild } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const require = createRequire(import.meta.url);

export interface BuildOptions {
  /** The file to start with. */
  readonly entry: string;
  /** The executable, or with `isBundle` the one CommonJS file. */
  readonly output: string;
  readonly isBundle: boolean;
  /** Where one line per step goes. */
  readonly log: (line: string) => void;
}

/** The commit this is built from; an image's build has no .git and is told by CAUSEWAY_COMMIT. */
function commit(): string {
  const told = process.env.CAUSEWAY_COMMIT;
  if (told !== undefined && told !== '') return told;
  const git = (...args: string[]) => spawnSync('git', args, { cwd: root, encoding: 'utf8' });
  const head = git('rev-parse', '--short=12', 'HEAD');
  if (head.status !== 0) return 'unknown';
  const changes = git('status', '--porcelain', '--untracked-files=no');
  return `${head.stdout.trim()}${changes.stdout.trim() === '' ? '' : '+changes'}`;
}

async function bundle(options: BuildOptions, output: string): Promise<void> {
  const result = await esbuild({
    absWorkingDir: root,
    entryPoints: [options.entry],
    outfile: output,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node26',
    nodePaths: [join(root, 'node_modules')],
    legalComments: 'none',
    // The source stays in memory while the process lives: names stay for stack traces, but no blanks
    // and no comments, one of which beyond Latin-1 would double all of it.
    minifyWhitespace: true,
    lineLimit: 120,
    logLevel: 'warning',
    metafile: true,
    // Inside the npm package the store's native part is a dependency like any other.
    ...(options.isBundle
      ? { external: ['classic-level'] }
      : { alias: { 'node-gyp-build': join(root, 'scripts', 'build', 'addon-loader.cjs') } }),
    define: {
      // The version needs no such thing: package.json is imported and comes along.
      CAUSEWAY_COMMIT: JSON.stringify(commit()),
      'import.meta.url': 'causewayFileUrl',
    },
    banner: {
      js: "const causewayFileUrl = require('node:url').pathToFileURL(__filename).href;",
    },
  });
  const packages = new Set<string>();
  for (const input of Object.keys(result.metafile.inputs)) {
    const name = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(input)?.[1];
    if (name !== undefined) packages.add(name);
  }
  const kib = Math.round(statSync(output).size / 1024);
  options.log(`bundled ${kib} KiB of code with ${packages.size} packages`);
}

/** A copy of this Node without symbols: a third smaller, and it must happen before code is added. */
function stripNode(output: string, log: BuildOptions['log']): void {
  copyFileSync(process.execPath, output);
  chmodSync(output, 0o755);
  const args = process.platform === 'darwin' ? ['-x', output] : ['--strip-all', output];
  const done = spawnSync('strip', args, { encoding: 'utf8' });
  if (done.status === 0) return;
  const why = done.error === undefined ? done.stderr.trim() : 'no strip here (binutils)';
  log(`node is not stripped, the executable will be larger: ${why}`);
  copyFileSync(process.execPath, output);
}

/** Builds the executable (or the bundle) and answers with its size in bytes. */
export async function build(options: BuildOptions): Promise<number> {
  const output = resolve(options.output);
  mkdirSync(dirname(output), { recursive: true });
  if (options.isBundle) {
    await bundle(options, output);
    return statSync(output).size;
  }
  const work = `${output}.work-${process.pid}`;
  mkdirSync(work, { recursive: true });
  try {
    const main = join(work, 'main.cjs');
    const node = join(work, 'node');
    const fresh = join(work, 'causeway');
    const config = join(work, 'sea.json');
    await bundle(options, main);
    stripNode(node, options.log);
    const addon = require('node-gyp-build').path(dirname(require.resolve('classic-level')));
    const sea = {
      main,
      mainFormat: 'commonjs',
      executable: node,
      output: fresh,
      disableExperimentalSEAWarning: true,
      useCodeCache: true,
      // NODE_OPTIONS belongs to whoever runs Node, not to whoever runs a broker.
      execArgvExtension: 'none',
      assets: { 'classic-level.node': addon },
    };
    writeFileSync(config, JSON.stringify(sea));
    const env = { ...process.env, NODE_OPTIONS: '' };
    execFileSync(process.execPath, ['--build-sea', config], {
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (process.platform === 'darwin') execFileSync('codesign', ['--sign', '-', fresh]);
    chmodSync(fresh, 0o755);
    // The old one may be running: its file is replaced, never written into.
    rmSync(output, { force: true });
    copyFileSync(fresh, output);
    chmodSync(output, 0o755);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return statSync(output).size;
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      bundle: { type: 'boolean', default: false },
      entry: { type: 'string', default: join(root, 'src', 'cli', 'main.ts') },
      output: { type: 'string' },
    },
  });
  const isBundle = values.bundle;
  const output = values.output ?? join(root, 'dist', isBundle ? 'causeway.cjs' : 'causeway');
  const startedMs = performance.now();
  const bytes = await build({ entry: values.entry, output, isBundle, log: console.log });
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  console.log(`${output}: ${(bytes / 1e6).toFixed(1)} MB in ${seconds} s`);
}
