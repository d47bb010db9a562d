// Links between regions of one node each, over real sockets (P8, ADR 0022).
import t, { type Test } from 'tap';
import { connect } from '../conformance/packets.ts';
import type { LinkName } from '../support/region-config.ts';
import { until } from './cluster-kit.ts';
import { drain, TestRegions } from './link-kit.ts';

t.setTimeout(300_000);

t.test(
  'a pair: every QoS, all properties, retained changes, links that are cut, ends that are killed',
  async (t) => {
    const regions = await TestRegions.start(t, { names: ['eu', 'us'], links: ['eu<us', 'us<eu'] });
    await everything(t, regions);
    await retainedChanges(t, regions);
    await cutsAndKills(t, regions);
    t.strictSame(regions.errors(), []);
  },
);

async function everything(t: Test, regions: TestRegions): Promise<void> {
  const eu = await regions.client('eu');
  const us = await regions.client('us');
  await eu.subscribed('fleet/#', { qos: 2 });
  await us.subscribed('fleet/+/up', { qos: 2 });
  await regions.subscribed({ 'eu<us': 1, 'us<eu': 1 });
  const publisher = await regions.client('us');
  const properties = [
    ['payloadFormatIndicator', 1],
    ['contentType', 'text/plain'],
    ['responseTopic', 'answers/7'],
    ['correlationData', Buffer.from([0, 1, 255])],
    ['userProperty', ['a', '1']],
    ['userProperty', ['causeway-id', 'x']],
    ['userProperty', ['a', '2']],
    ['messageExpiryInterval', 600],
  ] as const;
  for (const qos of [0, 1, 2]) {
    await publisher.publish(`fleet/7/up`, `q${qos}`, { qos, properties });
  }
  for (const client of [eu, us]) {
    const got = await drain(client);
    t.strictSame(
      got.map(({ payload, qos, retain }) => [payload.toString(), qos, retain]),
      [0, 1, 2].map((qos) => [`q${qos}`, qos, false]),
    );
    for (const packet of got) {
      const [expiry, ...rest] = [...packet.properties].sort(([a], [b]) =>
        a === 'messageExpiryInterval' ? -1 : b === 'messageExpiryInterval' ? 1 : 0,
      );
      t.strictSame(rest, properties.slice(0, -1), 'all properties, in order, and no others');
      t.ok(Number(expiry?.[1]) > 590 && Number(expiry?.[1]) <= 600);
    }
  }
  t.equal(await regions.ofLink('eu<us', 'messages_total'), 3);
  t.equal(await regions.ofLink('us<eu', 'messages_total'), 0, 'nothing was sent back');
  t.equal(await regions.ofFetcher('us<eu', 'returned_total'), 3);
  for (const client of [eu, us, publisher]) await client.disconnect();
}

