// A look at very many filters: in pieces that end in time, with pauses, and the same as in one piece.
import t from 'tap';
import type { Timers } from '../../src/client/timers.ts';
import { FILTERS_PER_STEP, interestFor, interestSteps } from '../../src/geo/link-interest.ts';
import { SLICE_MS, SlicedWork } from '../../src/geo/sliced-work.ts';

/** Time that passes with each step, and pauses that a test ends. */
class Time implements Timers {
  ms = 0;
  readonly pauses: { readonly delayMs: number; readonly task: () => void }[] = [];

  nowMs(): number {
    return this.ms;
  }

  monotonicMs(): number {
    return this.ms;
  }

  wallMs(): number {
    return this.ms;
  }

  after(delayMs: number, task: () => void): () => void {
    const pause = { delayMs, task };
    this.pauses.push(pause);
    return () => {
      const at = this.pauses.indexOf(pause);
      if (at !== -1) this.pauses.splice(at, 1);
    };
  }

  every(): () => void {
    throw new Error('nothing is done again and again');
  }

  /** True: there was one. */
  endPause(): boolean {
    const pause = this.pauses.shift();
    if (pause === undefined) return false;
    this.ms += pause.delayMs;
    pause.task();
    return true;
  }
}

function* counted(time: Time, steps: number, stepMs: number, seen: number[]): Generator<undefined> {
  for (let i = 0; i < steps; i++) {
    time.ms += stepMs;
    seen.push(time.ms);
    yield;
  }
}

t.test('pieces end in time, and pauses lie between', async (t) => {
  const time = new Time();
  const work = new SlicedWork(time, time);
  const seen: number[] = [];
  let done = 0;
  work.run(counted(time, 20, 1, seen), () => done++);
  t.equal(seen.length, SLICE_MS, 'the first piece at once');
  t.ok(work.isBusy);
  let pieces = 1;
  while (time.endPause()) pieces++;
  t.strictSame([seen.length, done, work.isBusy, work.tookMs], [20, 1, false, 20]);
  t.ok(pieces >= 4);

  // A step that takes longer than a piece is a piece of its own.
  seen.length = 0;
  work.run(counted(time, 3, 4 * SLICE_MS, seen), () => done++);
  t.equal(seen.length, 1);
  while (time.endPause());
  t.strictSame([seen.length, done], [3, 2]);

  // Short work knows no pause.
  work.run(counted(time, 3, 0, seen), () => done++);
  t.strictSame([done, time.pauses.length], [3, 0]);
});

t.test('what is stopped, or followed by other work, goes no further', async (t) => {
  const time = new Time();
  const work = new SlicedWork(time, time);
  const seen: number[] = [];
  let done = 0;
  work.run(counted(time, 20, 1, seen), () => done++);
  work.stop();
  t.strictSame([time.endPause(), seen.length, done, work.isBusy], [false, SLICE_MS, 0, false]);
  function* ending(): Generator<undefined> {
    yield;
    work.stop();
    yield;
    t.fail('it goes on');
  }
  work.run(ending(), () => done++);
  t.strictSame([done, work.isBusy], [0, false]);
  const other: number[] = [];
  work.run(counted(time, 20, 1, seen), () => done++);
  work.run(counted(time, 1, 0, other), () => done++);
  t.strictSame([time.endPause(), other.length, done], [false, 1, 1]);
});

t.test('interest in steps: none looks at many filters, all that is wanted is found', async (t) => {
  const count = 5000;
  const all = Array.from({ length: count }, (_, i) => [`site/${i % 7}/device/${i}`, ['']] as const);
  let looked = 0;
  const wanted = {
    *entries(): Iterable<readonly [string, Iterable<string>]> {
      for (const entry of all) {
        looked++;
        yield entry;
      }
    },
  };
  const expected = interestFor(wanted, 'eu', 'us', ['#', 'site/1/#']);
  t.equal(expected.size, count);
  looked = 0;
  let most = 0;
  let stepCount = 0;
  const steps = interestSteps(wanted, 'eu', 'us', ['#', 'site/1/#']);
  for (let before = 0; ; before = looked, stepCount++) {
    const step = steps.next();
    most = Math.max(most, looked - before);
    if (step.done !== true) continue;
    t.strictSame([...step.value].sort(), [...expected].sort());
    break;
  }
  t.ok(most <= FILTERS_PER_STEP, `${most} filters in one step`);
  t.ok(stepCount >= (3 * count) / FILTERS_PER_STEP - 3, `${stepCount} steps`);
});
