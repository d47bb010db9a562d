// SIGHUP: what changes in a running node, what is named as waiting, and what is refused whole.
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:tls';
import t, { type Test } from 'tap';
import { type LogEntry, Running } from '../cli/run.ts';
import { temporaryFolder } from '../config/temporary-folder.ts';
import { RawClient } from './raw-client.ts';

function start(t: Test, file: string, args: readonly string[] = []): Running {
  const running = new Running(['--config', file, '--admin', 'off', '--ephemeral', ...args]);
  t.teardown(() => running.end('SIGKILL'));
  return running;
}

/** Sends SIGHUP and gives what is logged up to the line that ends it. */
async function hangUp(running: Running, last: string): Promise<LogEntry[]> {
  const from = running.entries.length;
  running.child.kill('SIGHUP');
  await running.entry(last, undefined, from);
  return running.entries.slice(from);
}

const reloaded = 'reloaded';
const refused = 'reload refused, everything stays as it was';

t.test('limits and level change, other options wait', async (t) => {
  const file = join(temporaryFolder(t), 'edge.yaml');
  writeFileSync(file, 'listeners: [mqtt://127.0.0.1:0]\nlimits: {packetBytesMax: 4KiB}\n');
  const running = start(t, file);
  const port = await running.port('mqtt');
  await running.entry('ready');
  t.equal(await RawClient.maximumPacketSize(port), 4096);
  const old = await RawClient.open(port, 'old');

  writeFileSync(
    file,
    [
      'listeners: [mqtt://127.0.0.1:0, mqtt://127.0.0.1:1]',
      'limits: {packetBytesMax: 8KiB}',
      'log: {level: debug}',
      'queueOverflow: disconnect',
    ].join('\n'),
  );
  const entries = await hangUp(running, reloaded);
  t.match(entries.at(-1), {
    applied: ['log.level', 'limits.packetBytesMax'],
    needsRestart: ['queueOverflow', 'listeners[mqtt://127.0.0.1:1]'],
  });
  t.match(
    entries.find(({ level }) => level === 'warn'),
    { msg: 'changed options need a restart', options: ['queueOverflow', /127\.0\.0\.1:1/] },
  );
  t.equal(await RawClient.maximumPacketSize(port), 8192, 'new connections have the new limit');
  old.socket.write(Buffer.from([0xc0, 0]));
  await old.packet(0xd0);
  t.equal(await running.end(), 0);
});

t.test('a broken file changes nothing, and every error is logged', async (t) => {
  const file = join(temporaryFolder(t), 'edge.yaml');
  writeFileSync(file, 'listeners: [mqtt://127.0.0.1:0]\nlimits: {packetBytesMax: 4KiB}\n');
  const running = start(t, file);
  const port = await running.port('mqtt');
  await running.entry('ready');
  writeFileSync(file, 'limits: {packetBytesMax: 8KiB, lingerMs: x}\nstor: memory\n');
  const entries = await hangUp(running, refused);
  t.match(entries, [
    { level: 'error', msg: 'config', where: /edge\.yaml:1:42$/, problem: /^limits\.lingerMs: / },
    { level: 'error', msg: 'config', where: /edge\.yaml:2:1$/, problem: /did you mean store\?$/ },
    { level: 'error', msg: refused, problems: 2 },
  ]);
  t.equal(await RawClient.maximumPacketSize(port), 4096);
  writeFileSync(file, 'listeners: [mqtt://0.0.0.0:0]\n');
  t.match(await hangUp(running, refused), [{ problem: /without authentication is refused/ }, {}]);
  rmSync(file);
  t.match(await hangUp(running, refused), [{ problem: /cannot be read: ENOENT/ }, {}]);
  t.equal(await running.end(), 0);
});

t.test('certificates in the same files are read again; broken ones are refused', async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'edge.yaml');
  const certify = (name: string): void => {
    const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
    const files = ['-nodes', '-keyout', 's.key', '-out', 's.pem', '-days', '2'];
    execFileSync('openssl', [...request, ...files, '-subj', `/CN=${name}`], {
      cwd: folder,
      stdio: 'ignore',
    });
  };
  certify('first');
  writeFileSync(file, 'listeners: [mqtts://127.0.0.1:0]\ntls: {certFile: s.pem, keyFile: s.key}\n');
  const running = start(t, file);
  const port = await running.port('mqtts');
  await running.entry('ready');
  t.equal(await nameOfServer(port), 'first');

  certify('second');
  t.match((await hangUp(running, reloaded)).at(-1), { applied: [], needsRestart: [] });
  t.equal(await nameOfServer(port), 'second');

  writeFileSync(join(folder, 's.pem'), 'damaged\n');
  const problems = (await hangUp(running, refused)).filter(({ msg }) => msg === 'config');
  t.match(problems, [{ problem: /s\.pem holds no certificate/ }]);
  t.equal(await nameOfServer(port), 'second');
  t.equal(await running.end(), 0);
});

function nameOfServer(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
    socket.on('secureConnect', () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.on('error', reject);
  });
}
