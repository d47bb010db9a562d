/**
 * Reads our rule file. Everything in it is text as written (YAML's failsafe schema): a user `no` or
 * `0123` is just that. Strict: an unknown key, an empty list or a rule that can never hold is a
 * problem, because a rule that silently does nothing may be one that was meant to deny.
 */
import { isAlias, isMap, isScalar, isSeq, type Node, type YAMLMap } from 'yaml';
import { type IpNetwork, parseIpNetwork } from '../../util/ip-address.ts';
import { nearest } from '../../util/nearest.ts';
import type { Steps } from '../slices.ts';
import {
  type CertificateField,
  type Conditions,
  certificateFields,
  type Names,
  noConditions,
  plainFingerprint,
} from './conditions.ts';
import { actionBits, qosBits } from './granted-layer.ts';
import type { AclAction } from './granted-rule.ts';
import { SlotTable } from './placeholder.ts';
import { ANY_QOS, ON_PUBLISH, ON_RECEIVE, ON_SUBSCRIBE, type Rule } from './rule.ts';
import { Problems, RULES_MAX, type RulesRead, TOPICS_MAX, VALUES_MAX } from './rule-file.ts';
import { parsePattern, type TopicPattern } from './topic-pattern.ts';
import { anchoredNodes, readYaml, type YamlTree } from './yaml-tree.ts';

const actionNames: readonly AclAction[] = ['publish', 'subscribe', 'receive'];
const ruleKeys = [
  'allow',
  'deny',
  'topics',
  'users',
  'clients',
  'addresses',
  'listeners',
  'tenants',
  'claims',
  'certificate',
  'qos',
  'retain',
  'anonymous',
] as const;
type RuleKey = (typeof ruleKeys)[number];

/** Topics, actions and values of all rules together. */
const ITEMS_MAX = 500_000;
/** Topics named in the one-line form of a rule. */
const TOPICS_SHOWN = 4;

/** `name` is what places are printed with. */
export function* readYamlRules(text: string, name: string): Steps<RulesRead> {
  try {
    const tree = yield* readYaml(text);
    // What did not parse is not looked at: its places could be anything.
    if (tree.problems.length > 0) return unparsed(tree, name);
    const anchored = yield* anchoredNodes(text.includes('*') ? tree.root : null);
    return yield* new YamlRules(tree, anchored, name).read();
  } catch (error) {
    // The library is recursive: brackets in brackets end its stack.
    if (!(error instanceof RangeError)) throw error;
    const problems = [{ where: name, message: 'is nested too deeply' }];
    return { rules: [], slots: new SlotTable(), problems };
  }
}

function unparsed(tree: YamlTree, name: string): RulesRead {
  const problems = new Problems();
  for (const { offset, message } of tree.problems) problems.add(place(tree, name, offset), message);
  return { rules: [], slots: new SlotTable(), problems: problems.list(name) };
}

function place({ lines }: YamlTree, name: string, offset: number): string {
  const { line, col } = lines.linePos(offset);
  return `${name}:${line}:${col}`;
}

/** A text and where it stands. */
interface Item {
  readonly text: string;
  readonly node: Node;
}

class YamlRules {
  readonly #name: string;
  readonly #tree: YamlTree;
  /** Alias → what it stands for. */
  readonly #anchored: ReadonlyMap<Node, Node>;
  readonly #problems = new Problems();
  readonly #slots = new SlotTable();
  #itemCount = 0;

  constructor(tree: YamlTree, anchored: ReadonlyMap<Node, Node>, name: string) {
    this.#name = name;
    this.#tree = tree;
    this.#anchored = anchored;
  }

