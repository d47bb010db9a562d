// A node that has started gives back what its start has left behind, before it has clients.
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { collectGarbage } from '../../src/app/collect-garbage.ts';
import { Broker } from '../e2e/broker.ts';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** Objects of some size that live long enough to be old. */
function makeGarbage(): WeakRef<object[]> {
  const objects = Array.from({ length: 1_000_000 }, (_, index) => ({ index }));
  return new WeakRef(objects);
}

t.test('what nobody has any more goes, and its memory', async (t) => {
  const garbage = makeGarbage();
  const { heapTotal } = process.memoryUsage();
  // A WeakRef that was made, or read, keeps its target until the end of the turn.
  await new Promise((resolve) => setImmediate(resolve));
  t.ok(await collectGarbage());
  t.equal(garbage.deref(), undefined);
  const left = process.memoryUsage().heapTotal;
  t.ok(left < heapTotal - 20 * 2 ** 20, `${left} of ${heapTotal} bytes are left`);
});

t.test('a large heap is left alone, as it would take long', async (t) => {
  t.notOk(await collectGarbage(process.memoryUsage().heapUsed / 2));
});

t.test('a node does when it starts', async (t) => {
  const broker = new Broker({ program: [process.execPath, '--trace-gc', main] });
  t.teardown(() => broker.kill());
  await broker.ready;
  await broker.stop();
  t.match(broker.noise, /Mark-Compact .* low memory notification/, 'as V8 calls it');
});
