/**
 * Why a client may or may not do something: the answer of the same code that decides per packet, with
 * the rule, its file and line, and what else had a say. For `causeway acl test` and the API.
 */
import {
  isSharedFilter,
  isValidTopicFilter,
  isValidTopicName,
  parseSharedFilter,
} from '../../wire/topic.ts';
import { Candidate, evaluate } from './conditions.ts';
import { type Decision, isAllowed, NO_MATCH, NO_RULES, SUPERUSER } from './decision.ts';
import type { AclAction } from './granted-rule.ts';
import { describeTemplate, OPEN, REFUSED, SlotValues } from './placeholder.ts';
import { ANY_QOS, ON_PUBLISH, ON_RECEIVE, ON_SUBSCRIBE, type Rule } from './rule.ts';
import type { RuleSet } from './rule-set.ts';
import type { AclSubject } from './subject.ts';
import { matchesTopic, mayOverlap, plainPattern, type TopicPattern } from './topic-pattern.ts';

export interface AclQuestion {
  readonly subject: AclSubject;
  readonly action: AclAction;
  /** For `subscribe` a filter, `$share/group/…` included. */
  readonly topic: string;
  /** 0 when not given. */
  readonly qos?: 0 | 1 | 2 | undefined;
  /** Of a message published; false when not given. */
  readonly retain?: boolean | undefined;
}

export interface ExplainedRule {
  /** 1 for the first in the file, or of those granted. */
  readonly index: number;
  /** The rule file, or where a granted rule came from. */
  readonly file: string;
  /** 0: it stands in no file. */
  readonly line: number;
  readonly column: number;
  readonly text: string;
}

export interface Explanation {
  readonly allowed: boolean;
  readonly rule: ExplainedRule | null;
  /** One sentence. */
  readonly reason: string;
  /** Rules before it that nearly decided, or that hold back a part: one sentence each. */
  readonly notes: readonly string[];
}

const NOTES_MAX = 20;

export function explain(rules: RuleSet, question: AclQuestion): Explanation {
  const { action, subject } = question;
  const topic = subscribedFilter(question);
  if (topic === null) {
    const what = action === 'subscribe' ? 'topic filter' : 'topic name';
    return refuse(`this is no ${what}`);
  }
  // The core keeps these from everyone, whatever the rules say (FIELD class 10).
  if (topic.startsWith('$')) {
    if (action === 'publish')
      return refuse('no client may publish to a topic that starts with `$`');
    if (topic !== '$SYS' && !topic.startsWith('$SYS/')) {
      return refuse('of the topics that start with `$` clients see those below `$SYS` only');
    }
  }
  const client = rules.compile(subject);
  const qos = question.qos ?? 0;
  const retain = question.retain ?? false;
  let decision: Decision;
  if (action === 'publish') decision = client.publish(topic, qos, retain);
  else if (action === 'subscribe') decision = client.subscribe(topic, qos);
  else decision = client.receive(topic);
  const rule = client.ruleOf(decision);
  const explained = rule === null ? null : locate(rules, rule, decision);
  return {
    allowed: isAllowed(decision),
    rule: explained,
    reason: reasonFor(decision, explained, rule),
    notes:
      decision === NO_RULES || decision === SUPERUSER
        ? []
        : notesOn(rules, { ...question, topic, qos, retain }, rule),
  };
}

function refuse(reason: string): Explanation {
  return { allowed: false, rule: null, reason, notes: [] };
}

/** The topic to be decided about: of a shared subscription the filter inside. */
function subscribedFilter({ action, topic }: AclQuestion): string | null {
  if (action !== 'subscribe') return isValidTopicName(topic) ? topic : null;
  if (isSharedFilter(topic)) return parseSharedFilter(topic)?.filter ?? null;
  return isValidTopicFilter(topic) ? topic : null;
}

function locate(rules: RuleSet, rule: Rule, decision: Decision): ExplainedRule {
  const position = rules.rules.indexOf(rule);
  return {
    index: (position === -1 ? decision >> 1 : position) + 1,
    file: rule.source.file,
    line: rule.source.line,
    column: rule.source.column,
    text: rule.text,
  };
}

