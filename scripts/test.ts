#!/usr/bin/env node
// `npm test`: types, lint, the programs the foreign-client tests need, then every test; ends with
// the one line `N passed, N failed`. With arguments (`npm test -- test/wire/varint.test.ts`) they
// go to tap, and only what they name is run.
import { spawn } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { CassandraNode } from './cassandra-node.ts';
import { foreignBin, provide, provideHaproxy, provideRedis } from './provide.ts';
import { provideCassandra } from './provide-cassandra.ts';
import { type Failure, tally } from './tally.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const bin = join(root, 'node_modules', '.bin');
const paths = [bin, process.env.PATH ?? '', foreignBin];
const env: NodeJS.ProcessEnv = { ...process.env, PATH: paths.join(delimiter) };
// Hundreds of brokers are started from source: with compiled sources each takes half of 1.3 s of CPU.
env.NODE_COMPILE_CACHE ??= join(root, 'node_modules', '.cache', 'compile');
const startedMs = performance.now();

interface Outcome {
  readonly code: number;
  readonly output: string;
}

const children = new Set<ReturnType<typeof spawn>>();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    for (const child of children) child.kill(signal);
    process.exitCode = 1;
  });
}

function start(command: string, args: readonly string[], onOutput: (chunk: Buffer) => void) {
  const { promise, resolve } = Promise.withResolvers<number>();
  const child = spawn(join(bin, command), args, {
    cwd: root,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.add(child);
  child.stdout.on('data', onOutput);
  child.stderr.on('data', command === 'tap' ? (chunk) => process.stderr.write(chunk) : onOutput);
  child.on('error', (error) => onOutput(Buffer.from(`${command}: ${error.message}\n`)));
  child.on('close', (code) => {
    children.delete(child);
    resolve(code ?? 1);
  });
  return promise;
}

async function run(command: string, args: readonly string[]): Promise<Outcome> {
  const chunks: Buffer[] = [];
  const code = await start(command, args, (chunk) => chunks.push(chunk));
  return { code, output: Buffer.concat(chunks).toString() };
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function show(failure: Failure): void {
  console.log(`  FAILED  ${failure.path.join(' > ')}`);
  const detail =
    typeof failure.detail === 'string'
      ? failure.detail
      : stringify(failure.detail, { lineWidth: 0 });
  for (const line of detail.trimEnd().split('\n')) console.log(`      ${line}`);
}

let passed = 0;
let failed = 0;

function note(name: string, problem: string | undefined): void {
  if (problem === undefined) {
    passed += 1;
    console.log(`ok      ${name}`);
    return;
  }
  failed += 1;
  console.log(`FAILED  ${name}\n${problem.trimEnd()}`);
}

const args = process.argv.slice(2);
const isWhole = args.length === 0;
const mayBeForeign = isWhole || args.some((arg) => arg.includes('foreign'));
const mayNeedHaproxy = isWhole || args.some((arg) => arg.includes('haproxy'));
const mayNeedRedis = mayNeedHaproxy || args.some((arg) => arg.includes('redis'));
const mayNeedCassandra = isWhole || args.some((arg) => arg.includes('cassandra'));

/** One for all tests that do not stop theirs; they are told of it as of one that was there before. */
async function startCassandra(): Promise<CassandraNode | null> {
  const problem = provideCassandra();
  if (problem !== undefined) throw new Error(problem);
  if (process.env.CASSANDRA_CONTACT_POINTS !== undefined) return null;
  const node = await CassandraNode.launch();
  env.CASSANDRA_CONTACT_POINTS = node.ip;
  env.CASSANDRA_LOCAL_DATACENTER = node.datacenter;
  return node;
}

// Starts while types and lint are looked at; those who measure time begin when it has.
const cassandraStart = mayNeedCassandra ? startCassandra() : null;
cassandraStart?.catch(() => {});

if (isWhole) {
  const [types, lint] = await Promise.all([
    run('tsc', ['--noEmit']),
    run('biome', ['ci', '--error-on-warnings', '--colors=off']),
  ]);
  note('types', types.code === 0 ? undefined : types.output);
  note('lint', lint.code === 0 ? undefined : lint.output);
}
if (mayBeForeign) {
  const lacking = provide();
  note('foreign clients', lacking.length === 0 ? undefined : lacking.join('\n'));
}
if (mayNeedRedis) note('redis-server', provideRedis());
if (mayNeedHaproxy) note('haproxy', provideHaproxy());
if (cassandraStart !== null) {
  const isUp = (): undefined => undefined;
  note('cassandra', await cassandraStart.then(isUp, (error: unknown) => `${error}`));
}

const slow: { name: string; timeMs: number }[] = [];
const { parser, counts } = tally({
  onFile(file, failures) {
    slow.push(file);
    const head = file.failed === 0 ? 'ok      ' : 'FAILED  ';
    console.log(`${head}${file.name}  ${file.passed} asserts, ${seconds(file.timeMs)}`);
    for (const failure of failures) show(failure);
  },
  onNoise(text) {
    process.stdout.write(`        ${text}`);
  },
});
const tapCode = await start('tap', ['--reporter=tap', ...args], (chunk) => parser.write(chunk));
parser.end();
await cassandraStart?.then(
  (node) => node?.remove(),
  () => {},
);
passed += counts.passed;
failed += counts.failed;
if (tapCode !== 0 && counts.failed === 0) note('tap', `tap ended with exit code ${tapCode}`);
if (counts.passed === 0 && counts.failed === 0) note('tests', 'no assertion was run');

for (const skip of counts.skips) console.log(`skipped ${skip.path.join(' > ')}: ${skip.reason}`);
slow.sort((a, b) => b.timeMs - a.timeMs);
const slowest = slow.slice(0, 3).map((file) => `${file.name} ${seconds(file.timeMs)}`);
console.log(`${seconds(performance.now() - startedMs)} in all; slowest: ${slowest.join(', ')}`);
process.exitCode = failed === 0 ? (process.exitCode ?? 0) : 1;
console.log(`${passed} passed, ${failed} failed`);
