/**
 * What the core makes of a gate's answers: each verdict in each protocol version, wills at firing,
 * rights that are taken back while a client is here or away, and retained messages whose publisher
 * may no longer. The gates themselves are tested in their rooms.
 */
import t from 'tap';
import { Drop } from '../../src/core/drop-reason.ts';
import type {
  ConnectDecision,
  ConnectRequest,
  SessionQuota,
  Verdict,
} from '../../src/core/ports.ts';
import { ALLOW, CLOSE, DENY, OVER_QUOTA, WAIT } from '../../src/core/ports.ts';
import type { Principal } from '../../src/core/principal.ts';
import type { FakeClient } from './fake-client.ts';
import { accepted, FakeClientGate, FakeGate } from './fake-gate.ts';
import { FakeDisk } from './fake-store.ts';
import { World } from './world.ts';

function topicsOf(client: FakeClient): string[] {
  return client.publishes().map(({ topic }) => topic);
}

/** Rights by topic prefix, that a test changes as it goes. */
class PrefixGate extends FakeGate {
  readonly verdicts: Map<string, Verdict> = new Map();
  readonly denied: Set<string> = new Set();
  filtersReceive = false;
  willWaits = false;
  decideWill: ((allowed: boolean) => void) | null = null;
  readonly wills: { readonly principal: Principal; readonly hasClient: boolean }[] = [];

  allows(topic: string): boolean {
    return ![...this.denied].some((prefix) => topic.startsWith(prefix));
  }

  override connect(request: ConnectRequest): ConnectDecision {
    const client = new FakeClientGate();
    Object.defineProperty(client, 'filtersReceive', { get: () => this.filtersReceive });
    client.closeReason = 'message_rate';
    client.why = 'quota of the test';
    client.publish = (topic) => this.verdicts.get(topic) ?? (this.allows(topic) ? ALLOW : DENY);
    client.subscribe = (filter) =>
      this.verdicts.get(filter) ?? (this.allows(filter) ? ALLOW : DENY);
    client.keeps = (filter) => this.allows(filter);
    client.receive = (topic) => this.allows(topic);
    return { ...accepted(request.packet?.username ?? null, client), tenant: 'acme' };
  }

  override will(
    principal: Principal,
    client: FakeClientGate | null,
    { topic }: { readonly topic: string },
    decide: (allowed: boolean) => void,
  ): boolean | typeof WAIT {
    this.wills.push({ principal, hasClient: client !== null });
    if (!this.willWaits) return this.allows(topic);
    this.decideWill = decide;
    return WAIT;
  }

  override retainedSource({ clientId }: Principal, topic: string): boolean {
    return this.allows(`${clientId}:${topic}`);
  }

  override keeps(_principal: Principal, filter: string): boolean {
    return this.allows(filter);
  }
}

t.test('a publish over quota: dropped and told, by version and QoS', async (t) => {
  const gate = new PrefixGate();
  gate.verdicts.set('full', OVER_QUOTA);
  for (const version of [4, 5] as const) {
    const world = await World.start({ gate });
    const reader = world.connected(5, 'reader');
    reader.subscribe('full', 0);
    world.settle();
    reader.receive();
    const sender = world.connected(version, 'sender');
    sender.publish('full', 'a');
    world.settle();
    t.notOk(sender.sink.ended, 'QoS 0 is dropped');
    sender.publish('full', 'b', { qos: 1, id: 1 });
    world.settle();
    if (version === 5) {
      t.match(sender.receive(), [
        { type: 'puback', packetId: 1, reasonCode: 0x97, reasonString: 'quota of the test' },
      ]);
      sender.publish('full', 'c', { qos: 2, id: 2 });
      world.settle();
      t.match(sender.receive(), [
        { type: 'pubrec', packetId: 2, reasonCode: 0x97, reasonString: 'quota of the test' },
      ]);
      sender.publish('ok', 'd', { qos: 2, id: 2 });
      world.settle();
      t.match(sender.receive(), [{ type: 'pubrec', packetId: 2, reasonCode: 0x10 }], 'as new');
    } else {
      t.same(sender.receive(), [], 'no ack that would be a lie');
      t.ok(sender.sink.ended, '3.1.1 has no negative ack: it may come back and try again');
      t.equal(world.stats.closed.get('quota_exceeded'), 1);
    }
    t.same(reader.receive(), []);
    t.equal(world.stats.dropped[Drop.publish_quota], version === 5 ? 3 : 2);
  }
});

