/**
 * What rules mean, as plainly as it can be said: split topics, look at every rule in order. The
 * matchers are held against it; it shares no code with them.
 */

export interface PlainRule {
  readonly allow: boolean;
  readonly actions: readonly ('publish' | 'subscribe' | 'receive')[];
  readonly topics: readonly string[];
  readonly users?: readonly string[];
  readonly clients?: readonly string[];
  readonly tenants?: readonly string[];
  readonly listeners?: readonly string[];
  readonly anonymous?: boolean;
  readonly qos?: readonly number[];
  readonly retain?: boolean;
}

export interface PlainClient {
  readonly clientId: string;
  readonly user: string | null;
  readonly tenant: string;
  /** Undefined: not known. */
  readonly listener: string | undefined;
  readonly claims: ReadonlyMap<string, string | readonly string[]> | null | undefined;
}

/** Plain topic filters, no placeholders. */
export function matches(filter: string, topic: string): boolean {
  const wanted = filter.split('/');
  const levels = topic.split('/');
  if (levels[0]!.startsWith('$') && (wanted[0] === '+' || wanted[0] === '#')) return false;
  if (wanted.at(-1) === '#') {
    const head = wanted.slice(0, -1);
    return levels.length >= head.length && head.every((w, i) => w === '+' || w === levels[i]);
  }
  return levels.length === wanted.length && wanted.every((w, i) => w === '+' || w === levels[i]);
}

const ALPHABET = ['a', 'b', 'x', '', '$s', 'other'];

/** Every topic with up to `depth` levels of the alphabet. */
export function universe(depth: number, alphabet: readonly string[] = ALPHABET): string[] {
  let longest: string[][] = alphabet.map((level) => [level]);
  const all = [...longest];
  for (let i = 1; i < depth; i += 1) {
    longest = longest.flatMap((levels) => alphabet.map((level) => [...levels, level]));
    all.push(...longest);
  }
  return all.map((levels) => levels.join('/')).filter((topic) => topic !== '');
}

/**
 * The filters a pattern stands for with a client: one, none ('nothing'), or all topics its rule may
 * have meant.
 */
function filterFor(
  pattern: string,
  client: PlainClient,
  allow: boolean,
  unknownFor: boolean,
): { filter: string } | 'nothing' | 'everything' {
  const levels = splitPattern(pattern);
  const out: string[] = [];
  for (const [i, level] of levels.entries()) {
    let text = '';
    let isRefused = false;
    let isUnknown = false;
    let isFirst = true;
    for (const part of level) {
      if (part.kind === 'text') {
        text += part.text;
      } else {
        const value = textOf(part.name, client);
        if (value === undefined) isUnknown = true;
        else if (value === '' || /[/+#\0]/.test(value)) isRefused = true;
        else if (i === 0 && isFirst && value.startsWith('$')) isRefused = true;
        else text += value;
      }
      if (text !== '') isFirst = false;
    }
    const isBad = isRefused || (isUnknown && !unknownFor);
    if (isBad || isUnknown) {
      if (isBad === allow) return 'nothing';
      return i === 0 ? 'everything' : { filter: `${[...out, '+', '#'].join('/')}` };
    }
    out.push(text);
  }
  return { filter: out.join('/') };
}

type Part = { kind: 'text'; text: string } | { kind: 'placeholder'; name: string };

function splitPattern(pattern: string): Part[][] {
  const levels: Part[][] = [[]];
  for (const [token] of pattern.matchAll(/%%|%\{[^}]*\}|%[cut]|\/|[^%/]+/g)) {
    if (token === '/') levels.push([]);
    else if (token === '%%') levels.at(-1)!.push({ kind: 'text', text: '%' });
    else if (token.startsWith('%')) levels.at(-1)!.push({ kind: 'placeholder', name: token });
    else levels.at(-1)!.push({ kind: 'text', text: token });
  }
  return levels;
}

function textOf(name: string, client: PlainClient): string | undefined {
  if (name === '%c') return client.clientId;
  if (name === '%u') return client.user ?? '';
  if (name === '%t') return client.tenant;
  if (client.claims === undefined) return undefined;
  const claim = client.claims?.get(name.slice(2, -1));
  if (typeof claim === 'string') return claim;
  return claim?.length === 1 ? claim[0]! : '';
}

function concerns(rule: PlainRule, client: PlainClient, unknownFor: boolean): boolean {
  const { users, user } = { users: rule.users, user: client.user };
  if (users && (user === null || !(users.includes(user) || users.includes('*')))) return false;
  if (rule.anonymous !== undefined && rule.anonymous !== (user === null)) return false;
  if (rule.clients && !rule.clients.includes(client.clientId)) return false;
  if (rule.tenants && !(client.tenant !== '' && rule.tenants.includes(client.tenant))) return false;
  if (rule.listeners) {
    if (client.listener === undefined) return rule.allow === unknownFor;
    if (!rule.listeners.includes(client.listener)) return false;
  }
  return true;
}

const topics = universe(4);
/** Filter → for each topic whether it matches. */
const reaches = new Map<string, readonly boolean[]>();

function reach(filter: string): readonly boolean[] {
  let found = reaches.get(filter);
  if (found === undefined) {
    found = topics.map((topic) => matches(filter, topic));
    reaches.set(filter, found);
  }
  return found;
}

/** Whether every topic of the filter is one of the pattern: by trying them. */
export function covers(pattern: string, filter: string): boolean {
  const wide = reach(pattern);
  return reach(filter).every((isMatch, i) => !isMatch || wide[i]);
}

export function overlaps(one: string, other: string): boolean {
  const its = reach(other);
  // A text that no topic here has is like any other that the filter does not name.
  const known = one
    .split('/')
    .map((level) => (level === '+' || level === '#' || ALPHABET.includes(level) ? level : 'other'));
  return reach(known.join('/')).some((isMatch, i) => isMatch && its[i]);
}

export type Question =
  | { readonly action: 'publish'; readonly topic: string; qos: number; retain: boolean }
  | { readonly action: 'receive'; readonly topic: string }
  | { readonly action: 'subscribe'; readonly topic: string; readonly qos: number };

/** The position of the rule that decides, or -1. */
export function decide(
  rules: readonly PlainRule[],
  client: PlainClient,
  question: Question,
  unknownFor = false,
): number {
  return rules.findIndex((rule) => {
    if (!concerns(rule, client, unknownFor)) return false;
    const { actions, qos } = rule;
    let reach: 'matches' | 'covers' | 'overlaps';
    switch (question.action) {
      case 'publish':
        if (!actions.includes('publish')) return false;
        if (qos && !qos.includes(question.qos)) return false;
        if (rule.retain !== undefined && rule.retain !== question.retain) return false;
        reach = 'matches';
        break;
      case 'receive':
        if (!actions.includes('receive') && !actions.includes('subscribe')) return false;
        if (!rule.allow && qos && qos.length < 3 && actions.includes('subscribe')) return false;
        reach = 'matches';
        break;
      case 'subscribe':
        if (!actions.includes('subscribe')) return false;
        if (qos && !qos.includes(question.qos)) return false;
        reach = !rule.allow && qos && qos.length < 3 ? 'overlaps' : 'covers';
    }
    return rule.topics.some((pattern) => {
      const filter = filterFor(pattern, client, rule.allow, unknownFor);
      if (filter === 'nothing') return false;
      if (filter === 'everything') return true;
      if (reach === 'matches') return matches(filter.filter, question.topic);
      if (reach === 'covers') return covers(filter.filter, question.topic);
      return overlaps(filter.filter, question.topic);
    });
  });
}
