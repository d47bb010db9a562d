// Counters that tests set: what the composition root hands to admin.
import type {
  ApiMetrics,
  ApiRefusal,
  ExtraMetric,
  ListenerMetrics,
  MetricSources,
  StoreMetrics,
} from '../../src/admin/metric-sources.ts';
import { Stats } from '../../src/core/stats.ts';

export type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export class FakeListener implements ListenerMetrics {
  readonly info: ListenerMetrics['info'];
  readonly address = 'mqtt://127.0.0.1:1883';
  connections = 0;
  readonly counters: Mutable<ListenerMetrics['counters']> = {
    accepted: 0,
    refused: 0,
    handshakesFailed: 0,
    untrusted: 0,
    acceptErrors: 0,
  };

  constructor(name: string) {
    this.info = { name, transport: 'tcp', limits: {} };
  }
}

export class FakeSources implements MetricSources {
  readonly version = '1.2.3-test';
  readonly stats: Stats = new Stats();
  readonly storeMetrics: Mutable<StoreMetrics> = {
    commits: 0,
    commitSecondsTotal: 0,
    lastCommitMs: 0,
    entriesWritten: 0,
    entriesElided: 0,
    quarantined: 0,
    failedCommits: 0,
    bytesWritten: 0,
  };
  readonly listenerList: FakeListener[] = [
    new FakeListener('mqtt://127.0.0.1:1883'),
    new FakeListener('say "hi"\\'),
  ];
  readonly apiMetrics: Omit<Mutable<ApiMetrics>, 'requests' | 'refused'> & {
    readonly requests: Map<string, Map<number, number>>;
    readonly refused: Map<ApiRefusal, number>;
  } = {
    requests: new Map([['GET /api/v1/node', new Map([[200, 0]])]]),
    refused: new Map(),
    traces: 0,
    traceEventsMissed: 0,
  };
  readonly extraMetrics: Mutable<ExtraMetric>[] = [];
  hasStore = true;
  hasApi = true;

  store: MetricSources['store'] = () => (this.hasStore ? this.storeMetrics : null);
  listeners: MetricSources['listeners'] = () => this.listenerList;
  api: () => ApiMetrics | null = () => (this.hasApi ? this.apiMetrics : null);
  extra: () => Iterable<ExtraMetric> = () => this.extraMetrics;
}
