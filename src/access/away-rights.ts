/**
 * Rights of those who are away, by what is stored of them: client identifier, user, tenant. Asked per
 * retained message that is handed out and per subscription of a sleeping session, so compiled rules are
 * kept for the principals asked about last. What is not known counts for them here: such a subscription
 * is looked at again when its client comes, such a message was allowed when it was published.
 */
import type { Principal } from '../core/principal.ts';
import type { ClientRules } from './acl/client-rules.ts';
import { type Decision, isAllowed, NO_MATCH } from './acl/decision.ts';
import { awaySubject } from './acl/subject.ts';
import type { RulesInForce } from './client-gate.ts';

const PRINCIPALS_MAX = 4096;

export interface AwayRightsOptions {
  readonly inForce: RulesInForce;
  /** Rules may have been granted that are not stored: only a rule that denies speaks against it. */
  readonly mayBeGranted: boolean;
  readonly isSuperuser: (user: string) => boolean;
}

export class AwayRights {
  readonly #inForce: RulesInForce;
  readonly #mayBeGranted: boolean;
  readonly #isSuperuser: (user: string) => boolean;
  /** Used last comes last. */
  readonly #compiled = new Map<string, ClientRules>();
  #version = -1;
  #lastPrincipal: Principal | null = null;
  #lastRules: ClientRules | null = null;

  constructor({ inForce, mayBeGranted, isSuperuser }: AwayRightsOptions) {
    this.#inForce = inForce;
    this.#mayBeGranted = mayBeGranted;
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

  #isAboveRules({ identity }: Principal): boolean {
    return identity !== null && this.#isSuperuser(identity);
  }

  /** Principals remembered, for tests of the bound. */
  get size(): number {
    return this.#compiled.size;
  }

  #allows(decision: Decision): boolean {
    return isAllowed(decision) || (this.#mayBeGranted && decision === NO_MATCH);
  }

  #rulesOf(principal: Principal): ClientRules {
    if (this.#version !== this.#inForce.version) {
      this.#version = this.#inForce.version;
      this.#compiled.clear();
      this.#lastRules = null;
    }
    if (this.#lastRules !== null && this.#lastPrincipal === principal) return this.#lastRules;
    const key = keyOf(principal);
    let rules = this.#compiled.get(key);
    if (rules === undefined) {
      rules = this.#inForce.rules.compile(awaySubject(principal), 'for');
      if (this.#compiled.size >= PRINCIPALS_MAX) {
        for (const oldest of this.#compiled.keys()) {
          this.#compiled.delete(oldest);
          break;
        }
      }
    } else {
      this.#compiled.delete(key);
    }
    this.#compiled.set(key, rules);
    this.#lastPrincipal = principal;
    this.#lastRules = rules;
    return rules;
  }
}

function keyOf({ clientId, identity, tenant }: Principal): string {
  const who = identity === null ? '-' : `${identity.length}+${identity}`;
  return `${clientId.length}:${clientId}${who}${tenant}`;
}
