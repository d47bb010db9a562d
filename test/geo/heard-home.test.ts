// A client is served without its home, from a row that is behind: once that answers, the session has what the client
// has there, and what it has asked for or given up since (ADR 0023).
import t from 'tap';
import { learnSubscriptions } from '../../src/core/learned-subscriptions.ts';
import { makeMessage } from '../../src/core/message.ts';
import type { SubscriptionRecord } from '../../src/core/ports.ts';
import { RegionLinks } from '../../src/core/region-links.ts';
import { RoamingState } from '../../src/core/roaming-state.ts';
import { type Answer, type Ask, decodeFrame, encodeFrame } from '../../src/geo/roaming/frame.ts';
import { RegionMover } from '../../src/geo/roaming/mover.ts';
import { FakeDirectory } from '../core/fake-directory.ts';

import { SeededRandom } from '../core/manual-time.ts';
import { World } from '../core/world.ts';

const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const kept = { clean: false, expiryS: 100 } as const;

function filter(of: string, qos: 0 | 1 | 2 = 1): SubscriptionRecord {
  const options = { noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
  return { filter: of, qos, ...options, subscriptionId: 0 };
}

async function setUp() {
  const directory = new FakeDirectory();
  const links = new RegionLinks('eu', Buffer.alloc(16, 1));
  const world = await World.start({ directory, links, time: directory.time });
  const roaming = world.broker.roaming!;
  const asked: Ask[] = [];
  let isUp = false;
  const mover = new RegionMover({
    roaming,
    links: {
      regions: () => ['far'],
      isUp: () => isUp,
      ask: (_region, frame) => {
        if (isUp) asked.push(decodeFrame<Ask>(frame, () => 0).head);
        return isUp;
      },
      sync: () => true,
    },
    clock: world.time,
    random: new SeededRandom(1),
    scheduler: world.time,
    log: quiet,
    waitMs: 100,
  });
  roaming.mover = mover;
  mover.start();
  directory.list('one', null, 0);
  const client = world.client(5, 'one');
  client.connect(kept);
  world.settle();
  directory.answer();
  world.time.pass(200);
  t.ok(client.accepted(), 'session present');
  return {
    ...{ world, roaming, client, asked },
    up: (): void => {
      isUp = true;
      world.time.pass(300);
    },
    says: (answer: Partial<Answer>, entries: Parameters<typeof encodeFrame>[1] = []): void => {
      const { n, client } = asked.at(-1)!;
      const head = { kind: 'none', re: n, client, ...answer } as const;
      mover.answered('far', encodeFrame(head, entries));
      world.settle();
    },
  };
}

t.test('its home answers when it has been served for a while', async (t) => {
  const { world, roaming, client, asked, up, says } = await setUp();
  const session = roaming.session('one')!;
  client.subscribe('here', 1);
  client.unsubscribe('wanted/#');
  world.settle();
  up();
  t.match(asked.at(-1), { kind: 'pull', isFirst: true }, 'what it has there is asked for first');
  const record = session.record();
  const subscriptions = [filter('wanted/#'), filter('younger', 2), filter('here', 0)];
  says({ kind: 'session', born: 3, record: { ...record, will: null, subscriptions } });
  t.strictSame(
    [...session.subscriptions!].map(([name, { qos }]) => [name, qos]).sort(),
    [
      ['here', 1],
      ['younger', 2],
    ],
    'as there, but for what is later',
  );
  const next = asked.at(-1)!;
  t.strictSame([next.kind, next.isFirst, next.had], ['pull', undefined, 0], 'then what waits');
  const entry = (seq: number, topic: string, id = 0) => ({
    ...{ seq, message: makeMessage(seq, topic, Buffer.from(topic), { qos: 1 }), qos: 1 as const },
    ...{ retain: false, subscriptionIds: null, id, isReleased: false },
  });
  const page = [entry(1, 'wanted/1'), entry(2, 'younger'), entry(3, 'wanted/2', 9)];
  says({ kind: 'page', born: 3, epoch: 3, more: true }, page);
  world.time.pass(100);
  t.strictSame(
    client.payloads().sort(),
    ['wanted/2', 'younger'],
    'what was given up does not come, unless it may have been sent',
  );
  t.equal(asked.at(-1)!.had, 3, 'all of it is done with there');
});

t.test('what of the row is no more at its home is no more here', async (t) => {
  const { world, roaming } = await setUp();
  const session = roaming.session('one')!;
  const { services } = roaming as unknown as { services: Parameters<typeof learnSubscriptions>[0] };
  learnSubscriptions(services, session, []);
  t.strictSame([...session.subscriptions!.keys()], []);
  world.connected(5, 'p').publish('wanted/1', 'x');
  world.settle();
  t.equal(session.queuedMessages, 0);
});

t.test('what a client has changed is kept while somebody has something of it', (t) => {
  const state = new RoamingState('eu', 0);
  state.addSource('us', 0);
  state.changed.add('a');
  t.strictSame(RoamingState.restored('eu', state.record(), 1, 0).changed, new Set(['a']));
  state.dropSource(state.sourceOf('us')!);
  state.addSource('us', 0);
  t.equal(state.changed.size, 0, 'of another stay');
  t.end();
});
