/** Connects per second, what tenants share over nodes, and the bounds of keys that clients choose. */
import { RateLimiterMemory } from 'rate-limiter-flexible';
import t from 'tap';
import {
  type AuthAnswer,
  type AuthExchange,
  type ConnectDecision,
  type ConnectRequest,
  WAIT,
} from '../../src/core/ports.ts';
import { systemClock, systemRandom } from '../../src/listeners/scheduler.ts';
import { BoundedKeys } from '../../src/quota/bounded-keys.ts';
import { FlexibleLimit, memoryLimits } from '../../src/quota/flexible-limits.ts';
import { FakeGate } from '../core/fake-gate.ts';
import { ManualTime } from '../core/manual-time.ts';
import { ManualShared, Publisher, request, Scene, WhoGate } from './scene.ts';

t.test(
  'connects beyond the rate are refused by name, before credentials are looked at',
  async (t) => {
    let asked = 0;
    const inner = new WhoGate();
    const connect = inner.connect.bind(inner);
    inner.connect = (request, decide) => {
      asked++;
      return connect(request, decide);
    };
    const scene = new Scene([{ name: 'storm', of: 'connectsPerS', per: 'node', max: 5 }], {
      inner,
    });
    const decisions: ConnectDecision[] = [];
    for (let i = 0; i < 8; i++) decisions.push(await scene.ask({ clientId: `c${i}` }));
    t.strictSame(
      decisions.map(({ refusal }) => refusal),
      [null, null, null, null, null, 'connect_rate', 'connect_rate', 'connect_rate'],
    );
    t.match(decisions[5]!.reasonString, /quota storm: 5 connects a second per node/);
    t.equal(asked, 5);
    scene.time.pass(1000);
    t.match(await scene.ask({ clientId: 'z' }), { refusal: null });
  },
);

t.test('failed logins lock nobody out, however many', async (t) => {
  const inner = new FakeGate();
  let decideLate: ((decision: ConnectDecision) => void)[] = [];
  inner.connect = (asked, decide) => {
    if (asked.clientId === 'good') return { refusal: null, identity: 'good', client: null };
    decideLate.push(decide);
    return WAIT;
  };
  const scene = new Scene(
    [
      { name: 'node', of: 'connectsPerS', per: 'node', max: 10 },
      { name: 'user', of: 'connectsPerS', per: 'user', max: 10 },
    ],
    { inner },
  );
  for (let i = 0; i < 100; i++) {
    const bad = scene.ask({ clientId: `bad${i}` });
    for (let i = 0; i < 20 && decideLate.length === 0; i++) await Promise.resolve();
    for (const decide of decideLate) {
      decide({ refusal: 'bad_credentials', identity: null, client: null });
    }
    decideLate = [];
    t.match(await bad, { refusal: 'bad_credentials' });
  }
  t.match(await scene.ask({ clientId: 'good' }), { refusal: null });
  t.strictSame(scene.hits(), { node: 0, user: 0 });
});

t.test('per client, user and tenant it counts who was proven, not who was claimed', async (t) => {
  const scene = new Scene(
    [
      { name: 'user', of: 'connectsPerS', per: 'user', max: 1, burst: 2 },
      { name: 'tenant', of: 'connectsPerS', per: 'tenant', max: 1, burst: 3, users: ['u', 'v'] },
    ],
    { inner: new WhoGate() },
  );
  const names = async (...users: string[]): Promise<(string | null)[]> => {
    const refusals: (string | null)[] = [];
    for (const user of users) {
      refusals.push((await scene.ask({ clientId: 'a', user, tenant: 't' })).refusal);
    }
    return refusals;
  };
  t.strictSame(await names('u', 'u', 'u'), [null, null, 'connect_rate']);
  t.strictSame(await names('v', 'v'), [null, 'connect_rate'], 'the tenant has had three');
  t.strictSame(
    await names('w', 'w', 'w'),
    [null, null, 'connect_rate'],
    'has its user quota alone',
  );
  t.strictSame(scene.hits(), { user: 2, tenant: 1 });
});

t.test('a count that does not answer asks for credentials all the same', async (t) => {
  const scene = new Scene([{ name: 'c', of: 'connectsPerS', per: 'node', max: 1 }], {
    inner: new WhoGate(),
  });
  scene.shared.fail(new Error('gone'));
  for (let i = 0; i < 3; i++) t.match(await scene.ask({ clientId: 'a' }), { refusal: null });
  t.match(scene.logged[0]?.message, /did not answer/);
});

t.test('rights that throw end the connection and nothing else', async (t) => {
  const inner = new FakeGate();
  inner.connect = () => {
    throw new Error('a bug');
  };
  const scene = new Scene([{ name: 'c', of: 'connectsPerS', per: 'node', max: 1 }], { inner });
  const reason = await new Promise<string>((resolve) => {
    const asked: ConnectRequest = { ...request({ clientId: 'a' }), end: resolve };
    t.equal(
      scene.gate.connect(asked, () => t.fail('decided')),
      WAIT,
    );
  });
  t.equal(reason, 'internal_error');
});

