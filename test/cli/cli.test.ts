// The command line as a whole: help, unknown words, exit codes, check, config, version.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loadCommands } from '../../src/cli/commands.ts';
import { loadConfig } from '../../src/config/load.ts';
import { runCli } from './run.ts';

const manifest = JSON.parse(
  readFileSync(join(import.meta.dirname, '..', '..', 'package.json'), 'utf8'),
) as { version: string };

t.test('version', async (t) => {
  for (const args of [['version'], ['--version'], ['-v']]) {
    const { code, stdout } = await runCli(args);
    t.equal(code, 0);
    t.match(stdout, new RegExp(`^causeway ${manifest.version.replaceAll('.', '\\.')}`), args[0]);
  }
});

t.test('help lists every command, and every command has its own', async (t) => {
  const { code, stdout } = await runCli(['--help']);
  t.equal(code, 0);
  for (const { name, summary, usage } of await loadCommands()) {
    t.match(stdout, new RegExp(`^  ${name} +${summary.replaceAll(/[()]/g, '.')}$`, 'm'));
    t.match(usage, new RegExp(`^causeway ${name}( |$)`), 'begins with its synopsis');
    for (const args of [
      [name, '--help'],
      ['help', name],
    ]) {
      const help = await runCli(args);
      t.strictSame(help, { code: 0, stdout: `${usage.trim()}\n`, stderr: '' }, args.join(' '));
    }
  }
});

t.test('wrong command lines end with 1 and a hint', async (t) => {
  const cases: [string[], RegExp][] = [
    [[], /^Usage: causeway COMMAND/m],
    [['strat'], /unknown command strat, did you mean start\?/],
    [['help', 'strat'], /unknown command strat, did you mean start\?/],
    [['xylophone'], /unknown command xylophone\n/],
    [['constructor'], /unknown command constructor\n/],
    [['start', '--lisen', 'x'], /start: unknown flag --lisen, did you mean --listen\?/],
    [['start', '--data'], /start: --data needs a value/],
    [['start', '--ephemeral=yes'], /start: --ephemeral takes no value/],
    [['start', '--data', 'a', '--data', 'b'], /start: --data is given twice/],
    [['start', 'edge.yaml'], /start: unexpected argument "edge.yaml"/],
    [['start', '--set', 'x'], /start: --set needs NAME=VALUE, found x/],
    [['start', '--set', 'limits.lingerM=1'], /unknown option limits\.lingerM, did you mean limits/],
    [['start', '--listen', 'mqtt://0.0.0.0:0'], /listening beyond this machine .* is refused/],
    [['start', '--config', 'none.yaml'], /^none\.yaml: cannot be read: ENOENT$/m],
    [['version', '-x'], /version: unknown flag -x/],
  ];
  await Promise.all(
    cases.map(async ([args, expected]) => {
      const { code, stdout, stderr } = await runCli(args);
      t.equal(code, 1, args.join(' '));
      t.equal(stdout, '');
      t.match(stderr, expected, args.join(' '));
    }),
  );
});

t.test('check', async (t) => {
  const folder = t.testdir({
    'good.yaml': 'store: memory\n',
    'bad.yaml': 'stor: memory\nlimits:\n  lingerMs: x\n',
    'tls.yaml': 'tls: {certFile: a.pem, keyFile: b.pem}\n',
  });
  const good = await runCli(['check', 'good.yaml'], { cwd: folder });
  t.strictSame(good, { code: 0, stdout: 'good.yaml: ok\n', stderr: '' });
  const bad = await runCli(['check', '--config', 'bad.yaml'], { cwd: folder });
  t.equal(bad.code, 1);
  t.match(bad.stderr.split('\n'), [
    'bad.yaml:1:1: unknown option stor, did you mean store?',
    /^bad\.yaml:3:13: limits\.lingerMs: expected a whole number/,
    '',
  ]);
  const tls = await runCli(['check', 'tls.yaml'], { cwd: folder });
  t.equal(tls.code, 1);
  t.match(tls.stderr, /^tls\.yaml:1:17: tls\.certFile: cannot read .*a\.pem: ENOENT$/m);
  const variable = await runCli(['check'], { env: { CAUSEWAY_STORE: 'disk' } });
  t.match(variable, { code: 1, stderr: /^CAUSEWAY_STORE: store: expected one of/ });
  const named = await runCli(['check'], { cwd: folder, env: { CAUSEWAY_CONFIG: 'bad.yaml' } });
  t.match(named, { code: 1, stderr: /^bad\.yaml:1:1/ }, 'the file named by the environment');
});

t.test('config', async (t) => {
  const folder = t.testdir({ 'edge.yaml': 'store: memory\n' });
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
