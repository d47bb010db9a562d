// A shared subscription whose members are at another node than the publisher, beside an ordinary one there:
// the publisher's node chooses, and what is forwarded for the ordinary one is not given to the group again.
import t from 'tap';
import type { FakeClient } from './fake-client.ts';
import { FakeDatacenter, type FakeNode } from './fake-datacenter.ts';

function connect({ world }: FakeNode, clientId: string): FakeClient {
  const client = world.client(5, clientId);
  client.connect({});
  world.settle();
  client.accepted();
  return client;
}

function subscribe({ world }: FakeNode, client: FakeClient, filter: string, qos: 0 | 1 | 2): void {
  client.subscribe([{ filter, qos }]);
  world.settle();
  client.receive();
}

// One message at QoS 2: nobody here goes through its exchanges.
for (const [qos, count] of [
  [0, 10],
  [1, 10],
  [2, 1],
] as const) {
  t.test(`QoS ${qos}: one copy for the group`, async (t) => {
    const site = new FakeDatacenter();
    const [a, b] = [await site.node(), await site.node()];
    const plain = connect(b, 'plain');
    subscribe(b, plain, 'x/#', qos);
    const members = [connect(b, 'one'), connect(b, 'other')];
    for (const member of members) subscribe(b, member, '$share/g/x/#', qos);
    const pub = connect(a, 'pub');
    for (let i = 1; i <= count; i++) {
      pub.publish('x/y', `${i}`, { qos, ...(qos > 0 ? { packetId: i } : {}) });
      for (const { world } of [a, b, a, b]) world.settle();
    }
    const sent = Array.from({ length: count }, (_, i) => i + 1);
    t.same(plain.payloads().map(Number), sent);
    const shared = members.flatMap((member) => member.payloads());
    t.same(
      shared.map(Number).toSorted((x, y) => x - y),
      sent,
    );
  });
}
