// What waits for a bridge: its own budget instead of the limits of all sessions (ADR 0022, Bridges).
import t from 'tap';
import { BridgeBudgets, type BridgeTerms } from '../../src/core/bridge-budgets.ts';
import { Drop } from '../../src/core/drop-reason.ts';
import { type FakeClient, listenerInfo, subscribeBytes } from './fake-client.ts';
import { FakeSink } from './fake-sink.ts';
import { FakeDisk, FakeStore } from './fake-store.ts';
import { World, type WorldOptions } from './world.ts';

const ID = '$bridge/far';
const NEVER_EXPIRES = 0xffff_ffff;

function budgetsWith(more: Partial<BridgeTerms> = {}): BridgeBudgets {
  const budgets = new BridgeBudgets();
  budgets.revise([{ name: 'far', budgetAgeMs: 60_000, budgetBytes: 5000, ...more }]);
  return budgets;
}

/** The end of the bridge that is here. */
function bridged(world: World): FakeClient {
  const client = world.client(5, ID, new FakeSink(), { ...listenerInfo, isOwn: true });
  client.connect({ clean: false, expiryS: NEVER_EXPIRES });
  commit(world);
  client.accepted();
  return client;
}

function commit(world: World): void {
  world.settle();
  if (world.store instanceof FakeStore) world.store.commit();
  world.settle();
}

async function worldWith(
  bridges: BridgeBudgets,
  options: WorldOptions = {},
): Promise<{ world: World; bridge: FakeClient; publisher: FakeClient }> {
  const world = await World.start({ ...options, bridges });
  const bridge = bridged(world);
  bridge.send(subscribeBytes(5, 9, ['a/#'], 2));
  commit(world);
  bridge.receive();
  return { world, bridge, publisher: world.connected(5, 'publisher') };
}

t.test('bytes: the oldest go, whatever holds for other sessions', async (t) => {
  const bridges = budgetsWith();
  const limits = { queueMessagesMax: 1, queueBytesMax: 1024 * 1024 };
  const options: WorldOptions = { queueOverflow: 'drop_newest', limits };
  const { world, publisher } = await worldWith(bridges, options);
  const budget = bridges.of(ID)!;
  budget.hold();
  for (let i = 0; i < 20; i++) publisher.publish('a/x', `${i}`.padEnd(1000), { qos: 1, id: i + 1 });
  world.settle();
  t.equal(world.stats.dropped[Drop.bridge_budget], budget.dropped);
  t.ok(budget.dropped >= 14 && budget.dropped <= 16, `${budget.dropped} dropped`);
  t.equal(world.stats.dropped[Drop.queue_full], 0);
  const acks = publisher.receive().filter(({ type }) => type === 'puback');
  t.equal(acks.length, 20, 'the publisher is told that it is no concern of its');
  const payloads = bridged(world).payloads();
  t.strictSame(payloads, [], 'it is held over connections');
  t.equal(world.stats.publishersPaused, 0);
});

t.test('held, nothing is handed out; released, all of it is, in order', async (t) => {
  const bridges = budgetsWith({ budgetBytes: 1e6 });
  const { world, bridge, publisher } = await worldWith(bridges);
  const budget = bridges.of(ID)!;
  publisher.publish('a/x', 'before', { qos: 1, id: 1 });
  world.settle();
  budget.hold();
  publisher.publish('a/x', 'one', { qos: 1, id: 2 });
  publisher.publish('a/x', 'two', { qos: 2, id: 3 });
  world.settle();
  const [before, ...others] = bridge.publishes();
  t.equal(before!.payload, 'before');
  t.strictSame(others, []);
  bridge.ack('puback', before!.packetId);
  world.settle();
  t.strictSame(bridge.payloads(), [], 'an acknowledgement brings nothing more');
  t.equal(world.stats.queuedMessages, 2);
  budget.release();
  world.settle();
  t.strictSame(bridge.payloads(), ['one', 'two']);
  t.equal(world.stats.publishersPaused, 0);
});

t.test('age: of the entry, and only of what was not on its way', async (t) => {
  const bridges = budgetsWith({ budgetBytes: 1e6 });
  const { world, bridge, publisher } = await worldWith(bridges);
  const budget = bridges.of(ID)!;
  publisher.publish('a/x', 'under way', { qos: 1, id: 1 });
  world.settle();
  t.strictSame(bridge.payloads(), ['under way']);
  budget.hold();
  publisher.publish('a/x', 'old', { qos: 1, id: 2 });
  publisher.publish('a/x', 'old', { qos: 2, id: 3 });
  world.time.pass(50_000);
  publisher.publish('a/x', 'young', { qos: 2, id: 4 });
  world.time.pass(20_000);
  budget.release();
  world.settle();
  t.strictSame(bridge.payloads(), ['young']);
  t.equal(world.stats.dropped[Drop.bridge_budget], 2);
  t.equal(budget.dropped, 2);
  t.equal(world.stats.queuedMessages, 2, 'one is under way, one has just left');
});

t.test('a budget that is changed holds for what waits', async (t) => {
  const bridges = budgetsWith({ budgetBytes: 1e6 });
  const { world, bridge, publisher } = await worldWith(bridges);
  const budget = bridges.of(ID)!;
  budget.hold();
  for (let i = 0; i < 10; i++) publisher.publish('a/x', `${i}`.padEnd(1000), { qos: 1, id: i + 1 });
  world.settle();
  t.equal(budget.dropped, 0);
  bridges.revise([{ name: 'far', budgetAgeMs: 60_000, budgetBytes: 2500 }]);
  publisher.publish('a/x', 'last', { qos: 1, id: 11 });
  world.settle();
  budget.release();
  world.settle();
  const payloads = bridge.payloads().map((payload) => payload.trim());
  t.strictSame(payloads, ['8', '9', 'last']);
  t.equal(bridges.of('a client'), null);
});

t.test('a session that was there before is bound by it after a restart', async (t) => {
  const disk = new FakeDisk();
  const first = await World.durable({ disk, bridges: budgetsWith() });
  const bridge = bridged(first);
  bridge.send(subscribeBytes(5, 9, ['a/#'], 1));
  commit(first);
  bridge.sink.close();
  first.settle();

  const bridges = budgetsWith();
  const next = await World.durable({ disk, bridges, commitsAlone: true });
  const publisher = next.connected(5, 'publisher');
  for (let i = 0; i < 20; i++) publisher.publish('a/x', `${i}`.padEnd(1000), { qos: 1, id: i + 1 });
  next.settle();
  t.ok(bridges.of(ID)!.dropped >= 14, `${bridges.of(ID)!.dropped} dropped`);
});
