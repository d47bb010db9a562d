/**
 * Asks an HTTP service who a client is. Only an answer that is understood in full lets it in; a service
 * that is away, slow, redirecting or talking nonsense lets in nobody. Answers that accept are kept for
 * a while under a fingerprint, so that a fleet that comes back does not meet the service all at once;
 * refusals are not kept. A link of the authentication chain.
 */
import type { Clock, Log } from '../../core/ports.ts';
import { readEmqxRules } from '../acl/emqx-rule.ts';
import { GRANTS_MAX } from '../acl/granted-layer.ts';
import type { GrantedRule } from '../acl/granted-rule.ts';
import type {
  AuthenticationAnswer,
  Authenticator,
  AuthenticatorCounters,
  Claim,
  Credentials,
  Identified,
} from '../authenticator.ts';
import { loginLookup, loginPlaceholders } from '../backend/client-lookup.ts';
import { Fingerprint } from '../backend/fingerprint.ts';
import { HttpBackend, type HttpServiceOptions } from '../backend/http-backend.ts';
import { asMembers, type Members } from '../backend/http-verdict.ts';
import { InFlight } from '../backend/in-flight.ts';
import { followed, type Prepared } from '../prepared.ts';
import { serviceCache, type TtlCache } from '../ttl-cache.ts';
import { ignored, newAuthenticatorCounters, refusal } from './answers.ts';

export interface HttpAuthenticatorOptions {
  readonly service: HttpServiceOptions;
  readonly clock: Clock;
  readonly log: Log;
}

/** As the configuration reference says. */
export const usualLoginFields: readonly string[] = [
  'username=%u',
  'password=%P',
  'clientid=%c',
  'address=%a',
  'listener=%l',
];

const CLAIMS_MAX = 64;
/** A client that does not show one of these is not for this authenticator when it asks for them. */
function isProof(name: string): boolean {
  return name === 'u' || name === 'P' || name === 'psk_identity' || name.startsWith('certificate.');
}

const denied = refusal('bad_credentials', 'the service denied');
const busy = refusal('authentication_busy', 'too many logins wait for the service');
const unavailable = refusal('authentication_unavailable', 'the service gave no usable answer');
const unusable = refusal('bad_credentials', 'the user name or password is empty, or not UTF-8');

export class HttpAuthenticator implements Authenticator {
  readonly kind = 'http';
  readonly counters: AuthenticatorCounters = newAuthenticatorCounters();
  readonly #backend: HttpBackend;
  readonly #clock: Clock;
  readonly #proofs: readonly string[];
  readonly #fingerprint = new Fingerprint();
  readonly #cache: TtlCache<Identified>;
  readonly #asking = new InFlight<AuthenticationAnswer>();

