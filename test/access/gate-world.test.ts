/**
 * The gate inside a broker: packets that come before a decision, connections that go before it, rights
 * that are taken back, wills, and enhanced authentication.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { hashPassword } from '../../src/access/authn/hash-password.ts';
import { ScramUsers } from '../../src/access/authn/scram-users.ts';
import { encodeAuth } from '../../src/wire/auth.ts';
import { publishBytes, subscribeBytes } from '../core/fake-client.ts';
import type { World } from '../core/world.ts';
import { ScramClient } from './authn/scram-client.ts';
import { KeptLog } from './backend-kit.ts';
import {
  accessKit,
  type Cleanup,
  connackOf,
  FakeDecisions,
  FakeGrants,
  grant,
  loginBytes,
  turns,
  worldOf,
} from './gate-kit.ts';

const versions = [3, 4, 5] as const;

t.test('FIELD class 3: nothing is done for a client that is not let in yet', async (t) => {
  for (const version of versions) {
    const kit = await accessKit(t, {
      rules: 'rules: [{allow: [publish, subscribe], topics: ["#"]}]',
    });
    const world = await worldOf(kit);
    kit.users.add('alice');
    kit.users.add('reader');
    const reader = world.client(5, 'reader');
    reader.send(loginBytes({ clientId: 'reader', username: 'reader' }));
    world.settle();
    reader.subscribe('t', 0);
    world.settle();
    reader.receive();
    kit.users.isSlow = true;
    for (const password of ['wrong', 'right']) {
      const client = world.client(version, 'dev1');
      const login = loginBytes({ password, packet: { protocolVersion: version } });
      client.send(
        login,
        publishBytes(version, 't', password, { qos: 1, id: 7, retain: true }),
        subscribeBytes(version, 9, ['t']),
      );
      await turns();
      world.time.pass(100);
      t.same(client.receive(), [], 'not a byte before the answer');
      t.same(reader.payloads(), []);
      t.equal(world.stats.subscriptions, 1);
      await kit.users.answer();
      world.settle();
      if (password === 'wrong') {
        t.equal(connackOf(client), 0x86);
        t.same(reader.payloads(), [], 'and nothing after a refusal');
        t.ok(client.sink.ended);
        t.equal(world.broker.admin.retainedMessage('t'), null);
      } else {
        const types = client.receive().map(({ type }) => type);
        t.same(types.slice(0, 2), ['connack', 'puback'], 'in their order');
        t.same(types.slice(2).sort(), ['publish', 'suback']);
        t.same(reader.payloads(), ['right']);
      }
    }
    t.same(world.errors, []);
  }
});

t.test('FIELD class 22: gone before the decision, in every order', async (t) => {
  const grants = new FakeGrants();
  grants.isSlow = true;
  const kit = await accessKit(t, { sources: [grants] });
  const world = await worldOf(kit);
  kit.users.add('alice', 'right', { expiresAtMs: world.time.wallMs() + 60_000 });
  kit.users.isSlow = true;
  const first = world.client(5, 'dev1');
  const second = world.client(5, 'dev1');
  const third = world.client(5, 'dev1');
  for (const client of [first, second, third]) client.send(loginBytes());
  await turns();
  first.sink.close();
  world.settle();
  await kit.users.answer();
  second.sink.close();
  await turns();
  world.settle();
  t.equal(connackOf(third), 0);
  t.equal(kit.access.gate.live.size, 1, 'what was given to the others came back');
  t.equal(grants.watchers.size, 1);
  third.disconnect();
  third.sink.close();
  world.settle();
  t.equal(kit.access.gate.live.size, 0);
  t.equal(grants.watchers.size, 0);
  t.same(world.leftovers(), {});
  t.same(world.errors, []);
  // Closed for CONNECT taking too long, while the authenticator thinks.
  const slow = world.client(5, 'dev1');
  slow.send(loginBytes());
  world.time.pass(60_000, 1000);
  await turns();
  t.ok(slow.sink.ended || slow.sink.destroyed);
  await kit.users.answer();
  await turns();
  t.equal(kit.access.gate.live.size, 0);
});

t.test(
  'FIELD class 16: an authenticator that fails refuses one client and leaves the rest alone',
  async (t) => {
    const kit = await accessKit(t);
    const world = await worldOf(kit);
    kit.users.add('alice');
    const inside = world.client(5, 'inside');
    inside.send(loginBytes({ clientId: 'inside' }));
    world.settle();
    t.equal(connackOf(inside), 0);
    kit.users.failWith = new Error('down');
    for (let i = 0; i < 20; i++) {
      const client = world.client(5, `c${i}`);
      client.send(loginBytes({ clientId: `c${i}` }));
      world.settle();
      t.equal(connackOf(client), 0x88);
    }
    inside.publish('t', 'x', { qos: 1, id: 1 });
    world.settle();
    t.match(inside.receive(), [{ type: 'puback', reasonCode: 0x10 }]);
    kit.users.failWith = null;
    const back = world.client(5, 'back');
    back.send(loginBytes({ clientId: 'back' }));
    world.settle();
    t.equal(connackOf(back), 0, 'recovers without a restart');
  },
);

t.test(
  'FIELD class 7: a reload takes back a subscription, online and away, and what waits',
  async (t) => {
    const rules = (topics: string) => `rules: [{allow: [publish, subscribe], topics: [${topics}]}]`;
    const kit = await accessKit(t, { rules: rules('a, b') });
    const world = await worldOf(kit, { revokedSubscription: 'unsubscribe' });
    for (const user of ['alice', 'bob', 'carol']) kit.users.add(user);
    const connect = (username: string) => {
      const client = world.client(5, username);
      const packet = { sessionExpiryIntervalS: 3600, cleanStart: false };
      client.send(loginBytes({ clientId: username, username, packet }));
      world.settle();
      return client;
    };
    const [alice, bob, carol] = [connect('alice'), connect('bob'), connect('carol')];
    for (const client of [alice, bob]) client.subscribe(['a', 'b'], 1);
    world.settle();
    bob.disconnect();
    world.settle();
    alice.receive();
    carol.publish('a', 'queued for bob', { qos: 1, id: 1 });
    carol.publish('b', 'also', { qos: 1, id: 2 });
    carol.publish('a', 'kept', { qos: 1, id: 3, retain: true });
    world.settle();
    t.equal(alice.publishes().length, 3);
    await writeFile(kit.rulesFile, rules('b'));
    await kit.access.reload();
    world.settle();
    t.equal(world.stats.subscriptionsRevoked, 2, 'of alice, who is here, and bob, who is not');
    carol.receive();
    carol.publish('a', 'denied', { qos: 1, id: 4 });
    carol.publish('b', 'fine', { qos: 1, id: 5 });
    world.settle();
    t.same(
      carol.receive().map((packet) => 'reasonCode' in packet && packet.reasonCode),
      [0x87, 0],
    );
    t.same(alice.payloads(), ['fine']);
    const back = connect('bob');
    t.same(back.payloads(), ['also', 'fine'], 'what waited and may no longer be seen is not sent');
    back.subscribe(['a', 'b', 'c'], 0);
    world.settle();
    t.match(back.receive(), [{ type: 'suback', reasonCodes: [0x87, 0, 0x87] }], 'FIELD class 8');
  },
);

t.test('FIELD class 5: wills at CONNECT and at firing', async (t) => {
  const kit = await accessKit(t, {
    rules: 'rules: [{allow: publish, topics: [a]}, {allow: subscribe, topics: ["#"]}]',
  });
  const world = await worldOf(kit);
  kit.users.add('alice');
  kit.users.add('reader');
  const reader = world.client(5, 'reader');
  reader.send(loginBytes({ clientId: 'reader', username: 'reader' }));
  world.settle();
  reader.subscribe(['#', '$SYS/#']);
  world.settle();
  reader.receive();
  const willTo = (topic: string, retain = false) => ({
    topic,
    payload: Buffer.from('will'),
    qos: 0 as const,
    retain,
    delayIntervalS: 0,
    messageExpiryS: -1,
    properties: Buffer.alloc(0),
  });
  for (const [topic, retain] of [
    ['b', false],
    ['b', true],
    ['$SYS/x', false],
    ['$CONTROL/x', true],
  ] as const) {
    const client = world.client(5, 'dev1');
    client.send(loginBytes({ packet: { will: willTo(topic, retain) } }));
    world.settle();
    t.equal(connackOf(client), 0x87, topic);
    t.same(reader.payloads(), []);
  }
  const connectWithWill = () => {
    const client = world.client(5, 'dev2');
    client.send(loginBytes({ clientId: 'dev2', packet: { will: willTo('a') } }));
    world.settle();
    t.equal(connackOf(client), 0);
    return client;
  };
  connectWithWill().sink.close();
  world.settle();
  t.same(reader.payloads(), ['will']);
  const client = connectWithWill();
  await writeFile(kit.rulesFile, 'rules: [{allow: subscribe, topics: ["#"]}]');
  await kit.access.reload();
  world.settle();
  client.sink.close();
  world.settle();
  t.same(reader.payloads(), [], 'the right to it was taken back meanwhile');
  t.equal(kit.access.gate.live.size, 1);
});

t.test('a SUBSCRIBE with many filters over a source that remembers nothing', async (t) => {
  const decisions = new FakeDecisions();
  decisions.decide = (_, topic) => (topic.startsWith('no') ? 'deny' : 'allow');
  const kit = await accessKit(t, { sources: [decisions] });
  const world = await worldOf(kit);
  kit.users.add('alice');
  const client = world.client(5, 'dev1');
  client.send(loginBytes());
  await turns();
  world.settle();
  t.equal(connackOf(client), 0);
  client.subscribe(['a', 'no/b', '$share/g/c', '$share/g/no', 'a']);
  client.publish('p', 'x', { qos: 1, id: 1 });
  for (let i = 0; i < 20; i++) {
    await turns();
    world.settle();
  }
  t.match(client.receive(), [
    { type: 'suback', reasonCodes: [0, 0x87, 0, 0x87, 0] },
    { type: 'puback', packetId: 1 },
  ]);
  t.same(
    decisions.asked,
    ['subscribe a', 'subscribe no/b', 'subscribe c', 'subscribe no', 'publish p'],
    'each asked once, shared subscriptions by their inner filter (FIELD class 9)',
  );
  client.subscribe(['a']);
  for (let i = 0; i < 5; i++) {
    await turns();
    world.settle();
  }
  t.equal(decisions.asked.length, 6, 'what was kept for one packet is not used for the next');
});

t.test('a SUBSCRIBE over a slow source that remembers nothing comes to its end', async (t) => {
  const decisions = new FakeDecisions();
  const kit = await accessKit(t, { sources: [decisions] });
  decisions.decide = () => {
    kit.time.nowMs += 4000;
    return 'allow';
  };
  const world = await worldOf(kit);
  kit.users.add('alice');
  const client = world.client(5, 'dev1');
  client.send(loginBytes());
  await turns();
  world.settle();
  t.equal(connackOf(client), 0);
  const filters = ['a', 'b', 'c', 'd', 'e', 'f'];
  client.subscribe(filters);
  for (let i = 0; i < 30; i++) {
    await turns();
    world.settle();
  }
  t.match(client.receive(), [{ type: 'suback', reasonCodes: [0, 0, 0, 0, 0, 0] }]);
  t.same(
    decisions.asked,
    filters.map((filter) => `subscribe ${filter}`),
    'each once, however long they take together',
  );
});

t.test('rules of Redis change while the client is here', async (t) => {
  const grants = new FakeGrants();
  grants.rules.set('alice', [grant('a'), grant('b')]);
  const kit = await accessKit(t, { sources: [grants] });
  const world = await worldOf(kit);
  kit.users.add('alice');
  const client = world.client(5, 'dev1');
  client.send(loginBytes());
  world.settle();
  client.subscribe(['a', 'b']);
  world.settle();
  client.receive();
  grants.change('alice', [grant('b')]);
  world.time.pass(2000);
  t.match(client.receive(), [{ type: 'disconnect', reasonCode: 0x87 }]);
  t.equal(world.stats.closed.get('rights_revoked'), 1);
});

t.test('a ban ends a connection with its name, and keeps it out', async (t) => {
  const kit = await accessKit(t);
  const world = await worldOf(kit);
  kit.users.add('alice');
  const client = world.client(5, 'dev1');
  client.send(loginBytes());
  world.settle();
  t.equal(connackOf(client), 0);
  kit.access.bans.add({ kind: 'user', value: 'alice' }, { reason: 'x', by: 'ops', expiresAtMs: 0 });
  world.settle();
  t.match(client.receive(), [{ type: 'disconnect', reasonCode: 0x98 }]);
  t.equal(world.stats.closed.get('banned'), 1);
  const again = world.client(5, 'dev1');
  again.send(loginBytes());
  world.settle();
  t.equal(connackOf(again), 0x8a);
});

t.test(
  'two devices with one client identifier are stopped from throwing each other out',
  async (t) => {
    const kit = await accessKit(t);
    const world = await worldOf(kit);
    kit.users.add('alice');
    const codes: (number | null)[] = [];
    for (let i = 0; i < 12; i++) {
      const client = world.client(5, 'twin');
      client.send(loginBytes({ clientId: 'twin' }));
      world.settle();
      codes.push(connackOf(client));
      world.time.pass(1000);
    }
    t.same(codes, [0, 0, 0, 0, 0, ...Array(7).fill(0x8a)]);
    t.equal(world.stats.clientsConnected, 1, 'the one that was there stays');
  },
);

// ---------------------------------------------------------------------------------- SCRAM

async function scramWorld(
  t: Cleanup,
): Promise<{ kit: Awaited<ReturnType<typeof accessKit>>; world: World }> {
  const folder = await mkdtemp(path.join(tmpdir(), 'causeway-scram-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const file = path.join(folder, 'scram');
  const lines = [];
  for (const user of ['alice', 'bob']) {
    lines.push(`${user}:${await hashPassword(Buffer.from(`${user}-pw`), 'scram-sha-256', 4096)}`);
  }
  await writeFile(file, `${lines.join('\n')}\n`, { mode: 0o600 });
  const scram = new ScramUsers({ file, log: new KeptLog() });
  const kit = await accessKit(t, { changes: { scram } });
  return { kit, world: await worldOf(kit) };
}

const METHOD = 'SCRAM-SHA-256';

function scramConnect(world: World, clientId: string, scram: ScramClient, method = METHOD) {
  const client = world.client(5, clientId);
  client.send(
    loginBytes({
      clientId,
      username: null,
      password: null,
      packet: { authenticationMethod: method, authenticationData: scram.first() },
    }),
  );
  world.settle();
  return client;
}

/** Data of the AUTH or CONNACK that came last, read from its bytes. */
function scramData(bytes: Buffer, mark: string): string {
  const text = bytes.toString('latin1');
  const start = text.indexOf(mark);
  if (start < 2) throw new Error(`no ${mark} in what came`);
  return text.slice(start, start + bytes.readUInt16BE(start - 2));
}

