// Notes of the holder of links in Redis: taken under an epoch, written in order, refused to a holder that
// was. Redis is a table here; its functions run for real in test/e2e/region-datacenter.test.ts.
import t from 'tap';
import type { Log } from '../../src/core/ports.ts';
import {
  type RedisArgument,
  type RedisDone,
  RedisFailure,
  type RedisFunction,
  type RedisPort,
} from '../../src/drivers/redis/redis-port.ts';
import { SharedNotes } from '../../src/geo/link-notes.ts';
import { ManualTime } from '../core/manual-time.ts';

class Table implements RedisPort {
  readonly isUp = true;
  readonly notes: Map<string, string> = new Map();
  holder = 0;
  failures = 0;
  calls = 0;
  readonly #time: ManualTime;

  constructor(time: ManualTime) {
    this.#time = time;
  }

  listen(): void {}

  shardOf(): number {
    return 0;
  }

  call(
    fn: RedisFunction,
    _keys: readonly string[],
    args: readonly RedisArgument[],
    done: RedisDone,
  ): void {
    this.calls++;
    if (this.failures > 0) {
      this.failures--;
      this.#time.nextTurn(() => done(new RedisFailure('unknown', 'LOST', 'lost'), null));
      return;
    }
    const reply = this.#run(fn.name, args);
    this.#time.nextTurn(() => done(null, reply));
  }

  #run(name: string, args: readonly RedisArgument[]): number | (string | Buffer)[] {
    if (name === 'links_take_1') {
      if (this.holder > Number(args[0])) return 0;
      this.holder = Number(args[0]);
      return 1;
    }
    if (name === 'links_scan_1') {
      const found = [...this.notes].flatMap(([key, value]) => [key, Buffer.from(value)]);
      return ['0', '!', Buffer.from(`${this.holder}`), ...found];
    }
    if (Number(args[0]) !== this.holder) return 0;
    for (let i = 1; i < args.length; i += 3) {
      if (args[i + 1] === 's') this.notes.set(String(args[i]), String(args[i + 2]));
      else this.notes.delete(String(args[i]));
    }
    return 1;
  }
}

const log: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

function world() {
  const time = new ManualTime();
  const redis = new Table(time);
  /** This node may serve. */
  const role = { isServing: true };
  const holder = (epoch: number) => {
    const notes = new SharedNotes({
      redis,
      keyPrefix: 'p:',
      epoch: () => (role.isServing ? epoch : 0),
      keptEpoch: () => epoch,
      scheduler: time,
      log,
    });
    const found: string[] = [];
    let taken: boolean | null = null;
    notes.take(
      (key, value) => found.push(`${key}=${value}`),
      (isTaken) => {
        taken = isTaken;
      },
    );
    time.settle();
    return { notes, found, taken };
  };
  return { time, redis, holder, role };
}

t.test(
  'who may not serve for a moment has its notes all the same, if nobody took them',
  async (t) => {
    const { time, redis, holder, role } = world();
    const { notes } = holder(5);
    t.strictSame([notes.isTaken, notes.isKept], [true, true]);
    role.isServing = false;
    t.strictSame([notes.isTaken, notes.isKept], [false, true]);
    notes.putNote('a', Buffer.from('1'));
    time.settle();
    t.strictSame([...redis.notes], [['a', '1']]);
    redis.holder = 6;
    notes.putNote('a', null);
    time.settle();
    role.isServing = true;
    t.strictSame([notes.isTaken, notes.isKept], [false, false]);
    t.equal(redis.notes.size, 1);
  },
);

t.test('what one holder wrote the next one reads', async (t) => {
  const { time, redis, holder } = world();
  const { notes, taken } = holder(5);
  t.equal(taken, true);
  const value = Buffer.from('1');
  const ticket = notes.putNote('a', value);
  notes.putNote('gone', Buffer.from('x'));
  notes.putNote('gone', null);
  const settled: boolean[] = [];
  notes.whenDurable(ticket, (failed) => settled.push(failed));
  t.strictSame(settled, [], 'not before Redis has it');
  time.settle();
  t.strictSame(settled, [false]);
  notes.whenDurable(ticket, (failed) => settled.push(failed));
  t.strictSame(settled, [false, false], 'at once when it is');
  t.strictSame([...redis.notes], [['a', '1']]);
  t.strictSame(holder(6).found, ['a=1']);
});

t.test('a holder that was writes nothing, and is told', async (t) => {
  const { time, redis, holder } = world();
  const { notes } = holder(5);
  holder(6);
  const settled: boolean[] = [];
  notes.whenDurable(notes.putNote('a', Buffer.from('1')), (failed) => settled.push(failed));
  time.settle();
  t.strictSame(settled, [true]);
  t.equal(redis.notes.size, 0);
  t.equal(notes.isTaken, false);
  t.equal(notes.putNote('b', Buffer.from('1')), 0, 'and later neither');
  t.equal(holder(5).taken, false);
  t.equal(holder(0).taken, false, 'without the role nobody takes them');
});

t.test('a call that is lost is made again, and what comes meanwhile follows it', async (t) => {
  const { time, redis, holder } = world();
  const { notes } = holder(5);
  redis.failures = 3;
  const settled: string[] = [];
  notes.whenDurable(notes.putNote('a', Buffer.from('1')), (failed) => settled.push(`a ${failed}`));
  time.settle();
  notes.whenDurable(notes.putNote('b', Buffer.from('2')), (failed) => settled.push(`b ${failed}`));
  time.settle();
  t.strictSame(settled, []);
  time.pass(2000);
  t.strictSame(settled, ['a false', 'b false']);
  t.strictSame([...redis.notes.keys()].sort(), ['a', 'b']);
});

t.test('many notes go in several calls, and are durable together', async (t) => {
  const { time, redis, holder } = world();
  const { notes } = holder(5);
  const calls = redis.calls;
  let ticket = 0;
  for (let i = 0; i < 1100; i++) ticket = notes.putNote(`n${i}`, Buffer.from(`${i}`));
  const settled: boolean[] = [];
  notes.whenDurable(ticket, (failed) => settled.push(failed));
  time.settle();
  t.strictSame(settled, [false]);
  t.equal(redis.notes.size, 1100);
  t.equal(redis.calls - calls, 3);
});
