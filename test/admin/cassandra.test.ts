// Cassandra as operators see it: metrics, health and API. Each counter of the rooms behind it moves one
// series; a node that waits for its first messages is not ready, one without Cassandra is, with a warning.
import t from 'tap';
import { cassandraMetricTable, REQUEST_TIME_NAME } from '../../src/admin/cassandra-metrics.ts';
import { cassandraStates } from '../../src/admin/cassandra-view.ts';
import { Metrics } from '../../src/admin/metrics.ts';
import { countLatency } from '../../src/drivers/cassandra/cassandra-counters.ts';
import { ApiDoor } from './api-door.ts';
import { FakeCassandra } from './fake-cassandra.ts';
import { FakeSources } from './fake-sources.ts';
import { readText, type Scrape } from './prometheus-text.ts';

const names = new Set(cassandraMetricTable.map(({ name }) => name));

function setUp(): { cassandra: FakeCassandra; scrape: () => Promise<Scrape> } {
  const cassandra = new FakeCassandra();
  const metrics = new Metrics(Object.assign(new FakeSources(), { cassandra }));
  return { cassandra, scrape: async () => readText(await metrics.text()) };
}

function moved(before: Scrape, after: Scrape): string[] {
  return [...after.values]
    .filter(([series, value]) => before.values.get(series) !== value)
    .map(([series]) => series)
    .filter((series) => names.has(series.replace(/\{.*/, '')));
}

t.test('each counter moves what is named after it', async (t) => {
  const { cassandra, scrape } = setUp();
  const silent = new Set(
    cassandraMetricTable.filter(({ type }) => type === 'counter').map(({ name }) => name),
  );
  const move = async (what: string, step: () => void): Promise<void> => {
    const before = await scrape();
    step();
    const series = moved(before, await scrape());
    t.equal(series.length, 1, `${what} moves ${series.join(', ') || 'nothing'}`);
    for (const one of series) silent.delete(one.replace(/\{.*/, ''));
  };
  const { retained, link } = cassandra;
  for (const name of Object.keys(retained)) {
    if (name === 'progress') continue;
    await move(name, () => (retained as unknown as Record<string, number>)[name]!++);
  }
  for (const [name, value] of Object.entries(link)) {
    if (typeof value !== 'number' || name === 'latencySumMs') continue;
    await move(name, () => (link as unknown as Record<string, number>)[name]!++);
  }
  await move('failures', () => link.failures.TIMEOUT++);
  await move('attempts', () => link.attemptFailures.WRITE_TIMEOUT++);
  t.strictSame([...silent], [], 'series that nothing moved');
  const { values } = await scrape();
  t.equal(values.get('causeway_cassandra_failures_total{code="timeout"}'), 1);
});

t.test('what the report says', async (t) => {
  const { cassandra, scrape } = setUp();
  cassandra.change({ round: { progress: 0.25, rowsRead: 9 }, isFilling: true });
  const { values, types, helps } = await scrape();
  t.equal(cassandra.reports, 1, 'one report a scrape');
  for (const [series, value] of [
    ['causeway_cassandra_state{state="up"}', 1],
    ['causeway_cassandra_state{state="down"}', 0],
    ['causeway_cassandra_requests', 5],
    ['causeway_cassandra_request_bytes', 600],
    ['causeway_cassandra_retained_waiting_topics', 3],
    ['causeway_cassandra_retained_lag_seconds', 4.5],
    ['causeway_cassandra_filling', 1],
    ['causeway_cassandra_round_progress_ratio', 0.25],
    ['causeway_cassandra_last_round_timestamp_seconds', 1_700_000_000],
  ] as const) {
    t.equal(values.get(series), value, series);
  }
  for (const { name, type } of cassandraMetricTable) {
    t.equal(types.get(name), type, name);
    t.equal(type === 'counter', name.endsWith('_total'), name);
    t.match(helps.get(name) ?? '', /^[A-Z0-9].*\.$/, `${name} has a sentence`);
  }
  const alone = readText(await new Metrics(new FakeSources()).text());
  t.notOk([...alone.types.keys()].some((name) => name.includes('cassandra')));
});

t.test('times of requests are a histogram', async (t) => {
  const { cassandra, scrape } = setUp();
  for (const ms of [0.4, 3, 60_000]) countLatency(cassandra.link, ms);
  const { values } = await scrape();
  const le = (end: string): number | undefined =>
    values.get(`${REQUEST_TIME_NAME}_bucket{le="${end}"}`);
  t.strictSame([le('0.0005'), le('0.0025'), le('0.005'), le('10'), le('+Inf')], [1, 1, 2, 2, 3]);
  t.equal(values.get(`${REQUEST_TIME_NAME}_sum`), 60.0034);
});

t.test('health: waiting for the first messages, and all the rest', async (t) => {
  const cassandra = new FakeCassandra();
  const door = await ApiDoor.open(t, { admin: { cassandra } });
  const check = async (): Promise<object> => {
    const { checks } = (await door.get('/node')).json() as { checks: { name: string }[] };
    return checks.find(({ name }) => name === 'cassandra') ?? {};
  };
  t.strictSame(await check(), { name: 'cassandra', ok: true });
  cassandra.change({ isFilling: true, round: { progress: 0.427, rowsRead: 5 } });
  const reason = 'this node reads the retained messages, 42 % of the ring done';
  t.strictSame(await check(), { name: 'cassandra', ok: false, reason });
  cassandra.change({ round: null });
  t.match(await check(), { ok: false, reason: /^another node reads/ });
  cassandra.change({ isFilling: false, state: 'down', warning: 'kept by the nodes' });
  t.strictSame(await check(), { name: 'cassandra', ok: true, warning: 'kept by the nodes' });
  cassandra.change({ state: 'degraded', reasons: ['1 of 3 nodes do not answer'], warning: '' });
  t.match(await check(), { ok: true, warning: '1 of 3 nodes do not answer' });
});

t.test('the API', async (t) => {
  const cassandra = new FakeCassandra();
  cassandra.retained.takenOver = 7;
  const door = await ApiDoor.open(t, { admin: { cassandra } });
  const shown = (await door.get('/cassandra', 'viewer')).json();
  t.match(shown, { ...cassandra.current, retained: { takenOver: 7, writes: 0 } });
  for (const state of cassandraStates) {
    cassandra.change({ state, round: { progress: 0.5, rowsRead: 1 }, lagMs: 1.23 });
    t.match((await door.get('/cassandra')).json(), { state, round: { progress: 0.5 }, lagMs: 1 });
  }
  const alone = await ApiDoor.open(t);
  const answer = await alone.get('/cassandra');
  t.equal(answer.status, 404);
  t.match(answer.json().detail, /^this node has no Cassandra/);
});
