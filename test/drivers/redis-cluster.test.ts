/**
 * The cluster's connection to a Redis Cluster: calls go where their slot is, follow it while it moves
 * under traffic, keep their order, and a primary that is down fails its own calls only.
 */
import t from 'tap';
import { slotOfKey, slotOfTag } from '../../src/drivers/redis/hash-slot.ts';
import { askRedis, type Told } from '../support/redis-ask.ts';
import { isRising, openCaller, PUSH, sleep, until } from '../support/redis-calls.ts';
import { RedisCluster } from '../support/redis-cluster.ts';
import type { RedisServer } from '../support/redis-server.ts';

const TAGS = Array.from({ length: 60 }, (_, index) => `t${index}`);

/** Takes a slot from one primary to another as an operator's tool does. */
async function migrate(
  cluster: RedisCluster,
  slot: number,
  from: RedisServer,
  to: RedisServer,
  pauseMs: number,
): Promise<void> {
  const [fromId, toId] = [await cluster.idOf(from), await cluster.idOf(to)];
  await askRedis(to.port, 'CLUSTER', 'SETSLOT', slot, 'IMPORTING', fromId);
  await askRedis(from.port, 'CLUSTER', 'SETSLOT', slot, 'MIGRATING', toId);
  await sleep(pauseMs);
  for (;;) {
    const keys = (await askRedis(from.port, 'CLUSTER', 'GETKEYSINSLOT', slot, 1)) as string[];
    if (keys.length === 0) break;
    await askRedis(from.port, 'MIGRATE', '127.0.0.1', to.port, keys[0] as string, 0, 5000);
    await sleep(pauseMs);
  }
  await askRedis(to.port, 'CLUSTER', 'SETSLOT', slot, 'NODE', toId);
  await askRedis(from.port, 'CLUSTER', 'SETSLOT', slot, 'NODE', toId);
}

async function listOf(cluster: RedisCluster, tag: string): Promise<number[]> {
  const owner = await cluster.ownerOf(slotOfTag(tag));
  return ((await askRedis(owner.port, 'LRANGE', `list:{${tag}}`, 0, -1)) as string[]).map(Number);
}

