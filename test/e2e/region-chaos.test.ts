// The short form of `npm run chaos:regions`: a datacenter of two nodes and a node alone over one Cassandra, with
// clocks that differ, links that are silent, cut one way and down, Redis and nodes killed, and a region that dies
// as a whole; the books of P7 and P8 have to balance.
import t from 'tap';
import { describeRegionChaos, runRegionChaos } from '../chaos/run-region-chaos.ts';
import { makeKeyspace } from '../support/cassandra-link.ts';
import { sharedCassandra } from '../support/cassandra-server.ts';
import { seedOr } from '../support/seed.ts';

t.setTimeout(280_000);

t.test('links, nodes, Redis, a region', async (t) => {
  const cassandra = await sharedCassandra(t);
  const keyspace = await makeKeyspace(t, cassandra, []);
  const report = await runRegionChaos({
    seed: seedOr(1),
    faults: 0,
    plan: ['link_long', 'redis_restart', 'kill', 'region_kill', 'link_one_way'],
    regions: [
      { name: 'eu', nodes: 2 },
      { name: 'us', nodes: 1, clockMs: 5000 },
    ],
    topology: 'mesh',
    cassandra,
    keyspace,
    ratePerS: 5,
    longMs: 8000,
    haste: 4,
  });
  t.ok(report.isClean, describeRegionChaos(report));
  t.ok(report.acked > 50, 'it was a run');
  t.ok(report.links.messages > 50, 'over links');
  t.comment(describeRegionChaos(report));
});
