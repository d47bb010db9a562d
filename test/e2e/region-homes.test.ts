// Sessions that stay in their region and are listed in Cassandra: a datacenter and a node alone send clients to
// where their session is, also when the node that had it was killed (ADR 0023, 0024).
import { readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { parse, stringify } from 'yaml';
import { Client as DeviceClient } from '../../src/client/client.ts';
import type { ClientError } from '../../src/client/client-error.ts';
import { RegionKeyspace } from '../support/region-keyspace.ts';
import type { Broker } from './broker.ts';
import { sleep, TestCluster, until } from './cluster-kit.ts';
import { type Changeable, drain, TestRegions } from './link-kit.ts';

t.setTimeout(300_000);

const LISTED_MS = 30_000;
/** With other clients, as who comes back is taken. */
const TRIES = 80;

const keyspace = await RegionKeyspace.make(t);

const regions = await TestRegions.start(t, {
  names: ['us'],
  elsewhere: ['eu'],
  links: ['eu<us', 'us<eu'],
  config: { cassandra: keyspace.section },
  regions: { directory: true },
});
const us = regions.broker('us');

/** Whoever has a session there is told so. */
function referTo(region: string, broker: Broker): [string, (config: Changeable) => void] {
  const reference = `127.0.0.1:${broker.port()}`;
  return [
    reference,
    (config) => {
      config.steering = { home: [{ region, reference }] };
    },
  ];
}

const [usReference, knowsUs] = referTo('us', us);
const euConfig = parse(readFileSync(regions.config('eu'), 'utf8')) as Changeable;
knowsUs(euConfig);
writeFileSync(regions.config('eu'), stringify(euConfig));
const eu = await TestCluster.start(t, {
  names: ['a', 'b'],
  hasAdmin: true,
  flags: ['--config', regions.config('eu')],
});
regions.proxy('us<eu').retarget(eu.node('b').port());
await regions.linksUp(['us<eu']);
const [euReference, knowsEu] = referTo('eu', eu.node('b'));
await regions.reload('us', knowsEu);

function homeIs(clientId: string, home: string | null, hasEnd = true): Promise<number> {
  return keyspace.homeIs(clientId, home, hasEnd);
}

/** Session present, or why not. */
async function connect(broker: Broker, clientId: string): Promise<ClientError | boolean> {
  const url = `mqtt://127.0.0.1:${broker.port()}`;
  const client = new DeviceClient({
    ...{ url, clientId, cleanStart: false, properties: { sessionExpiryIntervalS: 600 } },
  });
  try {
    const { sessionPresent } = await client.connect();
    await client.disconnect();
    return sessionPresent;
  } catch (error) {
    return error as ClientError;
  }
}

t.test('a session of a datacenter is found from elsewhere, at whichever node it was', async (t) => {
  const client = await eu.durable('a', 'settled');
  await client.subscribed('settled', { qos: 1 });
  await homeIs('settled', 'eu', false);
  await client.disconnect();
  await homeIs('settled', 'eu');
  t.match(await connect(us, 'settled'), { reasonCode: 0x9c, serverReference: euReference });
  const again = await eu.durable('b', 'settled');
  t.ok(again.connack.sessionPresent, 'there it is');
  await homeIs('settled', 'eu', false);
  await again.disconnect();
  await homeIs('settled', 'eu');
});

t.test('its node is killed: its session is at the other one', async (t) => {
  const client = await eu.durable('a', 'bereft');
  await client.subscribed('bereft', { qos: 1 });
  await homeIs('bereft', 'eu', false);
  await eu.node('a').kill();
  await homeIs('bereft', 'eu');
  const publisher = await eu.client('b', 'publisher');
  await publisher.publish('bereft', 'waits', { qos: 1 });
  t.match(await connect(us, 'bereft'), { reasonCode: 0x9c, serverReference: euReference });
  const again = await eu.durable('b', 'bereft');
  t.ok(again.connack.sessionPresent);
  const got = (await drain(again)).map(({ payload }) => payload.toString());
  t.strictSame(got, ['waits'], 'with what waits');
  await eu.startNode('a');
});

t.test('a session of the node alone; who does not go there begins anew', async (t) => {
  t.equal(await connect(us, 'strays'), false);
  await homeIs('strays', 'us');
  t.match(await connect(eu.node('b'), 'strays'), {
    reasonCode: 0x9c,
    serverReference: usReference,
  });
  t.equal(await connect(us, 'strays'), true);
  t.equal(await connect(eu.node('b'), 'strays'), false, 'taken, and its session stays');
  await homeIs('strays', 'eu');
  t.equal(await connect(us, 'strays'), true, 'where it goes on');
  await homeIs('strays', 'us');
});

t.test('a session that ends is not listed', async (t) => {
  const client = await eu.durable('b', 'over');
  await homeIs('over', 'eu', false);
  await client.disconnect();
  const last = await eu.client('a', 'over', { clean: true });
  await homeIs('over', null);
  await last.disconnect();
  t.equal(await connect(us, 'over'), false);
});

t.test('the region of a session is dead: each node takes its clients at once', async (t) => {
  const ids = Array.from({ length: TRIES }, (_, i) => `mourns-${i}`);
  for (const id of ids) await connect(us, id);
  await homeIs(ids.at(-1)!, 'us');
  await us.kill();
  for (const name of ['a', 'b']) {
    // Only one of them has the link; the other one hears of it a moment later.
    await until(
      `${name} takes whom it has not sent away before`,
      async () => {
        await sleep(200);
        const id = ids.pop();
        if (id === undefined) throw new Error('all were sent to a region that is dead');
        return (await connect(eu.node(name), id)) === false;
      },
      LISTED_MS,
    );
  }
  t.pass();
});

t.test('nobody has logged an error', (t) => {
  t.strictSame(eu.errors(), []);
  t.strictSame(regions.errors(), []);
  t.end();
});
