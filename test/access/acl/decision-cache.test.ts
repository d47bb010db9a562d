/** The cache of one client's decisions: what it remembers, and what no client can make it hold. */
import t from 'tap';
import { DecisionCache } from '../../../src/access/acl/decision-cache.ts';

t.test('the topic before by itself, a few more by text and kind of message', async (t) => {
  const cache = new DecisionCache();
  t.equal(cache.get('', 1), undefined);
  cache.put('a', 1, 3);
  cache.put('b', 1, 5);
  cache.put('b', 8, 7);
  t.same(
    [cache.get('a', 1), cache.get('b', 1), cache.get('b', 8), cache.get('a', 8)],
    [3, 5, 7, undefined],
  );
});

t.test('class 14: a client with long topics does not fill the memory with them', async (t) => {
  const cache = new DecisionCache();
  const long = (i: number): string => `${i}/${'x'.repeat(60_000)}`;
  for (let i = 0; i < 60; i++) for (let bit = 0; bit < 6; bit++) cache.put(long(i), 1 << bit, i);
  t.equal(cache.get(long(59), 32), 59, 'but for the last');
  let kept = 0;
  for (let i = 0; i < 60; i++) {
    for (let bit = 0; bit < 6; bit++) if (cache.get(long(i), 1 << bit) !== undefined) kept++;
  }
  t.equal(kept, 1);
  cache.put('short', 1, 4);
  cache.put(long(1), 1, 2);
  t.equal(cache.get('short', 1), 4, 'others are remembered beside them');
});
