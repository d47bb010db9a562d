// Sessions that move between two regions with what waits in them (ADR 0023), over a real Cassandra.
import t, { type Test } from 'tap';
import { Client as DeviceClient } from '../../src/client/client.ts';
import type { ClientError } from '../../src/client/client-error.ts';
import { LoneRegions } from '../chaos/moving-regions.ts';
import {
  describeRoaming,
  type RoamingChaosOptions,
  runRoamingChaos,
} from '../chaos/run-roaming-chaos.ts';
import type { Client } from '../conformance/client.ts';
import { sleep, until } from './cluster-kit.ts';
import { drain } from './link-kit.ts';
import { startRoaming } from './roaming-kit.ts';

t.setTimeout(300_000);

/** Nobody waits for a home that is gone; how long they do wait on a quiet machine is the ledger's to tell. */
const SERVED_MS = 4000;
const regions = await startRoaming(t);

const durable = (id: string, clean = false) =>
  ({ id, clean, properties: [['sessionExpiryInterval', 600]] }) as const;

async function arrive(t: Test, region: string, id: string): Promise<Client> {
  const beganMs = performance.now();
  const client = await regions.client(region, durable(id));
  const tookMs = performance.now() - beganMs;
  t.ok(tookMs < SERVED_MS, `${id} in ${region} after ${Math.round(tookMs)} ms`);
  return client;
}

function texts(packets: readonly { readonly payload: Buffer }[]): string[] {
  return packets.map(({ payload }) => payload.toString());
}

t.test('what waits goes along, in order, and what is published meanwhile', async (t) => {
  const first = await arrive(t, 'eu', 'waits');
  t.notOk(first.connack.sessionPresent);
  await first.subscribed('waits/#', { qos: 2 });
  await first.disconnect();
  await regions.subscribed({ 'eu<us': 1 });
  const inEu = await regions.client('eu');
  const inUs = await regions.client('us');
  const expected: string[] = [];
  for (let i = 0; i < 300; i++) {
    expected.push(`eu${i}`);
    await inEu.publish('waits/eu', `eu${i}`, { qos: 1 + (i % 2) });
  }
  for (let i = 0; i < 20; i++) await inUs.publish('waits/us', `us${i}`, { qos: 2 });
  await sleep(500);
  const { client, during } = await (async () => {
    const arriving = arrive(t, 'us', 'waits');
    const sent: string[] = [];
    const client = await arriving;
    for (let i = 20; i < 60; i++) {
      sent.push(`us${i}`);
      await inUs.publish('waits/us', `us${i}`, { qos: 2 });
      await inEu.publish('waits/eu', `eu${280 + i}`, { qos: 2 });
    }
    return { client, during: sent };
  })();
  t.equal(during.length, 40);
  t.ok(client.connack.sessionPresent);
  const got = texts(await drain(client, 1500));
  t.strictSame(
    got.filter((text) => text.startsWith('eu')),
    Array.from({ length: 340 }, (_, i) => `eu${i}`),
    'each once, in order',
  );
  t.strictSame(
    got.filter((text) => text.startsWith('us')),
    Array.from({ length: 60 }, (_, i) => `us${i}`),
  );
  await until('nothing is left behind', async () => {
    return (await regions.session('eu', 'waits')) === 404;
  });
  const counted = (region: string, name: string): Promise<number> =>
    regions.broker(region).metric(`causeway_roaming_${name}`);
  t.equal(await counted('eu', 'left_total'), 1);
  t.ok((await counted('eu', 'handed_over_messages_total')) >= 320);
  t.equal(await counted('us', 'arrived_total'), 1);
  t.ok((await counted('us', 'taken_in_messages_total')) >= 320);
  await until('nothing is under way', async () => (await counted('us', 'moving_sessions')) === 0);
  for (const one of [client, inEu, inUs]) await one.disconnect();
  t.strictSame(regions.errors(), []);
});

