// The three questions asked of a pattern, against trying every topic of a small world.
import t from 'tap';
import { SlotTable, SlotValues } from '../../../src/access/acl/placeholder.ts';
import {
  coversFilter,
  matchesTopic,
  mayOverlap,
  PATTERN_LEVELS_MAX,
  parsePattern,
  plainPattern,
  type TopicPattern,
} from '../../../src/access/acl/topic-pattern.ts';
import { covers, matches, overlaps, universe } from './model.ts';
import { subject } from './subjects.ts';

const noValues = new SlotValues(new SlotTable(), subject(), 'against');

function parsed(text: string, slots: SlotTable = new SlotTable()): TopicPattern {
  const pattern = parsePattern(text, slots);
  if (typeof pattern === 'string') throw new Error(`${text}: ${pattern}`);
  return pattern;
}

/** Every filter with up to three levels over a few texts and wildcards. */
function filters(): string[] {
  const texts = ['a', '', '$s', '+'];
  const all: string[] = [];
  let longest: string[][] = [[]];
  for (let depth = 0; depth < 3; depth += 1) {
    for (const levels of longest) all.push([...levels, '#'].join('/'));
    longest = longest.flatMap((levels) => texts.map((text) => [...levels, text]));
    all.push(...longest.map((levels) => levels.join('/')));
  }
  return all.filter((filter) => filter !== '');
}

t.test('covering and overlapping are what trying every topic says', async (t) => {
  const all = filters();
  const wrong: string[] = [];
  let coverings = 0;
  for (const one of all) {
    const pattern = parsed(one);
    for (const other of all) {
      const isCovered = coversFilter(pattern, other, noValues, true);
      if (isCovered !== covers(one, other)) wrong.push(`${one} covers ${other}: ${isCovered}`);
      if (isCovered) coverings += 1;
      const mayMeet = mayOverlap(pattern, plainPattern(other), noValues);
      const doMeet = overlaps(one, other);
      if (mayMeet !== doMeet) wrong.push(`${one} overlaps ${other}: ${mayMeet}`);
    }
  }
  t.strictSame(wrong, []);
  t.ok(coverings > all.length, `${coverings} coverings among ${all.length} filters`);
});

t.test('matching is what the levels say', async (t) => {
  const topics = universe(3, ['a', '', '$s', 'ab']);
  const wrong: string[] = [];
  for (const filter of filters()) {
    const pattern = parsed(filter);
    for (const topic of topics) {
      const isMatch = matchesTopic(pattern, topic, noValues, true);
      if (isMatch !== matches(filter, topic)) wrong.push(`${filter} ${topic}: ${isMatch}`);
    }
  }
  t.strictSame(wrong, []);
});

t.test('placeholders', async (t) => {
  const match = (
    pattern: string,
    topic: string,
    who: Parameters<typeof subject>[0],
    allow = true,
  ): boolean => {
    const slots = new SlotTable();
    const read = parsed(pattern, slots);
    return matchesTopic(read, topic, new SlotValues(slots, subject(who), 'against'), allow);
  };
  const claims = new Map<string, string | readonly string[]>([
    ['site', 'berlin'],
    ['https://example.com/line', '7'],
    ['roles', ['one']],
    ['many', ['one', 'two']],
    ['__proto__', 'p'],
  ]);
  t.ok(match('d/%c/#', 'd/dev1/up', { clientId: 'dev1' }));
  t.notOk(match('d/%c/#', 'd/dev2/up', { clientId: 'dev1' }));
  t.ok(match('d-%c-x/%u', 'd-dev1-x/alice', { clientId: 'dev1', user: 'alice' }), 'within a level');
  t.ok(match('%t/%u-%c', 'acme/u-c', { tenant: 'acme', user: 'u', clientId: 'c' }));
  t.ok(match('s/%{site}/%{https://example.com/line}', 's/berlin/7', { claims }), 'slash in a name');
  t.ok(match('r/%{roles}', 'r/one', { claims }), 'a list of one');
  t.notOk(match('r/%{many}', 'r/one', { claims }), 'a list of two leaves a choice');
  t.ok(match('r/%{__proto__}', 'r/p', { claims }));
  t.notOk(match('r/%{constructor}', 'r/x', { claims }), 'no claim comes from a prototype');
  t.ok(match('100%%/%c', '100%/dev1', { clientId: 'dev1' }), 'a percent sign');
  t.ok(match('%%c', '%c', { clientId: 'dev1' }), 'a percent sign and a letter');
  t.ok(match('d/%c', 'd/%u', { clientId: '%u', user: 'alice' }), 'a value is never read again');
  t.notOk(match('d/%c', 'd/alice', { clientId: '%u', user: 'alice' }));
  t.ok(match('d/%c', 'd/%{site}', { clientId: '%{site}', claims }));
  t.ok(match('d/%c', 'd/.*', { clientId: '.*' }), 'no regular expression');
  t.notOk(match('d/%c', 'd/abc', { clientId: '.*' }));
});

