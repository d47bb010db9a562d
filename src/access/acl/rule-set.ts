/**
 * All rules of a file under one version: immutable, shared by every connection, replaced as a whole
 * by a reload. `compile` gives the rights of one client and touches only rules that can concern it.
 * What that takes is made by `prepare`, in slices; where nobody called it, by the first client.
 * Made by `load-rules.ts`, held by the gate.
 */
import { atOnce, RULES_PER_STEP, type Steps } from '../slices.ts';
import type { ClientRules } from './client-rules.ts';
import {
  CompiledRules,
  FILE_RULES,
  type GrantedRights,
  type SharedRights,
} from './compiled-rules.ts';
import { Candidate, type Conditions, evaluate } from './conditions.ts';
import { NO_RULES, SUPERUSER } from './decision.ts';
import { FixedRules } from './fixed-rules.ts';
import { readGrants } from './granted-layer.ts';
import { SlotTable, SlotValues, type UnknownCounts } from './placeholder.ts';
import { ON_RECEIVE, type Rule } from './rule.ts';
import { RuleIndex } from './rule-index.ts';
import { grantsBlindly, mayFilter, RuleLayer } from './rule-layer.ts';
import type { AclSubject } from './subject.ts';

/**
 * Combinations of rules with conditions are kept for the next client with the same ones: as many as
 * have this many rules together, and what an empty one costs counted as SHARED_OVERHEAD rules.
 */
const SHARED_RULES_MAX = 500_000;
const SHARED_OVERHEAD = 20;

