/**
 * `/metrics`: the tables as Prometheus text. Counters stay plain numbers where they are counted; a
 * scrape reads them all. Made by `admin-server.ts`.
 */
import { Counter, Gauge, Histogram, type Metric, Registry } from 'prom-client';
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
  #stopWatching: (() => void) | null = null;
  #rendering: Promise<string> | null = null;

  constructor(sources: MetricSources) {
    this.#extra = sources.extra ?? null;
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
    this.#registry.registerMetric(histogramOf(this.#loopDelay) as unknown as Metric);
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
}

function labelled(names: readonly string[], values: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.map((name, index) => [name, values[index] ?? '']));
}

/** A metric of prom-client is whatever has a name and answers `get`. */
function histogramOf(delay: EventLoopDelay): object {
  return {
    name: LOOP_DELAY_NAME,
    get: () => ({
      name: LOOP_DELAY_NAME,
      help: LOOP_DELAY_HELP,
      type: 'histogram',
      aggregator: 'sum',
      values: histogramSamples(LOOP_DELAY_NAME, delay.read()),
    }),
  };
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
