// Retained messages of regions that share a Cassandra, as their clients see them: nodes alone, each a region of
// its own, a region of several nodes, and a Cassandra that stands still, is gone and comes back (P6, P7, ADR 0021).
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { runCli } from '../cli/run.ts';
import { CassandraDoor } from '../support/cassandra-door.ts';
import { linkTo } from '../support/cassandra-link.ts';
import { sleep, TestCluster, until } from './cluster-kit.ts';
import { TestRegions } from './link-kit.ts';
import { publishAt, Region, regionFlags, retainedAt, shows } from './region-kit.ts';

t.setTimeout(300_000);

const door = await CassandraDoor.open(t);
const cassandra = door.server;
const to = ['--contact-points', cassandra.contactPoints.join()];
const here = [...to, '--local-datacenter', cassandra.datacenter];
const copies = ['--replication', `${cassandra.datacenter}=1`];
const own = `retained_${randomBytes(6).toString('hex')}`;
const keyspaces = { several: `${own}_several`, linked: `${own}_linked`, pair: `${own}_pair` };
const admin = linkTo(t, cassandra);
await admin.ready(60_000);
t.teardown(async () => {
  for (const name of Object.values(keyspaces)) {
    if (admin.state === 'up') await admin.command(`DROP KEYSPACE IF EXISTS ${name}`);
  }
});

function beganMs(folder: string): number {
  try {
    const text = readFileSync(join(folder, 'retained-round.json'), 'utf8');
    return (JSON.parse(text) as { beganMs: number }).beganMs;
  } catch {
    return 0;
  }
}

t.test('a region of several nodes, and one of one node, over one Cassandra', async (t) => {
  const wrong = await runCli(['cassandra', 'init', ...to, '--local-datacenter', 'wrong']);
  t.match(wrong, { code: 2, stderr: /no node is of the datacenter "wrong"; there is "\w+"/ });
  const keyspace = ['--keyspace', keyspaces.several];
  t.match(await runCli(['cassandra', 'init', ...here, ...copies, ...keyspace]), { code: 0 });

  const inKeyspace = [`cassandra.keyspace=${keyspaces.several}`];
  const local = regionFlags(cassandra, [...inKeyspace, 'cassandra.degraded=local']);
  const [far] = Region.several(t, ['far'], local) as [Region];
  const flags = regionFlags(cassandra, inKeyspace);
  const [cluster] = await Promise.all([
    TestCluster.start(t, { names: ['n1', 'n2'], flags }),
    far.start(),
  ]);
  const [n1, n2] = [cluster.node('n1'), cluster.node('n2')];
  await publishAt(n1, 's/1', 'one');
  await publishAt(n2, 's/2', 'two');
  await far.publish('s/3', 'three');
  const all = ['s/1=one', 's/2=two', 's/3=three'];
  for (const broker of [n1, n2, far.broker]) await shows(broker, 's/#', all);
  await far.publish('s/1', '');
  await publishAt(n2, 's/3', '');
  for (const broker of [n1, n2, far.broker]) await shows(broker, 's/#', ['s/2=two']);
  t.pass('messages and clears are at all nodes of both regions');

  for (const name of ['n1', 'n2']) {
    await until(`${name} keeps the end of a round`, () => beganMs(cluster.dataOf(name)) > 0);
  }
  t.pass('hard case 18: whoever goes round, each node keeps when the last round was');

  const n3 = await cluster.startNode('n3');
  t.strictSame(await retainedAt(n3, 's/#'), ['s/2=two'], 'a new node has all when it is ready');
  t.ok(beganMs(cluster.dataOf('n3')) > 0, 'and knows of the last round');

  // One of them has the role.
  await Promise.all([n1.kill(), n2.kill()]);
  await far.publish('s/4', 'four');
  await shows(n3, 's/#', ['s/2=two', 's/4=four']);
  t.pass('another node goes round when the one that did is killed');
  const [n1b, n2b] = await Promise.all([cluster.startNode('n1'), cluster.startNode('n2')]);
  for (const broker of [n1b, n2b]) {
    t.strictSame(await retainedAt(broker, 's/#'), ['s/2=two', 's/4=four']);
  }

  door.stand();
  await publishAt(n1b, 's/2', 'kept');
  await publishAt(n2b, 's/4', '');
  t.pass('acknowledged though Cassandra stands still: another node has it on its disk');
  await Promise.all([n2b.kill(), n3.kill()]);
  let isAcked = false;
  const parked = publishAt(n1b, 's/5', 'parked').then(() => {
    isAcked = true;
  });
  await sleep(1500);
  t.notOk(isAcked, 'with neither Cassandra nor another node it is parked, not invented');
  const n2c = await cluster.startNode('n2');
  await parked;
  t.pass('and acknowledged when there is another node again');
  await n1b.kill();
  t.strictSame(await retainedAt(n2c, 's/#'), ['s/2=kept', 's/5=parked']);
  door.goOn();
  await cluster.startNode('n1');
  await far.shows('s/#', ['s/2=kept', 's/5=parked']);
  t.pass('all of it is in the other region when Cassandra is back');
  t.strictSame(cluster.errors(), []);
  t.equal(far.broker.noise, '');
});

