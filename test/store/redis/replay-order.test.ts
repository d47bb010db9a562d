// What waits for all that journals have handed over before it.
import t from 'tap';
import { ReplayOrder } from '../../../src/store/redis/replay-order.ts';

t.test(
  'it waits for what came before, in whatever order that is answered, and for nothing else',
  async (t) => {
    const order = new ReplayOrder();
    const done: string[] = [];
    order.afterAll(() => done.push('at once'));
    const first = order.begin();
    const second = order.begin();
    order.afterAll(() => done.push('a'));
    const third = order.begin();
    order.afterAll(() => done.push('b'));
    second();
    t.same(done, ['at once']);
    first();
    t.same(done, ['at once', 'a']);
    third();
    t.same(done, ['at once', 'a', 'b']);
  },
);

t.test('what is handed over meanwhile does not hold it up', async (t) => {
  const order = new ReplayOrder();
  const done: string[] = [];
  const first = order.begin();
  order.afterAll(() => {
    done.push('a');
    order.begin();
    order.afterAll(() => done.push('never'));
  });
  order.afterAll(() => done.push('b'));
  first();
  t.same(done, ['a', 'b']);
});
