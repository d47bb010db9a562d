// `causeway probe` as an operator runs it: real processes, real brokers, exit codes, metrics.
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { command } from '../../src/cli/commands/probe.ts';
import { Client } from '../../src/client/client.ts';
import { crossSteps, ownSteps, stepTexts } from '../../src/client/probe/probe-step.ts';
import { ReasonCode } from '../../src/wire/reason-code.ts';
import { TestCluster } from '../e2e/cluster-kit.ts';
import { startBroker, type TestBroker } from './broker.ts';
import { FakeServer } from './fake-server.ts';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
t.setTimeout(120_000);

let broker: TestBroker;

t.before(async () => {
  broker = await startBroker();
});
t.teardown(() => broker.stop());

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
}

function start(t: Test, args: readonly string[]): Running {
  const child = spawn(process.execPath, [main, 'probe', ...args], {
    env: { ...process.env, NODE_OPTIONS: '', CAUSEWAY_PASSWORD: '' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk.toString();
  });
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, out, err }));
  return { child, ended };
}

function probe(t: Test, ...args: readonly string[]): Promise<Ended> {
  return start(t, args).ended;
}

interface Shown {
  readonly url: string;
  readonly to?: string;
  readonly step: string;
  readonly ok: boolean;
  readonly ms: number;
  readonly reason?: string;
}

function stepsOf(out: string): Shown[] {
  return (JSON.parse(out.split('\n')[0]!) as { steps: Shown[] }).steps;
}

function newPrefix(): string {
  return `probe-test/${randomBytes(6).toString('hex')}`;
}

/** Topics of retained messages below it. */
async function retainedBelow(prefix: string): Promise<string[]> {
  const topics: string[] = [];
  const done = Promise.withResolvers<void>();
  const marker = `${prefix}-done`;
  const client = new Client({
    url: broker.url,
    onMessage: ({ topic, payload }) => {
      if (topic === marker) done.resolve();
      else topics.push(`${topic} ${payload}`);
    },
  });
  await client.connect();
  await client.subscribe([`${prefix}/#`, marker]);
  await client.publish(marker, 'x');
  await done.promise;
  await client.disconnect();
  return topics;
}

t.test('one server, once: every step in a table, exit code 0, nothing left', async (t) => {
  const prefix = newPrefix();
  for (const version of ['5', '3.1.1']) {
    const { code, out, err } = await probe(t, broker.url, '--prefix', prefix, '-V', version);
    t.strictSame([code, err], [0, '']);
    const lines = out.trim().split('\n').slice(1);
    t.strictSame(
      lines.map((line) => line.split(/\s+/)[1]),
      [...ownSteps],
    );
    for (const line of lines) t.match(line, / \d+\.\d\d {2}ok$/);
  }
  t.strictSame(await retainedBelow(prefix), []);
});

t.test('nobody else is given its messages, and it takes no session along', async (t) => {
  const prefix = newPrefix();
  const topics = new Set<string>();
  const client = new Client({ url: broker.url, onMessage: ({ topic }) => void topics.add(topic) });
  t.teardown(() => client.destroy());
  await client.connect();
  await client.subscribe('#');
  await Promise.all([
    probe(t, broker.url, '--prefix', prefix),
    probe(t, broker.url, '--prefix', `${prefix}/`),
  ]);
  const runs = new Set([...topics].map((topic) => topic.split('/')[2]));
  t.equal(runs.size, 2, 'two at one time have topics of their own');
  t.ok([...topics].every((topic) => topic.startsWith(`${prefix}/`)));
  await client.disconnect();
});

t.test('two servers that know nothing of each other: exit code 4', async (t) => {
  const other = await startBroker();
  t.teardown(() => other.stop());
  t.not(other.url, broker.url, 'MQTT_TEST_URL is one server, which is not enough here');
  const { code, out } = await probe(t, broker.url, other.url, '--json', '-W', '3');
  t.equal(code, 4);
  const steps = stepsOf(out);
  t.strictSame(steps.filter(({ to }) => to === undefined).length, 2 * ownSteps.length);
  t.ok(steps.every(({ to, ok }) => ok === (to === undefined)));
  const failed = steps.filter(({ ok }) => !ok).map(({ url, to, step }) => [url, to, step]);
  t.strictSame(failed, [
    [broker.url, other.url, 'reach'],
    [broker.url, other.url, 'retained_read'],
    [other.url, broker.url, 'reach'],
    [other.url, broker.url, 'retained_read'],
  ]);
});

t.test('two ways to one server: from each to each other', async (t) => {
  const [one, two] = [broker.url, broker.url.replace('127.0.0.1', 'localhost')];
  t.not(one, two, 'it has a second name');
  const { code, out } = await probe(t, one, two, '--json', '-i', 'watch');
  t.equal(code, 0, out);
  const across = stepsOf(out).filter(({ to }) => to !== undefined);
  t.strictSame(
    across.map(({ url, to, step }) => [url, to, step]),
    [...crossSteps.map((step) => [one, two, step]), ...crossSteps.map((step) => [two, one, step])],
  );
});

