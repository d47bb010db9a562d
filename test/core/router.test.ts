/**
 * core/router, topic-tree and route-cache: matching against the definition in the specification
 * [MQTT5-4.7], and a cache that never gives a route of before a change.
 */
import fc from 'fast-check';
import t from 'tap';
import { Router } from '../../src/core/router.ts';
import { Session, Subscription } from '../../src/core/session.ts';
import { Stats } from '../../src/core/stats.ts';
import { TopicTree } from '../../src/core/topic-tree.ts';
import { bodyStart } from '../../src/wire/framing.ts';
import { decodePublish, PublishView } from '../../src/wire/publish.ts';
import { publishBytes } from './fake-client.ts';

/** Section 4.7, word by word. */
function matches(filter: string, topic: string): boolean {
  const f = filter.split('/');
  const l = topic.split('/');
  if (topic.startsWith('$') && (f[0] === '#' || f[0] === '+')) return false;
  for (let i = 0; i < f.length; i++) {
    if (f[i] === '#') return true;
    if (i >= l.length) return false;
    if (f[i] !== '+' && f[i] !== l[i]) return false;
  }
  return f.length === l.length;
}

const level = fc.constantFrom('a', 'b', 'c', '', '$x', '__proto__', 'constructor', 'é');
const topic = fc.array(level, { minLength: 1, maxLength: 5 }).map((levels) => levels.join('/'));
const filter = fc
  .tuple(
    fc.array(fc.oneof(level, fc.constant('+')), { minLength: 0, maxLength: 4 }),
    fc.constantFrom('#', '+', 'a', 'b', ''),
  )
  .map(([levels, last]) => [...levels, last].join('/'));

function viewOf(name: string): PublishView {
  const packet = publishBytes(4, name, '');
  const view = new PublishView();
  decodePublish(view, 4, packet[0]!, packet, bodyStart(packet, 0), packet.length, 0);
  return view;
}

t.test('the tree finds what the definition says, with adding and removing', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(filter, fc.boolean()), { maxLength: 60 }),
      fc.array(topic, { minLength: 1, maxLength: 10 }),
      (changes, topics) => {
        const tree = new TopicTree<string>();
        const model: string[] = [];
        for (const [changed, isAdded] of changes) {
          if (isAdded) {
            tree.add(changed, changed);
            model.push(changed);
          } else {
            const index = model.indexOf(changed);
            if (tree.remove(changed, changed) !== (index !== -1)) throw new Error('remove lied');
            if (index !== -1) model.splice(index, 1);
          }
        }
        for (const name of topics) {
          const found: string[] = [];
          tree.match(name, found);
          const expected = model.filter((one) => matches(one, name));
          if (found.sort().join() !== expected.sort().join()) {
            throw new Error(`${name}: ${found.join()} instead of ${expected.join()}`);
          }
        }
      },
    ),
    { numRuns: 1000 },
  );
  t.pass('tree and definition agree');
});

interface Model {
  readonly session: Session;
  readonly filter: string;
  readonly group: string | null;
  readonly qos: 0 | 1 | 2;
  readonly id: number;
  subscription: Subscription;
}

/** What a topic's route must be: per session the merged subscription, and the groups. */
function expectedRoute(
  model: readonly Model[],
  name: string,
): { receivers: string[]; groups: string[] } {
  const bySession = new Map<string, { qos: number; ids: number[] }>();
  const groups = new Set<string>();
  for (const { session, filter: own, group, qos, id } of model) {
    if (!matches(own, name)) continue;
    if (group !== null) {
      groups.add(`${group} ${own}`);
      continue;
    }
    const merged = bySession.get(session.clientId) ?? { qos: 0, ids: [] };
    merged.qos = Math.max(merged.qos, qos);
    if (id !== 0) merged.ids.push(id);
    bySession.set(session.clientId, merged);
  }
  const receivers = [...bySession].map(
    ([clientId, { qos, ids }]) => `${clientId} ${qos} ${ids.sort((a, b) => a - b).join('+')}`,
  );
  return { receivers: receivers.sort(), groups: [...groups].sort() };
}

