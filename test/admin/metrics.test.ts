// Every counter of the core is a metric, every metric moves when its counter does, and the reference
// is what the tables say.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { apiRefusals } from '../../src/admin/metric-sources.ts';
import { metricTable } from '../../src/admin/metric-table.ts';
import { Metrics } from '../../src/admin/metrics.ts';
import { runtimeTable } from '../../src/admin/runtime-table.ts';
import { type CloseReason, closeTable } from '../../src/core/close-reason.ts';
import { Drop, dropReasons } from '../../src/core/drop-reason.ts';
import { refuseReasons } from '../../src/core/refuse-reason.ts';
import type { Stats } from '../../src/core/stats.ts';
import { FakeSources } from './fake-sources.ts';
import { metricsReference, metricsReferencePath } from './metrics-reference.ts';
import { readText, type Scrape } from './prometheus-text.ts';

async function scrape(metrics: Metrics): Promise<Scrape> {
  return readText(await metrics.text());
}

/** The series of the tables that differ between two scrapes; the process moves by itself. */
function moved(before: Scrape, after: Scrape): string[] {
  const own = (series: string): boolean => !/^causeway_(process|gc|event_loop)_/.test(series);
  return [...after.values]
    .filter(([series, value]) => own(series) && before.values.get(series) !== value)
    .map(([series]) => series);
}

t.test('each counter moves one series, and each series has a counter', async (t) => {
  const sources = new FakeSources();
  const metrics = new Metrics(sources);
  const { stats, storeMetrics, listenerList } = sources;
  const never = new Set(
    [...(await scrape(metrics)).values.keys()].filter((series) =>
      metricTable.some(({ name }) => series === name || series.startsWith(`${name}{`)),
    ),
  );
  never.delete(`causeway_build_info{version="1.2.3-test",node="${process.version}"}`);
  let step = 0;
  const move = async (what: string, change: (by: number) => void): Promise<void> => {
    const before = await scrape(metrics);
    step += 1;
    change(step);
    const series = moved(before, await scrape(metrics));
    t.equal(series.length, 1, `${what} moves ${series.join(', ') || 'nothing'}`);
    for (const one of series) never.delete(one);
  };

  for (const [name, value] of Object.entries(stats)) {
    // The sum of `refused`, which a sum over the series gives as well.
    if (name === 'connectsRefused') continue;
    if (typeof value === 'number') {
      const key = name as keyof { [K in keyof Stats as Stats[K] extends number ? K : never]: 1 };
      await move(name, (by) => {
        stats[key] += by;
      });
    } else if (value instanceof Float64Array) {
      const first = name.startsWith('packets') ? 1 : 0;
      for (let i = first; i < value.length; i++) {
        await move(`${name}[${i}]`, (by) => {
          value[i]! += by;
        });
      }
    } else if (name === 'refused') {
      for (const reason of refuseReasons) {
        await move(`refused ${reason}`, () => stats.countRefused(reason));
      }
    } else {
      t.equal(name, 'closed', 'the only other map');
      for (const reason of Object.keys(closeTable) as CloseReason[]) {
        await move(`closed ${reason}`, () => stats.countClosed(reason));
      }
    }
  }
  for (const name of Object.keys(storeMetrics) as (keyof typeof storeMetrics)[]) {
    await move(`store ${name}`, (by) => {
      storeMetrics[name] += by;
    });
  }
  for (const listener of listenerList) {
    await move('listener connections', (by) => {
      listener.connections += by;
    });
    for (const name of Object.keys(listener.counters) as (keyof typeof listener.counters)[]) {
      await move(`listener ${name}`, (by) => {
        listener.counters[name] += by;
      });
    }
  }
  const { requests, refused } = sources.apiMetrics;
  await move('api requests', (by) => requests.set('GET /api/v1/node', new Map([[200, by]])));
  for (const reason of apiRefusals) await move(reason, (by) => refused.set(reason, by));
  for (const name of ['traces', 'traceEventsMissed'] as const) {
    await move(name, (by) => {
      sources.apiMetrics[name] += by;
    });
  }
  t.strictSame([...never], [], 'series that nothing moved');
  metrics.stop();
});

t.test('values and labels are those of the counters', async (t) => {
  const sources = new FakeSources();
  const metrics = new Metrics(sources);
  const { stats } = sources;
  stats.bytesReceived = 2 ** 45;
  stats.packetsReceived[3] = 7;
  stats.publishSent[2] = 5;
  stats.dropped[Drop.queue_full] = 3;
  stats.countClosed('keep_alive_timeout');
  sources.storeMetrics.lastCommitMs = 250;
  const { values } = await scrape(metrics);
  t.equal(values.get('causeway_received_bytes_total'), 2 ** 45);
  t.equal(values.get('causeway_packets_received_total{type="publish"}'), 7);
  t.equal(values.get('causeway_messages_sent_total{qos="2"}'), 5);
  t.equal(values.get('causeway_messages_dropped_total{reason="queue_full"}'), 3);
  t.equal(values.get('causeway_connections_closed_total{reason="keep_alive_timeout"}'), 1);
  t.equal(values.get('causeway_store_last_commit_seconds'), 0.25);
  for (const reason of dropReasons) {
    t.ok(
      values.has(`causeway_messages_dropped_total{reason="${reason}"}`),
      `${reason} is shown at 0`,
    );
  }
  sources.hasStore = false;
  sources.hasApi = false;
  const without = await scrape(new Metrics(sources));
  t.notOk(
    [...without.types.keys()].some((name) => name.startsWith('causeway_api_')),
    'no API',
  );
  t.notOk(without.values.has('causeway_store_commits_total'), 'no store, no store counters');
  metrics.stop();
});