t.test(
  'two nodes of a datacenter: exit code 0, and one subscription is known at once',
  async (t) => {
    const cluster = await TestCluster.start(t, { names: ['a', 'b'] });
    const [one, two] = ['a', 'b'].map((name) => `mqtt://127.0.0.1:${cluster.node(name).port()}`);
    const { code, out } = await probe(t, one!, two!, '--json', '-W', '15');
    t.equal(code, 0, out);
    const across = stepsOf(out).filter(({ to }) => to !== undefined);
    t.equal(across.length, 2 * crossSteps.length);
    t.strictSame(cluster.errors(), []);
  },
);

t.test('exit code 2: a server that is not there, and one that refuses', async (t) => {
  const closed = createServer();
  closed.listen(0, '127.0.0.1');
  await once(closed, 'listening');
  const { port } = closed.address() as { port: number };
  closed.close();
  const gone = await probe(t, `mqtt://user:secret@127.0.0.1:${port}`, broker.url);
  t.equal(gone.code, 2);
  t.match(gone.out, /connect +\d+\.\d\d {2}cannot connect to mqtt:.*ECONNREFUSED/);
  t.notMatch(gone.out + gone.err, /secret/);
  t.match(gone.out, new RegExp(`${broker.url} +retained_clear .*ok`), 'the other one is tried');

  const server = await FakeServer.start();
  t.teardown(() => server.stop());
  const running = start(t, [server.url, '--json']);
  const peer = await server.peer();
  await peer.accept({ reasonCode: ReasonCode.NOT_AUTHORIZED }).catch(() => {});
  const refused = await running.ended;
  t.equal(refused.code, 2);
  t.match(stepsOf(refused.out)[0], { step: 'connect', ok: false, reason: /not authorized/ });
});

t.test('exit code 3, in bounded time: a server that takes all and gives nothing', async (t) => {
  const server = await FakeServer.start();
  t.teardown(() => server.stop());
  const startMs = performance.now();
  const running = start(t, [server.url, '--json', '-W', '0.4']);
  const peer = await server.peer();
  await peer.accept();
  await peer.grant([1]);
  const { code, out } = await running.ended;
  t.equal(code, 3);
  t.strictSame(
    stepsOf(out).map(({ step, ok }) => [step, ok]),
    [
      ['connect', true],
      ['subscribe', true],
      ['qos0', false],
      ['ack', false],
      ['qos1', false],
      ['retained_set', false],
    ],
  );
  t.match(stepsOf(out)[2], { reason: 'not done within 400 ms' });
  t.ok(performance.now() - startMs < 10_000);

  const silent = start(t, [server.url, '--json', '-W', '30', '--round-timeout', '0.5']);
  const mute = await silent.ended;
  t.equal(mute.code, 2, 'the time of the round bounds a step');
  t.match(stepsOf(mute.out)[0], {
    step: 'connect',
    ok: false,
    // What the round has left when the step begins.
    reason: /^not done within (4\d\d|500) ms$/,
  });
});

t.test('a step that is too slow has failed, and what follows is tried', async (t) => {
  const slow = await FakeServer.start();
  t.teardown(() => slow.stop());
  const running = start(t, [slow.url, '--json', '--max-latency', '150', '-W', '0.5']);
  const peer = await slow.peer();
  await new Promise((resolve) => setTimeout(resolve, 250));
  await peer.accept();
  await peer.grant([1]);
  const [connect, subscribe] = stepsOf((await running.ended).out);
  t.match(connect, { step: 'connect', ok: false, reason: 'took longer than 150 ms' });
  t.match(subscribe, { step: 'subscribe' });
});

t.test('again and again: lines, a summary, and the worst of all rounds', async (t) => {
  const ended = await probe(t, broker.url, '--every', '0.2', '-C', '3');
  t.equal(ended.code, 0, ended.err);
  t.equal(ended.out.match(/^\d{4}-\S+Z ok 8 steps in \S+ ms$/gm)?.length, 3);
  t.match(ended.out, /^3 rounds, 0 failed\n/m);
  t.match(ended.out, /qos1 +3 +0 +\d+\.\d\d +\d+\.\d\d +\d+\.\d\d +\d+\.\d\d\n/);
  const json = await probe(t, broker.url, '--count', '2', '--json');
  const [first, second, last] = json.out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  t.match(
    [first, second],
    [
      { round: 1, ok: true },
      { round: 2, ok: true },
    ],
  );
  t.match(last, { summary: { rounds: 2, failed: 0 } });
  const { steps } = (last as { summary: { steps: object[] } }).summary;
  t.match(steps[0], { step: 'connect', count: 2, failed: 0, ms: { p50: Number, max: Number } });
});

