/**
 * Placeholders in the topics of rules: `%c` client id, `%u` user, `%t` tenant, `%{name}` a claim of
 * the token, `%%` a percent sign. A level that holds one is a *slot*: all patterns of a rule set
 * share one numbering of their slots, and a client has one text per slot, so that no pattern is
 * copied per client. Substitution is a single pass: what a client is called is never read again as a
 * placeholder or a wildcard (FIELD class 4).
 */
import type { AclSubject } from './subject.ts';

type Placeholder =
  | { readonly kind: 'client_id' | 'user' | 'tenant' }
  | { readonly kind: 'claim'; readonly name: string };

/** One topic level with at least one placeholder. */
export interface LevelTemplate {
  /** Tells one slot from another. */
  readonly key: string;
  readonly parts: readonly (string | Placeholder)[];
  /** It is the first level of its topic: a value in front must not open a `$` namespace. */
  readonly isFirstLevel: boolean;
}

/**
 * The value cannot stand in a topic. The rule then applies to nothing when it allows, and to every
 * topic it could have meant with any value (`a/%c/b`: all of `a/#`) when it denies.
 */
export const REFUSED = '';
/**
 * The value is not known and counts for the client: the other way round. No value holds a `+`, so
 * this is none.
 */
export const OPEN = '+';

/** Whether what is not known of a client that is away counts against it, or for it. */
export type UnknownCounts = 'against' | 'for';

/** More kinds of levels with placeholders than any honest rule file has. */
export const SLOTS_MAX = 1000;

/** The slots of one rule set. */
export class SlotTable {
  readonly #numbers = new Map<string, number>();
  readonly #templates: LevelTemplate[] = [];

  get size(): number {
    return this.#templates.length;
  }

  /** The number of the level's slot, or -1 when there are too many. */
  add(template: LevelTemplate): number {
    const known = this.#numbers.get(template.key);
    if (known !== undefined) return known;
    const number = this.#templates.length;
    if (number === SLOTS_MAX) return -1;
    this.#numbers.set(template.key, number);
    this.#templates.push(template);
    return number;
  }

  template(slot: number): LevelTemplate {
    return this.#templates[slot]!;
  }
}

/** What one client has in the slots; each is worked out when it is first asked for. */
export class SlotValues {
  readonly #table: SlotTable;
  readonly #subject: AclSubject;
  readonly #unknownCounts: UnknownCounts;
  readonly #values: string[] = [];

  constructor(table: SlotTable, subject: AclSubject, unknownCounts: UnknownCounts) {
    this.#table = table;
    this.#subject = subject;
    this.#unknownCounts = unknownCounts;
  }

  /** A text, REFUSED or OPEN. */
  get(slot: number): string {
    return this.#values[slot] ?? this.#expand(slot);
  }

  #expand(slot: number): string {
    // Filled from the start, so that the array stays a dense one.
    for (let next = this.#values.length; next <= slot; next += 1) {
      const template = this.#table.template(next);
      this.#values.push(expandLevel(template, this.#subject, this.#unknownCounts));
    }
    return this.#values[slot]!;
  }
}

/** The text of the level for this client, REFUSED or OPEN. */
export function expandLevel(
  template: LevelTemplate,
  subject: AclSubject,
  unknownCounts: UnknownCounts,
): string {
  let text = '';
  let isUnknown = false;
  for (const part of template.parts) {
    if (typeof part === 'string') {
      text += part;
      continue;
    }
    const value = textFor(part, subject);
    if (value === undefined) {
      isUnknown = true;
      continue;
    }
    if (!canStandInLevel(value)) return REFUSED;
    if (template.isFirstLevel && text === '' && value.startsWith('$')) return REFUSED;
    text += value;
  }
  if (isUnknown) return unknownCounts === 'for' ? OPEN : REFUSED;
  return text;
}

/** Undefined: not known; '': has none. */
function textFor(placeholder: Placeholder, subject: AclSubject): string | undefined {
  switch (placeholder.kind) {
    case 'client_id':
      return subject.clientId;
    case 'user':
      return subject.user ?? '';
    case 'tenant':
      return subject.tenant;
    case 'claim': {
      if (subject.claims === undefined) return undefined;
      const claim = subject.claims?.get(placeholder.name);
      if (claim === undefined) return '';
      if (typeof claim === 'string') return claim;
      // A list is a value only when it leaves no choice.
      return claim.length === 1 ? claim[0]! : '';
    }
  }
}

/** One whole part of a topic level, and nothing a filter or a placeholder could be made of. */
function canStandInLevel(value: string): boolean {
  for (let i = 0; i < value.length; i += 1) {
    switch (value.charCodeAt(i)) {
      case 0x2f: // '/'
      case 0x2b: // '+'
      case 0x23: // '#'
      case 0x00:
        return false;
    }
  }
  return value.length > 0;
}

/** What a placeholder stands for, in words for explanations. */
export function describeTemplate(template: LevelTemplate): string {
  const names = template.parts.flatMap((part) => {
    if (typeof part === 'string') return [];
    if (part.kind === 'claim') return [`the claim ${part.name}`];
    return [`the ${part.kind === 'client_id' ? 'client id' : part.kind}`];
  });
  return [...new Set(names)].join(' or ');
}
