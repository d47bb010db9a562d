/**
 * The bridges of a node to other brokers, made from a configuration (docs/adr/0022). Made by `node.ts`, also
 * where there are none: a reload may bring some, and sessions of earlier ones are ended.
 */
import type { BridgeReport, BridgesReport, BridgesView } from '../admin/bridges-view.ts';
import type { BridgeConfig } from '../config/bridges-config.ts';
import { BridgeBudgets } from '../core/bridge-budgets.ts';
import { bridgeIdOf } from '../core/bridge-names.ts';
import type { Acceptor, Admin, Log } from '../core/ports.ts';
import type { Bridge, BridgeSettings } from '../geo/bridge/bridge.ts';
import { BridgeHolder } from '../geo/bridge/bridge-holder.ts';
import { systemClock, systemScheduler } from '../listeners/scheduler.ts';
import type { Datacenter } from './datacenter.ts';
import { LINKS_ROLE } from './links-role.ts';
import { readSecret } from './read-file.ts';
import { tlsOf } from './remote-tls.ts';

export interface BridgeSurroundings {
  readonly broker: Acceptor;
  readonly sessions: Pick<Admin, 'session' | 'sessions' | 'subscriptions' | 'endSession'>;
  /** Retained, at this broker. */
  readonly publish: (topic: string, payload: string) => void;
  /** Null: this node is alone. */
  readonly roles: Datacenter['roles'] | null;
}

/** 100 ms at 160,000 messages a second. */
const IN_FLIGHT = 16_384;
/** MQTT 3 has no Receive Maximum, and clouds take so many: what is more they refuse or forget. */
const IN_FLIGHT_OLD = 100;

const VERSIONS = { '3.1': 3, '3.1.1': 4, '5': 5 } as const;

export class NodeBridges implements BridgesView {
  /** For the core, and whoever else fills the queues. */
  readonly budgets: BridgeBudgets = new BridgeBudgets();
  readonly #log: Log;
  #settings: readonly BridgeSettings[];
  #around: BridgeSurroundings | null = null;
  #holder: BridgeHolder | null = null;

  /** Throws a StartError when a file cannot be read. */
  static async open(config: readonly BridgeConfig[], log: Log): Promise<NodeBridges> {
    return new NodeBridges(await settingsOf(config), log);
  }

  private constructor(settings: readonly BridgeSettings[], log: Log) {
    this.#settings = settings;
    this.#log = log;
    this.budgets.revise(settings);
  }

  /** The broker takes messages. */
  begin(around: BridgeSurroundings): void {
    const { broker, sessions, publish, roles } = around;
    this.#around = around;
    if (this.#settings.length > 0) roles?.want(LINKS_ROLE);
    this.#holder = new BridgeHolder({
      ...{ broker, budgets: this.budgets, sessions, publish },
      isHolder: () => roles === null || roles.held(LINKS_ROLE),
      clock: systemClock,
      scheduler: systemScheduler,
      log: this.#log,
    });
    this.#holder.start(this.#settings);
  }

  report(): BridgesReport {
    const holder = this.#holder;
    return {
      isHolder: holder?.isHolder === true,
      bridges: [...(holder?.bridges ?? [])].map((bridge) => this.#bridgeReport(bridge)),
    };
  }

  #bridgeReport(bridge: Bridge): BridgeReport {
    const { name, url, isUp, problem, upSinceMs, refusedFilters, counters } = bridge;
    const clientId = bridgeIdOf(name);
    const session = this.#around?.sessions.session(clientId) ?? null;
    const budget = this.budgets.of(clientId)!;
    return {
      ...{ name, url, isUp, problem, upSinceMs },
      queuedMessages: session?.queuedMessages ?? 0,
      queuedBytes: session?.queuedBytes ?? 0,
      budgetBytes: budget.budgetBytes,
      overBudget: budget.dropped,
      refusedFilters,
      ...counters,
    };
  }

  /** Of a reload, before anything is taken over: throws a StartError. */
  static prepare(config: readonly BridgeConfig[]): Promise<readonly BridgeSettings[]> {
    return settingsOf(config);
  }

  revise(settings: readonly BridgeSettings[]): void {
    this.#settings = settings;
    this.budgets.revise(settings);
    if (settings.length > 0) this.#around?.roles?.want(LINKS_ROLE);
    this.#holder?.revise(settings);
  }

  /** Before the broker stops. */
  async stop(): Promise<void> {
    await this.#holder?.stop();
  }
}

function settingsOf(bridges: readonly BridgeConfig[]): Promise<readonly BridgeSettings[]> {
  return Promise.all(bridges.map(bridgeOf));
}

async function bridgeOf(bridge: BridgeConfig): Promise<BridgeSettings> {
  const { name, url, protocolVersion, username, passwordFile, cleanStart, keepaliveS } = bridge;
  const { tls, tryPrivate, topics, clientId = `causeway-${name}` } = bridge;
  const { budgetAgeS, budgetBytes } = bridge;
  const version = VERSIONS[protocolVersion];
  const { inFlightMax = version === 5 ? IN_FLIGHT : IN_FLIGHT_OLD } = bridge;
  const { notifications, notificationTopic } = bridge;
  const topic = notificationTopic ?? `$SYS/broker/connection/${clientId}/state`;
  const password = passwordFile === undefined ? undefined : await readSecret(passwordFile);
  return {
    ...{ name, url, clientId, username, password, cleanStart, keepaliveS, tryPrivate },
    ...{ version, inFlightMax },
    budgetAgeMs: budgetAgeS * 1000,
    budgetBytes,
    tls: await tlsOf(tls),
    notice: notifications === 'none' ? null : { topic, isThere: notifications === 'both' },
    topics: topics.map(({ localPrefix = '', remotePrefix = '', ...topic }) => ({
      ...topic,
      ...{ localPrefix, remotePrefix },
    })),
  };
}
