/**
 * What an operator sees of a running node: the $SYS topics and the HTTP address with metrics and
 * health. Wires `admin` to broker, store and listeners; fastify is loaded after MQTT is served.
 */
import type { AdminServer } from '../admin/admin-server.ts';
import type { ListenerMetrics, StoreMetrics } from '../admin/metric-sources.ts';
import type { Readiness } from '../admin/readiness.ts';
import { type SysTopics, startSysTopics } from '../admin/sys-topics.ts';
import { parseAdminUrl } from '../config/address.ts';
import type { Config } from '../config/config.ts';
import type { Broker } from '../core/broker.ts';
import type { Log } from '../core/ports.ts';
import { systemClock, systemScheduler } from '../listeners/scheduler.ts';
import { type OpenListener, probeTarget } from './probe-target.ts';
import { StartError } from './start-error.ts';

export interface DoorParts {
  readonly version: string;
  readonly broker: Broker;
  readonly log: Log;
  /** In force, reloads included. */
  readonly config: () => Config;
  readonly listeners: () => readonly ListenerMetrics[];
  readonly openListeners: () => readonly OpenListener[];
  readonly storeMetrics: () => StoreMetrics | null;
  readonly readiness: () => Readiness;
  /** Nobody asked for the admin address: then it is no reason to fail. */
  readonly isAdminByDefault: boolean;
}

export class OperatorDoor {
  readonly #parts: DoorParts;
  #admin: AdminServer | null = null;
  #sysTopics: SysTopics | null = null;
  #sysIntervalS = 0;

  constructor(parts: DoorParts) {
    this.#parts = parts;
  }

  async open(): Promise<void> {
    this.reload();
    const { log, config, version, broker, isAdminByDefault } = this.#parts;
    const { url } = config().admin;
    const address = parseAdminUrl(url);
    if (address === null || typeof address === 'string') return;
    const { createAdminServer } = await import('../admin/admin-server.ts');
    const admin = createAdminServer({
      ...address,
      version,
      log,
      stats: broker.stats,
      store: this.#parts.storeMetrics,
      listeners: this.#parts.listeners,
      readiness: this.#parts.readiness,
      probe: { target: () => probeTarget(config(), this.#parts.openListeners()) },
    });
    try {
      await admin.start();
    } catch (error) {
      const isTaken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
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

  /** Takes over a changed interval of the $SYS topics. */
  reload(): void {
    const { broker, version, config } = this.#parts;
    const { sysIntervalS } = config();
    if (sysIntervalS === this.#sysIntervalS) return;
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
    this.#sysTopics?.stop();
    this.#sysTopics = null;
  }

  async close(): Promise<void> {
    this.stopPublishing();
    await this.#admin?.stop();
    this.#admin = null;
  }
}
