/**
 * Who may do what and how much, made from a configuration: access inside, quotas around it. The core
 * gets `gate`; the operator's door gets bans, explanations and use. Used by `node.ts`.
 */
import { join } from 'node:path';
import { Access } from '../access/access.ts';
import { AccessError } from '../access/access-error.ts';
import type { AnyRuleSource } from '../access/acl/source.ts';
import { AuthenticationChain } from '../access/authn/chain.ts';
import type { HashQueue } from '../access/authn/hash-queue.ts';
import type { JwtAuthenticator } from '../access/authn/jwt-authenticator.ts';
import type { PskAuthenticator } from '../access/authn/psk-authenticator.ts';
import { ScramUsers } from '../access/authn/scram-users.ts';
import type { LoadedCounts } from '../admin/api/ports.ts';
import type { ExtraMetric } from '../admin/metric-sources.ts';
import type { Config } from '../config/config.ts';
import { asksWho } from '../config/cross-check.ts';
import type { Message } from '../core/message.ts';
import type { Gate, Log } from '../core/ports.ts';
import { systemClock, systemRandom, systemScheduler } from '../listeners/scheduler.ts';
import { memoryLimits } from '../quota/flexible-limits.ts';
import { QuotaGate } from '../quota/quota-gate.ts';
import { quotaMetricTable } from '../quota/quota-report.ts';
import { type Authenticators, makeAuthenticators } from './authenticators.ts';
import type { ProbeLogin } from './own-logins.ts';
import type { SharedControl } from './shared-control.ts';

export interface RightsParts {
  readonly log: Log;
  /** Has the core look again at what sessions and connections have. */
  readonly recheck: () => void;
  /** All retained messages that are kept, expired ones too. */
  readonly retained: () => Iterable<Message>;
  /** Absent: this node is alone. */
  readonly control?: SharedControl | null;
}

const BANS_FILE = 'bans.json';
const SCRAM_SECRET_FILE = 'scram-secret';

export class Rights {
  readonly access: Access;
  readonly quotas: QuotaGate;
  /** Null: no pre-shared keys. */
  readonly psk: PskAuthenticator | null;
  /** What the health probe logs in with; null: it needs nothing. */
  readonly probe: ProbeLogin | null;
  readonly #hashes: HashQueue;
  readonly #jwt: JwtAuthenticator | null;
  readonly #isScramUnused: boolean;
  readonly #control: SharedControl | null;
  #quotaCount: number;

  static async make(config: Config, parts: RightsParts): Promise<Rights> {
    const [clock, random] = [systemClock, systemRandom];
    let rights: Rights | null = null;
    const { log } = parts;
    const links = await makeAuthenticators(config, {
      ...{ clock, random, log },
      onUsersChanged: (by, users) => rights?.access.usersChanged(by, users),
      onKeysRead: (by, isInForce) => rights?.access.keysChanged(by, isInForce),
    });
    rights = new Rights(config, parts, links, await ruleSources(config, log));
    return rights;
  }

  private constructor(
    config: Config,
    { log, recheck, retained, control = null }: RightsParts,
    made: Authenticators,
    sources: readonly AnyRuleSource[],
  ) {
    const { authentication, authorization } = config;
    const [clock, random, scheduler] = [systemClock, systemRandom, systemScheduler];
    this.psk = made.psk;
    this.#hashes = made.hashes;
    this.#jwt = made.jwt;
    this.#quotaCount = config.quotas.length;
    this.#isScramUnused = authentication.scram !== undefined && !made.offersScramAtAll;
    const { rulesFile, http, redis } = authorization;
    const restricts = rulesFile !== undefined || http !== undefined || redis !== undefined;
    const isAsked = asksWho(config) || restricts;
    this.probe = isAsked ? made.probe : null;
    // Without a data folder nothing is kept.
    const inData = (name: string): string | undefined =>
      config.store === 'memory' ? undefined : join(config.data, name);
    const { timeoutMs: deadlineMs, scram, tenant } = authentication;
    this.access = new Access({
      chain: isAsked
        ? new AuthenticationChain({
            ...made.common,
            listeners: made.listeners,
            deadlineMs,
            clock,
            log,
          })
        : null,
      scram:
        scram === undefined
          ? null
          : new ScramUsers({
              file: scram.file,
              log,
              isOfferedAt: made.offersScram,
              secretFile: inData(SCRAM_SECRET_FILE),
              onUsersChanged: (users) => this.access.usersChanged('scram', users),
            }),
      rulesFile: rulesFile ?? null,
      sources,
      credentialsGrant: [authentication.jwt, authentication.http, authentication.redis].some(
        Boolean,
      ),
      tenant,
      isOwn: ({ packet }) => packet !== null && made.probe.isOwn(packet.username, packet.password),
      bans: config.bans,
      bansFile: inData(BANS_FILE) ?? null,
      datacenter: control?.access,
      clock,
      random,
      scheduler,
      log,
      onRightsChanged: recheck,
    });
    const own = memoryLimits({ clock, random });
    this.#control = control;
    this.quotas = new QuotaGate({
      quotas: config.quotas,
      inner: this.access.gate,
      clock,
      scheduler,
      log,
      shared: control?.limits ?? own,
      own,
      sharedUse: control?.use,
      retained,
      // A reload reaches those connected before it, unless there was nothing to pay for at start.
      wrapsEveryone: config.quotas.length > 0,
    });
  }

