// Limits of a datacenter over a real Redis (ADR 0018): two nodes count as one, a Redis that is slow or
// away costs a moment and no room, and no key is without an end.
import t, { type Test } from 'tap';
import { EvalClient } from '../../src/drivers/redis/eval-client.ts';
import { openRedis, type RedisLink } from '../../src/drivers/redis/redis-link.ts';
import { systemClock, systemRandom, systemScheduler } from '../../src/listeners/scheduler.ts';
import { memoryLimits } from '../../src/quota/flexible-limits.ts';
import { RedisLimits } from '../../src/quota/redis-limits.ts';
import { RedisUse } from '../../src/quota/shared-use.ts';
import { sleep, until } from '../e2e/cluster-kit.ts';
import { RedisServer, redisAdmin } from '../support/redis-server.ts';

t.setTimeout(180_000);

const KEY_PREFIX = 'p:';
const ANSWER_MS = 200;
const services = { clock: systemClock, random: systemRandom };

async function link(t: Test, url: string): Promise<RedisLink> {
  const made = openRedis({ scheduler: systemScheduler, urls: [url] });
  t.teardown(() => made.close());
  await made.ready(5000);
  return made;
}

async function limits(t: Test, url: string, keysMax?: number): Promise<RedisLimits> {
  const client = new EvalClient(await link(t, url), ANSWER_MS);
  return new RedisLimits({ client, keyPrefix: KEY_PREFIX, ...services, keysMax });
}

/** Redis has executed what was sent before. */
const settled = (): Promise<void> => sleep(50);

t.test('nodes count together', async (t) => {
  const redis = await RedisServer.start(t);
  const admin = await redisAdmin(t, redis.url);
  const [a, b] = [await limits(t, redis.url), await limits(t, redis.url)];

  await t.test('a window is shared, its end is told, a refusal costs nothing', async (t) => {
    const window = { points: 5, durationS: 0.6 };
    const [here, there] = [a.open('w', window), b.open('w', window)];
    for (let index = 0; index < 5; index++) {
      t.equal(await (index % 2 === 0 ? here : there).take('k', 1), 0);
    }
    for (let index = 0; index < 20; index++) {
      const waitMs = await there.take('k', 1);
      t.ok(waitMs > 0 && waitMs <= 600, `${waitMs} ms`);
    }
    t.equal(await here.take('other', 5), 0);
    here.giveBack('k', 1);
    await settled();
    t.equal(await there.take('k', 1), 0, 'what was not used is there for the other');
    t.ok((await there.take('k', 1)) > 0);
    await sleep(620);
    here.giveBack('k', 5);
    await settled();
    t.equal((await here.take('k', 6)) > 0, true, 'a window that has begun since owes nothing');
    t.equal(await here.take('k', 5), 0);
  });

  await t.test('long names and too many names', async (t) => {
    const long = 'x'.repeat(1000);
    const window = { points: 1, durationS: 60 };
    t.equal(await a.open('long', window).take(long, 1), 0);
    t.ok((await b.open('long', window).take(long, 1)) > 0, 'the same key on every node');
    const few = (await limits(t, redis.url, 3)).open('few', window);
    for (let index = 0; index < 3000; index++) await few.take(`name-${index}`, 1);
    const keys = (await admin('KEYS', `${KEY_PREFIX}l:q:few:*`)) as string[];
    t.ok(keys.length <= 3 + 1024, `${keys.length} keys`);
  });

  await t.test('tallies: over, blocked for the others, forgotten', async (t) => {
    const terms = { eventsMax: 3, windowS: 60 };
    const [here, there] = [a.openTally('t', terms), b.openTally('t', terms)];
    const counted: string[] = [];
    for (const tally of [here, there, here, there]) counted.push(await tally.count('k', 1));
    t.same(counted, ['fine', 'fine', 'fine', 'over']);
    there.block('k', 30_000);
    await settled();
    t.equal(await here.count('k', 1), 'blocked');
    t.equal(await here.count('k', 2), 'blocked');
    const keys = (await admin('KEYS', `${KEY_PREFIX}l:f:t:*`)) as string[];
    const leftMs = Number(await admin('PTTL', keys[0]!));
    t.ok(leftMs > 25_000 && leftMs <= 30_000, `the block lasts ${leftMs} ms`);
    t.notMatch(keys.join(), ':k', 'who it was is not in the key');
    here.forget('k');
    await settled();
    t.equal(await there.count('k', 3), 'fine');
    t.equal(await there.count('k', 1), 'over');
    // With none in order, the first is over.
    t.equal(await a.openTally('none', { eventsMax: 0, windowS: 9 }).count('k', 1), 'over');
  });

  await t.test('every key has an end', async (t) => {
    const keys = (await admin('KEYS', `${KEY_PREFIX}*`)) as string[];
    t.ok(keys.length > 100);
    for (const key of keys) {
      if (Number(await admin('PTTL', key)) === -1) t.fail(`${key} stays for ever`);
    }
  });
});

