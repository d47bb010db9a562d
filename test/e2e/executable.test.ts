/**
 * The one file a user downloads: built as `npm run build` builds it, started from an empty folder
 * with no Node, npm or source in reach, driven from outside, killed and started again.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import mqtt from 'mqtt';
import t from 'tap';
import manifest from '../../package.json' with { type: 'json' };
import { build } from '../../scripts/build.ts';
import { Client, connectClient, openSocket } from '../conformance/client.ts';
import { Broker } from './broker.ts';

const MIB = 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'causeway-executable-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const executable = join(folder, 'causeway');
const cwd = join(folder, 'empty');
mkdirSync(cwd);
const env = { PATH: '/nowhere', HOME: folder };
/** Options of whoever runs Node must not reach in. */
const wrap = ['/usr/bin/env', 'NODE_OPTIONS=--no-such-option'];

const entry = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const bytes = await build({ entry, output: executable, isBundle: false, log: () => {} });

function run(...args: readonly string[]): { code: number | null; stdout: string; stderr: string } {
  const [program = '', ...rest] = [...wrap, executable, ...args];
  const done = spawnSync(program, rest, { cwd, env, encoding: 'utf8', timeout: 30_000 });
  return { code: done.status, stdout: done.stdout, stderr: done.stderr };
}

async function open(broker: Broker, clientId: string): Promise<Client> {
  const client = new Client(await openSocket('127.0.0.1', broker.port()), 5, clientId);
  return connectClient(client, {
    version: 5,
    clientId,
    clean: false,
    properties: [['sessionExpiryInterval', 600]],
  });
}

t.test('its commands', async (t) => {
  t.ok(bytes < 150 * MIB, `${(bytes / MIB).toFixed(0)} MiB`);
  const version = run('version');
  t.equal(version.code, 0, version.stderr);
  t.match(version.stdout, manifest.version);
  t.equal(run('config').code, 0);
  t.equal(run('check').code, 0);
  const wrong = run('start', '--set', 'limits.packetBytesMax=none');
  t.not(wrong.code, 0);
  t.match(wrong.stderr, /packetBytesMax/);
  t.strictSame(readdirSync(cwd), [], 'none of them leaves anything');
});

t.test('a broker of its own, killed and started again', { timeout: 60_000 }, async (t) => {
  const options = {
    program: [executable],
    wrap,
    cwd,
    env,
    data: join(cwd, 'data'),
    listen: ['mqtt://127.0.0.1:0', 'ws://127.0.0.1:0/mqtt'],
    hasAdmin: true,
  };
  const first = await Broker.start(options);
  t.teardown(() => first.kill());
  const startMs = Number((await first.entry('ready')).startMs);
  t.comment(`ready after ${startMs} ms, ${(first.rssBytes() / MIB).toFixed(0)} MiB resident`);
  const sleeper = await open(first, 'sleeper');
  await sleeper.subscribed('kept/#', { qos: 2 });
  await sleeper.disconnect();

  // A browser's way in.
  const page = mqtt.connect(first.addresses.get('ws')?.href ?? '', { reconnectPeriod: 0 });
  await new Promise((resolve, reject) => {
    page.once('connect', resolve);
    page.once('error', reject);
  });
  await page.publishAsync('kept/1', 'from a page', { qos: 1 });
  await page.publishAsync('kept/2', 'and once', { qos: 2, retain: true });
  await page.endAsync();

  // Its own everyday client.
  const to = `mqtt://127.0.0.1:${first.port()}`;
  const pub = run('pub', '--url', to, '-q', '1', '-t', 'kept/3', '-m', 'from the shell');
  t.equal(pub.code, 0, pub.stderr);
  t.equal(await first.metric('causeway_queued_messages'), 3);
  const health = await fetch(new URL('/health/ready', first.addresses.get('http')));
  t.equal(health.status, 200, await health.text());
  t.strictSame(first.errors, []);
  await first.kill();

  const second = await Broker.start(options);
  t.teardown(() => second.kill());
  const back = await open(second, 'sleeper');
  t.ok(back.connack.sessionPresent);
  const texts = ['from a page', 'and once', 'from the shell'];
  for (const payload of texts) await back.message({ payload });
  await back.subscribed('kept/2');
  await back.message({ payload: 'and once', retain: true });
  await back.disconnect();
  t.strictSame(await second.stop(), { code: 0, signal: null });
  t.equal(second.noise, '');
  t.equal(statSync(join(cwd, 'data')).mode & 0o077, 0, "the data are nobody else's");
});
