/**
 * May this client connect, and as whom? Bans, login blocks, the authentication chain, flapping, tenant
 * and rules, in this order; what is cheap comes first, and no password is hashed for who is kept out
 * anyway. Called by the core (or by the quota gate around it). Fails closed: whatever goes wrong in
 * here refuses with `authentication_unavailable`, is logged and counted, and hurts nobody else.
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
} from '../core/ports.ts';
import { WAIT } from '../core/ports.ts';
import type { Principal } from '../core/principal.ts';
import type { RefuseReason } from '../core/refuse-reason.ts';
import { isLoopbackAddress, parseIpAddress } from '../util/ip-address.ts';
import type { GrantedRule } from './acl/granted-rule.ts';
import type { RuleSet } from './acl/rule-set.ts';
import type { AnyRuleSource, Decider, GrantAnswer, GrantSource } from './acl/source.ts';
import type { AclSubject } from './acl/subject.ts';
import type { Credentials, Identified } from './authenticator.ts';
import { identified } from './authn/answers.ts';
import type { ChainAnswer } from './authn/chain.ts';
import { AwayRights } from './away-rights.ts';
import { type Ban, canonicalFingerprint } from './ban.ts';
import type { Bans } from './bans.ts';
import { AccessClientGate, ruleSubjectOf } from './client-gate.ts';
import { Failures } from './failures.ts';
import type { Flapping } from './flapping.ts';
import { LiveClients, type Login } from './live-clients.ts';
import { AccessEnhancedAuth, type Refusal, type ScramOffer } from './login-exchange.ts';
import type { LoginGuard } from './login-guard.ts';
import { type TenantOptions, tenantOf } from './tenant.ts';

export interface AccessGateOptions {
  /** Null: nobody is asked, everybody comes in as nobody. */
  readonly chain: {
    authenticate(credentials: Credentials): ChainAnswer | Promise<ChainAnswer>;
  } | null;
  /** Null: no enhanced authentication. */
  readonly scram: ScramOffer | null;
  readonly bans: Bans;
  readonly guard: LoginGuard;
  readonly flapping: Flapping;
  readonly tenant: TenantOptions;
  /** A client of this very process, by a secret of it: the health probe. */
  readonly isOwn?: ((request: ConnectRequest) => boolean) | undefined;
  readonly rules: RuleSet;
  /** Of a user who is away. */
  readonly isSuperuser: (user: string) => boolean;
  /** In the order they are asked. */
  readonly sources: readonly AnyRuleSource[];
  /** Credentials may bring rules (a token's claim): the rules alone do not say all of who is away. */
  readonly credentialsGrant: boolean;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly log: Log;
  /** Somebody's rights changed: the core should look at what they have. */
  readonly onRightsChanged: () => void;
}

/** Refused logins that count towards a block: guesses. What failed on our side does not. */
const GUESSES: ReadonlySet<RefuseReason> = new Set<RefuseReason>([
  'bad_credentials',
  'authentication_failed',
]);

/** Who shows a token or a certificate does not guess at the password of the name it gives. */
const WITHOUT_PASSWORD: ReadonlySet<string> = new Set(['jwt', 'certificate', 'psk']);

/** No longer than names are: what is longer may be a token in the wrong field. */
const NAME_CHARACTERS_MAX = 64;
/** What every token begins with: `{"` as base64. */
const TOKEN_START = 'eyJ';

/** Not a user of anybody: its rules come with its login, and no source is told its name. */
const OWN_PROBE = 'probe';

const NOBODY: ChainAnswer = {
  kind: 'accepted',
  who: identified(null),
  by: 'none',
};

/** A blocked address is told why so often; then its sockets are closed at once, before TLS. */
const TOLD_MAX = 50;

export class AccessGate implements Gate {
  readonly quotas: Quotas | null = null;
  readonly enhanced: EnhancedAuth | null;
  /** Those that were let in. */
  readonly live: LiveClients;
  readonly failures: Failures;
  /** Refused before anybody was asked, for failed logins. Rises only. */
  loginsBlocked = 0;
  readonly #options: AccessGateOptions;
  readonly #away: AwayRights;