t.test('Redis Cluster', async (t) => {
  const cluster = await RedisCluster.start(t);
  const [one, two, three] = cluster.servers as [RedisServer, RedisServer, RedisServer];
  const caller = openCaller(t, `redis-cluster://127.0.0.1:1,127.0.0.1:${three.port}`, {
    functions: [PUSH],
  });
  await caller.link.ready(5000);
  t.strictSame(caller.heard, ['up']);
  t.equal(caller.link.status().length, 3, 'one seed that answers is enough');

  await t.test('slots', async (t) => {
    for (const key of [
      '123456789',
      'foo{}{bar}',
      'foo{{bar}}zap',
      'größe',
      's:{größe}:q',
      '{',
      '',
    ]) {
      t.equal(slotOfKey(key), await askRedis(one.port, 'CLUSTER', 'KEYSLOT', key), `key ${key}`);
    }
    t.equal(caller.link.shardOf('user'), slotOfKey('s:{user}:m'));
  });

  await t.test('calls to all primaries, in order', async (t) => {
    for (let round = 0; round < 20; round += 1) {
      for (const tag of TAGS) caller.push(tag);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => caller.answers.length === 20 * TAGS.length, 'answered');
    t.strictSame(caller.outcomes(), { done: 20 * TAGS.length });
    for (const tag of TAGS) {
      const list = await listOf(cluster, tag);
      t.ok(isRising(list) && list.length === 20, tag);
    }
    t.equal(caller.link.counters.repeats, 0, 'nothing was sent to the wrong one');
  });

  await t.test('slots move under traffic: MOVED, ASK, TRYAGAIN', async (t) => {
    const tags = TAGS.filter((_, index) => index % 10 === 0);
    for (const tag of tags) {
      const slot = slotOfTag(tag);
      const from = await cluster.ownerOf(slot);
      const to = from === one ? two : one;
      const already = (await listOf(cluster, tag)).length;
      let isOver = false;
      // Some calls of two keys, of which only one is there yet: TRYAGAIN while the slot moves.
      const asked: number[] = [];
      const answered: { number: number; failure: unknown }[] = [];
      const pair = {
        name: 'push_pair_1',
        lua: "redis.call('rpush', KEYS[2], ARGV[1]) return redis.call('rpush', KEYS[1], ARGV[1])",
      };
      const traffic = (async () => {
        for (let round = 0; !isOver || round < 50; round += 1) {
          for (let index = 0; index < 3; index += 1) {
            const number = round * 3 + index;
            asked.push(number);
            const keys = index === 2 ? [`list:{${tag}}`, `also:{${tag}}`] : [`list:{${tag}}`];
            caller.link.call(index === 2 ? pair : PUSH, keys, [number], (failure) => {
              answered.push({ number, failure });
            });
          }
          await sleep(1);
        }
      })();
      await sleep(10);
      await migrate(cluster, slot, from, to, 8);
      await sleep(20);
      isOver = true;
      await traffic;
      await until(() => answered.length === asked.length, 'all are answered');
      t.strictSame(
        answered.map(({ number }) => number),
        asked,
        'in order',
      );
      const done = answered.filter(({ failure }) => failure === null).map(({ number }) => number);
      const list = (await listOf(cluster, tag)).slice(already);
      t.strictSame(list, done, 'executed in order, each once, and nothing that was not done');
      const failed = answered.filter(({ failure }) => failure !== null);
      t.ok(
        failed.every(({ failure }) => (failure as { outcome: string }).outcome === 'not_done'),
        `${failed.length} of ${asked.length} not done`,
      );
      t.equal(await cluster.ownerOf(slot), to);
    }
    t.ok(caller.link.counters.repeats > 0, `${caller.link.counters.repeats} sent again`);
    t.strictSame(caller.heard, ['up'], 'nobody else notices');
    t.equal(caller.link.waitingCalls, 0);
  });

  await t.test('a primary that is down fails its own calls only', async (t) => {
    await two.stop('SIGKILL');
    await until(() => caller.link.status().some(({ state }) => state !== 'up'), 'noticed');
    const start = caller.answers.length;
    const map = (await askRedis(one.port, 'CLUSTER', 'SLOTS')) as [number, number, Told[]][];
    const isTwos = (tag: string): boolean =>
      map.some(([first, last, [, port]]) => {
        const slot = slotOfTag(tag);
        return slot >= first && slot <= last && port === two.port;
      });
    const tags = TAGS.map((tag) => ({ tag, number: caller.push(tag), isDown: isTwos(tag) }));
    await until(() => caller.answers.length === start + TAGS.length, 'answered');
    t.ok(tags.some(({ isDown }) => isDown) && tags.some(({ isDown }) => !isDown));
    for (const { tag, number, isDown } of tags) {
      const failure = caller.answers.find((answer) => answer.number === number)?.failure;
      t.equal(failure?.outcome ?? 'done', isDown ? 'not_done' : 'done', tag);
    }
    t.ok(caller.link.isUp);
    t.strictSame(caller.heard, ['up']);
    await two.resume();
    await until(() => caller.link.status().every(({ state }) => state === 'up'), 'back', 20_000);
    t.strictSame(caller.heard, ['up', 'up other'], 'told when it came back');
  });

  await t.test('all are down', async (t) => {
    await Promise.all(cluster.servers.map((server) => server.stop('SIGKILL')));
    await until(() => !caller.link.isUp, 'noticed');
    t.match(caller.heard.at(-1), /^down/);
    const number = caller.push();
    await until(() => caller.answers.at(-1)?.number === number, 'answered');
    t.match(caller.answers.at(-1)?.failure, { outcome: 'not_done' });
    await Promise.all(cluster.servers.map((server) => server.resume()));
    await cluster.settled();
    await until(() => caller.link.isUp, 'up again', 20_000);
    t.equal(caller.heard.at(-1), 'up other');
  });
});

t.test('Redis Cluster: a replica takes over', async (t) => {
  const cluster = await RedisCluster.start(t, true);
  // Replicas of a busy machine answer late; how late is not asked here.
  const caller = openCaller(t, cluster.url, {
    functions: [PUSH],
    replicasMin: 1,
    waitMs: 2000,
    heartbeatTimeoutMs: 5000,
  });
  await caller.link.ready(5000);
  const victim = await cluster.ownerOf(slotOfTag('a'));
  for (let index = 0; index < 50; index += 1) caller.push();
  await until(() => caller.answers.length === 50, 'answered');
  t.strictSame(caller.outcomes(), { done: 50 });
  await victim.stop('SIGKILL');
  const isMoved = (): boolean =>
    caller.link.status().every(({ server, state }) => server !== victim.url && state !== 'waiting');
  await until(isMoved, 'the map has the replica', 20_000);
  await victim.resume();
  const isWell = (): boolean => caller.link.status().every(({ state }) => state === 'up');
  await until(isWell, 'the old primary is its replica now', 20_000);
  t.ok(caller.heard.includes('up other'));
  t.strictSame(await listOf(cluster, 'a'), caller.done(), 'and has all that was done');
  // On a busy machine a replica may miss the 300 ms at first.
  for (let tries = 0; caller.done().length === 50 && tries < 500; tries += 1) {
    caller.push();
    await sleep(10);
  }
  t.ok(caller.done().length > 50, 'and serves');
  t.ok(isRising(caller.answers.map(({ number }) => number)), 'in order');
});
