/**
 * Rights that are taken back from a running node with SIGHUP, or while it is down after kill -9: what
 * was subscribed, queued, in flight, retained or left as a will before that counts no more (classes 5
 * and 7 of docs/reference/bug-classes.md). Each has a twin whose rights stay, so that silence means
 * something.
 */
import t, { type Test } from 'tap';
import type { Client } from '../conformance/client.ts';
import { ack } from '../conformance/packets.ts';
import {
  codeOf,
  FarNode,
  heard,
  type LoginFields,
  login,
  NearNode,
  passwordLines,
  persistent,
  type RunningNode,
  Site,
  until,
} from './access-kit.ts';

const NOT_AUTHORIZED = 0x87;
const all = { allow: ['publish', 'subscribe'], topics: ['#'] };
const as = (username: string): LoginFields => ({ username, password: 'p', clientId: username });
const kept = (username: string): LoginFields => ({ ...persistent, ...as(username) });

async function prepare(t: Test, config: object = {}): Promise<Site> {
  const site = new Site(t);
  const users = ['keeper', 'loser', 'writer', 'watcher'];
  site.write(
    'passwords',
    await passwordLines(Object.fromEntries(users.map((name) => [name, 'p']))),
  );
  site.rules([all]);
  site.configure({
    authentication: { chain: ['password'], password: { file: 'passwords' } },
    authorization: { rulesFile: 'acl.yaml', ...config },
  });
  return site;
}

/** Everything but `what` below `secret/`, for `loser`. */
function take(site: Site, ...actions: readonly string[]): void {
  site.rules([{ deny: actions, topics: ['secret/#'], users: ['loser'] }, all]);
}

async function gone(node: RunningNode, clientId: string): Promise<void> {
  const path = `/clients/${clientId}`;
  await until(async () => (await node.api('GET', path)).status === 404, `${clientId} is away`);
}

async function filtersOf(node: RunningNode, clientId: string): Promise<string[]> {
  const { json } = await node.api('GET', `/sessions/${clientId}/subscriptions`);
  return json.items.map(({ filter }: { filter: string }) => filter).sort();
}

/** Breaks the connection, so that its will is due. */
async function cut(node: RunningNode, client: Client): Promise<void> {
  client.destroy();
  await gone(node, client.clientId);
}

/** What is retained there, as a new subscriber gets it. */
async function replay(node: RunningNode): Promise<string[]> {
  const reader = await login(node, { ...as('watcher'), clientId: 'reader' });
  await reader.subscribed('secret/+', { qos: 1 });
  const lines = await heard(reader);
  reader.destroy();
  return lines.sort();
}

