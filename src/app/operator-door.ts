/**
 * What an operator sees of a running node: the $SYS topics and the HTTP address with metrics and
 * health. Wires `admin` to broker, store and listeners; fastify is loaded after MQTT is served.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import type { AdminServer } from '../admin/admin-server.ts';
import type { ApiOptions, RegionParts } from '../admin/api/api.ts';
import type { CertificateReport, ReloadReport } from '../admin/api/ports.ts';
import { readTokenFile, TokenFileError } from '../admin/api/token-file.ts';
import { bridgeMetrics } from '../admin/bridge-metrics.ts';
import type { BridgesView } from '../admin/bridges-view.ts';
import type { CassandraView } from '../admin/cassandra-view.ts';
import type { ClusterView } from '../admin/cluster-view.ts';
import type { DirectoryView } from '../admin/directory-view.ts';
import { linkMetrics } from '../admin/link-metrics.ts';
import type { LinksView } from '../admin/links-view.ts';
import type { ExtraMetric, ListenerMetrics, StoreMetrics } from '../admin/metric-sources.ts';
import type { Readiness } from '../admin/readiness.ts';
import { type SysTopics, startSysTopics } from '../admin/sys-topics.ts';
import { type AdminAddress, parseAdminUrl } from '../config/address.ts';
import type { Config } from '../config/config.ts';
import type { Path, Problem } from '../config/layer.ts';
import type { Broker } from '../core/broker.ts';
import type { Log } from '../core/ports.ts';
import { systemClock, systemScheduler } from '../listeners/scheduler.ts';
import { aclPort, bansPort, quotaUsePort } from './api-ports.ts';
import { type OpenListener, probeTarget } from './probe-target.ts';
import type { Rights } from './rights.ts';
import { shownOptions } from './shown-config.ts';
import { StartError } from './start-error.ts';

export interface DoorParts {
  readonly version: string;
  readonly broker: Broker;
  readonly rights: Rights;
  readonly log: Log;
  /** In force, reloads included. */
  readonly config: () => Config;
  /** Where a value in force was written. */
  readonly originOf: (path: Path) => string;
  readonly reload: () => Promise<ReloadReport>;
  readonly reloadCertificates: () => Promise<CertificateReport>;
  readonly listeners: () => readonly ListenerMetrics[];
  readonly openListeners: () => readonly OpenListener[];
  readonly storeMetrics: () => StoreMetrics | null;
  /** Null: the node is alone. */
  readonly cluster: ClusterView | null;
  /** Null: the node has no Cassandra. */
  readonly cassandra: CassandraView | null;
  /** Null: sessions do not roam. */
  readonly directory: DirectoryView | null;
  /** Null: no other region is linked. */
  readonly links: LinksView | null;
  /** Null: the node has none. */
  readonly bridges: BridgesView | null;
  /** Null: likewise. */
  readonly region: RegionParts | null;
  /** Of rooms that admin does not know. */
  readonly extra: () => Iterable<ExtraMetric>;
  readonly readiness: () => Readiness;
  /** Nobody asked for the admin address: then it is no reason to fail. */
  readonly isAdminByDefault: boolean;
}

export class OperatorDoor {
  readonly #parts: DoorParts;
  #admin: AdminServer | null = null;
  #sysTopics: SysTopics | null = null;
  #sysIntervalS = 0;
  #isPublishing = false;

  constructor(parts: DoorParts) {
    this.#parts = parts;
  }

  /** Once the broker takes messages. */
  startPublishing(): void {
    this.#isPublishing = true;
    this.#reloadSysTopics();
  }