t.test('what only links may say, and what they may not have', async (t) => {
  const regions = await TestRegions.start(t, {
    names: ['eu', 'us'],
    links: ['eu<us', 'us<eu'],
    link: { 'eu<us': { allow: ['fleet/#', 'secret/#'] } },
    accept: { 'eu<us': { topics: ['fleet/#', 'other/#'] } },
  });
  const eu = await regions.client('eu');
  await eu.subscribed('#', { qos: 1 });
  await eu.subscribed('secret/1', { qos: 1 });
  // `#` within what the link allows: fleet/#, and secret/# which us refuses.
  await regions.subscribed({ 'eu<us': 1 });
  await until(
    'us refuses what its region may not have',
    async () => (await regions.ofLink('eu<us', 'refused_filters')) === 1,
  );
  const publisher = await regions.client('us');
  const forged = [
    ['userProperty', ['causeway-id', 'eu.AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAA.AAAAAAAA']],
    [
      'userProperty',
      ['causeway-id', 'eu.AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAA.AAAAAAAA/eu/9007199254740991.1'],
    ],
  ] as const;
  for (const topic of ['fleet/1', 'other/1', 'secret/1', 'none/1']) {
    await publisher.publish(topic, topic, { qos: 1, properties: forged });
    await publisher.publish(topic, topic, { qos: 1, properties: forged });
  }
  const got = await drain(eu);
  t.strictSame(
    got.map(({ topic, properties }) => [topic, properties]),
    [1, 2].map(() => ['fleet/1', forged]),
    'only what both sides allow; what a client forges is its text and means nothing',
  );
  t.equal(await regions.ofLink('eu<us', 'loops_total'), 0);
  t.equal(await regions.ofLink('eu<us', 'duplicates_total'), 0);

  for (const [login, why] of [
    [{}, 'nobody'],
    [regions.somebody, 'another user'],
    [regions.login('eu'), 'another region'],
  ] as const) {
    const forger = await regions.open('us', '$link/ap');
    forger.send(connect({ version: 5, clientId: '$link/ap', ...login }));
    await forger.expectRefusal(0x87);
    t.pass(`${why} is no link`);
  }
  const old = await regions.open('us', '$link/eu', 4);
  const [fields, clientId] = [regions.login('eu'), '$link/eu'];
  old.send(connect({ version: 4, clientId, ...fields, password: Buffer.from(fields.password) }));
  t.match(await old.next(), { type: 'CONNACK', reasonCode: 5 }, 'nor is one of MQTT 3.1.1');
  t.equal(await regions.broker('us').metric('causeway_link_connects_refused_total'), 4);
  t.equal(await regions.ofLink('eu<us', 'up'), 1, 'the link was left alone');
  t.strictSame(regions.errors(), []);
});

async function retainedChanges(t: Test, regions: TestRegions): Promise<void> {
  const keeper = await regions.client('eu', { id: 'keeper' });
  await keeper.subscribed('state/#', { qos: 1, retainAsPublished: true });
  // The filter before is given up later.
  await regions.subscribed({ 'eu<us': 2 });
  const publisher = await regions.client('us');
  await publisher.publish('state/1', 'on', { qos: 1, retain: true });
  await publisher.publish('state/2', 'on', { qos: 2, retain: true });
  await publisher.publish('state/3', 'on', { qos: 0, retain: true });
  const flags = (await drain(keeper)).map(({ topic, retain }) => [topic, retain]);
  t.strictSame(flags, [
    ['state/1', true],
    ['state/2', true],
    ['state/3', true],
  ]);
  const retained = async (): Promise<string[]> => {
    const client = await regions.client('eu');
    await client.subscribed('state/#');
    const found = (await drain(client, 300)).map(({ topic, payload }) => `${topic}=${payload}`);
    await client.disconnect();
    return found.sort();
  };
  t.strictSame(await retained(), ['state/1=on', 'state/2=on', 'state/3=on']);
  await publisher.publish('state/1', 'off', { qos: 1, retain: true });
  await publisher.publish('state/2', '', { qos: 1, retain: true });
  t.equal((await drain(keeper)).length, 2);
  t.strictSame(await retained(), ['state/1=off', 'state/3=on'], 'changed, and cleared');
  for (const client of [keeper, publisher]) await client.disconnect();
}

