/** Rates of published messages and bytes: what is let through, when, and in which order. */
import fc from 'fast-check';
import t from 'tap';
import { CLOSE, OVER_QUOTA, WAIT } from '../../src/core/ports.ts';
import { FakeClientGate, FakeGate } from '../core/fake-gate.ts';
import { CountingWaiter, Publisher, Scene, WhoGate } from './scene.ts';

const perClient = (max: number, burst?: number) =>
  ({ name: 'rate', of: 'publishMessagesPerS', per: 'client', max, burst }) as const;

t.test('a client is slowed down to its rate, and loses nothing', async (t) => {
  const scene = new Scene([perClient(100, 10)]);
  const publisher = new Publisher(scene.client({ clientId: 'a' }), scene.time);
  publisher.send(60);
  t.equal(publisher.sent.length, 10, 'the burst at once');
  t.ok(publisher.waits);
  scene.time.pass(200, 10);
  t.equal(publisher.sent.length, 30, 'then what the rate brings');
  scene.time.pass(1000, 10);
  t.equal(publisher.sent.length, 60, 'all of it in the end');
  t.notOk(publisher.waits);
  scene.time.pass(1000, 10);
  t.equal(scene.used()['rate/a'], undefined, 'full again');
  t.ok(scene.hits().rate! > 0);
  t.match(scene.logged[0], {
    fields: { quota: 'rate', of: 'publishMessagesPerS', per: 'client', key: 'a', action: 'slow' },
  });
});

t.test(
  'after WAIT the same packet is not charged again, also when the rules wait next',
  async (t) => {
    let rulesWait = true;
    const inner = new FakeClientGate();
    inner.publish = () => (rulesWait ? WAIT : 1);
    const gate = new FakeGate();
    gate.connect = () => ({ refusal: null, identity: null, client: inner });
    const scene = new Scene([perClient(1, 1)], { inner: gate });
    const client = scene.client({ clientId: 'a' });
    const waiter = new CountingWaiter();
    t.equal(client.publish('a', 0, false, 1, waiter), WAIT, 'the rules wait');
    rulesWait = false;
    t.equal(client.publish('a', 0, false, 1, waiter), 1, 'paid already');
    t.equal(client.publish('a', 0, false, 1, waiter), WAIT, 'the next one is slowed down');
    t.equal(waiter.resumed, 0);
    scene.time.pass(990, 10);
    t.equal(waiter.resumed, 0, 'not early');
    scene.time.pass(20, 10);
    t.equal(waiter.resumed, 1, 'told once');
    rulesWait = true;
    t.equal(client.publish('a', 0, false, 1, waiter), WAIT, 'now the rules wait again');
    scene.time.pass(5000, 10);
    t.equal(waiter.resumed, 1, 'the quota has nothing to say about that');
    rulesWait = false;
    t.equal(client.publish('a', 0, false, 1, waiter), 1);
  },
);

t.test('what rules deny counts as well: refusals are no free flood', async (t) => {
  const inner = new FakeClientGate();
  let asked = 0;
  inner.publish = () => {
    asked++;
    return 0;
  };
  const gate = new FakeGate();
  gate.connect = () => ({ refusal: null, identity: null, client: inner });
  const scene = new Scene([{ ...perClient(10, 5), action: 'drop' }], { inner: gate });
  const client = scene.client({ clientId: 'a' });
  const waiter = new CountingWaiter();
  const verdicts = Array.from({ length: 8 }, () => client.publish('a', 0, false, 1, waiter));
  t.strictSame(verdicts, [0, 0, 0, 0, 0, OVER_QUOTA, OVER_QUOTA, OVER_QUOTA]);
  t.equal(asked, 5, 'rules are not asked beyond the quota');
});

t.test('drop and disconnect', async (t) => {
  const scene = new Scene([
    { name: 'm', of: 'publishMessagesPerS', per: 'client', max: 2, action: 'disconnect' },
    { name: 'b', of: 'publishBytesPerS', per: 'client', max: 100, action: 'drop' },
  ]);
  const client = scene.client({ clientId: 'a' });
  const waiter = new CountingWaiter();
  t.equal(client.publish('a', 0, false, 60, waiter), 1);
  t.equal(client.publish('a', 0, false, 60, waiter), OVER_QUOTA);
  t.equal(client.publish('a', 0, false, 101, waiter), OVER_QUOTA, 'never: over the burst');
  t.equal(client.publish('a', 0, false, 40, waiter), 1, 'what was dropped cost nothing');
  t.equal(client.publish('a', 0, false, 0, waiter), CLOSE);
  t.equal(client.closeReason, 'message_rate');
  t.strictSame(scene.hits(), { m: 1, b: 2 });

  const bytes = new Scene([
    { name: 'b', of: 'publishBytesPerS', per: 'client', max: 100, action: 'disconnect' },
  ]);
  const other = bytes.client({ clientId: 'a' });
  t.equal(other.publish('a', 0, false, 101, waiter), CLOSE);
  t.equal(other.closeReason, 'quota_exceeded');
});

