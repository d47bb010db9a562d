/** Stamps rise, whatever the wall clock does and whatever others have stamped. */
import t from 'tap';
import { HybridClock } from '../../src/util/hybrid-clock.ts';

const START_MS = 1_800_000_000_000;

t.test('stamps are microseconds, strictly rising within one millisecond', async (t) => {
  const clock = new HybridClock(() => START_MS, 1000);
  t.equal(clock.lastUs, 0);
  t.equal(clock.nextUs(), START_MS * 1000);
  t.equal(clock.nextUs(), START_MS * 1000 + 1);
  t.equal(clock.nextUs(), START_MS * 1000 + 2);
  t.equal(clock.lastUs, START_MS * 1000 + 2);
  t.ok(Number.isSafeInteger(clock.nextUs() * 4), 'room for centuries');
});

t.test('a wall clock that is set back stops nothing', async (t) => {
  let wallMs = START_MS;
  const clock = new HybridClock(() => wallMs, 1000);
  const before = clock.nextUs();
  wallMs -= 3_600_000;
  t.equal(clock.nextUs(), before + 1);
  t.ok(Math.abs(clock.aheadMs() - 3_600_000) < 1);
  wallMs = START_MS + 5;
  t.equal(clock.nextUs(), (START_MS + 5) * 1000, 'it follows again');
  t.equal(clock.aheadMs(), 0);
});

t.test('what follows an observation is above it', async (t) => {
  const clock = new HybridClock(() => START_MS, 1000);
  const seenUs = (START_MS + 900) * 1000 + 17;
  t.equal(clock.observe(seenUs), 'observed');
  t.equal(clock.nextUs(), seenUs + 1);
  t.equal(clock.observe(5), 'observed', 'the past is harmless');
  t.equal(clock.nextUs(), seenUs + 2);
});

t.test('a time too far ahead is refused by name, and nonsense with it', async (t) => {
  const clock = new HybridClock(() => START_MS, 1000);
  const limitUs = (START_MS + 1000) * 1000;
  t.equal(clock.observe(limitUs + 1), 'clock_skew');
  t.equal(clock.observe(Number.NaN), 'clock_skew');
  t.equal(clock.observe(Number.POSITIVE_INFINITY), 'clock_skew');
  t.equal(clock.nextUs(), START_MS * 1000, 'nothing was taken over');
  t.equal(clock.observe(limitUs), 'observed');
  t.equal(clock.nextUs(), limitUs + 1);
});
