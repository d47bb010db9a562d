/**
 * A datacenter in virtual time: nodes of the real core, shared store, links, membership and cluster, over
 * a model of Redis and a simulated network. Made by a run (cluster-run.ts), which decides what happens;
 * everything that happens follows from the kernel's seed.
 */
import { Cluster } from '../../src/cluster/cluster.ts';
import { JournalLinks } from '../../src/cluster/journal-links.ts';
import { PeerMesh } from '../../src/cluster/link/mesh.ts';
import { ClusterMembership } from '../../src/cluster/membership.ts';
import type { MembershipParts } from '../../src/cluster/membership-parts.ts';
import type { ReadyEvents, RetainedRounds } from '../../src/cluster/ports-local.ts';
import { RoleLease } from '../../src/cluster/role-lease.ts';
import { Broker } from '../../src/core/broker.ts';
import type { Incarnation } from '../../src/core/incarnation.ts';
import { makeLimits } from '../../src/core/limits.ts';
import { Message } from '../../src/core/message.ts';
import type {
  Clock,
  Gate,
  Log,
  RestoreVisitor,
  Store,
  StoreEvents,
  Ticket,
} from '../../src/core/ports.ts';
import type { RegionLinks } from '../../src/core/region-links.ts';
import type { RetainedVersion } from '../../src/core/retained-version.ts';
import type { SessionDirectory } from '../../src/core/session-directory.ts';
import { roamCodec } from '../../src/geo/roaming/roam-codec.ts';
import { Journal } from '../../src/store/journal/journal.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { SplitStore } from '../../src/store/split-store.ts';
import type { Dial, LineEvents } from '../chaos/line.ts';
import type { Kernel } from './kernel.ts';
import { LinkNetwork } from './link-network.ts';
import { ModelRedis, type ModelRedisClient } from './model-redis.ts';
import { RouteShadow } from './route-shadow.ts';
import { SimJournalDisk } from './sim-journal-disk.ts';
import { SimLine } from './sim-line.ts';
import type { SimNode } from './sim-node.ts';

export const PREFIX = 'sim:';
export const LEASE_MS = 3000;
const MARGIN_MS = 500;
const LINK_GRACE_MS = 2000;
/** A node waits so long for what its earlier life had journaled. */
const OLD_JOURNAL_MS = 2000;
const TICK_MS = 20;
const EPOCH_MS = 1_800_000_000_000;

/** Retained messages of one machine: what its disk has. */
class SimDisk extends MemoryStore {
  /** Messages, and the versions of tombstones. */
  readonly #kept: Map<string, Message | RetainedVersion> = new Map();

  override start(_events: StoreEvents, restore?: RestoreVisitor): Promise<void> {
    for (const [topic, kept] of this.#kept) {
      if (kept instanceof Message) restore?.retained(kept);
      else restore?.tombstone?.(topic, kept);
    }
    return Promise.resolve();
  }

  override putRetained(message?: Message): Ticket {
    this.#kept.set(message!.topic, message!);
    return 0;
  }

  override removeRetained(topic?: string, version?: RetainedVersion | null): Ticket {
    if (version === undefined || version === null) this.#kept.delete(topic!);
    else this.#kept.set(topic!, version);
    return 0;
  }

  override forgetTombstone(topic?: string): void {
    this.#kept.delete(topic!);
  }
}

/** One life of a node. */
export interface SimLife {
  readonly node: SimNode;
  readonly broker: Broker;
  readonly cluster: Cluster;
  readonly store: RedisStore;
  readonly journal: Journal;
  readonly redis: ModelRedisClient;
  readonly mesh: PeerMesh;
  readonly membership: ClusterMembership;
  /** What its router was told of the others. */
  readonly shadow: RouteShadow;
  /** Null: nobody wants any. */
  readonly roles: RoleLease | null;
  /** Planted: a frame of that type that is true here never was applied, though it was acked. */
  swallows: ((from: Incarnation, type: number) => boolean) | null;
  /** Virtual ms at which `mayServe` said yes last. */
  servedMs: number;
  isReady: boolean;
}

