/**
 * What a CONNECT has to pass besides its credentials: connects per second and connections. Per listener
 * and node it asks before the credentials are looked at, so that a storm costs no password hashes, and
 * gives back what failed logins took, so that they lock nobody out. Everything else is asked once it is
 * proven who the client is.
 */
import {
  type ClientGate,
  type ConnectDecision,
  type ConnectRequest,
  type Log,
  WAIT,
} from '../core/ports.ts';
import type { RefuseReason } from '../core/refuse-reason.ts';
import type { Alarms } from './alarms.ts';
import type { ConnectQuota } from './connect-quota.ts';
import type { Quota, Subject } from './quota.ts';
import type { QuotaBook } from './quota-book.ts';
import { QuotaClientGate, type QuotaClientGateOwner } from './quota-client-gate.ts';
import type { SharedUse } from './shared-use.ts';
import type { TurnClock } from './turn-clock.ts';

export interface ConnectDeskOptions {
  readonly turn: TurnClock;
  readonly alarms: Alarms;
  readonly log: Log;
  /** In force, reloads included. */
  readonly book: () => QuotaBook;
  /** Also connections no quota concerns: a later one may. */
  readonly wrapsEveryone: boolean;
  /** Null: this node is alone. */
  readonly sharedUse: SharedUse | null;
}

/** What decides about the credentials, or null: everybody is let in as nobody. */
export type AskCredentials = (
  decide: (decision: ConnectDecision) => void,
) => ConnectDecision | typeof WAIT;

/** What an attempt has taken and gives back when it fails. */
export interface Ticket {
  readonly subject: Subject;
  readonly quotas: readonly ConnectQuota[];
}

export class ConnectDesk implements QuotaClientGateOwner {
  readonly turn: TurnClock;
  readonly alarms: Alarms;
  /** Of all connections that have one. */
  readonly gates: Set<QuotaClientGate> = new Set();
  /** By client id the newest; those before it hang on it (`QuotaClientGate.older`). */
  readonly #byClientId: Map<string, QuotaClientGate> = new Map();
  readonly #options: ConnectDeskOptions;

  constructor(options: ConnectDeskOptions) {
    this.#options = options;
    this.turn = options.turn;
    this.alarms = options.alarms;
  }

  /** A whole CONNECT. */
  connect(
    request: ConnectRequest,
    askCredentials: AskCredentials,
    decide: (decision: ConnectDecision) => void,
  ): ConnectDecision | typeof WAIT {
    if (!this.#options.book().limitsConnects) {
      const decision = askCredentials((late) => decide(this.#admit(request, late)));
      return decision === WAIT ? WAIT : this.#admit(request, decision);
    }
    this.#attempt(request, askCredentials)
      .then(decide)
      .catch((err: unknown) => {
        this.#options.log.error({ err, clientId: request.clientId }, 'connect failed');
        request.end('internal_error');
      });
    return WAIT;
  }

  async #attempt(
    request: ConnectRequest,
    askCredentials: AskCredentials,
  ): Promise<ConnectDecision> {
    const ticket = await this.enter(request);
    if ('refusal' in ticket) return ticket;
    const decision = await new Promise<ConnectDecision>((resolve) => {
      const now = askCredentials(resolve);
      if (now !== WAIT) resolve(now);
    });
    return this.leave(request, ticket, decision);
  }

  /** Before the credentials: a ticket, or the refusal. */
  async enter(request: ConnectRequest): Promise<Ticket | ConnectDecision> {
    const subject = subjectOf(request, null);
    // A re-authentication is no connect.
    const quotas = request.packet === null ? [] : this.#options.book().earlyConnects(subject);
    return this.#take(quotas, subject);
  }

  /** The credentials were looked at; the ticket of `enter` is used up or given back. */
  async leave(
    request: ConnectRequest,
    ticket: Ticket,
    decision: ConnectDecision,
  ): Promise<ConnectDecision> {
    if (decision.refusal !== null) {
      giveBack(ticket);
      return decision;
    }
    const subject = subjectOf(request, decision);
    const quotas = request.packet === null ? [] : this.#options.book().lateConnects(subject);
    const late = await this.#take(quotas, subject);
    if ('refusal' in late) {
      giveBack(ticket);
      decision.client?.closed();
      return late;
    }
    return this.#admit(request, decision);
  }

  /** The attempt goes on later, or never: it does not keep others out meanwhile. */
  pause(ticket: Ticket): void {
    giveBack(ticket);
  }

  async #take(
    quotas: readonly ConnectQuota[],
    subject: Subject,
  ): Promise<Ticket | ConnectDecision> {
    const taken: ConnectQuota[] = [];
    for (const quota of quotas) {
      let isWithin = true;
      try {
        isWithin = await quota.take(subject);
      } catch (err) {
        // Credentials are still asked for; what is missing is only the count.
        this.#options.log.error({ err, quota: quota.name }, 'shared quota did not answer');
        continue;
      }
      if (!isWithin) {
        giveBack({ subject, quotas: taken });
        return this.#refuse('connect_rate', quota, quota.keyOf(subject));
      }
      taken.push(quota);
    }
    return { subject, quotas: taken };
  }

