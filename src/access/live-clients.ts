/**
 * Everybody who was let in and is not closed: the rules in force for them, the ends of their
 * credentials, and the end of those who may not stay (a ban, a user that is gone). The gate registers
 * connections here; Access tells of reloads.
 */
import type { CloseReason } from '../core/close-reason.ts';
import type { Clock, Scheduler } from '../core/ports.ts';
import { containsAddress, parseIpNetwork } from '../util/ip-address.ts';
import { type Timer, TimerWheel } from '../util/timer-wheel.ts';
import type { RuleSet } from './acl/rule-set.ts';
import { AskLine } from './ask-line.ts';
import { type Ban, clientAddressBytes } from './ban.ts';
import {
  AccessClientGate,
  type ClientFacts,
  type ClientGateOwner,
  type DecisionCounters,
  newDecisionCounters,
  type RulesInForce,
} from './client-gate.ts';
import type { Failures } from './failures.ts';
import type { Steps } from './slices.ts';

export interface LiveClientsOptions {
  readonly rules: RuleSet;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly failures: Failures;
  /** Somebody's rights changed: the core should look at what they have. */
  readonly onRightsChanged: () => void;
}

/** By what somebody came in. */
export interface Login {
  /** Kind of the authenticator. */
  readonly by: string;
  readonly user: string | null;
  readonly keyPrint: string | undefined;
}

/** Proven and not let in yet: something is still waited for. */
interface Entering extends Login {
  /** The user is gone, or has another password; or the key is. */
  isGone: boolean;
}

const TICK_MS = 1000;
const SLOTS = 512;
/** Connections ended per turn, whyever. */
const ENDED_PER_TURN = 500;
/** Looked at before a reload is in force: what is left then is made when it is asked for. */
const PREPARED_RULES_MAX = 2_000_000;

export class LiveClients implements ClientGateOwner {
  readonly decisions: DecisionCounters = newDecisionCounters();
  readonly inForce: RulesInForce;
  readonly asks: AskLine;
  /** Ended by a ban, or as their user was removed. Rises only. */
  ended = 0;
  readonly #options: LiveClientsOptions;
  readonly #wheel: TimerWheel;
  readonly #clients = new Set<AccessClientGate>();
  readonly #entering = new Set<Entering>();

  constructor(options: LiveClientsOptions) {
    const { rules, clock, scheduler } = options;
    this.#options = options;
    this.asks = new AskLine(scheduler);
    this.inForce = { rules, version: rules.version };
    this.#wheel = new TimerWheel(TICK_MS, SLOTS, clock.monotonicMs());
  }

  get size(): number {
    return this.#clients.size;
  }

  /** One more; `end` ends its connection. It is here until it is closed. */
  register(facts: ClientFacts, end: (reason: CloseReason) => void): AccessClientGate {
    const client = new AccessClientGate(facts, end, this);
    this.#clients.add(client);
    return client;
  }

  /** Waits for `pending`; null: meanwhile a reload took away what the login went by. */
  async whileItCounts<T>(login: Login, pending: Promise<T>): Promise<T | null> {
    const entering: Entering = { ...login, isGone: false };
    this.#entering.add(entering);
    try {
      const outcome = await pending;
      return entering.isGone ? null : outcome;
    } finally {
      this.#entering.delete(entering);
    }
  }

  // ------------------------------------------------------------------ changes

  /** Has the rules ready for those who are here, before they are in force. */
  *prepareRules(rules: RuleSet): Steps<void> {
    let looked = 0;
    for (const { facts } of this.#clients) {
      looked += yield* rules.prepareFor(facts.subject);
      if (looked > PREPARED_RULES_MAX) return;
      yield;
    }
  }

  /** Other rules from now on; each connection compiles them at its next decision. */
  setRules(rules: RuleSet): void {
    this.inForce.rules = rules;
    this.inForce.version = rules.version;
  }

  /** Users that an authenticator (by its kind) no longer has, or knows with another password. */
  endUsers(by: string, users: ReadonlySet<string>): void {
    this.#endLogins((login) => login.by === by && login.user !== null && users.has(login.user));
  }

  /** Those with credentials that were signed by keys an authenticator no longer has. */
  endKeys(by: string, isInForce: (keyPrint: string) => boolean): void {
    this.#endLogins(
      ({ by: own, keyPrint }) => own === by && keyPrint !== undefined && !isInForce(keyPrint),
    );
  }

  #endLogins(isOver: (login: Login) => boolean): void {
    for (const entering of this.#entering) if (isOver(entering)) entering.isGone = true;
    this.#end('rights_revoked', ({ facts }) => {
      const { by, keyPrint, subject } = facts;
      return isOver({ by, user: subject.user, keyPrint });
    });
  }

  endBanned(ban: Ban): void {
    const network = ban.kind === 'address' ? parseIpNetwork(ban.value) : null;
    this.#end('banned', ({ facts }) => {
      const { subject, fingerprint } = facts;
      if (ban.user !== undefined && ban.user !== subject.user) return false;
      switch (ban.kind) {
        case 'client':
          return subject.clientId === ban.value;
        case 'user':
          return subject.user === ban.value;
        case 'certificate':
          return fingerprint === ban.value;
        case 'address': {
          const bytes = clientAddressBytes(subject.remoteAddress ?? '');
          return bytes !== null && network !== null && containsAddress(network, bytes);
        }
      }
    });
  }

  /** Ends those that fit, some per turn; all of them are found at once. */
  #end(reason: CloseReason, fits: (client: AccessClientGate) => boolean): void {
    const found: AccessClientGate[] = [];
    for (const client of this.#clients) if (fits(client)) found.push(client);
    let next = 0;
    const step = (): void => {
      for (let ended = 0; ended < ENDED_PER_TURN && next < found.length; ended++, next++) {
        const client = found[next]!;
        if (!this.#clients.has(client)) continue;
        this.ended++;
        try {
          client.end(reason);
        } catch (error) {
          this.failed(error);
        }
      }
      if (next < found.length) this.#options.scheduler.nextTurn(step);
    };
    step();
  }

  /** About once a second: credentials that expire. */
  tick(monotonicMs: number): void {
    this.#wheel.advance(monotonicMs);
  }

  // ------------------------------------------------------------------ for its connections

  monotonicMs(): number {
    return this.#options.clock.monotonicMs();
  }

  wallMs(): number {
    return this.#options.clock.wallMs();
  }

  rightsChanged(): void {
    this.#options.onRightsChanged();
  }

  setTimer(timer: Timer, inMs: number): void {
    this.#wheel.set(timer, this.#options.clock.monotonicMs() + inMs);
  }

  cancelTimer(timer: Timer): void {
    this.#wheel.cancel(timer);
  }

  closed(client: AccessClientGate): void {
    this.#clients.delete(client);
  }

  failed(error: unknown): void {
    this.#options.failures.add(error);
  }
}