export interface SimMachine {
  readonly name: string;
  readonly address: string;
  readonly disk: SimDisk;
  readonly journalDisk: SimJournalDisk;
  life: SimLife | null;
  lives: number;
}

/** What a node has besides, in a region that is linked to others (region-datacenter.ts). */
export interface SimSurroundings {
  readonly gate: Gate;
  readonly links: RegionLinks;
  /** What each node keeps for itself: retained messages. */
  readonly local: Store;
  readonly rounds: RetainedRounds | null;
  /** Null: sessions stay in their region. */
  readonly directory: SessionDirectory | null;
  /** It is a member. */
  readonly joined: () => void;
}

export interface SimSiteOptions {
  readonly nodes?: number;
  /** What its machines are called, before their number. */
  readonly name?: string;
  /** So much the clocks of all its machines are off. */
  readonly wallOffsetMs?: number;
  readonly surroundings?: (machine: SimMachine, node: SimNode, log: Log) => SimSurroundings;
  /** Planted: what a test replaces to see that it is found. */
  readonly sabotage?: (life: SimLife) => void;
  /** Planted: what membership is made of. */
  readonly membershipParts?: (clock: Clock) => Partial<MembershipParts>;
  /** `cluster.degraded: local`. */
  readonly isLocalEnough?: boolean;
  /** How far `redis.rollBack` can go; it costs a copy of all that is written. */
  readonly historyMs?: number;
}

export class SimSite {
  readonly kernel: Kernel;
  readonly redis: ModelRedis;
  readonly network: LinkNetwork;
  readonly machines: SimMachine[] = [];
  /** Told of each life before it starts, and of what it sends to clients. */
  onLife: ((life: SimLife) => void) | null = null;
  onWrite: ((life: SimLife, buffer: Buffer, start: number, end: number) => void) | null = null;
  /** What the nodes complained about. */
  readonly complaints: string[] = [];
  readonly #options: SimSiteOptions;

  constructor(kernel: Kernel, options: SimSiteOptions = {}) {
    this.kernel = kernel;
    this.#options = options;
    this.redis = new ModelRedis(
      {
        nowMs: () => EPOCH_MS + (options.wallOffsetMs ?? 0) + kernel.nowMs,
        after: (delayMs, task) => void kernel.after(null, delayMs, task),
        chance: () => kernel.chance.next(),
      },
      { historyMs: options.historyMs ?? 0 },
    );
    this.network = new LinkNetwork(kernel);
    for (let index = 0; index < (options.nodes ?? 3); index++) {
      this.machines.push({
        name: `${options.name ?? 'n'}${index + 1}`,
        address: `10.0.0.${index + 1}:7000`,
        disk: new SimDisk(),
        journalDisk: new SimJournalDisk(kernel),
        life: null,
        lives: 0,
      });
    }
  }

