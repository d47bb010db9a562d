/**
 * One rule, whatever it was written in: rule file, mosquitto's acl_file, or granted with credentials.
 * Made by the parsers, compiled by `rule-set.ts`, shown by `explain.ts`.
 */
import type { Conditions } from './conditions.ts';
import type { TopicPattern } from './topic-pattern.ts';

/** What a rule decides about, as bits. */
export const ON_PUBLISH = 1;
/** About the subscription itself. */
export const ON_SUBSCRIBE = 2;
/** About what is delivered. `subscribe` in a rule file sets this bit as well. */
export const ON_RECEIVE = 4;

/** Every QoS in `Rule.qosMask`; bit `1 << qos`. */
export const ANY_QOS = 0b111;

export interface RuleSource {
  /** The rule file, or where a granted rule came from. */
  readonly file: string;
  /** Both 0 for granted rules. */
  readonly line: number;
  readonly column: number;
}

export interface Rule {
  readonly allow: boolean;
  /** ON_… bits. */
  readonly actions: number;
  /** Null: every topic, those that start with `$` included. */
  readonly patterns: readonly TopicPattern[] | null;
  /** Null: everyone. */
  readonly conditions: Conditions | null;
  /** Of a message published, or asked for in a SUBSCRIBE. */
  readonly qosMask: number;
  /** Of a message published; null: either. */
  readonly retain: boolean | null;
  readonly source: RuleSource;
  /** The rule on one line, for explanations. */
  readonly text: string;
}
