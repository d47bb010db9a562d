/**
 * Some rules of one client in their order, and the question which of them is the first to decide
 * (data plane). A client has up to three layers: granted rules (its own), rules with conditions that
 * hold for it (shared with all clients for which the same ones hold), and rules for everyone (shared
 * by all). Matchers are built when they are first needed, or before by `prepare`.
 */
import { atOnce, RULES_PER_STEP, type Steps } from '../slices.ts';
import { PatternList } from './pattern-list.ts';
import type { MatcherEntry, PatternMatcher } from './pattern-matcher.ts';
import { PatternTrie } from './pattern-trie.ts';
import type { SlotValues } from './placeholder.ts';
import { ANY_QOS, ON_PUBLISH, ON_RECEIVE, ON_SUBSCRIBE, type Rule } from './rule.ts';
import { mayOverlap, plainPattern } from './topic-pattern.ts';

/** Above every rule number: nothing decided yet. */
export const NONE = 0x3fff_ffff;

/** Most pairs of rules looked at to find out that no delivery has to be filtered. */
const PAIRS_MAX = 2000;

/** Any message of a PUBLISH: a bit for each QoS × retained or not. */
const ANY_MESSAGE = 0b11_11_11;

export function messageBit(qos: number, retain: boolean): number {
  return 1 << (qos * 2 + (retain ? 1 : 0));
}

export class RuleLayer {
  readonly rules: readonly Rule[];
  /** Of each rule in the whole order. Rising. */
  readonly numbers: Int32Array;
  /** Some rule about publishing asks for a QoS or RETAIN. */
  readonly variesByMessage: boolean;
  #publish: PatternMatcher | null = null;
  #subscribe: PatternMatcher | null = null;
  #receive: PatternMatcher | null = null;
  /** Positions in `rules` of those that deny subscribing at some QoS only. */
  #qosDenies: readonly number[] | null = null;
  #deniesDelivery: readonly number[] | null = null;
  #allowsSubscribing: readonly number[] | null = null;

  constructor(rules: readonly Rule[], numbers: Int32Array) {
    this.rules = rules;
    this.numbers = numbers;
    this.variesByMessage = rules.some(
      (rule) => (rule.actions & ON_PUBLISH) !== 0 && messageMask(rule) !== ANY_MESSAGE,
    );
  }

  /** Builds what the first questions would build; `filters`: what is delivered is asked about too. */
  *prepare(filters: boolean): Steps<void> {
    this.#publish ??= yield* this.#build(publishMask);
    this.#subscribe ??= yield* this.#build(subscribeMask);
    if (filters) this.#receive ??= yield* this.#build(receiveMask);
  }

  /** The number of the first rule about publishing this, if below `bound`; else `bound`. */
  publish(topic: string, bit: number, values: SlotValues, bound: number): number {
    this.#publish ??= atOnce(this.#build(publishMask));
    return this.#publish.matchTopic(topic, bit, values, bound);
  }

  /** QoS counts in a SUBSCRIBE and not here: what was subscribed is delivered. */
  receive(topic: string, values: SlotValues, bound: number): number {
    this.#receive ??= atOnce(this.#build(receiveMask));
    return this.#receive.matchTopic(topic, 1, values, bound);
  }

  subscribe(filter: string, qos: number, values: SlotValues, bound: number): number {
    const bit = 1 << qos;
    this.#subscribe ??= atOnce(this.#build(subscribeMask));
    const first = this.#subscribe.coverFilter(filter, bit, values, bound);
    // A rule that denies at some QoS has no say in delivery, where it could not be kept. So it refuses
    // every filter that reaches into its topics.
    this.#qosDenies ??= this.#find(
      (rule) => !rule.allow && (rule.actions & ON_SUBSCRIBE) !== 0 && rule.qosMask !== ANY_QOS,
    );
    if (this.#qosDenies.length === 0) return first;
    const asked = plainPattern(filter);
    for (const i of this.#qosDenies) {
      if (this.numbers[i]! >= first) break;
      const rule = this.rules[i]!;
      if ((rule.qosMask & bit) === 0) continue;
      const overlaps =
        rule.patterns === null ||
        rule.patterns.some((pattern) => mayOverlap(pattern, asked, values));
      if (overlaps) return this.numbers[i]!;
    }
    return first;
  }

