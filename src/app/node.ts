/**
 * The composition root: makes store, broker, listeners and the operator's door from a configuration,
 * starts them in order, reloads, and stops them in reverse. The only place that knows all rooms; it
 * knows no signals and no command line.
 */
import { AccessError } from '../access/access-error.ts';
import type { CertificateReport, ReloadReport } from '../admin/api/ports.ts';
import type { Readiness } from '../admin/readiness.ts';
import { checkFiles } from '../config/check-files.ts';
import type { Config, ListenerConfig } from '../config/config.ts';
import { compareConfigs } from '../config/difference.ts';
import type { Problem } from '../config/layer.ts';
import { ConfigError, DEFAULT_ORIGIN, type LoadedConfig } from '../config/load.ts';
import { Broker } from '../core/broker.ts';
import type { Acceptor, Log, Store } from '../core/ports.ts';
import { createListener } from '../listeners/create-listener.ts';
import type { Listener, ListenerOptions } from '../listeners/listener.ts';
import { systemClock, systemRandom, systemScheduler } from '../listeners/scheduler.ts';
import { collectGarbage } from './collect-garbage.ts';
import type { Datacenter } from './datacenter.ts';
import { checkDescriptors } from './descriptors.ts';
import { listenerOptions, nameOf } from './listener-options.ts';
import type { NodeLog } from './logger.ts';
import { NodeBridges } from './node-bridges.ts';
import type { NodeLinks } from './node-links.ts';
import { type OpenStore, openStore } from './open-store.ts';
import { OperatorDoor } from './operator-door.ts';
import { RegionDesk } from './region-desk.ts';
import type { RegionRetained } from './region-retained.ts';
import type { RegionSessions } from './region-sessions.ts';
import { mergeReloadable } from './reload.ts';
import { Rights } from './rights.ts';
import { ServingDoor } from './serving-door.ts';
import type { SharedControl } from './shared-control.ts';
import { StartError } from './start-error.ts';

export interface NodeOptions {
  readonly loaded: LoadedConfig;
  /** Reads the configuration again; throws a ConfigError. */
  readonly load: () => LoadedConfig;
  readonly log: NodeLog;
  readonly version: string;
  /** Resolves when the node is to stop, which may be while it waits for Redis or for other nodes. */
  readonly stopAsked?: Promise<unknown> | undefined;
}

/** How often the end of the last connections is looked for while stopping. */
const CLOSED_POLL_MS = 10;
/** Of the time to stop, the part in which clients are moved to other nodes; at least so fast. */
const MOVING_SHARE = 0.5;
const MOVED_PER_S_MIN = 1000;

export class BrokerNode {
  readonly #options: NodeOptions;
  readonly #broker: Broker;
  readonly #store: OpenStore;
  readonly #rights: Rights;
  readonly #door: OperatorDoor;
  /** Null: this node is alone. */
  readonly #datacenter: Datacenter | null;
  /** Null: retained messages are on the nodes alone. */
  readonly #region: RegionRetained | null;
  /** Null: no other region is linked. */
  readonly #links: NodeLinks | null;
  readonly #bridges: NodeBridges;
  /** Null: no other region knows of sessions here. */
  readonly #roaming: RegionSessions | null;
  readonly #desk: RegionDesk;
  /** What listeners hand their sockets to. */
  readonly #acceptor: Acceptor;
  /** Open ones, each with its entry of the configuration. */
  readonly #listeners: { readonly listener: Listener; entry: ListenerConfig }[] = [];
  #config: Config;
  /** Read last: where values were written. */
  #loaded: LoadedConfig;
  #isStoreOpen = false;
  #isStopAsked = false;
  #stopped: Promise<void> | null = null;
  #reloading: Promise<unknown> = Promise.resolve();