  /** Counts the connection and puts its quotas before its rights. */
  #admit(request: ConnectRequest, decision: ConnectDecision): ConnectDecision {
    if (decision.refusal !== null) return decision;
    const subject = subjectOf(request, decision);
    const { clientId } = subject;
    const book = this.#options.book();
    // In a re-authentication the connection is counted already, and let go of after this.
    if (request.packet !== null) {
      const full = QuotaClientGate.full(
        book,
        subject,
        this.#replacedBy(subject),
        this.#options.sharedUse,
      );
      if (full !== null) {
        decision.client?.closed();
        return this.#refuse('connections_quota', full.quota, full.key);
      }
    }
    const gate = new QuotaClientGate(subject, decision.client, book, this);
    if (!gate.isConcerned && !this.#options.wrapsEveryone) return decision;
    this.gates.add(gate);
    gate.older = this.#byClientId.get(clientId) ?? null;
    if (gate.older !== null) gate.older.newer = gate;
    this.#byClientId.set(clientId, gate);
    return { ...decision, client: gate };
  }

  /** Whom it takes over: its own, or nobody's, as the core gives no session to somebody else. */
  #replacedBy({ clientId, identity }: Subject): QuotaClientGate | null {
    let gate = this.#byClientId.get(clientId) ?? null;
    while (gate !== null && gate.subject.identity !== null && gate.subject.identity !== identity) {
      gate = gate.older;
    }
    return gate;
  }

  #refuse(refusal: RefuseReason, quota: Quota, key: string | null): ConnectDecision {
    quota.hit(key, this.turn.nowMs());
    return { refusal, reasonString: quota.explain(), identity: null, client: null };
  }

  closed(gate: QuotaClientGate): void {
    this.gates.delete(gate);
    const { older, newer } = gate;
    gate.older = null;
    gate.newer = null;
    if (older !== null) older.newer = newer;
    if (newer !== null) newer.older = older;
    else if (older !== null) this.#byClientId.set(gate.subject.clientId, older);
    else this.#byClientId.delete(gate.subject.clientId);
  }
}

/** The gate that quotas were put before. */
export function innerOf(client: ClientGate | null): ClientGate | null {
  return client instanceof QuotaClientGate ? client.inner : client;
}

function subjectOf(request: ConnectRequest, decision: ConnectDecision | null): Subject {
  return {
    clientId: request.clientId,
    identity: decision?.identity ?? null,
    tenant: decision?.tenant ?? '',
    listener: request.listener.name,
  };
}

function giveBack({ subject, quotas }: Ticket): void {
  for (const quota of quotas) quota.giveBack(subject);
}
