// Sessions that move between two datacenters of two nodes each (ADR 0023), over a real Cassandra and a Redis in
// each of them: to every node, with traffic at every node, while the home stands still, and while nodes are killed.
import t, { type Test } from 'tap';
import type { SiteNode } from '../chaos/cluster-site.ts';
import { DatacenterRegions } from '../chaos/moving-regions.ts';
import { Prng } from '../chaos/prng.ts';
import { type Leave, RoamingDevice } from '../chaos/roaming-device.ts';
import { RoamingLedger } from '../chaos/roaming-ledger.ts';
import { RoamingTraffic } from '../chaos/roaming-traffic.ts';
import { Client, connectClient, openSocket } from '../conformance/client.ts';
import { ack } from '../conformance/packets.ts';
import { askRedis } from '../support/redis-ask.ts';
import { ADMIN_TOKEN } from './access-kit.ts';
import { sleep, until } from './cluster-kit.ts';
import { drain } from './link-kit.ts';
import { roamingSection, startRoamingSite } from './roaming-kit.ts';

t.setTimeout(300_000);

const NODES = 2;
/** Above what a CONNECT takes whose session is there: who waits for a home that stands still is served by then. */
const SERVED_MS = 1000;
const SETTLED_MS = 60_000;
/** What comes back goes away in its own time. */
const QUIET_MS = 600;
const PER_NODE = 20;

// Devices go from eu to us and back: to eu they go with what `roamingWaitMs` is unless told.
const { site, keyspace } = await startRoamingSite(t, [
  { name: 'eu', nodes: NODES, section: roamingSection(300) },
  { name: 'us', nodes: NODES },
]);
const regions = new DatacenterRegions(site);
await regions.linksUp();
const everywhere = site.regions.flatMap(({ site: { nodes } }) => nodes);
const clients: Set<Client> = new Set();
t.teardown(() => {
  for (const client of clients) client.destroy();
});

/** The holder of the links, and who is not. */
async function roles(region: string): Promise<{ holder: SiteNode; other: SiteNode }> {
  const holder = await site.holder(region);
  if (holder === null) throw new Error(`nobody has the links of ${region}`);
  const { nodes } = site.region(region).site;
  return { holder, other: nodes.find((node) => node !== holder) ?? holder };
}

/** Again and again until the node takes it. */
async function arrive(node: SiteNode, clientId: string, clean = false): Promise<Client> {
  for (let tries = 1; ; tries++) {
    const client = new Client(await openSocket('127.0.0.1', node.port!), 5, clientId);
    clients.add(client);
    const properties = [['sessionExpiryInterval', 600]] as const;
    try {
      return await connectClient(client, { clientId, version: 5, clean, properties });
    } catch (error) {
      client.destroy();
      if (tries === 20) throw error;
      await sleep(200);
    }
  }
}

async function publishers(): Promise<Client[]> {
  return Promise.all(everywhere.map((node, i) => arrive(node, `publisher-${i}-${Math.random()}`)));
}

/** Each its own, of both QoS; answers what a reader of `topic` has to get. */
async function publishAll(
  from: readonly Client[],
  topic: string,
  [first, count]: readonly [number, number],
): Promise<string[]> {
  const sent: string[] = [];
  const publish = async (client: Client, index: number): Promise<void> => {
    for (let i = first; i < first + count; i++) {
      const qos = 1 + (i % 2);
      const text = `${everywhere[index]!.name} ${i}`;
      await client.publish(`${topic}/${qos}`, text, { qos });
      sent.push(text);
    }
  };
  await Promise.all(from.map(publish));
  return sent;
}

/** What comes until it is so many, and then until nothing more does. */
async function take(client: Client, count: number): Promise<string[]> {
  const got: string[] = [];
  const beganMs = performance.now();
  for (;;) {
    const more = await drain(client, QUIET_MS);
    got.push(...more.map(({ payload }) => payload.toString()));
    if (more.length === 0 && got.length >= count) return got;
    if (performance.now() - beganMs > SETTLED_MS) return got;
  }
}

