/**
 * The datacenter as `admin` is shown it: members, links, Redis and what it is set to, out of the rooms
 * that know. Made by `datacenter.ts`; holds nothing but since when states and members are as they are.
 */
import type {
  ClusterCounts,
  ClusterReport,
  ClusterView,
  DegradedReport,
  JournalCounts,
  LinkReport,
  MemberReport,
  OwnNode,
  PromiseReport,
  RedisReport,
  SharedStoreCounts,
} from '../admin/cluster-view.ts';
import type { Cluster } from '../cluster/cluster.ts';
import type { ClusterCounters } from '../cluster/cluster-counters.ts';
import type { ClusterState, NodeState } from '../cluster/cluster-state.ts';
import type { NodeRecord } from '../cluster/node-functions.ts';
import type { OwnLease } from '../cluster/own-lease.ts';
import type { LinkState, Member } from '../cluster/ports.ts';
import type { Stats } from '../core/stats.ts';
import type { RedisCounters } from '../drivers/redis/redis-counters.ts';
import type { RedisSetting } from '../drivers/redis/redis-settings.ts';
import { systemClock } from '../listeners/scheduler.ts';
import type { Journal } from '../store/journal/journal.ts';
import { JournalCounters } from '../store/journal/journal-counters.ts';
import type { RedisStore } from '../store/redis/redis-store.ts';
import type { SharedRedis } from './shared-redis.ts';

export interface ViewParts {
  readonly record: NodeRecord;
  readonly lease: OwnLease;
  readonly listed: () => readonly Member[];
  readonly cluster: Cluster;
  readonly redis: SharedRedis;
  readonly shared: RedisStore;
  /** Null: there is no data folder for one. */
  readonly journal: Journal | null;
  readonly mode: DegradedReport['mode'];
  /** Of the broker, once it is made. */
  readonly stats: () => Stats | null;
  readonly timesFenced: () => number;
}

/** What the phases of joining mean, for people. */
const phaseTexts: Readonly<Record<ClusterState['phase'], string>> = {
  out: '',
  counting: 'the others have not all counted it in yet',
  loading: 'it reads the durable sessions from Redis',
  catching_up: 'it catches up on retained messages',
  joined: 'Redis has yet to confirm that nobody else came meanwhile',
};

export class DatacenterView implements ClusterView {
  readonly counters: ClusterCounts;
  readonly redis: Readonly<RedisCounters>;
  readonly store: SharedStoreCounts;
  readonly journal: JournalCounts;
  readonly #parts: ViewParts;
  #state: OwnNode['state'] = 'out';
  #stateSinceMs: number = systemClock.wallMs();
  /** By incarnation. */
  readonly #memberSinceMs: Map<string, number> = new Map();

  constructor(parts: ViewParts) {
    const { timesFenced, cluster, redis, shared, journal } = parts;
    this.#parts = parts;
    this.counters = new LiveCounts(cluster.counters, timesFenced);
    this.redis = redis.link.counters;
    this.store = shared.counters;
    this.journal = journal?.counters ?? new JournalCounters();
  }

  report(): ClusterReport {
    const { cluster, stats } = this.#parts;
    const state = cluster.state();
    const self = state.nodes.find(({ isSelf }) => isSelf);
    const peers = state.nodes.filter(({ isSelf }) => !isSelf);
    const sessionsOwned = self?.sessionsOwned ?? 0;
    const numbers = stats();
    // Whoever is connected without owning a durable session has one that ends with the connection.
    const passing = Math.max(0, (numbers?.clientsConnected ?? 0) - sessionsOwned);
    return {
      node: this.#own(state, self),
      redis: this.#redisReport(),
      degraded: this.#degraded(state),
      members: this.#members(peers),
      links: peers.flatMap((peer) => [...linksOf(peer)]),
      barrierWaiting: state.answersWaiting,
      sessionsOwned,
      sessionsKnown: Math.max(sessionsOwned, (numbers?.sessions ?? 0) - passing),
    };
  }

