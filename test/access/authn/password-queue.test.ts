// The queue before the hashes: bounds, turns, and who pays when many come.
import t from 'tap';
import {
  BUSY,
  HashQueue,
  type HashQueueOptions,
  KEPT_OUT,
  type NoHash,
} from '../../../src/access/authn/hash-queue.ts';

/** A queue whose jobs end one by one, when the test says so. */
class Bench {
  nowMs = 0;
  readonly queue: HashQueue;
  /** Addresses in the order their jobs began. */
  readonly begun: string[] = [];
  readonly answers: Promise<string | NoHash>[] = [];
  readonly #ends: (() => void)[] = [];

  constructor(options: Partial<HashQueueOptions> = {}) {
    this.queue = new HashQueue({
      concurrency: 1,
      waitingMax: 100,
      waitingPerAddressMax: 10,
      waitMaxMs: 1000,
      clock: { monotonicMs: () => this.nowMs, wallMs: () => 0 },
      ...options,
    });
  }

  submit(address: string, count = 1): Promise<string | NoHash> {
    let last: Promise<string | NoHash> = Promise.resolve(BUSY);
    for (let i = 0; i < count; i += 1) {
      last = this.queue.submit(address, () => {
        this.begun.push(address);
        const { promise, resolve } = Promise.withResolvers<string>();
        this.#ends.push(() => resolve(address));
        return promise;
      });
      this.answers.push(last);
    }
    return last;
  }

  async finish(count = 1): Promise<void> {
    for (let i = 0; i < count; i += 1) {
      this.#ends.shift()?.();
      await new Promise((done) => setImmediate(done));
    }
  }

  async busyCount(): Promise<number> {
    const settled = await Promise.all(
      this.answers.map((answer) => Promise.race([answer, Promise.resolve('waiting')])),
    );
    return settled.filter((answer) => answer === BUSY).length;
  }
}

t.test('few at a time, in order of arrival for one address', async (t) => {
  const bench = new Bench({ concurrency: 2 });
  bench.submit('192.0.2.1', 5);
  t.equal(bench.begun.length, 2);
  t.match(bench.queue, { running: 2, waiting: 3 });
  await bench.finish(5);
  t.strictSame(await Promise.all(bench.answers), Array(5).fill('192.0.2.1'));
  t.match(bench.queue, { running: 0, waiting: 0, counters: { done: 5, refused: 0 } });
});

t.test('a job that fails or throws frees its place', async (t) => {
  const { queue } = new Bench();
  await t.rejects(
    queue.submit('a', () => Promise.reject(new Error('one'))),
    new Error('one'),
  );
  await t.rejects(
    queue.submit('a', () => {
      throw new Error('two');
    }),
    new Error('two'),
  );
  t.equal(await queue.submit('a', async () => 'three'), 'three');
  t.match(queue, { running: 0, waiting: 0 });
});

t.test(
  'addresses take turns, and a newcomer does not wait for a round of the others',
  async (t) => {
    const bench = new Bench({ waitingMax: 300 });
    for (let i = 0; i < 50; i += 1) bench.submit(`198.51.100.${i}`, 5);
    await bench.finish(100);
    const before = bench.begun.length;
    bench.submit('192.0.2.1', 2);
    await bench.finish(75);
    const turns = bench.begun.slice(before).indexOf('192.0.2.1');
    t.ok(turns >= 0 && turns <= 2, `begun after ${turns} others`);
    t.equal(bench.begun.filter((address) => address === '192.0.2.1').length, 2);
  },
);

t.test('an address with one job at a time is no newcomer each time', async (t) => {
  const bench = new Bench();
  for (let i = 0; i < 10; i += 1) bench.submit(`198.51.100.${i}`, 3);
  for (let i = 0; i < 20; i += 1) {
    if (!bench.begun.slice(-1).includes('greedy')) bench.submit('192.0.2.9');
    await bench.finish();
  }
  const greedy = bench.begun.filter((address) => address === '192.0.2.9').length;
  t.ok(greedy <= 4, `${greedy} of ${bench.begun.length}`);
});

t.test(
  'one address has few places, the queue a bound, and the longest line gives way',
  async (t) => {
    const bench = new Bench({ waitingMax: 20, waitingPerAddressMax: 10 });
    bench.submit('198.51.100.1', 100);
    t.match(bench.queue, { waiting: 10, counters: { refused: 89 } });
    bench.submit('198.51.100.2', 100);
    t.match(bench.queue, { waiting: 20, counters: { refused: 179, displaced: 0 } });
    const good = bench.submit('192.0.2.1');
    t.match(bench.queue, { waiting: 20, counters: { refused: 179, displaced: 1 } });
    await bench.finish(40);
    t.equal(await good, '192.0.2.1');
    t.equal(await bench.busyCount(), 180);
    t.equal(bench.queue.waiting, 0);

    const many = new Bench({ waitingMax: 5 });
    for (let i = 0; i < 50; i += 1) many.submit(`198.51.100.${i}`);
    t.match(many.queue, { waiting: 5, counters: { refused: 44, displaced: 0 } }, 'all alike');
  },
);

t.test('the addresses of one IPv6 /64 share a line; IPv4 in IPv6 is IPv4', async (t) => {
  const bench = new Bench({ waitingPerAddressMax: 2 });
  for (let i = 1; i <= 9; i += 1) bench.submit(`2001:db8:0:1::${i}`);
  t.match(bench.queue, { waiting: 2, counters: { refused: 6 } });
  bench.submit('2001:db8:0:2::1');
  bench.submit('::ffff:192.0.2.1');
  bench.submit('192.0.2.2');
  bench.submit('');
  t.equal(bench.queue.waiting, 6, 'others have their own, Unix sockets too');
});

t.test('what waited too long is not done any more', async (t) => {
  const bench = new Bench({ waitMaxMs: 1000 });
  bench.submit('a', 3);
  bench.nowMs = 1001;
  bench.submit('b');
  await bench.finish(2);
  t.strictSame(bench.begun, ['a', 'b']);
  t.equal(await bench.busyCount(), 2);
  t.match(bench.queue.counters, { expired: 2, done: 2 });
});

t.test('who is kept out by its turn is dropped, with those behind it in the line', async (t) => {
  const { queue } = new Bench();
  let isBlocked = false;
  const hold = Promise.withResolvers<string>();
  const held = queue.submit('192.0.2.1', () => hold.promise);
  const begun: string[] = [];
  const wait = (address: string, isKeptOut: () => boolean): Promise<string | NoHash> =>
    queue.submit(
      address,
      async () => {
        begun.push(address);
        return address;
      },
      isKeptOut,
    );
  const blocked = Array.from({ length: 5 }, () => wait('198.51.100.1', () => isBlocked));
  // Blocked is one user of it.
  const beside = wait('198.51.100.1', () => false);
  const others = Array.from({ length: 3 }, () => wait('198.51.100.2', () => false));
  isBlocked = true;
  hold.resolve('x');
  await held;
  t.strictSame(await Promise.all(blocked), Array(5).fill(KEPT_OUT));
  t.equal(await beside, '198.51.100.1');
  t.equal((await Promise.all(others)).length, 3);
  t.equal(begun.length, 4);
  t.match(queue, { waiting: 0, running: 0, counters: { done: 5, keptOut: 5, expired: 0 } });
});