  *read(): Steps<RulesRead> {
    const rules = yield* this.#readDocument();
    return { rules, slots: this.#slots, problems: this.#problems.list(this.#name) };
  }

  *#readDocument(): Steps<Rule[]> {
    const { root } = this.#tree;
    if (root === null || isEmptyScalar(root)) return [];
    if (!isMap(root)) {
      this.#problem(root, 'expected `rules:` and a list of rules');
      return [];
    }
    const fields = this.#fields(root, ['rules'], 'a rule file');
    const list = fields.get('rules');
    if (list === undefined || isEmptyScalar(list)) return [];
    if (!isSeq(list)) {
      this.#problem(list, 'expected a list of rules');
      return [];
    }
    if (list.items.length > RULES_MAX) {
      this.#problem(list, `more than ${RULES_MAX} rules`);
      return [];
    }
    const rules: Rule[] = [];
    for (const item of list.items) {
      const rule = this.#readRule(item as Node);
      if (rule !== null) rules.push(rule);
      yield;
    }
    return rules;
  }

  #readRule(written: Node): Rule | null {
    const node = this.#resolved(written);
    if (!isMap(node)) {
      this.#problem(written, 'expected a rule, such as `allow: publish` and `topics: [a/#]`');
      return null;
    }
    const fields = this.#fields(node, ruleKeys, 'a rule');
    const actions = this.#readActions(node, fields);
    const patterns = this.#readTopics(node, fields);
    const conditions = this.#readConditions(fields);
    const qosMask = this.#readQos(fields.get('qos'), actions.bits);
    const retain = this.#readFlag(fields.get('retain'), 'retain');
    if (retain !== null && actions.bits !== 0 && actions.bits !== ON_PUBLISH) {
      this.#problem(
        fields.get('retain')!,
        '`retain` is about publishing: give `publish` a rule of its own',
      );
    }
    const { line, col } = this.#tree.lines.linePos(written.range?.[0] ?? 0);
    return {
      allow: actions.allow,
      actions: actions.bits,
      patterns,
      conditions,
      qosMask,
      retain,
      source: { file: this.#name, line, column: col },
      text: describe(actions, patterns, fields),
    };
  }

  #readActions(rule: YAMLMap, fields: ReadonlyMap<RuleKey, Node>): Actions {
    const allow = fields.get('allow');
    const deny = fields.get('deny');
    const node = allow ?? deny;
    if (node === undefined) this.#problem(rule, 'the rule says neither `allow` nor `deny`');
    if (allow !== undefined && deny !== undefined) {
      this.#problem(deny, 'the rule says both `allow` and `deny`');
    }
    const names: AclAction[] = [];
    if (node !== undefined) {
      for (const { text, node: at } of this.#items(node, 'an action', actionNames.length)) {
        const action = actionNames.find((known) => known === text);
        if (action !== undefined) names.push(action);
        else
          this.#problem(at, unknown(text, actionNames, 'publish, subscribe and receive are known'));
      }
    }
    return { allow: allow !== undefined && deny === undefined, names, bits: actionBits(names) };
  }

  #readTopics(rule: YAMLMap, fields: ReadonlyMap<RuleKey, Node>): TopicPattern[] {
    const node = fields.get('topics');
    if (node === undefined) {
      this.#problem(rule, "the rule names no `topics` (`['#']` is every topic outside `$`)");
      return [];
    }
    const patterns: TopicPattern[] = [];
    for (const { text, node: at } of this.#items(node, 'a topic filter', TOPICS_MAX)) {
      const pattern = parsePattern(text, this.#slots);
      if (typeof pattern === 'string') this.#problem(at, pattern);
      else patterns.push(pattern);
    }
    return patterns;
  }

  #readConditions(fields: ReadonlyMap<RuleKey, Node>): Conditions | null {
    const users = this.#readNames(fields.get('users'), 'a user name', '*');
    const anonymousNode = fields.get('anonymous');
    const anonymous = this.#readFlag(anonymousNode, 'anonymous');
    if (users !== null && anonymous === true) {
      this.#problem(anonymousNode!, '`anonymous: true` and `users` never hold together');
    }
    const isAnyUser = users?.has('*') === true;
    const conditions: Conditions = {
      users: isAnyUser ? null : users,
      isAuthenticated: isAnyUser ? true : anonymous === null ? null : !anonymous,
      clients: this.#readNames(fields.get('clients'), 'a client id'),
      networks: this.#readNetworks(fields.get('addresses')),
      listeners: this.#readNames(fields.get('listeners'), 'the name of a listener'),
      tenants: this.#readNames(fields.get('tenants'), 'a tenant'),
      claims: this.#readClaims(fields.get('claims')),
      certificate: this.#readCertificate(fields.get('certificate')),
    };
    const isEveryone = Object.keys(noConditions).every(
      (name) => conditions[name as keyof Conditions] === null,
    );
    return isEveryone ? null : conditions;
  }

  /** `any`: a word that stands alone for every name; patterns of names there are none. */
  #readNames(node: Node | undefined, what: string, any: string | null = null): Names | null {
    if (node === undefined) return null;
    const names = new Set<string>();
    for (const { text, node: at } of this.#items(node, what, VALUES_MAX)) {
      if (text.includes('*') && text !== any) {
        this.#problem(
          at,
          any === null
            ? `${quote(text)}: names are compared as they are; leave the condition out for any`
            : `${quote(text)}: names are compared as they are; \`*\` alone is any of them`,
        );
      } else names.add(text);
    }
    return names;
  }

  #readNetworks(node: Node | undefined): IpNetwork[] | null {
    if (node === undefined) return null;
    const networks: IpNetwork[] = [];
    for (const { text, node: at } of this.#items(node, 'an address', VALUES_MAX)) {
      const network = parseIpNetwork(text);
      if (network !== null) networks.push(network);
      else {
        this.#problem(at, `${quote(text)} is no address or network (10.0.0.0/8, no host bits set)`);
      }
    }
    return networks;
  }

  #readClaims(node: Node | undefined): Conditions['claims'] {
    if (node === undefined) return null;
    return this.#table(node, '`role: admin`').map(({ key, value }) => ({
      name: key.text,
      values: this.#readValues(value, 'the value of a claim'),
    }));
  }

  #readCertificate(node: Node | undefined): Conditions['certificate'] {
    if (node === undefined) return null;
    const wanted: { field: CertificateField; values: Names }[] = [];
    for (const { key, value } of this.#table(node, '`common_name: gateway-1`')) {
      const field = certificateFields.find((known) => known === key.text);
      if (field === undefined) {
        const known = certificateFields.join(', ');
        this.#problem(key.node, unknown(key.text, certificateFields, `${known} are known`));
        continue;
      }
      const values = this.#readValues(value, 'a text');
      if (field !== 'fingerprint') {
        wanted.push({ field, values });
        continue;
      }
      const fingerprints = [...values].map(plainFingerprint);
      if (fingerprints.some((one) => one.length !== 64 || !isHex(one))) {
        this.#problem(value, 'a SHA-256 fingerprint has 64 hexadecimal digits');
      }
      wanted.push({ field, values: new Set(fingerprints) });
    }
    return wanted;
  }

  #readValues(node: Node, what: string): Names {
    return new Set(this.#items(node, what, VALUES_MAX).map(({ text }) => text));
  }

  #readQos(node: Node | undefined, actions: number): number {
    if (node === undefined) return ANY_QOS;
    if ((actions & ON_RECEIVE) !== 0 && (actions & ON_SUBSCRIBE) === 0) {
      this.#problem(node, '`qos` is about publishing and subscribing, not about `receive`');
    }
    const levels: number[] = [];
    for (const { text, node: at } of this.#items(node, 'a QoS', 3)) {
      if (text === '0' || text === '1' || text === '2') levels.push(Number(text));
      else this.#problem(at, `${quote(text)} is no QoS: 0, 1 and 2 are`);
    }
    return qosBits(levels);
  }

  #readFlag(node: Node | undefined, name: string): boolean | null {
    if (node === undefined) return null;
    const value = this.#resolved(node);
    const text = isScalar(value) ? value.value : null;
    if (text === 'true' || text === 'false') return text === 'true';
    this.#problem(node, `\`${name}\` is \`true\` or \`false\``);
    return null;
  }

  // ------------------------------------------------------------------------------- nodes

  /** The values of a map by key; keys that are not `known` are problems. */
  #fields<K extends string>(map: YAMLMap, known: readonly K[], what: string): Map<K, Node> {
    const fields = new Map<K, Node>();
    for (const { key, value } of this.#pairs(map)) {
      const name = known.find((candidate) => candidate === key.text);
      if (name !== undefined) fields.set(name, value);
      else {
        const keys = `${what} has ${known.join(', ')}`;
        this.#problem(key.node, unknown(key.text, known, keys));
      }
    }
    return fields;
  }

  /** A map whose keys are the operator's. */
  #table(node: Node, example: string): { readonly key: Item; readonly value: Node }[] {
    const map = this.#resolved(node);
    if (!isMap(map) || map.items.length === 0) {
      this.#problem(node, `expected names and values, such as ${example}`);
      return [];
    }
    return this.#pairs(map);
  }

  #pairs(map: YAMLMap): { readonly key: Item; readonly value: Node }[] {
    return map.items.flatMap((pair) => {
      const node = pair.key as Node;
      // `stringKeys` has made a problem of any other.
      if (!isScalar(node) || typeof node.value !== 'string') return [];
      if (pair.value === null) {
        this.#problem(node, `${quote(node.value)} has no value`);
        return [];
      }
      return [{ key: { text: node.value, node }, value: pair.value as Node }];
    });
  }

  /** One text, or a list of them; neither empty. */
  #items(written: Node, what: string, countMax: number): readonly Item[] {
    const node = this.#resolved(written);
    const members = isSeq(node) ? (node.items as Node[]) : [written];
    if (members.length === 0) this.#problem(written, `expected ${what}, found an empty list`);
    if (members.length > countMax) {
      this.#problem(written, `a list of more than ${countMax}`);
      return [];
    }
    // An alias costs a few bytes and may stand for a thousand topics.
    this.#itemCount += members.length;
    if (this.#itemCount > ITEMS_MAX) {
      this.#problem(written, `more than ${ITEMS_MAX} topics and values in one file`);
      return [];
    }
    const items: Item[] = [];
    for (const member of members) {
      const value = this.#resolved(member);
      if (isScalar(value) && typeof value.value === 'string' && value.value !== '') {
        items.push({ text: value.value, node: member });
      } else this.#problem(member, `expected ${what}`);
    }
    return items;
  }

  /** What an alias stands for. Nothing here goes deeper than the file is written. */
  #resolved(node: Node): Node {
    return isAlias(node) ? (this.#anchored.get(node) ?? node) : node;
  }

  #problem(node: Node, message: string): void {
    this.#problems.add(place(this.#tree, this.#name, node.range?.[0] ?? 0), message);
  }
}

