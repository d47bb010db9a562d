/**
 * What makes a node one of a datacenter (docs/adr/0010 to 0014): Redis, the store of shared sessions,
 * links to other nodes, membership and the bus, put together and taken through their life. Loaded by
 * `node.ts` only where the configuration says so.
 */
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { ClusterView } from '../admin/cluster-view.ts';
import { Cluster } from '../cluster/cluster.ts';
import { PROTOCOL_MAJOR } from '../cluster/link/handshake.ts';
import { PeerMesh } from '../cluster/link/mesh.ts';
import { ClusterMembership } from '../cluster/membership.ts';
import type { NodeRecord } from '../cluster/node-functions.ts';
import { OwnLease } from '../cluster/own-lease.ts';
import type {
  MembershipLinks,
  ReadyEvents,
  RetainedRounds,
  StartedMembership,
} from '../cluster/ports-local.ts';
import { RoleLease } from '../cluster/role-lease.ts';
import type { ClusterConfig } from '../config/cluster-config.ts';
import type { Config } from '../config/config.ts';
import type { BridgeBudgets } from '../core/bridge-budgets.ts';
import type { Broker } from '../core/broker.ts';
import type { Bus, RemoteSide } from '../core/cluster-ports.ts';
import type { Limits } from '../core/limits.ts';
import type { Log, Store } from '../core/ports.ts';
import type { RegionLinks } from '../core/region-links.ts';
import type { Stats } from '../core/stats.ts';
import { type LinkNotes, SharedNotes } from '../geo/link-notes.ts';
import { systemClock, systemRandom, systemScheduler } from '../listeners/scheduler.ts';
import type { Subject } from '../quota/quota.ts';
import type { JournalSink } from '../store/journal/journal-ports.ts';
import { RedisStore, type RedisStoreLimits } from '../store/redis/redis-store.ts';
import { CLOCK_SKEW_MS } from '../util/clock-skew.ts';
import { DatacenterStore } from './datacenter-store.ts';
import { DatacenterView } from './datacenter-view.ts';
import { LINKS_ROLE } from './links-role.ts';
import { NodeJournal } from './node-journal.ts';
import { PeerDoor } from './peer-door.ts';
import { readSecret } from './read-file.ts';
import { SharedRedis } from './shared-redis.ts';
import { StartError } from './start-error.ts';

export interface DatacenterParts {
  readonly config: Config;
  readonly cluster: ClusterConfig;
  /** For what each node keeps for itself: retained messages. */
  readonly local: Store;
  /** Null: no other region is linked. */
  readonly links: RegionLinks | null;
  readonly bridges: BridgeBudgets;
  /** Null: no record of retained messages is shared with other datacenters. */
  readonly rounds: RetainedRounds | null;
  readonly release: string;
  readonly log: Log;
}

/** Others count a node as dead so much later than it does itself. */
const MARGIN_MS_MIN = 500;
const MARGINS_PER_LEASE = 6;
const ROLE_CHECKS_PER_LEASE = 3;
/** ADR 0012: the largest message, with room for what is around it. */
const FRAME_BYTES_MAX = 272 * 1024 * 1024;
const TOMBSTONES_MAX = 1_000_000;
/** How often a node that waits for others says so. */
const SAID_MS = 10_000;
/** A stranger who calls may be a member since just now; who calls more often is none. */
const STRANGER_MS = 100;

/** The record of this node: its address is known when it listens. */
class OwnRecord implements NodeRecord {
  nodeId: string;
  address = '';
  readonly release: string;
  readonly protocol: number = PROTOCOL_MAJOR;

  constructor(nodeId: string, release: string) {
    this.nodeId = nodeId;
    this.release = release;
  }
}

