/** From when on a node serves retained messages, and whose turn it is to go round (hard case 18, ADR 0021). */
import t from 'tap';
import { makeMessage } from '../../../src/core/message.ts';
import { encodeRecord } from '../../../src/store/cassandra/retained-record.ts';
import { Rounds } from '../../../src/store/cassandra/rounds.ts';
import { type NodeOptions, RegionNode, RegionRig } from './retained-rig.ts';

const DAY_MS = 86_400_000;
const INTERVAL_S = 600;

class Subject {
  readonly region: RegionRig;
  readonly node: RegionNode;
  readonly rounds: Rounds;
  readonly memory: { beganMs: number; save: (beganMs: number) => void } = {
    beganMs: 0,
    save: (beganMs) => {
      this.memory.beganMs = beganMs;
    },
  };
  isMine = true;
  hasOthers = false;
  /** What was told of being ready. */
  readonly ready: boolean[] = [];
  /** What the others were told of. */
  readonly told: number[] = [];

  private constructor(region: RegionRig, node: RegionNode) {
    this.region = region;
    this.node = node;
    const { time, table, tombstoneS } = region;
    this.rounds = new Rounds({
      table,
      lane: node.store.lane,
      clock: time,
      scheduler: time,
      log: node.log,
      counters: node.counters,
      memory: this.memory,
      intervalS: INTERVAL_S,
      rowsPerS: 1000,
      tombstoneS,
    });
  }

  static async make(options: NodeOptions = {}): Promise<Subject> {
    const region = new RegionRig();
    return new Subject(region, await new RegionNode(region, options).start());
  }

  /** In the table alone. */
  there(count: number): void {
    const timeUs = (this.region.time.wallMs() - 100_000) * 1000;
    for (let i = 0; i < count; i++) {
      const message = makeMessage(0, `there/${i}`, Buffer.from('x'));
      const version = { timeUs: timeUs + i, writer: 3 };
      this.region.table.put(`there/${i}`, encodeRecord(message, version), version.timeUs);
    }
  }

  /** In the mirror alone, of so many days ago. */
  here(topic: string, days: number): void {
    const timeUs = (this.region.time.wallMs() - days * DAY_MS) * 1000;
    this.node.has(topic, 'old', { timeUs, writer: 3 });
  }

  roundWas(days: number): void {
    this.memory.beganMs = this.region.time.wallMs() - days * DAY_MS;
  }

  begin(): void {
    const { index } = this.node;
    this.rounds.begin(
      {
        view: {
          get size() {
            return index.size;
          },
          get: (topic) => index.get(topic) ?? null,
          slotOf: (topic) => [...index.keys()].indexOf(topic),
          clearedAt: () => null,
          all: () => index.values(),
          apply: (topic, message, version) => this.node.apply(topic, message, version),
        },
        isMine: () => this.isMine,
        hasOthers: () => this.hasOthers,
        ended: (beganMs) => void this.told.push(beganMs),
      },
      (isWhole) => void this.ready.push(isWhole),
    );
  }

  pass(ms: number): void {
    for (let passed = 0; passed < ms; passed += 50) this.region.time.pass(50, 10);
  }
}

t.test('a node with a round not long ago serves at once', async (t) => {
  const subject = await Subject.make();
  subject.roundWas(8);
  subject.here('a', 20);
  subject.begin();
  t.strictSame(subject.ready, [true]);
  subject.pass(1000);
  t.equal(subject.node.counters.rounds, 1, 'and goes round');
  t.equal(subject.told.length, 1);
  t.equal(subject.memory.beganMs, subject.told[0]);
  subject.pass(INTERVAL_S * 1000 - 2000);
  t.equal(subject.node.counters.rounds, 1);
  subject.pass(3000);
  t.equal(subject.node.counters.rounds, 2);
});

