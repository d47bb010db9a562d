/**
 * Finds the first of many patterns that matches a topic or covers a filter (data plane). Implemented
 * twice with the same answers: `pattern-list.ts` for a few, `pattern-trie.ts` for many.
 */
import type { SlotValues } from './placeholder.ts';
import type { Rule } from './rule.ts';

export interface PatternMatcher {
  /** The lowest number below `bound` with a pattern for the topic and `bit` in its mask; or `bound`. */
  matchTopic(topic: string, bit: number, values: SlotValues, bound: number): number;
  coverFilter(filter: string, bit: number, values: SlotValues, bound: number): number;
}

export interface MatcherEntry {
  readonly rule: Rule;
  readonly number: number;
  /** Not 0, six bits. */
  readonly mask: number;
}