export class Datacenter {
  readonly view: ClusterView;
  /** Roles that one node has at a time; nobody wants one where there are no regions. */
  readonly roles: RoleLease;
  readonly #config: ClusterConfig;
  readonly #log: Log;
  readonly #redis: SharedRedis;
  readonly #door: PeerDoor;
  readonly #record: OwnRecord;
  readonly #shared: RedisStore;
  /** Null: there is no data folder. */
  readonly #journal: NodeJournal | null;
  readonly #store: DatacenterStore;
  readonly #cluster: Cluster;
  #stats: Stats | null = null;
  #remote: RemoteSide | null = null;
  #isServing = false;
  #strangerMs = Number.NEGATIVE_INFINITY;
  #timesFenced = 0;
  #leaveByMs = Number.POSITIVE_INFINITY;

  /** Reads files and begins to connect; throws a StartError. */
  static async open(parts: DatacenterParts): Promise<Datacenter> {
    const { cluster, log } = parts;
    const { secretFile } = cluster.peer;
    const secret = secretFile === undefined ? null : await readSecret(secretFile);
    const connectionName = `causeway-${cluster.nodeId ?? hostname()}`.replace(/[^\x21-\x7e]/g, '_');
    return new Datacenter(parts, await SharedRedis.open(cluster, connectionName, log), secret);
  }

