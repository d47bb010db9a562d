/**
 * Rights of one client as up to three layers of rules, asked in order: granted with its credentials,
 * with conditions that hold for it, for everyone (data plane). Holds next to nothing itself: layers
 * are shared, and what is the client's own are the texts of its placeholders and its cache.
 */
import type { ClientRules } from './client-rules.ts';
import { type Decision, NO_MATCH } from './decision.ts';
import { DecisionCache } from './decision-cache.ts';
import type { SlotValues } from './placeholder.ts';
import type { Rule } from './rule.ts';
import { messageBit, NONE, type RuleLayer } from './rule-layer.ts';

/** Rules of the file are numbered from here, so that those granted come before them. */
export const FILE_RULES: number = 1 << 20;

/** What is the same for all clients with the same layers. */
export interface SharedRights {
  readonly version: number;
  /** Every rule of the file by its number. */
  readonly rules: readonly Rule[];
  /** Rules for everyone. */
  readonly base: RuleLayer;
  /** Rules with conditions that hold for these clients; null: none. */
  readonly own: RuleLayer | null;
  readonly filtersReceive: boolean;
  readonly variesByMessage: boolean;
}

/** Rules that came with the credentials of one client. */
export interface GrantedRights {
  readonly layer: RuleLayer;
  readonly values: SlotValues;
  readonly filtersReceive: boolean;
}

export class CompiledRules implements ClientRules {
  readonly filtersReceive: boolean;
  readonly variesByMessage: boolean;
  readonly #shared: SharedRights;
  readonly #granted: GrantedRights | null;
  readonly #values: SlotValues;
  #published: DecisionCache | null = null;
  #received: DecisionCache | null = null;

  constructor(shared: SharedRights, granted: GrantedRights | null, values: SlotValues) {
    this.#shared = shared;
    this.#granted = granted;
    this.#values = values;
    this.filtersReceive = shared.filtersReceive || granted?.filtersReceive === true;
    this.variesByMessage = shared.variesByMessage || granted?.layer.variesByMessage === true;
  }

  get version(): number {
    return this.#shared.version;
  }

  publish(topic: string, qos: number, retain: boolean): Decision {
    const bit = this.variesByMessage ? messageBit(qos, retain) : 1;
    this.#published ??= new DecisionCache();
    const known = this.#published.get(topic, bit);
    if (known !== undefined) return known;
    const { base, own } = this.#shared;
    const granted = this.#granted;
    let number = NONE;
    if (granted !== null) number = granted.layer.publish(topic, bit, granted.values, number);
    if (number === NONE) {
      if (own !== null) number = own.publish(topic, bit, this.#values, number);
      number = base.publish(topic, bit, this.#values, number);
    }
    const decision = this.#decisionOf(number);
    this.#published.put(topic, bit, decision);
    return decision;
  }

  receive(topic: string): Decision {
    this.#received ??= new DecisionCache();
    const known = this.#received.get(topic, 1);
    if (known !== undefined) return known;
    const { base, own } = this.#shared;
    const granted = this.#granted;
    let number = NONE;
    if (granted !== null) number = granted.layer.receive(topic, granted.values, number);
    if (number === NONE) {
      if (own !== null) number = own.receive(topic, this.#values, number);
      number = base.receive(topic, this.#values, number);
    }
    const decision = this.#decisionOf(number);
    this.#received.put(topic, 1, decision);
    return decision;
  }

  subscribe(filter: string, qos: number): Decision {
    const { base, own } = this.#shared;
    const granted = this.#granted;
    let number = NONE;
    if (granted !== null) number = granted.layer.subscribe(filter, qos, granted.values, number);
    if (number === NONE) {
      if (own !== null) number = own.subscribe(filter, qos, this.#values, number);
      number = base.subscribe(filter, qos, this.#values, number);
    }
    return this.#decisionOf(number);
  }

  ruleOf(decision: Decision): Rule | null {
    if (decision < 0) return null;
    return this.#rule(decision >> 1);
  }

  #decisionOf(number: number): Decision {
    if (number === NONE) return NO_MATCH;
    return number * 2 + (this.#rule(number).allow ? 1 : 0);
  }

  #rule(number: number): Rule {
    return number < FILE_RULES
      ? this.#granted!.layer.rules[number]!
      : this.#shared.rules[number - FILE_RULES]!;
  }
}
