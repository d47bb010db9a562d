/** util/timer-wheel: against a list of deadlines, with owners that set and cancel others meanwhile. */
import fc from 'fast-check';
import t from 'tap';
import { Timer, TimerWheel } from '../../src/util/timer-wheel.ts';

const TICK_MS = 50;

/** A wheel beside a list that says what may fire when. */
class Model {
  nowMs = 12_345;
  readonly wheel = new TimerWheel(TICK_MS, 16, this.nowMs);
  readonly timers: Timer[] = [];
  /** By timer; null: not armed. */
  readonly dueMs: (number | null)[] = [];
  readonly problems: string[] = [];
  /** What each owner does when it fires. */
  onFire: (index: number) => void = () => {};

  constructor(count: number) {
    for (let i = 0; i < count; i++) {
      this.dueMs.push(null);
      this.timers.push(
        new Timer({
          onTimer: (timer, nowMs) => {
            const due = this.dueMs[i]!;
            if (due === null) this.problems.push(`${i} fired but is not armed`);
            else if (due > nowMs) this.problems.push(`${i} fired ${due - nowMs} ms early`);
            if (timer.armed) this.problems.push(`${i} is armed while it fires`);
            this.dueMs[i] = null;
            this.onFire(i);
          },
        }),
      );
    }
  }

  set(index: number, inMs: number): void {
    this.dueMs[index] = this.nowMs + inMs;
    this.wheel.set(this.timers[index]!, this.nowMs + inMs);
  }

  cancel(index: number): void {
    this.dueMs[index] = null;
    this.wheel.cancel(this.timers[index]!);
  }

  pass(ms: number): void {
    this.nowMs += ms;
    this.wheel.advance(this.nowMs);
    for (const [index, due] of this.dueMs.entries()) {
      // At most one tick late, two when it was set between ticks.
      if (due !== null && due + 2 * TICK_MS <= this.nowMs) this.problems.push(`${index} is late`);
      if ((due !== null) !== this.timers[index]!.armed) {
        this.problems.push(`${index} says armed = ${this.timers[index]!.armed}`);
      }
    }
  }
}

const command = fc.oneof(
  fc.record({ kind: fc.constant('set' as const), index: fc.nat(9), ms: fc.nat(3000) }),
  fc.record({ kind: fc.constant('cancel' as const), index: fc.nat(9), ms: fc.constant(0) }),
  fc.record({ kind: fc.constant('pass' as const), index: fc.constant(0), ms: fc.nat(400) }),
  fc.record({ kind: fc.constant('pass' as const), index: fc.constant(0), ms: fc.nat(20_000) }),
);

t.test('never early, at most a tick late, never after cancel', async (t) => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 80 }), (commands) => {
      const model = new Model(10);
      for (const { kind, index, ms } of commands) {
        if (kind === 'set') model.set(index, ms);
        else if (kind === 'cancel') model.cancel(index);
        else model.pass(ms);
      }
      if (model.problems.length > 0) throw new Error(model.problems.join('; '));
    }),
    { numRuns: 500 },
  );
  t.pass('the wheel agrees with the list');
});

t.test('owners set and cancel any timer from inside', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(400), { minLength: 10, maxLength: 10 }),
      fc.array(
        fc.record({ cancels: fc.nat(9), sets: fc.nat(9), ms: fc.integer({ min: 1, max: 900 }) }),
        {
          minLength: 10,
          maxLength: 10,
        },
      ),
      fc.array(fc.nat(600), { minLength: 1, maxLength: 20 }),
      (deadlines, actions, passes) => {
        const model = new Model(10);
        for (const [index, ms] of deadlines.entries()) model.set(index, ms);
        model.onFire = (index) => {
          const action = actions[index]!;
          model.cancel(action.cancels);
          model.set(action.sets, action.ms);
        };
        for (const ms of passes) model.pass(ms);
        if (model.problems.length > 0) throw new Error(model.problems.join('; '));
      },
    ),
    { numRuns: 500 },
  );
  t.pass('the wheel agrees with the list');
});

t.test('a timer cancelled by another owner of the same tick does not fire', async (t) => {
  const wheel = new TimerWheel(TICK_MS, 16, 0);
  const fired: string[] = [];
  const second = new Timer({ onTimer: () => fired.push('second') });
  const first = new Timer({
    onTimer: () => {
      fired.push('first');
      wheel.cancel(second);
    },
  });
  wheel.set(first, 100);
  wheel.set(second, 100);
  wheel.advance(1000);
  t.same(fired, ['first']);
});

t.test('a pause of a month fires everything that is due once, and nothing else', async (t) => {
  const wheel = new TimerWheel(TICK_MS, 16, 0);
  const month = 30 * 86_400_000;
  const fired: number[] = [];
  const timers = [10, 799, 800, 801, 86_400_000, month - 1, month + 1, 2 * month].map((dueMs) => {
    const timer = new Timer({ onTimer: () => fired.push(dueMs) });
    wheel.set(timer, dueMs);
    return timer;
  });
  wheel.advance(month);
  t.same(
    fired.sort((a, b) => a - b),
    [10, 799, 800, 801, 86_400_000, month - 1],
  );
  t.same(
    timers.map((timer) => timer.armed),
    [false, false, false, false, false, false, true, true],
  );
  wheel.advance(month + TICK_MS);
  t.equal(fired.length, 7);
});

t.test('a clock that goes back loses nothing', async (t) => {
  const wheel = new TimerWheel(TICK_MS, 16, 10_000);
  let fired = 0;
  const timer = new Timer({ onTimer: () => fired++ });
  wheel.advance(10_500);
  wheel.advance(10_000);
  wheel.set(timer, 10_200);
  wheel.advance(10_400);
  t.equal(fired, 0, 'its tick was handled already: it waits for the next one');
  wheel.advance(10_550);
  t.equal(fired, 1);
});
