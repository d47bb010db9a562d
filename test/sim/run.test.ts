// `npm run simulate` as it is called: what it prints, and what it ends with.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const program = fileURLToPath(new URL('run.ts', import.meta.url));

function simulate(...args: readonly string[]) {
  const command = ['-u', 'NODE_OPTIONS', process.execPath, program, ...args];
  return spawnSync('/usr/bin/env', command, { encoding: 'utf8', timeout: 120_000 });
}

t.test('runs seeds in workers and sums them up', async (t) => {
  const { status, stdout } = simulate(
    '--seeds',
    '4',
    '--from',
    '2',
    '--jobs',
    '2',
    '--kinds',
    'kill',
  );
  t.match(stdout, /^simulate: 4 seeds, faults [1-9]\d*, acked [1-9]\d*, .*, failures 0; /m);
  t.equal(status, 0);
});

t.test('--regions: regions and their links', async (t) => {
  const { status, stdout } = simulate('--regions', '--seeds', '4', '--jobs', '2');
  t.match(stdout, /^simulate: 4 seeds, faults [1-9]\d*, acked [1-9]\d*, .*, failures 0; /m);
  t.match(stdout, /, taken from links [1-9]\d*, /);
  t.equal(status, 0);
});

t.test('a kind that does not exist is named', async (t) => {
  const { status, stderr } = simulate('--kinds', 'kill,flood');
  t.not(status, 0);
  t.match(stderr, /--kinds flood: one of kill, /);
});
