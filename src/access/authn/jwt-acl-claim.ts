/**
 * Rights in a token's claim. Three forms: `[{"allow": "publish", "topic": "a/%c/#"}, {"deny": …}]`,
 * EMQX's list (`permission`, `action`) and EMQX's object (`{"pub": [], "sub": [], "all": []}`). What
 * cannot be understood whole is refused whole: a rule that was left out might have denied.
 */
import { readEmqxRule, readTopic } from '../acl/emqx-rule.ts';
import { grantedTopicProblem } from '../acl/granted-layer.ts';
import type { AclAction, GrantedRule } from '../acl/granted-rule.ts';
import { SlotTable } from '../acl/placeholder.ts';

/** More than a token of ordinary size can hold. */
const RULES_MAX = 500;

const ACTIONS: ReadonlyMap<unknown, readonly AclAction[]> = new Map<unknown, readonly AclAction[]>([
  ['publish', ['publish']],
  ['subscribe', ['subscribe']],
  ['receive', ['receive']],
  ['all', ['publish', 'subscribe']],
]);

const OWN_MEMBERS = new Set(['allow', 'deny', 'topic', 'topics', 'qos', 'retain']);

const OBJECT_ACTIONS: ReadonlyMap<string, readonly AclAction[]> = new Map([
  ['pub', ['publish']],
  ['sub', ['subscribe']],
  ['all', ['publish', 'subscribe']],
] as const);

/** The rules, or what is wrong with the claim: places, nothing of the values. */
export function readAclClaim(value: unknown, claim: string): readonly GrantedRule[] | string {
  if (Array.isArray(value)) return readList(value, claim);
  if (typeof value === 'object' && value !== null) return readObject(value, claim);
  return 'is neither a list nor an object';
}

function readList(list: readonly unknown[], claim: string): readonly GrantedRule[] | string {
  const rules: GrantedRule[] = [];
  for (const [index, entry] of list.entries()) {
    const isObject = typeof entry === 'object' && entry !== null && !Array.isArray(entry);
    if (!isObject) return `[${index}] is no object`;
    const source = `token claim ${claim}[${index}]`;
    const found = Object.hasOwn(entry, 'permission')
      ? readEmqxRule(entry, null, source)
      : readOwnRule(new Map(Object.entries(entry)), source);
    if (typeof found === 'string') return `[${index}] ${found}`;
    if (Array.isArray(found)) for (const rule of found) rules.push(rule);
    else rules.push(found as GrantedRule);
    if (rules.length > RULES_MAX) return `holds more than ${RULES_MAX} rules`;
  }
  return rules;
}

/** One rule per topic. */
function readOwnRule(
  members: ReadonlyMap<string, unknown>,
  source: string,
): readonly GrantedRule[] | string {
  for (const name of members.keys()) {
    if (!OWN_MEMBERS.has(name)) return 'has a condition that is not known';
  }
  const allow = members.has('allow');
  if (allow === members.has('deny')) return 'has to have one of allow and deny';
  const actions = readActions(members.get(allow ? 'allow' : 'deny'));
  if (actions === null) return 'has an action that is none of publish, subscribe, receive, all';
  if (members.has('topic') === members.has('topics')) return 'has to have one of topic and topics';
  const topics = textsOf(members.get('topic') ?? members.get('topics'));
  if (topics === null) return 'has a topic that is no text';
  const qos = readQos(members.get('qos'));
  if (qos === undefined) return 'has a qos that is not 0, 1, 2 or a list of them';
  const retain = members.get('retain') ?? null;
  if (retain !== null && typeof retain !== 'boolean')
    return 'has a retain that is not true or false';
  const slots = new SlotTable();
  for (const topic of topics) {
    if (grantedTopicProblem(topic, slots) !== null) return 'has a topic that cannot be used';
  }
  return topics.map((topic) => ({ allow, actions, topic, qos, retain, source }));
}

/** Lists of topics by what they allow. */
function readObject(value: object, claim: string): readonly GrantedRule[] | string {
  const rules: GrantedRule[] = [];
  for (const [name, member] of Object.entries(value)) {
    const actions = OBJECT_ACTIONS.get(name);
    if (actions === undefined) return 'has a member that is none of pub, sub, all';
    if (!Array.isArray(member)) return `${name} is no list`;
    for (const [index, entry] of member.entries()) {
      const topic = readTopic(entry);
      if (topic === null) return `${name}[${index}] has a topic that cannot be used`;
      const source = `token claim ${claim}.${name}[${index}]`;
      rules.push({ allow: true, actions, topic, qos: null, retain: null, source });
      if (rules.length > RULES_MAX) return `holds more than ${RULES_MAX} rules`;
    }
  }
  return rules;
}

function readActions(value: unknown): readonly AclAction[] | null {
  const actions = new Set<AclAction>();
  const words = textsOf(value);
  if (words === null) return null;
  for (const word of words) {
    const found = ACTIONS.get(word);
    if (found === undefined) return null;
    for (const action of found) actions.add(action);
  }
  return [...actions];
}

function readQos(value: unknown): readonly (0 | 1 | 2)[] | null | undefined {
  if (value === undefined) return null;
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  const isFit = list.length > 0 && list.every((qos) => qos === 0 || qos === 1 || qos === 2);
  return isFit ? (list as readonly (0 | 1 | 2)[]) : undefined;
}

/** One text or a list of at least one; null: something else. */
function textsOf(value: unknown): readonly string[] | null {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  const isFit = list.length > 0 && list.every((one) => typeof one === 'string');
  return isFit ? (list as readonly string[]) : null;
}