  private constructor(
    options: NodeOptions,
    store: OpenStore,
    rights: Rights,
    region: RegionRetained | null,
    datacenter: Datacenter | null,
    links: NodeLinks | null,
    bridges: NodeBridges,
    roaming: RegionSessions | null,
    control: SharedControl | null,
  ) {
    const { config, originOf } = options.loaded;
    const { log } = options.log;
    this.#options = options;
    this.#config = config;
    this.#loaded = options.loaded;
    this.#store = store;
    this.#rights = rights;
    this.#region = region;
    this.#datacenter = datacenter;
    this.#links = links;
    this.#bridges = bridges;
    this.#roaming = roaming;
    this.#broker = new Broker({
      limits: config.limits,
      queueOverflow: config.queueOverflow,
      sharedStrategy: config.sharedSubscriptionStrategy,
      revokedSubscription: config.authorization.revokedSubscription,
      clock: systemClock,
      random: systemRandom,
      scheduler: systemScheduler,
      log,
      store: datacenter?.store ?? region?.store ?? store.store,
      gate: this.#rights.gate,
      observer: null,
      bus: datacenter?.bus ?? null,
      links: links?.core ?? null,
      bridges: bridges.budgets,
      directory: roaming?.core ?? null,
      roamCodec: roaming?.codec ?? null,
    });
    this.#acceptor = this.#broker;
    if (datacenter !== null) {
      datacenter.attach(this.#broker);
      const isServing = (): boolean => datacenter.isServing;
      this.#acceptor = new ServingDoor(
        this.#broker,
        this.#broker.stats,
        isServing,
        systemScheduler,
      );
    }
    this.#desk = new RegionDesk({
      broker: this.#broker,
      board: control?.board ?? null,
      nodeId: () => datacenter?.nodeId ?? '',
      isStopping: () => this.#stopped !== null,
      unreachable: () => this.#links?.unreachable ?? [],
      clock: systemClock,
      log,
    });
    this.#desk.revise(config.steering);
    this.#door = new OperatorDoor({
      version: options.version,
      broker: this.#broker,
      rights: this.#rights,
      log,
      config: () => this.#config,
      originOf: (path) => this.#loaded.originOf(path),
      reload: () => this.reload(),
      reloadCertificates: () => this.#reloadListeners(),
      listeners: () => this.#listeners.map(({ listener }) => listener),
      openListeners: () =>
        this.#listeners.map(({ listener, entry }) => ({ entry, address: listener.address })),
      storeMetrics: store.metrics,
      cluster: datacenter?.view ?? null,
      cassandra: region?.view ?? null,
      directory: roaming?.view ?? null,
      links,
      bridges,
      region: datacenter === null ? null : { drain: this.#desk.drain, regionDrain: this.#desk },
      extra: () => this.#desk.metrics(),
      readiness: () => this.#readiness(),
      isAdminByDefault: originOf(['admin', 'url']) === DEFAULT_ORIGIN,
    });
  }

  /** Starts everything, or throws after it has closed again what was open. */
  static async start(options: NodeOptions): Promise<BrokerNode> {
    const { config, originOf } = options.loaded;
    const { log } = options.log;
    const { connectionsMax } = config.limits;
    const isDefault = originOf(['limits', 'connectionsMax']) === DEFAULT_ORIGIN;
    checkDescriptors({ connectionsMax, isDefault, log });
    const control = await openControl(config, log);
    try {
      return await BrokerNode.#startWith(options, control);
    } catch (error) {
      control?.close();
      throw error;
    }
  }

  static async #startWith(
    options: NodeOptions,
    control: SharedControl | null,
  ): Promise<BrokerNode> {
    const { config } = options.loaded;
    const { log } = options.log;
    let broker: Broker | null = null;
    const rights = await Rights.make(config, {
      control,
      log,
      recheck: () => broker?.admin.recheck(),
      retained: () => broker?.admin.kept() ?? [],
    });
    const links = await openLinks(config, log);
    const bridges = await NodeBridges.open(config.bridges, log);
    let roaming: RegionSessions | null = null;
    const onNote = (key: string, value: Buffer): void => {
      if (roaming?.recall(key, value) !== true) links?.recall(key, value);
    };
    const store = await openStore(config, log, onNote);
    const region = await openRegion(options, store);
    const keeper = region?.store ?? store.store;
    const datacenter = await openDatacenter(options, keeper, region, links, bridges);
    if (control !== null && datacenter !== null) {
      control.movesHere = (subject) => datacenter.isElsewhere(subject);
    }
    roaming = await openRoaming(options, region);
    const parts = [region, datacenter, links, bridges, roaming, control] as const;
    const node = new BrokerNode(options, store, rights, ...parts);
    broker = node.#broker;
    roaming?.attach(broker, links);
    try {
      await rights.start();
    } catch (error) {
      // The database of the store opens by itself once it is made.
      await node.#closeStore();
      throw asStartError(error);
    }
    try {
      await node.#broker.start();
    } catch (error) {
      // Nothing but the store is opened there.
      await rights.stop();
      await datacenter?.close();
      region?.close();
      throw new StartError('STORE', (error as Error).message, error);
    }
    node.#isStoreOpen = true;
    try {
      if (datacenter !== null) await node.#join(datacenter, control);
      // Told to stop while it waited: whoever asked stops it.
      if (node.#isStopAsked) return node;
      if (region !== null) await node.#beginRegion(region, datacenter);
      if (node.#isStopAsked) return node;
      roaming?.begin(node.#broker, links, store.notes);
      links?.begin({
        sessions: node.#broker.admin,
        inlet: node.#broker.linkInlet,
        notes: store.notes,
        datacenter,
        missed: () => region?.beginRound(),
        ears: roaming?.ears ?? null,
        moves: roaming?.shared ?? null,
      });
      bridges.begin({
        broker: node.#broker,
        sessions: node.#broker.admin,
        publish: (topic, payload) => node.#broker.publish(topic, payload, { qos: 1, retain: true }),
        roles: datacenter?.roles ?? null,
      });
      await node.#desk.start();
      // Rows of the disk and of Cassandra, as long as nobody waits for it.
      await collectGarbage();
      await node.#listen();
      node.#door.startPublishing();
      // Else it is open already: it says what the node waits for.
      if (datacenter === null && region === null) await node.#door.open();
    } catch (error) {
      await node.stop();
      throw error;
    }
    return node;
  }

  async #closeStore(): Promise<void> {
    await (this.#datacenter?.store ?? this.#store.store).stop();
    await this.#datacenter?.close();
    this.#region?.close();
  }

  /** Resolves when the work is done, or this node is to stop. */
  async #unlessStopped(work: Promise<unknown>): Promise<void> {
    const asked = this.#options.stopAsked?.then(() => {
      this.#isStopAsked = true;
    });
    await (asked === undefined ? work : Promise.race([work, asked]));
    // It may fail yet when nobody waits for it any more.
    work.catch(() => {});
  }

  /** Resolves when subscribers can be served what is retained, or this node is to stop. */
  async #beginRegion(region: RegionRetained, datacenter: Datacenter | null): Promise<void> {
    if (datacenter === null) await this.#door.open();
    const around = {
      view: this.#broker.retained,
      roles: datacenter?.roles ?? null,
      hasOthers: () => datacenter?.hasOthers === true,
      roundEnded: (beganMs: number) => datacenter?.roundEnded(beganMs),
      askKept: (done: (isKept: boolean) => void) => datacenter?.askKept(done) === true,
    };
    await this.#unlessStopped(region.begin(around));
  }

  /** Resolves when this node may have clients, or is to stop. */
  async #join(datacenter: Datacenter, control: SharedControl | null): Promise<void> {
    await this.#door.open();
    const joined = datacenter.reach().then(async () => {
      // Who is banned is banned here from the first client on (hard case 22).
      if (!this.#isStopAsked) await control?.synced();
      if (!this.#isStopAsked) await datacenter.join();
    });
    await this.#unlessStopped(joined);
  }

  async #listen(): Promise<void> {
    const { log } = this.#options.log;
    for (const entry of this.#config.listeners) {
      const listener = createListener(this.#optionsOf(entry), this.#acceptor, log);
      await listener.start();
      this.#listeners.push({ listener, entry });
      log.info({ address: listener.address, listener: nameOf(entry) }, 'listening');
    }
    const { version } = this.#options;
    const { store, data } = this.#config;
    const { sessions, retainedMessages, queuedMessages } = this.#broker.stats;
    const held = { sessions, retainedMessages, queuedMessages };
    const kept = store === 'embedded' ? { store, data } : { store };
    log.info({ version, ...kept, ...held, startMs: Math.round(performance.now()) }, 'ready');
  }

  #readiness(): Readiness {
    return {
      isDraining: this.#stopped !== null,
      isStoreOpen: this.#isStoreOpen,
      isStoreWritable: this.#store.store.writable,
      listenersUp: this.#listeners.length,
      listenersConfigured: this.#config.listeners.length,
    };
  }

  /** In force, reloads included. */
  get shutdownGraceMs(): number {
    return this.#config.shutdownGraceMs;
  }

  #optionsOf(entry: ListenerConfig): ListenerOptions {
    return listenerOptions(this.#config, entry, this.#rights.psk?.lookup ?? null);
  }

  /** Takes over what a changed configuration can change in a running node, and says what it cannot. */
  reload(): Promise<ReloadReport> {
    const reloaded = this.#reloading.then(() => this.#reload());
    this.#reloading = reloaded.catch(() => {});
    return reloaded;
  }

  async #reload(): Promise<ReloadReport> {
    if (this.#stopped !== null) return { applied: [], needsRestart: [], problems: [] };
    const { log } = this.#options.log;
    const refuse = (problems: readonly Problem[]): ReloadReport => {
      for (const { where, message } of problems) log.error({ where, problem: message }, 'config');
      log.error({ problems: problems.length }, 'reload refused, everything stays as it was');
      const fields = problems.map(({ where, message }) => ({ field: where, message }));
      return { applied: [], needsRestart: [], problems: fields };
    };
    let next: LoadedConfig;
    try {
      next = this.#options.load();
      const { problems } = await checkFiles(next);
      const ofDoor = await this.#door.check(next.config);
      if (problems.length + ofDoor.length > 0) return refuse([...problems, ...ofDoor]);
      // Users, keys and rules: what is broken there leaves everything as it was.
      await this.#rights.reload();
      const bridges = await NodeBridges.prepare(next.config.bridges);
      if (next.config.regions !== undefined) await this.#links?.revise(next.config.regions);
      this.#bridges.revise(bridges);
    } catch (error) {
      if (error instanceof StartError)
        return refuse([{ where: 'regions, bridges', message: error.message }]);
      if (!(error instanceof ConfigError || error instanceof AccessError)) throw error;
      return refuse(error.problems);
    }

    const { applied, needsRestart } = compareConfigs(this.#config, next.config);
    this.#config = mergeReloadable(this.#config, next.config);
    this.#loaded = next;
    this.#broker.setLimits(this.#config.limits);
    this.#datacenter?.setLimits(this.#config.limits);
    this.#broker.setRevokedSubscription(this.#config.authorization.revokedSubscription);
    this.#rights.revise(this.#config);
    this.#desk.revise(this.#config.steering);
    this.#options.log.setLevel(this.#config.log.level);
    await this.#reloadListeners();
    if (needsRestart.length > 0) {
      log.warn({ options: needsRestart }, 'changed options need a restart');
    }
    const loaded = this.#rights.loaded();
    log.info({ applied, needsRestart, loaded }, 'reloaded');
    return { applied, needsRestart, loaded, problems: [] };
  }

  /** Also when no option changed: the certificates in the same files may be new. */
  async #reloadListeners(): Promise<CertificateReport> {
    const { log } = this.#options.log;
    const reloaded: string[] = [];
    const problems: { field: string; message: string }[] = [];
    for (const [index, open] of this.#listeners.entries()) {
      const entry = this.#config.listeners[index]!;
      const name = nameOf(entry);
      try {
        await open.listener.reload(this.#optionsOf(entry));
        open.entry = entry;
        reloaded.push(name);
      } catch (error) {
        problems.push({ field: name, message: (error as Error).message });
        log.error({ err: error, listener: name }, 'listener keeps what it had');
      }
    }
    this.#endRevoked();
    const door = await this.#door.reload();
    if (door !== null) problems.push({ field: 'admin', message: door });
    else reloaded.push('admin');
    return { reloaded, problems };
  }

  /** Clients that came in before their certificate was taken back. */
  #endRevoked(): void {
    const listeners = new Map(
      this.#listeners.map(({ listener }) => [listener.info.name, listener]),
    );
    const revoked: string[] = [];
    for (const { clientId, certificate, listener } of this.#broker.admin.clients()) {
      if (certificate === null) continue;
      if (listeners.get(listener)?.isRevoked(certificate)) revoked.push(clientId);
    }
    const { log } = this.#options.log;
    for (const clientId of revoked) {
      log.warn({ clientId }, 'certificate was taken back, the client is disconnected');
      this.#broker.admin.disconnect(clientId, 'rights_revoked');
    }
  }

  /** Ends every connection with 0x8B, stores what is open, closes; bounded by shutdownGraceMs. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    const deadlineMs = performance.now() + this.#config.shutdownGraceMs;
    this.#broker.beginShutdown();
    this.#door.stopPublishing();
    await Promise.all(this.#listeners.map(({ listener }) => listener.stop()));
    if (this.#datacenter !== null) await this.#moveClients(this.#datacenter, deadlineMs);
    this.#roaming?.end();
    await this.#links?.stop();
    await this.#bridges.stop();
    this.#region?.end();
    await this.#broker.stop(Math.max(0, deadlineMs - performance.now()));
    await this.#roaming?.stop(deadlineMs - performance.now());
    await this.#rights.stop();
    this.#isStoreOpen = false;
    await this.#datacenter?.close();
    this.#region?.close();
    // A process that ends resets what is still open, and a reset destroys the last packet.
    while (this.#broker.stats.connections > 0 && performance.now() < deadlineMs) {
      await new Promise((resolve) => setTimeout(resolve, CLOSED_POLL_MS));
    }
    await this.#door.close();
  }

  /** To other nodes, so fast that they are gone in time and no faster than it needs. */
  async #moveClients(datacenter: Datacenter, deadlineMs: number): Promise<void> {
    datacenter.drain(deadlineMs);
    const { connections } = this.#broker.stats;
    if (connections === 0 || !datacenter.hasOthers) return;
    const movingMs = Math.max(0, deadlineMs - performance.now()) * MOVING_SHARE;
    const clientsPerS = Math.max(MOVED_PER_S_MIN, Math.ceil((connections * 1000) / movingMs));
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, movingMs);
      const serverReference = this.#desk.drain.state?.serverReference ?? null;
      this.#broker.drain({ clientsPerS, serverReference }, () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

