// Links between a region of several nodes and one of a single node: one holder, every QoS from and to every
// node, once each, and a holder that is killed (P8, ADR 0022).
import t from 'tap';
import { askRedis } from '../support/redis-ask.ts';
import { DURABLE, RedisServer } from '../support/redis-server.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { sleep, TestCluster, until } from './cluster-kit.ts';
import { drain, TestRegions } from './link-kit.ts';

t.setTimeout(300_000);

const NOTES = 'causeway:l:{links}:notes';

t.test('a datacenter and a node alone', async (t) => {
  const regions = await TestRegions.start(t, {
    names: ['us'],
    elsewhere: ['eu'],
    links: ['eu<us', 'us<eu'],
  });
  const cluster = await TestCluster.start(t, {
    names: ['a', 'b'],
    hasAdmin: true,
    flags: ['--config', regions.config('eu')],
  });
  const toEu = regions.proxy('us<eu');
  toEu.retarget(cluster.node('a').port());
  const held = async (name: string): Promise<boolean> =>
    (await cluster.node(name).metric('causeway_links_held')) === 1;
  await until('somebody has the links', async () => (await held('a')) || (await held('b')), 30_000);
  const holder = (await held('a')) ? 'a' : 'b';
  const other = holder === 'a' ? 'b' : 'a';
  t.equal(await held(other), false, 'and nobody else');
  await regions.linksUp(['us<eu']);

  const durable = await cluster.durable(other, 'reader');
  await durable.subscribed('all/#', { qos: 2 });
  const live = { a: await cluster.client('a', 'live-a'), b: await cluster.client('b', 'live-b') };
  await live.a.subscribed('all/+', { qos: 2 });
  await live.b.subscribed('$share/group/all/#', { qos: 1 });
  const us = await regions.client('us');
  await us.subscribed('all/#', { qos: 2 });
  await regions.subscribed({ 'eu<us': 1 });
  const ofUs = 'causeway_fetcher_subscriptions{region="us"}';
  await until('us has subscribed', async () => {
    return (await cluster.node('a').metric(ofUs)) === 1;
  });
  const expected: string[] = [];
  const publisher = await regions.client('us');
  const local = { a: await cluster.client('a', 'pub-a'), b: await cluster.client('b', 'pub-b') };
  for (const [name, client] of Object.entries({ us: publisher, ...local })) {
    for (const qos of [0, 1, 2]) {
      await client.publish(`all/${name}`, `${name}-${qos}`, { qos });
      expected.push(`${name}-${qos}`);
    }
  }
  const readers = { durable, 'live at a': live.a, 'the group at b': live.b, us };
  for (const [name, reader] of Object.entries(readers)) {
    const got = (await drain(reader, 1000)).map(({ payload }) => payload.toString());
    t.strictSame(got.sort(), [...expected].sort(), `${name}: each once`);
  }
  const ofLink = (name: string): Promise<number> =>
    cluster.node(holder).metric(`causeway_link_${name}{region="us"}`);
  t.equal(await ofLink('messages_total'), 3, 'nothing came back from us');
  t.equal(await ofLink('duplicates_total'), 0);
  t.equal(await regions.ofLink('us<eu', 'messages_total'), 6);
  t.equal(await regions.ofLink('us<eu', 'loops_total'), 0);

  // Published with QoS 0 at a node that has no session of a link, and lost on its way.
  toEu.pause('toClient');
  await local.b.publish('all/kept', 'on', { qos: 0, retain: true });
  await sleep(500);
  toEu.cut();
  toEu.resume();
  await until('the change comes again', async () => {
    const late = await regions.client('us');
    await late.subscribed('all/kept');
    const kept = (await drain(late)).map(
      ({ payload, qos, retain }) => `${payload} ${qos} ${retain}`,
    );
    return `${kept}` === 'on 0 true';
  });
  await drain(durable);

  // The holder dies with messages that it has not acknowledged.
  const link = regions.proxy('eu<us');
  link.pause('toServer');
  const sent: string[] = [];
  const publish = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) {
      const payload = `m${sent.length}`;
      await publisher.publish('all/x', payload, { qos: 1 + (i % 2) });
      sent.push(payload);
    }
  };
  await publish(20);
  await sleep(500);
  await cluster.node(holder).kill();
  toEu.retarget(cluster.node(other).port());
  await publish(10);
  link.cut();
  link.resume();
  await until('the other one has the links', () => held(other), 30_000);
  await publish(10);
  const got: string[] = [];
  await until(
    'all has come',
    async () => {
      got.push(...(await drain(durable, 200)).map(({ payload }) => payload.toString()));
      return got.length >= sent.length;
    },
    60_000,
  );
  got.push(...(await drain(durable, 1000)).map(({ payload }) => payload.toString()));
  t.strictSame(got, sent, 'each once, in order, also those that were under way');
  const again = 'causeway_link_duplicates_total{region="us"}';
  t.ok((await cluster.node(other).metric(again)) > 0, 'which the new holder knew');
  const gaps = await cluster.node(other).metric('causeway_link_gaps_total{region="us"}');
  t.equal(gaps, 0);
  t.strictSame(cluster.errors(), []);
  t.strictSame(regions.errors(), []);
});