  /** Starts a node on the machine; it is ready later. */
  start(machine: SimMachine): void {
    const { kernel } = this;
    machine.lives++;
    const node = kernel.node(`${machine.name}.${machine.lives}`, {
      rate: 1 + (kernel.chance.next() - 0.5) / 50,
      wallOffsetMs: (this.#options.wallOffsetMs ?? 0) + (kernel.chance.next() - 0.5) * 200,
    });
    const { clock, random } = node;
    const log = this.#log(node);
    const around = this.#options.surroundings?.(machine, node, log) ?? null;
    const after = (delayMs: number, task: () => void): void =>
      void kernel.after(node, delayMs, task);
    const redis = this.redis.connect(node.name, after);
    node.onKill(() => redis.close());
    const journalLinks = new JournalLinks();
    const journal = new Journal({
      disk: machine.journalDisk.of(node),
      scheduler: node,
      clock,
      log,
      bounds: () => ({ messagesMax: 100_000, bytesMax: 64 * 1024 * 1024 }),
      isLocalEnough: this.#options.isLocalEnough ?? false,
      courier: journalLinks,
      sink: {
        get isUp() {
          return store.isUp;
        },
        replay: (record, answered) => store.replay(record, answered),
      },
    });
    journalLinks.journal = journal;
    const store: RedisStore = new RedisStore({
      redis,
      keyPrefix: PREFIX,
      scheduler: node,
      clock,
      log,
      incarnation: () => cluster.bus.incarnation,
      budgetOf: (clientId) => around?.links.peerOf(clientId) ?? null,
      journal,
    });
    const mesh = new PeerMesh({
      transport: this.network.transport(node, machine.address),
      clock,
      random,
      scheduler: node,
      log,
      limits: { leaseMs: LEASE_MS, bufferBytesMax: 4 * 1024 * 1024, frameBytesMax: 1024 * 1024 },
      release: 'sim',
    });
    const life = {
      node,
      redis,
      store,
      journal,
      mesh,
      swallows: null,
      servedMs: -1,
      roles: null,
      isReady: false,
    } as unknown as Mutable<SimLife>;
    swallowing(mesh, life);
    const record = { nodeId: machine.name, address: machine.address, release: 'sim', protocol: 1 };
    const split = new SplitStore(store, around?.local ?? machine.disk);
    const cluster: Cluster = new Cluster({
      record,
      ledger: store.ledger,
      sessions: split,
      mesh,
      membership: ({ events, askPeer }) => {
        life.membership = new ClusterMembership(
          {
            record,
            prefix: PREFIX,
            leaseMs: LEASE_MS,
            marginMs: MARGIN_MS,
            linkGraceMs: LINK_GRACE_MS,
            emptyWaitMs: LEASE_MS + MARGIN_MS,
            goesOnAlone: this.#options.isLocalEnough ?? false,
          },
          { clock, random, scheduler: node, redis, log, askPeer },
          events,
          this.#options.membershipParts?.(clock),
        );
        this.#noteServing(life);
        if (around !== null) life.roles = rolesOf(life, events);
        return life.membership;
      },
      clock,
      random,
      scheduler: node,
      log,
      options: {
        leaseMs: LEASE_MS,
        linkGraceMs: LINK_GRACE_MS,
        retainedTombstoneMs: 600_000,
        retainedTombstonesMax: 10_000,
        clockSkewMs: 60_000,
      },
      journal: journalLinks,
      rounds: around?.rounds ?? null,
      onReady: () => {
        life.isReady = true;
        node.trace('ready');
      },
      onLost: () => {
        life.isReady = false;
        node.trace('lost');
      },
    });
    life.cluster = cluster;
    const broker = new Broker({
      limits: makeLimits({}),
      queueOverflow: 'drop_oldest',
      sharedStrategy: 'round_robin',
      revokedSubscription: 'disconnect',
      clock,
      random,
      scheduler: node,
      log,
      store: split,
      gate: around?.gate ?? null,
      observer: null,
      bus: cluster.bus,
      links: around?.links ?? null,
      directory: around?.directory ?? null,
      roamCodec,
    });
    life.broker = broker;
    const { remote } = broker;
    life.shadow = new RouteShadow(remote!);
    cluster.attach(remote!);
    store.onTail = (owner, clientId, sid, tailSeq) => {
      if (owner === cluster.bus.incarnation) remote!.hint(clientId, sid, tailSeq);
      else cluster.bus.hint(owner, clientId, sid, tailSeq);
    };
    redis.listen({
      redisUp: (isOther) => {
        store.redisUp(isOther);
        cluster.redisUp(isOther);
      },
      redisDown: (why) => {
        store.redisDown(why);
        cluster.redisDown();
      },
    });
    machine.life = life;
    this.onLife?.(life);
    this.#options.sabotage?.(life);
    // Promises go on between two runs of the kernel, at moments that do not depend on real time.
    void broker
      .start()
      .then(() =>
        kernel.after(node, 1, () => journal.begin(() => this.#join(life, () => around?.joined()))),
      );
  }

  /** As app/ does: what an earlier life has left goes first, when Redis is there. */
  #join({ node, journal, cluster }: SimLife, joined: () => void): void {
    if (journal.isCaughtUp) {
      cluster.start(joined);
      return;
    }
    let leftMs = OLD_JOURNAL_MS;
    const stop = node.every(TICK_MS, () => {
      leftMs -= TICK_MS;
      if (!journal.isCaughtUp && leftMs > 0) return;
      stop();
      cluster.start(joined);
    });
  }

  #noteServing(life: Mutable<SimLife>): void {
    const { membership } = life;
    const mayServe = membership.mayServe.bind(membership);
    membership.mayServe = () => {
      const may = mayServe();
      if (may) life.servedMs = this.kernel.nowMs;
      return may;
    };
  }

  #log(node: SimNode): Log {
    const say = (level: string) => (fields: object, message: string) => {
      node.trace(`${level}: ${message} ${this.kernel.isTracing ? shown(fields) : ''}`);
    };
    return {
      debug: say('debug'),
      info: say('info'),
      warn: say('warn'),
      error: (fields, message) => {
        node.trace(`error: ${message} ${shown(fields)}`);
        this.complaints.push(`${node.name}: ${message} ${shown(fields)}`);
      },
    };
  }