function auth(data: Buffer, reasonCode: number): Buffer {
  return encodeAuth({ reasonCode, authenticationMethod: METHOD, authenticationData: data });
}

t.test('SCRAM: let in, proven both ways, and again as the same user only', async (t) => {
  const { kit, world } = await scramWorld(t);
  const { gate } = kit.access;
  const login = (user: string, password: string, clientId: string, claimed = user) => {
    const scram = new ScramClient(claimed, password);
    const client = scramConnect(world, clientId, scram);
    const first = scramData(client.sink.taken(), 'r=');
    client.send(auth(scram.final(first), 0x18));
    world.settle();
    return { scram, client };
  };
  const { scram, client } = login('alice', 'alice-pw', 'dev1');
  const connack = client.sink.taken();
  t.equal(connack[0]! >> 4, 2);
  scram.verify(scramData(connack, 'v='));
  t.ok(scram.isServerProven);
  t.equal(gate.live.size, 1);
  t.equal(world.broker.admin.client('dev1')?.identity, 'alice');

  const reauthenticate = (user: string, of: typeof client) => {
    const next = new ScramClient(user, `${user}-pw`);
    of.send(auth(next.first(), 0x19));
    world.settle();
    of.send(auth(next.final(scramData(of.sink.taken(), 'r=')), 0x18));
    world.settle();
  };
  reauthenticate('alice', client);
  t.match(client.receive(), [{ type: 'auth', reasonCode: 0 }]);
  t.equal(gate.live.size, 1, 'the new rights took the place of the old');
  reauthenticate('bob', client);
  t.ok(client.sink.ended, 'not as another user');
  t.equal(gate.live.size, 0);

  for (const [user, password] of [
    ['alice', 'wrong'],
    ['nobody', 'nobody-pw'],
  ] as const) {
    const { client: refused } = login(user, password, 'dev2');
    t.equal(connackOf(refused), 0x87, 'an unknown user and a wrong password look the same');
  }
  t.equal(connackOf(scramConnect(world, 'dev3', new ScramClient('alice', 'x'), 'GS2-KRB5')), 0x8c);
});

