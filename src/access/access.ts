/**
 * Everything that decides who may do what, as one thing for the composition root: it starts, reloads
 * and stops its parts in the right order, and shows what they count. The core sees its `gate` alone,
 * the operator's door its `bans` and `explain`.
 */
import type { Clock, Log, Random, Scheduler } from '../core/ports.ts';
import { joined } from './access-error.ts';
import type { AccessMetric } from './access-metrics.ts';
import { accessMetrics } from './access-metrics.ts';
import { type AclQuestion, type Explanation, explain } from './acl/explain.ts';
import type { GrantedRule } from './acl/granted-rule.ts';
import { loadRules } from './acl/load-rules.ts';
import { SlotTable } from './acl/placeholder.ts';
import { openRules, RuleSet } from './acl/rule-set.ts';
import type { AnyRuleSource } from './acl/source.ts';
import type { AuthenticationChain } from './authn/chain.ts';
import type { ScramUsers } from './authn/scram-users.ts';
import type { BanExchange } from './ban-exchange.ts';
import { Bans } from './bans.ts';
import { ruleSubjectOf } from './client-gate.ts';
import { Flapping, type FlappingOptions } from './flapping.ts';
import { AccessGate, type AccessGateOptions } from './gate.ts';
import { LoginGuard, type LoginGuardOptions } from './login-guard.ts';
import { prepareAll, prepared } from './prepared.ts';
import { inSlices } from './slices.ts';
import type { OpenTally } from './tally.ts';
import type { TenantOptions } from './tenant.ts';

/** What a reload of the configuration may change. */
export interface BansTerms {
  readonly flapping: FlappingOptions;
  readonly login: LoginGuardOptions;
}

/** Numbers of what is in force; 0 also of what is not configured. */
export interface LoadedAccess {
  readonly passwordUsers: number;
  readonly scramUsers: number;
  readonly pskIdentities: number;
  readonly tokenKeys: number;
  /** Of the rule file. */
  readonly rules: number;
}

/** What bans and blocked logins are shared over. */
export interface AccessDatacenter {
  readonly openTally: OpenTally;
  readonly openExchange: (bans: Bans) => BanExchange;
}

export interface AccessOptions {
  /** Null: nobody is asked who they are. Started, reloaded and stopped here. */
  readonly chain: AuthenticationChain | null;
  /** Null: no enhanced authentication. */
  readonly scram: ScramUsers | null;
  /** Null: no rule file. */
  readonly rulesFile: string | null;
  /** Sources of rights beside the file, in the order they are asked. */
  readonly sources: readonly AnyRuleSource[];
  /** The chain has authenticators that bring rules with the credentials: `jwt`, `http`. */
  readonly credentialsGrant: boolean;
  readonly tenant: TenantOptions;
  /** As the gate has it. */
  readonly isOwn?: AccessGateOptions['isOwn'];
  readonly bans: BansTerms;
  /** `bans.json` in the data folder; null: memory only. */
  readonly bansFile: string | null;
  /** Absent: this node is alone. */
  readonly datacenter?: AccessDatacenter | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly scheduler: Scheduler;
  readonly log: Log;
  /** Rights changed: have the core look at sessions and connections again (`Admin.recheck`). */
  readonly onRightsChanged: () => void;
}

const TICK_MS = 1000;

export class Access {
  readonly gate: AccessGate;
  readonly bans: Bans;
  readonly guard: LoginGuard;
  readonly flapping: Flapping;
  /** Null: this node is alone. */
  readonly exchange: BanExchange | null;
  readonly #options: AccessOptions;
  #stopTicks: (() => void) | null = null;
  /** Told at the next tick, however many there are until then. */
  #isRecheckDue = false;

  constructor(options: AccessOptions) {
    const { clock, random, log, scheduler, tenant, chain, scram, sources } = options;
    this.#options = options;
    const { datacenter } = options;
    const isShared = datacenter !== undefined;
    this.bans = new Bans({ file: options.bansFile, clock, random, log, isShared });
    const { bans } = this;
    this.exchange = datacenter?.openExchange(bans) ?? null;
    const sharing =
      datacenter === undefined
        ? null
        : { open: datacenter.openTally, blockedElsewhere: () => this.exchange?.hurry() };
    this.guard = new LoginGuard(options.bans.login, bans, clock, undefined, sharing);
    this.flapping = new Flapping(options.bans.flapping, bans, clock, undefined, sharing);
    this.bans.onLearned = (ban) => {
      this.guard.learned(ban);
      this.flapping.learned(ban);
    };
    this.bans.onLifted = (ban) => {
      this.guard.lifted(ban);
      this.flapping.lifted(ban);
    };
    this.gate = new AccessGate({
      chain,
      scram,
      bans: this.bans,
      guard: this.guard,
      flapping: this.flapping,
      tenant,
      isOwn: options.isOwn,
      // Until it is started nothing is allowed.
      rules: new RuleSet('', [], new SlotTable()),
      isSuperuser: (user) => this.#isSuperuser(user),
      sources,
      credentialsGrant: options.credentialsGrant,
      clock,
      scheduler,
      log,
      onRightsChanged: () => {
        this.#isRecheckDue = true;
      },
    });
  }

  /** Throws one AccessError with everything that is wrong; then nothing is left running. */
  async start(): Promise<void> {
    const { chain, scram, sources } = this.#options;
    let rules: RuleSet | null = null;
    const failures = await settled([
      async () => {
        rules = await this.#loadRules();
      },
      () => this.bans.start(),
      ...sources.map((source) => () => source.start()),
      ...(chain === null ? [] : [() => chain.start()]),
      ...(scram === null ? [] : [() => scram.start()]),
    ]);
    if (failures.length > 0) {
      await settled([...sources.map((source) => () => source.stop()), () => chain?.stop()]);
      throw joined(failures);
    }
    this.guard.restore();
    this.flapping.restore();
    this.exchange?.start();
    this.gate.live.setRules(rules!);
    this.#stopTicks = this.#options.scheduler.every(TICK_MS, () => this.#tick());
  }

