/** The tables of quotas: what configuration may say, what is reported, what is documented. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { closeTable } from '../../src/core/close-reason.ts';
import { dropTable } from '../../src/core/drop-reason.ts';
import { refuseTable } from '../../src/core/refuse-reason.ts';
import { actionsOf, quotaKindNames, quotaKinds } from '../../src/quota/quota-kinds.ts';
import { checkQuotas, QUOTAS_MAX, type QuotaOptions } from '../../src/quota/quota-options.ts';
import { quotaMetricTable } from '../../src/quota/quota-report.ts';
import { limitsReference, limitsReferencePath } from './limits-reference.ts';
import { CountingWaiter, Publisher, Scene, WhoGate } from './scene.ts';

t.test('docs/reference/limits.md is made from the tables', async (t) => {
  const text = readFileSync(limitsReferencePath, 'utf8');
  t.equal(text, limitsReference(), 'run node test/quota/limits-reference.ts');
});

t.test('every kind can be made with each scope and action it names', async (t) => {
  for (const of of quotaKindNames) {
    for (const per of quotaKinds[of].per) {
      for (const action of actionsOf(of)) {
        const quota: QuotaOptions = { name: 'q', of, per, max: 10, action };
        t.strictSame(checkQuotas([quota]), [], `${of} ${per} ${action}`);
        const scene = new Scene([quota], { inner: new WhoGate() });
        t.match([...scene.gate.states()], [{ name: 'q', of, per, action, max: 10, hits: 0 }]);
      }
    }
  }
});

t.test('names that the table shows to clients are those of the core', async (t) => {
  const known = new Set([
    ...Object.keys(closeTable),
    ...Object.keys(dropTable),
    ...Object.keys(refuseTable),
    'burst',
  ]);
  for (const of of quotaKindNames) {
    for (const text of Object.values(quotaKinds[of].actions)) {
      for (const [index, part] of text.split('`').entries()) {
        if (index % 2 === 1) t.ok(known.has(part), part);
      }
    }
  }
});

t.test('what is wrong with a list is said where it is', async (t) => {
  const ok: QuotaOptions = { name: 'ok', of: 'publishBytesPerS', per: 'client', max: 1000 };
  const wrong = (change: Partial<Record<keyof QuotaOptions, unknown>>): string[] =>
    checkQuotas([{ ...ok, ...change } as QuotaOptions]).map(({ field }) => field);
  t.strictSame(wrong({}), []);
  t.strictSame(wrong({ name: '' }), ['name']);
  t.strictSame(wrong({ name: 'with space' }), ['name']);
  t.strictSame(wrong({ name: 'x"} 1\n' }), ['name']);
  t.strictSame(wrong({ name: 'x'.repeat(65) }), ['name']);
  t.strictSame(wrong({ of: 'toString' }), ['of']);
  t.strictSame(wrong({ per: 'country' }), ['per']);
  t.strictSame(wrong({ of: 'queueBytes', per: 'listener' }), ['per']);
  t.strictSame(wrong({ action: 'refuse' }), ['action']);
  t.strictSame(wrong({ max: 0 }), ['max']);
  t.strictSame(wrong({ max: 1.5 }), ['max']);
  t.strictSame(wrong({ max: Number.NaN }), ['max']);
  t.strictSame(wrong({ burst: 19 }), ['burst']);
  t.strictSame(wrong({ burst: 20 }), []);
  t.strictSame(wrong({ of: 'subscriptions', burst: 20 }), ['burst']);
  t.strictSame(wrong({ of: 'subscriptions', max: 0 }), []);
  t.strictSame(wrong({ of: 'inflightMessages', max: 0 }), ['max']);
  t.strictSame(wrong({ users: [] }), ['users']);
  t.strictSame(wrong({ tenants: [''] }), ['tenants']);
  t.strictSame(wrong({ of: 'queueBytes', listeners: ['a'] }), ['listeners']);
  t.match(checkQuotas([ok, ok]), [{ index: 1, field: 'name', message: /taken/ }]);
  const many = Array.from({ length: QUOTAS_MAX + 5 }, (_, i) => ({ ...ok, name: `q${i}` }));
  t.match(checkQuotas(many), [{ index: QUOTAS_MAX, field: 'name' }]);
  t.equal(checkQuotas(many).length, 1);
});

t.test('the fullest of each quota are reported, a bounded number', async (t) => {
  const scene = new Scene([
    { name: 'subs', of: 'subscriptions', per: 'client', max: 1000 },
    { name: 'rate', of: 'publishMessagesPerS', per: 'client', max: 10, burst: 5 },
    { name: 'connects', of: 'connectsPerS', per: 'user', max: 10, users: ['nobody'] },
  ]);
  const sessions = Array.from({ length: 500 }, (_, i) => {
    const session = scene.gate.quotas!.session({ clientId: `c${i}`, identity: null, tenant: '' })!;
    for (let j = 0; j < (i * 7) % 500; j++) session.subscribed();
    return session;
  });
  const top = [...scene.gate.use(3)];
  t.match(
    top.filter(({ name }) => name === 'subs').map(({ used, max }) => [used, max]),
    [
      [499, 1000],
      [498, 1000],
      [497, 1000],
    ],
  );
  const decision = await scene.ask({ clientId: 'p' });
  const publisher = new Publisher(decision.client!, scene.time);
  publisher.send(7);
  t.match(
    [...scene.gate.use(3)].find(({ name }) => name === 'rate'),
    { key: 'p', used: 6, max: 10, burst: 5, waiting: 1 },
  );
  t.match(
    [...scene.gate.states()],
    [
      { name: 'subs', keys: 500, hits: 0 },
      { name: 'rate', keys: 1, waiting: 1, hits: 1 },
      { name: 'connects', keys: null },
    ],
  );
  for (const session of sessions) session.ended();
  t.strictSame(
    [...scene.gate.use(3)].filter(({ name }) => name === 'subs'),
    [],
  );
});

t.test('every metric moves, and none has a label that clients can choose', async (t) => {
  const scene = new Scene([
    { name: 'rate', of: 'publishMessagesPerS', per: 'node', max: 10, burst: 5 },
    { name: 'subs', of: 'subscriptions', per: 'node', max: 1 },
    { name: 'connects', of: 'connectsPerS', per: 'node', max: 1000 },
  ]);
  const read = (): Record<string, number> =>
    Object.fromEntries(
      quotaMetricTable.flatMap((metric) =>
        scene.gate.samples(metric).map(([labels, value]) => {
          t.equal(labels.length, metric.labels.length);
          return [`${metric.name}{${labels}}`, value];
        }),
      ),
    );
  const before = read();
  const { client } = await scene.ask({ clientId: 'evil"} 1\n' });
  const waiter = new CountingWaiter();
  for (let i = 0; i < 6; i++) client!.publish('a', 0, false, 1, waiter);
  const session = scene.gate.quotas!.session({ clientId: 'b', identity: 'evil', tenant: '' })!;
  session.subscribe();
  session.subscribe();
  const after = read();
  const moved = Object.keys(after).filter((key) => after[key] !== before[key]);
  for (const { name } of quotaMetricTable) {
    if (name === 'causeway_quota_limit') continue;
    t.ok(
      moved.some((key) => key.startsWith(`${name}{`)),
      name,
    );
  }
  t.equal(after['causeway_quota_limit{rate}'], 10);
  t.equal(after['causeway_quota_hits_total{rate,slow}'], 1);
  t.equal(after['causeway_quota_hits_total{subs,refuse}'], 1);
  t.equal(after['causeway_quota_used{subs}'], 1);
  t.equal(after['causeway_quota_used{rate}'], 6);
  t.notOk(Object.keys(after).some((key) => key.includes('evil')));
  scene.gate.reload([
    { name: 'rate', of: 'publishMessagesPerS', per: 'node', max: 20, action: 'drop' },
  ]);
  const reloaded = read();
  t.equal(reloaded['causeway_quota_hits_total{rate,slow}'], 1, 'counters go on');
  t.equal(reloaded['causeway_quota_hits_total{rate,drop}'], 0);
  t.equal(reloaded['causeway_quota_limit{rate}'], 20);
});

t.test('a quota that is met all the time is logged now and then', async (t) => {
  const scene = new Scene([
    { name: 'rate', of: 'publishMessagesPerS', per: 'client', max: 1, action: 'drop' },
  ]);
  const client = scene.client({ clientId: 'a' });
  const waiter = new CountingWaiter();
  for (let i = 0; i < 1000; i++) {
    client.publish('a', 0, false, 1, waiter);
    scene.time.pass(10, 10);
  }
  t.equal(scene.logged.length, 1);
  scene.time.pass(1000);
  for (let i = 0; i < 3; i++) client.publish('a', 0, false, 1, waiter);
  t.equal(scene.logged.length, 2);
  t.match(scene.logged[1], { message: 'quota reached', fields: { quota: 'rate', key: 'a' } });
  t.ok((scene.logged[1]!.fields.hits as number) > 900);
});