async function cutsAndKills(t: Test, regions: TestRegions): Promise<void> {
  const durable = {
    id: 'reader',
    clean: false,
    properties: [['sessionExpiryInterval', 3600]],
  } as const;
  let reader = await regions.client('eu', durable);
  await reader.subscribed('log/#', { qos: 2 });
  await regions.subscribed({ 'eu<us': 3 });
  let sent = 0;
  const expected: string[] = [];
  const publish = async (count: number): Promise<void> => {
    const publisher = await regions.client('us');
    for (let i = 0; i < count; i++) {
      const payload = `m${sent++}`;
      await publisher.publish('log/x', payload, { qos: 1 + (sent % 2) });
      expected.push(payload);
    }
    await publisher.disconnect();
  };
  const got: string[] = [];
  const read = async (): Promise<void> => {
    await until(
      'all has come',
      async () => {
        got.push(...(await drain(reader, 100)).map(({ payload }) => payload.toString()));
        return got.length >= expected.length;
      },
      60_000,
    );
    t.strictSame(got, expected, 'each once, in order');
  };

  await publish(20);
  const proxy = regions.proxy('eu<us');
  proxy.refuse(true);
  proxy.cut();
  await publish(20);
  t.ok((await regions.ofFetcher('eu<us', 'queued_messages')) > 0, 'they wait at the other end');
  proxy.refuse(false);
  await read();

  // The one that fetches dies with messages under way.
  proxy.pause('toServer');
  await publish(20);
  await regions.broker('eu').kill();
  await publish(20);
  proxy.cut();
  proxy.resume();
  await regions.startRegion('eu');
  reader = await regions.client('eu', durable);
  await read();
  t.ok((await regions.ofLink('eu<us', 'duplicates_total')) > 0, 'some had come before');
  await regions.linksUp();

  // The one that is fetched from dies with messages that nobody has fetched.
  proxy.refuse(true);
  proxy.cut();
  await publish(20);
  await regions.broker('us').kill();
  await regions.startRegion('us');
  await publish(20);
  proxy.refuse(false);
  await read();
  t.equal(await regions.ofLink('eu<us', 'gaps_total'), 0);
}

t.test('a full mesh and a ring of three: once each, no loop', async (t) => {
  const names = ['ap', 'eu', 'us'];
  const ring: LinkName[] = ['ap<eu', 'eu<us', 'us<ap'];
  const back: LinkName[] = ['eu<ap', 'us<eu', 'ap<us'];
  const regions = await TestRegions.start(t, { names, links: [...ring, ...back] });
  const readers = await Promise.all(names.map((name) => regions.client(name)));
  for (const reader of readers) await reader.subscribed('all/#', { qos: 2 });
  await regions.subscribed(Object.fromEntries([...ring, ...back].map((link) => [link, 1])));
  const round = async (what: string): Promise<void> => {
    const expected: string[] = [];
    for (const name of names) {
      const publisher = await regions.client(name);
      for (const qos of [0, 1, 2]) {
        await publisher.publish(`all/${name}`, `${what}-${name}-${qos}`, { qos });
        expected.push(`${what}-${name}-${qos}`);
      }
    }
    for (const reader of readers) {
      const got = (await drain(reader, 700)).map(({ payload }) => payload.toString());
      t.strictSame(got.sort(), expected.sort(), `${what}: each once`);
    }
  };
  await round('mesh');
  t.ok((await regions.ofLink('ap<eu', 'duplicates_total')) > 0, 'which came over two ways');
  for (const link of back) {
    regions.proxy(link).refuse(true);
    regions.proxy(link).cut();
  }
  await until('the ring is left', async () => (await regions.ofLink('eu<ap', 'up')) === 0);
  await round('ring');
  for (const link of back) regions.proxy(link).refuse(false);
  t.strictSame(regions.errors(), []);
});

t.test('a star: the hub fetches for others, and stops when they do', async (t) => {
  const regions = await TestRegions.start(t, {
    names: ['hub', 'eu', 'us'],
    links: ['eu<hub', 'us<hub', 'hub<eu', 'hub<us'],
    config: { limits: { linkSubscriptionsMax: 2 } },
  });
  const eu = await regions.client('eu');
  await eu.subscribed('a/#', { qos: 1 });
  await regions.subscribed({ 'eu<hub': 1, 'hub<us': 1, 'us<hub': 0, 'hub<eu': 0 });
  const publisher = await regions.client('us');
  await publisher.publish('a/1', 'from us', { qos: 1 });
  t.strictSame(
    (await drain(eu)).map(({ payload }) => payload.toString()),
    ['from us'],
    'through the hub',
  );
  await eu.subscribed(['b', 'c', 'd'], { qos: 1 });
  await regions.subscribed({ 'eu<hub': 2 });
  await until(
    'more than the hub allows is refused',
    async () => (await regions.ofLink('eu<hub', 'refused_filters')) === 2,
  );
  t.strictSame(regions.errors(), []);
});
