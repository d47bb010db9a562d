// What `causeway init` prints is done word by word: the broker starts, mosquitto's clients get in with
// the commands shown, others do not, and the token opens the API.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { mosquitto } from '../../scripts/provide.ts';
import { temporaryFolder } from '../config/temporary-folder.ts';
import { brokerEnvironment } from '../e2e/broker.ts';
import { type Outcome, runCli } from './run.ts';

const WITHIN_MS = 20_000;
const folder = temporaryFolder(t);
const main = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.ts');

/** A `causeway` on the path, as after an installation. */
const bin = join(folder, 'bin');
mkdirSync(bin);
const launcher = join(bin, 'causeway');
writeFileSync(
  launcher,
  `#!/bin/sh\nunset NODE_OPTIONS\nexec '${process.execPath}' '${main}' "$@"\n`,
);
chmodSync(launcher, 0o755);

async function freePort(): Promise<string> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as { port: number };
  await new Promise((resolve) => probe.close(resolve));
  return String(port);
}

const path = [bin, dirname(mosquitto('mosquitto_pub')), process.env.PATH].join(delimiter);
const env = { ...brokerEnvironment(), PATH: path };

/** A line typed into a shell. */
async function shell(line: string): Promise<Outcome> {
  const child = spawn('sh', ['-c', line], { env, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  const timer = setTimeout(() => child.kill('SIGKILL'), WITHIN_MS);
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit') as Promise<[number | null]>,
  ]);
  clearTimeout(timer);
  return { code, stdout, stderr };
}

t.test('from nothing to a message', async (t) => {
  const ports = ['--port', await freePort(), '--local-port', await freePort()];
  const flags = ['--user', 'pump 7', '--host', 'localhost', '--admin-port', await freePort()];
  const told = await runCli(['init', '--dir', 'node', ...ports, ...flags], { cwd: folder });
  t.equal(told.code, 0, told.stderr);
  const lines = told.stdout.split('\n').map((line) => line.trim());
  const line = (start: string): string => lines.find((one) => one.startsWith(start)) ?? 'false';
  const [start, subscribe] = [line('causeway start'), line('mosquitto_sub')];
  const [publish, publishHere] = lines.filter((one) => one.startsWith('mosquitto_pub'));

  const broker = spawn('sh', ['-c', `exec ${start}`], { env, cwd: folder });
  const ended = once(broker, 'exit') as Promise<[number | null]>;
  t.teardown(() => broker.kill('SIGKILL'));
  let log = '';
  await new Promise<void>((resolve, reject) => {
    broker.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()));
    broker.stdout.on('data', (chunk: Buffer) => {
      log += chunk.toString();
      // The API is the last to listen.
      if (/"listener":"admin"/.test(log)) resolve();
    });
    void ended.then(() => reject(new Error(log)));
  });

  const heard = shell(`${subscribe} -C 1 -W 15 -q 1`);
  // Retained, for whoever subscribes a moment later.
  const sent = await shell(`${publish} -r -q 1`);
  t.equal(sent.code, 0, sent.stderr);
  const local = await shell(`${publishHere} -q 1`);
  t.equal(local.code, 0, local.stderr);
  const { code, stdout, stderr } = await heard;
  t.strictSame([code, stdout], [0, 'test/hello hi\n'], stderr);

  const [wrong, nobody, plain, listed, refused] = await Promise.all([
    shell(`${publish} -P wrong`),
    shell(publishHere!.replace(/-u '.*' -P \S+/, '')),
    // TLS is asked for by other machines' listener: without it there is no MQTT.
    shell(publish!.replace(/--cafile \S+/, '')),
    shell(line('CAUSEWAY_API_TOKEN=')),
    shell(line('CAUSEWAY_API_TOKEN=').replace(/cwt_\S+/, 'cwt_wrong')),
  ]);
  t.match(wrong, { code: 4 }, 'a wrong password, MQTT 3.1.1 code 4');
  t.not(nobody.code, 0, 'nobody on this machine either');
  t.not(plain.code, 0);
  t.match(listed, { code: 0, stdout: /^CLIENT ID/ }, listed.stderr);
  t.match(refused, { code: 3 });

  broker.kill('SIGTERM');
  t.strictSame(await ended, [0, null]);
  const secrets = [/password (\S+)$/m, /API token (\S+)$/m].map(
    (one) => one.exec(told.stdout)![1]!,
  );
  for (const secret of secrets) t.notOk(log.includes(secret), 'no secret in the log');
  const tokens = readFileSync(join(folder, 'node', 'api-tokens.json'), 'utf8');
  t.notOk(tokens.includes(secrets[1]!));
});
