/** The kernel itself: order, clocks, pauses, deaths, and that a seed decides all of it. */
import t from 'tap';
import { Kernel, SimulationFailure } from './kernel.ts';

t.test('time passes only from event to event, and events come in its order', async (t) => {
  const kernel = new Kernel(1);
  const node = kernel.node('a');
  const seen: string[] = [];
  kernel.after(node, 20, () => seen.push(`late ${kernel.nowMs}`));
  kernel.after(null, 10, () => seen.push(`early ${kernel.nowMs}`));
  const gone = kernel.after(node, 15, () => seen.push('never'));
  kernel.cancel(gone);
  t.equal(kernel.run(100), 'reached');
  t.strictSame(seen, ['early 10', 'late 20']);
  t.equal(kernel.nowMs, 100);
  t.equal(
    kernel.run(() => false),
    'idle',
  );
});

t.test('what is due at about the same time comes in an order of the seed', async (t) => {
  const order = (seed: number): string => {
    const kernel = new Kernel(seed);
    let text = '';
    for (const name of 'abcdefgh') kernel.after(null, 5 + 0.001, () => (text += name));
    kernel.run(10);
    return text;
  };
  t.equal(order(7), order(7), 'the same seed, the same order');
  t.ok(new Set([1, 2, 3, 4, 5, 6].map(order)).size > 3, 'other seeds, other orders');
});

t.test('a turn is an event, then what it put off to the end', async (t) => {
  const kernel = new Kernel(2);
  const node = kernel.node('a');
  const seen: string[] = [];
  kernel.after(node, 1, () => {
    node.nextTurn(() => seen.push('next'));
    node.endOfTurn(() => {
      seen.push('end');
      node.endOfTurn(() => seen.push('end of another'));
    });
    seen.push('event');
  });
  kernel.run(10);
  t.strictSame(seen.slice(0, 2), ['event', 'end']);
  t.strictSame(seen.slice(2).sort(), ['end of another', 'next']);
});

t.test('clocks drift, jump, and stand still in sleep', async (t) => {
  const kernel = new Kernel(3);
  const fast = kernel.node('fast', { rate: 1.05, originMs: 1000, wallOffsetMs: 5000 });
  let ticks = 0;
  const stop = fast.every(105, () => ticks++);
  const wallMs = fast.clock.wallMs();
  kernel.run(10_000);
  t.ok(Math.abs(fast.clock.monotonicMs() - 11_500) < 1e-6, 'five percent fast');
  t.ok(Math.abs(fast.clock.wallMs() - wallMs - 10_500) < 1e-3, 'its wall clock too');
  t.ok(ticks > 90 && ticks < 100, `its timers follow its clock: ${ticks}`);
  stop();
  fast.clock.jumpWall(-3_600_000);
  t.ok(fast.clock.wallMs() < wallMs, 'the wall clock goes back');
  fast.clock.jumpWall(3_600_000);
  kernel.suspend(fast, 5000);
  kernel.run(20_000);
  t.ok(Math.abs(fast.clock.monotonicMs() - 11_500 - 5250) < 1e-6, 'half of the time asleep');
  t.ok(Math.abs(fast.clock.wallMs() - wallMs - 10_500 - 5000 - 5250) < 1e-3, 'its wall clock ran');
});

t.test('a stopped process does nothing, then what has come due', async (t) => {
  const kernel = new Kernel(4);
  const node = kernel.node('a');
  let ticks = 0;
  node.every(100, () => ticks++);
  let heardMs = 0;
  kernel.after(node, 1500, () => (heardMs = kernel.nowMs));
  kernel.run(1000);
  const before = ticks;
  kernel.pause(node, 5000);
  kernel.pause(node, 1000);
  kernel.run(5990);
  t.equal(ticks, before);
  t.equal(heardMs, 0);
  kernel.run(6050);
  t.equal(ticks, before + 1, 'one tick for all that were missed');
  t.ok(heardMs >= 6000, 'what was sent to it meanwhile is heard');
});

t.test('a killed process does nothing more, not even in the same turn', async (t) => {
  const kernel = new Kernel(5);
  const node = kernel.node('a');
  let ran = 0;
  let closed = 0;
  node.onKill(() => closed++);
  node.every(10, () => ran++);
  kernel.after(node, 5, () => {
    node.endOfTurn(() => ran++);
    node.nextTurn(() => ran++);
    kernel.kill(node);
    kernel.kill(node);
  });
  t.equal(kernel.run(1000), 'reached');
  t.equal(ran, 0);
  t.equal(closed, 1);
});

t.test(
  'a run ends at a predicate or after too many events, and a failure says where',
  async (t) => {
    const kernel = new Kernel(6);
    const node = kernel.node('node-a');
    let ticks = 0;
    node.every(1, () => ticks++);
    t.equal(
      kernel.run(() => ticks === 5),
      'reached',
    );
    t.equal(kernel.run(1e9, 100), 'steps_max');
    node.trace('about to break');
    kernel.after(node, 1, () => {
      throw new Error('broken');
    });
    t.throws(() => kernel.run(1e9), {
      name: 'SimulationFailure',
      message: /broken.*seed 6.*node-a about/s,
    });
    t.throws(() => kernel.fail('no good'), SimulationFailure);
  },
);

t.test('it is fast', async (t) => {
  const kernel = new Kernel(8, { isTracing: false });
  const nodes = Array.from({ length: 5 }, (_, i) => kernel.node(`n${i}`));
  let left = 300_000;
  const go = (): void => {
    if (left-- > 0) kernel.after(nodes[left % 5]!, (left * 7) % 13, go);
  };
  for (let i = 0; i < 500; i++) go();
  const startMs = performance.now();
  kernel.run(() => left <= 0);
  const perSecond = 300_000 / ((performance.now() - startMs) / 1000);
  t.comment(`${Math.round(perSecond / 1000)} k events/s`);
  // A machine that is busy with other tests is allowed for.
  t.ok(perSecond > 60_000);
});