t.test('a signal ends it at once, and it leaves nothing', async (t) => {
  const prefix = newPrefix();
  const running = start(t, [broker.url, '--every', '0.1', '--prefix', prefix]);
  await once(running.child.stdout!, 'data');
  const startMs = performance.now();
  running.child.kill('SIGTERM');
  const { code, out } = await running.ended;
  t.equal(code, 0);
  t.match(out, /rounds, 0 failed/);
  t.ok(performance.now() - startMs < 3000);
  t.strictSame(await retainedBelow(prefix), []);
});

t.test('metrics and health of one that runs for ever', async (t) => {
  const own = await startBroker();
  t.teardown(() => own.stop());
  const args = [own.url, '--every', '0.2', '-W', '1', '--metrics', '127.0.0.1:0'];
  const { child, ended } = start(t, args);
  const [line] = (await once(createInterface({ input: child.stderr! }), 'line')) as [string];
  const url = /http:\/\/\S+(?=\/metrics)/.exec(line)![0];
  const health = async (): Promise<{ status: number; body: string }> => {
    const answer = await fetch(`${url}/health`);
    return { status: answer.status, body: await answer.text() };
  };
  /** Until it says so. */
  const until = async (status: number): Promise<string> => {
    for (const endMs = performance.now() + 15_000; performance.now() < endMs; ) {
      const now = await health();
      if (now.status === status) return now.body;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`never ${status}: ${JSON.stringify(await health())}`);
  };
  t.match(JSON.parse(await until(200)), { status: 'ok', ageMs: Number });
  const answer = await fetch(`${url}/metrics`);
  t.match(answer.headers.get('content-type'), /^text\/plain; version=0\.0\.4/);
  const text = await answer.text();
  t.match(text, `causeway_probe_step_ok{url="${own.url}",to="",step="qos1"} 1\n`);
  t.match(text, /causeway_probe_step_seconds_bucket\{le="0\.005",url="[^"]+",to="",step="ack"\} /);
  t.match(text, /causeway_probe_rounds_total\{result="ok"\} [1-9]/);
  const guide = readFileSync(new URL('../../docs/guides/probe.md', import.meta.url), 'utf8');
  for (const [, name] of text.matchAll(/^# TYPE (\S+) /gm))
    t.ok(guide.includes(`\`${name}\``), name!);
  t.equal((await fetch(`${url}/other`)).status, 404);
  const posted = await fetch(`${url}/metrics`, { method: 'POST', body: 'x' });
  t.strictSame([posted.status, posted.headers.get('allow')], [405, 'GET, HEAD']);

  await own.stop();
  const body = JSON.parse(await until(503)) as { status: string; failed: string[] };
  t.match(body, { status: 'failed', failed: [/^mqtt:\S+, /] });
  const failures = /causeway_probe_step_failures_total\{url="[^"]+",to="",step="connect"\} [1-9]/;
  for (let i = 0; i < 100; i++) {
    if (failures.test(await (await fetch(`${url}/metrics`)).text())) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  t.match(await (await fetch(`${url}/metrics`)).text(), failures);
  child.kill('SIGINT');
  t.equal((await ended).code, 2);
});

t.test('wrong flags: exit code 1 and what is wrong', async (t) => {
  const cases: [args: string[], wanted: RegExp][] = [
    [[], /a URL is missing/],
    [['http://x'], /mqtt:, mqtts:, ws:, wss: or unix:/],
    [['mqtt://a', 'mqtt://a:1883'], /mqtt:\/\/a:1883 is given twice/],
    [['mqtt://a', '--prefix', 'a/#'], /--prefix is a topic/],
    [['mqtt://a', '--every', '0'], /--every is 0\.1 seconds or more/],
    [['mqtt://a', '--metrics', '127.0.0.1:0'], /--metrics needs --every/],
    [['mqtt://a', '--every', '1', '--metrics', '9090'], /--metrics is HOST:PORT/],
    [['mqtt://a', '-W', '0'], /--timeout is more than 0/],
    [['mqtt://a', '--cafile', '/nowhere'], /--cafile: ENOENT/],
    [['mqtt://a', '--topic', 'x'], /unknown flag --topic/],
    [Array.from({ length: 17 }, (_, i) => `mqtt://h${i}`), /unexpected argument "mqtt:\/\/h16"/],
  ];
  for (const [args, wanted] of cases) await t.rejects(command.run(args), { message: wanted });
  const { code, out, err } = await probe(t, 'mqtt://a', '--prefix', '+');
  t.strictSame([code, out], [1, '']);
  t.match(err, /^causeway: probe: --prefix is a topic, without \+ and #\n/);
});

t.test('the guide names every step', (t) => {
  const guide = readFileSync(new URL('../../docs/guides/probe.md', import.meta.url), 'utf8');
  for (const [step, text] of Object.entries(stepTexts)) {
    t.ok(guide.includes(`| \`${step}\` | ${text} |`), step);
  }
  t.end();
});
