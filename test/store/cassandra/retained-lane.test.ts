/** Writes to Cassandra: one of a topic at a time, the last change counts, nobody is forgotten. */
import t from 'tap';
import type { Message } from '../../../src/core/message.ts';
import { makeMessage } from '../../../src/core/message.ts';
import { CLEARED, type RetainedVersion } from '../../../src/core/retained-version.ts';
import { CassandraCounters } from '../../../src/store/cassandra/cassandra-counters.ts';
import { type Awaiting, RetainedLane } from '../../../src/store/cassandra/retained-lane.ts';
import { LogRecorder } from '../../contract/store-recorder.ts';
import { ManualTime, SeededRandom } from '../../core/manual-time.ts';
import { FakeTable } from './fake-table.ts';

const TOMBSTONE_S = 1000;

class Waiter implements Awaiting {
  isSettled = false;
  readonly told: (Error | null)[] = [];

  confirmed(error: Error | null): void {
    this.told.push(error);
    this.isSettled = true;
  }
}

class Rig {
  readonly time: ManualTime = new ManualTime();
  readonly table: FakeTable;
  readonly log: LogRecorder = new LogRecorder();
  readonly counters: CassandraCounters = new CassandraCounters();
  readonly confirmed: string[] = [];
  readonly lane: RetainedLane;

  constructor(inFlightMax = 4) {
    const { time } = this;
    this.table = new FakeTable({
      later: (task) => time.nextTurn(task),
      wallMs: () => time.wallMs(),
    });
    this.lane = new RetainedLane({
      table: this.table,
      clock: time,
      random: new SeededRandom(1),
      log: this.log,
      counters: this.counters,
      inFlightMax,
      tombstoneS: TOMBSTONE_S,
      confirmed: (topic, tombstone) => this.confirmed.push(`${topic} ${tombstone}`),
    });
  }

  /** A message with the text, '' clears. */
  put(topic: string, text: string, timeUs: number): Waiter {
    const waiter = new Waiter();
    const version: RetainedVersion = { timeUs, writer: text === '' ? CLEARED + 1 : 1 };
    this.lane.put(topic, text === '' ? null : messageOf(topic, text), version, waiter);
    return waiter;
  }

  /** The time, with ticks. */
  pass(ms: number): void {
    for (let i = 0; i < ms; i += 50) {
      this.time.pass(50);
      this.lane.pump();
      this.time.settle();
    }
  }
}

function messageOf(topic: string, text: string): Message {
  return makeMessage(0, topic, Buffer.from(text), { qos: 1 });
}

t.test('a change is written with its time, a clear with a lifetime', async (t) => {
  const rig = new Rig();
  const set = rig.put('a', 'one', 7);
  const cleared = rig.put('b', '', 8);
  t.equal(rig.lane.size, 2);
  t.same(rig.lane.versionOf('a'), { timeUs: 7, writer: 1 });
  rig.time.settle();
  t.strictSame([set.told, cleared.told], [[null], [null]]);
  t.strictSame(rig.table.writes, [
    { topic: 'a', timeUs: 7, ttlS: 0 },
    { topic: 'b', timeUs: 8, ttlS: TOMBSTONE_S },
  ]);
  t.equal(rig.table.textOf('a'), 'one');
  t.equal(rig.table.textOf('b'), 'cleared');
  t.strictSame(rig.confirmed, ['a none', 'b needed'], 'the tombstone is kept until it is written');
  t.equal(rig.lane.size, 0);
  t.equal(rig.lane.versionOf('a'), null);
});

t.test('of a topic one write is under way; the last change is the next', async (t) => {
  const rig = new Rig();
  rig.table.fate = () => 'held';
  const waiters = [1, 2, 3, 4].map((n) => rig.put('a', `${n}`, n));
  rig.time.settle();
  t.equal(rig.table.writes.length, 1);
  t.equal(rig.counters.coalesced, 2, 'the one under way is not one that was left out');
  rig.table.release();
  t.strictSame(
    waiters.map(({ told }) => told.length),
    [1, 0, 0, 0],
    'a stale answer settles nothing newer',
  );
  t.strictSame(rig.confirmed, []);
  t.ok(rig.lane.has('a'));
  t.same(
    rig.table.writes.map(({ timeUs }) => timeUs),
    [1, 4],
  );
  rig.table.release();
  t.strictSame(
    waiters.map(({ told }) => told.length),
    [1, 1, 1, 1],
    'each is told once',
  );
  t.strictSame(rig.confirmed, ['a none']);
  t.strictSame(rig.table.doubled, []);
  t.equal(rig.table.textOf('a'), '4');
});

t.test('what is not newer waits for what is there', async (t) => {
  const rig = new Rig();
  rig.table.fate = () => 'held';
  const first = rig.put('a', 'five', 5);
  const late = rig.put('a', 'three', 3);
  const same = rig.put('a', 'five', 5);
  rig.table.release();
  t.strictSame([first.told, late.told, same.told], [[null], [null], [null]]);
  t.equal(rig.table.writes.length, 1);
  t.equal(rig.table.textOf('a'), 'five');
  t.equal(rig.lane.size, 0);
});