t.test('a message larger than the burst gets through, and is paid for in full', async (t) => {
  const scene = new Scene([
    { name: 'b', of: 'publishBytesPerS', per: 'client', max: 1000, burst: 1000 },
  ]);
  const publisher = new Publisher(scene.client({ clientId: 'a' }), scene.time);
  publisher.send(1, 5000);
  publisher.send(1, 10);
  t.equal(publisher.sent.length, 0);
  scene.time.pass(3990, 10);
  t.equal(publisher.sent.length, 0);
  scene.time.pass(30, 10);
  t.equal(publisher.sent.length, 2);
});

t.test('those who share a quota take turns, and nobody overtakes', async (t) => {
  const scene = new Scene(
    [{ name: 'u', of: 'publishMessagesPerS', per: 'user', max: 100, burst: 2 }],
    {
      inner: new WhoGate(),
    },
  );
  const publishers = ['a', 'b', 'c', 'd'].map(
    (clientId) => new Publisher(scene.client({ clientId, user: 'u' }), scene.time),
  );
  for (const publisher of publishers) publisher.send(1000);
  scene.time.pass(2000, 10);
  const counts = publishers.map(({ sent }) => sent.length);
  t.equal(
    counts.reduce((sum, n) => sum + n),
    202,
    'the rate is that of all together',
  );
  t.ok(Math.max(...counts) - Math.min(...counts) <= 3, `evenly: ${counts}`);
});

t.test(
  'who comes when the tokens are back but before those who wait were told waits too',
  async (t) => {
    const scene = new Scene([
      { name: 'n', of: 'publishMessagesPerS', per: 'node', max: 100, burst: 10 },
    ]);
    const waiting = new Publisher(scene.client({ clientId: 'a' }), scene.time);
    waiting.send(11);
    scene.time.nowMs += 5000;
    scene.time.settle();
    const late = new Publisher(scene.client({ clientId: 'b' }), scene.time);
    late.send(1);
    t.ok(late.waits && waiting.waits);
    scene.time.pass(10, 10);
    t.ok(waiting.sent.length === 11 && late.sent.length === 1);
  },
);

t.test('one with a large message is not starved by many with small ones', async (t) => {
  const scene = new Scene(
    [
      { name: 'u', of: 'publishBytesPerS', per: 'user', max: 1000, burst: 100 },
      { name: 'n', of: 'publishBytesPerS', per: 'node', max: 1500, burst: 100 },
    ],
    { inner: new WhoGate() },
  );
  const small = Array.from(
    { length: 20 },
    (_, i) => new Publisher(scene.client({ clientId: `s${i}`, user: 'u' }), scene.time),
  );
  for (const publisher of small) publisher.send(10_000, 10);
  const large = new Publisher(scene.client({ clientId: 'l', user: 'u' }), scene.time);
  large.send(1, 2000);
  // Two seconds for the user's quota, then one and a third for the node's.
  scene.time.pass(4000, 10);
  t.equal(large.sent.length, 1);
});

t.test('who leaves while waiting gives back what it had paid', async (t) => {
  const scene = new Scene(
    [
      { name: 'u', of: 'publishBytesPerS', per: 'user', max: 1000, burst: 1000 },
      { name: 'n', of: 'publishBytesPerS', per: 'node', max: 100, burst: 100 },
    ],
    { inner: new WhoGate() },
  );
  const first = new Publisher(scene.client({ clientId: 'a', user: 'u' }), scene.time);
  const second = new Publisher(scene.client({ clientId: 'b', user: 'u' }), scene.time);
  first.send(1, 900);
  second.send(1, 50);
  t.ok(first.waits && second.waits, 'one paid for, one in line');
  first.close();
  t.strictSame(scene.used(), { 'u/u': 50, 'n/': 50 }, 'what the first had paid is back');
  scene.time.pass(20, 10);
  t.equal(second.sent.length, 1, 'as if the first had never been there');
  second.close();
  scene.time.pass(2000, 10);
  t.strictSame(scene.used(), {});
  t.equal(
    [...scene.gate.states()].reduce((sum, { keys }) => sum + keys!, 0),
    0,
    'nothing is kept',
  );
});

t.test('reconnecting does not fill the bucket', async (t) => {
  const scene = new Scene([{ ...perClient(10, 10), action: 'drop' }]);
  const waiter = new CountingWaiter();
  let allowed = 0;
  for (let i = 0; i < 50; i++) {
    const client = scene.client({ clientId: 'a' });
    for (let j = 0; j < 5; j++) if (client.publish('a', 0, false, 1, waiter) === 1) allowed++;
    client.closed();
    client.closed();
  }
  t.equal(allowed, 10);
  t.equal([...scene.gate.states()][0]!.keys, 1, 'kept while it is not full');
  scene.time.pass(3000);
  t.equal([...scene.gate.states()][0]!.keys, 0);
});

