/**
 * The cluster's connection to one real Redis: order of calls, what is loaded and healed, bounds, who it
 * logs in as and over what, and that no password comes out anywhere.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { readCaFile } from '../../src/drivers/ca-file.ts';
import { slotOfKey, slotOfTag } from '../../src/drivers/redis/hash-slot.ts';
import { openRedis } from '../../src/drivers/redis/redis-link.ts';
import { parseRedisTarget } from '../../src/drivers/redis/redis-target.ts';
import { systemScheduler } from '../../src/listeners/scheduler.ts';
import { askRedis } from '../support/redis-ask.ts';
import {
  ECHO,
  FAIL,
  isRising,
  openCaller,
  PUSH,
  SPIN,
  sleep,
  until,
} from '../support/redis-calls.ts';
import { freePort, RedisServer } from '../support/redis-server.ts';

const SECRET = 'canary-link-pw';

t.test('URLs of all kinds', async (t) => {
  const login = 'user:p%40ss';
  t.match(parseRedisTarget([`redis://${login}@db:7000/3`]), {
    mode: 'standalone',
    username: 'user',
    password: 'p@ss',
    database: 3,
    masterName: null,
  });
  const sentinel = parseRedisTarget([`redis-sentinel://${login}@a,b:7,[::1]:8/my%20master/2`]);
  t.match(sentinel, { mode: 'sentinel', masterName: 'my master', database: 2, password: 'p@ss' });
  t.strictSame(
    sentinel.addresses.map(({ host, port, password }) => [host, port, password]),
    [
      ['a', 26379, null],
      ['b', 7, null],
      ['::1', 8, null],
    ],
  );
  t.match(parseRedisTarget([`rediss-cluster://:${SECRET}@a,b:7`]), {
    mode: 'cluster',
    isTls: true,
    username: null,
    password: SECRET,
    addresses: [{ port: 6379 }, { port: 7 }],
  });
  t.match(parseRedisTarget(['redis://a', 'redis://b:7'], 'sentinel', 'm'), {
    mode: 'sentinel',
    masterName: 'm',
    addresses: [{ host: 'a' }, { host: 'b', port: 7 }],
  });
  const bad: readonly Parameters<typeof parseRedisTarget>[] = [
    [[]],
    [['redis://a', 'redis://b']],
    [['redis://a', 'rediss://b'], 'cluster'],
    [['redis://a'], 'sentinel'],
    [['redis-sentinel://a:1']],
    [['redis-sentinel://a,,b/m']],
    [['redis-sentinel://a/m'], 'cluster'],
    [['redis-sentinel://a/m/1/2']],
    [['redis-sentinel://a/m'], 'sentinel', 'other'],
    [['redis-cluster://a/3']],
    [['redis://a/3'], 'cluster'],
    [['unix:/x'], 'cluster'],
    [['redis-cluster://a', 'redis-cluster://b']],
    [[`redis-cluster://:${SECRET}@a:b:c`]],
    [[`redis-oops://:${SECRET}@a`]],
  ];
  for (const args of bad) {
    t.throws(() => parseRedisTarget(...args), TypeError, JSON.stringify(args));
    try {
      parseRedisTarget(...args);
    } catch (error) {
      t.notOk((error as Error).message.includes('canary'));
    }
  }
  const scheduler = systemScheduler;
  const half = { scheduler, urls: ['redis://a'], tls: { cert: 'x' } };
  t.throws(() => openRedis(half), /certificate without its key/);
  t.throws(
    () => openRedis({ scheduler, urls: ['redis://a'], replicasMin: 1, waitMs: 9000 }),
    TypeError,
  );
  t.throws(() => openRedis({ scheduler, urls: ['redis-cluster://a'], database: 1 }), TypeError);
});

t.test('slots are those of Redis', async (t) => {
  // From the specification and from CLUSTER KEYSLOT.
  t.equal(slotOfKey('123456789'), 12739);
  t.equal(slotOfKey('foo{}{bar}'), 8363);
  t.equal(slotOfKey('foo{{bar}}zap'), slotOfKey('{bar'));
  t.equal(slotOfKey('x{user}y'), slotOfTag('user'));
  t.equal(slotOfKey('s:{größe}:m'), slotOfTag('größe'));
  t.equal(slotOfKey('s:{größe}:m'), slotOfKey('größe'));
});

t.test('calls in order, one write a turn, answers never from inside call', async (t) => {
  const server = await RedisServer.start(t);
  const caller = openCaller(t, server.url, { functions: [PUSH] });
  t.equal(caller.link.isUp, false);
  t.equal(caller.link.shardOf('x'), 0);
  const early = caller.push('early');
  t.strictSame(caller.answers, [], 'a failure comes later too');
  await caller.link.ready(5000);
  t.match(caller.answers, [
    { number: early, failure: { outcome: 'not_done', code: 'CONNECTING' } },
  ]);
  t.strictSame(caller.heard, ['up']);
  const batches = caller.link.counters.batches;
  for (let index = 0; index < 1000; index += 1) caller.push();
  t.equal(caller.answers.length, 1);
  t.equal(caller.link.waitingCalls, 1000);
  t.ok(caller.link.waitingBytes > 20_000);
  await until(() => caller.answers.length === 1001, 'all answered');
  t.ok(caller.link.counters.batches - batches <= 2, 'one write for all of them');
  t.strictSame(
    caller.answers.slice(1).map(({ reply }) => reply),
    Array.from({ length: 1000 }, (_, index) => index + 1),
  );
  t.equal(caller.link.waitingCalls, 0);
  t.equal(caller.link.waitingBytes, 0);
  const [buckets] = [caller.link.counters.roundTrips];
  t.equal(
    buckets.reduce((sum, count) => sum + count, 0),
    caller.link.counters.batches,
  );
  const odd = ['', 'a\r\n$3\r\nDEL', 'ü€𝄞'.repeat(30), 'x'.repeat(200_000)];
  const bytes = Buffer.from([0, 13, 10, 255]);
  t.strictSame(await caller.call(ECHO, ['k'], [...odd, bytes, 17, -1, 2 ** 53 - 1, 1.5]), [
    ...odd.map((text) => Buffer.from(text)),
    bytes,
    ...['17', '-1', '9007199254740991', '1.5'].map((text) => Buffer.from(text)),
  ]);
  await t.rejects(caller.call(FAIL, [], []), { outcome: 'refused', code: 'ODD' });
  t.ok(caller.link.isUp, 'an error of a function is its own');
  t.match(caller.link.status(), [{ state: 'up', version: /^\d/, problem: '' }]);
  t.match(await caller.link.ask(['DBSIZE']), [{ reply: 1 }]);

  // A call made in an answer, and one that is never answered.
  await new Promise<void>((resolve) => {
    caller.link.call(PUSH, ['n'], [1], () => {
      let isInside = true;
      caller.link.call(PUSH, ['n'], [2], () => {
        t.notOk(isInside);
        resolve();
      });
      isInside = false;
    });
  });
  for (let index = 0; index < 3; index += 1) caller.push();
  const before = caller.answers.length;
  caller.link.close();
  t.strictSame(caller.outcomes()['not_done CLOSED'], 3, 'not sent yet');
  t.ok(isRising(caller.answers.map(({ number }) => number)));
  caller.push();
  t.equal(caller.answers.length, before + 3);
  await until(() => caller.answers.length === before + 4, 'a call after the end');
  t.notOk(caller.link.isUp);
});

t.test('SCRIPT FLUSH in the middle of traffic: loaded again, order kept', async (t) => {
  const server = await RedisServer.start(t);
  const caller = openCaller(t, server.url, { functions: [PUSH, ECHO] });
  await caller.link.ready(5000);
  const rounds = 60;
  for (let round = 0; round < rounds; round += 1) {
    for (let index = 0; index < 50; index += 1) caller.push();
    if (round % 10 === 5) void caller.link.ask(['SCRIPT', 'FLUSH']);
    if (round % 3 === 0) caller.link.call(ECHO, [], [], () => {});
    if (round % 20 === 19) await sleep(5);
    else await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => caller.answers.length === rounds * 50, 'all answered');
  t.ok(caller.link.counters.repeats > 0, `${caller.link.counters.repeats} sent again`);
  t.strictSame(caller.outcomes(), { done: rounds * 50 });
  t.ok(isRising(caller.answers.map(({ number }) => number)), 'answered in order');
  const list = (await askRedis(server.port, 'LRANGE', 'list:{a}', 0, -1)) as string[];
  t.strictSame(list.map(Number), caller.done(), 'executed in order, each once');
  t.equal(caller.link.waitingCalls, 0);
});

t.test(
  'NOSCRIPT before a call that was executed: not done, rather than out of order',
  async (t) => {
    const server = await RedisServer.start(t);
    const other = { name: 'push_2', lua: `${PUSH.lua} -- 2` };
    const caller = openCaller(t, server.url, { functions: [PUSH, other] });
    await caller.link.ready(5000);
    await askRedis(server.port, 'SCRIPT', 'FLUSH');
    // Another node has loaded one of the two functions again.
    await askRedis(server.port, 'SCRIPT', 'LOAD', other.lua);
    const told: string[] = [];
    const tell = (word: string) => (failure: { outcome: string; code: string } | null) => {
      told.push(`${word} ${failure === null ? 'done' : `${failure.outcome} ${failure.code}`}`);
    };
    caller.link.call(PUSH, ['list'], ['first'], tell('first'));
    caller.link.call(other, ['list'], ['second'], tell('second'));
    caller.link.call(PUSH, ['list'], ['third'], tell('third'));
    await until(() => told.length === 3, 'answered');
    t.strictSame(told, ['first not_done NOSCRIPT', 'second done', 'third done']);
    t.strictSame(await askRedis(server.port, 'LRANGE', 'list', 0, -1), ['second', 'third']);
  },
);

t.test('bounds: calls and bytes that wait', async (t) => {
  const server = await RedisServer.start(t);
  const caller = openCaller(t, server.url, { waitingCallsMax: 10, heartbeatTimeoutMs: 5000 });
  await caller.link.ready(5000);
  caller.link.call(SPIN, [], [100], () => {});
  for (let index = 0; index < 20; index += 1) caller.push();
  await until(() => caller.answers.length === 20, 'answered');
  t.strictSame(caller.outcomes(), { done: 9, 'not_done BUSY': 11 });
  t.ok(isRising(caller.answers.map(({ number }) => number)), 'in order');
  t.strictSame(caller.done(), [0, 1, 2, 3, 4, 5, 6, 7, 8]);

  const narrow = openCaller(t, server.url, { waitingBytesMax: 10_000 });
  await narrow.link.ready(5000);
  const big = Buffer.alloc(6000);
  const done: string[] = [];
  for (const name of ['one', 'two']) {
    narrow.link.call(ECHO, [], [big], (failure) => done.push(`${name} ${failure?.code ?? 'done'}`));
  }
  await until(() => done.length === 2, 'answered');
  t.strictSame(done, ['one done', 'two BUSY']);
  t.ok(await narrow.call(ECHO, [], [Buffer.alloc(20_000)]), 'alone even the largest may go');
  t.equal(narrow.link.waitingBytes, 0);
});

t.test('a wrong password, a missing one, an unknown user', async (t) => {
  const server = await RedisServer.start(t, ['--requirepass', SECRET]);
  const at = `127.0.0.1:${server.port}`;
  const cases: readonly (readonly [string, RegExp])[] = [
    [`redis://:${SECRET}-not@${at}`, /login refused: WRONGPASS, user or password is wrong/],
    [`redis://nobody:${SECRET}@${at}`, /WRONGPASS/],
    [`redis://${at}`, /NOAUTH, it wants a password/],
  ];
  for (const [url, problem] of cases) {
    const caller = openCaller(t, url);
    await t.rejects(caller.link.ready(300), problem);
    t.match(caller.link.problem, problem);
    caller.push();
    await until(() => caller.answers.length === 1, 'answered');
    const said = JSON.stringify([caller.problems, caller.answers, caller.link.status()]);
    const { failure } = caller.answers[0] as { failure: Error };
    t.notOk(`${said}${caller.link.problem}${failure.stack}`.includes('canary'), 'no password');
    caller.link.close();
  }
  const right = openCaller(t, `redis://:${SECRET}@${at}`);
  await right.link.ready(5000);
  const over = openCaller(t, `redis://:wrong@${at}`, { password: SECRET, database: 3 });
  await over.link.ready(5000);
  over.push();
  await until(() => over.answers.length === 1, 'answered');
  t.equal(await askRedis(`redis://:${SECRET}@${at}/3`, 'LLEN', 'list:{a}'), 1, 'in database 3');
  t.match(await askRedis(`redis://:${SECRET}@${at}`, 'CLIENT', 'LIST'), /name=causeway /);
  const none = openCaller(t, `redis://:${SECRET}@${at}/99`);
  await t.rejects(none.link.ready(300), /database 99 refused/);
});

t.test('the least rights a user needs (docs/adr/0015)', async (t) => {
  const server = await RedisServer.start(t);
  const rights = [
    '+evalsha +script|load +info +ping +select +client|setname +client|id +client|kill +set +wait',
    // What the functions of this test do.
    '+rpush +time',
  ].join(' ');
  const user = ['ACL', 'SETUSER', 'node', 'on', `>${SECRET}`, '~list:*', '~causeway:*'];
  await askRedis(server.port, ...user, ...rights.split(' '));
  const url = `redis://node:${SECRET}@127.0.0.1:${server.port}`;
  const caller = openCaller(t, url, { functions: [PUSH] });
  await caller.link.ready(5000);
  caller.push();
  await until(() => caller.answers.length === 1, 'answered');
  t.strictSame(caller.outcomes(), { done: 1 });
  await t.rejects(caller.call(PUSH, ['else'], [1]), { outcome: 'refused', code: 'NOPERM' });
  t.ok(caller.link.isUp);
  // Without the optional ones: who it is can then not be compared.
  await askRedis(server.port, ...user, 'reset', 'on', `>${SECRET}`, '~*', '+evalsha', '+rpush');
  await askRedis(server.port, 'ACL', 'SETUSER', 'node', '+script|load');
  const bare = openCaller(t, url, { functions: [PUSH] });
  await bare.link.ready(5000);
  bare.push();
  await until(() => bare.answers.length === 1, 'answered');
  t.strictSame(bare.outcomes(), { done: 1 });
  await sleep(300);
  t.equal(bare.link.counters.connects, 1, 'a PING that is refused is an answer too');
  await askRedis(server.port, 'ACL', 'SETUSER', 'node', '-script|load');
  const loader = openCaller(t, url, { functions: [PUSH] });
  await t.rejects(loader.link.ready(300), /SCRIPT LOAD refused: NOPERM/);
});

/** A certificate that is its own authority. */
function certificate(folder: string, name: string): { key: string; cert: string } {
  const [key, cert] = [join(folder, `${name}.key`), join(folder, `${name}.pem`)];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const names = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1'];
  const files = ['-keyout', key, '-out', cert, '-days', '2'];
  execFileSync('openssl', ['req', '-x509', ...kind, ...files, ...names], { stdio: 'ignore' });
  return { key, cert };
}

