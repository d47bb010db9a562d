/**
 * All rules of a file under one version: immutable, shared by every connection, replaced as a whole
 * by a reload. `compile` gives the rights of one client and touches only rules that can concern it.
 * Made by `load-rules.ts`, held by the gate.
 */
import type { ClientRules } from './client-rules.ts';
import {
  CompiledRules,
  FILE_RULES,
  type GrantedRights,
  type SharedRights,
} from './compiled-rules.ts';
import { Candidate, evaluate } from './conditions.ts';
import { NO_RULES, SUPERUSER } from './decision.ts';
import { FixedRules } from './fixed-rules.ts';
import { readGrants } from './granted-layer.ts';
import { SlotTable, SlotValues, type UnknownCounts } from './placeholder.ts';
import type { Rule } from './rule.ts';
import { RuleIndex } from './rule-index.ts';
import { grantsBlindly, mayFilter, RuleLayer } from './rule-layer.ts';
import type { AclSubject } from './subject.ts';

/**
 * Combinations of rules with conditions are kept for the next client with the same ones: as many as
 * have this many rules together, and what an empty one costs counted as SHARED_OVERHEAD rules.
 */
const SHARED_RULES_MAX = 500_000;
const SHARED_OVERHEAD = 20;

let versions = 0;

export class RuleSet {
  /** Another one for each rule set of the process. */
  readonly version: number;
  /** The rule file; '': none is configured. */
  readonly file: string;
  readonly rules: readonly Rule[];
  readonly slots: SlotTable;
  /** No rule file: without granted rules everything is allowed. */
  readonly isOpen: boolean;
  readonly #base: RuleLayer;
  readonly #index: RuleIndex;
  readonly #superuser: ClientRules;
  readonly #unruled: ClientRules;
  /** By the numbers of the rules in it; oldest first. */
  readonly #shared = new Map<string, SharedRights>();
  #sharedRules = 0;
  readonly #baseFilters: boolean;

  /** An empty list of rules denies everything; see `openRules` for having none. */
  constructor(file: string, rules: readonly Rule[], slots: SlotTable, isOpen = false) {
    versions += 1;
    this.version = versions;
    this.file = file;
    this.rules = rules;
    this.slots = slots;
    this.isOpen = isOpen;
    const forAll: number[] = [];
    const forSome: number[] = [];
    for (const [i, rule] of rules.entries()) (rule.conditions === null ? forAll : forSome).push(i);
    this.#base = this.#layer(forAll);
    this.#baseFilters = grantsBlindly(this.#base) || mayFilter(this.#base, this.#base);
    this.#index = new RuleIndex(rules, forSome);
    this.#superuser = new FixedRules(this.version, SUPERUSER);
    this.#unruled = new FixedRules(this.version, NO_RULES);
  }

  /**
   * Rights of one client. `unknownCounts`: how conditions are taken of which nothing is known (the
   * client is away): `against` it, or `for` it when the answer is looked at again before it matters.
   */
  compile(subject: AclSubject, unknownCounts: UnknownCounts = 'against'): ClientRules {
    if (subject.isSuperuser) return this.#superuser;
    if (this.isOpen && subject.grants === null) return this.#unruled;
    const shared = this.#sharedBy(this.#numbersFor(subject, unknownCounts));
    const values = new SlotValues(this.slots, subject, unknownCounts);
    return new CompiledRules(shared, this.#granted(subject, shared), values);
  }

  #numbersFor(subject: AclSubject, unknownCounts: UnknownCounts): number[] {
    const candidate = new Candidate(subject);
    return this.#index.find(candidate).filter((number) => {
      const rule = this.rules[number]!;
      const verdict = evaluate(rule.conditions!, candidate);
      if (verdict.kind === 'unknown') return rule.allow === (unknownCounts === 'for');
      return verdict.kind === 'holds';
    });
  }

  #sharedBy(numbers: readonly number[]): SharedRights {
    const key = numbers.join();
    const known = this.#shared.get(key);
    if (known !== undefined) return known;
    const own = numbers.length === 0 ? null : this.#layer(numbers);
    const base = this.#base;
    const shared: SharedRights = {
      version: this.version,
      rules: this.rules,
      base,
      own,
      filtersReceive:
        this.#baseFilters ||
        (own !== null &&
          (grantsBlindly(own) ||
            mayFilter(own, own) ||
            mayFilter(own, base) ||
            mayFilter(base, own))),
      variesByMessage: base.variesByMessage || own?.variesByMessage === true,
    };
    this.#keepShared(key, shared);
    return shared;
  }

  #keepShared(key: string, shared: SharedRights): void {
    this.#sharedRules += weight(shared);
    for (const [oldest, kept] of this.#shared) {
      if (this.#sharedRules <= SHARED_RULES_MAX) break;
      this.#shared.delete(oldest);
      this.#sharedRules -= weight(kept);
    }
    this.#shared.set(key, shared);
  }

  #granted(subject: AclSubject, { base, own }: SharedRights): GrantedRights | null {
    if (subject.grants === null) return null;
    const slots = new SlotTable();
    const layer = readGrants(subject.grants, slots);
    const later = own === null ? [layer, base] : [layer, own, base];
    return {
      layer,
      values: new SlotValues(slots, subject, 'against'),
      filtersReceive: grantsBlindly(layer) || later.some((allowing) => mayFilter(layer, allowing)),
    };
  }

  #layer(positions: readonly number[]): RuleLayer {
    return new RuleLayer(
      positions.map((position) => this.rules[position]!),
      Int32Array.from(positions, (position) => FILE_RULES + position),
    );
  }
}

function weight({ own }: SharedRights): number {
  return SHARED_OVERHEAD + (own?.rules.length ?? 0);
}

/** No rule file is configured. */
export function openRules(): RuleSet {
  return new RuleSet('', [], new SlotTable(), true);
}
