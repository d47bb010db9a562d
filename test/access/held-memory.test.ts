/** What clients can make the access room hold: of those who are away, and of those who ask for much. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { FakeSink } from '../core/fake-sink.ts';
import { accessKit, connackOf, FakeDecisions, loginBytes, turns, worldOf } from './gate-kit.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

t.test('a will that waits for its delay does not keep the connection that left it', async (t) => {
  const kit = await accessKit(t, { rules: 'rules: [{allow: publish, topics: [w]}]' });
  const world = await worldOf(kit);
  kit.users.add('alice');
  const leave = async (): Promise<WeakRef<FakeSink>> => {
    const sink = new FakeSink();
    const client = world.client(5, 'dev1', sink);
    const will = { topic: 'w', payload: Buffer.from('x'), qos: 0, retain: false } as const;
    const late = { delayIntervalS: 600, messageExpiryS: -1, properties: Buffer.alloc(0) };
    client.send(
      loginBytes({ packet: { will: { ...will, ...late }, sessionExpiryIntervalS: 3600 } }),
    );
    world.settle();
    t.equal(connackOf(client), 0);
    sink.handler!.onClosed(null);
    world.settle();
    return new WeakRef(sink);
  };
  const sink = await leave();
  // The outbox keeps the places of its last flush.
  const other = world.client(5, 'dev2');
  other.send(loginBytes({ clientId: 'dev2' }));
  world.settle();
  t.equal(connackOf(other), 0);
  await turns();
  collectGarbage();
  await turns();
  collectGarbage();
  t.equal(sink.deref(), undefined);
  t.equal(world.stats.sessions, 2);
  world.time.pass(700_000);
  t.equal(world.stats.willsPublished, 1, 'its rights were still known');
});

t.test('what a source said of long filters is remembered without them', async (t) => {
  const decisions = new FakeDecisions();
  decisions.decide = () => 'deny';
  const kit = await accessKit(t, { sources: [decisions] });
  const world = await worldOf(kit);
  kit.users.add('alice');
  const client = world.client(5, 'dev1');
  client.send(loginBytes());
  await turns();
  world.settle();
  t.equal(connackOf(client), 0);
  const heldBytes = (): number => {
    collectGarbage();
    return process.memoryUsage().heapUsed;
  };
  const before = heldBytes();
  for (let i = 0; i < 400; i++) {
    client.subscribe(`${i}/${'x'.repeat(60_000)}`);
    await turns(4);
    world.settle();
    const [suback] = client.receive();
    if (suback?.type !== 'suback' || suback.reasonCodes[0] !== 0x87) t.fail(`filter ${i}`);
    decisions.asked.length = 0;
  }
  t.ok(heldBytes() - before < 8e6, 'not 24 MB');
});
