// The metrics of a datacenter: each counter of the rooms behind them moves one series, they are there
// only when there is a cluster, and the histogram is what Prometheus expects.
import t from 'tap';
import { clusterMetricTable } from '../../src/admin/cluster-metrics.ts';
import { nodeStates } from '../../src/admin/cluster-view.ts';
import { Metrics } from '../../src/admin/metrics.ts';
import { countRoundTrip } from '../../src/drivers/redis/redis-counters.ts';
import { FakeCluster, fakeLink } from './fake-cluster.ts';
import { FakeSources } from './fake-sources.ts';
import { readText, type Scrape } from './prometheus-text.ts';

const names = new Set(clusterMetricTable.map(({ name }) => name));

function setUp(): { cluster: FakeCluster; scrape: () => Promise<Scrape> } {
  const cluster = new FakeCluster();
  const metrics = new Metrics(Object.assign(new FakeSources(), { cluster }));
  return { cluster, scrape: async () => readText(await metrics.text()) };
}

/** Series of the table that differ. */
function moved(before: Scrape, after: Scrape): string[] {
  return [...after.values]
    .filter(([series, value]) => before.values.get(series) !== value)
    .map(([series]) => series)
    .filter((series) => names.has(series.replace(/\{.*/, '')))
    .sort();
}

t.test('each counter of cluster, Redis and store moves what is named after it', async (t) => {
  const { cluster, scrape } = setUp();
  const counts = [
    ['cluster', cluster.counters],
    ['redis', cluster.redis],
    ['store', cluster.store],
    ['journal', cluster.journal],
  ] as const;
  const silent = new Set(
    [...(await scrape()).values.keys()].filter((series) => {
      const spec = clusterMetricTable.find(({ name }) => series.replace(/\{.*/, '') === name);
      return spec?.type === 'counter' && !spec.name.startsWith('causeway_peer_');
    }),
  );
  silent.add('causeway_peer_lost_messages_total');
  let step = 0;
  for (const [room, counters] of counts) {
    for (const [name, value] of Object.entries(counters)) {
      if (name.startsWith('roundTrip')) continue;
      t.type(value, 'number', `${room} ${name}`);
      const before = await scrape();
      step += 1;
      (counters as unknown as Record<string, number>)[name]! += step;
      const series = moved(before, await scrape());
      const own = series.filter((one) => one !== 'causeway_redis_store_settle_lag');
      // Confirmations only take from the lag.
      const expected = name === 'settleConfirmed' ? 0 : 1;
      t.equal(own.length, expected, `${room} ${name} moves ${series.join(', ') || 'nothing'}`);
      const isLag = name === 'settled' || name === 'settleConfirmed';
      t.equal(series.length - own.length, isLag ? 1 : 0, `${room} ${name}: lag`);
      for (const one of own) silent.delete(one);
    }
  }
  t.strictSame([...silent], [], 'series that nothing moved');
});

t.test('what the report says', async (t) => {
  const { cluster, scrape } = setUp();
  const { values, types } = await scrape();
  const expected: Record<string, number> = {
    causeway_cluster_members: 2,
    causeway_cluster_lease_remaining_seconds: 2.5,
    causeway_cluster_degraded: 0,
    causeway_journal_messages: 0,
    causeway_journal_bytes: 0,
    causeway_journal_copies: 0,
    causeway_cluster_barrier_waiting: 7,
    causeway_cluster_sessions_owned: 8,
    causeway_cluster_sessions_known: 9,
    causeway_redis_up: 1,
    causeway_redis_waiting_calls: 4,
    causeway_redis_waiting_bytes: 500,
    causeway_redis_waiting_messages: 6,
    'causeway_peer_up{node="b",direction="out"}': 1,
    'causeway_peer_unacked_frames{node="b",direction="out"}': 3,
    'causeway_peer_unacked_frames{node="b",direction="in"}': 0,
    'causeway_peer_unacked_bytes{node="b",direction="out"}': 400,
    'causeway_peer_frames_total{node="b",direction="out"}': 50,
    'causeway_peer_bytes_total{node="b",direction="in"}': 6000,
    'causeway_peer_reconnects_total{node="b",direction="out"}': 1,
    'causeway_peer_dropped_total{node="b",direction="out"}': 2,
    'causeway_peer_round_trip_seconds{node="b"}': 0.0005,
  };
  for (const [series, value] of Object.entries(expected))
    t.equal(values.get(series), value, series);
  for (const { name, type } of clusterMetricTable) t.equal(types.get(name), type, name);

  for (const state of nodeStates) {
    cluster.change({ node: { state } });
    const { values } = await scrape();
    const shown = nodeStates.filter(
      (one) => values.get(`causeway_cluster_state{state="${one}"}`) === 1,
    );
    t.strictSame(shown, [state]);
  }
  cluster.change({
    redis: { isUp: false },
    degraded: { isActive: true, journaledMessages: 11 },
    members: [],
    links: [fakeLink({ nodeId: 'say "hi"\\', isUp: false })],
  });
  const away = await scrape();
  t.equal(away.values.get('causeway_redis_up'), 0);
  t.equal(away.values.get('causeway_cluster_degraded'), 1);
  t.equal(away.values.get('causeway_journal_messages'), 11);
  t.equal(away.values.get('causeway_cluster_members'), 1);
  t.equal(away.values.get('causeway_peer_up{node="say \\"hi\\"\\\\",direction="out"}'), 0);
  t.notOk(
    [...away.values.keys()].some((series) => series.includes('node="b"')),
    'a peer that is gone has no series',
  );
});

t.test('round trips are a histogram', async (t) => {
  const { cluster, scrape } = setUp();
  for (const ms of [0.2, 0.2, 4, 9000]) countRoundTrip(cluster.redis, ms);
  const { values, types } = await scrape();
  const name = 'causeway_redis_round_trip_seconds';
  t.equal(types.get(name), 'histogram');
  const le = (end: string): number | undefined => values.get(`${name}_bucket{le="${end}"}`);
  t.strictSame([le('0.0001'), le('0.00025'), le('0.005'), le('2.5'), le('+Inf')], [0, 2, 3, 3, 4]);
  t.equal(values.get(`${name}_count`), 4);
  t.equal(values.get(`${name}_sum`), 9.0044);
});

t.test('one report a scrape, and nothing of it when the node is alone', async (t) => {
  const { cluster, scrape } = setUp();
  const { types, helps } = await scrape();
  t.equal(cluster.reports, 1);
  const alone = readText(await new Metrics(new FakeSources()).text());
  const more = [...types.keys()].filter((name) => !alone.types.has(name));
  t.strictSame(more.toSorted(), [...names, 'causeway_redis_round_trip_seconds'].toSorted());
  for (const name of more) {
    t.match(name, /^causeway_(cluster|redis|peer|journal|route_drift)_[a-z_]+$/);
    t.equal(types.get(name) === 'counter', name.endsWith('_total'), name);
    t.notMatch(name, /_(ms|millis|kb|percent)(_|$)/, 'base units');
    t.match(helps.get(name) ?? '', /^[A-Z0-9].*\.$/, `${name} has a sentence`);
  }
});