t.test(
  'a new node waits until the ring is read, however slowly it would go round else',
  async (t) => {
    const subject = await Subject.make();
    subject.there(5000);
    subject.begin();
    t.strictSame(subject.ready, []);
    t.ok(subject.rounds.isFilling);
    subject.pass(2000);
    t.strictSame(subject.ready, [true], 'in a second or two, not in five');
    t.equal(subject.node.index.size, 5000);
    t.ok(subject.rounds.isWhole);
    subject.rounds.hasten();
    subject.pass(3000);
    t.equal(subject.node.counters.rounds, 1, 'the next round is not in such haste');
    subject.pass(3000);
    t.equal(subject.node.counters.rounds, 2);
  },
);

t.test('what Cassandra does not have yet is not waited for', async (t) => {
  const subject = await Subject.make();
  for (let i = 0; i < 3000; i++) subject.here(`here/${i}`, 20);
  subject.there(10);
  subject.region.table.fate = (call) => (call === 'write' ? 'held' : 'done');
  subject.begin();
  subject.pass(1000);
  t.strictSame(subject.ready, [true]);
  t.equal(subject.node.index.size, 3010);
  t.equal(subject.memory.beganMs, 0, 'the round goes on');
});

t.test(
  'hard case 18: a mirror of long ago waits for the whole round, and loses what is over',
  async (t) => {
    const subject = await Subject.make();
    subject.roundWas(11);
    subject.here('over', 20);
    subject.here('young', 5);
    subject.there(2);
    t.ok(subject.rounds.isStale);
    subject.begin();
    t.strictSame(subject.ready, []);
    subject.pass(2000);
    t.strictSame(subject.ready, [true]);
    t.strictSame([...subject.node.index.keys()].sort(), ['there/0', 'there/1', 'young']);
    t.notOk(subject.rounds.isStale);
  },
);

t.test(
  'Cassandra goes away while a new node reads: it serves what it has, and goes on later',
  async (t) => {
    const subject = await Subject.make();
    subject.there(3000);
    let pages = 0;
    subject.region.table.fate = (call) => (call === 'page' && pages++ >= 1 ? 'fails' : 'done');
    subject.begin();
    subject.pass(500);
    subject.region.table.isUp = false;
    subject.pass(4000);
    t.strictSame(subject.ready, []);
    subject.pass(2000);
    t.strictSame(subject.ready, [false]);
    t.equal(subject.node.index.size, 1000);
    t.notOk(subject.rounds.isWhole);
    subject.region.table.isUp = true;
    subject.region.table.fate = () => 'done';
    subject.pass(8000);
    t.equal(subject.node.index.size, 3000);
    t.ok(subject.rounds.isWhole);
    t.strictSame(subject.ready, [false], 'told once');
  },
);

t.test('a table that is up and does not answer is not waited for for ever', async (t) => {
  const subject = await Subject.make();
  subject.there(10);
  subject.region.table.fate = () => 'held';
  subject.begin();
  subject.pass(29_000);
  t.strictSame(subject.ready, []);
  subject.pass(2000);
  t.strictSame(subject.ready, [false]);
});

t.test('stopped while it waits, and before: it is told, and nothing goes on', async (t) => {
  const subject = await Subject.make();
  subject.there(10);
  subject.region.table.fate = () => 'held';
  subject.begin();
  subject.pass(500);
  subject.rounds.stop();
  t.strictSame(subject.ready, [false]);
  const { pages } = subject.region.table;
  subject.region.table.fate = () => 'done';
  subject.region.table.release();
  subject.pass(5000);
  t.equal(subject.region.table.pages, pages);

  const late = await Subject.make();
  late.there(10);
  late.rounds.stop();
  late.begin();
  t.strictSame(late.ready, [false]);
  late.pass(5000);
  t.equal(late.region.table.pages, 0);
});

t.test('whose turn it is not waits until it is told of a round', async (t) => {
  const subject = await Subject.make();
  subject.isMine = false;
  subject.hasOthers = true;
  subject.there(10);
  subject.begin();
  subject.pass(5000);
  t.strictSame(subject.ready, []);
  t.equal(subject.region.table.pages, 0);
  const beganMs = subject.region.time.wallMs() - 1000;
  subject.rounds.heard(beganMs);
  subject.pass(500);
  t.strictSame(subject.ready, [true]);
  t.equal(subject.memory.beganMs, beganMs, 'and keeps it');
  subject.rounds.heard(beganMs - 5000);
  t.equal(subject.memory.beganMs, beganMs, 'the latest one');
  subject.rounds.heard(beganMs + 20 * DAY_MS);
  t.ok(subject.memory.beganMs < beganMs + DAY_MS, 'nobody is believed that it was tomorrow');
  t.strictSame(subject.told, []);
});

