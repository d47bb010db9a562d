/**
 * Rules in the shape EMQX made customary, as an HTTP service sends them with a login
 * (`{"permission": "allow", "action": "all", "topic": "a/#", "qos": [0, 1], "retain": false}`) and as
 * Redis holds them. Nothing is guessed: a rule with a condition that is not known here would allow
 * more than was meant, so it makes the whole list unreadable.
 */
import type { AclAction, GrantedRule } from './granted-rule.ts';
import { SlotTable } from './placeholder.ts';
import { parsePattern } from './topic-pattern.ts';

/** Rules, or what is wrong with them: names and places, nothing of the values. */
export type RulesOrProblem = readonly GrantedRule[] | string;

const KNOWN = new Set(['permission', 'action', 'topic', 'qos', 'retain']);
const ACTIONS: ReadonlyMap<unknown, readonly AclAction[]> = new Map<unknown, readonly AclAction[]>([
  ['publish', ['publish']],
  ['subscribe', ['subscribe']],
  ['all', ['publish', 'subscribe']],
]);
const QOS: ReadonlyMap<unknown, 0 | 1 | 2> = new Map<unknown, 0 | 1 | 2>(
  ([0, 1, 2] as const).flatMap((qos) => [
    [qos, qos],
    [`${qos}`, qos],
  ]),
);
const RETAIN: ReadonlyMap<unknown, boolean | null> = new Map<unknown, boolean | null>([
  [true, true],
  ['true', true],
  [1, true],
  [false, false],
  ['false', false],
  [0, false],
  ['all', null],
  [undefined, null],
]);

/** A list of rules with `permission`; `source` names it for explanations. */
export function readEmqxRules(value: unknown, source: string, rulesMax: number): RulesOrProblem {
  if (!Array.isArray(value)) return 'acl is no list';
  if (value.length > rulesMax) return `acl has more than ${rulesMax} rules`;
  const rules: GrantedRule[] = [];
  for (const [index, entry] of value.entries()) {
    const rule = readEmqxRule(entry, null, `${source} acl[${index}]`);
    if (typeof rule === 'string') return `acl[${index}]: ${rule}`;
    rules.push(rule);
  }
  return rules;
}

/** One rule; `topic` null: it is in the rule, and so is `permission`. Else it allows. */
export function readEmqxRule(
  value: unknown,
  topic: string | null,
  source: string,
): GrantedRule | string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'is no object';
  const members = new Map<string, unknown>(Object.entries(value));
  for (const name of members.keys()) {
    const isElsewhere = topic !== null && (name === 'topic' || name === 'permission');
    if (!KNOWN.has(name) || isElsewhere) return 'has a condition that is not known';
  }
  const permission = topic === null ? members.get('permission') : 'allow';
  if (permission !== 'allow' && permission !== 'deny') return 'permission is not allow or deny';
  const actions = ACTIONS.get(members.get('action'));
  if (actions === undefined) return 'action is none of publish, subscribe, all';
  const pattern = readTopic(topic ?? members.get('topic'));
  if (pattern === null) return 'the topic cannot be used';
  const qos = readQos(members.get('qos'));
  if (qos === undefined) return 'qos is not 0, 1, 2 or a list of them';
  const retain = RETAIN.get(members.get('retain'));
  if (retain === undefined) return 'retain is neither true nor false';
  return { allow: permission === 'allow', actions, topic: pattern, qos, retain, source };
}

/** `${clientid}` → `%c` and so on; null: no filter, or more than a filter (`eq `). */
export function readTopic(value: unknown): string | null {
  if (typeof value !== 'string' || value.startsWith('eq ')) return null;
  const topic = value
    .replaceAll('$' + '{clientid}', '%c')
    .replaceAll('$' + '{username}', '%u')
    .replaceAll('$' + '{client_attrs.', '%{');
  if (topic.includes('$' + '{')) return null;
  return typeof parsePattern(topic, new SlotTable()) === 'string' ? null : topic;
}

function readQos(value: unknown): readonly (0 | 1 | 2)[] | null | undefined {
  if (value === undefined) return null;
  const list: (0 | 1 | 2)[] = [];
  for (const one of Array.isArray(value) ? value : [value]) {
    const qos = QOS.get(one);
    if (qos === undefined) return undefined;
    list.push(qos);
  }
  // An empty list would be a rule about nothing, which nobody means.
  return list.length === 0 ? undefined : list;
}
