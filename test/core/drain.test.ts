/** core/drain: clients are moved at a rate, told where to, and whoever comes meanwhile is sent on. */
import t from 'tap';
import { World } from './world.ts';

t.test('clients leave at the rate that was asked for, and are told where to', async (t) => {
  const world = await World.start();
  const clients = Array.from({ length: 30 }, (_, index) => world.connected(5, `c${index}`));
  const old = world.connected(4, 'old');
  let done = 0;
  world.broker.drain({ clientsPerS: 10, serverReference: 'other.example:1883' }, () => done++);
  world.time.pass(1000);
  const gone = [...clients, old].filter(({ sink }) => sink.ended);
  t.equal(gone.length, 10, 'not all at once');
  t.match(clients[0]!.receive().at(-1), { type: 'disconnect', reasonCode: 0x9c });
  t.same(world.broker.drainProgress, { moved: 10, remaining: 21 });
  const late = world.client(5, 'late');
  late.connect();
  world.settle();
  t.match(late.receive()[0], {
    type: 'connack',
    packet: { reasonCode: 0x9c, serverReference: 'other.example:1883' },
  });
  world.time.pass(2500);
  t.equal(done, 1);
  t.ok(old.sink.ended);
  t.strictSame(old.receive(), [], '3.1.1 has no word for it');
  t.equal(world.stats.clientsMoved, 31);
  world.broker.endDrain();
  t.equal(world.broker.drainProgress, null);
  world.connected(5, 'welcome');
});

t.test(
  'less than one a step is not nobody; a rate of nobody being there is not saved up',
  async (t) => {
    const world = await World.start();
    world.broker.drain({ clientsPerS: 2, serverReference: null }, () => {});
    world.broker.endDrain();
    for (let index = 0; index < 5; index++) world.connected(5, `c${index}`);
    world.broker.drain({ clientsPerS: 2, serverReference: null }, () => {});
    world.time.pass(10);
    t.equal(world.stats.clientsMoved, 0);
    world.time.pass(1000);
    t.equal(world.stats.clientsMoved, 2);
    world.broker.drain({ clientsPerS: 1000, serverReference: null }, () => {});
    world.time.pass(200);
    t.equal(world.stats.clientsMoved, 5, 'a second drain has its own rate');
  },
);
