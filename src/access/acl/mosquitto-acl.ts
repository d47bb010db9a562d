/**
 * Reads mosquitto's acl_file and says the same in our rules. There a SUBSCRIBE is always granted and
 * what is delivered is decided message by message; `deny` comes before everything else of its part
 * (a user's own lines, or the patterns), and a user's own lines come before the patterns.
 */
import type { Steps } from '../slices.ts';
import { type Conditions, noConditions } from './conditions.ts';
import { SlotTable } from './placeholder.ts';
import { ANY_QOS, ON_PUBLISH, ON_RECEIVE, ON_SUBSCRIBE, type Rule } from './rule.ts';
import { Problems, RULES_MAX, type RulesRead } from './rule-file.ts';
import { parsePattern } from './topic-pattern.ts';

const LINES_PER_STEP = 32;

const SPACE = ' ';
const TAB = '\t';

/** What a line may do, as action bits; `deny` is about both. */
const accessBits: ReadonlyMap<string, number> = new Map([
  ['read', ON_RECEIVE],
  ['write', ON_PUBLISH],
  ['readwrite', ON_PUBLISH | ON_RECEIVE],
  ['deny', ON_PUBLISH | ON_RECEIVE],
]);

const anonymous: Conditions = { ...noConditions, isAuthenticated: false };
const anyUser: Conditions = { ...noConditions, isAuthenticated: true };

/** Whether the first line that says something is one of mosquitto's. */
export function looksLikeMosquittoAcl(text: string): boolean {
  for (const line of linesOf(text)) {
    const [keyword] = nextWord(line, 0);
    if (keyword === '' || keyword.startsWith('#')) continue;
    return keyword === 'user' || keyword === 'topic' || keyword === 'pattern';
  }
  return false;
}

/** `name` is what places are printed with. */
export function* readMosquittoAcl(text: string, name: string): Steps<RulesRead> {
  const slots = new SlotTable();
  const problems = new Problems();
  const denies: Rule[] = [];
  const allows: Rule[] = [];
  const patternDenies: Rule[] = [];
  const patternAllows: Rule[] = [];
  let who = anonymous;
  let lineNumber = 0;
  let count = 0;
  for (const raw of linesOf(text)) {
    lineNumber += 1;
    if (lineNumber % LINES_PER_STEP === 0) yield;
    const line = raw.trimEnd();
    const problem = (offset: number, message: string): void =>
      problems.add(`${name}:${lineNumber}:${offset + 1}`, message);
    const [keyword, keywordAt, afterKeyword] = nextWord(line, 0);
    if (keyword === '' || keyword.startsWith('#')) continue;
    if (keyword === 'user') {
      const [user, at] = restOf(line, afterKeyword);
      if (user === '') problem(at, 'expected a user name after `user`');
      else who = { ...noConditions, users: new Set([user]) };
      continue;
    }
    if (keyword !== 'topic' && keyword !== 'pattern') {
      problem(keywordAt, `unknown: \`${keyword}\`; user, topic and pattern are known`);
      continue;
    }
    count += 1;
    if (count > RULES_MAX) {
      problem(0, `more than ${RULES_MAX} rules`);
      break;
    }
    const [word, wordAt, afterWord] = nextWord(line, afterKeyword);
    let [topic, topicAt] = restOf(line, afterWord);
    let actions = accessBits.get(word);
    let isDeny = word === 'deny';
    if (topic === '') {
      // The only word is the topic, even when it is called `read`.
      [topic, topicAt] = [word, wordAt];
      actions = ON_PUBLISH | ON_RECEIVE;
      isDeny = false;
    }
    if (topic === '') {
      problem(topicAt, `expected a topic after \`${keyword}\``);
      continue;
    }
    if (actions === undefined) {
      problem(wordAt, `unknown: \`${word}\`; read, write, readwrite and deny are known`);
      continue;
    }
    const isPattern = keyword === 'pattern';
    const pattern = parsePattern(isPattern ? ourPlaceholders(topic) : escaped(topic), slots);
    if (typeof pattern === 'string') {
      problem(topicAt, pattern);
      continue;
    }
    const namesUser = isPattern && topic.includes('%u');
    const rule: Rule = {
      allow: !isDeny,
      actions,
      patterns: [pattern],
      conditions: isPattern ? (namesUser ? anyUser : null) : who,
      qosMask: ANY_QOS,
      retain: null,
      source: { file: name, line: lineNumber, column: keywordAt + 1 },
      text: line.trim(),
    };
    if (isPattern) (isDeny ? patternDenies : patternAllows).push(rule);
    else (isDeny ? denies : allows).push(rule);
  }
  const rules = [...denies, ...allows, ...patternDenies, ...patternAllows];
  // An empty file denies everything, as ours does.
  if (rules.length > 0) rules.push(everySubscription(name));
  return { rules, slots, problems: problems.list(name) };
}

function everySubscription(name: string): Rule {
  return {
    allow: true,
    actions: ON_SUBSCRIBE,
    patterns: null,
    conditions: null,
    qosMask: ANY_QOS,
    retain: null,
    source: { file: name, line: 1, column: 1 },
    text: 'every subscription is granted, and its messages are filtered (as in mosquitto)',
  };
}

/** One at a time, as a file may have many. */
function* linesOf(text: string): Iterable<string> {
  let start = 0;
  while (start <= text.length) {
    let end = text.indexOf('\n', start);
    if (end === -1) end = text.length;
    yield text.slice(start, end);
    start = end + 1;
  }
}

/** The word at or after the offset, where it begins and where it ends. */
function nextWord(line: string, from: number): [word: string, start: number, end: number] {
  let start = from;
  while (start < line.length && isBlank(line[start]!)) start += 1;
  let end = start;
  while (end < line.length && !isBlank(line[end]!) && line[end] !== '\r') end += 1;
  return [line.slice(start, end), start, end];
}

/** A topic or a user name may hold blanks. */
function restOf(line: string, from: number): [rest: string, start: number] {
  let start = from;
  while (start < line.length && isBlank(line[start]!)) start += 1;
  return [line.slice(start), start];
}

function isBlank(char: string): boolean {
  return char === SPACE || char === TAB;
}

/** There every percent sign is one. */
function escaped(topic: string): string {
  return topic.replaceAll('%', '%%');
}

/** There `%c` and `%u` are placeholders, and every other percent sign is one. */
function ourPlaceholders(topic: string): string {
  let text = '';
  for (let i = 0; i < topic.length; i += 1) {
    const isPlaceholder = topic[i] === '%' && (topic[i + 1] === 'c' || topic[i + 1] === 'u');
    if (isPlaceholder) {
      text += topic.slice(i, i + 2);
      i += 1;
    } else text += topic[i] === '%' ? '%%' : topic[i];
  }
  return text;
}
