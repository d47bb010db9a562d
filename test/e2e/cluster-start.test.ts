// How a node of a datacenter starts, waits, refuses and stops, and that a node alone loads nothing of it.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { Client, openSocket } from '../conformance/client.ts';
import { connect } from '../conformance/packets.ts';
import { DURABLE, freePort, RedisServer, redisAdmin } from '../support/redis-server.ts';
import { Broker, type BrokerOptions, type LogEntry } from './broker.ts';
import { sleep, TestCluster, until } from './cluster-kit.ts';

t.setTimeout(180_000);
t.jobs = 2;

const quiet = ['--set', 'sysIntervalS=0'];

function start(t: Test, url: string, options: BrokerOptions = {}): Broker {
  const { flags = [], ...rest } = options;
  const broker = new Broker({ ...rest, flags: ['--redis', url, ...quiet, ...flags] });
  t.teardown(() => broker.kill());
  return broker;
}

async function ready(broker: Broker): Promise<{ status: number; text: string }> {
  const admin = await broker.entry('listening', ({ listener }) => listener === 'admin');
  const answer = await fetch(`${admin.address}/health/ready`, {
    headers: { connection: 'close' },
  });
  return { status: answer.status, text: await answer.text() };
}

t.test('a node that has not reached Redis waits, says so, and opens no listener', async (t) => {
  const port = await freePort();
  const broker = start(t, `redis://127.0.0.1:${port}`, { hasAdmin: true });
  await broker.entry('Redis: no connection');
  const health = await ready(broker);
  t.equal(health.status, 503);
  t.match(health.text, /0 of 1 listeners.*Redis is not reached; it waits for Redis/);
  t.notMatch(health.text, /127\.0\.0\.1/, 'no addresses for everybody');
  t.notOk(broker.addresses.has('mqtt'));

  const redis = new RedisServer(port, mkdtempSync(join(tmpdir(), 'causeway-redis-')), DURABLE);
  t.teardown(() => redis.remove());
  await redis.resume();
  await broker.ready;
  await until('ready', async () => (await ready(broker)).status === 200);
  t.strictSame(await broker.stop(), { code: 0, signal: null });
});

t.test('SIGTERM ends a node that waits', async (t) => {
  const broker = start(t, `redis://127.0.0.1:${await freePort()}`);
  await broker.entry('Redis: no connection');
  t.strictSame(await broker.stop(), { code: 0, signal: null });
});

