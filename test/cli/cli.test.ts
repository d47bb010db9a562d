// The command line as a whole: help, unknown words, exit codes, check, config, version.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { UsageError } from '../../src/cli/command.ts';
import { loadCommand, loadCommands } from '../../src/cli/commands.ts';
import { loadConfig } from '../../src/config/load.ts';
import { temporaryFolder } from '../config/temporary-folder.ts';
import { runCli } from './run.ts';

const manifest = JSON.parse(
  readFileSync(join(import.meta.dirname, '..', '..', 'package.json'), 'utf8'),
) as { version: string };

t.test('version', async (t) => {
  const outcomes = await Promise.all([runCli(['version']), runCli(['--version'])]);
  for (const { code, stdout } of outcomes) {
    t.equal(code, 0);
    t.match(stdout, new RegExp(`^causeway ${manifest.version.replaceAll('.', '\\.')}`));
  }
});

t.test('help lists every command, and every command has its own', async (t) => {
  const { code, stdout } = await runCli(['--help']);
  t.equal(code, 0);
  for (const { name, summary, usage } of await loadCommands()) {
    t.match(stdout, new RegExp(`^  ${name} +${summary.replaceAll(/[()]/g, '.')}$`, 'm'));
    t.match(usage, new RegExp(`^causeway ${name}[ \n]`), `${name} begins with its synopsis`);
  }
  const check = await loadCommand('check');
  const expected = { code: 0, stdout: `${check?.usage.trim()}\n`, stderr: '' };
  const forms = [
    ['check', '--help'],
    ['check', '--set', 'x', '--help'],
    ['check', '-h'],
    ['help', 'check'],
  ];
  const helps = await Promise.all(forms.map((args) => runCli(args)));
  for (const [index, help] of helps.entries())
    t.strictSame(help, expected, forms[index]!.join(' '));
});

t.test('wrong command lines end with 1 and a hint', async (t) => {
  const cases: [string[], RegExp][] = [
    [[], /^Usage: causeway COMMAND/m],
    [['strat'], /unknown command strat, did you mean start\?/],
    [['constructor'], /unknown command constructor\n/],
    [['start', '--lisen', 'x'], /start: unknown flag --lisen, did you mean --listen\?\n.*--help/],
    [['start', '--listen', 'mqtt://0.0.0.0:0'], /listening beyond this machine .* is refused/],
    [['start', '--config', 'none.yaml'], /^none\.yaml: cannot be read: ENOENT$/m],
  ];
  const outcomes = await Promise.all(cases.map(([args]) => runCli(args)));
  for (const [index, { code, stdout, stderr }] of outcomes.entries()) {
    const [args, expected] = cases[index]!;
    t.equal(code, 1, args.join(' '));
    t.equal(stdout, '');
    t.match(stderr, expected, args.join(' '));
  }
});

t.test('flags are read strictly', async (t) => {
  const cases: [string, string[], string][] = [
    ['start', ['--data'], '--data needs a value'],
    ['start', ['--data='], '--data needs a value'],
    ['start', ['--ephemeral=yes'], '--ephemeral takes no value'],
    ['start', ['--data', 'a', '--data', 'b'], '--data is given twice'],
    ['start', ['edge.yaml'], 'unexpected argument "edge.yaml"'],
    ['check', ['a.yaml', 'b.yaml'], 'unexpected argument "b.yaml"'],
    ['start', ['--set', 'x'], '--set needs NAME=VALUE, found x'],
    ['version', ['-x'], 'unknown flag -x'],
    ['version', ['--__proto__'], 'unknown flag --__proto__'],
  ];
  for (const [name, args, message] of cases) {
    const command = await loadCommand(name);
    await t.rejects(command!.run(args), new UsageError(message), `${name} ${args.join(' ')}`);
  }
});

t.test('contact points of Cassandra have commas between', async (t) => {
  const points = ['--contact-points', '127.0.0.1:1, x:y:z', '--local-datacenter', 'dc1'];
  const { code, stderr } = await runCli(['cassandra', 'init', ...points]);
  t.equal(code, 1);
  t.match(stderr, /^--contact-points: cassandra\.contactPoints\[1\]: .*found "x:y:z"$/m);
});

t.test('check', async (t) => {
  const folder = temporaryFolder(t, {
    'good.yaml': 'store: memory\n',
    'bad.yaml': 'stor: memory\nlimits:\n  lingerMs: x\n',
    'tls.yaml': 'tls: {certFile: a.pem, keyFile: b.pem}\n',
  });
  const [good, bad, tls, variable, named] = await Promise.all([
    runCli(['check', 'good.yaml'], { cwd: folder }),
    runCli(['check', '--config', 'bad.yaml'], { cwd: folder }),
    runCli(['check', 'tls.yaml'], { cwd: folder }),
    runCli(['check'], { env: { CAUSEWAY_STORE: 'disk' } }),
    runCli(['check'], { cwd: folder, env: { CAUSEWAY_CONFIG: 'bad.yaml' } }),
  ]);
  t.strictSame(good, { code: 0, stdout: 'good.yaml: ok\n', stderr: '' });
  t.equal(bad.code, 1);
  t.match(bad.stderr.split('\n'), [
    'bad.yaml:1:1: unknown option stor, did you mean store?',
    /^bad\.yaml:3:13: limits\.lingerMs: expected a whole number/,
    '',
  ]);
  t.equal(tls.code, 1);
  t.match(tls.stderr, /^tls\.yaml:1:17: tls\.certFile: cannot read .*a\.pem: ENOENT$/m);
  t.match(variable, { code: 1, stderr: /^CAUSEWAY_STORE: store: expected one of/ });
  t.match(named, { code: 1, stderr: /^bad\.yaml:1:1/ }, 'the file named by the environment');
});

t.test('config', async (t) => {
  const folder = temporaryFolder(t, { 'edge.yaml': 'store: memory\n' });
  const args = ['config', 'edge.yaml', '--listen', 'mqtt://127.0.0.1:0', '--admin', 'off'];
  const { code, stdout } = await runCli([...args, '--set', 'limits.lingerMs=2s'], {
    cwd: folder,
    env: { CAUSEWAY_DATA: '/srv/data' },
  });
  t.equal(code, 0);
  t.match(stdout, /^ {2}- url: mqtt:\/\/127\.0\.0\.1:0 # --listen$/m);
  t.match(stdout, /^store: memory # edge\.yaml:1:8$/m);
  t.match(stdout, /^data: \/srv\/data # CAUSEWAY_DATA$/m);
  t.match(stdout, /^ {2}lingerMs: 2000 # --set limits\.lingerMs$/m);
  t.match(stdout, /^ {2}url: off # --admin$/m);
  writeFileSync(join(folder, 'printed.yaml'), stdout);
  const file = join(folder, 'printed.yaml');
  t.equal(loadConfig({ file, environment: {}, flags: [] }).config.limits.lingerMs, 2000);

  const ephemeral = await runCli(['config', '--ephemeral']);
  t.match(ephemeral.stdout, /^store: memory # --ephemeral$/m);
  const schema = await runCli(['config', '--schema']);
  t.equal(JSON.parse(schema.stdout).title, 'Causeway configuration');
});