async function apiOf(node: SiteNode, path: string): Promise<Response> {
  const headers = { authorization: `Bearer ${ADMIN_TOKEN}`, connection: 'close' };
  return fetch(new URL(`/api/v1/${path}`, node.broker!.addresses.get('http')!), { headers });
}

/** Whether the store of a region has the session. */
async function isKept(region: string, clientId: string): Promise<boolean> {
  const { redis, site: datacenter } = site.region(region);
  if (redis === null) {
    return (await apiOf(datacenter.nodes[0]!, `sessions/${clientId}`)).status === 200;
  }
  return (await askRedis(redis.port, 'EXISTS', `causeway:s:{${clientId}}:m`)) === 1;
}

function forgotten(region: string, clientId: string): Promise<number> {
  const holds = async (): Promise<boolean> => !(await isKept(region, clientId));
  return until(`${region} forgets ${clientId}`, holds, SETTLED_MS);
}

/** Until the region wants that of the other one. */
function wanted(region: string, filter: string): Promise<number> {
  const from = region === 'eu' ? 'us' : 'eu';
  return until(
    `${region} has subscribed to ${filter} in ${from}`,
    async () => {
      for (const node of site.region(from).site.nodes) {
        const path = `subscriptions?limit=1000&clientId=${encodeURIComponent(`$link/${region}`)}`;
        const { items } = (await (await apiOf(node, path)).json()) as {
          items?: readonly { filter: string }[];
        };
        if (items?.some((one) => one.filter === filter)) return true;
      }
      return false;
    },
    30_000,
  );
}

t.test('what waits, and what is published at every node meanwhile; and back', async (t) => {
  const { other: home } = await roles('eu');
  const { other: away } = await roles('us');
  const first = await arrive(home, 'goes');
  t.notOk(first.connack.sessionPresent);
  await first.subscribed([
    { filter: 'goes/1', qos: 1 },
    { filter: 'goes/2', qos: 2 },
  ]);
  await wanted('eu', 'goes/1');
  await wanted('eu', 'goes/2');
  await first.disconnect();
  const from = await publishers();
  for (const [round, node] of [away, home].entries()) {
    const begin = round * 3 * PER_NODE;
    const waiting = await publishAll(from, 'goes', [begin, PER_NODE]);
    const meanwhile = publishAll(from, 'goes', [begin + PER_NODE, PER_NODE]);
    const client = await arrive(node, 'goes');
    t.ok(client.connack.sessionPresent, `session present at ${node.name}`);
    const during = await meanwhile;
    const after = await publishAll(from, 'goes', [begin + 2 * PER_NODE, PER_NODE]);
    const sent = [...waiting, ...during, ...after];
    const got = await take(client, sent.length);
    t.strictSame(got.toSorted(), sent.toSorted(), 'each once');
    await client.disconnect();
    await forgotten(node === away ? 'eu' : 'us', 'goes');
  }
  for (const client of from) await client.disconnect();
});

t.test('a clean start elsewhere ends it at its home', async (t) => {
  const { other: home } = await roles('eu');
  const { other: away } = await roles('us');
  const first = await arrive(home, 'anew');
  await first.subscribed('anew', { qos: 1 });
  await keyspace.homeIs('anew', 'eu');
  const second = await arrive(away, 'anew', true);
  t.notOk(second.connack.sessionPresent);
  await forgotten('eu', 'anew');
  t.ok(first.isClosed, 'and its connection');
  await second.disconnect();
});