  /** kill -9. */
  kill(machine: SimMachine): void {
    const { life } = machine;
    machine.life = null;
    if (life !== null) this.kernel.kill(life.node);
  }

  get ready(): readonly SimLife[] {
    return this.machines.flatMap(({ life }) => (life?.isReady === true ? [life] : []));
  }

  /** To a node that is up, chosen by chance; a node that is not ready refuses. */
  readonly dial: Dial = (version, events) => {
    const { kernel } = this;
    const lives = this.ready;
    const life = lives[kernel.chance.below(lives.length)];
    if (life === undefined) throw new Error('nobody listens');
    return this.#line(life, version, events);
  };

  /** To the node on that machine. `delayMs`: of each way, always; else chance decides. */
  dialTo(machine: SimMachine, version: 4 | 5, events: LineEvents, delayMs?: number): SimLine {
    const { life } = machine;
    if (life === null) throw new Error(`nobody listens on ${machine.name}`);
    return this.#line(life, version, events, delayMs);
  }

  #line(life: SimLife, version: 4 | 5, events: LineEvents, delayMs?: number): SimLine {
    const { kernel } = this;
    return new SimLine({
      kernel,
      node: life.node,
      broker: life.broker,
      version,
      events,
      delayMs: () => delayMs ?? 0.1 + kernel.chance.next() * 3,
      onKill: (task) => life.node.onKill(task),
      onWrite: (buffer, start, end) => this.onWrite?.(life, buffer, start, end),
    });
  }
}

/** As app/ does: roles are asked for when somebody is gone, and anew when Redis came back empty. */
function rolesOf({ node, redis, membership }: SimLife, events: ReadyEvents): RoleLease {
  const roles = new RoleLease(membership, redis, node, PREFIX, LEASE_MS / 3);
  const emptied = events.emptied.bind(events);
  events.emptied = (generation, isLowest) => {
    roles.emptied();
    emptied(generation, isLowest);
  };
  const died = events.died.bind(events);
  events.died = (member) => {
    died(member);
    roles.freed();
  };
  return roles;
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

/** Lets frames be lost between the link, which acks them, and whom they are for. */
function swallowing(mesh: PeerMesh, life: Mutable<SimLife>): void {
  const start = mesh.start.bind(mesh);
  mesh.start = (events) =>
    start({
      ...events,
      frame: (from, type, buffer, begin, end) => {
        if (life.swallows?.(from, type) !== true) events.frame(from, type, buffer, begin, end);
      },
    });
}

function shown(fields: object): string {
  return JSON.stringify(fields, (key, value) =>
    key === 'err' && value instanceof Error ? (value.stack ?? value.message) : value,
  );
}
