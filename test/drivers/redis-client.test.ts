/**
 * The Redis driver against a real Redis that is killed, stopped, started again, locked with a password,
 * reached over TLS and a Unix socket: commands fail at once while it is away, and it heals by itself.
 */
import { execFileSync } from 'node:child_process';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { readCaFile } from '../../src/drivers/ca-file.ts';
import { RedisClient, type RedisClientOptions } from '../../src/drivers/redis/redis-client.ts';
import { RedisError } from '../../src/drivers/redis/redis-error.ts';
import { parseRedisUrl } from '../../src/drivers/redis/redis-url.ts';
import { sleep, until } from '../access/backend-kit.ts';
import { RedisServer, redisAdmin } from '../support/redis-server.ts';

const SECRET = 'canary-redis-pw';

function connect(t: Test, url: string, options: Partial<RedisClientOptions> = {}) {
  const heard: string[] = [];
  const client = new RedisClient({
    address: parseRedisUrl(url),
    ca: null,
    connectTimeoutMs: 1000,
    commandTimeoutMs: 1000,
    heartbeatMs: 100,
    heartbeatTimeoutMs: 800,
    backoffMinMs: 20,
    backoffMaxMs: 200,
    onUp: () => heard.push('up'),
    onDown: (why) => heard.push(why),
    ...options,
  });
  t.teardown(() => client.close());
  return { client, heard };
}

t.test('URLs', async (t) => {
  t.match(parseRedisUrl('redis://us%3Aer:p%40ss%2F@db.example:7000/3'), {
    host: 'db.example',
    port: 7000,
    username: 'us:er',
    password: 'p@ss/',
    database: 3,
    isTls: false,
    display: 'redis://db.example:7000/3',
  });
  t.match(parseRedisUrl('rediss://:secret@[::1]'), {
    host: '::1',
    port: 6379,
    username: null,
    password: 'secret',
    isTls: true,
    display: 'rediss://[::1]:6379',
  });
  t.match(parseRedisUrl('unix:/run/redis.sock?db=2&user=app'), {
    path: '/run/redis.sock',
    database: 2,
    username: 'app',
    display: 'unix:/run/redis.sock?db=2',
  });
  for (const bad of [
    'nonsense',
    'http://x',
    'redis://',
    'redis://x/one',
    'redis://x?tls=1',
    'redis://x#y',
    'unix:',
    'unix:/x?y=1',
    `redis://a%zz:${SECRET}@x`,
  ]) {
    t.throws(() => parseRedisUrl(bad), TypeError, bad);
    try {
      parseRedisUrl(bad);
    } catch (error) {
      t.notOk((error as Error).message.includes('canary'));
    }
  }
});

t.test('commands, and arguments that look like commands', async (t) => {
  const server = await RedisServer.start(t);
  const { client } = connect(t, server.url);
  await client.start();
  t.equal(client.state, 'up');
  const odd = 'a\r\n$3\r\nDEL\r\n*1\r\n\u0000 "\u00fc';
  t.equal(await client.command(['SET', odd, odd]), 'OK');
  t.equal(await client.command(['GET', odd]), odd, 'nothing breaks out (class 11)');
  t.equal(await client.command(['DBSIZE']), 1);
  t.equal(await client.command(['GET', 'nothing']), null);
  await client.command(['HSET', 'h', '__proto__', 'x', 'constructor', 'y']);
  t.strictSame(await client.command(['HGETALL', 'h']), ['__proto__', 'x', 'constructor', 'y']);
  await t.rejects(client.command(['GET', 'h']), { code: 'reply', reply: 'WRONGTYPE' });
  const unknown = await client.command(['NOSUCH', SECRET]).catch((error: RedisError) => error);
  t.ok(unknown instanceof RedisError);
  t.notOk(`${(unknown as Error).stack}`.includes('canary'), 'no argument in an error');
  const many = Array.from({ length: 500 }, (_, i) => client.command(['ECHO', `${i}`]));
  t.strictSame(
    await Promise.all(many),
    Array.from({ length: 500 }, (_, i) => `${i}`),
  );
  t.equal(client.commandsWaiting, 0);
  client.close();
  await t.rejects(client.command(['PING']), { code: 'closed' });
});

t.test('kill -9 and back: at once an error, then by itself well again', async (t) => {
  const server = await RedisServer.start(t);
  const { client, heard } = connect(t, server.url);
  await client.start();
  const blocked = client.command(['BLPOP', 'nothing', '5']);
  const failed = t.rejects(blocked, { code: 'interrupted' });
  await server.stop('SIGKILL');
  await failed;
  await until(() => client.state !== 'up', 'the loss is noticed');
  const startMs = performance.now();
  for (let i = 0; i < 100; i += 1) {
    await t.rejects(client.command(['PING']), { code: 'disconnected' });
  }
  t.ok(performance.now() - startMs < 3000, 'nothing waits for a connection');
  t.equal(client.commandsWaiting, 0, 'and nothing is queued');
  await sleep(300);
  const attempts = client.counters.failures;
  t.ok(attempts >= 2 && attempts < 30, `attempts with pauses: ${attempts}`);
  await server.resume();
  await until(() => client.state === 'up', 'connected again');
  t.equal(await client.command(['PING']), 'PONG');
  t.equal(heard.at(-1), 'up');
  t.equal(client.counters.connects, 2);
});