t.test('between PUBREC and PUBREL, in both directions', async (t) => {
  const { other: home } = await roles('eu');
  const { other: away } = await roles('us');
  const collector = await arrive(away, 'collector');
  await collector.subscribed('from/half', { qos: 2 });
  await wanted('us', 'from/half');
  const first = await arrive(home, 'half');
  await first.subscribed('to/half', { qos: 2 });
  await wanted('eu', 'to/half');
  await keyspace.homeIs('half', 'eu');
  const [publisher] = await publishers();
  await publisher!.publish('to/half', 'received', { qos: 2 });
  const { packetId } = await first.waitFor('PUBLISH', { qos: 2 });
  first.send(ack('PUBREC', packetId));
  await first.waitFor('PUBREL', { packetId });
  await publisher!.publish('to/half', 'sent', { qos: 2 });
  const unanswered = await first.waitFor('PUBLISH', { qos: 2 });
  const own = first.sendPublish('from/half', 'own', { qos: 2 });
  await first.waitFor('PUBREC', { packetId: own });
  first.destroy();

  const client = await arrive(away, 'half');
  t.ok(client.connack.sessionPresent);
  await client.waitFor('PUBREL', { packetId }, SETTLED_MS);
  client.send(ack('PUBCOMP', packetId));
  const again = await client.waitFor('PUBLISH', { qos: 2 }, SETTLED_MS);
  t.equal(again.packetId, unanswered.packetId, 'what was sent keeps its identifier');
  t.equal(again.payload.toString(), 'sent');
  t.ok(again.dup);
  await client.acknowledge(again);
  client.sendPublish('from/half', 'own', { qos: 2, packetId: own, dup: true });
  await client.waitFor('PUBREC', { packetId: own });
  client.send(ack('PUBREL', own));
  await client.waitFor('PUBCOMP', { packetId: own });
  t.strictSame(await take(collector, 1), ['own'], 'it is not published again');
  t.strictSame(await take(client, 0), [], 'and nothing comes twice');
  for (const one of [client, collector, publisher!]) await one.disconnect();
});

/** A device that goes about while all nodes publish for it; the books have to balance. */
async function underTraffic(
  t: Test,
  [seed, ratePerS]: readonly [number, number],
  journey: (scene: Scene) => Promise<void>,
): Promise<void> {
  const ledger = new RoamingLedger();
  const device = new RoamingDevice(`moved-${seed}`, ledger, new Prng(seed));
  const names = site.regions.map(({ name }) => name);
  const devices = [device.id];
  const traffic = await RoamingTraffic.open({ regions, names, seed, ratePerS, devices, ledger });
  const go = async (node: SiteNode, leave: Leave = 'stay'): Promise<void> => {
    const arrived = async (): Promise<boolean> =>
      node.port !== null && (await device.move(regionOf(node), node.port, leave)) !== null;
    await until(`${device.id} is at ${node.name}`, arrived, SETTLED_MS);
  };
  try {
    await go(everywhere[0]!);
    await wanted('eu', `to/${device.id}/#`);
    await keyspace.homeIs(device.id, 'eu');
    traffic.begin();
    await journey({ device, ledger, traffic, go });
    await traffic.stop();
    await regions.linksUp();
    ledger.isBlind = false;
    // What it has left unanswered comes again with its next connection.
    await go((await roles('us')).other, 'reset');
    await until('all has come', () => ledger.missing === 0, SETTLED_MS).catch(() => {});
    await sleep(QUIET_MS);
  } finally {
    device.end();
    await traffic.end();
  }
  const { lost, qos2Duplicates, ownedTwice, sessionsLost, acked, examples } = ledger.verdict();
  t.strictSame(
    { lost, qos2Duplicates, ownedTwice, sessionsLost },
    { lost: 0, qos2Duplicates: 0, ownedTwice: 0, sessionsLost: 0 },
    examples.join('\n'),
  );
  t.ok(acked > 20, `${acked} messages`);
}

interface Scene {
  readonly device: RoamingDevice;
  readonly ledger: RoamingLedger;
  readonly traffic: RoamingTraffic;
  /** Connects there, again and again until it is taken. */
  readonly go: (node: SiteNode, leave?: Leave) => Promise<void>;
}

function regionOf(node: SiteNode): string {
  return site.regions.find(({ site: { nodes } }) => nodes.includes(node))!.name;
}

t.test('a device that flaps five times', (t) =>
  underTraffic(t, [1, 40], async ({ go }) => {
    const eu = await roles('eu');
    const us = await roles('us');
    for (let i = 0; i < 5; i++) {
      await go(i % 2 === 0 ? us.other : us.holder);
      await go(i % 2 === 0 ? eu.holder : eu.other);
    }
  }),
);

