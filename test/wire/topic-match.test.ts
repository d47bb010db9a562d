// One filter against topics and filters, held against plain definitions on random ones.
import fc from 'fast-check';
import t from 'tap';
import { covers, filterMatches, intersection } from '../../src/wire/topic-match.ts';

/** The definition, level by level. */
function matches(filter: string, topic: string): boolean {
  const [f, levels] = [filter.split('/'), topic.split('/')];
  if (topic.startsWith('$') && (f[0] === '+' || f[0] === '#')) return false;
  for (let i = 0; i < f.length; i++) {
    if (f[i] === '#') return true;
    if (i >= levels.length) return false;
    if (f[i] !== '+' && f[i] !== levels[i]) return false;
  }
  return f.length === levels.length;
}

const level = fc.constantFrom('a', 'b', '', 'ab');
const topic = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'));
const filter = fc
  .tuple(fc.array(fc.oneof(level, fc.constant('+')), { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([levels, isHash]) => [...levels, ...(isHash ? ['#'] : [])].join('/'));
const notEmpty = (text: string): boolean => text !== '';

/** Every topic of up to four levels of these. */
function topicsOf(levels: readonly string[]): string[] {
  let all: string[] = [];
  let last = [...levels];
  for (let depth = 1; depth <= 4; depth++) {
    all = all.concat(last);
    last = last.flatMap((head) => levels.map((one) => `${head}/${one}`));
  }
  return all;
}
const topics = topicsOf(['a', 'b', 'ab', '']).filter(notEmpty);

t.test('a filter and a topic', async (t) => {
  fc.assert(
    fc.property(filter.filter(notEmpty), topic.filter(notEmpty), (one, other) => {
      return filterMatches(one, other) === matches(one, other);
    }),
    { numRuns: 3000 },
  );
  t.equal(filterMatches('#', '$SYS/a'), false);
  t.equal(filterMatches('+/a', '$SYS/a'), false);
  t.equal(filterMatches('$SYS/#', '$SYS/a'), true);
  t.equal(filterMatches('a/#', 'a'), true);
  t.equal(filterMatches('a/#', 'ab'), false);
});

t.test('a filter that covers another has all its topics, and the other way round', async () => {
  const filters = fc.sample(filter.filter(notEmpty), { numRuns: 80, seed: 7 });
  for (const outer of filters.slice(0, 40)) {
    for (const inner of filters.slice(40)) {
      const all = topics.filter((one) => matches(inner, one));
      const isCovered = all.every((one) => matches(outer, one));
      // Levels nobody has in the list, so that a wildcard is more than they are.
      const more = inner.replaceAll('+', 'zz').replace(/#$/, 'zz/zz/zz/zz');
      const expected = isCovered && matches(outer, more);
      if (covers(outer, inner) !== expected) {
        throw new Error(`covers(${outer}, ${inner}) is ${!expected}`);
      }
    }
  }
});

t.test('what two filters have in common', async (t) => {
  const filters = fc.sample(filter.filter(notEmpty), { numRuns: 80, seed: 3 });
  for (const left of filters.slice(0, 40)) {
    for (const right of filters.slice(40)) {
      const both = intersection(left, right);
      for (const one of topics) {
        const expected = matches(left, one) && matches(right, one);
        const found = both !== null && both !== '' && matches(both, one);
        if (found !== expected) throw new Error(`${left} and ${right}: ${both} for ${one}`);
      }
    }
  }
  t.equal(intersection('a/#', '+/b'), 'a/b');
  t.equal(intersection('a/+', 'b/+'), null);
  t.equal(intersection('a/#', 'a'), 'a');
});