  private constructor(parts: DatacenterParts, redis: SharedRedis, secret: string | null) {
    const { cluster: config, log, release, local } = parts;
    const [clock, random, scheduler] = [systemClock, systemRandom, systemScheduler];
    const { leaseMs } = config;
    const { keyPrefix } = config.redis;
    const { bufferBytesMax, linkGraceMs } = config.peer;
    const { link } = redis;
    this.#config = config;
    this.#log = log;
    this.#redis = redis;
    this.#door = new PeerDoor(config.peer, log);
    this.#record = new OwnRecord(config.nodeId ?? hostname(), release);
    const isLocalEnough = config.degraded === 'local';
    const { store, data, limits } = parts.config;
    this.#journal =
      store === 'memory'
        ? null
        : new NodeJournal({
            directory: join(data, 'journal'),
            limits,
            isLocalEnough,
            sink: lateSink(() => this.#shared),
            log,
          });
    const journal = this.#journal?.journal ?? null;
    this.#shared = new RedisStore({
      redis: link,
      keyPrefix,
      scheduler,
      clock,
      log,
      limits: queueLimits(parts.config, config),
      incarnation: () => this.#cluster.bus.incarnation,
      budgetOf: (clientId) => parts.links?.peerOf(clientId) ?? parts.bridges.of(clientId),
      journal,
    });
    this.#store = new DatacenterStore(this.#shared, local, () => this.#leave());
    const meshParts = { transport: this.#door, clock, random, scheduler, log, release };
    const mesh = new SecretMesh(
      {
        ...meshParts,
        limits: { leaseMs, bufferBytesMax, frameBytesMax: FRAME_BYTES_MAX },
        strangerCalls: () => this.#strangerCalls(),
      },
      secret,
    );
    const marginMs = Math.max(MARGIN_MS_MIN, Math.ceil(leaseMs / MARGINS_PER_LEASE));
    const lease = new OwnLease(clock, leaseMs, marginMs);
    let made: ClusterMembership | null = null;
    const membership = ({ events, askPeer }: MembershipLinks): StartedMembership => {
      made = new ClusterMembership(
        {
          record: this.#record,
          prefix: keyPrefix,
          leaseMs,
          marginMs,
          linkGraceMs,
          emptyWaitMs: leaseMs + marginMs,
          goesOnAlone: isLocalEnough && journal !== null,
        },
        { clock, random, scheduler, redis: link, log, askPeer },
        this.#counting(events),
        { lease },
      );
      return made;
    };
    this.#cluster = new Cluster({
      record: this.#record,
      ledger: this.#shared.ledger,
      // Not the store of sessions itself: the core knows one line of tickets.
      sessions: this.#store,
      mesh,
      membership,
      clock,
      random,
      scheduler,
      log,
      options: {
        leaseMs,
        linkGraceMs,
        retainedTombstoneMs: Math.max(
          config.retainedTombstoneS * 1000,
          parts.links?.tombstoneMs ?? 0,
        ),
        retainedTombstonesMax: TOMBSTONES_MAX,
        clockSkewMs: CLOCK_SKEW_MS,
      },
      rounds: parts.rounds,
      journal: this.#journal?.links ?? null,
      onReady: () => this.#ready(),
      onLost: () => this.#lost(),
    });
    if (made === null) throw new Error('the cluster made no membership');
    this.roles = new RoleLease(made, link, scheduler, keyPrefix, leaseMs / ROLE_CHECKS_PER_LEASE);
    this.view = new DatacenterView({
      record: this.#record,
      lease,
      listed: () => made?.members ?? [],
      stats: () => this.#stats,
      cluster: this.#cluster,
      redis,
      shared: this.#shared,
      journal,
      mode: config.degraded,
      timesFenced: () => this.#timesFenced,
    });
    link.listen({
      redisUp: (isOther) => {
        // Appends that are repeated go before whatever the others have to say.
        this.#shared.redisUp(isOther);
        this.#cluster.redisUp(isOther);
        redis.back();
      },
      redisDown: (why) => {
        log.warn({ problem: why }, 'Redis is away');
        this.#shared.redisDown(why);
        this.#cluster.redisDown();
      },
    });
  }

  /** What membership tells the bus, and how often the lease was over. */
  #counting(events: ReadyEvents): ReadyEvents {
    return {
      joined: (incarnation, generation, secret) => events.joined(incarnation, generation, secret),
      members: (members) => events.members(members),
      died: (member) => {
        events.died(member);
        this.roles.freed();
      },
      fenced: () => {
        this.#timesFenced++;
        events.fenced();
      },
      unfenced: () => events.unfenced(),
      lost: () => events.lost(),
      emptied: (generation, isLowest) => {
        this.roles.emptied();
        events.emptied(generation, isLowest);
      },
      ready: () => events.ready(),
      forgotten: () => events.forgotten(),
    };
  }

  /** Its name, once it has one. */
  get nodeId(): string {
    return this.#record.nodeId;
  }

  /** Where the holder of the region's links keeps what the next one must know. */
  linkNotes(): LinkNotes {
    return new SharedNotes({
      redis: this.#redis.link,
      keyPrefix: this.#config.redis.keyPrefix,
      epoch: () => this.roles.epoch(LINKS_ROLE),
      keptEpoch: () => this.roles.keptEpoch(LINKS_ROLE),
      scheduler: systemScheduler,
      log: this.#log,
    });
  }

  /** For the broker, with `bus`. */
  get store(): Store {
    return this.#store;
  }

  get bus(): Bus {
    return this.#cluster.bus;
  }

  /** After a reload. */
  setLimits(limits: Limits): void {
    this.#shared.setQueueLimits(limits);
    this.#journal?.setLimits(limits);
  }

  /** A member that everything is ready for. While it is fenced, its clients stand still. */
  get isServing(): boolean {
    return this.#isServing;
  }

  /** The broker that was made with store and bus. */
  attach(broker: Broker): void {
    const { remote } = broker;
    this.#stats = broker.stats;
    if (remote === null) throw new Error('a broker without bus is in no datacenter');
    const { bus } = this.#cluster;
    this.#remote = remote;
    this.#cluster.attach(remote);
    this.#shared.onTail = (owner, clientId, sid, tailSeq) => {
      if (owner === bus.incarnation) remote.hint(clientId, sid, tailSeq);
      else bus.hint(owner, clientId, sid, tailSeq);
    };
  }

  /** Redis is there and is what it should be; however long that takes. Throws a StartError. */
  async reach(): Promise<void> {
    await this.#redis.reached();
    await this.#redis.judge();
  }

  /** Resolves when this node may have clients. */
  async join(): Promise<void> {
    try {
      await this.#journal?.open();
    } catch (error) {
      throw new StartError('STORE', (error as Error).message, error);
    }
    const [server] = this.#redis.link.status();
    const address = await this.#door.open(server?.server ?? '');
    this.#record.address = address;
    if (this.#config.nodeId === undefined) {
      // Two on one machine are told apart.
      this.#record.nodeId = `${hostname()}${address.slice(address.lastIndexOf(':'))}`;
    }
    const { nodeId } = this.#record;
    const { leftSessions } = this.#store;
    if (leftSessions > 0) {
      const message =
        'the data folder has sessions of a node alone, which nobody serves here: causeway promote moves them';
      this.#log.warn({ sessions: leftSessions }, message);
    }
    this.#log.info({ nodeId, address }, 'joining the datacenter');
    await new Promise<void>((resolve) => {
      const stop = systemScheduler.every(SAID_MS, () => {
        const { state, reason, waitsFor } = this.view.report().node;
        this.#log.warn(
          { state, reason, waitsFor },
          'joining: no listener is open until it is done',
        );
      });
      this.#cluster.start(() => {
        stop();
        resolve();
      });
    });
  }

  #ready(): void {
    this.#isServing = true;
    const { nodeId } = this.#record;
    const members = this.view.report().members.map((member) => member.nodeId);
    this.#log.info({ nodeId, members }, 'member of the datacenter');
  }

  #lost(): void {
    this.#isServing = false;
    this.#log.warn(
      {},
      'the others have given this node up: its clients are sent away, it joins anew',
    );
  }

  #strangerCalls(): void {
    const nowMs = systemClock.monotonicMs();
    if (nowMs - this.#strangerMs < STRANGER_MS || !this.#redis.link.isUp) return;
    this.#strangerMs = nowMs;
    // Asks for the members, as after any pause.
    this.#cluster.redisUp(false);
  }

  /** Nobody is taken any more; `leaveByMs`: monotonic, when even a Redis that is away is not waited for. */
  drain(leaveByMs: number): void {
    this.#leaveByMs = leaveByMs;
    this.#cluster.drain();
  }

  /** The client has its session at another node, which lets go of it when the client connects here. */
  isElsewhere({ clientId, identity }: Subject): boolean {
    const image = this.#remote?.knownSession(clientId) ?? null;
    if (image === null || image.owner === null) return false;
    const isItsOwn = image.identity === null || image.identity === identity;
    return isItsOwn && image.owner !== this.#cluster.bus.incarnation;
  }

  /** The others are to know: see `Cluster.roundEnded`. */
  roundEnded(beganMs: number): void {
    this.#cluster.roundEnded(beganMs);
  }

  /** See `Cluster.askKept`. */
  askKept(done: (isKept: boolean) => void): boolean {
    return this.#cluster.askKept(done);
  }

  /** Others that clients can go to. */
  get hasOthers(): boolean {
    return this.#isServing && this.view.report().members.some(({ state }) => state === 'ready');
  }

  #leave(): Promise<void> {
    this.roles.stop();
    return new Promise((resolve) => {
      const waitMs = Math.max(0, this.#leaveByMs - systemClock.monotonicMs());
      const timer = Number.isFinite(waitMs) ? setTimeout(resolve, waitMs) : undefined;
      this.#cluster.stop(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** After the store. */
  async close(): Promise<void> {
    this.#isServing = false;
    await this.#journal?.close();
    await this.#door.close();
    this.#redis.close();
  }
}

/** The store is made with the journal, which writes to it. */
function lateSink(shared: () => RedisStore): JournalSink {
  return {
    get isUp() {
      return shared().isUp;
    },
    replay: (record, answered) => shared().replay(record, answered),
  };
}

/** The secret of a file, where there is one, instead of the one that nodes share through Redis. */
class SecretMesh extends PeerMesh {
  readonly #secret: string | null;

  constructor(options: ConstructorParameters<typeof PeerMesh>[0], secret: string | null) {
    super(options);
    this.#secret = secret;
  }

  override identify(generation: string, secret: string): void {
    super.identify(generation, this.#secret ?? secret);
  }
}

function queueLimits(
  { limits, queueOverflow }: Config,
  { redis }: ClusterConfig,
): Partial<RedisStoreLimits> {
  return {
    queueMessagesMax: limits.queueMessagesMax,
    queueBytesMax: limits.queueBytesMax,
    overflow: queueOverflow === 'drop_oldest' ? 'oldest' : 'newest',
    rewriteMs: redis.rewriteMs,
  };
}