t.test('the route of a topic is never older than the last change', async (t) => {
  const change = fc.record({
    session: fc.nat(4),
    filter,
    group: fc.constantFrom(null, null, 'g', 'h'),
    qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
    id: fc.nat(3),
    isRemoved: fc.boolean(),
  });
  fc.assert(
    fc.property(
      fc.array(fc.oneof(change, topic), { maxLength: 120 }),
      fc.integer({ min: 1, max: 50 }),
      (steps, receiversMax) => {
        const stats = new Stats();
        // A tiny cache, so that it is cleared all the time.
        const router = new Router(stats, receiversMax);
        const sessions = [0, 1, 2, 3, 4].map((i) => new Session(`s${i}`, i, null, ''));
        let model: Model[] = [];
        const kept = new Map<string, ReturnType<Router['lookup']>>();
        for (const step of steps) {
          if (typeof step === 'string') {
            if (step === '') continue;
            let entry = kept.get(step);
            // Half the lookups are by an entry that somebody kept, as publishers do.
            if (entry !== undefined && stats.routeHits % 2 === 0) router.refresh(entry);
            else entry = router.lookup(viewOf(step));
            kept.set(step, entry);
            const { receivers, groups, size } = entry.route;
            const seen = {
              receivers: receivers
                .map(({ session, qos, subscriptionIds }) => {
                  const ids = [...(subscriptionIds ?? [])].sort((a, b) => a - b);
                  return `${session.clientId} ${qos} ${ids.join('+')}`;
                })
                .sort(),
              groups: groups.map((group) => `${group.group} ${group.filter}`).sort(),
            };
            const expected = expectedRoute(model, step);
            if (JSON.stringify(seen) !== JSON.stringify(expected)) {
              throw new Error(`${step}: ${JSON.stringify(seen)}, not ${JSON.stringify(expected)}`);
            }
            if (size !== receivers.length + groups.length) throw new Error('size is wrong');
            if (entry.topic !== step) throw new Error(`entry of ${entry.topic}`);
            continue;
          }
          const session = sessions[step.session]!;
          const known = model.find(
            (one) =>
              one.session === session && one.filter === step.filter && one.group === step.group,
          );
          if (step.isRemoved) {
            if (known === undefined) continue;
            router.remove(known.subscription);
            model = model.filter((one) => one !== known);
            continue;
          }
          const subscription = new Subscription(
            session,
            step.filter,
            step.qos,
            false,
            false,
            0,
            step.id === 0 ? null : [step.id],
            step.group,
          );
          router.add(subscription, known?.subscription ?? null);
          model = model.filter((one) => one !== known);
          model.push({ ...step, session, subscription });
        }
        if (stats.subscriptions !== model.length) throw new Error('subscriptions are miscounted');
        const shared = model.filter((one) => one.group !== null).length;
        if (stats.sharedSubscriptions !== shared) throw new Error('groups are miscounted');
      },
    ),
    { numRuns: 1000 },
  );
  t.pass('router and definition agree');
});

t.test('long topics do not fill the cache beyond its bound', async (t) => {
  const router = new Router(new Stats(), 1000);
  const before = process.memoryUsage();
  for (let i = 0; i < 3000; i++) router.lookup(viewOf(`${i}/${'x'.repeat(60_000)}`));
  const after = process.memoryUsage();
  const grownMib = (after.arrayBuffers - before.arrayBuffers) / 1024 / 1024;
  t.ok(grownMib < 40, `${grownMib.toFixed(0)} MiB of topics are kept`);
});

t.test(
  'the cache counts receivers exactly, also of entries that only a publisher keeps',
  async (t) => {
    const router = new Router(new Stats(), 100_000);
    const sessions = Array.from({ length: 50 }, (_, i) => new Session(`s${i}`, i, null, ''));
    const entry = router.lookup(viewOf('a/b'));
    router.cache.clear();
    const added = sessions.map((session) => {
      const subscription = new Subscription(session, 'a/#', 0, false, false, 0, null, null);
      router.add(subscription, null);
      return subscription;
    });
    router.refresh(entry);
    t.equal(entry.route.size, 50);
    t.equal(router.cache.receivers, 0, 'the entry is not in the cache');
    router.lookup(viewOf('a/c'));
    t.ok(router.cache.receivers >= 50);
    for (const subscription of added) router.remove(subscription);
    router.lookup(viewOf('a/c'));
    router.refresh(entry);
    t.ok(router.cache.receivers >= 0 && router.cache.receivers < 10);
  },
);