  /** Positions in `rules`. */
  get deniesDelivery(): readonly number[] {
    this.#deniesDelivery ??= this.#find((rule) => !rule.allow && decidesDelivery(rule));
    return this.#deniesDelivery;
  }

  /** Positions in `rules`. */
  get allowsSubscribing(): readonly number[] {
    this.#allowsSubscribing ??= this.#find(
      (rule) => rule.allow && (rule.actions & ON_SUBSCRIBE) !== 0,
    );
    return this.#allowsSubscribing;
  }

  #find(isWanted: (rule: Rule) => boolean): readonly number[] {
    const found: number[] = [];
    for (let i = 0; i < this.rules.length; i += 1) if (isWanted(this.rules[i]!)) found.push(i);
    return found;
  }

  *#build(maskOf: (rule: Rule) => number): Steps<PatternMatcher> {
    const entries: MatcherEntry[] = [];
    let patterns = 0;
    for (const [i, rule] of this.rules.entries()) {
      if (i % RULES_PER_STEP === 0) yield;
      const mask = maskOf(rule);
      if (mask === 0) continue;
      entries.push({ rule, number: this.numbers[i]!, mask });
      patterns += rule.patterns?.length ?? 1;
    }
    if (patterns <= PATTERNS_IN_LIST_MAX) return new PatternList(entries);
    return yield* PatternTrie.build(entries);
  }
}

/** From here on a trie is faster than looking at each, and worth its memory. */
const PATTERNS_IN_LIST_MAX = 16;

function publishMask(rule: Rule): number {
  return (rule.actions & ON_PUBLISH) === 0 ? 0 : messageMask(rule);
}

function subscribeMask(rule: Rule): number {
  return (rule.actions & ON_SUBSCRIBE) === 0 ? 0 : rule.qosMask;
}

function receiveMask(rule: Rule): number {
  return decidesDelivery(rule) ? 1 : 0;
}

function messageMask(rule: Rule): number {
  let mask = 0;
  for (let qos = 0; qos <= 2; qos += 1) {
    if ((rule.qosMask & (1 << qos)) === 0) continue;
    if (rule.retain !== true) mask |= messageBit(qos, false);
    if (rule.retain !== false) mask |= messageBit(qos, true);
  }
  return mask;
}

/** A rule that denies subscribing at some QoS is about the subscription alone. */
function decidesDelivery(rule: Rule): boolean {
  if ((rule.actions & ON_RECEIVE) === 0) return false;
  return rule.allow || rule.qosMask === ANY_QOS || (rule.actions & ON_SUBSCRIBE) === 0;
}

/**
 * Whether a topic below a filter that `allowing` lets a client subscribe to may be denied to it by
 * `denying`. True also when there are too many rules to say.
 */
export function mayFilter(denying: RuleLayer, allowing: RuleLayer): boolean {
  const denied = denying.deniesDelivery;
  const allowed = allowing.allowsSubscribing;
  let pairs = 0;
  for (const d of denied) {
    // Only what is allowed after the rule that denies: from the end.
    for (let i = allowed.length - 1; i >= 0; i -= 1) {
      const a = allowed[i]!;
      if (allowing.numbers[a]! < denying.numbers[d]!) break;
      const patterns = denying.rules[d]!.patterns;
      const others = allowing.rules[a]!.patterns;
      if (patterns === null || others === null) return true;
      pairs += patterns.length * others.length;
      if (pairs > PAIRS_MAX) return true;
      for (const pattern of patterns) {
        for (const other of others) if (mayOverlap(pattern, other, null)) return true;
      }
    }
    pairs += 1;
    if (pairs > PAIRS_MAX) return true;
  }
  return false;
}

/** Some rule grants a subscription and leaves what is delivered to other rules. */
export function grantsBlindly(layer: RuleLayer): boolean {
  return layer.rules.some(
    (rule) => rule.allow && (rule.actions & (ON_SUBSCRIBE | ON_RECEIVE)) === ON_SUBSCRIBE,
  );
}