t.test('[class 4] an identity that holds wildcards or slashes opens nothing', async (t) => {
  const bad = ['#', '+', 'a/b', '$share/x/y', 'a\0b', '', '+/+', '/', 'x#'];
  const topics = universe(3, ['d', 'a', 'b', '$share', 'x', '#', '+', '']);
  for (const clientId of bad) {
    for (const text of ['d/%c', 'd/%c/#', '%c/#', 'd/x-%c/b', '%c']) {
      const slots = new SlotTable();
      const pattern = parsed(text, slots);
      const values = new SlotValues(slots, subject({ clientId }), 'against');
      const opened = topics.filter((topic) => matchesTopic(pattern, topic, values, true));
      t.strictSame(opened, [], `allow ${text} for ${JSON.stringify(clientId)}`);
      const covered = ['#', '+', 'd/#', 'd/+', 'd/a', '$share/x/y'].filter((filter) =>
        coversFilter(pattern, filter, values, true),
      );
      t.strictSame(covered, [], `allow ${text} covers for ${JSON.stringify(clientId)}`);
    }
    // What denies is about every topic the value could have meant, however it is read.
    const slots = new SlotTable();
    const values = new SlotValues(slots, subject({ clientId }), 'against');
    const own = parsed('d/%c/b', slots);
    for (const topic of ['d/a/b', 'd/a/b/b', `d/${clientId}/b`, 'd/x']) {
      t.ok(matchesTopic(own, topic, values, false), `deny d/%c/b reaches ${JSON.stringify(topic)}`);
    }
    t.notOk(matchesTopic(own, 'e/a/b', values, false), 'and not what it cannot have meant');
  }
});

t.test('[class 10] a first level that a client names is no `$` namespace', async (t) => {
  const slots = new SlotTable();
  const [own, fixed] = [parsed('%c/#', slots), parsed('$%c/#', slots)];
  const values = new SlotValues(slots, subject({ clientId: '$SYS' }), 'against');
  t.notOk(matchesTopic(own, '$SYS/broker', values, true));
  t.ok(matchesTopic(own, '$SYS/broker', values, false), 'a rule that denies reaches it');
  t.ok(matchesTopic(fixed, '$$SYS/x', values, true), 'what the operator wrote stands');
  t.notOk(coversFilter(parsed('#'), '$SYS/#', noValues, true));
  t.notOk(coversFilter(parsed('+/broker'), '$SYS/broker', noValues, true));
  t.ok(coversFilter(parsed('$SYS/#'), '$SYS/broker/+', noValues, true));
});

t.test('[class 17] 65,535 levels are one pass', async (t) => {
  const deep = '/'.repeat(65_535);
  const plusses = `${'+/'.repeat(32_767)}+`;
  t.ok(matchesTopic(parsed('#'), deep, noValues, true));
  t.notOk(matchesTopic(parsed('+/+/a'), deep, noValues, true));
  t.ok(coversFilter(parsed('#'), plusses, noValues, true));
  t.notOk(coversFilter(parsed('+/+'), plusses, noValues, true));
  t.type(parsePattern(deep.slice(0, 65_000), new SlotTable()), 'string', 'no pattern is so deep');
  const deepest = `${'+/'.repeat(PATTERN_LEVELS_MAX - 1)}#`;
  t.ok(matchesTopic(parsed(deepest), deep, noValues, true));
});

t.test('what is no pattern is refused', async (t) => {
  const bad = [
    '',
    'a/#/b',
    'a#',
    'a+/b',
    '+a',
    '#/a',
    'a\0',
    '$share/g/a',
    '$share',
    'a/%x',
    'a/%',
    'a/%{}',
    'a/%{role',
    '+%c',
    '%c+',
    '#%c',
    '%c#',
    'a'.repeat(65_536),
    '/'.repeat(PATTERN_LEVELS_MAX),
  ];
  for (const text of bad) {
    t.type(parsePattern(text, new SlotTable()), 'string', JSON.stringify(text.slice(0, 20)));
  }
});
