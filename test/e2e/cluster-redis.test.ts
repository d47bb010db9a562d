// Nodes over the two other kinds of Redis: a master that Sentinels replace, and a Redis Cluster. What was
// acknowledged is there after a failover, as acks wait for the replica (cluster.redis.replicasMin).
import t from 'tap';
import { RedisCluster } from '../support/redis-cluster.ts';
import { MASTER_NAME, RedisSentinels } from '../support/redis-sentinels.ts';
import { DURABLE } from '../support/redis-server.ts';
import { TestCluster, until } from './cluster-kit.ts';

t.setTimeout(180_000);

t.test('a failover by Sentinels loses nothing that was acked', async (t) => {
  const sentinels = await RedisSentinels.start(t, DURABLE);
  const cluster = await TestCluster.start(t, {
    names: ['a', 'b'],
    redisUrl: sentinels.url,
    flags: ['--set', 'cluster.redis.replicasMin=1'],
  });
  t.match(sentinels.url, new RegExp(`^redis-sentinel://.*,.*/${MASTER_NAME}$`));
  const sub = await cluster.durable('b', 'sub');
  await sub.subscribed('over/#', { qos: 1 });
  const away = await cluster.durable('b', 'away');
  await away.subscribed('over/#', { qos: 1 });
  await away.disconnect();
  const pub = await cluster.client('a', 'pub');
  const expected: string[] = [];
  const publishNext = async (): Promise<void> => {
    const text = `${expected.length + 1}`;
    const packetId = pub.sendPublish('over/x', text, { qos: 1 });
    await pub.waitFor('PUBACK', { packetId }, 30_000);
    expected.push(text);
  };
  for (let index = 0; index < 10; index++) await publishNext();
  const before = await sentinels.master();
  await until('the Sentinels begin', () => sentinels.failover());
  // All the time while one goes and the other comes.
  await until('another is the master', async () => {
    await publishNext();
    return (await sentinels.master()) !== before;
  });
  for (let index = 0; index < 10; index++) await publishNext();
  const got = new Set<string>();
  while (got.size < expected.length) {
    got.add((await sub.message({}, { timeoutMs: 20_000 })).payload.toString());
  }
  t.strictSame([...got], expected);
  const { client: back } = await cluster.resumed('a', 'away', {}, 20_000);
  t.ok(back.connack.sessionPresent);
  const kept = new Set<string>();
  while (kept.size < expected.length) kept.add((await back.message()).payload.toString());
  t.strictSame([...kept], expected);
  t.strictSame(cluster.errors(), []);
});

t.test('a Redis Cluster', async (t) => {
  const redis = await RedisCluster.start(t);
  const cluster = await TestCluster.start(t, { names: ['a', 'b'], redisUrl: redis.url });
  const pub = await cluster.client('a', 'pub');
  // Of several shards.
  for (const id of ['one', 'two', 'three', 'four', 'five', 'six']) {
    const sub = await cluster.durable('b', id);
    await sub.subscribed(`shard/${id}/#`, { qos: 2 });
    await sub.disconnect();
    for (let index = 1; index <= 5; index++) {
      await pub.publish(`shard/${id}/x`, `${index}`, { qos: 2 });
    }
    const back = await cluster.durable('a', id);
    t.ok(back.connack.sessionPresent);
    for (let index = 1; index <= 5; index++) await back.message({ payload: `${index}` });
    back.destroy();
  }
  t.strictSame(cluster.errors(), []);
});
