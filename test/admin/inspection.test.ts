// The Admin port over a real core: what it says of clients, sessions, queues and retained messages, and
// that walks may be interrupted by what happens meanwhile.
import t from 'tap';
import { World } from '../core/world.ts';

t.test('clients and sessions are what they are, also after the end', async (t) => {
  const world = await World.start();
  const { admin } = world.broker;
  t.equal(admin.client('c'), null);
  t.equal(admin.session('c'), null);
  const half = world.client(5, 'half');
  t.strictSame([...admin.clients()], [], 'who has not connected is nobody');
  const client = world.connected(5, 'c', { clean: false, expiryS: 60, keepAliveS: 30 });
  t.match(admin.client('c'), { clientId: 'c', keepAliveS: 30, outboxBytes: 0, certificate: null });
  t.match(admin.session('c'), { connected: true, durable: true, disconnectedAtMs: 0 });
  client.disconnect();
  t.equal(admin.client('c'), null);
  t.match(admin.session('c'), { connected: false, disconnectedAtMs: world.time.wallMs() });
  t.notOk(admin.disconnect('c', 'admin_disconnect'));
  t.ok(admin.endSession('c'));
  t.equal(admin.session('c'), null);
  half.disconnect();
});

t.test('the queue: in flight first, then what waits', async (t) => {
  const world = await World.durable();
  const { admin } = world.broker;
  const commit = (): void => {
    world.store.commit();
    world.settle();
  };
  const options = { clean: false, expiryS: 60, receiveMaximum: 2 };
  const client = world.connected(5, 'c', options);
  client.subscribe('t/#', 2);
  commit();
  for (let i = 1; i <= 4; i++) {
    admin.publish(`t/${i}`, Buffer.from('x'), { qos: i % 2 === 0 ? 2 : 1, messageExpiryS: 100 });
  }
  commit();
  const queue = admin.queue('c', 100)!;
  t.strictSame(
    queue.map(({ topic, qos, sent }) => [topic, qos, sent]),
    [
      ['t/1', 1, true],
      ['t/2', 2, true],
      ['t/3', 1, false],
      ['t/4', 2, false],
    ],
  );
  t.equal(queue[0]!.expiresAtMs, world.time.wallMs() + 100_000);
  t.equal(admin.queue('c', 3)!.length, 3);
  t.match(admin.session('c'), { inflightMessages: 2, queuedMessages: 4 });
  const sent = client.receive().flatMap((one) => (one.type === 'publish' ? [one.publish] : []));
  client.ack('puback', sent[0]!.packetId);
  commit();
  t.strictSame(
    admin.queue('c', 100)!.map(({ topic, sent }) => [topic, sent]),
    [
      ['t/2', true],
      ['t/3', true],
      ['t/4', false],
    ],
  );
  client.disconnect();
  commit();
  t.strictSame(
    admin.queue('c', 100)!.map(({ topic, sent }) => [topic, sent]),
    [
      ['t/2', true],
      ['t/3', true],
      ['t/4', false],
    ],
    'away, in the same order',
  );
  t.equal(admin.queue('nobody', 1), null);
});

t.test('routes name every filter that matches, and shared groups', async (t) => {
  const world = await World.start();
  const { admin } = world.broker;
  world.connected(5, 'a').subscribe(['t/#', 't/1', 'u'], 1);
  world.connected(5, 'b').subscribe(['$share/g/t/+'], 2);
  world.settle();
  const routes = admin.routes('t/1').toSorted((x, y) => (x.filter < y.filter ? -1 : 1));
  t.strictSame(routes, [
    { filter: '$share/g/t/+', subscribers: [{ clientId: 'b', qos: 2 }] },
    { filter: 't/#', subscribers: [{ clientId: 'a', qos: 1 }] },
    { filter: 't/1', subscribers: [{ clientId: 'a', qos: 1 }] },
  ]);
  t.strictSame(admin.routes('nothing'), []);
  t.equal(admin.subscription('a', 't/1')?.qos, 1);
  t.equal(admin.subscription('b', '$share/g/t/+')?.qos, 2);
  t.equal(admin.subscription('b', 't/1'), null);
  t.equal(admin.subscription('nobody', 't/1'), null);
});

t.test('retained: walked, read, deleted; what has expired is not there', async (t) => {
  const world = await World.durable();
  const { admin } = world.broker;
  const put = (topic: string, messageExpiryS?: number): void => {
    const retained = { retain: true, ...(messageExpiryS === undefined ? {} : { messageExpiryS }) };
    admin.publish(topic, Buffer.from(topic), retained);
  };
  for (let i = 0; i < 1000; i++) put(`t/${i}`);
  put('short', 10);
  t.equal([...admin.retained('#')].length, 1001);
  t.equal([...admin.retained('t/+')].length, 1000);
  t.equal(admin.retainedMessage('short')?.topic, 'short');
  world.time.pass(11_000);
  t.equal(admin.retainedMessage('short'), null);
  t.notOk([...admin.retained('#')].some(({ topic }) => topic === 'short'));
  let walked = 0;
  for (const { topic } of admin.retained('t/#')) {
    // Deleted and put while the walk stands still.
    admin.deleteRetained(topic);
    if (walked++ < 10) put(`new/${topic}`);
  }
  t.equal(walked, 1000);
  t.equal([...admin.retained('t/#')].length, 0);
  t.equal([...admin.retained('new/#')].length, 10);
  t.notOk(admin.deleteRetained('t/1'), 'there is none any more');
  world.store.commit();
  world.settle();
  const again = await World.durable({ disk: world.store.disk });
  t.equal([...again.broker.admin.retained('#')].length, 10, 'and a restart finds the same');
});

t.test('class 10: what is published from the API keeps to the rules of topics', async (t) => {
  const world = await World.start({ limits: { topicBytesMax: 64, topicLevelsMax: 8 } });
  const { admin } = world.broker;
  for (const topic of ['', 'a/+', '#', 'a\u0000', '\ud800', '$SYS/x', '$share/g/x', '$']) {
    t.throws(() => admin.publish(topic, Buffer.alloc(0), {}), RangeError, JSON.stringify(topic));
  }
  t.throws(() => admin.publish('é'.repeat(33), Buffer.alloc(0), {}), /topicBytesMax/);
  t.throws(() => admin.publish('a/'.repeat(8), Buffer.alloc(0), {}), /topicLevelsMax/);
  t.throws(() => admin.publish('a', Buffer.alloc(2 ** 20), {}), /packetBytesMax/);
  t.equal(world.stats.unrouted + world.stats.retainedMessages, 0);
});
