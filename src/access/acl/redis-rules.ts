/**
 * Rules of one client as Redis holds them, in the layouts of EMQX and of mosquitto-go-auth. Both only
 * allow. A list that cannot be read in full is no list.
 */
import type { RedisReply } from '../../drivers/redis/redis-client.ts';
import { type RulesOrProblem, readEmqxRule, readTopic } from './emqx-rule.ts';
import type { AclAction, GrantedRule } from './granted-rule.ts';

/** Old EMQX versions wrote numbers. */
const EMQX_WORDS: ReadonlyMap<string, readonly AclAction[]> = new Map<string, readonly AclAction[]>(
  [
    ['publish', ['publish']],
    ['subscribe', ['subscribe']],
    ['all', ['publish', 'subscribe']],
    ['1', ['subscribe']],
    ['2', ['publish']],
    ['3', ['publish', 'subscribe']],
  ],
);

/** `HGETALL mqtt_acl:alice`: topic → `publish`, `subscribe`, `all`, or JSON with qos and retain. */
export function readEmqxHash(reply: RedisReply, source: string): RulesOrProblem {
  if (!Array.isArray(reply) || reply.length % 2 !== 0) return 'HGETALL gave no list of pairs';
  const rules: GrantedRule[] = [];
  // Redis keeps no order of fields; sorted, so that the same rules are the same list.
  for (const [topicText, value] of pairsOf(reply)) {
    if (typeof topicText !== 'string' || typeof value !== 'string') return 'a rule is no text';
    const rule = readEmqxField(topicText, value, source);
    if (typeof rule === 'string') return `a rule ${rule}`;
    rules.push(rule);
  }
  return rules;
}

function pairsOf(list: readonly RedisReply[]): (readonly [RedisReply, RedisReply])[] {
  const pairs: (readonly [RedisReply, RedisReply])[] = [];
  for (let i = 0; i < list.length; i += 2) {
    pairs.push([list[i] as RedisReply, list[i + 1] as RedisReply]);
  }
  return pairs.sort(([a], [b]) => compare(a, b));
}

function readEmqxField(topicText: string, value: string, source: string): GrantedRule | string {
  const actions = EMQX_WORDS.get(value);
  if (actions === undefined) {
    let object: unknown;
    try {
      object = JSON.parse(value);
    } catch {
      return 'is neither publish, subscribe, all nor JSON';
    }
    return readEmqxRule(object, topicText, source);
  }
  const topic = readTopic(topicText);
  if (topic === null) return 'has a topic that cannot be used';
  return { allow: true, actions, topic, qos: null, retain: null, source };
}

/** Sets of mosquitto-go-auth, by the end of their key. */
export const goAuthSets = ['racls', 'rwacls', 'wacls', 'sacls'] as const;
export type GoAuthSet = (typeof goAuthSets)[number];

/** What the members of a set allow: its `s` is for the subscription alone. */
const GO_AUTH_ACTIONS: { readonly [set in GoAuthSet]: readonly AclAction[] } = {
  racls: ['receive'],
  rwacls: ['receive', 'publish'],
  wacls: ['publish'],
  sacls: ['subscribe'],
};

/** Filters of one set, sorted; or what is wrong. */
export function readGoAuthSet(reply: RedisReply): readonly string[] | string {
  if (!Array.isArray(reply)) return 'SMEMBERS gave no list';
  const filters: string[] = [];
  for (const member of reply as readonly RedisReply[]) {
    if (typeof member !== 'string' || readTopic(member) !== member) {
      return 'a set holds something that is no topic filter';
    }
    filters.push(member);
  }
  return filters.sort(compare);
}

/**
 * Rules of the sets. There, to subscribe and to receive are two rights, and both are needed; here who
 * may subscribe also receives. So a filter that may be subscribed to is denied for delivery, after all
 * filters that may be read.
 */
export function goAuthRules(
  sets: ReadonlyMap<GoAuthSet, readonly string[]>,
  source: string,
): GrantedRule[] {
  const rules: GrantedRule[] = [];
  const add = (allow: boolean, actions: readonly AclAction[], topic: string): void => {
    rules.push({ allow, actions, topic, qos: null, retain: null, source });
  };
  const readable = new Set([...(sets.get('racls') ?? []), ...(sets.get('rwacls') ?? [])]);
  for (const set of ['racls', 'rwacls', 'wacls'] as const) {
    for (const filter of sets.get(set) ?? []) add(true, GO_AUTH_ACTIONS[set], filter);
  }
  for (const filter of sets.get('sacls') ?? []) {
    if (!readable.has(filter)) add(false, ['receive'], filter);
  }
  for (const filter of sets.get('sacls') ?? []) add(true, GO_AUTH_ACTIONS.sacls, filter);
  return rules;
}

/** By code units, as everywhere: no locale. */
function compare(a: RedisReply, b: RedisReply): number {
  const [left, right] = [`${a}`, `${b}`];
  if (left === right) return 0;
  return left < right ? -1 : 1;
}
