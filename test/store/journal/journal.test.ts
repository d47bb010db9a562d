/** The journal by itself: what is kept when, what is replayed by whom, and its bounds (docs/adr/0017). */
import fc from 'fast-check';
import t from 'tap';
import { RecordDamage } from '../../../src/store/embedded/damage.ts';
import { JournalCounters } from '../../../src/store/journal/journal-counters.ts';
import { OWN_FIRST, OWN_LAST, ownKey } from '../../../src/store/journal/journal-keys.ts';
import { decodeRecord, encodeRecord } from '../../../src/store/journal/journal-record.ts';
import { replayRange } from '../../../src/store/journal/journal-replay.ts';
import { LogRecorder } from '../../contract/store-recorder.ts';
import { FakeDisk, JournalWorld } from './journal-world.ts';

function isDamage(bytes: Buffer): boolean {
  try {
    decodeRecord(bytes);
    return false;
  } catch (error) {
    return error instanceof RecordDamage;
  }
}

function words(word: string, from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, index) => `${word} ${from + index}`);
}

t.test('records', async (t) => {
  const text = fc.string({ unit: 'grapheme', maxLength: 40 });
  const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
  const record = fc.record({
    clientId: text,
    sid: text,
    writer: text,
    seq: fc.maxSafeNat(),
    value: bytes,
  });
  fc.assert(
    fc.property(record, (one) => {
      const found = decodeRecord(encodeRecord(one));
      return (
        found.value.equals(one.value) &&
        found.clientId === one.clientId &&
        found.sid === one.sid &&
        found.writer === one.writer &&
        found.seq === one.seq
      );
    }),
  );
  const whole = encodeRecord({
    clientId: 'c',
    sid: 's',
    writer: 'w',
    seq: 7,
    value: Buffer.from('v'),
  });
  for (let at = 0; at < whole.length; at++) {
    const damaged = Buffer.from(whole);
    damaged[at]! ^= 0x41;
    t.ok(isDamage(damaged), `byte ${at}`);
    t.ok(isDamage(whole.subarray(0, at)), `cut at ${at}`);
  }
});

t.test('kept when both disks have it, in order', async (t) => {
  const world = new JournalWorld();
  const [a, b] = [world.start('a'), world.start('b')];
  a.disk.isHeld = true;
  b.disk.isHeld = true;
  a.keep(1, 3);
  t.strictSame(a.told, []);
  b.disk.sync();
  t.strictSame(a.told, [], 'the peer alone is not enough');
  a.disk.sync();
  t.strictSame(a.told, words('kept', 1, 3));
  a.disk.isHeld = true;
  a.keep(4);
  t.strictSame(a.told, words('kept', 1, 3), 'the peer has it, this disk not yet');
  a.disk.sync();
  t.strictSame(a.told, words('kept', 1, 4));
  t.equal(a.journal.messages, 4);
  t.equal(b.journal.copies, 4);
  a.answer(1, 4);
  world.pass(300);
  t.equal(a.journal.messages, 0);
  t.equal(b.journal.copies, 0, 'the copy goes with it');
  t.equal(a.disk.rows.size + b.disk.rows.size, 0);
  t.strictSame(b.appended, [], 'nobody replays for a living node');
});

t.test('answered before it was kept: nobody is told', async (t) => {
  const world = new JournalWorld();
  const [a] = [world.start('a'), world.start('b')];
  a.disk.isHeld = true;
  a.keep(1, 2);
  a.answer(1);
  a.disk.sync();
  t.strictSame(a.told, ['kept 2']);
});

t.test('no peer: parked, or one disk', async (t) => {
  const world = new JournalWorld();
  const a = world.start('a');
  a.keep(1);
  world.pass(2000);
  t.strictSame(a.told, [], 'park');
  world.start('b');
  world.pass(200);
  t.strictSame(a.told, ['kept 1'], 'somebody has come');
  const alone = new JournalWorld().start('a', { isLocalEnough: true });
  alone.keep(1);
  t.strictSame(alone.told, ['kept 1'], 'local');
  const other = new JournalWorld();
  const [c, d] = [other.start('c', { isLocalEnough: true }), other.start('d')];
  d.disk.failure = new Error('full');
  c.keep(1);
  other.pass(3000);
  t.strictSame(c.told, [], 'there is another node: one disk is not what was agreed');
});

t.test('the peer dies: the next one gets all that is not answered', async (t) => {
  const world = new JournalWorld();
  const [a, b, c] = [world.start('a'), world.start('b'), world.start('c')];
  a.keep(1, 5);
  a.answer(2);
  world.kill(b);
  world.time.settle();
  t.equal(c.journal.copies, 4);
  a.keep(6);
  t.strictSame(a.told, words('kept', 1, 6));
  // It comes back with its copy: the others say that it is void.
  const again = world.start('b2', { disk: b.disk });
  t.equal(again.journal.copies, 5);
  a.answer(1);
  a.answer(3, 6);
  world.pass(200);
  a.journal.linked('b2');
  world.pass(200);
  t.equal(again.journal.copies, 0);
  t.strictSame(again.appended, []);
});

t.test('frames are lost: a stream has no holes', async (t) => {
  const world = new JournalWorld();
  const [a, b] = [world.start('a'), world.start('b')];
  a.keep(1);
  a.deaf.add('b');
  a.keep(2);
  a.deaf.clear();
  a.keep(3);
  t.strictSame(a.told, ['kept 1'], '3 came without 2 and does not count');
  t.equal(b.journal.copies, 1);
  world.pass(2500);
  t.strictSame(a.told, words('kept', 1, 3), 'sent again from the beginning');
});