async function tlsServer(t: Test, clients: 'yes' | 'no'): Promise<{ url: string; own: string[] }> {
  const { folder } = await RedisServer.start(t);
  const own = certificate(folder, 'own');
  const port = await freePort();
  const files = ['--tls-cert-file', own.cert, '--tls-key-file', own.key];
  const ca = ['--tls-ca-cert-file', own.cert, '--tls-auth-clients', clients];
  await RedisServer.start(t, ['--tls-port', `${port}`, ...files, ...ca]);
  return { url: `rediss://127.0.0.1:${port}`, own: [own.cert, own.key, folder] };
}

t.test('TLS: with the right authority, a certificate of our own, and else not', async (t) => {
  const { readFileSync } = await import('node:fs');
  const { url, own } = await tlsServer(t, 'yes');
  const [cert, key, folder] = own as [string, string, string];
  const mine = { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };
  const secure = openCaller(t, url, { tls: { ca: readCaFile(cert), ...mine } });
  await secure.link.ready(5000);
  const value = Buffer.alloc(300_000, 'tls');
  t.strictSame(await secure.call(ECHO, [], [value]), [value]);
  for (let index = 0; index < 5000; index += 1) secure.push();
  await until(() => secure.answers.length === 5000, 'all answered');
  t.ok(isRising(secure.done()) && secure.done().length === 5000);

  const stranger = certificate(folder, 'other');
  const wrong = openCaller(t, url, { tls: { ca: readCaFile(stranger.cert), ...mine } });
  await until(() => wrong.problems.length >= 2, 'tried again');
  t.notOk(wrong.link.isUp, `${wrong.problems[0]}`);
  const nameless = openCaller(t, url, { tls: { ca: readCaFile(cert) } });
  await until(() => nameless.problems.length >= 2, 'tried again');
  t.notOk(nameless.link.isUp, `${nameless.problems[0]}`);
});

t.test('a Unix socket; the wrong kind of server', async (t) => {
  const { folder } = await RedisServer.start(t);
  const socket = join(folder, 'redis.sock');
  await RedisServer.start(t, ['--unixsocket', socket]);
  const caller = openCaller(t, `unix:${socket}`);
  await caller.link.ready(5000);
  caller.push();
  await until(() => caller.answers.length === 1, 'answered');
  t.strictSame(caller.outcomes(), { done: 1 });
  const member = await RedisServer.start(t, [
    '--cluster-enabled',
    'yes',
    '--cluster-port',
    `${await freePort()}`,
  ]);
  const lost = openCaller(t, member.url);
  await t.rejects(lost.link.ready(300), /belongs to a Redis Cluster: use redis-cluster/);
});
