/**
 * Enhanced authentication [MQTT5-4.12] with SCRAM-SHA-256, for a CONNECT or to authenticate again on an
 * open connection. The exchange itself is `authn/scram-exchange.ts`; here it goes the same way in as
 * any login: bans before the first answer, failures counted, rights after the last.
 */
import type {
  AuthAnswer,
  AuthExchange,
  ConnectDecision,
  ConnectRequest,
  EnhancedAuth,
} from '../core/ports.ts';
import type { RefuseReason } from '../core/refuse-reason.ts';
import type { Identified } from './authenticator.ts';
import { SCRAM_METHOD, type ScramExchange } from './authn/scram-exchange.ts';
import type { ScramUsers } from './authn/scram-users.ts';

/** Why a login failed; `by` is the kind of who said so. */
export interface Refusal {
  readonly reason: RefuseReason;
  /** For the log: holds nothing a client sent. */
  readonly detail: string;
  readonly by: string;
}

/** What the gate does for a login. */
export interface LoginGate {
  keptOut(request: ConnectRequest, user: string | null): ConnectDecision | null;
  refuse(request: ConnectRequest, user: string | null, answer: Refusal): ConnectDecision;
  admit(
    request: ConnectRequest,
    who: Identified,
    by: string,
  ): ConnectDecision | Promise<ConnectDecision>;
  broken(error: unknown): ConnectDecision;
}

export type ScramOffer = Pick<ScramUsers, 'begin' | 'isOfferedAt'>;

const BY = 'scram';

export class AccessEnhancedAuth implements EnhancedAuth {
  readonly #gate: LoginGate;
  readonly #scram: ScramOffer;

  constructor(gate: LoginGate, scram: ScramOffer) {
    this.#gate = gate;
    this.#scram = scram;
  }

  begin(method: string, request: ConnectRequest): AuthExchange | null {
    if (method !== SCRAM_METHOD || !this.#scram.isOfferedAt(request.listener.name)) return null;
    // That an open connection stays with its user is seen to by the core, which knows who it is.
    return new LoginExchange(this.#gate, request, this.#scram.begin(null));
  }
}

class LoginExchange implements AuthExchange {
  readonly #gate: LoginGate;
  readonly #request: ConnectRequest;
  readonly #exchange: ScramExchange;

  constructor(gate: LoginGate, request: ConnectRequest, exchange: ScramExchange) {
    this.#gate = gate;
    this.#request = request;
    this.#exchange = exchange;
  }

  step(data: Buffer | null, next: (answer: AuthAnswer) => void): void {
    let answer: AuthAnswer | Promise<AuthAnswer>;
    try {
      answer = this.#answer(data);
    } catch (error) {
      answer = { kind: 'decided', decision: this.#gate.broken(error) };
    }
    if (!(answer instanceof Promise)) {
      next(answer);
      return;
    }
    answer
      .catch((error: unknown): AuthAnswer => {
        return { kind: 'decided', decision: this.#gate.broken(error) };
      })
      .then(next)
      .catch((error: unknown) => {
        this.#gate.broken(error);
        this.#request.end('internal_error');
      })
      .catch((error: unknown) => this.#gate.broken(error));
  }

  #answer(data: Buffer | null): AuthAnswer | Promise<AuthAnswer> {
    const gate = this.#gate;
    const request = this.#request;
    // Before anything is worked out for who is kept out anyway.
    const early = gate.keptOut(request, this.#exchange.claimedUser);
    if (early !== null) return { kind: 'decided', decision: early };
    const step = this.#exchange.step(data);
    const user = this.#exchange.claimedUser;
    if (step.kind === 'continue') {
      const banned = user === null ? null : gate.keptOut(request, user);
      return banned === null
        ? { kind: 'continue', data: step.data }
        : { kind: 'decided', decision: banned };
    }
    if (step.kind === 'refused') {
      const { reason, detail } = step;
      return { kind: 'decided', decision: gate.refuse(request, user, { reason, detail, by: BY }) };
    }
    const decided = (decision: ConnectDecision): AuthAnswer => ({
      kind: 'decided',
      decision: { ...decision, authenticationData: step.data },
    });
    const decision = gate.admit(request, step.who, BY);
    return decision instanceof Promise ? decision.then(decided) : decided(decision);
  }
}
