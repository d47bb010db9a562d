/**
 * The parts that answers of authenticators are made of, so that all have one shape: counters, an
 * opinion not held, a refusal, a user. Used by everything in this folder that says who a client is.
 */
import type { RefuseReason } from '../../core/refuse-reason.ts';
import type { AuthenticationAnswer, AuthenticatorCounters, Identified } from '../authenticator.ts';

export type Refused = Extract<AuthenticationAnswer, { readonly kind: 'refused' }>;

export const ignored: AuthenticationAnswer = { kind: 'ignored' };

/** `detail` is for the log and holds nothing of what the client sent. */
export function refusal(reason: RefuseReason, detail: string): Refused {
  return { kind: 'refused', reason, detail };
}

/** What took time was not done, as the client was banned or blocked meanwhile. */
export const keptOut: Refused = refusal('login_blocked', 'kept out while it waited');

/** A user (null: nobody) of whom no more is known than `more` says. */
export function identified(user: string | null, more: Partial<Identified> = {}): Identified {
  const { tenant = null, claims = null, expiresAtMs = 0, rules = null, superuser = false } = more;
  const { keyPrint } = more;
  return { user, tenant, claims, expiresAtMs, rules, superuser, keyPrint };
}

export function newAuthenticatorCounters(): AuthenticatorCounters {
  return { accepted: 0, refused: 0, ignored: 0, errors: 0, cacheHits: 0 };
}