t.test('so many topics at a time', async (t) => {
  const rig = new Rig(8);
  const waiters = Array.from({ length: 1000 }, (_, n) => rig.put(`t/${n}`, 'x', n + 1));
  t.equal(rig.lane.underWay, 8);
  rig.time.settle();
  t.equal(rig.table.underWayMax, 8);
  t.ok(waiters.every(({ told }) => told.length === 1));
  t.equal(rig.table.size, 1000);
});

t.test('what Cassandra will never take is said, and stops nobody', async (t) => {
  const rig = new Rig();
  rig.table.fate = (_, topic) => (topic === 'large' ? 'final' : 'done');
  const large = rig.put('large', 'x', 1);
  const other = rig.put('other', 'x', 2);
  rig.time.settle();
  t.match(large.told, [{ message: 'table: final' }]);
  t.strictSame(other.told, [null]);
  t.equal(rig.counters.rejected, 1);
  t.equal(rig.table.writes.length, 2, 'not tried again');
  t.ok(rig.log.lines.some(({ level }) => level === 'error'));
  rig.table.fate = () => 'held';
  const first = rig.put('large', 'y', 3);
  rig.table.fate = () => 'done';
  const second = rig.put('large', 'z', 4);
  rig.table.release();
  rig.time.settle();
  t.strictSame([first.told, second.told], [[null], [null]]);
});

t.test('nothing gets through: pauses that grow, and one that asks', async (t) => {
  const rig = new Rig(16);
  rig.table.isUp = false;
  const waiters = Array.from({ length: 200 }, (_, n) => rig.put(`t/${n}`, 'x', n + 1));
  rig.time.settle();
  t.ok(rig.lane.isPaused);
  const burst = rig.table.writes.length;
  t.ok(burst < 32, `${burst} writes and then a pause`);
  rig.pass(150);
  t.ok(rig.table.writes.length > burst, 'the first pause is short, however many have failed');
  rig.pass(10_000);
  const slow = rig.table.writes.length;
  rig.pass(10_000);
  const asked = rig.table.writes.length - slow;
  t.ok(asked >= 2 && asked <= 5, `${asked} writes ask in ten seconds`);
  t.equal(rig.log.lines.filter(({ level }) => level === 'warn').length, 2, 'said now and then');
  t.equal(rig.lane.lagMs(rig.time.nowMs), 20_150);
  rig.table.isUp = true;
  const from = rig.table.writes.length;
  while (rig.lane.isPaused) rig.pass(50);
  t.equal(rig.lane.size, 0, 'all go on when one has got through');
  t.equal(rig.table.writes.length - from, 200);
  t.ok(waiters.every(({ told }) => told.length === 1 && told[0] === null));
  rig.table.isUp = false;
  rig.put('t/1', 'y', 9999);
  rig.time.settle();
  t.notOk(rig.lane.isPaused, 'one failure is none yet');
});

t.test('a topic that fails by itself rests, and the others go on', async (t) => {
  const rig = new Rig();
  rig.table.fate = (_, topic) => (topic === 'part' ? 'fails' : 'done');
  const part = rig.put('part', 'x', 1);
  for (let n = 0; n < 200; n++) {
    rig.put(`t/${n}`, 'x', n + 2);
    rig.pass(50);
  }
  t.notOk(rig.lane.isPaused);
  t.equal(rig.table.size, 200);
  const tries = rig.table.writes.filter(({ topic }) => topic === 'part').length;
  t.ok(tries >= 5 && tries <= 9, `${tries} tries in ten seconds`);
  rig.table.fate = () => 'done';
  rig.pass(3200);
  t.strictSame(part.told, [null]);
});

t.test('a time-out after which it was done is written once more, to no harm', async (t) => {
  const rig = new Rig();
  rig.table.fate = () => 'late';
  const one = rig.put('a', 'one', 1);
  rig.time.settle();
  t.equal(rig.table.textOf('a'), 'one');
  t.strictSame(one.told, []);
  const two = rig.put('a', '', 2);
  rig.table.fate = () => 'done';
  rig.pass(200);
  t.strictSame([one.told, two.told], [[null], [null]]);
  t.equal(rig.table.textOf('a'), 'cleared');
});

t.test('answers in another order than the writes', async (t) => {
  const rig = new Rig(3);
  rig.table.fate = () => 'held';
  const waiters = ['a', 'b', 'c'].map((topic, n) => rig.put(topic, 'x', n + 1));
  rig.table.release(true);
  t.ok(waiters.every(({ told }) => told.length === 1));
  t.strictSame(rig.confirmed, ['c none', 'b none', 'a none']);
});