interface Actions {
  readonly allow: boolean;
  readonly names: readonly AclAction[];
  readonly bits: number;
}

/** `rules:` and nothing after it. */
function isEmptyScalar(node: Node): boolean {
  return isScalar(node) && (node.value === '' || node.value === null);
}

function quote(text: string): string {
  return `\`${text.length > 60 ? `${text.slice(0, 60)}…` : text}\``;
}

function unknown(text: string, known: readonly string[], otherwise: string): string {
  const meant = nearest(text, known);
  return `unknown: ${quote(text)}; ${meant === null ? otherwise : `did you mean \`${meant}\`?`}`;
}

function isHex(text: string): boolean {
  for (const char of text) if (!'0123456789abcdef'.includes(char)) return false;
  return true;
}

/** The rule on one line: what it says, and by which conditions it is bound. */
function describe(
  { allow, names }: Actions,
  patterns: readonly TopicPattern[],
  fields: ReadonlyMap<RuleKey, Node>,
): string {
  const shown = patterns.slice(0, TOPICS_SHOWN).map(({ text }) => text);
  const more = patterns.length > TOPICS_SHOWN ? ` and ${patterns.length - TOPICS_SHOWN} more` : '';
  const conditions = [...fields.keys()].filter(
    (key) => key !== 'allow' && key !== 'deny' && key !== 'topics',
  );
  const bound = conditions.length === 0 ? '' : ` (by ${conditions.join(', ')})`;
  return `${allow ? 'allow' : 'deny'} ${names.join(', ')} ${shown.join(', ')}${more}${bound}`;
}
