/** What is counted: connections, subscriptions, queues, retained messages, windows; and given back. */
import fc from 'fast-check';
import t from 'tap';
import type { Quotas, SessionQuota } from '../../src/core/ports.ts';
import type { Principal } from '../../src/core/principal.ts';
import type { QuotaOptions } from '../../src/quota/quota-options.ts';
import type { RetainedHolding } from '../../src/quota/use-ledger.ts';
import { FakeGate } from '../core/fake-gate.ts';
import { CountingWaiter, Scene, WhoGate } from './scene.ts';

function principal(clientId: string, identity: string | null = null, tenant = ''): Principal {
  return { clientId, identity, tenant };
}

function quotasOf(scene: Scene): Quotas {
  const { quotas } = scene.gate;
  if (quotas === null) throw new Error('nothing is counted');
  return quotas;
}

function sessionOf(scene: Scene, who: Principal): SessionQuota {
  const session = quotasOf(scene).session(who);
  if (session === null) throw new Error('not counted');
  return session;
}

t.test('connections: refused by name at the limit, given back at the end', async (t) => {
  const scene = new Scene(
    [
      { name: 'per-user', of: 'connections', per: 'user', max: 2 },
      { name: 'all', of: 'connections', per: 'node', max: 3 },
    ],
    { inner: new WhoGate() },
  );
  const first = scene.client({ clientId: 'a', user: 'u' });
  scene.client({ clientId: 'b', user: 'u' });
  const refused = await scene.ask({ clientId: 'c', user: 'u' });
  t.match(refused, { refusal: 'connections_quota', client: null });
  t.match(refused.reasonString, /per-user: 2 connections per user/);
  const other = scene.client({ clientId: 'd', user: 'v' });
  t.match(await scene.ask({ clientId: 'e', user: 'w' }), { reasonString: /all: 3/ });
  first.closed();
  first.closed();
  t.strictSame(scene.used(), { 'per-user/u': 1, 'per-user/v': 1, 'all/': 2 });
  const again = scene.client({ clientId: 'c', user: 'u' });
  for (const client of [again, other]) client.closed();
  t.strictSame(scene.used(), { 'per-user/u': 1, 'all/': 1 });
});

t.test('who takes over its own connection is not over the limit', async (t) => {
  const scene = new Scene([{ name: 'one', of: 'connections', per: 'user', max: 1 }], {
    inner: new WhoGate(),
  });
  const old = scene.client({ clientId: 'a', user: 'u' });
  const young = scene.client({ clientId: 'a', user: 'u' });
  old.closed();
  t.strictSame(scene.used(), { 'one/u': 1 });
  t.match(await scene.ask({ clientId: 'b', user: 'u' }), { refusal: 'connections_quota' });
  const again = scene.client({ clientId: 'a', user: 'u', again: true });
  young.closed();
  t.strictSame(scene.used(), { 'one/u': 1 }, 'a re-authentication is no second connection');
  again.closed();
  t.strictSame(scene.used(), {});
});

t.test(
  'somebody else with the same client identifier changes nothing about a takeover',
  async (t) => {
    const quotas = [
      { name: 'one', of: 'connections', per: 'user', max: 1 },
      { name: 'all', of: 'connections', per: 'node', max: 2 },
    ] as const;
    const scene = new Scene(quotas, { inner: new WhoGate() });
    const old = scene.client({ clientId: 'a', user: 'u' });
    // The core refuses it: the session is not his.
    scene.client({ clientId: 'a', user: 'v' }).closed();
    const young = scene.client({ clientId: 'a', user: 'u' });
    old.closed();
    t.strictSame(scene.used(), { 'one/u': 1, 'all/': 1 });
    const other = scene.client({ clientId: 'b', user: 'w' });
    t.match(
      await scene.ask({ clientId: 'a', user: 'v' }),
      { refusal: 'connections_quota' },
      'nobody makes room for a stranger',
    );
    for (const gate of [young, other]) gate.closed();
    t.strictSame(scene.used(), {});
  },
);

t.test('a connection refused by its quota hands back the rights it had got', async (t) => {
  let closed = 0;
  const inner = new FakeGate();
  inner.connect = () => ({
    refusal: null,
    identity: 'u',
    client: { ...fakeRights, closed: () => void closed++ },
  });
  const scene = new Scene([{ name: 'one', of: 'connections', per: 'user', max: 0 }], { inner });
  t.match(await scene.ask({ clientId: 'a' }), { refusal: 'connections_quota' });
  t.equal(closed, 1);
});