/** Fewer are ready before anybody notices, and cost memory for clients that may never ask. */
const PREPARED_RULES_MIN = 64;

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
  readonly #superuser: ClientRules;
  readonly #unruled: ClientRules;
  #parts: Parts | null = null;
  /** By the numbers of the rules in it; oldest first. */
  readonly #shared = new Map<string, SharedRights>();
  #sharedRules = 0;

  /** An empty list of rules denies everything; see `openRules` for having none. */
  constructor(file: string, rules: readonly Rule[], slots: SlotTable, isOpen = false) {
    versions += 1;
    this.version = versions;
    this.file = file;
    this.rules = rules;
    this.slots = slots;
    this.isOpen = isOpen;
    this.#superuser = new FixedRules(this.version, SUPERUSER);
    this.#unruled = new FixedRules(this.version, NO_RULES);
  }

  /** Makes what the first clients would have to wait for. */
  *prepare(): Steps<void> {
    this.#parts ??= yield* partsOf(this.rules);
    for (const { layer, filters } of new Set([this.#parts.anonymous, this.#parts.users])) {
      yield* layer.prepare(filters || this.#parts.someDeny);
    }
  }

  /**
   * Rights of one client. `unknownCounts`: how conditions are taken of which nothing is known (the
   * client is away): `against` it, or `for` it when the answer is looked at again before it matters.
   */
  compile(subject: AclSubject, unknownCounts: UnknownCounts = 'against'): ClientRules {
    if (subject.isSuperuser) return this.#superuser;
    if (this.isOpen && subject.grants === null) return this.#unruled;
    const numbers = this.#numbersFor(subject, unknownCounts);
    const shared = this.#sharedBy(numbers, subject.user !== null);
    const values = new SlotValues(this.slots, subject, unknownCounts);
    return new CompiledRules(shared, this.#granted(subject, shared), values);
  }

  /**
   * Makes what the first decisions for this client would have to wait for, and says how many rules
   * that took looking at.
   */
  *prepareFor(subject: AclSubject): Steps<number> {
    if (subject.isSuperuser || this.isOpen) return 0;
    const numbers = this.#numbersFor(subject, 'against');
    yield;
    const { own, filtersReceive } = this.#sharedBy(numbers, subject.user !== null);
    if (own !== null && numbers.length >= PREPARED_RULES_MIN) yield* own.prepare(filtersReceive);
    return numbers.length;
  }

  #numbersFor(subject: AclSubject, unknownCounts: UnknownCounts): number[] {
    const candidate = new Candidate(subject);
    this.#parts ??= atOnce(partsOf(this.rules));
    return this.#parts.index.find(candidate).filter((number) => {
      const rule = this.rules[number]!;
      const verdict = evaluate(rule.conditions!, candidate);
      if (verdict.kind === 'unknown') return rule.allow === (unknownCounts === 'for');
      return verdict.kind === 'holds';
    });
  }

  #sharedBy(numbers: readonly number[], isUser: boolean): SharedRights {
    const key = `${isUser ? 'u' : ''}${numbers.join()}`;
    const known = this.#shared.get(key);
    if (known !== undefined) return known;
    const own = numbers.length === 0 ? null : layerOf(this.rules, numbers);
    const { layer: base, filters } = this.#parts![isUser ? 'users' : 'anonymous'];
    const shared: SharedRights = {
      version: this.version,
      rules: this.rules,
      base,
      own,
      filtersReceive:
        filters ||
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
}

/** Rules that concern all clients of a kind, and how to find the others. */
interface Parts {
  /** For clients without a user, and with one. The same when no rule makes that difference. */
  readonly anonymous: BaseLayer;
  readonly users: BaseLayer;
  readonly index: RuleIndex;
  /** A rule for some clients denies deliveries: those of them are asked about. */
  readonly someDeny: boolean;
}

interface BaseLayer {
  readonly layer: RuleLayer;
  readonly filters: boolean;
}

function* partsOf(rules: readonly Rule[]): Steps<Parts> {
  const forAnonymous: number[] = [];
  const forUsers: number[] = [];
  const forSome: number[] = [];
  let isSame = true;
  let someDeny = false;
  for (const [i, rule] of rules.entries()) {
    if (i % RULES_PER_STEP === 0) yield;
    const kind = kindOf(rule.conditions);
    if (kind === 'some') {
      forSome.push(i);
      if (!rule.allow && (rule.actions & ON_RECEIVE) !== 0) someDeny = true;
      continue;
    }
    if (kind !== 'users') forAnonymous.push(i);
    if (kind !== 'anonymous') forUsers.push(i);
    if (kind !== 'all') isSame = false;
  }
  const anonymous = baseOf(rules, forAnonymous);
  yield;
  const users = isSame ? anonymous : baseOf(rules, forUsers);
  yield;
  const index = yield* RuleIndex.build(rules, forSome);
  return { anonymous, users, index, someDeny };
}

function kindOf(conditions: Conditions | null): 'all' | 'users' | 'anonymous' | 'some' {
  if (conditions === null) return 'all';
  const { isAuthenticated } = conditions;
  if (isAuthenticated === null || !isAboutUserAlone(conditions)) return 'some';
  return isAuthenticated ? 'users' : 'anonymous';
}

function isAboutUserAlone(conditions: Conditions): boolean {
  const { users, clients, networks, listeners, tenants, claims, certificate } = conditions;
  return (
    users === null &&
    clients === null &&
    networks === null &&
    listeners === null &&
    tenants === null &&
    claims === null &&
    certificate === null
  );
}

function baseOf(rules: readonly Rule[], positions: readonly number[]): BaseLayer {
  const layer = layerOf(rules, positions);
  return { layer, filters: grantsBlindly(layer) || mayFilter(layer, layer) };
}

function layerOf(rules: readonly Rule[], positions: readonly number[]): RuleLayer {
  const numbers = new Int32Array(positions.length);
  for (const [i, position] of positions.entries()) numbers[i] = FILE_RULES + position;
  return new RuleLayer(
    positions.map((position) => rules[position]!),
    numbers,
  );
}

function weight({ own }: SharedRights): number {
  return SHARED_OVERHEAD + (own?.rules.length ?? 0);
}

/** No rule file is configured. */
export function openRules(): RuleSet {
  return new RuleSet('', [], new SlotTable(), true);
}