t.test('enhanced authentication passes the same quotas', async (t) => {
  const inner = new FakeGate();
  const steps: (string | null)[] = [];
  const enhanced = {
    begin: (method: string) =>
      method !== 'M'
        ? null
        : {
            step: (data: Buffer | null, next: (answer: AuthAnswer) => void) => {
              steps.push(data?.toString() ?? null);
              if (steps.length % 2 === 1) next({ kind: 'continue', data: null });
              else
                next({ kind: 'decided', decision: { refusal: null, identity: 'u', client: null } });
            },
          },
  };
  Object.assign(inner, { enhanced });
  const scene = new Scene(
    [
      { name: 'rate', of: 'connectsPerS', per: 'node', max: 3 },
      { name: 'one', of: 'connections', per: 'user', max: 1 },
    ],
    { inner },
  );
  const auth = scene.gate.enhanced!;
  t.equal(auth, scene.gate.enhanced, 'made once');
  t.equal(auth.begin('X', request({ clientId: 'a' })), null);
  const run = async (clientId: string, again = false): Promise<ConnectDecision> => {
    const exchange = auth.begin('M', request({ clientId, again }))!;
    for (;;) {
      const answer = await new Promise<AuthAnswer>((next) => exchange.step(Buffer.from('x'), next));
      if (answer.kind === 'decided') return answer.decision;
    }
  };
  const first = await run('a');
  t.match(first, { refusal: null, identity: 'u' });
  t.match(await run('b'), { refusal: 'connections_quota' });
  t.match(
    await run('c'),
    { refusal: 'connections_quota' },
    'the refused one gave its connect back',
  );
  t.match(await run('d'), { refusal: 'connect_rate' }, 'three had proper credentials');
  const second = await run('a', true);
  t.equal(second.refusal, null, 'a re-authentication is no connect');
  first.client!.closed();
  t.strictSame(scene.used(), { 'one/u': 1 });
  second.client!.closed();
  t.strictSame(scene.used(), {});
  t.strictSame(steps, Array(8).fill('x'));
});

t.test('exchanges that are begun and left lock nobody out', async (t) => {
  const inner = new FakeGate();
  const enhanced = {
    begin: () => {
      let steps = 0;
      return {
        step: (_data: Buffer | null, next: (answer: AuthAnswer) => void) => {
          if (++steps === 1) next({ kind: 'continue', data: null });
          else next({ kind: 'decided', decision: { refusal: null, identity: 'u', client: null } });
        },
      };
    },
  };
  Object.assign(inner, { enhanced });
  const rate = { name: 'rate', of: 'connectsPerS', per: 'node', max: 3 } as const;
  const scene = new Scene([rate], { inner });
  const step = (exchange: AuthExchange) =>
    new Promise<AuthAnswer>((next) => exchange.step(null, next));
  for (let i = 0; i < 10; i++) {
    const left = scene.gate.enhanced!.begin('M', request({ clientId: `left${i}` }))!;
    t.match(await step(left), { kind: 'continue' });
  }
  for (const refusal of [null, null, null, 'connect_rate']) {
    const exchange = scene.gate.enhanced!.begin('M', request({ clientId: 'a' }))!;
    let answer = await step(exchange);
    if (answer.kind === 'continue') answer = await step(exchange);
    t.match(answer, { decision: { refusal } }, 'who finishes counts');
  }
});

/** Lets promises run that were made meanwhile. */
async function rest(): Promise<void> {
  for (let i = 0; i < 5; i++) await Promise.resolve();
}

async function passWithLeases(time: ManualTime, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 10) {
    time.pass(10, 10);
    await rest();
  }
}

t.test('a tenant draws in portions: exact on one node, no question per message', async (t) => {
  const scene = new Scene(
    [{ name: 't', of: 'publishMessagesPerS', per: 'tenant', max: 1000, burst: 100 }],
    { inner: new WhoGate() },
  );
  const publishers = ['a', 'b'].map(
    (clientId) => new Publisher(scene.client({ clientId, tenant: 't' }), scene.time),
  );
  for (const publisher of publishers) publisher.send(10_000);
  await passWithLeases(scene.time, 3000);
  const sent = publishers.reduce((sum, publisher) => sum + publisher.sent.length, 0);
  t.ok(sent <= 3100 && sent >= 2950, `${sent} of 3100`);
  t.ok(scene.shared.taken.length <= 31, `${scene.shared.taken.length} questions`);
  for (const publisher of publishers) publisher.close();
  await passWithLeases(scene.time, 3000);
  t.equal([...scene.gate.states()][0]!.keys, 0, 'full again, and forgotten');
  const questions = scene.shared.taken.length;
  await passWithLeases(scene.time, 3000);
  t.equal(scene.shared.taken.length, questions, 'at rest nothing is asked');
});

