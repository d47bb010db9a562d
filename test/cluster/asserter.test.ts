// Who asserts what nobody owns after Redis was emptied, as each of the nodes that were there sees it.
import t from 'tap';
import { Asserter } from '../../src/cluster/asserter.ts';

const nobody = (): boolean => false;
const everybody = (): boolean => true;

function of(...names: string[]): (witness: string) => boolean {
  return (witness) => names.includes(witness);
}

t.test('the lowest that is back does it, and nobody waits for one that is not', async (t) => {
  const asserter = new Asserter();
  asserter.remember(['a', 'b', 'd']);
  t.notOk(asserter.begin('c', of('b', 'd'), 0), 'b is back');
  t.ok(asserter.begin('c', of('d'), 0), 'only a higher one is');
});

t.test('one that was not there before does not count, though it is lower', async (t) => {
  const asserter = new Asserter();
  asserter.remember(['d']);
  t.ok(asserter.begin('c', of('a', 'd'), 0));
});

t.test('when who was to do it has died the next one does, once', async (t) => {
  const asserter = new Asserter();
  asserter.remember(['a', 'b']);
  asserter.begin('c', everybody, 0);
  t.notOk(asserter.passes('c', everybody, 1), 'a lives');
  t.notOk(asserter.passes('c', of('b'), 2), 'it is b’s');
  t.ok(asserter.passes('c', nobody, 3));
  t.notOk(asserter.passes('c', nobody, 4), 'it is this node’s already');
});

t.test('a minute later there is nothing to be asserted, and in another life neither', async (t) => {
  const asserter = new Asserter();
  t.notOk(asserter.passes('c', nobody, 0), 'nothing was emptied');
  asserter.remember(['a']);
  asserter.begin('c', everybody, 0);
  t.notOk(asserter.passes('c', nobody, 60_001));
  t.notOk(asserter.passes('c', nobody, 60_002), 'that stays so');
  asserter.begin('c', everybody, 0);
  asserter.clear();
  t.notOk(asserter.passes('c', nobody, 1));
});
