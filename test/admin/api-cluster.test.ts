// The datacenter and draining over the API: what is shown, what clients see, and when readiness says no.
import t, { type Test } from 'tap';
import { quantileMs, RecentRoundTrips } from '../../src/admin/api/recent-round-trips.ts';
import { nodeStates } from '../../src/admin/cluster-view.ts';
import { countRoundTrip, newRedisCounters } from '../../src/drivers/redis/redis-counters.ts';
import { ApiDoor } from './api-door.ts';
import { FakeCluster, fakeLink } from './fake-cluster.ts';

async function openDoor(t: Test): Promise<{ door: ApiDoor; cluster: FakeCluster }> {
  const cluster = new FakeCluster();
  return { door: await ApiDoor.open(t, { admin: { cluster } }), cluster };
}

t.test('the datacenter', async (t) => {
  const { door, cluster } = await openDoor(t);
  for (let i = 0; i < 100; i++) countRoundTrip(cluster.redis, 0.3);
  cluster.redis.trips = 2;
  cluster.counters.routeDrifts = 3;
  cluster.counters.redisLostMessages = 4;
  const shown = (await door.get('/cluster', 'viewer')).json();
  t.match(shown, {
    ...cluster.current,
    node: { ...cluster.current.node, reason: 'the node is a member and serves clients' },
    redis: {
      ...cluster.current.redis,
      roundTripP50Ms: 0.375,
      roundTripP99Ms: 0.498,
      breakerTrips: 2,
      lostMessages: 4,
    },
    links: [{ roundTripMs: 0.5 }, { roundTripMs: null }],
    routeDrifts: 3,
  });
  cluster.change({ links: [fakeLink({ roundTripMs: 0.733_565_999_999_882_5 })] });
  t.match((await door.get('/cluster', 'viewer')).json(), { links: [{ roundTripMs: 0.734 }] });
  for (const state of nodeStates) {
    cluster.change({ node: { state, reason: 'because', waitsFor: ['c', 'Redis'] } });
    t.match((await door.get('/cluster')).json().node, {
      state,
      reason: 'because',
      waitsFor: ['c', 'Redis'],
    });
  }
  cluster.change({
    redis: { isUp: false, problem: 'READONLY', servers: [], promises: [] },
    degraded: { mode: 'local', isActive: true, reason: 'Redis is away', journaledMessages: 9 },
    members: [],
    links: [fakeLink({ isUp: false, roundTripMs: -1 })],
  });
  t.equal((await door.get('/cluster')).json().redis.problem, 'READONLY');
});

t.test('what all nodes would have to hear of is refused while they would not', async (t) => {
  const { door, cluster } = await openDoor(t);
  const body = { topic: 'a', payload: 'b' };
  for (const state of nodeStates) {
    cluster.change({ node: { state, reason: '', waitsFor: [] } });
    const published = await door.ask('POST', '/publish', { as: 'operator', body });
    t.equal(published.status, state === 'ready' ? 204 : 503, state);
    const deleted = await door.ask('DELETE', '/retained?topic=a', { as: 'operator' });
    t.equal(deleted.status === 503, state !== 'ready', state);
  }
});

t.test('a node alone has none', async (t) => {
  const door = await ApiDoor.open(t);
  const answer = await door.get('/cluster');
  t.equal(answer.status, 404);
  t.match(answer.json().detail, /^this node is alone/);
  const { checks } = (await door.get('/node')).json();
  t.strictSame(
    checks.map(({ name }: { name: string }) => name),
    ['store', 'listeners', 'draining'],
  );
});