t.test('the tombstone: kept until it is written, unless something is in its place', async (t) => {
  const rig = new Rig();
  rig.table.fate = () => 'held';
  rig.put('over', '', 1);
  t.ok(rig.lane.over('over'), 'it waits');
  t.notOk(rig.lane.over('nothing'));
  rig.put('replaced', '', 1);
  t.ok(rig.lane.mirrored('replaced', 'none'));
  t.ok(rig.lane.over('replaced'));
  rig.put('again', '', 1);
  rig.lane.over('again');
  rig.put('again', 'x', 2);
  t.notOk(rig.lane.mirrored('nothing', 'none'));
  t.strictSame(rig.confirmed, []);
  rig.table.release();
  rig.table.release();
  t.strictSame(rig.confirmed, ['over over', 'replaced none', 'again none']);
});

t.test('a topic that changes for hours holds on to nobody who was told', async (t) => {
  const rig = new Rig();
  rig.table.fate = () => 'held';
  const waiters: Waiter[] = [];
  for (let n = 1; n <= 10_000; n++) {
    const waiter = rig.put('a', 'x', n);
    waiters.push(waiter);
    // As after KEPT_AFTER_MS.
    if (n !== 5000) waiter.isSettled = true;
  }
  rig.table.release();
  rig.table.release();
  const told = waiters.filter((waiter) => waiter.told.length > 0).length;
  t.ok(told < 200, `${told} were still known`);
  t.strictSame(waiters[4999]!.told, [null]);
});

t.test('after its stop it writes nothing more', async (t) => {
  const rig = new Rig(1);
  rig.put('a', 'x', 1);
  rig.put('b', 'x', 2);
  rig.lane.stop();
  rig.pass(100);
  t.equal(rig.table.writes.length, 1);
  t.strictSame(rig.confirmed, ['a none']);
});

t.test('topics that change are told to who watches', async (t) => {
  const rig = new Rig();
  const first = rig.lane.watch();
  rig.put('a', 'x', 1);
  const second = rig.lane.watch();
  rig.put('b', 'x', 2);
  rig.lane.unwatch();
  rig.put('c', 'x', 3);
  t.strictSame([[...first], [...second]], [['a'], ['b']]);
});

t.test(
  'what nobody waits for stands behind what clients change, and is not forgotten',
  async (t) => {
    const rig = new Rig(1);
    const order = (): string[] => rig.table.writes.map(({ topic }) => topic);
    const late = (topic: string): void =>
      rig.lane.put(topic, messageOf(topic, 'x'), { timeUs: 1, writer: 1 }, null, true);
    for (let i = 0; i < 40; i++) late(`late/${i}`);
    for (let i = 0; i < 20; i++) rig.put(`live/${i}`, 'x', 2);
    rig.time.settle();
    const lives = order().flatMap((topic, index) => (topic.startsWith('live') ? [index] : []));
    t.equal(order().length, 60);
    t.ok((lives.at(-1) ?? 60) < 28, `live ones come first: ${lives}`);
    t.ok(
      order()
        .slice(0, 20)
        .filter((topic) => topic.startsWith('late')).length >= 2,
      'one of eight',
    );
    t.strictSame(
      order().filter((topic) => topic.startsWith('late')),
      Array.from({ length: 40 }, (_, i) => `late/${i}`),
    );
    t.equal(rig.lane.size, 0);
  },
);

t.test('a late one that a client changes is late no more, and written once', async (t) => {
  const rig = new Rig(1);
  rig.table.fate = () => 'held';
  const late = (topic: string, timeUs: number): void =>
    rig.lane.put(topic, messageOf(topic, 'old'), { timeUs, writer: 1 }, null, true);
  rig.put('first', 'x', 1);
  for (let i = 0; i < 30; i++) late(`late/${i}`, 1);
  const waiter = rig.put('late/29', 'new', 2);
  // Nor does a late one of a topic that a client has changed make it late.
  rig.put('live', 'new', 2);
  late('live', 1);
  for (let i = 0; i < 6; i++) {
    rig.table.release();
    rig.time.settle();
  }
  const written = rig.table.writes.map(({ topic }) => topic);
  t.ok(written.includes('late/29') && written.includes('live'), `${written}`);
  t.strictSame(waiter.told, [null]);
  t.equal(rig.table.textOf('late/29'), 'new');
  rig.table.fate = () => 'done';
  rig.table.release();
  rig.time.settle();
  t.equal(rig.table.writes.filter(({ topic }) => topic === 'late/29').length, 1);
  t.equal(rig.table.writes.length, 32);
  t.equal(rig.lane.size, 0);
});

t.test('late ones that fail are repeated as others are', async (t) => {
  const rig = new Rig(2);
  let fails = 12;
  rig.table.fate = () => (fails-- > 0 ? 'fails' : 'done');
  for (let i = 0; i < 20; i++) {
    rig.lane.put(`late/${i}`, messageOf('t', 'x'), { timeUs: 1, writer: 1 }, null, true);
  }
  rig.pass(40_000);
  t.equal(rig.lane.size, 0);
  t.equal(rig.table.size, 20);
});