  async open(): Promise<void> {
    const { log, config, version, broker, rights, isAdminByDefault } = this.#parts;
    const { url } = config().admin;
    const address = parseAdminUrl(url);
    if (address === null || typeof address === 'string') return;
    const { createAdminServer } = await import('../admin/admin-server.ts');
    const admin = createAdminServer({
      host: address.host,
      port: address.port,
      tls: address.isTls ? await readTls(config()) : null,
      metricsAnonymous: config().admin.metricsAnonymous,
      extra: () => extraMetrics(rights, this.#parts),
      api: this.#apiOptions(),
      version,
      log,
      stats: broker.stats,
      store: this.#parts.storeMetrics,
      cluster: this.#parts.cluster,
      cassandra: this.#parts.cassandra,
      directory: this.#parts.directory,
      links: this.#parts.links,
      bridges: this.#parts.bridges,
      drain: broker,
      region: this.#parts.region,
      listeners: this.#parts.listeners,
      readiness: this.#parts.readiness,
      probe: {
        target: () => probeTarget(config(), this.#parts.openListeners()),
        username: rights.probe?.username,
        password: rights.probe?.password,
      },
    });
    try {
      await admin.start();
    } catch (error) {
      const isTaken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
      // A broken file, or a token of the environment that is too short.
      if (error instanceof TokenFileError || error instanceof RangeError) {
        throw new StartError('TOKENS', error.message, error);
      }
      if (!isTaken) throw error;
      if (!isAdminByDefault) {
        const advice = 'choose another with --admin, or off';
        throw new StartError('ADMIN_ADDRESS', `admin address ${url} is in use: ${advice}`, error);
      }
      log.warn(
        { address: url },
        'the default admin address is in use, so there are no metrics and no health checks; ' +
          'choose another with --admin, or silence this with --admin off',
      );
      return;
    }
    this.#admin = admin;
    log.info({ address: admin.address, listener: 'admin' }, 'listening');
  }

  #tokensFile(): string {
    const { admin, data } = this.#parts.config();
    return admin.tokensFile ?? join(data, TOKENS_FILE);
  }

  #apiOptions(): ApiOptions {
    const { broker, rights, config, originOf, reload, reloadCertificates } = this.#parts;
    return {
      core: broker.admin,
      observe: (observer) => broker.observe(observer),
      limits: () => config().limits,
      clock: systemClock,
      scheduler: systemScheduler,
      bans: bansPort(rights.access.bans, systemClock),
      acl: aclPort(rights.access),
      quotas: quotaUsePort(rights.quotas),
      config: { shown: () => shownOptions(config(), originOf), reload, reloadCertificates },
      tokensFile: this.#tokensFile(),
      environmentToken: process.env[ADMIN_TOKEN_VARIABLE],
    };
  }

  /** What a reload with this configuration would stumble over. Changes nothing. */
  async check(next: Config): Promise<Problem[]> {
    if (this.#admin === null) return [];
    const problems: Problem[] = [];
    try {
      await readTokenFile(this.#tokensFile());
    } catch (error) {
      if (!(error instanceof TokenFileError)) throw error;
      problems.push({ where: this.#tokensFile(), message: error.message });
    }
    const address = parseAdminUrl(this.#parts.config().admin.url) as AdminAddress;
    if (!address.isTls) return problems;
    try {
      createSecureContext(await readTls(next));
    } catch (error) {
      problems.push({ where: 'admin.tls', message: (error as Error).message });
    }
    return problems;
  }

  /** Takes over changed intervals, tokens and certificates; what is wrong, or null. */
  async reload(): Promise<string | null> {
    this.#reloadSysTopics();
    if (this.#admin === null) return null;
    const { config, log } = this.#parts;
    try {
      await this.#admin.reload();
      const address = parseAdminUrl(config().admin.url) as AdminAddress;
      if (address.isTls) this.#admin.setTls(await readTls(config()));
      return null;
    } catch (error) {
      log.error({ err: error }, 'the admin address keeps what it had');
      return (error as Error).message;
    }
  }

  #reloadSysTopics(): void {
    const { broker, version, config } = this.#parts;
    const { sysIntervalS } = config();
    if (!this.#isPublishing || sysIntervalS === this.#sysIntervalS) return;
    this.#sysTopics?.stop();
    this.#sysIntervalS = sysIntervalS;
    this.#sysTopics = startSysTopics({
      version,
      stats: broker.stats,
      publish: (topic, payload) => broker.publish(topic, payload, { retain: true }),
      clock: systemClock,
      scheduler: systemScheduler,
      intervalMs: sysIntervalS * 1000,
    });
  }

  /** No more changes to the broker's topics; the address still answers that the node stops. */
  stopPublishing(): void {
    this.#isPublishing = false;
    this.#sysTopics?.stop();
    this.#sysTopics = null;
  }

  async close(): Promise<void> {
    this.stopPublishing();
    await this.#admin?.stop();
    this.#admin = null;
  }
}

function* extraMetrics(
  rights: Rights,
  { links, bridges, extra }: DoorParts,
): Iterable<ExtraMetric> {
  yield* rights.metrics();
  if (links !== null) yield* linkMetrics(links.report());
  if (bridges !== null) yield* bridgeMetrics(bridges.report());
  yield* extra();
}

/** In the data folder. */
const TOKENS_FILE = 'api-tokens.json';
/** Gives one token with every right; no option, as options are shown. */
const ADMIN_TOKEN_VARIABLE = 'CAUSEWAY_ADMIN_TOKEN';

/** The configuration was checked: an https:// address has a certificate. */
async function readTls({ admin, tls }: Config): Promise<SecureContextOptions> {
  const { certFile = '', keyFile = '' } = admin.tls ?? tls ?? {};
  const [cert, key] = await Promise.all([readFile(certFile), readFile(keyFile)]);
  return { cert, key };
}