t.test('CLOSE ends the connection with the reason of the gate', async (t) => {
  const gate = new PrefixGate();
  gate.verdicts.set('stop', CLOSE);
  const world = await World.start({ gate });
  const sender = world.connected(5, 'sender');
  sender.publish('stop', 'a');
  world.settle();
  t.match(sender.receive(), [{ type: 'disconnect', reasonCode: 0x96 }]);
  t.equal(world.stats.closed.get('message_rate'), 1);
  const reader = world.connected(5, 'reader');
  reader.subscribe(['ok', 'stop'], 0);
  world.settle();
  t.match(reader.receive(), [{ type: 'disconnect', reasonCode: 0x96 }], 'no SUBACK');
});

t.test('class 8: each filter of a SUBSCRIBE has its own verdict', async (t) => {
  const gate = new PrefixGate();
  gate.denied.add('no/');
  gate.verdicts.set('full', OVER_QUOTA);
  const world = await World.start({ gate });
  for (const version of [4, 5] as const) {
    const client = world.connected(version, 'c');
    client.subscribe(['a', 'no/1', 'full', '$share/g/no/2', '$share/g/b', 'a'], 1);
    world.settle();
    const [suback] = client.receive();
    t.same(
      suback?.type === 'suback' && suback.reasonCodes,
      version === 5 ? [1, 0x87, 0x97, 0x87, 1, 1] : [1, 0x80, 0x80, 0x80, 1, 1],
    );
    t.equal(world.stats.subscriptions, 2);
    client.sink.close();
  }
});

t.test('class 5: a will is asked about again when it fires', async (t) => {
  const gate = new PrefixGate();
  const world = await World.start({ gate });
  const reader = world.connected(5, 'reader');
  reader.subscribe('#', 0);
  world.settle();
  reader.receive();
  const fire = (id: string): void => {
    const client = world.connected(5, id, { username: 'u', will: { topic: `will/${id}` } });
    gate.wills.length = 0;
    if (id === 'denied') gate.denied.add('will/denied');
    client.sink.close();
    world.settle();
  };
  fire('allowed');
  t.same(gate.wills, [
    { principal: { clientId: 'allowed', identity: 'u', tenant: 'acme' }, hasClient: true },
  ]);
  t.same(reader.payloads(), ['will']);
  fire('denied');
  t.same(reader.payloads(), []);
  t.equal(world.stats.willsPublished, 1);
  const client = world.connected(5, 'asked', { will: { topic: 'will/asked' } });
  gate.willWaits = true;
  client.sink.close();
  world.settle();
  t.same(reader.payloads(), [], 'waits for the answer');
  gate.decideWill!(true);
  world.settle();
  t.same(reader.payloads(), ['will']);
});

t.test('class 5: at CONNECT the answer about the will may come late', async (t) => {
  const gate = new PrefixGate();
  gate.willWaits = true;
  const world = await World.start({ gate });
  for (const allowed of [true, false]) {
    const client = world.client(5, 'c');
    client.connect({ will: { topic: 'w' } });
    client.publish('t', 'early', { qos: 1, id: 1 });
    world.settle();
    t.same(client.receive(), []);
    gate.decideWill!(allowed);
    world.settle();
    const types = client.receive().map((packet) => packet.type);
    t.same(types, allowed ? ['connack', 'puback'] : ['connack']);
    if (!allowed) t.equal(world.stats.refused.get('will_not_authorized'), 1);
  }
});