t.test('what waiting does not mend ends the start with one sentence', async (t) => {
  const redis = await RedisServer.start(t, ['--requirepass', 'right', '--maxmemory', '100mb']);
  const admin = await redisAdmin(t, `redis://:right@127.0.0.1:${redis.port}`);
  const fails = async (url: string, message: RegExp, flags: readonly string[] = []) => {
    const broker = start(t, url, { flags });
    t.match(await broker.exited, { code: 2 });
    const [fatal] = broker.errors;
    t.match(fatal, { level: 'fatal', msg: message });
    t.notMatch(JSON.stringify(broker.entries), /canary|right/, 'no secret in the log');
  };
  await fails(
    `redis://:canary@127.0.0.1:${redis.port}`,
    /cannot start: Redis cannot be used: .*login refused: WRONGPASS, user or password is wrong/,
  );
  await fails(redis.url, /cannot be used: .*NOAUTH, it wants a password/);
  await admin('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
  const folder = mkdtempSync(join(tmpdir(), 'causeway-start-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const passwordFile = join(folder, 'password');
  writeFileSync(passwordFile, 'right\n');
  const withPassword = ['--set', `cluster.redis.passwordFile=${passwordFile}`];
  await fails(
    redis.url,
    /Redis drops keys when its memory is full: sessions and queues would vanish\. \(maxmemory-policy is allkeys-lru/,
    withPassword,
  );
  await admin('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
  const broker = start(t, redis.url, { flags: withPassword });
  await broker.ready;
  await broker.entry('Redis has no file: when it stops, sessions and queues are gone.');
  t.match(await broker.exit, null);
});

t.test(
  'settings that break a promise are named at start, with their value and the wanted one',
  async (t) => {
    const wrong = ['--maxmemory-policy', 'allkeys-lru', '--min-replicas-to-write', '1'];
    const everySecond = ['--appendonly', 'yes', '--appendfsync', 'everysec'];
    const redis = await RedisServer.start(t, [...everySecond, ...wrong]);
    const broker = start(t, redis.url);
    const named = async (sentence: string, setting: string, value: string, wanted: string) => {
      const entry = await broker.entry(sentence);
      t.match(entry, { level: 'warn', server: redis.url, setting, value, wanted, promise: 'P1' });
    };
    const policy = 'Redis would drop keys as soon as maxmemory is set; set noeviction.';
    await named(policy, 'maxmemory-policy', 'allkeys-lru', 'noeviction');
    const fsync = 'Redis answers before it syncs: a kill of Redis may lose acked messages.';
    await named(fsync, 'appendfsync', 'everysec', 'always');
    const replicas = 'Redis has fewer replicas than that: it refuses every write.';
    await named(replicas, 'min-replicas-to-write', '1', 'at most 0');
    t.notOk(broker.addresses.has('mqtt'), 'nor is it ready');
    await broker.kill();

    const waiting = start(t, redis.url, { flags: ['--set', 'cluster.redis.replicasMin=1'] });
    const admin = await redisAdmin(t, redis.url);
    await admin('CONFIG', 'SET', 'min-replicas-to-write', '0');
    const isShort = ({ problem }: LogEntry): boolean =>
      /^redis.*: 0 of 1 replicas had a write in time \(cluster\.redis\.replicasMin\)$/.test(
        `${problem}`,
      );
    await waiting.entry('Redis: no connection', isShort);
  },
);

t.test('peers prove a secret of a file, and show certificates', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'causeway-peers-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = (name: string): string => join(folder, name);
  const openssl = (...args: string[]): void => {
    execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
  };
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=ca');
  openssl('req', ...key, '-keyout', 'node.key', '-out', 'node.csr', '-subj', '/CN=node');
  const signed = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2'];
  openssl('x509', '-req', '-in', 'node.csr', ...signed, '-out', 'node.pem');
  writeFileSync(file('secret'), 'of the nodes\n');
  writeFileSync(file('other'), 'of somebody else\n');
  const tls = ['caFile=ca.pem', 'certFile=node.pem', 'keyFile=node.key'].flatMap((option) => {
    const [name, value] = option.split('=') as [string, string];
    return ['--set', `cluster.peer.tls.${name}=${file(value)}`];
  });
  const cluster = await TestCluster.start(t, {
    names: ['a', 'b'],
    flags: [...tls, '--set', `cluster.peer.secretFile=${file('secret')}`],
  });
  const sub = await cluster.client('b', 'sub');
  await sub.subscribed('x');
  const pub = await cluster.client('a', 'pub');
  await pub.publish('x', 'over TLS', { qos: 1 });
  await sub.message({ payload: 'over TLS' });

  const stranger = new Broker({
    hasAdmin: true,
    flags: [
      ...['--redis', cluster.redis.url, '--node-id', 'stranger', ...tls],
      ...['--set', `cluster.peer.secretFile=${file('other')}`],
    ],
  });
  t.teardown(() => stranger.kill());
  const isRefused = ({ why }: LogEntry): boolean => why === 'it does not know the secret';
  await stranger.entry('joining the datacenter');
  await cluster.node('a').entry('link down', isRefused);
  t.equal((await ready(stranger)).status, 503, 'it does not come in');
  await stranger.kill();
});

t.test('while a node is no member, who connects is told to go elsewhere', async (t) => {
  const cluster = await TestCluster.start(t, { names: ['a'], flags: quiet, hasAdmin: true });
  const node = cluster.node('a');
  const passing = await cluster.client('a', 'passing');
  const redis = await redisAdmin(t, cluster.redis.url);
  const incarnation = async (): Promise<string> =>
    ((await redis('HKEYS', 'causeway:n:{cluster}:m')) as string[])[0] ?? '';
  const before = await incarnation();
  // As the others would do; with Redis away it cannot come back.
  await redis('ZADD', 'causeway:n:{cluster}:dead', `${Date.now()}`, before);
  await passing.closedAfter(['DISCONNECT']);
  await until('another life', async () => (await incarnation()) !== before);
  const { client } = await cluster.resumed('a', 'passing');
  await client.ping();
  t.equal(await node.metric('causeway_cluster_evicted_total'), 1);
  client.destroy();
});

t.test('the door answers 0x88 in the words of each version', async (t) => {
  const cluster = await TestCluster.start(t, { names: ['a'], flags: quiet });
  const passing = await cluster.client('a', 'passing');
  // Redis is gone: the lease ends, and whoever is buried stays out until it is back.
  const redis = await redisAdmin(t, cluster.redis.url);
  const [incarnation] = (await redis('HKEYS', 'causeway:n:{cluster}:m')) as string[];
  await redis('ZADD', 'causeway:n:{cluster}:dead', `${Date.now()}`, incarnation!);
  await redis('CLIENT', 'PAUSE', '1', 'ALL');
  await passing.closedAfter(['DISCONNECT']);
  await cluster.redis.stop();
  const refusedAs = async (version: 3 | 4 | 5): Promise<number | undefined> => {
    const socket = await openSocket('127.0.0.1', cluster.node('a').port());
    const client = new Client(socket, version, 'late');
    // With a session to keep: without one it gets in when the node has joined anew before Redis went.
    const properties = version === 5 ? [['sessionExpiryInterval', 60] as const] : [];
    client.send(connect({ version, clientId: 'late', clean: false, properties }));
    const got = await client.next(3000);
    client.destroy();
    return got?.reasonCode;
  };
  await sleep(100);
  for (const [version, code] of [
    [5, 0x88],
    [4, 3],
    [3, 3],
  ] as const) {
    t.equal(await refusedAs(version), code, `MQTT ${version}`);
  }
});

t.test('a node alone loads nothing of it', async (t) => {
  const src = fileURLToPath(new URL('../../src/', import.meta.url));
  const loaded = new Set<string>();
  const visit = (file: string): void => {
    if (loaded.has(file)) return;
    loaded.add(file);
    const text = readFileSync(join(src, file), 'utf8');
    // Types are not there when it runs; what is imported later is not loaded yet.
    for (const [, name = ''] of text.matchAll(
      /^(?:import|export)\s(?!type\b)[^;]*?'(\.[^']+)';/gm,
    )) {
      visit(relative(src, join(dirname(join(src, file)), name)));
    }
  };
  visit('app/node.ts');
  const ofCluster = [...loaded].filter((file) =>
    /^(cluster|store\/redis|drivers\/redis)\/|^app\/(datacenter|peer-door|shared-redis)/.test(file),
  );
  // What reads the option of a URL and a prefix.
  t.strictSame(ofCluster.toSorted(), [
    'drivers/redis/redis-target.ts',
    'drivers/redis/redis-url.ts',
    'store/redis/keys.ts',
  ]);
});
