// `npm run demo`: a short form of the whole story, which ends by itself with nothing missing; and Ctrl-C in the
// middle, after which no process and no folder is left.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { until } from '../e2e/cluster-kit.ts';

t.setTimeout(280_000);

const run = fileURLToPath(new URL('run.ts', import.meta.url));

class Show {
  readonly lines: string[] = [];
  readonly child: ChildProcess;

  constructor(t: Test, ...args: string[]) {
    const words = ['-u', 'NODE_OPTIONS', process.execPath, run, ...args];
    this.child = spawn('/usr/bin/env', words, { stdio: ['ignore', 'pipe', 'inherit'] });
    createInterface({ input: this.child.stdout! }).on('line', (line) => this.lines.push(line));
    t.teardown(() => this.child.kill('SIGKILL'));
  }

  says(pattern: RegExp): Promise<unknown> {
    return until(`${pattern}`, () => this.lines.some((line) => pattern.test(line)), 120_000);
  }
}

/** Processes that it has started, and theirs. */
function descendants(pid: number): number[] {
  const file = `/proc/${pid}/task/${pid}/children`;
  if (!existsSync(file)) return [];
  const children = readFileSync(file, 'utf8').split(' ').filter(Boolean).map(Number);
  return children.flatMap((child) => [child, ...descendants(child)]);
}

/** Of what is started: it is in their command lines. */
function folderOf(pid: number): string {
  const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  return /^.*causeway-demo-[^/]+/.exec(words.find((word) => word.includes('causeway-demo-'))!)![0];
}

t.test('the whole story, with one node each', async (t) => {
  const show = new Show(t, '--nodes', '1', '--cassandra', '0', '--devices', '9', '--pace', '4');
  const [code] = await once(show.child, 'exit');
  t.equal(code, 0, show.lines.join('\n'));
  for (const told of [
    /--- kill -9 of the node eu-1/,
    /--- the link between eu and us is cut/,
    /--- kill -9 of everything in ap/,
    /control room of ap misses 0/,
    /every node shows the same notice/,
  ]) {
    t.match(show.lines.join('\n'), told);
  }
});

t.test('Ctrl-C', async (t) => {
  const show = new Show(t, '--cassandra', '0', '--devices', '3');
  await show.says(/devices say where they are/);
  const started = descendants(show.child.pid!);
  t.ok(started.length >= 9, 'six nodes, three Redis servers');
  const nodes = started.filter((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('causeway-demo-'),
  );
  t.ok(nodes.length >= 6);
  const folder = folderOf(nodes[0]!);
  t.ok(readdirSync(folder).includes('eu'));
  show.child.kill('SIGINT');
  const [code] = await once(show.child, 'exit');
  t.equal(code, 130);
  t.strictSame(
    started.filter((pid) => existsSync(`/proc/${pid}`)),
    [],
    'no process is left',
  );
  t.notOk(existsSync(folder), 'nor a folder');
});