t.test(
  'class 7: taken back by SIGHUP while the client is here, away, and in between',
  async (t) => {
    const site = await prepare(t);
    const node = await FarNode.start(t, site, { data: 'data' });
    const writer = await login(node, as('writer'));
    const keeper = await login(node, kept('keeper'));
    const loser = await login(node, kept('loser'));
    const filters = ['open', 'secret/1', '$share/g/secret/2'];
    for (const client of [keeper, loser]) await client.subscribed(filters, { qos: 1 });

    // A reload that changes nothing ends nothing.
    t.ok(await node.reload());
    await writer.publish('secret/1', 'before', { qos: 1 });
    t.strictSame(await heard(loser), ['secret/1 before']);
    t.strictSame(await heard(keeper), ['secret/1 before']);

    // In flight: sent, and not acknowledged.
    await writer.publish('secret/1', 'in flight', { qos: 1 });
    await loser.expect('PUBLISH', { payload: 'in flight' });
    await keeper.expect('PUBLISH', { payload: 'in flight' });
    take(site, 'subscribe');
    t.ok(await node.reload());
    await loser.expectError(NOT_AUTHORIZED);
    await keeper.ping();
    t.strictSame(await filtersOf(node, 'loser'), ['open'], 'ended, not asleep');
    t.strictSame(await filtersOf(node, 'keeper'), ['$share/g/secret/2', 'open', 'secret/1']);
    await writer.publish('secret/1', 'meanwhile', { qos: 1 });
    await writer.publish('open', 'for all', { qos: 1 });
    const back = await login(node, kept('loser'));
    t.ok(back.connack.sessionPresent, 'the session is still there');
    await back.message({ topic: 'open', payload: 'for all' });
    t.strictSame(await heard(back), [], 'neither what was in flight nor what came meanwhile');
    t.strictSame((await back.subscribe(['secret/1', 'secret/+'])).reasonCodes, [0x87, 0x87]);
    t.strictSame(await heard(keeper), ['secret/1 meanwhile', 'open for all']);

    // Given back, then queued while away, then taken.
    site.rules([all]);
    t.ok(await node.reload());
    await back.subscribed('secret/1', { qos: 1 });
    await cut(node, back);
    await cut(node, keeper);
    await writer.publish('secret/1', 'queued', { qos: 1 });
    await writer.publish('open', 'queued too', { qos: 1 });
    take(site, 'subscribe');
    t.ok(await node.reload());
    await until(async () => (await filtersOf(node, 'loser')).length === 1, 'away as well');
    const second = await login(node, kept('loser'));
    await second.message({ topic: 'open', payload: 'queued too' });
    t.strictSame(await heard(second), []);
    const twin = await login(node, kept('keeper'));
    await twin.message({ topic: 'secret/1', payload: 'in flight', dup: true });
    await twin.message({ topic: 'secret/1', payload: 'queued' });
    await cut(node, twin);

    // The same while the node is down; and what was retained by who may publish no more.
    site.rules([all]);
    t.ok(await node.reload());
    await second.subscribed('secret/1', { qos: 1 });
    await second.publish('secret/loser', 'old', { qos: 1, retain: true });
    await cut(node, second);
    await writer.publish('secret/writer', 'old', { qos: 1, retain: true });
    t.strictSame(await replay(node), ['secret/loser old', 'secret/writer old']);
    await writer.publish('secret/1', 'over the kill', { qos: 1 });
    await writer.publish('open', 'over the kill', { qos: 1 });
    take(site, 'publish');
    t.ok(await node.reload());
    t.strictSame(await replay(node), ['secret/writer old']);
    await node.broker.kill();
    take(site, 'publish', 'subscribe');
    const next = await FarNode.start(t, site, { data: 'data' });
    t.strictSame(await replay(next), ['secret/writer old'], 'nor after kill -9');
    const third = await login(next, kept('loser'));
    t.ok(third.connack.sessionPresent);
    await third.message({ topic: 'open', payload: 'over the kill' });
    t.strictSame(await heard(third), []);
    t.strictSame(await filtersOf(next, 'loser'), ['open']);
    const last = await login(next, kept('keeper'));
    await last.message({ topic: 'open', payload: 'queued too' });
    await last.message({ topic: 'secret/1', payload: 'over the kill' });
    t.strictSame(next.broker.errors, []);
  },
);

t.test('class 7: what is left alone stays, where the operator wants it so', async (t) => {
  const site = await prepare(t, { revokedSubscription: 'unsubscribe' });
  const node = await NearNode.start(t, site);
  const writer = await login(node, as('writer'));
  const loser = await login(node, as('loser'));
  const old = await login(node, { ...as('loser'), clientId: 'old', version: 4 });
  for (const client of [loser, old]) await client.subscribed(['open', 'secret/#'], { qos: 1 });
  // QoS 2 from both sides under way: it comes to its end and brings nothing new.
  const packetId = loser.sendPublish('secret/2', 'half', { qos: 2 });
  await loser.waitFor('PUBREC', { packetId });
  take(site, 'publish', 'subscribe');
  const { json } = await node.api('POST', '/config/reload');
  t.strictSame(json.problems ?? [], [], 'by the API this time');
  loser.send(ack('PUBREL', packetId));
  await loser.waitFor('PUBCOMP', { packetId });
  await heard(loser);
  await heard(old);
  for (const topic of ['secret/1', 'open']) await writer.publish(topic, 'x', { qos: 1 });
  t.strictSame(await heard(loser), ['open x'], 'it stays, and hears no more of it');
  t.strictSame(await heard(old), ['open x']);
  const later = loser.sendPublish('secret/2', 'x', { qos: 2 });
  await loser.waitFor('PUBREC', { packetId: later, reasonCode: NOT_AUTHORIZED });
  t.equal((await node.api('GET', '/retained/message?topic=secret/2')).status, 404);
});

t.test('class 7: users who are gone, or have another password', async (t) => {
  const site = await prepare(t);
  const node = await NearNode.start(t, site);
  const keeper = await login(node, as('keeper'));
  const loser = await login(node, as('loser'));
  const writer = await login(node, { ...as('writer'), version: 4 });
  site.write('passwords', await passwordLines({ writer: 'another', watcher: 'p' }), 0o600);
  // The same hash, or keeper would count as changed too.
  const line = (await passwordLines({ keeper: 'p' })).trim();
  site.write('passwords', `${line}\n${await passwordLines({ writer: 'another' })}`);
  t.ok(await node.reload());
  await loser.expectError(NOT_AUTHORIZED);
  await writer.expectClose();
  // Another hash of the same password is another password for all anybody knows.
  await keeper.expectError(NOT_AUTHORIZED);
  t.equal(await codeOf(node, as('loser')), 0x86);
  t.equal(await codeOf(node, as('writer')), 0x86, 'the old password, remembered or not');
  t.equal(await codeOf(node, { ...as('writer'), password: 'another' }), 0);
  const again = await login(node, as('keeper'));
  t.ok(await node.reload());
  await again.ping();
});