  constructor(options: AccessGateOptions) {
    const { bans, clock, log, rules, scheduler, scram, onRightsChanged } = options;
    this.#options = options;
    this.failures = new Failures(clock, log);
    const { failures } = this;
    this.live = new LiveClients({ rules, clock, scheduler, failures, onRightsChanged });
    const { credentialsGrant, isSuperuser, sources } = options;
    const { inForce } = this.live;
    this.#away = new AwayRights({ inForce, credentialsGrant, sources, isSuperuser });
    this.enhanced = scram === null ? null : new AccessEnhancedAuth(this, scram);
    bans.onBanned = (ban) => this.live.endBanned(ban);
  }

  // ------------------------------------------------------------------ the core asks

  socket(remoteAddress: string, _listener: ListenerInfo): boolean {
    const { bans } = this.#options;
    try {
      const ban = bans.ofAddress(remoteAddress);
      if (ban === null || !this.#holds(ban, remoteAddress)) return true;
      if (ban.origin !== 'operator' && ban.hits < TOLD_MAX) return true;
      // The node's own probe comes from there too; it is known by its CONNECT.
      if (ban.origin === 'login' && isLoopback(remoteAddress)) return true;
      bans.hit(ban);
      return false;
    } catch (error) {
      this.#failed(error);
      return false;
    }
  }

  connect(
    request: ConnectRequest,
    decide: (decision: ConnectDecision) => void,
  ): ConnectDecision | typeof WAIT {
    try {
      const username = request.packet?.username ?? null;
      const refusal = this.keptOut(request, username);
      if (refusal !== null) return refusal;
      const { chain } = this.#options;
      const isKeptOut = (): boolean => this.#banOf(request, username) !== null;
      const answer =
        chain === null ? NOBODY : chain.authenticate({ ...credentialsOf(request), isKeptOut });
      const decision =
        answer instanceof Promise
          ? answer.then((late) => this.#judge(request, username, late))
          : this.#judge(request, username, answer);
      if (!(decision instanceof Promise)) return decision;
      this.#later(request, decision, decide);
      return WAIT;
    } catch (error) {
      return this.broken(error);
    }
  }

  will(
    principal: Principal,
    client: ClientGate | null,
    will: { readonly topic: string; readonly qos: 0 | 1 | 2; readonly retain: boolean },
    decide: (allowed: boolean) => void,
  ): boolean | typeof WAIT {
    const { topic, qos, retain } = will;
    try {
      const answer =
        client instanceof AccessClientGate
          ? client.mayPublish(topic, qos, retain)
          : this.#away.mayPublish(principal, topic, qos, retain);
      if (!(answer instanceof Promise)) return this.#countWill(answer);
      answer
        .catch((error: unknown) => {
          this.#failed(error);
          return false;
        })
        .then((allowed) => decide(this.#countWill(allowed)))
        .catch((error: unknown) => this.#failed(error));
      return WAIT;
    } catch (error) {
      this.#failed(error);
      return this.#countWill(false);
    }
  }

  retainedSource(principal: Principal, topic: string): boolean {
    try {
      if (this.#away.mayHavePublished(principal, topic)) return true;
    } catch (error) {
      this.#failed(error);
    }
    this.live.decisions.retainedDenied++;
    return false;
  }

  keeps(principal: Principal, filter: string, qos: 0 | 1 | 2): boolean {
    try {
      return this.#away.mayKeep(principal, filter, qos);
    } catch (error) {
      this.#failed(error);
      return false;
    }
  }

  // ------------------------------------------------------------------ a login, step by step

  /** Banned or blocked, whoever it says it is: the refusal; null: it may try. */
  keptOut(request: ConnectRequest, user: string | null): ConnectDecision | null {
    const ban = this.#banOf(request, user);
    if (ban === null) return null;
    this.#options.bans.hit(ban);
    const reason = this.#reasonOf(ban);
    this.#logRefused(request, user, { reason, detail: `a ban by ${ban.origin}`, by: 'ban' });
    return refused(reason);
  }

  #banOf(request: ConnectRequest, user: string | null): Ban | null {
    const { bans, guard } = this.#options;
    if (bans.size === 0) return null;
    const { clientId, remoteAddress } = request;
    const ban = bans.of(
      { clientId, user, remoteAddress, fingerprint: fingerprintOf(request) },
      guard.addressOf(remoteAddress),
    );
    if (ban === null || !this.#holds(ban, remoteAddress)) return null;
    // What others guess from the same address must not turn the node's health red.
    return ban.origin === 'login' && this.#options.isOwn?.(request) === true ? null : ban;
  }

  /** A login failed: who guesses is counted. `user`: claimed. */
  refuse(request: ConnectRequest, user: string | null, answer: Refusal): ConnectDecision {
    const { reason, by } = answer;
    // By the ban itself, while it waited: refused as if it came now.
    if (reason === 'login_blocked') return this.keptOut(request, user) ?? refused(reason);
    if (GUESSES.has(reason)) {
      const { guard } = this.#options;
      guard.failed(request.remoteAddress, WITHOUT_PASSWORD.has(by) ? null : user);
    }
    this.#logRefused(request, user, answer);
    return refused(reason);
  }

  /** The core's own line does not know the name, nor who refused. */
  #logRefused(
    { clientId, remoteAddress }: ConnectRequest,
    user: string | null,
    { reason, detail, by }: Refusal,
  ): void {
    const claimedUser = by === 'jwt' ? undefined : shownName(user);
    const fields = { clientId, remoteAddress, claimedUser, reason, detail, by };
    this.#options.log.debug(fields, 'login refused');
  }

  /** A client is proven: the rest of the way in. */
  admit(
    request: ConnectRequest,
    who: Identified,
    by: string,
  ): ConnectDecision | Promise<ConnectDecision> {
    const { clock, guard, flapping } = this.#options;
    const { clientId, packet, remoteAddress } = request;
    const { user } = who;
    if (who.expiresAtMs !== 0 && who.expiresAtMs <= clock.wallMs()) {
      return refused('bad_credentials');
    }
    const banned = this.keptOut(request, user);
    if (banned !== null) return banned;
    // Failures are counted by the name that is claimed, which need not be the one that is proven.
    guard.succeeded(remoteAddress, packet?.username ?? user);
    // An identifier we gave out is new each time and tells nothing; a re-authentication is no connect
    // (the core sees to it that it ends as the same user).
    const isCounted = packet !== null && packet.clientId !== '';
    if (isCounted && flapping.connected(clientId, user) !== null) return refused('flapping');
    const tenant = tenantOf(this.#options.tenant, who, request);
    if (tenant === null) return refused('not_authorized');
    const subject: AclSubject = {
      clientId,
      user,
      tenant,
      remoteAddress,
      listenerName: request.listener.name,
      certificate: request.certificate,
      claims: who.claims,
      isSuperuser: who.superuser,
      grants: who.rules,
    };
    const decision = this.#withRules(request, who, by, subject, 0, []);
    if (!(decision instanceof Promise)) return decision;
    return this.#unlessGone({ by, user, keyPrint: who.keyPrint }, decision);
  }

  /** The user may be removed, or get another password, while the rules are fetched. */
  async #unlessGone(of: Login, pending: Promise<ConnectDecision>): Promise<ConnectDecision> {
    const decision = await this.live.whileItCounts(of, pending);
    if (decision !== null) return decision;
    (await pending).client?.closed();
    return refused('bad_credentials');
  }

  /** Asks the sources that give rules, from `index` on; waits only when one of them does. */
  #withRules(
    request: ConnectRequest,
    who: Identified,
    by: string,
    subject: AclSubject,
    index: number,
    granted: { readonly source: GrantSource; readonly rules: readonly GrantedRule[] }[],
  ): ConnectDecision | Promise<ConnectDecision> {
    const sources = by === OWN_PROBE ? [] : this.#options.sources;
    const take = (source: GrantSource, answer: GrantAnswer): boolean => {
      if (answer.kind === 'granted') granted.push({ source, rules: answer.rules });
      return answer.kind === 'granted';
    };
    for (let i = index; i < sources.length && !subject.isSuperuser; i++) {
      const source = sources[i]!;
      if (source.gives !== 'grants') continue;
      const answer = source.rulesFor(ruleSubjectOf(subject));
      if (answer instanceof Promise) {
        return answer.then((late) => {
          if (!take(source, late)) return refused('authentication_unavailable');
          return this.#withRules(request, who, by, subject, i + 1, granted);
        });
      }
      if (!take(source, answer)) return refused('authentication_unavailable');
    }
    // What was waited for may have taken long enough to be banned meanwhile.
    const banned = this.keptOut(request, subject.user);
    if (banned !== null) return banned;
    const deciders: Decider[] = [];
    for (const source of sources) {
      if (source.gives === 'decisions') deciders.push(source.open(ruleSubjectOf(subject)));
    }
    const fingerprint = fingerprintOf(request);
    const { expiresAtMs, keyPrint } = who;
    const facts = { subject, by, keyPrint, fingerprint, expiresAtMs, granted, deciders };
    const client = this.live.register(facts, request.end);
    // Devices roam between listeners; what names the tenant otherwise is part of the credentials.
    const isTenantProven = this.#options.tenant.from !== 'listener';
    const { user: identity, tenant } = subject;
    return { refusal: null, identity, tenant, isTenantProven, client };
  }

  #judge(
    request: ConnectRequest,
    username: string | null,
    answer: ChainAnswer,
  ): ConnectDecision | Promise<ConnectDecision> {
    return answer.kind === 'accepted'
      ? this.admit(request, answer.who, answer.by)
      : this.refuse(request, username, answer);
  }

  #later(
    request: ConnectRequest,
    pending: Promise<ConnectDecision>,
    decide: (decision: ConnectDecision) => void,
  ): void {
    pending
      .catch((error: unknown) => this.broken(error))
      .then(decide)
      .catch((error: unknown) => {
        // The core failed while it went on: that connection is lost, and only that.
        this.#failed(error);
        request.end('internal_error');
      })
      .catch((error: unknown) => this.#failed(error));
  }

  #reasonOf(ban: Ban): RefuseReason {
    if (ban.origin === 'operator') return 'banned';
    if (ban.origin === 'flapping') return 'flapping';
    this.loginsBlocked++;
    return 'login_blocked';
  }

  /** A block for failed logins does not hold where the guard is off or trusts the address. */
  #holds(ban: Ban, remoteAddress: string): boolean {
    return ban.origin !== 'login' || this.#options.guard.addressOf(remoteAddress) !== null;
  }

  #countWill(allowed: boolean): boolean {
    if (allowed) this.live.decisions.willAllowed++;
    else this.live.decisions.willDenied++;
    return allowed;
  }

