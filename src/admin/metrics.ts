/**
 * `/metrics`: the tables as Prometheus text. Counters stay plain numbers where they are counted; a
 * scrape reads them all. Made by `admin-server.ts`.
 */
import { Counter, Gauge, Histogram, type Metric, Registry } from 'prom-client';
import {
  cassandraMetricTable,
  REQUEST_TIME_HELP,
  REQUEST_TIME_NAME,
  requestTimeHistogram,
} from './cassandra-metrics.ts';
import type { CassandraReport, CassandraView } from './cassandra-view.ts';
import {
  clusterMetricTable,
  ROUND_TRIP_HELP,
  ROUND_TRIP_NAME,
  roundTripHistogram,
} from './cluster-metrics.ts';
import type { ClusterReport, ClusterView } from './cluster-view.ts';
import { directoryMetricTable, moveMetricTable } from './directory-metrics.ts';
import {
  EventLoopDelay,
  type HistogramValues,
  LOOP_DELAY_HELP,
  LOOP_DELAY_NAME,
} from './event-loop-delay.ts';
import { extraText } from './extra-text.ts';
import { GC_BUCKETS_SECONDS, GC_HELP, GC_NAME, gcKinds, watchCollections } from './gc-pauses.ts';
import type { ExtraMetric, MetricSources } from './metric-sources.ts';
import { metricTable, type Sample } from './metric-table.ts';
import { runtimeTable } from './runtime-table.ts';

interface Spec {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly labels: readonly string[];
}

export class Metrics {
  readonly contentType: string;
  readonly #registry: Registry = new Registry();
  readonly #loopDelay: EventLoopDelay = new EventLoopDelay();
  readonly #collections: Histogram<'kind'>;
  readonly #extra: (() => Iterable<ExtraMetric>) | null;
  readonly #cluster: ClusterView | null;
  readonly #cassandra: CassandraView | null;
  /** Of the scrape that is being made. */
  #report: ClusterReport | null = null;
  #cassandraReport: CassandraReport | null = null;
  #stopWatching: (() => void) | null = null;
  #rendering: Promise<string> | null = null;

  constructor(sources: MetricSources) {
    this.#extra = sources.extra ?? null;
    this.#cluster = sources.cluster ?? null;
    this.#cassandra = sources.cassandra ?? null;
    const hasStore = sources.store() !== null;
    const hasApi = (sources.api?.() ?? null) !== null;
    for (const spec of metricTable) {
      if (spec.needsStore === true && !hasStore) continue;
      if (spec.needsApi === true && !hasApi) continue;
      this.#add(spec, () => spec.read(sources));
    }
    for (const spec of runtimeTable) this.#add(spec, spec.read);
    this.#collections = new Histogram({
      name: GC_NAME,
      help: GC_HELP,
      labelNames: ['kind'],
      buckets: [...GC_BUCKETS_SECONDS],
      registers: [this.#registry],
    });
    // Shown from the start, so that a rate over the first collection is right.
    for (const kind of gcKinds) this.#collections.zero({ kind });
    const loopDelay = (): HistogramValues => this.#loopDelay.read();
    this.#addHistogram(LOOP_DELAY_NAME, LOOP_DELAY_HELP, loopDelay);
    if (this.#cluster !== null) this.#addCluster(this.#cluster);
    if (this.#cassandra !== null) this.#addCassandra(this.#cassandra);
    const { directory = null } = sources;
    if (directory !== null) {
      for (const spec of directoryMetricTable) this.#add(spec, () => spec.read(directory));
    }
    const moves = directory?.moves ?? null;
    if (moves !== null) for (const spec of moveMetricTable) this.#add(spec, () => spec.read(moves));
    this.contentType = this.#registry.contentType;
  }

  start(): void {
    this.#loopDelay.start();
    this.#stopWatching ??= watchCollections((kind, seconds) => {
      this.#collections.observe({ kind }, seconds);
    });
  }

  stop(): void {
    this.#loopDelay.stop();
    this.#stopWatching?.();
    this.#stopWatching = null;
  }

  /** The whole text; requests that come while it is made share it. */
  text(): Promise<string> {
    this.#rendering ??= this.#render().finally(() => {
      this.#rendering = null;
    });
    return this.#rendering;
  }

  async #render(): Promise<string> {
    this.#report = this.#cluster?.report() ?? null;
    this.#cassandraReport = this.#cassandra?.report() ?? null;
    const text = await this.#registry.metrics();
    return this.#extra === null ? text : `${text}${extraText(this.#extra())}`;
  }

  #add(spec: Spec, read: () => readonly Sample[]): void {
    const { name, help, labels } = spec;
    const config = { name, help, labelNames: [...labels], registers: [this.#registry] };
    const collect = function (this: Gauge | Counter): void {
      this.reset();
      // Added, not set: two listeners may have one name.
      for (const [values, value] of read()) this.inc(labelled(labels, values), value);
    };
    if (spec.type === 'counter') new Counter({ ...config, collect });
    else new Gauge({ ...config, collect });
  }

  #addCluster(view: ClusterView): void {
    for (const spec of clusterMetricTable) {
      this.#add(spec, () => (this.#report === null ? [] : spec.read(view, this.#report)));
    }
    this.#addHistogram(ROUND_TRIP_NAME, ROUND_TRIP_HELP, () => roundTripHistogram(view));
  }

  #addCassandra(view: CassandraView): void {
    for (const spec of cassandraMetricTable) {
      this.#add(spec, () =>
        this.#cassandraReport === null ? [] : spec.read(view, this.#cassandraReport),
      );
    }
    this.#addHistogram(REQUEST_TIME_NAME, REQUEST_TIME_HELP, () => requestTimeHistogram(view));
  }

  /** One that is counted elsewhere: a metric of prom-client is whatever has a name and answers `get`. */
  #addHistogram(name: string, help: string, read: () => HistogramValues): void {
    const get = (): object => ({
      name,
      help,
      type: 'histogram',
      aggregator: 'sum',
      values: histogramSamples(name, read()),
    });
    this.#registry.registerMetric({ name, get } as unknown as Metric);
  }
}

function labelled(names: readonly string[], values: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.map((name, index) => [name, values[index] ?? '']));
}

function histogramSamples(name: string, values: HistogramValues): object[] {
  return [
    ...values.buckets.map(([le, value]) => ({
      labels: { le },
      value,
      metricName: `${name}_bucket`,
    })),
    { labels: { le: '+Inf' }, value: values.count, metricName: `${name}_bucket` },
    { labels: {}, value: values.sumSeconds, metricName: `${name}_sum` },
    { labels: {}, value: values.count, metricName: `${name}_count` },
  ];
}