t.test('class 5: a will that outlived a crash is asked about without its client', async (t) => {
  const disk = new FakeDisk();
  const gate = new PrefixGate();
  const first = await World.durable({ gate, disk });
  for (const id of ['good', 'bad']) {
    first.connected(5, id, { username: id, expiryS: 100, will: { topic: `will/${id}` } });
  }
  gate.denied.add('will/bad');
  gate.wills.length = 0;
  const second = await World.durable({ gate, disk, time: first.time });
  const reader = second.connected(5, 'reader');
  reader.subscribe('will/#', 0);
  second.settle();
  second.time.pass(1000);
  t.same(
    gate.wills.map(({ principal, hasClient }) => [principal.identity, principal.tenant, hasClient]),
    [
      ['good', 'acme', false],
      ['bad', 'acme', false],
    ],
  );
  t.equal(second.stats.willsPublished, 1);
});

t.test('class 7: rights taken back while the client is here end its subscriptions', async (t) => {
  for (const revokedSubscription of ['disconnect', 'unsubscribe'] as const) {
    const gate = new PrefixGate();
    const world = await World.start({ gate, revokedSubscription });
    const keeper = world.connected(5, 'keeper');
    keeper.subscribe('a/1', 1);
    const loser = world.connected(5, 'loser', { expiryS: 100 });
    loser.subscribe(['a/1', 'b/1', '$share/g/b/2'], 1);
    world.settle();
    keeper.receive();
    loser.receive();
    gate.denied.add('b/');
    world.broker.admin.recheck();
    world.settle();
    t.same(keeper.receive(), [], 'who still may is left alone');
    const told = loser.receive();
    if (revokedSubscription === 'disconnect') {
      t.match(told, [{ type: 'disconnect', reasonCode: 0x87 }]);
      t.equal(world.stats.closed.get('rights_revoked'), 1);
    } else {
      t.same(told, []);
    }
    t.equal(world.stats.subscriptionsRevoked, 2);
    t.equal(world.stats.subscriptions, 2);
    world.connected(5, 'p').publish('b/1', 'secret');
    world.settle();
    t.same(loser.receive(), []);
  }
});

t.test('class 7: rights taken back while the client is away', async (t) => {
  const gate = new PrefixGate();
  const world = await World.start({ gate });
  const away = world.connected(5, 'away', { username: 'u', expiryS: 100 });
  away.subscribe(['a/#', 'b/#'], 1);
  world.settle();
  away.sink.close();
  const sender = world.connected(5, 'sender');
  sender.publish('a/1', 'open', { qos: 1, id: 1 });
  sender.publish('b/1', 'secret', { qos: 1, id: 2 });
  world.settle();
  gate.denied.add('b/');
  // No recheck happened: the rights at resume decide.
  const back = world.client(5, 'away');
  back.connect({ username: 'u', clean: false, expiryS: 100 });
  world.settle();
  const [connack] = back.receive();
  t.ok(connack?.type === 'connack' && connack.packet.sessionPresent);
  t.match(connack?.type === 'connack' && connack.packet.reasonString, /1 subscription/);
  t.same(back.payloads(), []);
  t.equal(
    world.stats.dropped[Drop.not_authorized_receive],
    1,
    'what was queued under the old rights',
  );
  sender.publish('b/1', 'secret', { qos: 1, id: 3 });
  sender.publish('a/1', 'open', { qos: 1, id: 4 });
  world.settle();
  t.same(back.payloads(), ['open']);

  back.sink.close();
  gate.denied.add('a/');
  world.broker.admin.recheck();
  world.settle();
  t.equal(world.stats.subscriptions, 0, 'a recheck reaches sessions whose client is away');
});

t.test('class 7: a message in flight is not sent again after its right is gone', async (t) => {
  const gate = new PrefixGate();
  const world = await World.start({ gate });
  const reader = world.connected(5, 'reader', { expiryS: 100 });
  reader.subscribe('a', 1);
  world.connected(5, 'p').publish('a', 'once', { qos: 1, id: 1 });
  world.settle();
  t.same(reader.payloads(), ['once']);
  reader.sink.close();
  gate.denied.add('a');
  const back = world.connected(5, 'reader', { clean: false, expiryS: 100 });
  world.settle();
  t.same(back.payloads(), []);
  t.equal(world.stats.queuedMessages, 0);
});