t.test('SCRAM: bans and login blocks come before the work', async (t) => {
  const { kit, world } = await scramWorld(t);
  for (let i = 0; i < 3; i++) {
    const scram = new ScramClient('alice', 'wrong');
    const client = scramConnect(world, `c${i}`, scram);
    client.send(auth(scram.final(scramData(client.sink.taken(), 'r=')), 0x18));
    world.settle();
    t.equal(connackOf(client), 0x87);
  }
  t.equal(connackOf(scramConnect(world, 'dev1', new ScramClient('alice', 'alice-pw'))), 0x9f);
  const bob = scramConnect(world, 'dev2', new ScramClient('bob', 'bob-pw'));
  t.match(bob.receive(), [{ type: 'auth', reasonCode: 0x18 }], 'bob goes on');
  kit.access.bans.add(
    { kind: 'client', value: 'dev4' },
    { reason: 'x', by: 'ops', expiresAtMs: 0 },
  );
  t.equal(connackOf(scramConnect(world, 'dev4', new ScramClient('bob', 'bob-pw'))), 0x8a);
  kit.access.bans.add({ kind: 'user', value: 'bob' }, { reason: 'x', by: 'ops', expiresAtMs: 0 });
  t.equal(connackOf(scramConnect(world, 'dev5', new ScramClient('bob', 'bob-pw'))), 0x8a);
});