const fakeRights = {
  publish: () => 1 as const,
  subscribe: () => 1 as const,
  keeps: () => true,
  knows: () => true,
  receive: () => true,
  filtersReceive: false,
  allowsAll: false,
  why: null,
  closeReason: 'quota_exceeded' as const,
};

t.test('a client no quota concerns keeps its own gate', async (t) => {
  const rights = { ...fakeRights, closed: () => {} };
  const inner = new FakeGate();
  inner.connect = () => ({ refusal: null, identity: 'u', client: rights });
  const quotas: QuotaOptions[] = [
    { name: 'q', of: 'publishMessagesPerS', per: 'client', max: 1, users: ['other'] },
  ];
  t.equal(new Scene(quotas, { inner }).client({ clientId: 'a' }), rights);
  t.not(new Scene(quotas, { inner, wrapsEveryone: true }).client({ clientId: 'a' }), rights);
  t.equal(new Scene(quotas, { inner }).gate.quotas, null, 'and sessions are not counted');
});

t.test('subscriptions and queues, per client and together', async (t) => {
  const scene = new Scene([
    { name: 'subs', of: 'subscriptions', per: 'client', max: 2 },
    { name: 'user-subs', of: 'subscriptions', per: 'user', max: 3 },
    { name: 'queue', of: 'queueBytes', per: 'tenant', max: 100, action: 'disconnect' },
  ]);
  const a = sessionOf(scene, principal('a', 'u', 't'));
  const b = sessionOf(scene, principal('b', 'u', 't'));
  const c = sessionOf(scene, principal('c', 'v'));
  t.equal(c.overflow, null, 'as queueOverflow says');
  t.strictSame([a.subscribe(), a.subscribe(), a.subscribe()], [true, true, false]);
  t.strictSame([b.subscribe(), b.subscribe()], [true, false], 'the user has three');
  a.unsubscribed();
  t.ok(b.subscribe());
  t.ok(a.enqueue(60));
  t.notOk(b.enqueue(60));
  t.equal(b.overflow, 'disconnect');
  t.ok(c.enqueue(1e9), 'has no tenant');
  a.queued(-60);
  t.ok(b.enqueue(60));
  t.strictSame(scene.used(), { 'subs/a': 1, 'subs/b': 2, 'user-subs/u': 3, 'queue/t': 60 });
  b.queued(1000);
  t.equal(scene.used()['queue/t'], 1060, 'found at start: counted without a question');
  t.notOk(a.enqueue(1));
  for (const session of [a, b, c]) session.ended();
  a.queued(-5);
  a.ended();
  t.strictSame(scene.used(), {});
  t.equal(
    [...scene.gate.states()].reduce((sum, { keys }) => sum + keys!, 0),
    0,
  );
});

t.test('all anonymous clients are one user, and none the one called ""', async (t) => {
  const scene = new Scene([{ name: 's', of: 'subscriptions', per: 'user', max: 2 }]);
  t.ok(sessionOf(scene, principal('a')).subscribe());
  t.ok(sessionOf(scene, principal('b')).subscribe());
  t.notOk(sessionOf(scene, principal('c')).subscribe());
  t.ok(sessionOf(scene, principal('d', '')).subscribe());
  t.strictSame(scene.used(), { 's/null': 2, 's/': 1 });
});

t.test('retained messages and bytes by who published them', async (t) => {
  const scene = new Scene([
    { name: 'm', of: 'retainedMessages', per: 'client', max: 2 },
    { name: 'b', of: 'retainedBytes', per: 'tenant', max: 100 },
  ]);
  const quotas = quotasOf(scene);
  const a = principal('a', 'u', 't');
  const b = principal('b', 'u', 't');
  t.ok(quotas.retain(a, 1, 40));
  t.ok(quotas.retain(a, 1, 40));
  t.notOk(quotas.retain(a, 1, 1), 'two messages');
  t.notOk(quotas.retain(b, 1, 30), 'a hundred bytes');
  t.strictSame(scene.used(), { 'm/a': 2, 'b/t': 80 }, 'what is refused is not counted');
  t.ok(quotas.retain(a, 0, -20), 'a smaller one in its place');
  t.ok(quotas.retain(b, 1, 30));
  quotas.retained(b, 5, 500);
  t.strictSame(scene.used(), { 'm/a': 2, 'm/b': 6, 'b/t': 590 });
  t.ok(quotas.retain(b, 0, -10), 'over the limit, but it does not grow');
  t.notOk(quotas.retain(b, 0, 1));
  quotas.retained(a, -2, -60);
  quotas.retained(b, -6, -520);
  t.strictSame(scene.used(), {});
  t.strictSame(scene.hits(), { m: 1, b: 2 });
});