  get gate(): Gate {
    return this.quotas;
  }

  /** Throws an AccessError with everything that is wrong. */
  async start(): Promise<void> {
    if (this.#isScramUnused) {
      const message = 'no authentication.chain names scram, so nobody could use it; add it to one';
      throw new AccessError([{ where: 'authentication.scram', message }]);
    }
    await this.access.start();
    this.#control?.use.start(
      () => this.quotas.useToShare(),
      () => this.quotas.sharesUse,
    );
  }

  /** Reads users, keys and rules again; throws an AccessError and keeps what it had. */
  reload(): Promise<void> {
    return this.access.reload();
  }

  /** Options that a running node takes over; they were checked. */
  revise(config: Config): void {
    this.access.revise(config.bans);
    this.quotas.reload(config.quotas);
    this.#quotaCount = config.quotas.length;
  }

  /** How much is in force: for who has asked for a reload. */
  loaded(): LoadedCounts {
    return { ...this.access.loaded(), quotas: this.#quotaCount };
  }

  async stop(): Promise<void> {
    this.quotas.stop();
    try {
      await this.access.stop();
    } finally {
      this.#control?.close();
    }
  }

  *metrics(): Iterable<ExtraMetric> {
    yield* this.access.metrics();
    yield* hashMetrics(this.#hashes);
    if (this.#control !== null) yield* this.#control.metrics();
    if (this.#jwt?.jwks) yield* jwksMetrics(this.#jwt.jwks);
    for (const metric of quotaMetricTable) {
      const { name, type, help, labels: names } = metric;
      for (const [values, value] of this.quotas.samples(metric)) {
        const labels = Object.fromEntries(
          names.map((label, index) => [label, values[index] ?? '']),
        );
        yield { name, type, help, labels, value };
      }
    }
  }
}

function* hashMetrics(hashes: HashQueue): Iterable<ExtraMetric> {
  const gauges = [
    ['waiting', 'Passwords that wait to be hashed.', hashes.waiting],
    ['running', 'Passwords being hashed.', hashes.running],
  ] as const;
  for (const [name, help, value] of gauges) {
    yield { name: `causeway_login_hashes_${name}`, type: 'gauge', help, labels: {}, value };
  }
  for (const [outcome, value] of Object.entries(hashes.counters)) {
    const help = 'Passwords to hash, by what became of them.';
    const labels = { outcome };
    yield { name: 'causeway_login_hashes_total', type: 'counter', help, labels, value };
  }
}

function* jwksMetrics(jwks: {
  readonly fetches: number;
  readonly failures: number;
}): Iterable<ExtraMetric> {
  const help = 'Times the keys of tokens were fetched, by what came of it.';
  const name = 'causeway_jwks_fetches_total';
  const ok = jwks.fetches - jwks.failures;
  yield { name, type: 'counter', help, labels: { outcome: 'ok' }, value: ok };
  yield { name, type: 'counter', help, labels: { outcome: 'failed' }, value: jwks.failures };
}

async function ruleSources({ authorization }: Config, log: Log): Promise<AnyRuleSource[]> {
  const { http, redis } = authorization;
  const sources: AnyRuleSource[] = [];
  if (redis !== undefined) {
    const service = { ...redis, keyPrefix: redis.keyPrefix ?? '' };
    const { RedisRuleSource } = await import('../access/acl/redis-source.ts');
    sources.push(new RedisRuleSource({ service, clock: systemClock, random: systemRandom, log }));
  }
  if (http !== undefined) {
    const { HttpRuleSource } = await import('../access/acl/http-source.ts');
    const { staleS, ...service } = http;
    sources.push(new HttpRuleSource({ service, staleS, clock: systemClock, log }));
  }
  return sources;
}