  /** Throws an AccessError when the options cannot be used. */
  constructor(options: HttpAuthenticatorOptions) {
    const { service, clock, log } = options;
    this.#clock = clock;
    this.#backend = new HttpBackend({
      service,
      name: 'authentication.http',
      usualFields: usualLoginFields,
      placeholders: loginPlaceholders,
      clock,
      log,
    });
    this.#proofs = [...this.#backend.names].filter(isProof);
    this.#cache = serviceCache(service, clock);
  }

  /** For the metrics page: requests at the service, logins that wait for one. */
  get inFlight(): number {
    return this.#backend.inFlight;
  }

  get waiting(): number {
    return this.#backend.waiting;
  }

  start(): Promise<void> {
    return this.#backend.open();
  }

  async prepare(): Promise<Prepared> {
    return followed(await this.#backend.prepare(), () => this.#cache.expire());
  }

  async stop(): Promise<void> {
    this.#backend.close();
    this.#cache.expire();
  }

  authenticate(credentials: Credentials): AuthenticationAnswer | Promise<AuthenticationAnswer> {
    const { username, password } = credentials;
    const asksFor = this.#backend.names;
    if (asksFor.has('u') && username === null) return this.#count(ignored);
    if (asksFor.has('P') && password === null) return this.#count(ignored);
    const lookup = loginLookup(credentials);
    const isEmpty = username === '' || (asksFor.has('P') && password?.length === 0);
    if (isEmpty || (asksFor.has('P') && lookup('P') === null)) return this.#count(unusable);
    if (this.#proofs.some((name) => lookup(name) === null)) return this.#count(ignored);
    const rendered = this.#backend.render(lookup);
    const user = this.#userOf(credentials);
    const key = this.#fingerprint.of(rendered, user ?? '');
    const known = this.#cache.get(key);
    if (known !== undefined) {
      this.counters.cacheHits += 1;
      return this.#count({ kind: 'accepted', who: known });
    }
    return this.#asking
      .run(key, () => this.#ask(key, rendered, credentials.remoteAddress, user))
      .then((answer) => this.#count(answer));
  }

  /** Only what the service was told has been proven. */
  #userOf({ username, certificate, pskIdentity }: Credentials): string | null {
    if (this.#backend.names.has('u')) return username;
    if (this.#backend.names.has('psk_identity')) return pskIdentity;
    if (!this.#proofs.some((name) => name.startsWith('certificate.'))) return null;
    return certificate?.subjectCommonName || certificate?.fingerprint256 || null;
  }

  async #ask(
    key: string,
    rendered: string,
    party: string,
    user: string | null,
  ): Promise<AuthenticationAnswer> {
    const answer = await this.#backend.ask(rendered, party);
    switch (answer.kind) {
      case 'allow': {
        const who = readIdentity(answer.members, user, this.#backend.display);
        if (typeof who === 'string') {
          this.#backend.complain(who);
          return unavailable;
        }
        const leftMs =
          who.expiresAtMs === 0 ? Number.POSITIVE_INFINITY : who.expiresAtMs - this.#clock.wallMs();
        if (leftMs <= 0) return denied;
        this.#cache.set(key, who, leftMs);
        return { kind: 'accepted', who };
      }
      case 'deny':
        return denied;
      case 'ignore':
        return ignored;
      case 'busy':
        return busy;
      case 'unavailable':
        return unavailable;
    }
  }

  #count(answer: AuthenticationAnswer): AuthenticationAnswer {
    this.counters[answer.kind] += 1;
    if (answer === unavailable) this.counters.errors += 1;
    return answer;
  }
}

/** Who the service says the client is; a text: what in the answer cannot be understood. */
function readIdentity(members: Members, user: string | null, at: string): Identified | string {
  const superuser = members.get('is_superuser') ?? false;
  if (typeof superuser !== 'boolean') return 'is_superuser is neither true nor false';
  const tenant = members.get('tenant') ?? null;
  if (tenant !== null && (typeof tenant !== 'string' || tenant === '')) return 'tenant is no text';
  const expireAt = members.get('expire_at') ?? null;
  if (expireAt !== null && !(typeof expireAt === 'number' && expireAt > 0)) {
    return 'expire_at is no time in seconds';
  }
  const claims = readClaims(members.get('client_attrs') ?? null);
  if (typeof claims === 'string') return claims;
  const acl = members.get('acl') ?? null;
  const rules: readonly GrantedRule[] | string | null =
    acl === null ? null : readEmqxRules(acl, `http ${at}`, GRANTS_MAX);
  if (typeof rules === 'string') return rules;
  const expiresAtMs = expireAt === null ? 0 : Math.ceil(expireAt * 1000);
  return { user, tenant, claims, expiresAtMs, rules, superuser };
}

function readClaims(value: unknown): ReadonlyMap<string, Claim> | null | string {
  if (value === null) return null;
  const members = asMembers(value);
  if (members === null) return 'client_attrs is no object';
  if (members.size > CLAIMS_MAX) return `client_attrs has more than ${CLAIMS_MAX} members`;
  const claims = new Map<string, Claim>();
  for (const [name, claim] of members) {
    if (typeof claim !== 'string') return 'client_attrs has a member that is no text';
    claims.set(name, claim);
  }
  return claims;
}