t.test('a node dies: whoever has the copy puts it into the queues, in order, once', async (t) => {
  const world = new JournalWorld();
  const [a, b] = [world.start('a'), world.start('b')];
  b.isUp = false;
  a.keep(1, 600);
  world.kill(a);
  world.pass(300);
  t.strictSame(b.appended, [], 'Redis is away');
  t.ok(b.owed.has('a'));
  b.isUp = true;
  world.pass(300);
  t.strictSame(b.appended, words('a', 1, 600));
  t.equal(b.journal.copies, 0);
  t.notOk(b.owed.has('a'));
  t.equal(b.disk.rows.size, 0);
  world.pass(1000);
  t.equal(b.appended.length, 600);
});

t.test('the keeper dies too, and comes back with its disk', async (t) => {
  const world = new JournalWorld();
  const [a, b] = [world.start('a'), world.start('b')];
  b.isUp = false;
  a.keep(1, 10);
  world.kill(a);
  world.kill(b);
  const again = world.start('b2', { disk: b.disk });
  world.pass(300);
  t.strictSame(again.appended, words('a', 1, 10));
  t.equal(again.disk.rows.size, 0);
});

t.test('a node begins with what it had, before anything new', async (t) => {
  const world = new JournalWorld();
  const a = world.start('a', { isLocalEnough: true });
  a.keep(1, 300);
  a.answer(1, 5);
  world.pass(200);
  world.kill(a);
  const again = world.start('a2', { disk: a.disk, isLocalEnough: true });
  world.pass(100);
  t.strictSame(again.appended, words('a', 6, 300));
  t.ok(again.journal.isCaughtUp);
  again.keep(1);
  world.pass(300);
  t.equal(again.disk.rows.size, 1, 'only what is new');
  t.strictSame(again.told, ['kept 1']);
});

t.test('what waits for one session does not hold up the others, and is bounded', async (t) => {
  for (const isStuck of [false, true]) {
    const world = new JournalWorld();
    const rows = new Map<string, Buffer>();
    for (let seq = 1; seq <= 5000; seq++) {
      const record = { clientId: 'c', sid: 's', writer: 'w', seq, value: Buffer.from('v') };
      rows.set(ownKey(seq), encodeRecord(record));
    }
    const handed: number[] = [];
    let first = (): void => {};
    let outcome: boolean | null = null;
    const sink = {
      isUp: true,
      replay: ({ seq }: { seq: number }, answered: () => void) => {
        handed.push(seq);
        if (seq === 1) first = answered;
        else if (!isStuck) answered();
      },
    };
    const disk = new FakeDisk(world.time, rows);
    const parts = { disk, sink, log: new LogRecorder(), counters: new JournalCounters() };
    replayRange(parts, OWN_FIRST, OWN_LAST, (isWhole) => {
      outcome = isWhole;
    });
    world.pass(1000);
    t.equal(handed.length, isStuck ? 2048 : 5000);
    t.ok(
      handed.every((seq, index) => seq === index + 1),
      'in order',
    );
    t.equal(outcome, null, 'one is not answered');
    first();
    t.equal(outcome, isStuck ? null : true);
  }
});

t.test('only the writer has lost Redis: its keeper puts it into the queues at once', async (t) => {
  const world = new JournalWorld();
  const [a, b] = [world.start('a'), world.start('b')];
  b.lacking.add('a');
  a.keep(1, 3);
  world.pass(200);
  t.strictSame(b.appended, words('a', 1, 3));
  t.strictSame(a.told, [...words('kept', 1, 3), ...words('queued', 1, 3)]);
  a.keep(4);
  world.pass(200);
  t.strictSame(b.appended, words('a', 1, 4), 'nothing twice');
  t.equal(b.journal.copies, 4, 'the copy stays until its writer says so');
});

t.test('bounds park, and nothing is lost', async (t) => {
  const world = new JournalWorld();
  const [a, b, c] = [world.start('a'), world.start('b'), world.start('c')];
  a.bounds = { messagesMax: 3, bytesMax: 1000 };
  a.keep(1, 4);
  t.strictSame(a.told.toSorted(), [...words('kept', 1, 3), 'no room 4'].toSorted());
  t.notOk(a.journal.hasRoom);
  a.answer(1);
  t.ok(a.journal.hasRoom);
  a.bounds = { messagesMax: 100, bytesMax: 100_000 };
  b.bounds = { messagesMax: 3, bytesMax: 1000 };
  c.bounds = { messagesMax: 100, bytesMax: 20 };
  a.told.length = 0;
  a.keep(5, 6);
  world.pass(2500);
  t.strictSame(a.told, ['kept 5'], 'nobody has room for 6');
  c.bounds = b.bounds = { messagesMax: 100, bytesMax: 100_000 };
  world.pass(40_000);
  t.strictSame(a.told, ['kept 5', 'kept 6']);
  t.equal(b.journal.counters.full + c.journal.counters.full > 0, true);
});

t.test('a disk that takes nothing parks, says so once, and is tried again', async (t) => {
  const world = new JournalWorld();
  const [a] = [world.start('a'), world.start('b')];
  a.disk.failure = new Error('no space left');
  a.keep(1, 2);
  world.pass(5000);
  t.strictSame(a.told, []);
  t.match(a.journal.problem, /no space/);
  t.equal(a.log.lines.filter(({ level }) => level === 'error').length, 1);
  a.disk.failure = null;
  world.pass(2000);
  t.strictSame(a.told, words('kept', 1, 2));
  t.equal(a.journal.problem, '');
});