  /**
   * Reads every file again; then all of it is in force, in one turn. When something is wrong nothing
   * changes, and one AccessError with all problems is thrown. Connections that lost rights or users
   * are ended.
   */
  async reload(): Promise<void> {
    const { chain, scram, sources } = this.#options;
    const changes = await prepareAll([
      ...(chain === null ? [] : [() => chain.prepare()]),
      ...(scram === null ? [] : [() => scram.prepare()]),
      ...sources.map((source) => () => source.prepare()),
      async () => {
        const rules = await this.#loadRules();
        await inSlices(this.gate.live.prepareRules(rules), this.#options.scheduler);
        return prepared(() => this.gate.live.setRules(rules));
      },
    ]);
    if (this.#stopTicks === null) return changes.discard();
    changes.commit();
    this.#isRecheckDue = false;
    this.#options.onRightsChanged();
  }

  /** Reloadable options. Throws an AccessError and changes nothing when an address is none. */
  revise(terms: BansTerms): void {
    this.guard.revise(terms.login);
    this.flapping.revise(terms.flapping);
  }

  /** After the listeners are closed. */
  async stop(): Promise<void> {
    const { chain, sources } = this.#options;
    this.#stopTicks?.();
    this.#stopTicks = null;
    await this.exchange?.stop();
    const failures = await settled([
      () => this.bans.stop(),
      () => chain?.stop(),
      ...sources.map((source) => () => source.stop()),
    ]);
    if (failures.length > 0) throw joined(failures);
  }

  /**
   * An authenticator (by its kind; `scram` too) no longer has these users, or has other passwords for
   * them: those who came in by it are ended.
   */
  usersChanged(by: string, users: ReadonlySet<string>): void {
    this.gate.live.endUsers(by, users);
  }

  /** An authenticator has read its keys again: who came in by one that is gone is ended. */
  keysChanged(by: string, isInForce: (keyPrint: string) => boolean): void {
    this.gate.live.endKeys(by, isInForce);
  }

  /** How much was read, at start or by the last reload. */
  loaded(): LoadedAccess {
    const { chain, scram } = this.#options;
    return {
      passwordUsers: chain?.entriesOf('password') ?? 0,
      scramUsers: scram?.entries ?? 0,
      pskIdentities: chain?.entriesOf('psk') ?? 0,
      tokenKeys: chain?.entriesOf('jwt') ?? 0,
      rules: this.gate.live.inForce.rules.rules.length,
    };
  }

  /** Another number for each rule set that was in force. */
  get rulesVersion(): number {
    return this.gate.live.inForce.version;
  }

  /** As the gate would decide now, sources asked too; of a client that may not exist. */
  async explain(asked: AclQuestion): Promise<Explanation> {
    const { sources } = this.#options;
    const { rules } = this.gate.live.inForce;
    const { user } = asked.subject;
    const isSuperuser = asked.subject.isSuperuser || (user !== null && this.#isSuperuser(user));
    const question = { ...asked, subject: { ...asked.subject, isSuperuser } };
    const { subject, action, topic } = question;
    if (sources.length === 0 || isSuperuser) return explain(rules, question);
    const asRule = ruleSubjectOf(subject);
    const grants: GrantedRule[] = [...(subject.grants ?? [])];
    for (const source of sources) {
      if (source.gives === 'grants') {
        const answer = await source.rulesFor(asRule);
        if (answer.kind === 'unavailable') return said(false, source, 'does not answer');
        grants.push(...answer.rules);
      } else if (action !== 'receive') {
        const verdict = await source
          .open(asRule)
          .ask(action, topic, question.qos ?? 0, question.retain ?? false);
        if (verdict === 'allow') return said(true, source, 'allows it');
        if (verdict === 'deny') return said(false, source, 'denies it');
        if (verdict === 'unavailable') return said(false, source, 'does not answer');
      }
    }
    // With sources, silence is no permission: an empty list denies where there is no rule.
    return explain(rules, { ...question, subject: { ...subject, grants } });
  }

  /** As far as it can be told without asking anybody. */
  #isSuperuser(user: string): boolean {
    const { chain, scram } = this.#options;
    return chain?.isSuperuser(user) === true || scram?.isSuperuser(user) === true;
  }

  /** For the metrics page. */
  metrics(): Iterable<AccessMetric> {
    const { chain, scram, sources } = this.#options;
    const { gate, bans, exchange } = this;
    return accessMetrics({ gate, bans, exchange, chain, scram, sources });
  }

  async #loadRules(): Promise<RuleSet> {
    const { rulesFile, scheduler } = this.#options;
    return rulesFile === null ? openRules() : loadRules(rulesFile, scheduler);
  }

  #tick(): void {
    const nowMs = this.#options.clock.monotonicMs();
    this.gate.live.tick(nowMs);
    this.bans.tick(nowMs);
    if (!this.#isRecheckDue) return;
    this.#isRecheckDue = false;
    this.#options.onRightsChanged();
  }
}

function said(allowed: boolean, source: AnyRuleSource, what: string): Explanation {
  return { allowed, rule: null, reason: `${source.description} ${what}`, notes: [] };
}

/** Does all, whichever fails; `async`, so that one that throws at once counts as one that rejects. */
async function settled(acts: readonly (() => Promise<void> | undefined)[]): Promise<unknown[]> {
  const outcomes = await Promise.allSettled(acts.map(async (act) => act()));
  return outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
}
