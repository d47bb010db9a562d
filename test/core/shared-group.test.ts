/**
 * core/shared-group and redispatch: who gets a message of a shared subscription, by every strategy, and
 * that a message a member leaves behind is neither lost nor doubled [MQTT5-4.8.2].
 */
import t from 'tap';
import { sharedStrategies } from '../../src/core/limits.ts';
import type { FakeClient } from './fake-client.ts';
import { World } from './world.ts';

function ackAll(client: FakeClient): string[] {
  return client.publishes().map(({ payload, packetId, qos }) => {
    if (qos === 1) client.ack('puback', packetId);
    return payload;
  });
}

t.test(
  'every strategy gives each message to one member, whoever comes, goes and subscribes again',
  async (t) => {
    for (const sharedStrategy of sharedStrategies) {
      const world = await World.start({ sharedStrategy });
      const publisher = world.connected(5, 'p');
      const members = new Map<string, FakeClient>();
      const seen: string[] = [];
      let sent = 0;
      for (let round = 0; round < 60; round++) {
        const id = `m${round % 7}`;
        const member = members.get(id);
        if (member === undefined) {
          const joined = world.connected(5, id);
          joined.subscribe('$share/g/t/+', 1);
          members.set(id, joined);
        } else if (round % 3 === 0) {
          // Subscribes again, as clients do after a reconnect or to change the QoS.
          member.subscribe('$share/g/t/+', (round % 2) as 0 | 1);
        } else if (members.size > 2 && round % 5 === 0) {
          world.settle();
          seen.push(...ackAll(member));
          member.sink.close();
          members.delete(id);
        }
        for (let i = 0; i < 5; i++)
          publisher.publish(`t/${i}`, `${++sent}`, { qos: 1, id: (sent % 900) + 1 });
        world.settle();
        for (const one of members.values()) seen.push(...ackAll(one));
        world.settle();
      }
      t.equal(seen.length, sent, `${sharedStrategy}: all`);
      t.equal(new Set(seen).size, sent, `${sharedStrategy}: once`);
      t.equal(world.stats.internalErrors, 0, sharedStrategy);
      t.same(world.errors, []);
    }
  },
);

t.test('the strategies do what their names say', async (t) => {
  const spread = async (sharedStrategy: (typeof sharedStrategies)[number]): Promise<string[][]> => {
    const world = await World.start({ sharedStrategy });
    const members = ['a', 'b', 'c'].map((id) => {
      const member = world.connected(5, id);
      member.subscribe('$share/g/t/#');
      world.settle();
      member.receive();
      return member;
    });
    for (const id of ['p1', 'p2']) {
      const publisher = world.connected(5, id);
      for (let i = 0; i < 6; i++) publisher.publish(`t/${i % 2}`, `${id} ${i}`);
    }
    world.settle();
    return members.map((member) =>
      member.publishes().map(({ topic, payload }) => `${payload} ${topic}`),
    );
  };
  t.same(
    (await spread('round_robin')).map((got) => got.length),
    [4, 4, 4],
  );
  t.same((await spread('sticky')).map((got) => got.length).sort(), [0, 0, 12]);
  for (const got of await spread('client_id')) t.equal(got.length % 6, 0, 'all of a publisher');
  for (const got of await spread('topic')) t.equal(got.length % 6, 0, 'all of a topic');
});

t.test('least_inflight leaves out who does not ack', async (t) => {
  const world = await World.start({ sharedStrategy: 'least_inflight' });
  const [lazy, busy] = ['lazy', 'busy'].map((id) => {
    const member = world.connected(5, id);
    member.subscribe('$share/g/t', 1);
    world.settle();
    member.receive();
    return member;
  });
  const publisher = world.connected(5, 'p');
  for (let i = 1; i <= 10; i++) {
    publisher.publish('t', `${i}`, { qos: 1, id: i });
    world.settle();
    ackAll(busy!);
    world.settle();
  }
  t.ok(lazy!.publishes().length <= 1);
});

t.test(
  'QoS 1 that a member left unacked goes to another; QoS 2 that has begun stays',
  async (t) => {
    for (const expiryS of [0, 100]) {
      const world = await World.start();
      const first = world.connected(5, 'first', { expiryS });
      first.subscribe('$share/g/t', 2);
      const publisher = world.connected(5, 'p');
      publisher.publish('t', 'one', { qos: 1, id: 1 });
      publisher.publish('t', 'two', { qos: 2, id: 2 });
      publisher.publish('t', 'three', { qos: 1, id: 3 });
      world.settle();
      t.same(first.payloads(), ['one', 'two', 'three']);
      const second = world.connected(5, 'second');
      second.subscribe('$share/g/t', 2);
      world.settle();
      second.receive();
      first.sink.close();
      world.settle();
      const moved = second.publishes();
      t.same(
        moved.map(({ payload, dup }) => `${payload} ${dup}`),
        ['one false', 'three false'],
      );
      if (expiryS > 0) {
        const again = world.connected(5, 'first', { clean: false, expiryS });
        t.same(
          again.publishes().map(({ payload, dup, qos }) => `${payload} ${dup} ${qos}`),
          ['two true 2'],
        );
        again.disconnect(0, 0);
        again.sink.close();
      }
      second.sink.close();
      publisher.sink.close();
      world.time.pass(200_000, 1000);
      t.same(world.leftovers(), {});
    }
  },
);

t.test('a member that cannot take it leaves it where it is', async (t) => {
  const world = await World.start({
    limits: { queueMessagesMax: 2 },
    queueOverflow: 'drop_newest',
  });
  const first = world.connected(5, 'first', { expiryS: 100 });
  first.subscribe('$share/g/t', 1);
  const publisher = world.connected(5, 'p');
  publisher.publish('t', 'kept', { qos: 1, id: 1 });
  world.settle();
  const full = world.connected(5, 'full', { receiveMaximum: 1 });
  full.subscribe(['$share/g/t', 'only/full'], 1);
  for (let i = 1; i <= 4; i++) publisher.publish('only/full', `${i}`, { qos: 1, id: i });
  world.time.pass(1000);
  first.receive();
  first.sink.close();
  world.settle();
  const again = world.connected(5, 'first', { clean: false, expiryS: 100 });
  t.same(again.payloads(), ['kept']);
});

t.test('an offline member gets what no connected one can take, and only QoS 1 and 2', async (t) => {
  const world = await World.start();
  const member = world.connected(5, 'm', { expiryS: 100 });
  member.subscribe('$share/g/t', 1);
  member.sink.close();
  const publisher = world.connected(5, 'p');
  publisher.publish('t', 'zero');
  publisher.publish('t', 'one', { qos: 1, id: 1 });
  world.settle();
  t.same(world.connected(5, 'm', { clean: false, expiryS: 100 }).payloads(), ['one']);
});