t.test('the first quota of a kind and scope that concerns somebody holds', async (t) => {
  const scene = new Scene([
    { name: 'gold', of: 'subscriptions', per: 'client', max: 5, tenants: ['gold'] },
    { name: 'bob', of: 'subscriptions', per: 'client', max: 3, users: ['bob'] },
    { name: 'rest', of: 'subscriptions', per: 'client', max: 1 },
    { name: 'window', of: 'inflightMessages', per: 'client', max: 7, users: ['bob'] },
  ]);
  const most = (who: Principal): number => {
    const session = sessionOf(scene, who);
    let subscriptions = 0;
    while (session.subscribe()) subscriptions++;
    return subscriptions;
  };
  t.equal(most(principal('a', 'bob', 'gold')), 5);
  t.equal(most(principal('b', 'bob')), 3);
  t.equal(most(principal('c')), 1);
  t.equal(sessionOf(scene, principal('d', 'bob')).inflightMax, 7);
  t.ok(sessionOf(scene, principal('e')).inflightMax > 65_535);
});

t.test('delivery is metered: the rest is told once when it may go on', async (t) => {
  const scene = new Scene([
    { name: 'd', of: 'deliverBytesPerS', per: 'client', max: 1000, burst: 100 },
  ]);
  const session = sessionOf(scene, principal('a'));
  t.ok(session.metersDelivery);
  const waiter = new CountingWaiter();
  t.ok(session.deliver(100, waiter));
  t.notOk(session.deliver(50, waiter));
  t.notOk(session.deliver(10, waiter), 'nor what comes behind it');
  scene.time.pass(40, 10);
  t.equal(waiter.resumed, 0);
  scene.time.pass(20, 10);
  t.equal(waiter.resumed, 1);
  t.ok(session.deliver(50, waiter), 'paid');
  t.notOk(session.deliver(5000, waiter), 'larger than the burst');
  scene.time.pass(5100, 10);
  t.equal(waiter.resumed, 2);
  t.ok(session.deliver(5000, waiter));
  t.notOk(session.deliver(1000, waiter));
  session.ended();
  scene.time.pass(3000, 10);
  t.equal(waiter.resumed, 2, 'who has ended is told nothing');
  t.strictSame(scene.used(), {});
  t.equal([...scene.gate.states()][0]!.keys, 0);
});

t.test('delivery to many is paid evenly', async (t) => {
  const scene = new Scene([
    { name: 'd', of: 'deliverBytesPerS', per: 'node', max: 10_000, burst: 1000 },
  ]);
  const sent = [0, 0, 0, 0, 0];
  sent.forEach((_, index) => {
    const session = sessionOf(scene, principal(`c${index}`));
    const waiter = new CountingWaiter(() => pump());
    const pump = (): void => {
      while (session.deliver(100, waiter)) sent[index]! += 100;
    };
    pump();
  });
  scene.time.pass(2000, 10);
  const sum = sent.reduce((left, right) => left + right);
  t.ok(sum > 20_500 && sum <= 21_000, `${sum} of 21000`);
  t.ok(Math.max(...sent.slice(1)) - Math.min(...sent) <= 1000, `${sent}`);
});

