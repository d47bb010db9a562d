/** util/ring: against a plain array. */
import fc from 'fast-check';
import t from 'tap';
import { Ring } from '../../src/util/ring.ts';

const operation = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('push' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('unshift' as const) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('shift' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('remove' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('drain' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('burst' as const) }) },
);

t.test('any order of operations leaves what an array would hold', async (t) => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
      const ring = new Ring<number>();
      const model: number[] = [];
      let next = 0;
      for (const { kind } of operations) {
        if (kind === 'push') {
          ring.push(++next);
          model.push(next);
        } else if (kind === 'unshift') {
          ring.unshift(++next);
          model.unshift(next);
        } else if (kind === 'shift') {
          if (ring.shift() !== model.shift()) return false;
        } else if (kind === 'remove') {
          const index = next % (model.length + 2);
          ring.remove(index);
          model.splice(index, 1);
        } else if (kind === 'burst') {
          for (let i = 0; i < 1500; i++) {
            ring.push(++next);
            model.push(next);
          }
        } else {
          while (model.length > 0) if (ring.shift() !== model.shift()) return false;
        }
        if (ring.length !== model.length) return false;
        if (ring.at(0) !== model[0] || ring.at(model.length - 1) !== model.at(-1)) return false;
        if (ring.at(model.length) !== undefined) return false;
      }
      for (let i = 0; i < model.length; i++) if (ring.at(i) !== model[i]) return false;
      return true;
    }),
    { numRuns: 200 },
  );
  t.pass('ring and array agree');
});

t.test('memory of a long backlog is given back when it is gone', async (t) => {
  const ring = new Ring<number>();
  for (let i = 0; i < 100_000; i++) ring.push(i);
  t.ok(ring.capacity >= 100_000);
  for (let i = 0; i < 100_000; i++) if (ring.shift() !== i) t.fail(`item ${i} is another`);
  t.equal(ring.length, 0);
  t.equal(ring.capacity, 8);
  ring.push(7);
  t.equal(ring.at(0), 7);
});
