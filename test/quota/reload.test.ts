/** Other quotas while clients are connected: nobody is dropped, what was used stays used. */
import t from 'tap';
import type { Principal } from '../../src/core/principal.ts';
import type { QuotaOptions } from '../../src/quota/quota-options.ts';
import { CountingWaiter, Publisher, Scene, WhoGate } from './scene.ts';

const who: Principal = { clientId: 'a', identity: 'u', tenant: 't' };
const rate = (max: number, more: Partial<QuotaOptions> = {}): QuotaOptions => ({
  name: 'rate',
  of: 'publishMessagesPerS',
  per: 'client',
  max,
  ...more,
});

t.test('levels carry over with the name', async (t) => {
  const scene = new Scene([rate(100, { burst: 50, action: 'drop' })], { wrapsEveryone: true });
  const publisher = new Publisher(scene.client({ clientId: 'a' }), scene.time);
  publisher.send(40);
  t.strictSame(scene.used(), { 'rate/a': 40 });
  scene.gate.reload([rate(10, { burst: 20, action: 'drop' })]);
  publisher.send(11);
  t.equal(publisher.sent.length, 50, 'ten were left, and ten there are');
  t.equal(publisher.dropped, 1);
  t.strictSame(scene.hits(), { rate: 1 });
  scene.gate.reload([rate(1000, { name: 'other' })]);
  publisher.send(100);
  t.equal(publisher.dropped, 1, 'another name is another quota');
  scene.gate.reload([]);
  publisher.send(10_000);
  t.equal(publisher.dropped, 1, 'none is left');
  scene.gate.reload([rate(1, { action: 'disconnect' })]);
  publisher.send(2);
  t.ok(publisher.closed, 'and an open connection comes under a new one');
});

t.test('who waits goes on under the new terms', async (t) => {
  const scene = new Scene([rate(1, { burst: 1 })], { wrapsEveryone: true });
  const publishers = ['a', 'b', 'c'].map(
    (clientId) => new Publisher(scene.client({ clientId }), scene.time),
  );
  for (const publisher of publishers) publisher.send(100);
  scene.time.pass(100, 10);
  scene.gate.reload([rate(1000, { burst: 1000 })]);
  scene.time.pass(1200, 10);
  t.strictSame(
    publishers.map(({ sent }) => sent.length),
    [100, 100, 100],
  );
});

t.test('lowered below what is there: nothing is taken away, growth is refused', async (t) => {
  const of = (max: number): QuotaOptions[] => [
    { name: 'conns', of: 'connections', per: 'user', max },
    { name: 'subs', of: 'subscriptions', per: 'client', max },
    { name: 'queue', of: 'queueBytes', per: 'node', max },
    { name: 'kept', of: 'retainedMessages', per: 'tenant', max },
  ];
  const scene = new Scene(of(10), { inner: new WhoGate() });
  const clients = [1, 2, 3].map((i) => scene.client({ clientId: `c${i}`, user: 'u' }));
  const quotas = scene.gate.quotas!;
  const session = quotas.session(who)!;
  for (let i = 0; i < 5; i++) session.subscribe();
  t.ok(session.enqueue(8));
  t.ok(quotas.retain(who, 4, 0));
  const before = { 'conns/u': 3, 'subs/a': 5, 'queue/': 8, 'kept/t': 4 };
  scene.gate.reload(of(2));
  t.strictSame(scene.used(), before);
  t.match(await scene.ask({ clientId: 'd', user: 'u' }), { refusal: 'connections_quota' });
  t.notOk(session.subscribe());
  t.notOk(session.enqueue(1));
  t.notOk(quotas.retain(who, 1, 0));
  t.ok(quotas.retain(who, 0, 100));
  t.strictSame(scene.used(), before);
  for (let i = 0; i < 4; i++) session.unsubscribed();
  t.ok(session.subscribe());
  for (const client of clients) client.closed();
  session.ended();
  quotas.retained(who, -4, 0);
  t.strictSame(scene.used(), {});
});

t.test('new quotas count what is there already', async (t) => {
  const retained = [
    { source: who, bytes: 100 },
    { source: who, bytes: 200 },
    { source: null, bytes: 400 },
  ];
  const scene = new Scene([], {
    inner: new WhoGate(),
    wrapsEveryone: true,
    retained: () => retained,
  });
  scene.client({ clientId: 'c', user: 'u' });
  const session = scene.gate.quotas!.session(who)!;
  session.subscribed();
  session.queued(70);
  t.notOk(session.metersDelivery);
  scene.gate.reload([
    { name: 'conns', of: 'connections', per: 'user', max: 1 },
    { name: 'subs', of: 'subscriptions', per: 'tenant', max: 1 },
    { name: 'queue', of: 'queueBytes', per: 'user', max: 1 },
    { name: 'kept', of: 'retainedMessages', per: 'user', max: 1 },
    { name: 'bytes', of: 'retainedBytes', per: 'tenant', max: 1 },
    { name: 'out', of: 'deliverBytesPerS', per: 'client', max: 100 },
  ]);
  t.strictSame(scene.used(), {
    'conns/u': 1,
    'subs/t': 1,
    'queue/u': 70,
    'kept/u': 2,
    'bytes/t': 300,
  });
  t.ok(session.metersDelivery);
  const waiter = new CountingWaiter();
  t.ok(session.deliver(100, waiter));
  t.notOk(session.deliver(1, waiter));
  scene.gate.reload([]);
  t.equal(waiter.resumed, 1, 'not metered any more');
  t.notOk(session.metersDelivery);
});

t.test('many connections are brought over some per turn', async (t) => {
  const scene = new Scene([rate(1, { burst: 1, action: 'drop' })]);
  const clients = Array.from({ length: 2500 }, (_, i) => scene.client({ clientId: `c${i}` }));
  const next = rate(5, { name: 'next', burst: 5, action: 'drop' });
  scene.gate.reload([next]);
  const rebound = (): number => [...scene.gate.states()][0]!.keys!;
  t.equal(rebound(), 1000);
  scene.gate.reload([{ ...next, name: 'last' }]);
  scene.time.turn();
  t.ok(rebound() >= 2000);
  scene.time.settle();
  t.equal(rebound(), 2500);
  const waiter = new CountingWaiter();
  const allowed = clients.filter((client) => client.publish('a', 0, false, 1, waiter) === 1);
  t.equal(allowed.length, 2500);
  for (const client of clients) client.closed();
  scene.time.pass(5000);
  t.equal(rebound(), 0);
});

t.test('a list with a fault changes nothing', async (t) => {
  const scene = new Scene([rate(1)]);
  t.throws(() => scene.gate.reload([rate(5), rate(6)]), /quota 1: name "rate" is taken/);
  t.equal([...scene.gate.states()][0]!.max, 1);
  t.throws(() => new Scene([rate(0)]), RangeError);
});