/** What is decided with other nodes about logins and quotas; nothing of it is loaded without any. */
async function openControl({ cluster }: Config, log: Log): Promise<SharedControl | null> {
  if (cluster === undefined) return null;
  const { SharedControl } = await import('./shared-control.ts');
  return await SharedControl.open(cluster, log);
}

/** Nothing of it is loaded where there is no other region. */
async function openLinks({ regions }: Config, log: Log): Promise<NodeLinks | null> {
  if (regions === undefined) return null;
  const { NodeLinks } = await import('./node-links.ts');
  return await NodeLinks.open(regions, log);
}

/** Nothing of it is loaded where a node is alone. */
async function openDatacenter(
  { loaded, log: { log }, version: release }: NodeOptions,
  local: Store,
  region: RegionRetained | null,
  nodeLinks: NodeLinks | null,
  { budgets: bridges }: NodeBridges,
): Promise<Datacenter | null> {
  const { config } = loaded;
  const { cluster } = config;
  if (cluster === undefined) return null;
  try {
    const { Datacenter } = await import('./datacenter.ts');
    const rounds = region?.datacenterRounds ?? null;
    const links = nodeLinks?.core ?? null;
    const parts = { config, cluster, local, links, bridges, rounds, release, log };
    return await Datacenter.open(parts);
  } catch (error) {
    // Its database opens by itself once it is made.
    await local.stop();
    region?.close();
    throw error;
  }
}

/** Nothing of it is loaded where there is no Cassandra. */
async function openRegion(
  { loaded: { config }, log: { log } }: NodeOptions,
  { mirror }: OpenStore,
): Promise<RegionRetained | null> {
  const { cassandra, cluster, data } = config;
  if (cassandra === undefined || mirror === null) return null;
  try {
    const { RegionRetained } = await import('./region-retained.ts');
    const isAlone = cluster === undefined;
    return await RegionRetained.open({ config: cassandra, data, mirror, isAlone, log });
  } catch (error) {
    await mirror.stop();
    throw error;
  }
}

/** Nothing of it is loaded where no other region knows of sessions here. */
async function openRoaming(
  { loaded: { config }, log: { log } }: NodeOptions,
  region: RegionRetained | null,
): Promise<RegionSessions | null> {
  const { regions } = config;
  if (regions === undefined || region === null) return null;
  if (!regions.roaming && !regions.directory) return null;
  const { RegionSessions } = await import('./region-sessions.ts');
  return new RegionSessions(regions, region, log);
}

/** A file of users, keys or rules that is broken is no error of the program. */
function asStartError(error: unknown): unknown {
  if (!(error instanceof AccessError)) return error;
  return new StartError('ACCESS', error.message, error);
}