t.test('two regions with a link: a clear has its version, a gap begins a round', async (t) => {
  const keyspace = ['--keyspace', keyspaces.linked];
  t.match(await runCli(['cassandra', 'init', ...here, ...copies, ...keyspace]), { code: 0 });
  const regions = await TestRegions.start(t, {
    names: ['us', 'eu'],
    links: ['eu<us'],
    config: {
      cassandra: {
        contactPoints: cassandra.contactPoints,
        localDatacenter: cassandra.datacenter,
        keyspace: keyspaces.linked,
        reconcileIntervalS: 600,
        degraded: 'local',
      },
    },
  });
  const [us, eu] = [regions.broker('us'), regions.broker('eu')];
  const reader = await regions.client('eu');
  await reader.subscribed('l/#', { qos: 1 });
  await regions.subscribed({ 'eu<us': 1 });
  const rounds = (): Promise<number> => eu.metric('causeway_cassandra_rounds_total');
  await until('the round of the start is over', async () => (await rounds()) > 0);
  await publishAt(us, 'l/1', 'one');
  await publishAt(us, 'l/2', 'two');
  await shows(eu, 'l/#', ['l/1=one', 'l/2=two']);
  await publishAt(us, 'l/1', '');
  await shows(eu, 'l/#', ['l/2=two']);
  t.ok((await us.metric('causeway_cassandra_writes_total')) >= 3);
  t.equal(
    await eu.metric('causeway_cassandra_writes_total'),
    0,
    'no change was taken for one of eu',
  );

  const link = regions.proxy('eu<us');
  link.refuse(true);
  link.cut();
  await publishAt(us, 'l/3', 'queued for the link');
  await publishAt(us, 'l/2', '');
  t.equal(await regions.endSession('eu<us'), 204);
  const before = await rounds();
  t.strictSame(await retainedAt(eu, 'l/#'), ['l/2=two']);
  link.refuse(false);
  await shows(eu, 'l/#', ['l/3=queued for the link']);
  await until('a round has ended, long before it was due', async () => (await rounds()) > before);
  t.strictSame(regions.errors(), []);
});

t.test('two regions of one node each, and a Cassandra that is gone', async (t) => {
  const keyspace = ['--keyspace', keyspaces.pair];
  const flags = regionFlags(cassandra, [
    'cassandra.degraded=local',
    `cassandra.keyspace=${keyspaces.pair}`,
  ]);
  const [a, b] = Region.several(t, ['a', 'b'], flags) as [Region, Region];

  await t.rejects(a.start(), 'no tables yet');
  t.match(await runCli(['cassandra', 'init', ...here, ...keyspace]), {
    code: 1,
    stderr: /--replication/,
  });
  t.match(await runCli(['cassandra', 'init', ...here, ...copies, ...keyspace]), {
    code: 0,
    stdout: /made/,
  });
  t.match(await runCli(['cassandra', 'init', ...here, ...keyspace]), {
    code: 0,
    stdout: /already/,
  });

  await Promise.all([a.start(true), b.start()]);
  t.strictSame(await a.check('cassandra'), { name: 'cassandra', ok: true });
  await a.publish('r/1', 'one');
  await a.publish('r/2', 'two');
  await b.publish('r/3', 'three');
  await b.shows('r/#', ['r/1=one', 'r/2=two', 'r/3=three']);
  await a.shows('r/#', ['r/1=one', 'r/2=two', 'r/3=three']);
  await b.publish('r/1', '');
  await a.shows('r/#', ['r/2=two', 'r/3=three']);
  t.pass('messages and clears are in both regions');

  await a.publish('r/4', 'four');
  await a.broker.kill();
  await b.shows('r/#', ['r/2=two', 'r/3=three', 'r/4=four']);
  await a.start(true);
  t.strictSame(await a.retained('r/#'), ['r/2=two', 'r/3=three', 'r/4=four'], 'after kill -9');

  door.die();
  await a.publish('r/2', 'away');
  await a.publish('r/3', '');
  t.strictSame(await a.retained('r/#'), ['r/2=away', 'r/4=four'], 'acknowledged, and served');
  t.strictSame(await b.retained('r/#'), ['r/2=two', 'r/3=three', 'r/4=four']);
  const away = {
    ok: true,
    warning: 'Cassandra does not take retained messages: they are kept by the nodes',
  };
  t.match(await a.check('cassandra'), away, 'still ready, with a warning');
  t.ok((await a.broker.metric('causeway_cassandra_retained_kept_total')) >= 2);
  t.equal(await a.broker.metric('causeway_cassandra_retained_waiting_topics'), 2);
  await a.broker.kill();
  await a.start();
  t.strictSame(await a.retained('r/#'), ['r/2=away', 'r/4=four'], 'also after kill -9');
  door.comeBack();
  await b.shows('r/#', ['r/2=away', 'r/4=four']);
  t.pass('what was acknowledged without Cassandra is in both regions when it is back');
  for (const { broker } of [a, b]) t.equal(broker.noise, '');
});