t.test('from each node to each other one', (t) =>
  underTraffic(t, [2, 30], async ({ go }) => {
    // Each pair once, in either order.
    const leaves: readonly Leave[] = ['stay', 'reset', 'disconnect'];
    for (const [i, turn] of [0, 1, 0, 2, 0, 3, 1, 2, 1, 3, 2, 3, 0].entries()) {
      await go(everywhere[turn % everywhere.length]!, leaves[i % leaves.length]);
      await sleep(100);
    }
  }),
);

t.test('its home stands still, and goes on', async (t) => {
  const { nodes } = site.region('us').site;
  const { other: home } = await roles('us');
  const { other: away } = await roles('eu');
  const ids = ['bereft-1', 'bereft-2', 'bereft-3'];
  const from = await publishers();
  for (const id of ids) {
    const first = await arrive(home, id);
    await first.subscribed(`${id}/#`, { qos: 2 });
    await first.disconnect();
    await keyspace.homeIs(id, 'us');
    const settled = await arrive(away, `settled-${id}`);
    await settled.disconnect();
  }
  const waiting = new Map<string, string[]>();
  for (const id of ids) waiting.set(id, await publishAll(from.slice(NODES), id, [0, 5]));
  for (const node of nodes) site.region('us').site.stop(node);
  const extraMs: number[] = [];
  const served: Client[] = [];
  try {
    for (const id of ids) {
      const usualMs = await timed(() => arrive(away, `settled-${id}`));
      const tookMs = await timed(async () => served.push(await arrive(away, id)));
      extraMs.push(tookMs - usualMs);
      const client = served.at(-1)!;
      t.ok(client.connack.sessionPresent, 'session present');
      const sent = await publishAll(from.slice(0, NODES), id, [5, 5]);
      t.strictSame((await take(client, sent.length)).sort(), sent.sort(), 'served without it');
    }
  } finally {
    for (const node of nodes) site.region('us').site.goOn(node);
  }
  const [, medianMs] = extraMs.sort((a, b) => a - b);
  t.ok(medianMs! < SERVED_MS, `after ${extraMs.map(Math.round).join(', ')} ms more than usual`);
  for (const [i, id] of ids.entries()) {
    const sent = waiting.get(id)!;
    t.strictSame((await take(served[i]!, sent.length)).sort(), sent.sort(), 'what waited, once');
    await forgotten('us', id);
  }
  for (const client of [...served, ...from]) client.destroy();
});

async function timed(act: () => Promise<unknown>): Promise<number> {
  const beganMs = performance.now();
  await act();
  return performance.now() - beganMs;
}

/** kill -9 while what waited is on its way, and started again. */
function killed(t: Test, seed: number, victim: (eu: Roles, us: Roles) => SiteNode): Promise<void> {
  return underTraffic(t, [seed, 60], async ({ ledger, device, go }) => {
    const eu = await roles('eu');
    const us = await roles('us');
    device.end();
    // It has something to bring.
    await sleep(1500);
    const dies = victim(eu, us);
    const { site: datacenter } = site.region(regionOf(dies));
    ledger.isBlind = true;
    await go(us.other);
    await sleep(30);
    await datacenter.kill(dies);
    try {
      if (dies === us.other && NODES > 1) await go(us.holder);
    } finally {
      await datacenter.startNode(dies);
    }
    await regions.linksUp();
  });
}

type Roles = Awaited<ReturnType<typeof roles>>;

t.test('kill -9 of the holder of the links of its home', (t) => killed(t, 3, (eu) => eu.holder));

t.test('kill -9 of the holder of the links where it goes', (t) =>
  killed(t, 4, (_, us) => us.holder),
);

t.test('kill -9 of the node where it goes', (t) => killed(t, 5, (_, us) => us.other));

t.test('nobody has complained', (t) => {
  t.strictSame(regions.errors(), []);
  t.end();
});
