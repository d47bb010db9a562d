/** Enhanced authentication with the quotas of a CONNECT around it; see `connect-desk.ts`. */
import type { AuthAnswer, AuthExchange, ConnectRequest, EnhancedAuth, Log } from '../core/ports.ts';
import type { ConnectDesk } from './connect-desk.ts';

export class QuotaEnhancedAuth implements EnhancedAuth {
  readonly inner: EnhancedAuth;
  readonly #desk: ConnectDesk;
  readonly #log: Log;

  constructor(inner: EnhancedAuth, desk: ConnectDesk, log: Log) {
    this.inner = inner;
    this.#desk = desk;
    this.#log = log;
  }

  begin(method: string, request: ConnectRequest): AuthExchange | null {
    const exchange = this.inner.begin(method, request);
    if (exchange === null) return null;
    return new QuotaExchange(exchange, request, this.#desk, this.#log);
  }
}

class QuotaExchange implements AuthExchange {
  readonly #inner: AuthExchange;
  readonly #request: ConnectRequest;
  readonly #desk: ConnectDesk;
  readonly #log: Log;
  constructor(inner: AuthExchange, request: ConnectRequest, desk: ConnectDesk, log: Log) {
    this.#inner = inner;
    this.#request = request;
    this.#desk = desk;
    this.#log = log;
  }

  step(data: Buffer | null, next: (answer: AuthAnswer) => void): void {
    // The client's bytes lie in a buffer that is used again.
    const kept = data === null ? null : Buffer.from(data);
    this.#step(kept)
      .then(next)
      .catch((err: unknown) => {
        this.#log.error({ err, clientId: this.#request.clientId }, 'authentication failed');
        this.#request.end('internal_error');
      });
  }

  async #step(data: Buffer | null): Promise<AuthAnswer> {
    const request = this.#request;
    const ticket = await this.#desk.enter(request);
    if ('refusal' in ticket) return { kind: 'decided', decision: ticket };
    const answer = await new Promise<AuthAnswer>((resolve) => this.#inner.step(data, resolve));
    if (answer.kind === 'continue') {
      // Nobody hears of a client that leaves before its next step.
      this.#desk.pause(ticket);
      return answer;
    }
    const decision = await this.#desk.leave(request, ticket, answer.decision);
    return { kind: 'decided', decision };
  }
}
