// `causeway pub`, `sub` and `rr` as a user runs them: real processes, a real broker, exit codes.
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { command as pub } from '../../src/cli/commands/pub.ts';
import { command as rr } from '../../src/cli/commands/rr.ts';
import { command as sub } from '../../src/cli/commands/sub.ts';
import { Client } from '../../src/client/client.ts';
import { startBroker, type TestBroker } from './broker.ts';
import { FakeServer } from './fake-server.ts';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'causeway-commands-'));
let broker: TestBroker;

t.before(async () => {
  broker = await startBroker();
});

t.teardown(async () => {
  await broker.stop();
  rmSync(folder, { recursive: true, force: true });
});

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
}

function start(t: Test, args: readonly string[], stdin?: string | Buffer, env = {}): Running {
  const child = spawn(process.execPath, [main, ...args], {
    env: { ...process.env, NODE_OPTIONS: '', CAUSEWAY_PASSWORD: '', ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  child.stdin.on('error', () => {});
  child.stdin.end(stdin ?? '');
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
  const { promise, resolve } = Promise.withResolvers<Ended>();
  child.once('close', (code) => {
    resolve({ code, out: Buffer.concat(out).toString(), err: Buffer.concat(err).toString() });
  });
  return { child, ended: promise };
}

/** Runs to its end. */
function run(t: Test, args: readonly string[], stdin?: string | Buffer, env = {}): Promise<Ended> {
  return start(t, args, stdin, env).ended;
}

/** With the address of the broker. */
function at(command: string, ...args: readonly string[]): string[] {
  return [command, '--url', broker.url, ...args];
}

function newTopic(): string {
  return `commands/${randomBytes(6).toString('hex')}`;
}

interface Watcher {
  readonly got: { topic: string; payload: string; qos: number; retain: boolean; props: object }[];
  /** Waits for so many. */
  count(wanted: number): Promise<void>;
}

async function watch(t: Test, filter: string): Promise<Watcher> {
  const got: Watcher['got'] = [];
  let wake = (): void => {};
  const client = new Client({
    url: broker.url,
    onMessage: ({ topic, payload, qos, retain, properties }) => {
      got.push({ topic, payload: payload.toString(), qos, retain, props: properties });
      wake();
    },
  });
  t.teardown(() => client.destroy());
  await client.connect();
  await client.subscribe([{ filter, qos: 2, retainAsPublished: true }]);
  const count = async (wanted: number): Promise<void> => {
    while (got.length < wanted) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  return { got, count };
}

/** Resolves when `sub` is subscribed: what is published then, retained, comes back to it. */
async function subscribed(t: Test, args: readonly string[], env = {}): Promise<Running> {
  const ready = `ready/${randomBytes(6).toString('hex')}`;
  const running = start(t, [...at('sub', ...args), '-t', ready], undefined, env);
  const came = new Promise<void>((resolve) => {
    running.child.stdout!.once('data', () => resolve());
  });
  const publisher = new Client({ url: broker.url });
  await publisher.connect();
  await publisher.publish(ready, 'ready', { qos: 1, retain: true });
  await Promise.race([came, running.ended]);
  await publisher.disconnect();
  return running;
}

t.test('pub: every source of a payload', async (t) => {
  const topic = newTopic();
  const file = join(folder, 'payload');
  writeFileSync(file, 'from a file\n');
  const { got, count } = await watch(t, `${topic}/#`);
  const cases: [args: string[], stdin: string, wanted: string[]][] = [
    [['-m', 'grüß'], '', ['grüß']],
    [['-m', ''], '', ['']],
    [['-n'], '', ['']],
    [['-f', file], '', ['from a file\n']],
    [['-s'], 'all of\nit\n', ['all of\nit\n']],
    [['-l'], 'one\ntwo\r\n\nlast', ['one', 'two', '', 'last']],
    [['-m', 'again', '--repeat', '3', '--repeat-delay', '0.01'], '', ['again', 'again', 'again']],
  ];
  for (const [args, stdin, wanted] of cases) {
    got.length = 0;
    const { code, out, err } = await run(
      t,
      at('pub', '-t', `${topic}/a`, '-q', '1', ...args),
      stdin,
    );
    t.strictSame([code, out, err], [0, '', ''], args.join(' '));
    await count(wanted.length);
    t.strictSame(
      got.map(({ payload }) => payload),
      wanted,
      args.join(' '),
    );
  }
});

t.test('pub: QoS, retain, properties, versions', async (t) => {
  const topic = newTopic();
  const { got, count } = await watch(t, `${topic}/#`);
  const properties = [
    ['--property', 'content-type=text/plain'],
    ['--property', 'response-topic=a/b'],
    ['--property', 'correlation-data=xyz'],
    ['--property', 'message-expiry-interval=60'],
    ['--property', 'payload-format-indicator=1'],
    ['--property', 'receive-maximum=10'],
    ['--user-property', 'k=v=w'],
    ['--user-property', 'k='],
  ].flat();
  const modern = await run(
    t,
    at('pub', '-t', `${topic}/5`, '-m', 'x', '-q', '2', '-r', ...properties),
  );
  t.equal(modern.code, 0, modern.err);
  await count(1);
  t.match(got[0], { qos: 2, retain: true });
  t.match(got[0]?.props, {
    contentType: 'text/plain',
    responseTopic: 'a/b',
    payloadFormatIndicator: 1,
    correlationData: Buffer.from('xyz'),
    userProperties: [
      ['k', 'v=w'],
      ['k', ''],
    ],
  });
  t.equal((await run(t, at('pub', '-t', `${topic}/5`, '-n', '-r'))).code, 0);
  for (const version of ['3.1.1', '3.1']) {
    const old = await run(
      t,
      at('pub', '-V', version, '-t', `${topic}/3`, '-m', version, '-q', '1'),
    );
    t.equal(old.code, 0, old.err);
  }
  await count(4);
  t.strictSame(
    got.slice(2).map(({ payload }) => payload),
    ['3.1.1', '3.1'],
  );
});

t.test('wrong flags are said before anything is connected', async (t) => {
  const cases: [args: string[], says: RegExp][] = [
    [['pub', '-m', 'x'], /a topic is missing: -t TOPIC/],
    [['pub', '-t', 'a'], /one of -m, -f, -l, -s and -n/],
    [['pub', '-t', 'a', '-m', 'x', '-n'], /one of -m, -f, -l, -s and -n/],
    [['pub', '-t', 'a/#', '-m', 'x'], /topic name is empty or contains/],
    [['pub', '-t', 'a', '-m', 'x', '-q', '3'], /--qos must be a number from 0 to 2/],
    [['pub', '-t', 'a', '-m', 'x', '--topik', 'b'], /unknown flag --topik, did you mean --topic/],
    [['pub', '-t', 'a', '-m', 'x', 'stray'], /unexpected argument "stray"/],
    [['pub', '-t', 'a', '-m'], /-m needs a value/],
    [['pub', '-t', 'a', '-t', 'b', '-m', 'x'], /-t is given twice/],
    [['pub', '-t', 'a', '-f', '/no/such/file'], /payload cannot be read: ENOENT/],
    [['pub', '-t', 'a', '-m', 'x', '-V', '6'], /--protocol-version is 5, 3.1.1 or 3.1/],
    [['pub', '-t', 'a', '-m', 'x', '--url', 'http://h'], /server URLs start with/],
    [['pub', '-t', 'a', '-m', 'x', '--url', 'mqtt://h', '-p', '1'], /says host and port already/],
    [['pub', '-t', 'a', '-m', 'x', '-c'], /only be kept with a client identifier/],
    [['pub', '-t', 'a', '-m', 'x', '--cert', 'c'], /--cert and --key go together/],
    [['pub', '-t', 'a', '-m', 'x', '--cafile', '/no/such'], /--cafile: ENOENT/],
    [['pub', '-t', 'a', '-m', 'x', '--will-qos', '1'], /--will-qos needs --will-topic/],
    [['pub', '-t', 'a', '-m', 'x', '--property', 'x=1'], /unknown property x; there are/],
    [['pub', '-t', 'a', '-m', 'x', '--property', 'x'], /must be NAME=VALUE/],
    [['pub', '-t', 'a', '-m', 'x', '-P', 'p', '--password-file', 'f'], /are both given/],
    [['pub', '-t', 'a', '-m', 'x', '-V', '3.1.1', '-P', 'p'], /no password without a user name/],
    [['sub'], /a topic is missing: -t FILTER/],
    [['sub', '-t', 'a/#/b'], /"a\/#\/b" is not a topic filter/],
    [['sub', '-t', 'a', '-F', '%z'], /-F: %z means nothing/],
    [['sub', '-t', 'a', '-C', '0'], /--count must be a number from 1/],
    [['sub', '-t', 'a', '-R', '--retained-only'], /leave no message/],
    [['sub', '-t', 'a', '--property', 'content-type=x'], /sub sends no packet with the property/],
    [['rr', '-m', 'x'], /a topic is missing/],
    [['rr', '-t', 'a'], /one of -m, -f, -s and -n/],
  ];
  const commands = new Map([pub, sub, rr].map((command) => [command.name, command]));
  for (const [[name, ...args], says] of cases) {
    const running = commands.get(name!)!.run(args);
    await t.rejects(running, { name: 'UsageError', message: says }, args.join(' '));
  }
  const { code, out, err } = await run(t, ['pub', '-t', 'a', '-m', 'x', '--topik', 'b']);
  t.strictSame([code, out], [1, '']);
  t.equal(
    err,
    'causeway: pub: unknown flag --topik, did you mean --topic?\n' +
      'causeway: causeway pub --help shows its usage\n',
  );
});

t.test('not connected or refused: exit code 2 and the reason', async (t) => {
  const nobody = await run(t, ['pub', '-p', '1', '-t', 'a', '-m', 'x']);
  t.strictSame([nobody.code, nobody.out], [2, '']);
  t.equal(
    nobody.err,
    'causeway pub: cannot connect to mqtt://127.0.0.1:1: connection refused (ECONNREFUSED)\n',
  );
  const server = await FakeServer.start();
  t.teardown(() => server.stop());
  for (const [command, ...args] of [['pub', '-m', 'x'], ['sub'], ['rr', '-m', 'x']] as const) {
    const running = run(t, [command, '--url', server.url, '-t', 'a', ...args]);
    await (await server.peer()).accept({ reasonCode: 0x86 });
    const { code, err } = await running;
    t.equal(code, 2);
    t.equal(err, `causeway ${command}: connection refused: bad user name or password (0x86)\n`);
  }
  const denied = run(t, ['sub', '--url', server.url, '-t', 'a', '-t', 'b']);
  const peer = await server.peer();
  await peer.accept();
  await peer.grant([0x87, 0x8f]);
  const { code, err } = await denied;
  t.equal(code, 2);
  t.equal(
    err,
    'causeway sub: subscription of "a" refused: not authorized (0x87)\n' +
      'causeway sub: subscription of "b" refused: topic filter invalid (0x8f)\n',
  );
});

t.test('who connects: credentials, session, will', async (t) => {
  const server = await FakeServer.start();
  t.teardown(() => server.stop());
  const secret = join(folder, 'secret');
  writeFileSync(secret, 'from file\nsecond line\n');
  const connectOf = async (args: readonly string[], env = {}) => {
    const running = run(t, ['pub', '--url', server.url, '-t', 'a', '-m', 'x', ...args], '', env);
    const peer = await server.peer();
    const connect = await peer.accept();
    const { code, err } = await running;
    t.equal(code, 0, err);
    return connect;
  };
  const byEnvironment = await connectOf(['-u', 'me'], { CAUSEWAY_PASSWORD: 'from env' });
  t.strictSame([byEnvironment.username, byEnvironment.password?.toString()], ['me', 'from env']);
  const byFile = await connectOf(['-u', 'me', '--password-file', secret]);
  t.equal(byFile.password?.toString(), 'from file');
  const byFlag = await connectOf(['-u', 'me', '-P', 'given'], { CAUSEWAY_PASSWORD: 'from env' });
  t.equal(byFlag.password?.toString(), 'given');

  const plain = await connectOf([]);
  t.match(plain, { cleanStart: true, sessionExpiryIntervalS: 0, keepAliveS: 60, password: null });
  t.match(plain.clientId, /^causeway-[0-9a-f]{16}$/);
  const kept = await connectOf(['-c', '-i', 'me', '-k', '7']);
  t.match(kept, {
    clientId: 'me',
    cleanStart: false,
    sessionExpiryIntervalS: 86_400,
    keepAliveS: 7,
  });
  t.match(await connectOf(['-i', 'me', '-x', '5']), {
    cleanStart: true,
    sessionExpiryIntervalS: 5,
  });
  t.match(await connectOf(['-V', '3.1.1', '-c', '-i', 'me']), {
    protocolVersion: 4,
    cleanStart: false,
  });
  const will = ['--will-topic', 'gone', '--will-payload', 'bye', '--will-qos', '1'];
  t.match((await connectOf([...will, '--will-retain', '--will-delay', '9'])).will, {
    topic: 'gone',
    payload: Buffer.from('bye'),
    qos: 1,
    retain: true,
    delayIntervalS: 9,
  });
});

t.test('sub: formats', async (t) => {
  const topic = newTopic();
  const cases: [args: string[], wanted: RegExp | string][] = [
    [[], 'ready\n{"n":1}\n'],
    [['-v'], new RegExp(`\n${topic} \\{"n":1\\}\n$`)],
    [['-N'], 'ready{"n":1}'],
    [['-F', '%q|%r|%l|%x|%%|\\t|'], 'QOS|0|7|7b226e223a317d|%|\t|\n'],
    [['-F', '%t %p %C %P'], `${topic} {"n":1} text/x a:b\n`],
    [['-F', '%j'], '"payload":"{\\"n\\":1}"}\n'],
    [['-F', '%J'], '"payload":{"n":1}}\n'],
  ];
  const publish = {
    qos: 1,
    properties: { contentType: 'text/x', userProperties: [['a', 'b']] },
  } as const;
  const publisher = new Client({ url: broker.url });
  t.teardown(() => publisher.destroy());
  await publisher.connect();
  for (const [args, wanted] of cases) {
    const running = await subscribed(t, ['-t', topic, '-C', '2', '-q', '1', ...args]);
    await publisher.publish(topic, '{"n":1}', publish);
    const { code, out, err } = await running.ended;
    t.strictSame([code, err], [0, '']);
    if (typeof wanted === 'string') t.ok(out.endsWith(wanted.replace('QOS', '1')), out);
    else t.match(out, wanted);
  }
  const running = await subscribed(t, ['-t', topic, '-C', '2', '-F', '%j']);
  await publisher.publish(topic, Buffer.from([0xff, 0x00]));
  const lines = (await running.ended).out.trim().split('\n');
  const described = JSON.parse(lines.at(-1)!) as object;
  t.match(described, { topic, qos: 0, retain: 0, payloadlen: 2, payload_hex: 'ff00' });
  await publisher.disconnect();
});

t.test('sub: -C, -W and signals end it, each with its code', async (t) => {
  const topic = newTopic();
  const startMs = performance.now();
  const late = await run(t, at('sub', '-t', topic, '-W', '0.5'));
  t.strictSame([late.code, late.out, late.err], [27, '', '']);
  t.ok(performance.now() - startMs >= 500);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const running = await subscribed(t, ['-t', topic]);
    running.child.kill(signal);
    t.strictSame((await running.ended).code, 0, signal);
  }
});

t.test('sub: retained or not', async (t) => {
  const topic = newTopic();
  const client = new Client({ url: broker.url });
  t.teardown(() => client.destroy());
  await client.connect();
  for (const name of ['a', 'b'])
    await client.publish(`${topic}/${name}`, name, { qos: 1, retain: true });
  const only = start(t, at('sub', '-v', '-t', `${topic}/#`, '--retained-only'));
  let out = '';
  for await (const chunk of only.child.stdout!) {
    out += chunk;
    if (out.split('\n').length === 3) await client.publish(`${topic}/c`, 'live', { qos: 1 });
  }
  t.strictSame(
    [(await only.ended).code, out.trim().split('\n').sort()],
    [0, [`${topic}/a a`, `${topic}/b b`]],
  );
  const none = await run(t, at('sub', '-v', '-t', `${topic}/#`, '-R', '-W', '0.6'));
  t.strictSame([none.code, none.out], [27, '']);
  const cleared = await run(t, at('sub', '-t', `${topic}/#`, '--remove-retained', '-C', '2'));
  t.strictSame([cleared.code, cleared.out.trim().split('\n').sort()], [0, ['a', 'b']]);
  const gone = await run(t, at('sub', '-t', `${topic}/#`, '-W', '0.6'));
  t.strictSame([gone.code, gone.out], [27, ''], 'nothing is retained any more');
  await client.disconnect();
});

t.test('sub: a session resumes, and -C leaves the rest for the next time', async (t) => {
  const topic = newTopic();
  const id = `commands-${randomBytes(6).toString('hex')}`;
  const args = ['-c', '-i', id, '-q', '1', '-t', `${topic}/+`];
  t.equal((await run(t, at('sub', ...args, '-W', '0.5'))).code, 27);
  const client = new Client({ url: broker.url });
  t.teardown(() => client.destroy());
  await client.connect();
  for (let i = 1; i <= 5; i++) await client.publish(`${topic}/a`, String(i), { qos: 1 });
  await client.disconnect();
  const first = await run(t, at('sub', ...args, '-C', '2'));
  t.strictSame([first.code, first.out], [0, '1\n2\n']);
  const second = await run(t, at('sub', ...args, '-C', '3'));
  t.strictSame([second.code, second.out], [0, '3\n4\n5\n']);
});

t.test('sub: a reader that goes away is an end and no error', async (t) => {
  const topic = newTopic();
  const running = await subscribed(t, ['-t', topic, '-q', '1']);
  running.child.stdout!.destroy();
  const client = new Client({ url: broker.url });
  t.teardown(() => client.destroy());
  await client.connect();
  let isEnded = false;
  void running.ended.then(() => {
    isEnded = true;
  });
  while (!isEnded) {
    await client.publish(topic, 'x'.repeat(1000), { qos: 1 });
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const { code, err } = await running.ended;
  t.strictSame([code, err], [0, '']);
  await client.disconnect();
});

t.test('sub: reconnects, and says so', async (t) => {
  const server = await FakeServer.start();
  t.teardown(() => server.stop());
  const running = start(t, ['sub', '--url', server.url, '-t', 'a', '-W', '20']);
  const first = await server.peer();
  await first.accept();
  await first.grant([0]);
  first.cut();
  const second = await server.peer();
  await second.accept();
  const { subscribe } = await second.grant([0]);
  t.equal(subscribe?.subscriptions[0]?.filter, 'a');
  running.child.kill('SIGTERM');
  const { code, err } = await running.ended;
  t.equal(code, 0);
  t.match(err, /^causeway sub: .*; next attempt in \d\.\d s\n$/);
});

t.test('rr: the response that belongs to the request', async (t) => {
  const topic = newTopic();
  const server = new Client({
    url: broker.url,
    onMessage: async ({ payload, properties: { responseTopic, correlationData } }) => {
      const other = { correlationData: Buffer.from('of somebody else') };
      await server.publish(responseTopic!, 'wrong', { properties: other });
      await server.publish(responseTopic!, `re: ${payload}`, {
        properties: correlationData === undefined ? {} : { correlationData },
      });
    },
  });
  t.teardown(() => server.destroy());
  await server.connect();
  await server.subscribe(topic);
  const answered = await run(t, at('rr', '-t', topic, '-m', 'hello', '-W', '10'));
  t.strictSame([answered.code, answered.out, answered.err], [0, 're: hello\n', '']);
  const verbose = await run(t, at('rr', '-t', topic, '-e', `${topic}/answer`, '-s', '-v'), 'in');
  t.strictSame([verbose.code, verbose.out], [0, `${topic}/answer re: in\n`]);
  const silent = await run(t, at('rr', '-t', `${topic}/nobody`, '-m', 'x', '-W', '0.3'));
  t.strictSame([silent.code, silent.out, silent.err], [27, '', '']);
  await server.disconnect();
});

t.test('--help is a text of its own for each', async (t) => {
  for (const command of ['pub', 'sub', 'rr']) {
    const { code, out, err } = await run(t, [command, '--help']);
    t.strictSame([code, err], [0, '']);
    t.match(out, new RegExp(`^causeway ${command} -t `));
    for (const line of out.split('\n')) t.ok(line.length <= 100, line);
  }
});
