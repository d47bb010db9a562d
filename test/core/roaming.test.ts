// CONNECT of a client that has its session in another region, as the directory says: what it goes on with, whose
// it may be, what waits meanwhile, and what the directory is told (ADR 0023).
import t from 'tap';
import { FakeDirectory } from './fake-directory.ts';
import { FakeGate } from './fake-gate.ts';
import { World } from './world.ts';

async function setUp(gate: FakeGate | null = null) {
  const directory = new FakeDirectory();
  const world = await World.start({ directory, gate, time: directory.time });
  return { directory, world };
}

const kept = { clean: false, expiryS: 100 };

t.test('the directory is told of durable sessions, and of nothing else', async (t) => {
  const { directory, world } = await setUp();
  world.connected(5, 'short').subscribe('a');
  world.settle();
  t.strictSame(directory.taken(), []);
  const client = world.connected(5, 'one', { expiryS: 100 });
  client.subscribe('a');
  client.subscribe('b');
  world.settle();
  client.unsubscribe('a');
  world.settle();
  client.sink.close();
  t.strictSame(directory.taken(), [
    'claimed one',
    'changed one a',
    'changed one a,b',
    'changed one b',
    'left one',
  ]);
  const again = world.connected(5, 'one', { expiryS: 100 });
  t.strictSame(directory.taken(), ['ended one', 'claimed one'], 'clean start');
  again.disconnect(0, 0);
  world.settle();
  t.strictSame(directory.taken(), ['ended one']);
  world.connected(5, 'one', { expiryS: 1 }).sink.close();
  world.time.pass(2000);
  t.strictSame(directory.taken(), ['claimed one', 'left one', 'ended one'], 'expiry');
  t.strictSame(directory.lookups, ['short', 'one', 'one'], 'nor is who is here looked for');
});

t.test('SUBACK and UNSUBACK are behind the row that says so', async (t) => {
  const { directory, world } = await setUp();
  const client = world.connected(5, 'one', { expiryS: 100 });
  const types = (): string[] => client.receive().map(({ type }) => type);
  directory.holdsBack = true;
  client.subscribe('a');
  world.settle();
  t.strictSame(types(), []);
  directory.written();
  world.settle();
  t.strictSame(types(), ['suback']);
  client.unsubscribe('a');
  world.settle();
  t.strictSame(types(), []);
  directory.written();
  world.settle();
  t.strictSame(types(), ['unsuback']);
  const short = world.connected(5, 'short');
  short.subscribe('a');
  world.settle();
  t.equal(short.receive().at(-1)?.type, 'suback', 'what ends with its connection is in no row');
});

t.test('a session of another region goes on here', async (t) => {
  const { directory, world } = await setUp();
  directory.list('one', null, 0);
  const client = world.client(5, 'one');
  client.connect(kept);
  client.publish('wanted/own', 'behind', { qos: 1, id: 9 });
  world.settle();
  t.strictSame(client.receive(), [], 'it waits for the answer, and what is behind it, too');
  directory.answer();
  world.settle();
  t.ok(client.accepted(), 'session present');
  t.same(client.payloads(), ['behind']);
  t.strictSame(directory.taken(), ['claimed one']);
  world.connected(5, 'p').publish('wanted/1', 'one');
  world.settle();
  t.same(client.payloads(), ['one']);
  client.sink.close();
  const again = world.connected(5, 'one', kept);
  const lookups = directory.lookups.filter((clientId) => clientId === 'one');
  t.strictSame([lookups.length, world.stats.sessionsCreated], [1, 1], 'it is here now');
  again.disconnect(0, 0);
  world.settle();
});

t.test('whose session it is', async (t) => {
  const { directory, world } = await setUp(new FakeGate());
  directory.list('one', 'owner', 0);
  directory.list('open', null, 0);
  const thief = world.client(5, 'one');
  thief.connect({ ...kept, username: 'thief' });
  directory.answer();
  world.settle();
  t.match(thief.receive(), [{ type: 'connack', packet: { reasonCode: 0x87 } }]);
  t.strictSame([world.stats.sessions, directory.taken()], [0, []]);
  const eraser = world.client(5, 'one');
  eraser.connect({ clean: true, username: 'thief' });
  directory.answer();
  world.settle();
  t.match(eraser.receive(), [{ type: 'connack', packet: { reasonCode: 0x87 } }], 'nor ended');

  const somebody = world.client(5, 'open');
  somebody.connect({ ...kept, username: 'somebody' });
  directory.answer();
  world.settle();
  t.notOk(somebody.accepted(), 'what nobody in particular made starts clean for who is somebody');

  const owner = world.client(5, 'one');
  owner.connect({ ...kept, username: 'owner' });
  directory.answer();
  world.settle();
  t.ok(owner.accepted());
});

t.test('who does not wait for the answer leaves nothing', async (t) => {
  const { directory, world } = await setUp(new FakeGate());
  directory.list('one', null, 0);
  const client = world.client(5, 'one');
  client.connect(kept);
  client.sink.close();
  directory.answer();
  world.settle();
  t.strictSame([world.stats.sessions, world.stats.connections, directory.taken()], [0, 0, []]);
});

t.test('two CONNECTs wait for the same session', async (t) => {
  const { directory, world } = await setUp();
  directory.list('one', null, 0);
  const [first, second] = [world.client(5, 'one'), world.client(5, 'one')];
  first.connect(kept);
  second.connect(kept);
  directory.answer();
  world.settle();
  t.ok(second.accepted());
  t.match(first.receive().at(-1), { type: 'disconnect', reasonCode: 0x8e }, 'taken over');
  t.equal(world.stats.sessions, 1);
});

t.test('there is no room for it', async (t) => {
  const directory = new FakeDirectory();
  const { time } = directory;
  const world = await World.start({ directory, time, limits: { sessionsMax: 1 } });
  world.connected(5, 'other', { expiryS: 100 });
  directory.list('full', null, world.time.wallMs() - 40_000);
  const client = world.client(5, 'full');
  client.connect(kept);
  directory.answer();
  world.settle();
  t.match(client.receive(), [{ type: 'connack', packet: { reasonCode: 0x97 } }]);
  t.equal(world.stats.sessions, 1);
});
