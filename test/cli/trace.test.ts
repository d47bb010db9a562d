// `causeway trace`: lines for people and programs, the end by a signal, by the node, and by refusal.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { traceLine } from '../../src/cli/ctl/trace-text.ts';
import { FakeApi, problem, TOKEN } from './fake-api.ts';
import type { Outcome } from './run.ts';
import { runMany } from './run-many.ts';

const main = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.ts');
const atMs = 1_700_000_000_123;
const who = { clientId: 'pump\x1b[2J', protocolVersion: 5, identity: 'alice', tenant: '' };
const where = { listener: 'mqtts://[::]:8883', remoteAddress: '192.0.2.7', remotePort: 4711 };
const events = [
  { atMs, event: 'started', clientId: 'pump', filter: null, durationS: 600 },
  { atMs, event: 'connect', ...who, ...where },
  { atMs, event: 'publish', clientId: 'pump', topic: 'a/\n', qos: 1, retain: true, bytes: 20 },
  { atMs, event: 'deliver', clientId: 'pump', topic: 'b', qos: 0, bytes: 5 },
  { atMs, event: 'heartbeat' },
  { atMs, event: 'missed', count: 12 },
];

const api = await FakeApi.start(({ path, query }) => {
  if (path !== '/api/v1/trace') return undefined;
  if (query.get('topic') === 'busy') return problem(429, 'eight traces run already');
  const isEnding = query.get('topic') === 'ends/#';
  const end = { atMs, event: 'ended', reason: 'duration' };
  return { lines: isEnding ? [...events, end] : events, isOpen: !isEnding };
});
t.teardown(() => api.close());
const env = { CAUSEWAY_API_URL: api.url, CAUSEWAY_API_TOKEN: TOKEN };

t.test('an event is one line, whatever its names hold', async (t) => {
  const lines = events.map(traceLine);
  t.equal(lines[0], null);
  t.match(
    lines[1],
    /^\d\d:\d\d:\d\d\.123 --> connect {5}pump\\x1b\[2J user=alice from=192\.0\.2\.7:4711 listener=\S+ mqtt=5$/,
  );
  t.match(lines[2], / --> publish {5}pump a\/\\n qos=1 retain=true bytes=20$/);
  t.match(lines[3], / <-- deliver {5}pump b qos=0 bytes=5$/);
  t.equal(lines[4], null);
  t.match(lines[5], / !!! 12 events were too many/);
  t.match(
    traceLine({ atMs, event: 'drop', clientId: 'x', topic: 'b', reason: 'queue_full' }),
    / x-- drop {8}x b reason=queue_full$/,
  );
  t.match(
    traceLine({ atMs, event: 'subscribe', clientId: 'x', filter: 'b/#', qos: 1, reasonCode: 135 }),
    / --> subscribe {3}x b\/# qos=1 code=0x87$/,
  );
});

t.test('Ctrl-C ends it with a summary', async (t) => {
  const args = ['-u', 'NODE_OPTIONS', process.execPath, main, 'trace', '--client', 'pump'];
  const child = spawn('/usr/bin/env', args, { env: { ...process.env, ...env } });
  const stderr = text(child.stderr);
  let shown = '';
  for await (const chunk of child.stdout) {
    shown += String(chunk);
    if (shown.includes('too many')) child.kill('SIGINT');
  }
  const [code] = child.exitCode === null ? await once(child, 'exit') : [child.exitCode];
  t.equal(code, 0);
  t.equal(shown.split('\n').length, 5, shown);
  t.equal(await stderr, 'causeway trace: connect 1, publish 1, deliver 1, missed 12; 25 bytes\n');
  t.equal(api.asked[0]?.query.get('client'), 'pump');
});

t.test('a trace that the node ends, one that it refuses, and flags', async (t) => {
  const outcomes = await runMany(
    [
      ['trace', '--topic', 'ends/#', '--for', '10min', '--json'],
      ['trace', '--topic', 'busy'],
      ['trace'],
    ],
    { env },
  );
  const [ended, refused, both] = outcomes as [Outcome, Outcome, Outcome];
  t.equal(ended.code, 0, ended.stderr);
  const parsed = ended.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as object);
  t.strictSame(parsed, [...events, { atMs, event: 'ended', reason: 'duration' }]);
  t.notMatch(ended.stdout, /\x1b/);
  t.ok(api.asked.some(({ query }) => query.get('durationS') === '600'));
  t.match(refused, { code: 5, stderr: /eight traces run already \(429\)/ });
  t.match(both, { code: 1, stderr: /--client ID or --topic FILTER is needed/ });
});