t.test('class 6: what is denied below an allowed wildcard is held back everywhere', async (t) => {
  const gate = new PrefixGate();
  gate.filtersReceive = true;
  const world = await World.start({ gate });
  const sender = world.connected(5, 'sender');
  sender.publish('a/secret', 'kept', { retain: true });
  sender.publish('a/open', 'kept', { retain: true });
  gate.denied.add('a/secret');
  const reader = world.connected(5, 'reader', { expiryS: 100 });
  reader.subscribe('a/#', 1);
  world.settle();
  t.same(topicsOf(reader), ['a/open'], 'retained');
  sender.publish('a/open', 'x', { qos: 1, id: 1 });
  world.settle();
  t.same(topicsOf(reader), ['a/open'], 'live');
  reader.sink.close();
  const back = world.connected(5, 'reader', { clean: false, expiryS: 100 });
  world.settle();
  t.same(topicsOf(back), ['a/open'], 'in flight');
});

t.test('class 7: retained messages of a publisher who may no longer', async (t) => {
  const disk = new FakeDisk();
  const gate = new PrefixGate();
  const first = await World.durable({ gate, disk });
  first.connected(5, 'good', { username: 'g' }).publish('r/1', 'good', { retain: true });
  first.connected(5, 'bad', { username: 'b' }).publish('r/2', 'bad', { retain: true });
  first.broker.publish('r/3', 'own', { retain: true });
  first.store.commit();
  first.settle();
  const replayed = async (world: World): Promise<readonly string[]> => {
    const reader = world.connected(5, 'reader');
    reader.subscribe('r/+', 0);
    world.settle();
    const payloads = [...reader.payloads()].sort();
    reader.sink.close();
    return payloads;
  };
  t.same(await replayed(first), ['bad', 'good', 'own']);
  gate.denied.add('bad:');
  t.same(await replayed(first), ['good', 'own']);
  const second = await World.durable({ gate, disk, time: first.time });
  t.same(await replayed(second), ['good', 'own'], 'also after a restart');
  t.ok(second.stats.dropped[Drop.retained_source]! > 0);
});

t.test('class 23: what nobody in particular made starts clean for whoever comes', async (t) => {
  const world = await World.start({ gate: new PrefixGate() });
  const nobody = world.connected(5, 'id', { expiryS: 100 });
  nobody.subscribe('t', 1);
  world.settle();
  nobody.sink.close();
  const owner = world.client(5, 'id');
  owner.connect({ username: 'owner', clean: false, expiryS: 100 });
  world.settle();
  const [connack] = owner.receive();
  t.notOk(connack?.type === 'connack' && connack.packet.sessionPresent);
  t.equal(world.stats.subscriptions, 0);
  const again = world.client(5, 'id');
  again.connect({ clean: false });
  world.settle();
  t.match(again.receive(), [{ type: 'connack', packet: { reasonCode: 0x87 } }]);
  t.equal(world.stats.refused.get('identity_mismatch'), 1);
});

/** A quota that counts; limits of Infinity hold nobody. */
class CountingQuota implements SessionQuota {
  overflow: SessionQuota['overflow'] = null;
  inflightMax = 1000;
  why = 'quota of the test';
  metersDelivery = false;
  subscriptions = 0;
  subscriptionsMax = Number.POSITIVE_INFINITY;
  bytes = 0;
  bytesMax = Number.POSITIVE_INFINITY;
  deliveries = Number.POSITIVE_INFINITY;
  waiters: { resume(): void }[] = [];
  isEnded = false;

  subscribe(): boolean {
    if (this.subscriptions >= this.subscriptionsMax) return false;
    this.subscriptions++;
    return true;
  }
  subscribed(): void {
    this.subscriptions++;
  }
  unsubscribed(): void {
    this.subscriptions--;
  }
  enqueue(bytes: number): boolean {
    if (this.bytes + bytes > this.bytesMax) return false;
    this.bytes += bytes;
    return true;
  }
  queued(bytes: number): void {
    this.bytes += bytes;
  }
  deliver(_bytes: number, waiter: { resume(): void }): boolean {
    if (this.deliveries > 0) {
      this.deliveries--;
      return true;
    }
    this.waiters.push(waiter);
    return false;
  }
  ended(): void {
    this.isEnded = true;
    this.subscriptions = 0;
    this.bytes = 0;
  }
}