t.test(
  'after any history of sessions and retained messages everything is given back',
  async (t) => {
    const quotas: QuotaOptions[] = [];
    for (const of of [
      'subscriptions',
      'queueBytes',
      'retainedMessages',
      'retainedBytes',
    ] as const) {
      for (const per of ['client', 'user', 'tenant', 'node'] as const) {
        quotas.push({ name: `${of}-${per}`, of, per, max: of.endsWith('Bytes') ? 500 : 5 });
      }
    }
    const lists: QuotaOptions[][] = [
      quotas,
      quotas.filter((_, index) => index % 2 === 0),
      quotas.map((quota) => ({ ...quota, max: 1 })),
      quotas.map((quota) => (quota.per === 'node' ? quota : { ...quota, users: ['u0'] })),
      quotas.map((quota) => ({ ...quota, name: `other-${quota.name}` })),
    ];
    const who = fc.nat(5);
    const step = fc.oneof(
      fc.record({ do: fc.constant('begin' as const), who }),
      fc.record({ do: fc.constant('end' as const), who }),
      fc.record({ do: fc.constant('subscribe' as const), who, found: fc.boolean() }),
      fc.record({ do: fc.constant('unsubscribe' as const), who }),
      fc.record({
        do: fc.constant('enqueue' as const),
        who,
        found: fc.boolean(),
        bytes: fc.nat(300),
      }),
      fc.record({ do: fc.constant('settle' as const), who }),
      fc.record({ do: fc.constant('retain' as const), who, topic: fc.nat(3), bytes: fc.nat(300) }),
      fc.record({ do: fc.constant('clear' as const), topic: fc.nat(3) }),
      fc.record({ do: fc.constant('reload' as const), list: fc.nat(lists.length - 1) }),
    );
    interface Held {
      readonly quota: SessionQuota;
      subscriptions: number;
      queue: number[];
    }
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 80 }),
        fc.nat(lists.length - 1),
        (steps, firstList) => {
          const sessions = new Map<number, Held>();
          const retained = new Map<number, RetainedHolding & { readonly source: Principal }>();
          const scene = new Scene(lists[firstList]!, {
            wrapsEveryone: true,
            retained: () => retained.values(),
          });
          const of = (n: number): Principal =>
            principal(`c${n}`, n === 5 ? null : `u${n % 2}`, n < 3 ? 't' : '');
          const quotas = quotasOf(scene);
          for (const one of steps) {
            const held = 'who' in one ? sessions.get(one.who) : undefined;
            if (one.do === 'begin' && held === undefined) {
              const quota = quotas.session(of(one.who));
              if (quota !== null) sessions.set(one.who, { quota, subscriptions: 0, queue: [] });
            } else if (one.do === 'end' && held !== undefined) {
              held.quota.ended();
              sessions.delete(one.who);
            } else if (one.do === 'subscribe' && held !== undefined) {
              if (one.found) held.quota.subscribed();
              if (one.found || held.quota.subscribe()) held.subscriptions++;
            } else if (one.do === 'unsubscribe' && held !== undefined && held.subscriptions > 0) {
              held.subscriptions--;
              held.quota.unsubscribed();
            } else if (one.do === 'enqueue' && held !== undefined) {
              if (one.found) held.quota.queued(one.bytes);
              if (one.found || held.quota.enqueue(one.bytes)) held.queue.push(one.bytes);
            } else if (one.do === 'settle' && held !== undefined) {
              const bytes = held.queue.shift();
              if (bytes !== undefined) held.quota.queued(-bytes);
            } else if (one.do === 'retain') {
              const source = of(one.who);
              const old = retained.get(one.topic);
              const isOwn = old?.source.clientId === source.clientId;
              const more = isOwn ? one.bytes - old!.bytes : one.bytes;
              if (!quotas.retain(source, isOwn ? 0 : 1, more)) continue;
              if (old !== undefined && !isOwn) quotas.retained(old.source, -1, -old.bytes);
              retained.set(one.topic, { source, bytes: one.bytes });
            } else if (one.do === 'clear') {
              const old = retained.get(one.topic);
              if (old !== undefined) quotas.retained(old.source, -1, -old.bytes);
              retained.delete(one.topic);
            } else if (one.do === 'reload') {
              scene.gate.reload(lists[one.list]!);
            }
            // At every moment what is counted is what is there.
            let [subscriptions, queue, bytes] = [0, 0, 0];
            for (const { subscriptions: n, queue: entries } of sessions.values()) {
              subscriptions += n;
              for (const entry of entries) queue += entry;
            }
            for (const { bytes: n } of retained.values()) bytes += n;
            const there: Record<string, number> = {
              subscriptions,
              queueBytes: queue,
              retainedMessages: retained.size,
              retainedBytes: bytes,
            };
            const counted = scene.used();
            for (const { name, of: kind, per } of scene.gate.states()) {
              if (per !== 'node') continue;
              const used = counted[`${name}/`] ?? 0;
              if (used !== there[kind]) throw new Error(`${name}: ${used}, not ${there[kind]}`);
            }
          }
          for (const { quota } of sessions.values()) quota.ended();
          for (const { source, bytes } of retained.values()) quotas.retained(source, -1, -bytes);
          const left = [...scene.gate.states()].filter(({ keys }) => keys !== 0);
          if (left.length > 0) throw new Error(`kept: ${JSON.stringify(left)}`);
        },
      ),
      { numRuns: 300 },
    );
    t.pass('held');
  },
);
