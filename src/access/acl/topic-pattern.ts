/**
 * The topic filter of a rule, with placeholders, cut into levels once; and the three questions asked
 * of one: does it match this topic, does it cover this filter (every topic of the filter is one of
 * the pattern), can it overlap that filter. Data plane but for the parser: one pass over the text,
 * no recursion (FIELD class 17), no regular expression, nothing allocated.
 */
import { isSharedFilter, isValidTopicFilter } from '../../wire/topic.ts';
import {
  type LevelTemplate,
  OPEN,
  REFUSED,
  type SlotTable,
  type SlotValues,
} from './placeholder.ts';

const DOLLAR = 0x24;

/** As deep as a rule may look; topics may be deeper. */
export const PATTERN_LEVELS_MAX = 200;
const PATTERN_LENGTH_MAX = 65_535;
const CLAIM_NAME_LENGTH_MAX = 200;

export interface TopicPattern {
  /** As written. */
  readonly text: string;
  /** Literal text, `+` or `#`; for a slot what was written. No literal holds a wildcard. */
  readonly levels: readonly string[];
  /** Per level its slot, or -1; null: no placeholder anywhere. */
  readonly slots: Int16Array | null;
}

/** The pattern, or what is wrong with it. */
export function parsePattern(text: string, slots: SlotTable): TopicPattern | string {
  if (text === '') return 'a topic may not be empty';
  if (text.length > PATTERN_LENGTH_MAX) return `is longer than ${PATTERN_LENGTH_MAX} characters`;
  const levels: string[] = [];
  const templates: (LevelTemplate | null)[] = [];
  // The same pattern with an ordinary letter for each placeholder: it has to be a topic filter.
  let sample = '';
  let parts: LevelTemplate['parts'][number][] = [];
  let literal = '';
  let start = 0;
  const endLevel = (end: number): void => {
    if (parts.length === 0) {
      levels.push(literal);
      templates.push(null);
    } else {
      if (literal !== '') parts.push(literal);
      const isFirstLevel = levels.length === 0;
      const written = text.slice(start, end);
      templates.push({ key: `${isFirstLevel ? '^' : ''}${written}`, parts, isFirstLevel });
      levels.push(written);
    }
    parts = [];
    literal = '';
    start = end + 1;
  };
  for (let i = 0; i < text.length; i += 1) {
    const char = text[i]!;
    if (char === '/') {
      endLevel(i);
      sample += char;
    } else if (char !== '%') {
      literal += char;
      sample += char;
    } else {
      const next = text[i + 1];
      if (next === '%') {
        literal += '%';
        sample += '%';
        i += 1;
        continue;
      }
      if (literal !== '') parts.push(literal);
      literal = '';
      sample += 'x';
      if (next === '{') {
        const end = text.indexOf('}', i);
        const name = end === -1 ? '' : text.slice(i + 2, end);
        if (name === '' || name.length > CLAIM_NAME_LENGTH_MAX) {
          return 'expected the name of a claim between %{ and }';
        }
        parts.push({ kind: 'claim', name });
        i = end;
        continue;
      }
      const kind = letters.get(next ?? '');
      if (kind === undefined) {
        return `%${next ?? ''} is no placeholder; %c, %u, %t and %{claim} are, and %% is a percent sign`;
      }
      parts.push({ kind });
      i += 1;
    }
  }
  endLevel(text.length);
  if (isSharedFilter(sample)) {
    return 'a shared subscription is decided by the filter after its group: leave out $share/group/';
  }
  if (!isValidTopicFilter(sample)) {
    return 'is no topic filter: + and # stand alone between slashes, and # comes last';
  }
  if (levels.length > PATTERN_LEVELS_MAX) return `has more than ${PATTERN_LEVELS_MAX} levels`;
  if (templates.every((template) => template === null)) return { text, levels, slots: null };
  const numbers = new Int16Array(levels.length).fill(-1);
  for (const [i, template] of templates.entries()) {
    if (template === null) continue;
    numbers[i] = slots.add(template);
    if (numbers[i] === -1) return 'is one of too many different levels with placeholders';
  }
  return { text, levels, slots: numbers };
}

const letters: ReadonlyMap<string, 'client_id' | 'user' | 'tenant'> = new Map([
  ['c', 'client_id'],
  ['u', 'user'],
  ['t', 'tenant'],
]);