t.test('nothing runs while nobody waits', async (t) => {
  const scene = new Scene([perClient(10, 5)]);
  let tickers = 0;
  const every = scene.time.every.bind(scene.time);
  scene.time.every = (intervalMs, tick) => {
    tickers++;
    const stop = every(intervalMs, tick);
    return () => {
      tickers--;
      stop();
    };
  };
  const publisher = new Publisher(scene.client({ clientId: 'a' }), scene.time);
  publisher.send(5);
  t.equal(tickers, 0);
  publisher.send(1);
  t.equal(tickers, 1);
  scene.time.pass(1000, 10);
  t.equal(tickers, 0);
  publisher.send(3);
  publisher.close();
  scene.time.pass(3000, 10);
  t.equal(tickers, 0);
});

t.test('never more than burst and rate allow, whatever clients do', async (t) => {
  const action = fc.oneof(
    fc.record({
      do: fc.constant('send' as const),
      who: fc.nat(3),
      count: fc.integer({ min: 1, max: 30 }),
      bytes: fc.integer({ min: 0, max: 400 }),
    }),
    fc.record({ do: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 700 }) }),
    fc.record({ do: fc.constant('leave' as const), who: fc.nat(3) }),
  );
  const amounts = fc.record({
    max: fc.integer({ min: 1, max: 500 }),
    burst: fc.integer({ min: 10, max: 300 }),
    per: fc.constantFrom('client', 'user', 'tenant', 'listener', 'node'),
    action: fc.constantFrom('slow', 'drop'),
  });
  await fc.assert(
    fc.asyncProperty(
      amounts,
      amounts,
      fc.array(action, { maxLength: 40 }),
      async (m, b, actions) => {
        const scene = new Scene(
          [
            { name: 'm', of: 'publishMessagesPerS', ...m },
            { name: 'b', of: 'publishBytesPerS', ...b },
          ],
          { inner: new WhoGate() },
        );
        const join = (who: number): Publisher =>
          new Publisher(
            scene.client({ clientId: `c${who}`, user: `u${who % 2}`, tenant: 't' }),
            scene.time,
          );
        const present = [0, 1, 2, 3].map(join);
        const all = present.map((publisher, who) => ({ who, publisher }));
        for (const step of actions) {
          if (step.do === 'send') present[step.who]!.send(step.count, step.bytes);
          else if (step.do === 'leave') {
            present[step.who]!.close();
            present[step.who] = join(step.who);
            all.push({ who: step.who, publisher: present[step.who]! });
          } else {
            for (let left = step.ms; left > 0; left -= 20) {
              scene.time.pass(Math.min(20, left), 10);
              // Leases are promises.
              await Promise.resolve();
              await Promise.resolve();
              await Promise.resolve();
            }
          }
        }
        const keyOf = (per: string, who: number): string =>
          per === 'client' ? `c${who}` : per === 'user' ? `u${who % 2}` : '';
        for (const { quota, cost } of [
          { quota: m, cost: () => 1 },
          { quota: b, cost: (bytes: number) => bytes },
        ]) {
          const byKey = Map.groupBy(all, ({ who }) => keyOf(quota.per, who));
          for (const [key, group] of byKey) {
            const sent = group
              .flatMap(({ publisher }) => publisher.sent)
              .sort((left, right) => left.atMs - right.atMs);
            for (let from = 0; from < sent.length; from++) {
              let sum = 0;
              for (let to = from; to < sent.length; to++) {
                sum += cost(sent[to]!.bytes);
                // The first may have been paid for before; its payer is told within two ticks, and of
                // tokens that are drawn in portions when the portion comes.
                const atOnce = sent.filter(({ atMs }) => atMs === sent[from]!.atMs);
                const first = Math.max(quota.burst, ...atOnce.map(({ bytes }) => cost(bytes)));
                const lateMs = quota.per === 'tenant' ? 120 : 20;
                const ms = sent[to]!.atMs - sent[from]!.atMs + lateMs;
                const over = first + (ms / 1000) * quota.max;
                if (sum > over + 1e-3) {
                  throw new Error(`${quota.per} ${key}: ${sum} in place of ${over}`);
                }
              }
            }
          }
        }
        // Slowed down, nothing is lost, and everything comes in the end.
        if (m.action === 'slow' && b.action === 'slow') {
          for (const publisher of present) if (publisher.dropped > 0) throw new Error('dropped');
        }
        for (const publisher of present) publisher.close();
        const waiting = [...scene.gate.states()].reduce((sum, state) => sum + state.waiting, 0);
        if (waiting !== 0) throw new Error(`${waiting} wait for ever`);
      },
    ),
    { numRuns: 200 },
  );
  t.pass('held');
});
