/**
 * core/sessions: what a client is told of its session stays true over a crash. Found by the ledger
 * under kill -9 (docs/internals/track-record.md).
 */
import t from 'tap';
import { World } from './world.ts';

t.test('CONNACK without a session waits until the old one is gone from the store', async (t) => {
  const world = await World.durable();
  const first = world.connected(5, 'c', { expiryS: 1000 });
  first.subscribe('t', 1);
  world.store.commit();
  world.settle();
  first.sink.close();
  world.store.commit();
  world.settle();

  // Clean start, and a session that ends with its connection: nothing of it is stored.
  const clean = world.client(5, 'c');
  clean.connect({ clean: true });
  world.settle();
  t.same(clean.receive(), [], 'a crash now would bring the old session back');
  t.equal(world.store.disk.sessions.size, 1);
  world.store.commit();
  world.settle();
  const [connack] = clean.receive();
  t.match(connack, { type: 'connack', packet: { sessionPresent: false, reasonCode: 0 } });
  t.equal(world.store.disk.sessions.size, 0);
});

t.test('a session ended by DISCONNECT is gone before the next CONNACK says so', async (t) => {
  const world = await World.durable();
  const first = world.connected(5, 'c', { expiryS: 1000 });
  first.disconnect(0, 0);
  world.settle();
  const next = world.client(5, 'c');
  next.connect({ clean: false });
  world.settle();
  t.same(next.receive(), []);
  world.store.commit();
  world.settle();
  t.match(next.receive()[0], { type: 'connack', packet: { sessionPresent: false } });
});

t.test('UNSUBACK of what is unsubscribed already waits for that change', async (t) => {
  const world = await World.durable();
  const first = world.connected(5, 'c', { expiryS: 1000 });
  first.subscribe('t', 1);
  world.store.commit();
  world.settle();
  first.receive();
  first.unsubscribe('t');
  first.unsubscribe('t');
  world.settle();
  t.same(first.receive(), []);
  world.store.commit();
  world.settle();
  t.same(
    first.receive().map((packet) => packet.type),
    ['unsuback', 'unsuback'],
  );
});
