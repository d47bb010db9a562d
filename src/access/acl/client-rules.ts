/**
 * Rights of one client under one version of the rules: what `RuleSet.compile` gives and the gate asks
 * per packet (data plane). Synchronous, never throws, caches decisions itself: the caller only calls.
 */
import type { Decision } from './decision.ts';
import type { Rule } from './rule.ts';

export interface ClientRules {
  /** Of the rule set it was compiled from; another number after a reload: compile anew. */
  readonly version: number;
  /** QoS or RETAIN of a message make a difference to some rule; else the topic alone decides. */
  readonly variesByMessage: boolean;
  /** May the client publish to the topic? Pass the string that core keeps: the cache goes by it. */
  publish(topic: string, qos: number, retain: boolean): Decision;
  /** May it subscribe to the filter (the inner one of a shared subscription)? Not cached. */
  subscribe(filter: string, qos: number): Decision;
  /** May it be sent a message on the topic? Needs asking only when `filtersReceive`. */
  receive(topic: string): Decision;
  /** Some topic below a filter that it may subscribe to may be denied. */
  readonly filtersReceive: boolean;
  /** The rule that decided; null for NO_RULES, NO_MATCH and SUPERUSER. */
  ruleOf(decision: Decision): Rule | null;
}