  #own(state: ClusterState, self: NodeState | undefined): OwnNode {
    const { record, lease, redis } = this.#parts;
    if (state.state !== this.#state) {
      this.#state = state.state;
      this.#stateSinceMs = systemClock.wallMs();
    }
    const { nodeId, address, release, protocol } = record;
    const isCutOff = !redis.link.isUp && (state.state === 'out' || state.state === 'joining');
    const reason = isCutOff
      ? 'Redis is not reached'
      : state.state === 'joining'
        ? phaseTexts[state.phase]
        : '';
    const names = new Map(state.nodes.map((node) => [node.incarnation, node.nodeId]));
    const waitsFor = state.joinWaitsOn.map((one) => names.get(one) ?? one.slice(0, 8));
    return {
      nodeId,
      incarnation: self?.incarnation ?? '',
      address,
      release,
      protocol,
      state: state.state,
      sinceMs: this.#stateSinceMs,
      reason,
      waitsFor: isCutOff ? ['Redis', ...waitsFor] : state.state === 'ready' ? [] : waitsFor,
      leaseRemainingMs: Math.max(0, lease.endMs - systemClock.monotonicMs()),
    };
  }

  #members(peers: readonly NodeState[]): MemberReport[] {
    const nowMs = systemClock.wallMs();
    const since = this.#memberSinceMs;
    const protocols = new Map(
      this.#parts.listed().map((member) => [member.incarnation, member.protocol]),
    );
    const present = new Set(peers.map(({ incarnation }) => incarnation));
    for (const gone of since.keys()) if (!present.has(gone)) since.delete(gone);
    return peers.map((peer) => {
      const { incarnation, nodeId, address, release, state } = peer;
      if (!since.has(incarnation)) since.set(incarnation, nowMs);
      return {
        incarnation,
        nodeId,
        address,
        release,
        protocol: protocols.get(incarnation) ?? 0,
        state,
        sinceMs: since.get(incarnation) as number,
        sessionsOwned: peer.sessionsOwned,
        answersWaiting: peer.answersWaiting,
        routeDrifts: peer.drifts,
      };
    });
  }

  #redisReport(): RedisReport {
    const { redis, shared } = this.#parts;
    const { link, settings } = redis;
    return {
      isUp: link.isUp,
      problem: link.problem,
      servers: link.status(),
      promises: promisesOf(settings),
      waitingCalls: link.waitingCalls,
      waitingBytes: link.waitingBytes,
      waitingMessages: shared.waitingMessages,
    };
  }

  #degraded({ state, hasRedis }: ClusterState): DegradedReport {
    const { redis, journal, mode } = this.#parts;
    const isMember = state === 'ready' || state === 'fenced';
    const hasBacklog = journal !== null && journal.messages > 0;
    let reason = '';
    if (state === 'fenced') {
      reason = 'the lease is over: nothing is matched or acknowledged until Redis confirms it';
    } else if (isMember && !(redis.link.isUp && hasRedis)) {
      reason = `Redis does not answer: ${this.#durable()}, new durable sessions are refused`;
    } else if (isMember && hasBacklog) {
      reason = 'messages of the journal are on their way to Redis';
    }
    return {
      mode,
      isActive: reason !== '',
      reason,
      journaledMessages: journal?.messages ?? 0,
      journaledBytes: journal?.bytes ?? 0,
      journalCopies: journal?.copies ?? 0,
    };
  }

  /** What becomes of durable messages without Redis. */
  #durable(): string {
    const { journal, mode, listed } = this.#parts;
    const wait = 'durable messages are not acknowledged';
    if (journal === null) return `${wait}, as without a data folder there is no journal`;
    if (journal.problem !== '') return `${wait}, as the journal cannot be written`;
    if (!journal.hasRoom) return `${wait}, as the journal is full`;
    if (journal.peer !== null) return 'durable messages are kept here and at another node';
    const isAlone = listed().length === 0;
    if (isAlone && mode === 'local') return 'durable messages are kept on this node alone';
    if (isAlone) return `${wait}, as there is no other node to keep a copy`;
    return journal.messages === 0
      ? 'durable messages will be kept here and at another node'
      : `${wait}, as no other node keeps a copy`;
  }
}

/** What the room counts, and what only its events tell. */
class LiveCounts implements ClusterCounts {
  readonly #counters: Readonly<ClusterCounters>;
  readonly #timesFenced: () => number;

  constructor(counters: Readonly<ClusterCounters>, timesFenced: () => number) {
    this.#counters = counters;
    this.#timesFenced = timesFenced;
  }

  get timesFenced(): number {
    return this.#timesFenced();
  }

  get routeDrifts(): number {
    return this.#counters.routeDrifts;
  }

  get linkLostMessages(): number {
    return this.#counters.linkLostMessages;
  }

  get openedWithoutRedis(): number {
    return this.#counters.openedWithoutRedis;
  }

  get redisLostMessages(): number {
    return this.#counters.redisLostMessages;
  }

  get sessionsAsserted(): number {
    return this.#counters.sessionsAsserted;
  }

  get takeovers(): number {
    return this.#counters.takeovers;
  }

  get willsOfAbsent(): number {
    return this.#counters.willsOfAbsent;
  }

  get sessionsExpired(): number {
    return this.#counters.sessionsExpired;
  }

  get retainedSkewed(): number {
    return this.#counters.retainedSkewed;
  }

  get tombstonesDropped(): number {
    return this.#counters.tombstonesDropped;
  }

  get timesLost(): number {
    return this.#counters.timesLost;
  }
}

function* linksOf({ linkOut, linkIn }: NodeState): Iterable<LinkReport> {
  for (const link of [linkOut, linkIn]) if (link !== null) yield link satisfies LinkState;
}

/** One line for each promise that depends on how Redis is set. */
function promisesOf(settings: readonly RedisSetting[]): PromiseReport[] {
  const reports: PromiseReport[] = [];
  for (const promise of new Set(settings.map((one) => one.promise))) {
    if (promise === '') continue;
    const of = settings.filter((one) => one.promise === promise);
    const broken = of.filter(({ severity }) => severity !== 'ok');
    const sentences = new Set((broken.length > 0 ? broken : of).map(({ sentence }) => sentence));
    reports.push({ promise, holds: broken.length === 0, detail: [...sentences].join(' ') });
  }
  return reports;
}
