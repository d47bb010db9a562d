/**
 * Quotas as a gate: wraps the gate of access (or none) and is not built when there are no quotas. Makes
 * the parts of the room, hands each connection, session and retained message to its account, reloads.
 * Knows no sockets, no messages and nothing of access but its ports.
 */
import type {
  ClientGate,
  Clock,
  ConnectDecision,
  ConnectRequest,
  EnhancedAuth,
  Gate,
  ListenerInfo,
  Log,
  Quotas,
  Scheduler,
  WAIT,
} from '../core/ports.ts';
import type { Principal } from '../core/principal.ts';
import { Alarms } from './alarms.ts';
import { Attic } from './attic.ts';
import { ConnectDesk, innerOf } from './connect-desk.ts';
import { CountQuota } from './count-quota.ts';
import { QuotaBook } from './quota-book.ts';
import { QuotaEnhancedAuth } from './quota-exchange.ts';
import type { QuotaOptions } from './quota-options.ts';
import {
  type QuotaMetric,
  type QuotaSample,
  type QuotaState,
  type QuotaUse,
  quotaStates,
  quotaUse,
} from './quota-report.ts';
import type { RateServices } from './rate-quota.ts';
import type { SharedLimits } from './shared-limits.ts';
import type { SharedUse } from './shared-use.ts';
import { TurnClock } from './turn-clock.ts';
import { type RetainedHolding, UseLedger } from './use-ledger.ts';

export interface QuotaGateOptions {
  /** Without fault as far as `checkQuotas` sees; else the constructor throws a RangeError. */
  readonly quotas: readonly QuotaOptions[];
  /** What decides about rights; null: everything is allowed. */
  readonly inner: Gate | null;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly log: Log;
  /** `memoryLimits`, or what nodes share. */
  readonly shared: SharedLimits;
  /** For what is each node's own (connects per listener and node); absent: `shared`. */
  readonly own?: SharedLimits | undefined;
  /** What other nodes use; absent: this node is alone. */
  readonly sharedUse?: SharedUse | undefined;
  /** All retained messages; asked when a reload counts them in another way. */
  readonly retained: () => Iterable<RetainedHolding>;
  /**
   * True: connections and sessions no quota concerns are kept account of as well (a few ns a message),
   * so that a reload brings them under new quotas. False: such quotas hold for those that come later.
   */
  readonly wrapsEveryone: boolean;
}

/** Connections and sessions that are brought under new quotas in one turn. */
const REBOUND_PER_TURN = 1000;

const ALLOWED: ConnectDecision = { refusal: null, identity: null, client: null };

export class QuotaGate implements Gate {
  readonly #options: QuotaGateOptions;
  readonly #services: RateServices;
  readonly #alarms: Alarms;
  readonly #attic: Attic;
  readonly #desk: ConnectDesk;
  readonly #ledger: UseLedger;
  #book: QuotaBook;
  #enhanced: QuotaEnhancedAuth | null = null;

