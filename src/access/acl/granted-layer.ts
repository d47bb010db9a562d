/**
 * Rules that came with credentials, made ready for matching. A source of rights may be wrong or lie:
 * a rule that allows and cannot be understood allows nothing, one that denies denies everything.
 */
import type { AclAction, GrantedRule } from './granted-rule.ts';
import type { SlotTable } from './placeholder.ts';
import { ANY_QOS, ON_PUBLISH, ON_RECEIVE, ON_SUBSCRIBE, type Rule } from './rule.ts';
import { RuleLayer } from './rule-layer.ts';
import { parsePattern, type TopicPattern } from './topic-pattern.ts';

/** Of one client. More than these, and it may do nothing: what was cut off might have denied. */
export const GRANTS_MAX = 1000;

/** `subscribe` decides about delivery too. */
export function actionBits(actions: readonly AclAction[]): number {
  let bits = 0;
  for (const action of actions) {
    if (action === 'publish') bits |= ON_PUBLISH;
    else if (action === 'subscribe') bits |= ON_SUBSCRIBE | ON_RECEIVE;
    else bits |= ON_RECEIVE;
  }
  return bits;
}

export function qosBits(levels: readonly number[]): number {
  let bits = 0;
  for (const qos of levels) bits |= 1 << qos;
  return bits;
}

export function readGrants(grants: readonly GrantedRule[], slots: SlotTable): RuleLayer {
  const rules =
    grants.length > GRANTS_MAX ? [tooMany(grants)] : grants.map((grant) => readGrant(grant, slots));
  return new RuleLayer(
    rules,
    Int32Array.from(rules, (_, number) => number),
  );
}

/** What is wrong with the topic of a granted rule, or null: for those who read rules from outside. */
export function grantedTopicProblem(topic: string, slots: SlotTable): string | null {
  const pattern = parsePattern(topic, slots);
  return typeof pattern === 'string' ? pattern : null;
}

function readGrant(grant: GrantedRule, slots: SlotTable): Rule {
  const { allow, actions, topic, qos, retain, source } = grant;
  const pattern = parsePattern(topic, slots);
  let patterns: readonly TopicPattern[] | null;
  if (typeof pattern !== 'string') patterns = [pattern];
  else patterns = allow ? [] : null;
  const wrong = typeof pattern === 'string' ? ` (${pattern})` : '';
  return {
    allow,
    actions: actionBits(actions),
    patterns,
    conditions: null,
    // A rule that denies at no QoS is a mistake, and not one to profit from.
    qosMask: qos === null || (!allow && qos.length === 0) ? ANY_QOS : qosBits(qos) & ANY_QOS,
    retain,
    source: { file: source, line: 0, column: 0 },
    text: `${allow ? 'allow' : 'deny'} ${actions.join(', ')} ${topic}${wrong}`,
  };
}

function tooMany(grants: readonly GrantedRule[]): Rule {
  return {
    allow: false,
    actions: ON_PUBLISH | ON_SUBSCRIBE | ON_RECEIVE,
    patterns: null,
    conditions: null,
    qosMask: ANY_QOS,
    retain: null,
    source: { file: grants[0]!.source, line: 0, column: 0 },
    text: `deny everything: more than ${GRANTS_MAX} rules came with the credentials`,
  };
}