t.test('connected but deaf: commands time out, the connection is given up', async (t) => {
  const server = await RedisServer.start(t);
  const { client, heard } = connect(t, server.url);
  await client.start();
  server.signal('SIGSTOP');
  const startMs = performance.now();
  const code = await client.command(['PING']).catch((error: RedisError) => error.code);
  t.ok(code === 'timeout' || code === 'interrupted', `${code}`);
  t.ok(performance.now() - startMs < 5000);
  await until(() => client.state !== 'up', 'the deaf connection is given up');
  t.ok(heard.includes('no answer to PING in time'));
  // The kernel still accepts connections for a stopped process: the login gets no answer.
  await until(() => heard.includes('no answer to the login in time'), 'nor a new one used');
  await t.rejects(client.command(['PING']), { code: 'disconnected' });
  server.signal('SIGCONT');
  await until(() => client.state === 'up', 'connected again');
  t.equal(await client.command(['PING']), 'PONG');
});

t.test('who may not PING is alive all the same', async (t) => {
  const server = await RedisServer.start(t);
  const admin = await redisAdmin(t, server.url);
  await admin('ACL', 'SETUSER', 'app', 'on', `>${SECRET}`, '~*', '+get');
  const { client } = connect(t, `redis://app:${SECRET}@127.0.0.1:${server.port}`);
  await client.start();
  await sleep(500);
  t.equal(client.state, 'up');
  t.equal(client.counters.connects, 1);
  t.equal(await client.command(['GET', 'x']), null);
  await t.rejects(client.command(['SET', 'x', 'y']), { code: 'reply', reply: 'NOPERM' });

  const wrong = connect(t, `redis://app:${SECRET}-not@127.0.0.1:${server.port}`);
  await wrong.client.start();
  t.equal(wrong.client.state, 'waiting');
  t.match(wrong.heard, ['WRONGPASS']);
  t.notOk(JSON.stringify(wrong.heard).includes('canary'));
  await admin('ACL', 'SETUSER', 'app', `>${SECRET}-not`);
  await until(() => wrong.client.state === 'up', 'a password that is right later');
});

t.test('bounded: commands that wait', async (t) => {
  const server = await RedisServer.start(t);
  const { client } = connect(t, server.url, { commandsMax: 3, heartbeatTimeoutMs: 5000 });
  await client.start();
  server.signal('SIGSTOP');
  const waiting = [1, 2, 3].map(() => client.command(['PING']).catch((error) => error.code));
  t.equal(client.commandsWaiting, 3);
  await t.rejects(client.command(['PING']), { code: 'busy' });
  t.strictSame(await Promise.all(waiting), ['timeout', 'timeout', 'timeout']);
  server.signal('SIGCONT');
  // The answers that came too late are not taken for those of the next commands.
  await until(() => client.commandsWaiting === 0, 'none left');
  t.equal(await client.command(['ECHO', 'mine']), 'mine');
});

t.test('a server that closes each connection is not hammered', async (t) => {
  let connections = 0;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.end('-ERR go away\r\n');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as { port: number };
  const { client } = connect(t, `redis://127.0.0.1:${port}`);
  await client.start();
  await sleep(700);
  t.ok(connections >= 3 && connections <= 25, `${connections} connections in 0.7 s`);
  client.close();
  const before = connections;
  await sleep(300);
  t.equal(connections, before, 'closed is closed');
});

t.test('over a Unix socket, another database, and TLS with the right authority', async (t) => {
  const folder = await RedisServer.start(t).then((one) => one.folder);
  const make = (name: string): { key: string; cert: string } => {
    const [key, cert] = [join(folder, `${name}.key`), join(folder, `${name}.pem`)];
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    const names = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1'];
    const files = ['-keyout', key, '-out', cert, '-days', '2'];
    execFileSync('openssl', ['req', '-x509', ...kind, ...files, ...names], { stdio: 'ignore' });
    return { key, cert };
  };
  const [own, other] = [make('own'), make('other')];
  const socket = join(folder, 'redis.sock');
  // The port of `server` stays plain; TLS has one beside it.
  const tlsPort = await new Promise<number>((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
  const files = ['--tls-cert-file', own.cert, '--tls-key-file', own.key];
  const tls = ['--tls-port', `${tlsPort}`, ...files, '--tls-auth-clients', 'no'];
  await RedisServer.start(t, ['--unixsocket', socket, ...tls]);

  const byPath = connect(t, `unix:${socket}?db=4`);
  await byPath.client.start();
  t.equal(await byPath.client.command(['SET', 'k', 'in four']), 'OK');

  const ca = readCaFile(own.cert);
  const secure = connect(t, `rediss://127.0.0.1:${tlsPort}/4`, { ca, connectTimeoutMs: 2000 });
  await secure.client.start();
  t.equal(await secure.client.command(['GET', 'k']), 'in four');

  const stranger = connect(t, `rediss://127.0.0.1:${tlsPort}`, {
    ca: readCaFile(other.cert),
    connectTimeoutMs: 2000,
  });
  await stranger.client.start();
  await until(() => stranger.heard.length >= 3, 'tried again');
  t.notOk(stranger.heard.includes('up'), `never (class 13): ${stranger.heard[0]}`);
});
