/**
 * All bridges of this node: made from settings, started where this node has the role, revised after a
 * reload; sessions here of bridges that are no more are ended. Made by app/; a bridge is `bridge.ts`.
 */
import type { BridgeBudgets } from '../../core/bridge-budgets.ts';
import { bridgeIdOf, isBridgeId } from '../../core/bridge-names.ts';
import type { Acceptor, Admin, Clock, Log, Scheduler } from '../../core/ports.ts';
import { Bridge, type BridgeSettings } from './bridge.ts';

export interface BridgesParts {
  readonly broker: Acceptor;
  readonly budgets: BridgeBudgets;
  readonly sessions: Pick<Admin, 'sessions' | 'subscriptions' | 'endSession'>;
  /** Retained, at this broker. */
  readonly publish: (topic: string, payload: string) => void;
  /** One node of a datacenter has all bridges; alone: this one. */
  readonly isHolder: () => boolean;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly log: Log;
}

const TICK_MS = 250;

export class BridgeHolder {
  readonly #parts: BridgesParts;
  readonly #bridges: Map<string, Bridge> = new Map();
  /** Whose connections have yet to end: one after the other has its sessions. */
  readonly #closing: Map<string, Promise<void>> = new Map();
  #settings: readonly BridgeSettings[] = [];
  #isHolder = false;
  #isStopped = false;
  #stopTick: (() => void) | null = null;

  constructor(parts: BridgesParts) {
    this.#parts = parts;
  }

  get bridges(): Iterable<Bridge> {
    return this.#bridges.values();
  }

  /** This node has the bridges. */
  get isHolder(): boolean {
    return this.#isHolder;
  }

  start(settings: readonly BridgeSettings[]): void {
    this.#settings = settings;
    this.#stopTick = this.#parts.scheduler.every(TICK_MS, () => this.#tick());
    this.#tick();
  }

  /** After a reload: bridges that are as they were stay up. */
  revise(settings: readonly BridgeSettings[]): void {
    this.#settings = settings;
    if (!this.#isHolder) return;
    const wanted = new Map(settings.map((one) => [one.name, one]));
    for (const [name, bridge] of [...this.#bridges]) {
      const next = wanted.get(name);
      if (next !== undefined && bridge.isOf(next)) continue;
      this.#close(name, bridge);
    }
    this.#open();
  }

  #tick(): void {
    const { log } = this.#parts;
    const isAsked = this.#parts.isHolder();
    if (isAsked === this.#isHolder) return;
    this.#isHolder = isAsked;
    if (isAsked) {
      if (this.#settings.length > 0) log.info({}, 'bridges are held here');
      this.#open();
      return;
    }
    log.info({}, 'bridges are no longer held here');
    for (const [name, bridge] of [...this.#bridges]) this.#close(name, bridge);
  }

  #open(): void {
    if (this.#isStopped || !this.#isHolder) return;
    const { budgets, ...around } = this.#parts;
    this.#endOrphans();
    for (const settings of this.#settings) {
      const { name } = settings;
      if (this.#bridges.has(name) || this.#closing.has(name)) continue;
      const budget = budgets.of(bridgeIdOf(name))!;
      const bridge = new Bridge({ settings, budget, ...around });
      this.#bridges.set(name, bridge);
      bridge.start();
    }
  }

  /** Of bridges that are in no configuration any more: what waits for them would wait for ever. */
  #endOrphans(): void {
    const { sessions, log } = this.#parts;
    const ids = new Set(this.#settings.map(({ name }) => bridgeIdOf(name)));
    const orphans = [...sessions.sessions()]
      .map(({ clientId }) => clientId)
      .filter((clientId) => isBridgeId(clientId) && !ids.has(clientId));
    for (const clientId of orphans) {
      if (this.#closing.has(clientId.slice(bridgeIdOf('').length))) continue;
      sessions.endSession(clientId);
      log.info({ clientId }, 'session of a bridge that is no more was ended');
    }
  }

  #close(name: string, bridge: Bridge): void {
    this.#bridges.delete(name);
    const closed = bridge
      .stop()
      .catch(() => {})
      .then(() => {
        this.#closing.delete(name);
        this.#open();
      });
    this.#closing.set(name, closed);
  }

  /** Before the broker stops: what is not acknowledged comes again. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#isHolder = false;
    this.#stopTick?.();
    for (const [name, bridge] of [...this.#bridges]) this.#close(name, bridge);
    await Promise.all(this.#closing.values());
  }
}
