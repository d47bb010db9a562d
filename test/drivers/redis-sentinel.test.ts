/**
 * The cluster's connection to a Redis that Sentinels watch: it follows the master through a planned
 * failover and a kill, and never takes a Sentinel that is gone for a reason to stop.
 */
import t from 'tap';
import { askRedis } from '../support/redis-ask.ts';
import { isRising, openCaller, PUSH, sleep, until } from '../support/redis-calls.ts';
import { RedisSentinels } from '../support/redis-sentinels.ts';
import type { RedisServer } from '../support/redis-server.ts';

t.test('Sentinel: failovers', async (t) => {
  const sentinels = await RedisSentinels.start(t);
  const options = { functions: [PUSH], replicasMin: 1, waitMs: 500 };
  const caller = openCaller(t, sentinels.url, options);
  await caller.link.ready(5000);
  const first = await sentinels.master();
  t.match(caller.link.status(), [{ server: first.url, state: 'up' }]);
  for (let index = 0; index < 100; index += 1) caller.push();
  await until(() => caller.answers.length === 100, 'answered');
  t.strictSame(caller.outcomes(), { done: 100 });

  /** Sentinels make an old master a replica only after some seconds: the test is quicker. */
  const joinAgain = async (old: RedisServer): Promise<void> => {
    const master = await sentinels.master();
    await askRedis(old.port, 'REPLICAOF', '127.0.0.1', master.port);
    await until(() => caller.link.isUp, 'its replica is back', 20_000);
  };
  const isMovedFrom = (old: RedisServer) => (): boolean => {
    const [status] = caller.link.status();
    // Without its replica the new master cannot have a write in two places.
    return status?.state === 'tripped' && status.server !== old.url;
  };

  await t.test('the master is killed, and one Sentinel with it', async (t) => {
    for (let index = 0; index < 20; index += 1) caller.push();
    await sentinels.sentinels[0]?.stop('SIGKILL');
    await first.stop('SIGKILL');
    await until(isMovedFrom(first), 'the new master is found', 20_000);
    t.match(caller.link.problem, /0 of 1 replicas/);
    await first.resume();
    await joinAgain(first);
    t.ok(caller.heard.includes('up other'));
    // A Sentinel that sees it now may make it begin anew as a replica.
    const before = caller.done().length;
    for (let tries = 0; caller.done().length === before && tries < 500; tries += 1) {
      caller.push();
      await sleep(10);
    }
    t.ok(caller.done().length > before, 'and serves');
    t.ok(isRising(caller.answers.map(({ number }) => number)), 'in order');
  });

  await t.test('a planned failover under traffic', async (t) => {
    const old = await sentinels.master();
    let isOver = false;
    const traffic = (async () => {
      while (!isOver) {
        caller.push();
        await sleep(2);
      }
    })();
    const endMs = performance.now() + 20_000;
    while (!(await sentinels.failover())) {
      if (performance.now() > endMs) throw new Error('the Sentinels have no replica to take over');
      await sleep(50);
    }
    await until(isMovedFrom(old), 'the new master is found', 20_000);
    const others = caller.heard.filter((word) => word === 'up other').length;
    await joinAgain(old);
    t.equal(caller.heard.filter((word) => word === 'up other').length, others + 1);
    const before = caller.done().length;
    await until(() => caller.done().length > before + 20, 'and serves');
    isOver = true;
    await traffic;
    await until(() => caller.answers.length === caller.asked, 'all are answered');
    t.ok(isRising(caller.answers.map(({ number }) => number)), 'in order');
    const { port } = await sentinels.master();
    const list = (await askRedis(port, 'LRANGE', 'list:{a}', 0, -1)) as string[];
    t.ok(isRising(list.map(Number)), 'executed in order');
    const there = new Set(list.map(Number));
    const missing = caller.done().filter((number) => !there.has(number));
    t.strictSame(missing, [], 'nothing that was done is missing, over both failovers');
  });

  await t.test('a master it does not know, and no Sentinel at all', async (t) => {
    const other = openCaller(t, sentinels.url.replace(/\/[^/]*$/, '/nobody'));
    await t.rejects(other.link.ready(400), /no Sentinel names the master: .* does not know it/);
    const data = openCaller(t, 'redis-sentinel://127.0.0.1:1/x');
    await t.rejects(data.link.ready(300), /no Sentinel names the master: .*ECONNREFUSED/);
    const sentinel = sentinels.sentinels[1] as RedisServer;
    const wrong = openCaller(t, sentinel.url);
    await t.rejects(wrong.link.ready(300), /this is a Sentinel: use redis-sentinel/);
  });
});
