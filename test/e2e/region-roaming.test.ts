// Sessions that are listed for all regions, over a real Cassandra: a client goes on with its subscriptions where
// it connects, also when its home is dead; what has ended or begins anew is not given to it (ADR 0023).
import t from 'tap';
import { Client, connectClient, openSocket } from '../conformance/client.ts';
import { CassandraDoor } from '../support/cassandra-door.ts';
import { RegionKeyspace } from '../support/region-keyspace.ts';
import { sleep } from './cluster-kit.ts';
import { Region, regionFlags } from './region-kit.ts';

t.setTimeout(300_000);

const EXPIRY_S = 600;
/**
 * For a CONNECT elsewhere, whatever its home and Cassandra do: well below what the driver waits for. How long it
 * takes on a quiet machine is the ledger of moves' to tell.
 */
const SERVED_MS = 4000;

const door = await CassandraDoor.open(t);
const keyspace = await RegionKeyspace.make(t, door.server);

function homeIs(clientId: string, home: string | null): Promise<number> {
  return keyspace.homeIs(clientId, home);
}

interface Arrived {
  readonly client: Client;
  readonly isPresent: boolean;
  readonly tookMs: number;
}

async function arrive(
  { broker }: Region,
  clientId: string,
  expiryS = EXPIRY_S,
  clean = false,
): Promise<Arrived> {
  const client = new Client(await openSocket('127.0.0.1', broker.port()), 5, clientId);
  const beganMs = performance.now();
  const properties = [['sessionExpiryInterval', expiryS]] as const;
  await connectClient(client, { clientId, version: 5, clean, properties });
  const tookMs = performance.now() - beganMs;
  return { client, isPresent: client.connack.sessionPresent, tookMs };
}

function flagsOf(name: string): string[] {
  return regionFlags(door.server, [
    `cassandra.keyspace=${keyspace.name}`,
    `regions.name=${name}`,
    'regions.roaming=true',
  ]);
}

const [eu] = Region.several(t, ['eu'], flagsOf('eu')) as [Region];
const [us] = Region.several(t, ['us'], flagsOf('us')) as [Region];
await Promise.all([eu.start(), us.start(true)]);

t.test('a client goes on with its subscriptions in another region', async (t) => {
  const first = await arrive(eu, 'moves');
  t.notOk(first.isPresent);
  await first.client.subscribed('moves/#', { qos: 2 });
  await first.client.disconnect();
  await homeIs('moves', 'eu');
  await sleep(500);

  const { client, isPresent, tookMs } = await arrive(us, 'moves');
  t.ok(isPresent, 'session present');
  t.ok(tookMs < SERVED_MS, `after ${Math.round(tookMs)} ms`);
  await us.publish('moves/1', 'one');
  const got = await client.waitFor('PUBLISH', { topic: 'moves/1', qos: 1 });
  t.equal(got.payload.toString(), 'one');
  await homeIs('moves', 'us');
  await client.disconnect();
});

t.test('its home is dead', async (t) => {
  const { client: lost } = await arrive(eu, 'bereft');
  await lost.subscribed('bereft', { qos: 1 });
  await homeIs('bereft', 'eu');
  await sleep(500);
  await eu.broker.kill();

  const { client, isPresent, tookMs } = await arrive(us, 'bereft');
  t.ok(isPresent);
  t.ok(tookMs < SERVED_MS, `after ${Math.round(tookMs)} ms`);
  await us.publish('bereft', 'served');
  await client.waitFor('PUBLISH', { topic: 'bereft' });
  await homeIs('bereft', 'us');
  await eu.start();
  await sleep(1500);
  t.equal((await keyspace.listed('bereft'))?.home, 'us', 'the home of before takes nothing back');
  await client.disconnect();
});

t.test('what has ended, and what begins anew', async (t) => {
  const ends = await arrive(eu, 'ends');
  const short = await arrive(eu, 'short', 1);
  const anew = await arrive(eu, 'anew');
  for (const clientId of ['ends', 'short', 'anew']) await homeIs(clientId, 'eu');
  await short.client.disconnect();
  await anew.client.disconnect();
  await ends.client.disconnect();
  // It ends with this connection.
  const again = await arrive(eu, 'ends', 0);
  t.ok(again.isPresent);
  await again.client.disconnect();
  await homeIs('ends', null);
  await homeIs('short', null);

  for (const clientId of ['ends', 'short', 'unknown']) {
    const { client, isPresent } = await arrive(us, clientId, 0);
    t.notOk(isPresent, clientId);
    await client.disconnect();
  }
  const { client, isPresent } = await arrive(us, 'anew', EXPIRY_S, true);
  t.notOk(isPresent, 'clean start');
  await homeIs('anew', 'us');
  await client.disconnect();
});

t.test('Cassandra stands still', async (t) => {
  door.stand();
  t.teardown(() => door.goOn());
  for (let i = 0; i < 3; i++) {
    const { client, tookMs } = await arrive(us, `still-${i}`);
    t.ok(tookMs < SERVED_MS, `a CONNECT is answered after ${Math.round(tookMs)} ms`);
    const again = await arrive(us, `still-${i}`);
    t.ok(again.isPresent && again.tookMs < SERVED_MS, 'one at home is not held up');
    await again.client.disconnect();
    client.destroy();
  }
  door.goOn();
  await homeIs('still-2', 'us');
  const metrics = await us.broker.metrics();
  // A clean start looks for what it ends, too.
  t.equal(metrics.get('causeway_directory_found_total'), 3);
  t.ok(metrics.get('causeway_directory_unanswered_total')! > 0);
});

t.test('a stop writes when sessions of whoever was there end', async (t) => {
  const { client } = await arrive(us, 'stops', 2);
  await homeIs('stops', 'us');
  await sleep(500);
  await us.broker.stop();
  client.destroy();
  await homeIs('stops', null);
  t.pass('by itself, with its region gone');
  t.equal(us.broker.noise, '');
  t.equal(eu.broker.noise, '');
});
