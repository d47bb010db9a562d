/**
 * The cluster's connection to Redis under faults: killed in the middle of a batch, half-open, cut, slow,
 * restarted, read-only, out of memory, without its replicas. What is said of each call is true, in order,
 * and nothing is executed behind what was said to have failed.
 */
import t from 'tap';
import { askRedis } from '../support/redis-ask.ts';
import { isRising, openCaller, PUSH, SPIN, sleep, until } from '../support/redis-calls.ts';
import { DURABLE, RedisServer } from '../support/redis-server.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';

async function listOf(port: number, tag = 'a'): Promise<number[]> {
  const list = (await askRedis(port, 'LRANGE', `list:{${tag}}`, 0, -1)) as string[];
  return list.map(Number);
}

t.test(
  'kill -9 in the middle of batches: unknown what was sent, not done what was not',
  async (t) => {
    const server = await RedisServer.start(t, DURABLE);
    const caller = openCaller(t, server.url, { functions: [PUSH], heartbeatTimeoutMs: 3000 });
    await caller.link.ready(5000);
    for (let round = 0; round < 200; round += 1) {
      for (let index = 0; index < 20; index += 1) caller.push();
      // Rounds are fast and disks are not: before it dies some must have been answered.
      if (round === 100) await until(() => caller.done().length > 0, 'some are done');
      // Busy when it dies, so that some calls are under way.
      if (round === 148) caller.link.call(SPIN, [], [500], () => {});
      if (round === 150) server.signal('SIGKILL');
      await new Promise((resolve) => setImmediate(resolve));
    }
    await server.stop('SIGKILL');
    // One turn later than the last write: never sent.
    caller.push();
    await until(() => caller.answers.length === caller.asked, 'all are answered');
    t.ok(isRising(caller.answers.map(({ number }) => number)), 'in order');
    t.match(caller.heard, ['up', /^down redis:\/\//]);
    t.ok(caller.done().length > 0, 'some were done');
    // Once not done, never done or unknown again.
    const words = caller.answers.map(({ failure }) => failure?.outcome ?? 'done');
    const firstUnknown = words.findIndex((word) => word !== 'done');
    t.notOk(words.slice(firstUnknown).includes('done'), 'nothing is done behind a loss');
    const firstNotDone = words.indexOf('not_done');
    t.ok(firstUnknown > 0 && firstNotDone > firstUnknown, JSON.stringify(caller.outcomes()));
    t.notOk(words.slice(firstNotDone).includes('unknown'));

    await server.resume();
    await until(() => caller.link.isUp, 'up again');
    t.equal(caller.heard.at(-1), 'up other', 'a server that has restarted is another one');
    const list = await listOf(server.port);
    t.ok(isRising(list), 'executed in order');
    const there = new Set(list);
    t.ok(
      caller.done().every((number) => there.has(number)),
      'what was done is there (appendfsync always)',
    );
    const missing = caller.answers.filter(({ failure }) => failure?.outcome === 'not_done');
    t.notOk(
      missing.some(({ number }) => there.has(number)),
      'what was not done is not',
    );
    t.equal(caller.link.waitingCalls, 0);
    t.equal(caller.link.waitingBytes, 0);
  },
);

t.test('half-open: noticed, idle or not; late bytes run behind nothing', async (t) => {
  const server = await RedisServer.start(t);
  const proxy = await TcpProxy.start(server.port);
  t.teardown(() => proxy.close());
  const caller = openCaller(t, `redis://127.0.0.1:${proxy.port}`, { functions: [PUSH] });
  await caller.link.ready(5000);

  proxy.pause();
  const pausedMs = performance.now();
  const lost = caller.push();
  await until(() => caller.answers.length === 1, 'given up');
  const tookMs = performance.now() - pausedMs;
  t.ok(tookMs >= 500 && tookMs < 2500, `after ${Math.round(tookMs)} ms`);
  t.match(caller.answers, [{ number: lost, failure: { outcome: 'unknown', code: 'TIMEOUT' } }]);
  t.match(caller.heard, ['up', /did not answer in time/]);
  proxy.resume();
  await until(() => caller.link.isUp, 'up again');
  t.equal(caller.heard.at(-1), 'up', 'and it is the same server');

  proxy.pause('toClient');
  await until(() => !caller.link.isUp, 'noticed while idle, in one direction');
  proxy.resume();
  await until(() => caller.link.isUp, 'up again');

  // What the old connection had under way reaches the server when the new one is in use: it must not
  // run then, behind calls that were made after it was given up.
  const before = await listOf(server.port);
  const clients = (): Promise<string> => askRedis(server.port, 'CLIENT', 'LIST').then(String);
  const old = /id=(\d+) .* name=causeway /.exec(await clients())?.[1];
  proxy.pause();
  const late = caller.push();
  await until(() => !caller.link.isUp, 'noticed');
  t.ok((await clients()).includes(`id=${old} `), 'the server does not know');
  proxy.resumeNew();
  await until(() => caller.link.isUp, 'up again');
  const then = caller.push();
  await until(() => caller.answers.at(-1)?.number === then, 'answered');
  proxy.resume();
  await sleep(50);
  const after = (await listOf(server.port)).slice(before.length);
  t.strictSame(after, [then], `${late} did not run behind ${then}`);
  t.notOk((await clients()).includes(`id=${old} `), 'the old connection is gone at the server');
});

t.test('a server that was busy: what it was sent runs before, or not at all', async (t) => {
  const server = await RedisServer.start(t);
  const proxy = await TcpProxy.start(server.port);
  t.teardown(() => proxy.close());
  const options = { functions: [PUSH], backoffMinMs: 300, backoffMaxMs: 300 };
  const caller = openCaller(t, `redis://127.0.0.1:${proxy.port}`, options);
  await caller.link.ready(5000);
  // The server is busy; what the link sends meanwhile waits in the server's socket.
  const other = openCaller(t, server.url, { heartbeatTimeoutMs: 5000 });
  await other.link.ready(5000);
  const spun = other.call(SPIN, [], [1200]);
  await sleep(50);
  const first = caller.push();
  await until(() => caller.answers.length === 1, 'given up');
  t.match(caller.answers, [{ failure: { outcome: 'unknown' } }]);
  await spun;
  await until(() => caller.link.isUp, 'up again');
  const second = caller.push();
  await until(() => caller.answers.length === 2, 'answered');
  await sleep(100);
  const list = await listOf(server.port);
  t.ok(list.at(-1) === second && isRising(list), `${list}: ${first} unknown, then ${second}`);
});

t.test('cut and refused: reconnects with pauses', async (t) => {
  const server = await RedisServer.start(t);
  const proxy = await TcpProxy.start(server.port);
  t.teardown(() => proxy.close());
  const caller = openCaller(t, `redis://127.0.0.1:${proxy.port}`);
  await caller.link.ready(5000);
  proxy.refuse(true);
  proxy.cut();
  await until(() => !caller.link.isUp, 'noticed');
  await sleep(600);
  const tries = caller.problems.length;
  t.ok(tries >= 3 && tries <= 30, `${tries} attempts in 0.6 s`);
  t.equal(caller.heard.length, 2, 'the listener is told once');
  proxy.refuse(false);
  await until(() => caller.link.isUp, 'up again');
  t.equal(caller.heard.at(-1), 'up');
  t.equal(caller.link.counters.connects, 2);
  t.ok(caller.link.counters.losses >= 3);
});

t.test('slow by 200 ms: slower, and nothing else', async (t) => {
  const server = await RedisServer.start(t);
  const proxy = await TcpProxy.start(server.port);
  t.teardown(() => proxy.close());
  const caller = openCaller(t, `redis://127.0.0.1:${proxy.port}`);
  await caller.link.ready(5000);
  proxy.delay(100);
  for (let round = 0; round < 40; round += 1) {
    for (let index = 0; index < 25; index += 1) caller.push();
    await sleep(10);
  }
  await until(() => caller.answers.length === 1000, 'all answered');
  t.strictSame(caller.outcomes(), { done: 1000 });
  t.ok(isRising(caller.done()));
  t.strictSame(caller.heard, ['up']);
});

t.test('read-only: the breaker opens, probes, and closes', async (t) => {
  const server = await RedisServer.start(t);
  const master = await RedisServer.start(t);
  const caller = openCaller(t, server.url, { functions: [PUSH] });
  await caller.link.ready(5000);
  await askRedis(server.port, 'REPLICAOF', '127.0.0.1', master.port);
  for (let index = 0; index < 5; index += 1) caller.push();
  await until(() => caller.answers.length === 5, 'answered');
  t.strictSame(caller.outcomes(), { 'refused READONLY': 5 });
  t.match(caller.heard, ['up', /Redis answers READONLY/]);
  caller.push();
  await until(() => caller.answers.length === 6, 'answered');
  t.match(caller.answers[5], { failure: { outcome: 'not_done', code: 'READONLY' } });
  await sleep(350);
  t.equal(caller.heard.length, 2, 'still so');
  await askRedis(server.port, 'REPLICAOF', 'NO', 'ONE');
  await until(() => caller.link.isUp, 'the breaker closes');
  t.equal(caller.heard.at(-1), 'up other', 'its data was replaced meanwhile');
  caller.push();
  await until(() => caller.answers.length === 7, 'answered');
  t.equal(caller.answers[6]?.failure, null);
  t.equal(caller.link.counters.trips, 1);
  t.equal(caller.link.counters.connects, 1, 'on the same connection');

  const replica = openCaller(t, master.url);
  await askRedis(master.port, 'REPLICAOF', '127.0.0.1', server.port);
  await sleep(200);
  const late = openCaller(t, master.url);
  await t.rejects(late.link.ready(300), /is a replica/, 'at the first connection too');
  t.match(late.link.status(), [{ state: 'tripped' }]);
  replica.link.close();
});

t.test('out of memory: refused, then not done, until there is some', async (t) => {
  const server = await RedisServer.start(t, ['--maxmemory-policy', 'noeviction']);
  const caller = openCaller(t, server.url, { functions: [PUSH] });
  await caller.link.ready(5000);
  await askRedis(server.port, 'CONFIG', 'SET', 'maxmemory', '1mb');
  caller.push();
  await until(() => caller.answers.length === 1, 'answered');
  t.strictSame(caller.outcomes(), { 'refused OOM': 1 });
  t.match(caller.heard, ['up', /OOM/]);
  caller.push();
  await until(() => caller.answers.length === 2, 'answered');
  t.match(caller.answers[1], { failure: { outcome: 'not_done', code: 'OOM' } });
  await askRedis(server.port, 'CONFIG', 'SET', 'maxmemory', '0');
  await until(() => caller.link.isUp, 'the breaker closes');
  t.strictSame(caller.heard.at(-1), 'up', 'the same server');
  caller.push();
  await until(() => caller.answers.length === 3, 'answered');
  t.equal(caller.answers[2]?.failure, null);
  t.strictSame(await listOf(server.port), [2]);
});

t.test('WAIT: without replicas it says so, also when a login may not last as long', async (t) => {
  const server = await RedisServer.start(t);
  const times = { connectTimeoutMs: 400, waitMs: 800, heartbeatTimeoutMs: 2000 };
  const caller = openCaller(t, server.url, { functions: [PUSH], replicasMin: 1, ...times });
  await until(() => caller.link.status()[0]?.state === 'tripped', 'the breaker opens');
  t.match(caller.link.problem, /0 of 1 replicas/);
  t.strictSame(
    caller.problems.filter((why) => /login/.test(why)),
    [],
  );
});

t.test('WAIT: answers wait for the replicas, and say when there are too few', async (t) => {
  const server = await RedisServer.start(t);
  const link = { functions: [PUSH], replicasMin: 1, waitMs: 1000, heartbeatTimeoutMs: 4000 };
  const replica = await RedisServer.start(t, ['--replicaof', '127.0.0.1', `${server.port}`]);
  await askRedis(server.port, 'CONFIG', 'SET', 'repl-diskless-sync-delay', 0);
  // The first replica gives a primary another replication id: who asks before takes it for another later.
  const endMs = performance.now() + 20_000;
  while (!`${await askRedis(server.port, 'INFO', 'replication')}`.includes('state=online')) {
    if (performance.now() > endMs) throw new Error('the replica did not come into step');
    await sleep(20);
  }
  const caller = openCaller(t, server.url, link);
  await caller.link.ready(10_000);
  t.strictSame(caller.heard, ['up'], 'up when the replica is in step');
  for (let round = 0; round < 10; round += 1) {
    for (let index = 0; index < 20; index += 1) caller.push();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => caller.answers.length === 200, 'answered');
  t.strictSame(caller.outcomes(), { done: 200 });
  t.ok(isRising(caller.done()));
  await until(() => caller.link.waitingCalls === 0, 'none waits');
  t.same(await listOf(replica.port), caller.done(), 'the replica has what was answered');

  replica.signal('SIGSTOP');
  for (let index = 0; index < 5; index += 1) caller.push();
  await until(() => caller.answers.length === 205, 'answered');
  t.strictSame(caller.outcomes(), { done: 200, 'unknown NOREPLICAS': 5 });
  t.match(caller.heard, ['up', /0 of 1 replicas/]);
  caller.push();
  await until(() => caller.answers.length === 206, 'answered');
  t.match(caller.answers[205], { failure: { outcome: 'not_done', code: 'NOREPLICAS' } });
  await sleep(500);
  t.notOk(caller.link.isUp, 'the probe waits for a replica too');
  replica.signal('SIGCONT');
  // A replica that has just woken may be late once more.
  await until(() => caller.link.isUp && caller.heard.at(-1) === 'up', 'the breaker closes');
  caller.push();
  await until(() => caller.answers.length === 207, 'answered');
  t.equal(caller.answers[206]?.failure, null);
  t.ok(isRising(caller.answers.map(({ number }) => number)));

  // SCRIPT FLUSH and a kill while answers are held.
  for (let round = 0; round < 20; round += 1) {
    for (let index = 0; index < 20; index += 1) caller.push();
    if (round === 5) void caller.link.ask(['SCRIPT', 'FLUSH']);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => caller.answers.length === 607, 'answered');
  t.equal(caller.outcomes().done, 601);
  for (let index = 0; index < 20; index += 1) caller.push();
  await sleep(1);
  await server.stop('SIGKILL');
  await until(() => caller.answers.length === 627, 'answered');
  t.ok(isRising(caller.answers.map(({ number }) => number)));
  t.equal(caller.link.waitingCalls, 0);
});