t.test('round trips of the last while', async (t) => {
  const counters = newRedisCounters();
  const recent = new RecentRoundTrips();
  t.strictSame(recent.read(counters.roundTrips, 0), { p50Ms: null, p99Ms: null });
  for (let i = 0; i < 10; i++) countRoundTrip(counters, 2000);
  t.match(recent.read(counters.roundTrips, 1000), { p50Ms: 1750 });
  recent.read(counters.roundTrips, 10_000);
  for (let i = 0; i < 1000; i++) countRoundTrip(counters, 0.05);
  recent.read(counters.roundTrips, 20_000);
  const later = recent.read(counters.roundTrips, 20_001);
  t.ok(later.p99Ms! < 0.1, 'what was slow is forgotten');
  recent.read(counters.roundTrips, 30_000);
  t.strictSame(recent.read(counters.roundTrips, 40_000), { p50Ms: null, p99Ms: null });
  t.equal(quantileMs([0, 0, 0, 4], 0.5), 0.75, 'half way through its bucket');
  t.equal(quantileMs([...new Array(14).fill(0), 1], 0.5), 2500, 'beyond all');
});

t.test('draining: not ready first, then clients go at the rate, then nobody is left', async (t) => {
  const door = await ApiDoor.open(t);
  const { world } = door;
  const clients = Array.from({ length: 12 }, (_, i) => world.connected(5, `c${i}`));
  const old = world.connected(4, 'old');
  const before = (await door.get('/drain', 'viewer')).json();
  t.match(before, { draining: false, drained: false, moved: 0, remaining: 13, by: null });

  const body = { clientsPerS: 20, serverReference: 'other.example:8883' };
  const begun = (await door.ask('POST', '/drain', { as: 'operator', body })).json();
  t.match(begun, { ...body, draining: true, drained: false, moved: 0, remaining: 13 });
  t.equal(begun.by, 'the-operator');
  t.ok(Math.abs(begun.startedAtMs - Date.now()) < 5000);
  const ready = await door.send('GET', '/health/ready');
  t.equal(ready.status, 503, 'before the first client has gone');
  t.match(ready.json().detail, 'draining: the node is being drained, 13 clients are left');
  t.equal(world.stats.clientsMoved, 0);
  t.match((await door.get('/node')).json(), { ready: false });

  world.time.pass(100);
  t.equal((await door.get('/drain')).json().moved, 2, 'twenty a second');
  t.match(clients[0]!.receive(), [{ type: 'disconnect', reasonCode: 0x9c }]);
  const late = world.client(5, 'late');
  late.connect();
  world.settle();
  const [connack] = late.receive() as { packet: { reasonCode: number; properties?: unknown } }[];
  t.equal(connack!.packet.reasonCode, 0x9c);
  t.match(JSON.stringify(connack), 'other.example:8883', 'who comes is sent on');

  world.time.pass(1000);
  const done = (await door.get('/drain')).json();
  t.match(done, { draining: true, drained: true, moved: 13, remaining: 0 });
  t.ok(done.drainedAtMs >= done.startedAtMs);
  t.equal(old.sink.ended || old.sink.destroyed, true, '3.1.1 is closed');
  t.strictSame(
    door.logged.map(({ message }) => message).filter((one) => one.startsWith('drain')),
    ['draining: clients are sent elsewhere', 'drained: no client is left'],
  );

  t.equal((await door.ask('DELETE', '/drain', { as: 'operator' })).status, 204);
  t.match((await door.get('/drain')).json(), { draining: false, startedAtMs: 0, by: null });
  t.equal((await door.send('GET', '/health/ready')).status, 200);
  world.connected(5, 'back');
  t.equal((await door.ask('DELETE', '/drain', { as: 'operator' })).status, 404);
});