  broken(error: unknown): ConnectDecision {
    this.#failed(error);
    return refused('authentication_unavailable');
  }

  #failed(error: unknown): void {
    this.failures.add(error);
  }
}

export function refused(refusal: RefuseReason): ConnectDecision {
  return { refusal, identity: null, client: null };
}

/** A claimed name as far as it may be logged: devices put tokens into that field, whole and cut off. */
function shownName(user: string | null): string | undefined {
  if (user === null || user.length > NAME_CHARACTERS_MAX) return undefined;
  return user.startsWith(TOKEN_START) ? undefined : user;
}

function fingerprintOf({ certificate }: ConnectRequest): string | null {
  return certificate === null ? null : canonicalFingerprint(certificate.fingerprint256);
}

function credentialsOf(request: ConnectRequest): Credentials {
  const { packet } = request;
  return {
    clientId: request.clientId,
    username: packet?.username ?? null,
    password: packet?.password ?? null,
    protocolVersion: request.protocolVersion,
    listener: request.listener,
    remoteAddress: request.remoteAddress,
    remotePort: request.remotePort,
    certificate: request.certificate,
    pskIdentity: request.pskIdentity,
  };
}

function isLoopback(remoteAddress: string): boolean {
  const bytes = parseIpAddress(remoteAddress);
  return bytes !== null && isLoopbackAddress(bytes);
}