function place({ file, line, index }: ExplainedRule): string {
  return line === 0 ? `rule ${index} of ${file}` : `rule ${index} (${file}:${line})`;
}

function reasonFor(decision: Decision, explained: ExplainedRule | null, rule: Rule | null): string {
  if (decision === NO_RULES) return 'there are no rules: everything outside `$` is allowed';
  if (decision === SUPERUSER) return 'a superuser may do everything outside `$`';
  if (decision === NO_MATCH || explained === null || rule === null) {
    return 'no rule speaks about it, and what no rule allows is denied';
  }
  return `${place(explained)} ${rule.allow ? 'allows' : 'denies'} it: ${rule.text}`;
}

type Asked = Required<AclQuestion>;

/** Looks at the rules of the file one by one, up to the one that decided. */
function notesOn(rules: RuleSet, asked: Asked, decided: Rule | null): string[] {
  const { subject, action } = asked;
  // Granted rules come first: no rule of the file had a say.
  if (decided !== null && decided.source.line === 0) return [];
  const candidate = new Candidate(subject);
  const values = new SlotValues(rules.slots, subject, 'against');
  const bits =
    action === 'publish'
      ? ON_PUBLISH
      : action === 'subscribe'
        ? ON_SUBSCRIBE | ON_RECEIVE
        : ON_RECEIVE;
  const notes: string[] = [];
  for (const [i, rule] of rules.rules.entries()) {
    if (rule === decided || notes.length === NOTES_MAX) break;
    if ((rule.actions & bits) === 0 || !speaksAbout(rule, asked, values)) continue;
    // `receive` alone allows no subscription.
    if (action === 'subscribe' && rule.allow && (rule.actions & ON_SUBSCRIBE) === 0) continue;
    const which = place({ ...rule.source, index: i + 1, text: rule.text });
    const verdict = rule.conditions === null ? null : evaluate(rule.conditions, candidate);
    if (verdict?.kind === 'fails') continue;
    if (verdict?.kind === 'unknown' && rule.allow) {
      notes.push(`${which} would allow it if the ${verdict.missing} were known and fitted`);
      continue;
    }
    const refused = refusedSlot(rules, rule, values);
    if (refused !== null && rule.allow) {
      notes.push(`${which} is passed over: ${refused} is empty or cannot stand in a topic level`);
    } else if (rule.qosMask !== ANY_QOS || rule.retain !== null) {
      notes.push(`${which} is for another QoS or RETAIN: ${rule.text}`);
    } else if (action === 'subscribe' && rule.allow) {
      notes.push(`${which} allows only a part of the filter: ${rule.text}`);
    } else if (action === 'subscribe' && decided?.allow === true) {
      notes.push(`${which} holds back messages of this subscription: ${rule.text}`);
    }
  }
  return notes;
}

/** Whether the rule's topics have to do with the question; refused placeholders count as a yes. */
function speaksAbout(rule: Rule, { action, topic }: Asked, values: SlotValues): boolean {
  if (rule.patterns === null) return true;
  const filter = plainPattern(topic);
  return rule.patterns.some((pattern) =>
    action === 'subscribe'
      ? mayOverlap(pattern, filter, values)
      : matchesTopic(pattern, topic, values, false),
  );
}

/** What the first placeholder without a value stands for, or null. */
function refusedSlot(rules: RuleSet, rule: Rule, values: SlotValues): string | null {
  for (const pattern of rule.patterns ?? []) {
    const slot = refusedIn(pattern, values);
    if (slot !== null) return describeTemplate(rules.slots.template(slot));
  }
  return null;
}

function refusedIn({ slots }: TopicPattern, values: SlotValues): number | null {
  for (const slot of slots ?? []) {
    if (slot === -1) continue;
    const value = values.get(slot);
    if (value === REFUSED || value === OPEN) return slot;
  }
  return null;
}
