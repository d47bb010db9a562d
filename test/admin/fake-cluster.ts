// A datacenter that tests set: what the composition root would hand to admin, over the real counters of
// the rooms behind it.
import type {
  ClusterCounts,
  ClusterReport,
  ClusterView,
  LinkReport,
} from '../../src/admin/cluster-view.ts';
import { newCounters } from '../../src/cluster/cluster-counters.ts';
import { newRedisCounters, type RedisCounters } from '../../src/drivers/redis/redis-counters.ts';
import { JournalCounters } from '../../src/store/journal/journal-counters.ts';
import { StoreCounters } from '../../src/store/redis/store-counters.ts';
import type { Mutable } from './fake-sources.ts';

const self = 'a1'.repeat(16);
export const other: string = 'b2'.repeat(16);

export function fakeLink(change: Partial<LinkReport> = {}): LinkReport {
  return {
    peer: other,
    nodeId: 'b',
    direction: 'out',
    isUp: true,
    unackedFrames: 3,
    unackedBytes: 400,
    framesTotal: 50,
    bytesTotal: 6000,
    reconnects: 1,
    dropped: 2,
    roundTripMs: 0.5,
    release: '0.9.0',
    ...change,
  };
}

export function fakeReport(): ClusterReport {
  const address = '10.0.0.1:7883';
  return {
    node: {
      nodeId: 'a',
      incarnation: self,
      address,
      release: '1.2.3-test',
      protocol: 1,
      state: 'ready',
      sinceMs: 1_700_000_000_000,
      reason: '',
      waitsFor: [],
      leaseRemainingMs: 2500,
    },
    redis: {
      isUp: true,
      problem: '',
      servers: [{ server: '10.0.0.9:6379', state: 'up', version: '8.0.1', problem: '' }],
      promises: [
        { promise: 'P1', holds: true, detail: 'appendfsync is always' },
        { promise: 'P4', holds: false, detail: 'appendonly is no' },
      ],
      waitingCalls: 4,
      waitingBytes: 500,
      waitingMessages: 6,
    },
    degraded: {
      mode: 'park',
      isActive: false,
      reason: '',
      journaledMessages: 0,
      journaledBytes: 0,
      journalCopies: 0,
    },
    members: [
      {
        nodeId: 'b',
        incarnation: other,
        address: '10.0.0.2:7883',
        release: '0.9.0',
        protocol: 1,
        state: 'ready',
        sinceMs: 1_700_000_000_000,
        sessionsOwned: 5,
        answersWaiting: 6,
        routeDrifts: 0,
      },
    ],
    links: [fakeLink(), fakeLink({ direction: 'in', unackedFrames: 0, roundTripMs: -1 })],
    barrierWaiting: 7,
    sessionsOwned: 8,
    sessionsKnown: 9,
  };
}

export class FakeCluster implements ClusterView {
  readonly counters: Mutable<ClusterCounts> = { ...newCounters(), timesFenced: 0 };
  readonly redis: RedisCounters = newRedisCounters();
  readonly store: StoreCounters = new StoreCounters();
  readonly journal: JournalCounters = new JournalCounters();
  current: ClusterReport = fakeReport();
  reports = 0;

  report(): ClusterReport {
    this.reports += 1;
    return this.current;
  }

  change(change: { [K in keyof ClusterReport]?: Partial<ClusterReport[K]> }): void {
    const { current } = this;
    const parts = Object.entries(change).map(([name, part]) => {
      const before = current[name as keyof ClusterReport];
      const isPlain = typeof part !== 'object' || Array.isArray(part);
      return [name, isPlain ? part : { ...(before as object), ...part }];
    });
    this.current = { ...current, ...Object.fromEntries(parts) };
  }
}