t.test('the first node of all does not wait for its turn', async (t) => {
  const subject = await Subject.make();
  subject.isMine = false;
  subject.there(10);
  subject.begin();
  subject.pass(1000);
  t.strictSame(subject.ready, [true]);
  t.equal(subject.node.index.size, 10);
});

t.test('a turn that goes to another node ends the round here', async (t) => {
  const subject = await Subject.make();
  subject.roundWas(1);
  subject.there(5000);
  subject.begin();
  subject.pass(1500);
  subject.isMine = false;
  subject.pass(1000);
  const { pages } = subject.region.table;
  subject.pass(5000);
  t.equal(subject.region.table.pages, pages);
  t.strictSame(subject.told, []);
});

t.test(
  'whose turn it is cannot go round: another one does when it hears nothing for long',
  async (t) => {
    const subject = await Subject.make();
    subject.roundWas(1);
    subject.isMine = false;
    subject.hasOthers = true;
    subject.there(10);
    subject.begin();
    const { time, table } = subject.region;
    time.pass(2 * INTERVAL_S * 1000, 1000);
    subject.rounds.heard(time.wallMs());
    time.pass(3 * INTERVAL_S * 1000, 1000);
    t.equal(table.pages, 0);
    time.pass(601_000, 1000);
    subject.pass(2000);
    t.equal(subject.node.counters.rounds, 1);
    t.equal(subject.told.length, 1, 'the others hear of it');
    time.pass(3 * INTERVAL_S * 1000, 1000);
    t.equal(subject.node.counters.rounds, 1, 'and it waits again');
  },
);

t.test('whether what a mirror of long ago says may be over', async (t) => {
  const subject = await Subject.make();
  subject.roundWas(1);
  const nowMs = subject.region.time.wallMs();
  const of = (days: number) => ({ timeUs: (nowMs - days * DAY_MS) * 1000, writer: 1 });
  const { rounds } = subject;
  t.equal(rounds.mayBeOver(of(20), nowMs - 11 * DAY_MS), true);
  t.equal(rounds.mayBeOver(of(5), nowMs - 11 * DAY_MS), false, 'a tombstone would be there');
  t.equal(rounds.mayBeOver(of(20), nowMs - 2 * DAY_MS), false);
  t.equal(rounds.mayBeOver(of(20), 0), false, 'of a time without Cassandra');
  subject.roundWas(12);
  t.equal(rounds.mayBeOver(of(20), nowMs - 11 * DAY_MS), false, 'this one knows no better');
});

t.test(
  'a round that is asked for begins at once, whoever goes round, and none that runs will do',
  async (t) => {
    const subject = await Subject.make();
    subject.roundWas(1);
    subject.isMine = false;
    subject.hasOthers = true;
    subject.begin();
    subject.pass(5000);
    t.equal(subject.node.counters.rounds, 0, 'it is not its turn');
    subject.rounds.request();
    subject.pass(1000);
    t.equal(subject.node.counters.rounds, 1);
    subject.pass(5000);
    t.equal(subject.node.counters.rounds, 1, 'one');

    subject.there(3000);
    subject.rounds.request();
    subject.pass(500);
    t.equal(subject.rounds.isRunning, true);
    subject.rounds.request();
    subject.rounds.request();
    subject.pass(20_000);
    t.equal(subject.node.counters.rounds, 3, 'what was asked for meanwhile is one more');

    subject.isMine = true;
    subject.region.table.isUp = false;
    subject.rounds.request();
    subject.pass(5000);
    t.equal(subject.node.counters.rounds, 3);
    subject.region.table.isUp = true;
    subject.pass(20_000);
    t.equal(subject.node.counters.rounds, 4, 'when Cassandra is there');
  },
);