t.test('a Redis that stands still, and one that is gone', async (t) => {
  const redis = await RedisServer.start(t);
  const a = await limits(t, redis.url);
  const window = { points: 5, durationS: 30 };
  const limit = a.open('w', window);
  const tally = a.openTally('t', { eventsMax: 2, windowS: 30 });
  for (let index = 0; index < 3; index++) t.equal(await limit.take('k', 1), 0);
  redis.signal('SIGSTOP');
  let startMs = performance.now();
  t.equal(await limit.take('k', 1), 0);
  t.ok(performance.now() - startMs < 10_000, 'decided here');
  startMs = performance.now();
  t.equal(await limit.take('k', 1), 0);
  t.ok((await limit.take('k', 1)) > 0, 'with what it had from Redis before: no wider than alone');
  t.same(await Promise.all([1, 2, 3].map(() => tally.count('x', 1))), ['fine', 'fine', 'over']);
  for (let index = 0; index < 200; index++) await limit.take(`n${index}`, 1);
  t.ok(performance.now() - startMs < 50 * ANSWER_MS, 'nobody else waits for it');
  limit.giveBack('k', 1);
  t.equal(await limit.take('k', 1), 0);
  t.ok(a.counters.memory > 200);

  redis.signal('SIGCONT');
  await until('counted by Redis again', async () => {
    const before = a.counters.redis;
    await limit.take('back', 1);
    return a.counters.redis > before;
  });
  await redis.stop('SIGKILL');
  startMs = performance.now();
  const taken = await Promise.all(Array.from({ length: 8 }, () => limit.take('gone', 1)));
  t.equal(taken.filter((waitMs) => waitMs === 0).length, 5);
  t.ok(performance.now() - startMs < 10_000);

  const alone = memoryLimits(services).open('w', window);
  const alike = await Promise.all(Array.from({ length: 8 }, () => alone.take('gone', 1)));
  t.same(
    alike.map((waitMs) => waitMs === 0),
    taken.map((waitMs) => waitMs === 0),
  );
});

t.test('what other nodes use is told, and a dead node’s is not counted for long', async (t) => {
  const server = await RedisServer.start(t);
  const use = async (nodeKey: string): Promise<RedisUse> => {
    const redis = await link(t, server.url);
    const made = new RedisUse({
      ...{ redis, keyPrefix: KEY_PREFIX, nodeKey, clock: systemClock, scheduler: systemScheduler },
    });
    t.teardown(() => made.stop());
    return made;
  };
  const [a, b, c] = [await use('a'), await use('b'), await use('c')];
  const subject = { clientId: 'c', identity: 'u', tenant: 'acme', listener: null };
  const seen = (): number => a.elsewhere('q', 'acme', subject);
  let isWanted = true;
  a.start(
    () => [],
    () => isWanted,
  );
  b.start(
    () => [['q', 'acme', 3]],
    () => true,
  );
  c.start(
    () => [
      ['q', 'acme', 4],
      ['q', 'other', 1],
    ],
    () => isWanted,
  );
  await until('a hears of both', () => seen() === 7);
  t.equal(a.elsewhere('q', 'nobody', subject), 0);
  a.movesHere = ({ clientId }) => clientId === 'c';
  t.equal(seen(), 6, 'whom it takes over does not count twice');
  a.movesHere = () => false;
  b.stop();
  await until('b has left', () => seen() === 4);
  server.signal('SIGSTOP');
  await until('not heard of: alone again', () => seen() === 0);
  server.signal('SIGCONT');
  await until('and back', () => seen() === 4);
  isWanted = false;
  await until('c has left', () => seen() === 0);
});