t.test('class 5: a will is asked about at CONNECT and again when it fires', async (t) => {
  const site = await prepare(t);
  const node = await FarNode.start(t, site, { data: 'data' });
  const open = async (on: FarNode): Promise<Client> => {
    const watcher = await login(on, { ...as('watcher'), ...persistent });
    await watcher.subscribed(['secret/#', 'open/#'], { qos: 1 });
    return watcher;
  };
  let watcher = await open(node);
  const withWill = (user: string, name: string, more: LoginFields = {}): LoginFields => ({
    ...as(user),
    clientId: name,
    will: { topic: `secret/${name}`, payload: 'will', qos: 1 },
    ...more,
  });

  // Asked at CONNECT, in every version, retained or not.
  take(site, 'publish');
  t.ok(await node.reload());
  for (const version of [3, 4, 5] as const) {
    for (const retain of [false, true]) {
      const will = { topic: 'secret/x', retain };
      const code = await codeOf(node, { ...as('loser'), version, will });
      t.equal(code, version === 5 ? NOT_AUTHORIZED : 5, `${version} ${retain}`);
      t.equal(await codeOf(node, { ...as('keeper'), version, will }), 0, 'who may is let in');
    }
  }
  await until(async () => (await heard(watcher)).length === 0, 'wills of those come to an end');
  site.rules([all]);
  t.ok(await node.reload());

  // Taken while connected: a broken connection, and one that is taken over.
  const [loser, keeper] = [
    await login(node, withWill('loser', 'l1')),
    await login(node, withWill('keeper', 'k1')),
  ];
  const [loser2, keeper2] = [
    await login(node, withWill('loser', 'l2')),
    await login(node, withWill('keeper', 'k2')),
  ];
  take(site, 'publish');
  t.ok(await node.reload());
  await cut(node, loser);
  await cut(node, keeper);
  for (const user of ['loser', 'keeper']) {
    await login(node, { ...as(user), clientId: user === 'loser' ? 'l2' : 'k2' });
  }
  for (const client of [loser2, keeper2]) await client.closedAfter(['DISCONNECT']);
  t.strictSame((await heard(watcher)).sort(), ['secret/k1 will', 'secret/k2 will']);
  const dropped = 'causeway_messages_dropped_total{reason="will_not_authorized"}';
  t.ok((await node.metric(dropped)) >= 2, 'counted');

  // Delayed, and taken before it is due; by a certificate of the death: kill -9, and a restart.
  site.rules([all]);
  t.ok(await node.reload());
  const delayed = (user: string, name: string): LoginFields => ({
    ...withWill(user, name),
    clean: false,
    properties: [['sessionExpiryInterval', 600]],
    will: {
      topic: `secret/${name}`,
      payload: 'late',
      qos: 1,
      retain: true,
      properties: [['willDelayInterval', 1]],
    },
  });
  const [late, fine] = [
    await login(node, delayed('loser', 'l3')),
    await login(node, delayed('keeper', 'k3')),
  ];
  await cut(node, late);
  await cut(node, fine);
  take(site, 'publish');
  t.ok(await node.reload());
  const due = await watcher.message({ topic: 'secret/k3', payload: 'late' });
  t.equal(due.topic, 'secret/k3');
  t.strictSame(await heard(watcher), [], 'that of the loser was due at the same time');

  site.rules([all]);
  t.ok(await node.reload());
  await login(node, delayed('loser', 'l4'));
  await login(node, delayed('keeper', 'k4'));
  watcher.destroy();
  await gone(node, 'watcher');
  await node.broker.kill();
  take(site, 'publish');
  const next = await FarNode.start(t, site, { data: 'data' });
  watcher = await login(next, { ...as('watcher'), ...persistent });
  await watcher.message({ topic: 'secret/k4', payload: 'late' });
  t.strictSame(await heard(watcher), [], 'nor after kill -9 and a restart');
  t.strictSame(
    await replay(next),
    ['secret/k3 late', 'secret/k4 late', 'secret/x will'],
    'nor retained',
  );
  t.strictSame(next.broker.errors, []);
});