t.test('nodes that share a limit let through no more than one would', async (t) => {
  const time = new ManualTime();
  const shared = new ManualShared(time);
  const quotas = [
    { name: 't', of: 'publishMessagesPerS', per: 'tenant', max: 1000, burst: 100 },
  ] as const;
  const nodes = [1, 2, 3].map(() => new Scene(quotas, { inner: new WhoGate(), time, shared }));
  const publishers = nodes.map(
    (scene) => new Publisher(scene.client({ clientId: 'a', tenant: 't' }), time),
  );
  for (const publisher of publishers) publisher.send(20_000);
  await passWithLeases(time, 5000);
  const sent = publishers.map((publisher) => publisher.sent.length);
  const sum = sent.reduce((left, right) => left + right);
  // Each its own burst, and a tenth for the edges of windows.
  t.ok(sum <= 3 * 100 + 1.1 * 5000 + 1000 * 0.1, `${sent}`);
  t.ok(sum >= 4500, `${sent}`);
});

t.test('without the shared limit each node goes on by itself, and says so', async (t) => {
  const scene = new Scene(
    [{ name: 't', of: 'publishMessagesPerS', per: 'tenant', max: 100, burst: 10 }],
    { inner: new WhoGate() },
  );
  scene.shared.fail(new Error('gone'));
  const publisher = new Publisher(scene.client({ clientId: 'a', tenant: 't' }), scene.time);
  publisher.send(1000);
  await passWithLeases(scene.time, 2000);
  t.ok(publisher.sent.length >= 190 && publisher.sent.length <= 210, `${publisher.sent.length}`);
  t.match(scene.logged.at(-1)?.message, /did not answer/);
});

t.test('who has no tenant is under no quota of tenants', async (t) => {
  const scene = new Scene([{ name: 't', of: 'publishMessagesPerS', per: 'tenant', max: 1 }], {
    inner: new WhoGate(),
    wrapsEveryone: true,
  });
  const publisher = new Publisher(scene.client({ clientId: 'a' }), scene.time);
  publisher.send(1000);
  t.equal(publisher.sent.length, 1000);
});

t.test('rate-limiter-flexible in memory: windows, refusals, what is given back', async (t) => {
  const limits = memoryLimits({ clock: systemClock, random: systemRandom });
  const limit = limits.open('q', { points: 10, durationS: 2 });
  t.equal(await limit.take('a', 6), 0);
  const waitMs = await limit.take('a', 6);
  t.ok(waitMs > 0 && waitMs <= 2000, `${waitMs}`);
  t.equal(await limit.take('a', 4), 0, 'what was refused was not counted');
  t.equal(await limit.take('b', 10), 0, 'another key');
  limit.giveBack('a', 5);
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(await limit.take('a', 5), 0);
  t.ok((await limit.take('a', 1)) > 0);
  await new Promise((resolve) => setTimeout(resolve, waitMs + 50));
  limit.giveBack('a', 10);
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(await limit.take('a', 10), 0, 'a new window');
  t.ok((await limit.take('a', 1)) > 0, 'which owes nothing for the one before');
});

t.test('keys are bounded: exact first, then shared', async (t) => {
  const time = new ManualTime();
  const keys = new BoundedKeys(time, 'seed', 100, 1000);
  const long = 'x'.repeat(60_000);
  t.equal(keys.keyOf('a'), 'na');
  t.ok(keys.keyOf(long).length < 50);
  t.equal(keys.keyOf(long), keys.keyOf(long));
  const made = new Set<string>();
  for (let i = 0; i < 20_000; i++) made.add(keys.keyOf(`random-${i}`));
  t.ok(made.size <= 98 + 1024, `${made.size} keys`);
  t.equal(keys.keyOf('a'), 'na', 'who was there first keeps its own');
  t.match(keys.keyOf('late'), /^s[a-z\d]+$/);
  t.not(
    new BoundedKeys(time, 'one', 0, 1000).keyOf('x'),
    new BoundedKeys(time, 'two', 0, 1000).keyOf('x'),
    'nobody can aim at the key of another',
  );
  time.nowMs += 1000;
  t.equal(keys.keyOf('a'), 'na');
  t.match(keys.keyOf('late'), /^s/, 'records of the last period still live');
  time.nowMs += 1000;
  keys.keyOf('a');
  t.equal(keys.keyOf('late'), 'nlate');
});

t.test('a flood of random client ids keeps within the bound of keys', async (t) => {
  const limiter = new RateLimiterMemory({ points: 1, duration: 60 });
  const limit = new FlexibleLimit(limiter, new BoundedKeys(systemClock, 'seed', 500, 60_000));
  t.equal(await limit.take('good', 1), 0);
  for (let i = 0; i < 5000; i++) await limit.take(`${i}-${'y'.repeat(500)}`, 1);
  const records = limiter.dump().storage;
  t.ok(records.length <= 500 + 1024, `${records.length} records`);
  t.notOk(
    records.some(({ key }) => String(key).length > 64),
    'of bounded length',
  );
  t.ok((await limit.take('good', 1)) > 0, 'and forgets nobody who was counted');
});