class QuotaGate extends FakeGate {
  readonly sessions: Map<string, CountingQuota> = new Map();
  readonly retained: Map<string, [messages: number, bytes: number]> = new Map();
  retainedMax = Number.POSITIVE_INFINITY;
  override readonly quotas = {
    session: ({ clientId }: Principal): SessionQuota => {
      const quota = new CountingQuota();
      this.sessions.set(clientId, quota);
      return quota;
    },
    retain: (owner: Principal, messages: number, bytes: number): boolean => {
      const [count] = this.retained.get(owner.clientId) ?? [0, 0];
      if (count + messages > this.retainedMax) return false;
      this.quotas.retained(owner, messages, bytes);
      return true;
    },
    retained: ({ clientId }: Principal, messages: number, bytes: number): void => {
      const [count, total] = this.retained.get(clientId) ?? [0, 0];
      this.retained.set(clientId, [count + messages, total + bytes]);
    },
  };
}

t.test('quota of subscriptions: 0x97, and given back', async (t) => {
  const gate = new QuotaGate();
  const world = await World.start({ gate });
  const client = world.connected(5, 'c', { expiryS: 100 });
  const quota = gate.sessions.get('c')!;
  quota.subscriptionsMax = 2;
  client.subscribe(['a', 'b', 'c', 'a'], 0);
  world.settle();
  t.match(client.receive(), [
    { type: 'suback', reasonCodes: [0, 0, 0x97, 0], reasonString: 'quota of the test' },
  ]);
  t.equal(quota.subscriptions, 2);
  client.unsubscribe('a');
  world.settle();
  t.equal(quota.subscriptions, 1);
  client.disconnect();
  client.sink.close();
  t.notOk(quota.isEnded, 'the session lives on');
  world.connected(5, 'c', { clean: true });
  t.ok(quota.isEnded);
});

t.test('quota of queued bytes: counted, refused, given back', async (t) => {
  for (const overflow of [null, 'drop_newest', 'disconnect'] as const) {
    const gate = new QuotaGate();
    const world = await World.start({ gate });
    const away = world.connected(5, 'away', { expiryS: 100 });
    away.subscribe('q', 1);
    world.settle();
    away.sink.close();
    const quota = gate.sessions.get('away')!;
    quota.bytesMax = 3 * 13;
    quota.overflow = overflow;
    const sender = world.connected(5, 'sender');
    for (let i = 0; i < 6; i++) sender.publish('q', `payload-${i}x`, { qos: 1, id: i + 1 });
    world.settle();
    t.equal(quota.bytes, 3 * 13, 'no more than its bytes');
    t.equal(world.stats.dropped[Drop.queue_quota], 3);
    const back = world.connected(5, 'away', { clean: false, expiryS: 100 });
    const received = back.publishes();
    const payloads = received.map(({ payload }) => payload.slice(8, 9));
    t.same(payloads, overflow === null ? ['3', '4', '5'] : ['0', '1', '2']);
    for (const { packetId } of received) back.ack('puback', packetId);
    world.settle();
    t.equal(quota.bytes, 0);
  }
});

t.test('quota of delivered bytes: QoS 0 is dropped, QoS 1 waits its turn', async (t) => {
  const gate = new QuotaGate();
  const world = await World.start({ gate });
  const reader = world.connected(5, 'reader');
  reader.subscribe('d', 1);
  world.settle();
  reader.receive();
  const quota = gate.sessions.get('reader')!;
  quota.metersDelivery = true;
  quota.deliveries = 2;
  const sender = world.connected(5, 'sender');
  for (let i = 0; i < 5; i++) sender.publish('d', `${i}`, { qos: 1, id: i + 1 });
  sender.publish('d', 'gone', { qos: 0 });
  world.settle();
  t.same(reader.payloads(), ['0', '1']);
  t.equal(world.stats.dropped[Drop.delivery_quota], 1);
  quota.deliveries = 2;
  for (const waiter of quota.waiters.splice(0, 1)) waiter.resume();
  world.settle();
  t.same(reader.payloads(), ['2', '3']);
  quota.deliveries = Number.POSITIVE_INFINITY;
  for (const waiter of quota.waiters.splice(0)) waiter.resume();
  world.settle();
  t.same(reader.payloads(), ['4']);
  reader.sink.close();
  for (const waiter of quota.waiters.splice(0)) waiter.resume();
  t.equal(world.errors.length, 0, 'told after the end: nothing happens');
});