  constructor(options: QuotaGateOptions) {
    const { clock, scheduler, log, shared, retained, wrapsEveryone } = options;
    const { own = shared, sharedUse = null } = options;
    this.#options = options;
    const turn = new TurnClock(clock, scheduler);
    this.#alarms = new Alarms(clock, scheduler);
    this.#attic = new Attic(clock, scheduler);
    const [alarms, attic] = [this.#alarms, this.#attic];
    this.#services = { clock, scheduler, log, alarms, attic, shared, own };
    this.#book = new QuotaBook(options.quotas, null, this.#services);
    this.#desk = new ConnectDesk({
      turn,
      alarms: this.#alarms,
      log,
      book: () => this.#book,
      wrapsEveryone,
      sharedUse,
    });
    this.#ledger = new UseLedger(this.#book, { turn, countsEveryone: wrapsEveryone, retained });
  }

  // ------------------------------------------------------------------ Gate

  socket(remoteAddress: string, listener: ListenerInfo): boolean {
    const { inner } = this.#options;
    return inner === null || inner.socket(remoteAddress, listener);
  }

  connect(
    request: ConnectRequest,
    decide: (decision: ConnectDecision) => void,
  ): ConnectDecision | typeof WAIT {
    const { inner } = this.#options;
    return this.#desk.connect(
      request,
      (late) => (inner === null ? ALLOWED : inner.connect(request, late)),
      decide,
    );
  }

  /** A will comes once per connection: what bounds connects bounds it. */
  will(
    principal: Principal,
    client: ClientGate | null,
    will: { readonly topic: string; readonly qos: 0 | 1 | 2; readonly retain: boolean },
    decide: (allowed: boolean) => void,
  ): boolean | typeof WAIT {
    const { inner } = this.#options;
    return inner === null || inner.will(principal, innerOf(client), will, decide);
  }

  retainedSource(principal: Principal, topic: string): boolean {
    const { inner } = this.#options;
    return inner === null || inner.retainedSource(principal, topic);
  }

  keeps(principal: Principal, filter: string, qos: 0 | 1 | 2): boolean {
    const { inner } = this.#options;
    return inner === null || inner.keeps(principal, filter, qos);
  }

  get enhanced(): EnhancedAuth | null {
    const inner = this.#options.inner?.enhanced ?? null;
    if (inner === null) return null;
    if (this.#enhanced?.inner !== inner) {
      this.#enhanced = new QuotaEnhancedAuth(inner, this.#desk, this.#options.log);
    }
    return this.#enhanced;
  }

  get quotas(): Quotas | null {
    const { countsSessions, countsRetained } = this.#book;
    return countsSessions || countsRetained || this.#options.wrapsEveryone ? this.#ledger : null;
  }

  // ------------------------------------------------------------------ for app

  /** Every quota in force, with how often its limit was met. */
  states(): Iterable<QuotaState> {
    return quotaStates(this.#book);
  }

  /** Who uses most of each quota, `topMax` at most of each. */
  use(topMax: number): Iterable<QuotaUse> {
    return quotaUse(this.#book, this.#options.clock.monotonicMs(), topMax);
  }

  /** Some quota counts over all nodes of a datacenter what is in use at one time. */
  get sharesUse(): boolean {
    return this.#book.sharesUse;
  }

  /** What this node has of it. */
  *useToShare(): Iterable<readonly [quota: string, key: string, used: number]> {
    for (const quota of this.#book.quotas) {
      if (!(quota instanceof CountQuota && quota.isShared)) continue;
      for (const { key, used } of quota.counters.values()) yield [quota.name, key ?? '', used];
    }
  }

  /** One of `quotaMetricTable` as it stands now. */
  samples(metric: QuotaMetric): readonly QuotaSample[] {
    return metric.read(this.#book, this.#options.clock.monotonicMs());
  }

  /**
   * Other quotas from now on; nobody is dropped for it. Quotas that keep name, kind and scope keep what
   * they have counted. Throws a RangeError and changes nothing when the list has a fault.
   */
  reload(quotas: readonly QuotaOptions[]): void {
    const book = new QuotaBook(quotas, this.#book, this.#services);
    this.#book = book;
    this.#ledger.follow(book);
    const gates = this.#desk.gates.values();
    const sessions = this.#ledger.sessions.values();
    const step = (): void => {
      // A later reload walks by itself.
      if (this.#book !== book) return;
      for (let left = REBOUND_PER_TURN; left > 0; left--) {
        const next = gates.next();
        const one = next.done === true ? sessions.next() : next;
        if (one.done === true) return;
        if (one.value.book !== book) one.value.rebind(book);
      }
      this.#options.scheduler.nextTurn(step);
    };
    step();
  }

  /** No deadline fires any more. */
  stop(): void {
    this.#alarms.stop();
    this.#attic.stop();
    for (const quota of this.#book.quotas) quota.stop();
  }
}
