/** What a client leaves behind while it is away: its will and its rights, not its connection. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { FakeSink } from '../core/fake-sink.ts';
import { accessKit, connackOf, loginBytes, turns, worldOf } from './gate-kit.ts';

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
