/**
 * Rights of those who are away, by what is stored of them: client identifier, user, tenant. Asked per
 * retained message that is handed out and per subscription of a sleeping session, so compiled rules are
 * kept for the principals asked about last. What is not known counts for them here: such a subscription
 * is looked at again when its client comes, such a message was allowed when it was published.
 */
import type { Principal } from '../core/principal.ts';
import type { ClientRules } from './acl/client-rules.ts';
import { type Decision, isAllowed, NO_MATCH } from './acl/decision.ts';
import type { GrantedRule } from './acl/granted-rule.ts';
import type { AnyRuleSource } from './acl/source.ts';
import { type AclSubject, awaySubject } from './acl/subject.ts';
import { type RulesInForce, ruleSubjectOf } from './client-gate.ts';

const PRINCIPALS_MAX = 4096;

export interface AwayRightsOptions {
  readonly inForce: RulesInForce;
  /** Credentials may bring rules, which are not stored. */
  readonly credentialsGrant: boolean;
  /** In the order they are asked. */
  readonly sources: readonly AnyRuleSource[];
  readonly isSuperuser: (user: string) => boolean;
}

export class AwayRights {
  readonly #inForce: RulesInForce;
  readonly #sources: readonly AnyRuleSource[];
  /** Rules may have been granted that are not stored: only a rule that denies speaks against it. */
  readonly #mayBeGranted: boolean;
  readonly #isSuperuser: (user: string) => boolean;
  /**
   * Those asked about lately, and those of before: when the first are half of what is kept, the others
   * go. A map that loses its oldest entry with each new one is searched for it over and over.
   */
  #compiled = new Map<string, ClientRules>();
  #compiledBefore = new Map<string, ClientRules>();
  #version = -1;
  #lastPrincipal: Principal | null = null;
  #lastRules: ClientRules | null = null;

  constructor({ inForce, credentialsGrant, sources, isSuperuser }: AwayRightsOptions) {
    this.#inForce = inForce;
    this.#sources = sources;
    this.#mayBeGranted = credentialsGrant || sources.length > 0;
    this.#isSuperuser = isSuperuser;
  }

  mayHavePublished(principal: Principal, topic: string): boolean {
    if (this.#isAboveRules(principal)) return true;
    const rules = this.#rulesOf(principal);
    // At which QoS it was published is not stored.
    return (
      this.#allows(rules.publish(topic, 0, true)) ||
      this.#allows(rules.publish(topic, 1, true)) ||
      this.#allows(rules.publish(topic, 2, true))
    );
  }

  mayKeep(principal: Principal, filter: string, qos: 0 | 1 | 2): boolean {
    if (this.#isAboveRules(principal)) return true;
    return this.#allows(this.#rulesOf(principal).subscribe(filter, qos));
  }

  /** Of a will that fires: waits when a source has to be asked. */
  mayPublish(
    principal: Principal,
    topic: string,
    qos: 0 | 1 | 2,
    retain: boolean,
  ): boolean | Promise<boolean> {
    const isSuperuser = this.#isAboveRules(principal);
    const subject = { ...awaySubject(principal), isSuperuser };
    if (this.#sources.length === 0 || isSuperuser) {
      return isAllowed(this.#inForce.rules.compile(subject).publish(topic, qos, retain));
    }
    return this.#ask(subject, topic, qos, retain);
  }

  /** The sources are asked as for a client whose address and certificate nobody knows. */
  async #ask(
    subject: AclSubject,
    topic: string,
    qos: 0 | 1 | 2,
    retain: boolean,
  ): Promise<boolean> {
    const asRule = ruleSubjectOf(subject);
    const grants: GrantedRule[] = [];
    let isGranted = false;
    for (const source of this.#sources) {
      if (source.gives === 'decisions') {
        const verdict = await source.open(asRule).ask('publish', topic, qos, retain);
        if (verdict !== 'ignore') return verdict === 'allow';
        // Asked, and silent: the rules have to allow it.
        isGranted = true;
      } else {
        const answer = await source.rulesFor(asRule);
        if (answer.kind === 'unavailable') return false;
        grants.push(...answer.rules);
        isGranted = true;
      }
    }
    const rules = this.#inForce.rules.compile({ ...subject, grants: isGranted ? grants : null });
    return isAllowed(rules.publish(topic, qos, retain));
  }

  #isAboveRules({ identity }: Principal): boolean {
    return identity !== null && this.#isSuperuser(identity);
  }

  /** Principals remembered, for tests of the bound. */
  get size(): number {
    return this.#compiled.size + this.#compiledBefore.size;
  }

  #allows(decision: Decision): boolean {
    return isAllowed(decision) || (this.#mayBeGranted && decision === NO_MATCH);
  }

  #rulesOf(principal: Principal): ClientRules {
    if (this.#version !== this.#inForce.version) {
      this.#version = this.#inForce.version;
      this.#compiled.clear();
      this.#compiledBefore.clear();
      this.#lastRules = null;
    }
    if (this.#lastRules !== null && this.#lastPrincipal === principal) return this.#lastRules;
    const key = keyOf(principal);
    let rules = this.#compiled.get(key);
    if (rules === undefined) {
      rules =
        this.#compiledBefore.get(key) ?? this.#inForce.rules.compile(awaySubject(principal), 'for');
      if (this.#compiled.size >= PRINCIPALS_MAX / 2) {
        this.#compiledBefore = this.#compiled;
        this.#compiled = new Map();
      }
      this.#compiled.set(key, rules);
    }
    this.#lastPrincipal = principal;
    this.#lastRules = rules;
    return rules;
  }
}

function keyOf({ clientId, identity, tenant }: Principal): string {
  const who = identity === null ? '-' : `${identity.length}+${identity}`;
  return `${clientId.length}:${clientId}${who}${tenant}`;
}