/** `allow`: what the rule of the pattern says; a value that is refused counts against the client. */
export function matchesTopic(
  pattern: TopicPattern,
  topic: string,
  values: SlotValues,
  allow: boolean,
): boolean {
  const { levels, slots } = pattern;
  const length = topic.length;
  const isReserved = topic.charCodeAt(0) === DOLLAR;
  let start = 0;
  for (let i = 0; i < levels.length; i += 1) {
    let level = levels[i]!;
    // [MQTT5-4.7.2-1]; `a/#` matches `a` too.
    if (level === '#') return i > 0 || !isReserved;
    if (start > length) return false;
    let end = topic.indexOf('/', start);
    if (end === -1) end = length;
    if (slots !== null && slots[i] !== -1) {
      level = values.get(slots[i]!);
      if (level === REFUSED) return !allow;
      if (level === OPEN) return allow;
    } else if (level === '+') {
      if (i === 0 && isReserved) return false;
      start = end + 1;
      continue;
    }
    if (end - start !== level.length || !topic.startsWith(level, start)) return false;
    start = end + 1;
  }
  return start > length;
}

/** Whether every topic the filter matches is one the pattern matches. */
export function coversFilter(
  pattern: TopicPattern,
  filter: string,
  values: SlotValues,
  allow: boolean,
): boolean {
  const { levels, slots } = pattern;
  const length = filter.length;
  const isReserved = filter.charCodeAt(0) === DOLLAR;
  let start = 0;
  for (let i = 0; i < levels.length; i += 1) {
    let level = levels[i]!;
    if (level === '#') return i > 0 || !isReserved;
    if (start > length) return false;
    let end = filter.indexOf('/', start);
    if (end === -1) end = length;
    if (slots !== null && slots[i] !== -1) {
      level = values.get(slots[i]!);
      if (level === REFUSED || level === OPEN) {
        return allow === (level === OPEN) && takesWhole(filter, start, end);
      }
    } else if (level === '+') {
      if (isHashAt(filter, start, end)) {
        return hasNoParent(filter) && i === levels.length - 2 && levels[i + 1] === '#';
      }
      if (i === 0 && isReserved) return false;
      start = end + 1;
      continue;
    }
    // A wildcard of the filter is more than any one text, and never equal to one.
    if (end - start !== level.length || !filter.startsWith(level, start)) return false;
    start = end + 1;
  }
  return start > length;
}

export function isHashAt(filter: string, start: number, end: number): boolean {
  return end - start === 1 && filter.charCodeAt(start) === 0x23;
}

/**
 * Whether a rule that is about everything from this level on takes all of the filter: `a/#` has one
 * topic that ends before.
 */
export function takesWhole(filter: string, start: number, end: number): boolean {
  return start === 0 || !isHashAt(filter, start, end) || hasNoParent(filter);
}

/** `a/#` matches `a`, but no topic is empty: `#` is the same as `+/#`, and `/#` as `/+/#`. */
export function hasNoParent(filter: string): boolean {
  return filter === '#' || filter === '/#';
}

/**
 * Whether a topic that the pattern of a rule that denies speaks about may be matched by the other.
 * Without the values of a client the answer holds for every client: then it may say yes where there
 * is no such topic, never no where there is one.
 */
export function mayOverlap(
  denied: TopicPattern,
  other: TopicPattern,
  values: SlotValues | null,
): boolean {
  const levelsMax = Math.max(denied.levels.length, other.levels.length);
  for (let i = 0; i <= levelsMax; i += 1) {
    let mine = denied.levels[i];
    const isTheirsAny = isSlot(other, i);
    const theirs = isTheirsAny ? '+' : other.levels[i];
    if (isSlot(denied, i)) {
      mine = values === null ? REFUSED : values.get(denied.slots![i]!);
      // Refused: it denies everything from here on.
      if (mine === REFUSED) return theirs !== undefined;
      if (mine === OPEN) return false;
    }
    if (mine === '#' || theirs === '#') {
      const rest = mine === '#' ? theirs : mine;
      // `/#` and `+` would meet in the topic without a character, which there is not.
      if (rest === undefined) return i > 1 || (denied.levels[0] !== '' && other.levels[0] !== '');
      return i > 0 || isTheirsAny || !rest.startsWith('$');
    }
    if (mine === undefined || theirs === undefined) return mine === theirs;
    if (mine === '+' || theirs === '+') {
      const literal = mine === '+' ? theirs : mine;
      if (i === 0 && !isTheirsAny && literal.startsWith('$')) return false;
    } else if (mine !== theirs) return false;
  }
  return true;
}

function isSlot(pattern: TopicPattern, index: number): boolean {
  return pattern.slots !== null && (pattern.slots[index] ?? -1) !== -1;
}

/** A filter of a client, to be held against patterns. */
export function plainPattern(filter: string): TopicPattern {
  return { text: filter, levels: filter.split('/'), slots: null };
}