t.test('metrics of other rooms follow, whatever their labels hold', async (t) => {
  const sources = new FakeSources();
  const metrics = new Metrics(sources);
  const quota = { name: 'causeway_quota_used', type: 'gauge', help: 'Use of a quota.' } as const;
  sources.extraMetrics.push(
    { ...quota, labels: { quota: 'rate', tenant: 'a"b\\c\nd' }, value: 1.5 },
    { ...quota, labels: { quota: 'rate', tenant: '' }, value: 2 },
    {
      name: 'causeway_bans',
      type: 'gauge',
      help: 'Bans in force.',
      labels: {},
      value: 3,
    },
  );
  const { values, types } = await scrape(metrics);
  t.equal(values.get('causeway_quota_used{quota="rate",tenant="a\\"b\\\\c\\nd"}'), 1.5);
  t.equal(values.get('causeway_quota_used{quota="rate",tenant=""}'), 2);
  t.equal(values.get('causeway_bans'), 3);
  t.equal(types.get('causeway_quota_used'), 'gauge');
});

t.test('two listeners of one name are added up', async (t) => {
  const sources = new FakeSources();
  const twin = sources.listenerList[0]!;
  sources.listenerList[1] = twin;
  twin.connections = 4;
  const metrics = new Metrics(sources);
  const series = 'causeway_listener_connections{listener="mqtt://127.0.0.1:1883",transport="tcp"}';
  t.equal((await scrape(metrics)).values.get(series), 8);
});

t.test('names follow the custom', async (t) => {
  const { types, helps } = await scrape(new Metrics(new FakeSources()));
  for (const [name, type] of types) {
    t.match(name, /^causeway_[a-z_]+$/);
    t.equal(type === 'counter', name.endsWith('_total'), `${name} is a ${type}`);
    t.notMatch(name, /_(ms|millis|kb|percent)(_|$)/, 'base units');
    t.match(helps.get(name) ?? '', /^[A-Z].*\.$/, `${name} has a sentence`);
  }
});

t.test('the process is watched: stalls, collections, memory, CPU', async (t) => {
  const metrics = new Metrics(new FakeSources());
  const beganMs = performance.now();
  metrics.start();
  t.teardown(() => metrics.stop());
  await sleep(100);
  const before = await scrape(metrics);
  const startMs = performance.now();
  const garbage: object[][] = [];
  // By its amount as well as by time: a loaded machine gives little of it in a while.
  for (let made = 0; made < 20_000 || performance.now() < startMs + 120; made++) {
    garbage[made % 8] = new Array(1000).fill({});
  }
  await sleep(100);
  const { values } = await scrape(metrics);
  const elapsedS = (performance.now() - beganMs) / 1000;
  const get = (series: string): number => values.get(series)! - (before.values.get(series) ?? 0);
  const late = 'causeway_event_loop_delay_seconds';
  const stalls = get(`${late}_bucket{le="+Inf"}`) - get(`${late}_bucket{le="0.05"}`);
  t.ok(stalls >= 1, `${stalls} stalls`);
  t.equal(get(`${late}_count`), get(`${late}_bucket{le="+Inf"}`));
  const lateS = get(`${late}_sum`);
  t.ok(lateS > 0.08 && lateS <= elapsedS, `${lateS} s of ${elapsedS} s`);
  t.ok(get('causeway_gc_duration_seconds_count{kind="minor"}') > 0, 'collections');
  t.ok(get('causeway_gc_duration_seconds_sum{kind="minor"}') > 0);
  t.ok(get('causeway_process_cpu_seconds_total{mode="user"}') > 0, 'CPU');
  for (const area of ['resident', 'heap_used', 'heap_reserved', 'external', 'buffers']) {
    t.ok(values.get(`causeway_process_memory_bytes{area="${area}"}`)! > 0, area);
  }
  const started = values.get('causeway_process_start_time_seconds')!;
  t.ok(Math.abs(Date.now() / 1000 - process.uptime() - started) < 2);
  t.equal(runtimeTable.length, 3, 'each is asked for above');
});

t.test('buckets only rise', async (t) => {
  const metrics = new Metrics(new FakeSources());
  metrics.start();
  t.teardown(() => metrics.stop());
  let last = new Map<string, number>();
  for (let i = 0; i < 6; i++) {
    const end = performance.now() + i * 7;
    while (performance.now() < end);
    await sleep(30);
    const { values } = await scrape(metrics);
    const now = new Map([...values].filter(([series]) => series.includes('delay_seconds_bucket')));
    let below = 0;
    for (const [series, value] of now) {
      t.ok(value >= (last.get(series) ?? 0), `${series} ${value}`);
      t.ok(value >= below, 'and hold what lower ones hold');
      below = value;
    }
    last = now;
  }
});

t.test('docs/reference/metrics.md', async (t) => {
  const found = readFileSync(metricsReferencePath, 'utf8');
  const hint = 'is up to date; otherwise run: node test/admin/metrics-reference.ts';
  t.equal(found, await metricsReference(), hint);
});