t.test(
  'quota of retained messages: by publisher, over replacement, removal and restart',
  async (t) => {
    const disk = new FakeDisk();
    const gate = new QuotaGate();
    const world = await World.durable({ gate, disk });
    gate.retainedMax = 2;
    const one = world.connected(5, 'one');
    const two = world.connected(5, 'two');
    const retain = (client: typeof one, topic: string, payload: string, qos: 0 | 1 = 1): void => {
      client.publish(topic, payload, { qos, id: qos, retain: true });
      world.store.commit();
      world.settle();
    };
    retain(one, 'a', '1');
    retain(one, 'b', '1');
    one.receive();
    retain(one, 'c', '1');
    t.match(one.receive(), [{ type: 'puback', reasonCode: 0x97 }]);
    t.equal(world.stats.retainedMessages, 2);
    retain(one, 'a', '22');
    t.match(
      one.receive(),
      [{ type: 'puback', reasonCode: 0x10 }],
      'replacing its own is no growth',
    );
    retain(two, 'a', '333');
    t.same(gate.retained.get('one'), [1, 4]);
    t.same(gate.retained.get('two'), [1, 6]);
    retain(two, 'b', '');
    t.same(gate.retained.get('one'), [0, 0]);
    retain(one, 'd', '1');
    world.broker.admin.publish('d', Buffer.from('from the operator'), { retain: true });
    t.same(gate.retained.get('one'), [0, 0], 'the operator’s is nobody’s use');
    const restarted = new QuotaGate();
    await World.durable({ gate: restarted, disk, time: world.time });
    t.same(restarted.retained.get('two'), [1, 6]);
  },
);

t.test('nothing precedes CONNACK, however late gate, will and store answer', async (t) => {
  const gate = new PrefixGate();
  gate.willWaits = true;
  let decide: ((decision: ConnectDecision) => void) | null = null;
  const connect = gate.connect.bind(gate);
  let request: ConnectRequest | null = null;
  gate.connect = ((asked: ConnectRequest, late: (decision: ConnectDecision) => void) => {
    request = asked;
    decide = late;
    return WAIT;
  }) as unknown as typeof gate.connect;
  const world = await World.durable({ gate });
  const client = world.client(5, 'c');
  client.connect({ expiryS: 100, will: { topic: 'w' } });
  client.send(Buffer.from([0xc0, 0]));
  world.settle();
  t.same(client.receive(), [], 'the gate');
  decide!(connect(request!));
  world.settle();
  t.same(client.receive(), [], 'the will');
  gate.decideWill!(true);
  world.settle();
  t.same(client.receive(), [], 'the store');
  world.store.commit();
  world.settle();
  t.same(
    client.receive().map(({ type }) => type),
    ['connack', 'pingresp'],
  );
});

t.test(
  'class 23: a session of another tenant is somebody else’s, where credentials name it',
  async (t) => {
    const gate = new PrefixGate();
    let tenant = 'acme';
    let isTenantProven = true;
    gate.connect = (request: ConnectRequest): ConnectDecision => ({
      ...accepted(request.packet?.username ?? null, new FakeClientGate()),
      tenant,
      isTenantProven,
    });
    const world = await World.start({ gate });
    const code = (): number => {
      const client = world.client(5, 'id');
      client.connect({ username: 'device-1', clean: false, expiryS: 100 });
      world.settle();
      const [connack] = client.receive();
      return connack?.type === 'connack' ? connack.packet.reasonCode : -1;
    };
    t.equal(code(), 0);
    tenant = 'evil';
    t.equal(code(), 0x87);
    isTenantProven = false;
    t.equal(code(), 0, 'a listener that names the tenant says nothing of the client');
  },
);
