/**
 * Lets a request in or says why not: token, role, and how often. The token comes in the Authorization
 * header only, so that no page in a browser can send it along unasked. Used for every endpoint of the
 * API and for `/metrics`; it never logs a token.
 */
import type { Log } from '../../core/ports.ts';
import type { ApiRefusal } from '../metric-sources.ts';
import { ApiError } from './api-error.ts';
import type { Caller } from './call.ts';
import { addressKey, CallLimiter, type CallRate } from './call-limiter.ts';
import { isEnough, type Role } from './role.ts';
import type { TokenStore } from './token-store.ts';

export interface GuardRates {
  /** Failed logins of an address. */
  readonly failures: CallRate;
  /** Calls of a token. */
  readonly calls: CallRate;
}

const RATES: GuardRates = {
  failures: { calls: 10, perS: 60, blockS: 60 },
  calls: { calls: 2000, perS: 10 },
};

/** Longer than any token. */
const HEADER_LENGTH_MAX = 1024;

const NO_TOKENS =
  'this node has no API token yet: run `causeway init`, or start it with CAUSEWAY_ADMIN_TOKEN';

export class DoorGuard {
  /** How often somebody was not let in, and why. */
  readonly refused: Map<ApiRefusal, number> = new Map();
  readonly #tokens: TokenStore;
  readonly #log: Log;
  readonly #failures: CallLimiter;
  readonly #calls: CallLimiter;

  constructor(tokens: TokenStore, log: Log, rates: GuardRates = RATES) {
    this.#tokens = tokens;
    this.#log = log;
    this.#failures = new CallLimiter(rates.failures);
    this.#calls = new CallLimiter(rates.calls);
  }

  /** Who asks; throws an ApiError when that is nobody who may. `onKnown` hears who it is first. */
  async admit(
    authorization: string | undefined,
    address: string,
    role: Role,
    onKnown: (caller: Caller) => void = () => {},
  ): Promise<Caller> {
    const key = addressKey(address);
    const blockedS = await this.#failures.waitS(key);
    // Also with a token that would be good: else a block would not keep anybody from trying.
    if (blockedS > 0) {
      const detail = 'too many failed logins from this address';
      this.#refuse('blocked_address', 429, detail, blockedS);
    }
    if (this.#tokens.isEmpty) this.#refuse('no_token', 401, NO_TOKENS);
    const token = bearerOf(authorization);
    if (token === null) {
      this.#refuse('no_token', 401, 'send `Authorization: Bearer TOKEN`');
    }
    const found = this.#tokens.find(token);
    if (typeof found === 'string') {
      const waitS = await this.#failures.take(key);
      // Beyond the limit nothing is written either: a flood must not fill the log.
      this.#log.warn({ address, reason: found, blockedS: waitS }, 'api login failed');
      // The same answer for both: it does not tell that there was such a token.
      this.#refuse(`${found}_token`, 401, 'the token is not good');
    }
    const caller: Caller = { ...found, address };
    onKnown(caller);
    const waitS = await this.#calls.take(found.name);
    if (waitS > 0) this.#refuse('call_rate', 429, 'too many calls with this token', waitS);
    if (!isEnough(found.role, role)) {
      this.#refuse('role', 403, `this needs the role ${role}; the token has ${found.role}`);
    }
    return caller;
  }

  #refuse(reason: ApiRefusal, status: number, detail: string, retryAfterS: number = 0): never {
    this.refused.set(reason, (this.refused.get(reason) ?? 0) + 1);
    throw new ApiError(status, detail, [], retryAfterS);
  }
}

/** Null: there is none. */
function bearerOf(authorization: string | undefined): string | null {
  if (authorization === undefined || authorization.length > HEADER_LENGTH_MAX) return null;
  const space = authorization.indexOf(' ');
  if (space === -1 || authorization.slice(0, space).toLowerCase() !== 'bearer') return null;
  const token = authorization.slice(space + 1).trim();
  return token === '' ? null : token;
}