t.test(
  'a holder that dies when a message is in the queues and its name is not noted',
  async (t) => {
    const redis = await RedisServer.launch(DURABLE);
    t.teardown(() => redis.remove());
    const toRedis = await TcpProxy.start(redis.port);
    t.teardown(() => toRedis.close());
    const regions = await TestRegions.start(t, {
      names: ['us'],
      elsewhere: ['eu'],
      links: ['eu<us'],
    });
    const cluster = await TestCluster.start(t, {
      names: ['a', 'b'],
      hasAdmin: true,
      redisUrl: `redis://127.0.0.1:${toRedis.port}`,
      flags: ['--config', regions.config('eu')],
    });
    const held = async (name: string): Promise<boolean> =>
      (await cluster.node(name).metric('causeway_links_held')) === 1;
    await until(
      'somebody has the links',
      async () => (await held('a')) || (await held('b')),
      30_000,
    );
    const holder = (await held('a')) ? 'a' : 'b';
    const other = holder === 'a' ? 'b' : 'a';
    const readers = [await cluster.durable(other, 'reader'), await cluster.durable(other, 'group')];
    await readers[0]!.subscribed('all/#', { qos: 2 });
    await readers[1]!.subscribed('$share/group/all/#', { qos: 2 });
    await until('eu has subscribed', async () => {
      return (
        (await regions.broker('us').metric('causeway_fetcher_subscriptions{region="eu"}')) === 1
      );
    });

    const publisher = await regions.client('us');
    const link = regions.proxy('eu<us');
    link.pause('toClient');
    const sent: string[] = [];
    const publish = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i++) {
        const payload = `m${sent.length}`;
        await publisher.publish('all/x', payload, { qos: 2 });
        sent.push(payload);
      }
    };
    await publish(20);
    // Only a page of names has such a field, and it is written when its messages are in all queues.
    const died = new Promise<void>((resolve) => {
      toRedis.stalls = (chunk, direction) => {
        if (direction === 'toClient' || !chunk.includes('w/us.')) return false;
        toRedis.stalls = null;
        cluster
          .node(holder)
          .kill()
          .then(() => resolve(), resolve);
        return true;
      };
    });
    link.resume();
    await died;
    link.cut();
    await until('the other one has the links', () => held(other), 30_000);
    await publish(5);
    for (const reader of readers) {
      const got: string[] = [];
      const more = async (ms: number): Promise<void> => {
        got.push(...(await drain(reader, ms)).map(({ payload }) => payload.toString()));
      };
      await until('all has come', async () => more(200).then(() => got.includes('m24')), 60_000);
      await more(1000);
      t.strictSame(got, sent, 'each once, in order');
    }
    await until('none is noted any more', async () => {
      const names = await askRedis(redis.port, 'HKEYS', NOTES);
      return (
        (names as string[]).length > 1 && !(names as string[]).some((name) => /^p\//.test(name))
      );
    });
    t.strictSame(cluster.errors(), []);
    t.strictSame(regions.errors(), []);
  },
);

t.test('a Redis that comes back empty: names of messages are noted again', async (t) => {
  const regions = await TestRegions.start(t, {
    names: ['us'],
    elsewhere: ['eu'],
    links: ['eu<us'],
  });
  const flags = ['--config', regions.config('eu')];
  const cluster = await TestCluster.start(t, { names: ['a'], hasAdmin: true, flags });
  const eu = cluster.node('a');
  const reader = await cluster.client('a', 'reader');
  await reader.subscribed('all/#', { qos: 2 });
  await until('eu has subscribed', async () => {
    return (await regions.broker('us').metric('causeway_fetcher_subscriptions{region="eu"}')) === 1;
  });
  const publisher = await regions.client('us');
  const link = regions.proxy('eu<us');
  link.pause('toServer');
  const sent = ['m0', 'm1', 'm2'];
  for (const payload of sent) await publisher.publish('all/x', payload, { qos: 2 });
  const got = async (): Promise<string[]> =>
    (await drain(reader, 1000)).map(({ payload }) => payload.toString());
  t.strictSame(await got(), sent, 'here, and not acknowledged there');
  const { port } = cluster.redis;
  const notes = async (): Promise<string> => `${await askRedis(port, 'HKEYS', NOTES)}`;
  await until('their names are noted', async () => /w\/us/.test(await notes()));
  await askRedis(port, 'FLUSHALL');
  await until('they are noted again', async () => /w\/us/.test(await notes()), 30_000);
  t.match(await notes(), /s\/us\/all\/#/, 'and what was subscribed');
  link.cut();
  link.resume();
  const again = 'causeway_link_duplicates_total{region="us"}';
  await until('they come again', async () => (await eu.metric(again)) === 3, 30_000);
  await publisher.publish('all/x', 'new', { qos: 2 });
  t.strictSame(await got(), ['new']);
  t.equal(await eu.metric('causeway_link_gaps_total{region="us"}'), 0);
});