t.test('its home is dead, and comes back', async (t) => {
  const first = await arrive(t, 'eu', 'bereft');
  await first.subscribed('bereft/#', { qos: 2 });
  await regions.subscribedTo('eu<us', 'bereft/#');
  const inEu = await regions.client('eu');
  for (let i = 0; i < 10; i++) await inEu.publish('bereft/a', `a${i}`, { qos: 1 + (i % 2) });
  // None of them is acknowledged.
  await sleep(500);
  await regions.broker('eu').kill();
  const client = await arrive(t, 'us', 'bereft');
  t.ok(client.connack.sessionPresent, 'session present');
  const inUs = await regions.client('us');
  await inUs.publish('bereft/b', 'b', { qos: 2 });
  t.strictSame(texts(await drain(client, 500)), ['b'], 'served without it');
  await regions.startRegion('eu');
  await regions.linksUp();
  const got = texts(await drain(client, 2000));
  t.strictSame(
    got.sort(),
    Array.from({ length: 10 }, (_, i) => `a${i}`),
    'what waited comes, each once',
  );
  await until('nothing is left behind', async () => {
    return (await regions.session('eu', 'bereft')) === 404;
  });
  for (const one of [client, inUs]) await one.disconnect();
});

t.test('a clean start elsewhere ends it at its home', async (t) => {
  const first = await arrive(t, 'eu', 'anew');
  await first.subscribed('anew', { qos: 1 });
  await sleep(1000);
  const second = await regions.client('us', durable('anew', true));
  t.notOk(second.connack.sessionPresent);
  await until('it has ended there', async () => (await regions.session('eu', 'anew')) === 404);
  t.ok(first.isClosed, 'and its connection');
  await second.disconnect();
});

t.test('who is sent home instead, and taken when it comes back', async (t) => {
  const first = await arrive(t, 'eu', 'settled');
  await first.subscribed('settled', { qos: 1 });
  await first.disconnect();
  const { port } = regions.broker('eu').addresses.get('mqtt')!;
  const reference = `127.0.0.1:${port}`;
  await regions.reload('us', (config) => {
    config.steering = { home: [{ region: 'eu', reference }] };
  });
  const connect = async (): Promise<ClientError | boolean> => {
    const url = `mqtt://127.0.0.1:${regions.broker('us').port()}`;
    const client = new DeviceClient({ url, ...{ clientId: 'settled', cleanStart: false } });
    try {
      const { sessionPresent } = await client.connect();
      await client.disconnect();
      return sessionPresent;
    } catch (error) {
      return error as ClientError;
    }
  };
  await until('the directory has it', async () => {
    return (await regions.broker('eu').metric('causeway_directory_waiting_sessions')) === 0;
  });
  const told = await connect();
  t.match(told, { reasonCode: 0x9c, serverReference: reference });
  t.equal(await connect(), true, 'it has not gone there, so the session came to it');
  await regions.reload('us', (config) => {
    delete config.steering;
  });
});

/** The books of a run must balance; with kills nobody promises an order. */
async function balances(t: Test, options: Partial<RoamingChaosOptions>): Promise<void> {
  const report = await runRoamingChaos({
    regions: new LoneRegions(regions),
    names: ['eu', 'us'],
    ...{ seed: 7, moves: 60, movesPerKill: 0, devices: 4, ratePerS: 40 },
    ...{ devicesPublish: false, stayMsMax: 300 },
    ...options,
    log: () => {},
  });
  const { lost, qos2Duplicates, ownedTwice, sessionsLost } = report;
  const found = { lost, qos2Duplicates, ownedTwice, sessionsLost };
  const none = { lost: 0, qos2Duplicates: 0, ownedTwice: 0, sessionsLost: 0 };
  t.strictSame(found, none, describeRoaming(report));
  t.ok(report.acked > 50, `${report.acked} messages`);
}

t.test('a ledger of moves', (t) => balances(t, { devicesPublish: true }));

t.test('a ledger of moves, and a region that is killed', (t) =>
  balances(t, { seed: 8, movesPerKill: 30, stayMsMax: 200 }),
);
