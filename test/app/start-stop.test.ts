// `causeway start` as a process: what it prints, how it ends, and why it does not start.
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type LogEntry, Running, runCli } from '../cli/run.ts';
import { temporaryFolder } from '../config/temporary-folder.ts';
import { RawClient } from './raw-client.ts';

const mqtt = ['--listen', 'mqtt://127.0.0.1:0'];

function start(t: Test, args: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
  const running = new Running(args, { env });
  t.teardown(() => running.end('SIGKILL'));
  return running;
}

t.test(
  'one line per listener with its real port, then ready, then the admin address',
  async (t) => {
    const folder = temporaryFolder(t);
    const socket = `unix:${join(folder, 'x.sock')}`;
    const listen = [...mqtt, '--listen', 'ws://127.0.0.1:0/mqtt', '--listen', socket];
    const running = start(t, [...listen, '--ephemeral', '--admin', 'http://127.0.0.1:0']);
    const admin = await running.entry('listening', ({ listener }) => listener === 'admin');
    const listening = running.entries.filter(({ msg }) => msg === 'listening');
    t.match(listening, [
      {
        level: 'info',
        address: /^mqtt:\/\/127\.0\.0\.1:[1-9]\d*$/,
        listener: 'mqtt://127.0.0.1:0',
      },
      { address: /^ws:\/\/127\.0\.0\.1:[1-9]\d*\/mqtt$/, listener: 'ws://127.0.0.1:0/mqtt' },
      { address: socket, listener: socket },
      { address: /^http:\/\/127\.0\.0\.1:[1-9]\d*$/, listener: 'admin' },
    ]);
    t.match(await running.entry('ready'), { store: 'memory', sessions: 0, version: /^\d/ });
    t.type((await running.entry('ready')).startMs, 'number');

    const health = await fetch(`${String(admin.address)}/health/full`);
    t.equal(health.status, 200, await health.text());
    const metrics = await (await fetch(`${String(admin.address)}/metrics`)).text();
    t.match(metrics, /causeway_/);
    t.equal(await running.end(), 0);
  },
);

t.test('SIGTERM tells every client 0x8B, and ends with 0', async (t) => {
  const running = start(t, [...mqtt, '--ephemeral', '--admin', 'off']);
  const port = await running.port('mqtt');
  const clients = await Promise.all([RawClient.open(port, 'a'), RawClient.open(port, 'b')]);
  const ends = clients.map(async (client) => {
    const packet = await client.packet(0xe0);
    client.socket.end();
    return packet[2];
  });
  t.equal(await running.end(), 0);
  t.strictSame(await Promise.all(ends), [0x8b, 0x8b]);
  t.match(running.entries.slice(-2), [{ msg: 'stopping', signal: 'SIGTERM' }, { msg: 'stopped' }]);
  t.equal(running.stderr, '');
});

t.test('clients that do not go do not keep it, and a second signal ends it at once', async (t) => {
  const limits = ['--set', 'limits.lingerMs=60s'];
  const patient = start(t, [
    ...mqtt,
    '--ephemeral',
    '--admin',
    'off',
    ...limits,
    '--set',
    'shutdownGraceMs=500',
  ]);
  await RawClient.open(await patient.port('mqtt'), 'a');
  const startedMs = performance.now();
  t.equal(await patient.end(), 0);
  t.ok(performance.now() - startedMs < 3000, 'within shutdownGraceMs and a margin');

  const hurried = start(t, [...mqtt, '--ephemeral', '--admin', 'off', ...limits]);
  await RawClient.open(await hurried.port('mqtt'), 'a');
  hurried.child.kill('SIGTERM');
  await hurried.entry('stopping');
  const secondMs = performance.now();
  t.equal(await hurried.end('SIGINT'), 2);
  t.ok(performance.now() - secondMs < 3000, 'long before shutdownGraceMs');
});

t.test('what was acked is there after a restart; one node at a time has the folder', async (t) => {
  const folder = temporaryFolder(t);
  const args = [
    ...mqtt,
    '--data',
    join(folder, 'data'),
    '--admin',
    'off',
    '--set',
    'sysIntervalS=0',
  ];
  const first = start(t, args);
  const publisher = await RawClient.open(await first.port('mqtt'), 'p');
  publisher.socket.write(Buffer.from([0x33, 8, 0, 1, 0x74, 0, 1, 0, 0x68, 0x69]));
  await publisher.packet(0x40);

  const second = await runCli(['start', ...args]);
  t.equal(second.code, 2);
  const said = JSON.parse(second.stdout.trim().split('\n').at(-1) ?? '{}') as LogEntry;
  t.match(said, { level: 'fatal', msg: /^cannot start: .*data/ });

  t.equal(await first.end(), 0);
  const third = start(t, args);
  t.match(await third.entry('ready'), { store: 'embedded', retainedMessages: 1 });
  t.equal(await third.end(), 0);
});

t.test('an address that is taken', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const taken = await runCli([
    'start',
    '--ephemeral',
    '--admin',
    'off',
    ...mqtt,
    '--listen',
    `mqtt://127.0.0.1:${port}`,
  ]);
  t.equal(taken.code, 2);
  t.match(
    taken.stdout,
    new RegExp(`"fatal".*cannot start: .*127\\.0\\.0\\.1:${port}: port ${port} is taken`),
  );

  const admin = await runCli([
    'start',
    '--ephemeral',
    ...mqtt,
    '--admin',
    `http://127.0.0.1:${port}`,
  ]);
  t.equal(admin.code, 2);
  t.match(admin.stdout, /cannot start: admin address .* is in use: choose another with --admin/);
});

t.test('an error nobody expected ends the process with 1 and its cause in the log', async (t) => {
  const cause = 'new Error("boom", { cause: new Error("spark") })';
  const fault = `process.on("SIGUSR2", () => { throw ${cause}; })`;
  const running = start(t, [...mqtt, '--ephemeral', '--admin', 'off'], {
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(fault)}`,
  });
  await running.entry('ready');
  t.equal(await running.end('SIGUSR2'), 1);
  t.match(running.entries.at(-1), {
    level: 'fatal',
    msg: 'unexpected error, the process ends',
    origin: 'uncaughtException',
    err: { message: /boom.*spark/, stack: /caused by: Error: spark/ },
  });
});

t.test('logs: readable lines when asked for, levels, nothing else on stdout', async (t) => {
  const args = [...mqtt, '--ephemeral', '--admin', 'off'];
  const pretty = start(t, [...args, '--set', 'log.format=pretty']);
  const quiet = start(t, args, { CAUSEWAY_LOG_LEVEL: 'error' });
  const isReady = ({ line }: LogEntry): boolean => /INFO.*ready/.test(String(line));
  t.match(await pretty.entry('text', isReady), { line: /ready/ });
  t.equal(await pretty.end(), 0);
  t.equal(await quiet.end(), 0);
  t.strictSame(quiet.entries, []);
});
