// The short form of `npm run chaos:cluster`: three nodes, one of them killed, Redis killed and started
// again, and all nodes restarted one after the other under load; the books have to balance.
import t from 'tap';
import { describeClusterChaos, runClusterChaos } from '../chaos/run-cluster-chaos.ts';
import { DURABLE, RedisServer } from '../support/redis-server.ts';
import { seedOr } from '../support/seed.ts';

t.setTimeout(870_000);

t.test('a node, Redis, and all nodes in turn', async (t) => {
  const redis = await RedisServer.start(t, DURABLE);
  const seed = seedOr(1);
  const report = await runClusterChaos({
    seed,
    faults: 0,
    plan: ['kill', 'redis_restart', 'rolling_restart'],
    ratePerS: 15,
    flags: ['--set', 'cluster.leaseMs=1500'],
    redis,
  });
  t.ok(report.isClean, describeClusterChaos(report));
  t.ok(report.acked > 100, 'it was a run');
  t.comment(describeClusterChaos(report));
});