t.test('draining: what is refused, what is the default, other options later', async (t) => {
  let isDraining = false;
  const door = await ApiDoor.open(t, {
    admin: {
      readiness: () => ({
        isDraining,
        isStoreOpen: true,
        isStoreWritable: true,
        listenersUp: 1,
        listenersConfigured: 1,
      }),
    },
  });
  const post = (body: unknown) => door.ask('POST', '/drain', { as: 'operator', body });
  for (const body of [
    { clientsPerS: 0 },
    { clientsPerS: 100_001 },
    { clientsPerS: 1.5 },
    { clientsPerS: '10' },
    { serverReference: '' },
    { serverReference: 'x'.repeat(1025) },
    { serverReference: 'a\nb' },
    { serverReference: 'a\u0000' },
    { serverReference: '\ud800' },
    { serverReference: null },
    { rate: 1 },
    [],
  ]) {
    t.equal((await post(body)).status, 400, JSON.stringify(body));
  }
  t.match((await door.get('/drain')).json(), { draining: false }, 'nothing has begun');
  t.match((await post({})).json(), { clientsPerS: 100, serverReference: null });
  const longest = 'ü'.repeat(1024);
  t.match((await post({ clientsPerS: 5, serverReference: longest })).json(), {
    clientsPerS: 5,
    serverReference: longest,
  });
  const audit = (await door.get('/audit')).json().items as { path: string; target: string }[];
  const targets = audit.filter(({ path }) => path === '/api/v1/drain').map(({ target }) => target);
  t.ok(targets.includes('100/s'), 'who did what is kept');
  t.ok(
    targets.some((target) => target.startsWith('5/s to ü')),
    'shortened',
  );
  isDraining = true;
  t.equal((await post({})).status, 409, 'no timer is begun while the node stops');
});

t.test('a door without a broker to drain', async (t) => {
  const door = await ApiDoor.open(t, { admin: { drain: null } });
  for (const method of ['GET', 'POST', 'DELETE']) {
    const body = method === 'POST' ? { body: {} } : {};
    const answer = await door.ask(method, '/drain', { as: 'operator', ...body });
    t.equal(answer.status, 404);
    t.equal(answer.json().detail, 'this node cannot be drained');
  }
});

t.test('ready in a datacenter', async (t) => {
  const { door, cluster } = await openDoor(t);
  const ask = async () => {
    const answer = await door.send('GET', '/health/ready');
    const { detail = '', checks } = answer.json();
    return { status: answer.status, detail, last: checks.slice(3) };
  };
  const well = { name: 'cluster', ok: true };
  const redis = { name: 'redis', ok: true };
  t.strictSame(await ask(), { status: 200, detail: '', last: [well, redis] });

  cluster.change({ node: { state: 'joining', waitsFor: ['b', 'c'] } });
  t.match(await ask(), {
    status: 503,
    detail: 'cluster: the node is joining its datacenter; it waits for b, c',
  });
  cluster.change({ node: { state: 'fenced', reason: 'Redis is away', waitsFor: [] } });
  t.match(await ask(), { status: 503, detail: /lease could not be renewed.*; Redis is away$/ });
  cluster.change({ node: { state: 'out', reason: '' } });
  t.match(await ask(), { status: 503, detail: /the others gave it up$/ });
  cluster.change({ node: { state: 'left' } });
  t.match(await ask(), { status: 503, detail: 'cluster: the node has left its datacenter' });

  cluster.change({ node: { state: 'ready' }, redis: { isUp: false, problem: 'at 10.0.0.9' } });
  const away = await ask();
  const warning = 'Redis does not answer: new durable sessions are refused';
  t.strictSame(away, { status: 200, detail: '', last: [well, { ...redis, warning }] });
  t.notMatch(JSON.stringify(away), '10.0.0.9', 'no addresses for everybody');
  const why = 'fewer replicas than replicasMin';
  cluster.change({ redis: { isUp: true }, degraded: { isActive: true, reason: why } });
  t.strictSame(await ask(), {
    status: 200,
    detail: '',
    last: [well, { ...redis, warning: why }],
  });
  t.match((await door.get('/node')).json(), {
    ready: true,
    checks: [{}, {}, {}, {}, { warning: why }],
  });
  const full = await door.send('GET', '/health/full');
  t.strictSame(full.json().warnings, [`redis: ${why}`], 'named when the way is walked');
});
