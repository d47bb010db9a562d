/**
 * A broker with nothing real around it: time, loop, sockets and store are the test's. Tests of the core
 * begin here.
 */

import type { BridgeBudgets } from '../../src/core/bridge-budgets.ts';
import { Broker } from '../../src/core/broker.ts';
import type { Bus } from '../../src/core/cluster-ports.ts';
import {
  type LimitName,
  makeLimits,
  type QueueOverflow,
  type RevokedSubscription,
  type SharedStrategy,
} from '../../src/core/limits.ts';
import type { Gate, ListenerInfo, Log, Observer, Store } from '../../src/core/ports.ts';
import type { RegionLinks } from '../../src/core/region-links.ts';
import type { RoamCodec } from '../../src/core/roam-frame.ts';
import type { SessionDirectory } from '../../src/core/session-directory.ts';
import type { Stats } from '../../src/core/stats.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { type ConnectOptions, FakeClient, listenerInfo, type Version } from './fake-client.ts';
import { FakeSink } from './fake-sink.ts';
import { FakeDisk, FakeStore } from './fake-store.ts';
import { ManualTime, SeededRandom } from './manual-time.ts';

export interface WorldOptions {
  readonly limits?: { readonly [name in LimitName]?: number };
  readonly queueOverflow?: QueueOverflow;
  readonly sharedStrategy?: SharedStrategy;
  readonly revokedSubscription?: RevokedSubscription;
  readonly gate?: Gate | null;
  readonly observer?: Observer | null;
  readonly store?: Store;
  readonly bus?: Bus | null;
  readonly links?: RegionLinks | null;
  readonly bridges?: BridgeBudgets | null;
  readonly directory?: SessionDirectory | null;
  readonly roamCodec?: RoamCodec | null;
  readonly time?: ManualTime;
  readonly seed?: number;
  readonly random?: SeededRandom;
}

export class World {
  readonly time: ManualTime;
  readonly broker: Broker;
  readonly store: Store;
  /** What the log was told, for tests that expect silence. */
  readonly errors: { readonly fields: object; readonly message: string }[] = [];

  private constructor(options: WorldOptions) {
    this.time = options.time ?? new ManualTime();
    this.store = options.store ?? new MemoryStore();
    const log: Log = {
      debug: () => {},
      info: () => {},
      warn: () => {},
      error: (fields, message) => this.errors.push({ fields, message }),
    };
    this.broker = new Broker({
      limits: makeLimits(options.limits),
      queueOverflow: options.queueOverflow ?? 'drop_oldest',
      sharedStrategy: options.sharedStrategy ?? 'round_robin',
      revokedSubscription: options.revokedSubscription ?? 'disconnect',
      clock: this.time,
      random: options.random ?? new SeededRandom(options.seed ?? 1),
      scheduler: this.time,
      log,
      store: this.store,
      gate: options.gate ?? null,
      observer: options.observer ?? null,
      bus: options.bus ?? null,
      links: options.links ?? null,
      bridges: options.bridges ?? null,
      directory: options.directory ?? null,
      roamCodec: options.roamCodec ?? null,
    });
  }

  static async start(options: WorldOptions = {}): Promise<World> {
    const world = new World(options);
    await world.broker.start();
    return world;
  }

  /** A world whose store keeps what is committed; `crash` leaves its disk for the next one. */
  static async durable(
    options: Omit<WorldOptions, 'store'> & {
      readonly disk?: FakeDisk;
      readonly commitsAlone?: boolean;
    } = {},
  ): Promise<World & { readonly store: FakeStore }> {
    const time = options.time ?? new ManualTime();
    const store = new FakeStore(
      time,
      options.disk ?? new FakeDisk(),
      options.commitsAlone ?? false,
    );
    return (await World.start({ ...options, time, store })) as World & {
      readonly store: FakeStore;
    };
  }

  get stats(): Stats {
    return this.broker.stats;
  }

  /** A socket that the broker has accepted; nothing was sent yet. */
  client(
    version: Version,
    clientId: string,
    sink: FakeSink = new FakeSink(),
    listener: ListenerInfo = listenerInfo,
  ): FakeClient {
    sink.handler = this.broker.accept(sink, listener);
    if (sink.handler === null) sink.destroyed = true;
    return new FakeClient(version, clientId, sink);
  }

  /** A connected client, its CONNACK read. */
  connected(
    version: Version,
    clientId: string,
    options: ConnectOptions = {},
    sink: FakeSink = new FakeSink(),
  ): FakeClient {
    const client = this.client(version, clientId, sink);
    client.connect(options);
    this.time.settle();
    if (this.store instanceof FakeStore && !this.store.commitsAlone) {
      this.store.commit();
      this.time.settle();
    }
    client.accepted();
    return client;
  }

  settle(): void {
    this.time.settle();
  }

  /** Gauges that must be 0 when every session and connection has ended. */
  leftovers(): Record<string, number> {
    const { stats } = this;
    const gauges = {
      sockets: stats.sockets,
      connections: stats.connections,
      sessions: stats.sessions,
      subscriptions: stats.subscriptions,
      sharedSubscriptions: stats.sharedSubscriptions,
      queuedMessages: stats.queuedMessages,
      queuedBytes: stats.queuedBytes,
      inflightMessages: stats.inflightMessages,
      outboxBytes: stats.outboxBytes,
      parkedAcks: stats.parkedAcks,
    };
    return Object.fromEntries(Object.entries(gauges).filter(([, value]) => value !== 0));
  }
}
