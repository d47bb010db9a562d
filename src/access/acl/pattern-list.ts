/** A few patterns, tried one after the other (data plane): costs next to no memory. */
import type { MatcherEntry, PatternMatcher } from './pattern-matcher.ts';
import type { SlotValues } from './placeholder.ts';
import { coversFilter, matchesTopic, type TopicPattern } from './topic-pattern.ts';

export class PatternList implements PatternMatcher {
  readonly #entries: readonly MatcherEntry[];

  constructor(entries: readonly MatcherEntry[]) {
    this.#entries = entries;
  }

  matchTopic(topic: string, bit: number, values: SlotValues, bound: number): number {
    return this.#first(matchesTopic, topic, bit, values, bound);
  }

  coverFilter(filter: string, bit: number, values: SlotValues, bound: number): number {
    return this.#first(coversFilter, filter, bit, values, bound);
  }

  #first(
    holds: (pattern: TopicPattern, text: string, values: SlotValues, allow: boolean) => boolean,
    text: string,
    bit: number,
    values: SlotValues,
    bound: number,
  ): number {
    const entries = this.#entries;
    for (let i = 0; i < entries.length; i += 1) {
      const { rule, number, mask } = entries[i]!;
      if (number >= bound) return bound;
      if ((mask & bit) === 0) continue;
      const { patterns, allow } = rule;
      if (patterns === null) return number;
      for (let p = 0; p < patterns.length; p += 1) {
        if (holds(patterns[p]!, text, values, allow)) return number;
      }
    }
    return bound;
  }
}
