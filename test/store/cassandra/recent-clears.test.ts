/** What a node alone has cleared stays cleared when Cassandra loses what it has answered (ADR 0020, 0021). */
import t from 'tap';
import { makeMessage } from '../../../src/core/message.ts';
import { CLEARED } from '../../../src/core/retained-version.ts';
import { RecentClears } from '../../../src/store/cassandra/recent-clears.ts';
import { encodeRecord } from '../../../src/store/cassandra/retained-record.ts';
import { RegionNode, RegionRig } from './retained-rig.ts';

/** Cassandra is as it was before: only the message of that time is there. */
function setBack(region: RegionRig, topic: string, text: string, timeUs: number): void {
  region.table.lose(topic);
  const message = makeMessage(0, topic, Buffer.from(text), { qos: 1 });
  region.table.put(topic, encodeRecord(message, { timeUs, writer: 7 }), timeUs);
}

async function cleared(): Promise<{ region: RegionRig; node: RegionNode; beforeUs: number }> {
  const region = new RegionRig();
  const node = await new RegionNode(region, { isAlone: true }).start();
  node.publish('a', 'old');
  region.time.pass(1000);
  const beforeUs = region.table.row('a')!.timeUs;
  node.publish('a', '');
  region.time.pass(1000);
  t.equal(region.table.textOf('a'), 'cleared');
  return { region, node, beforeUs };
}

t.test('a confirmed clear that Cassandra has lost is written again', async (t) => {
  const { region, node, beforeUs } = await cleared();
  setBack(region, 'a', 'old', beforeUs);
  region.time.pass(61_000, 1000);
  node.round();
  t.equal(node.textOf('a'), null);
  t.equal(region.table.textOf('a'), 'cleared');
  t.strictSame([...node.disk.tombstones.keys()], ['a'], 'remembered until another round');
  region.time.pass(61_000, 1000);
  node.round();
  region.time.pass(100);
  t.strictSame([...node.disk.tombstones.keys()], []);
  t.equal(node.store.clearedAt('a'), null);
});

t.test('lately, it is not taken over either, nor after a crash of the node', async (t) => {
  const { region, node, beforeUs } = await cleared();
  setBack(region, 'a', 'old', beforeUs);
  node.round();
  t.equal(node.textOf('a'), null);
  const next = await node.crash();
  region.time.pass(61_000, 1000);
  next.round();
  t.equal(next.textOf('a'), null);
  t.equal(region.table.textOf('a'), 'cleared');
});

t.test('what is published since is not forgotten with it', async (t) => {
  const { region, node } = await cleared();
  node.publish('a', 'new');
  region.time.pass(61_000, 1000);
  node.round();
  region.time.pass(61_000, 1000);
  node.round();
  region.time.pass(100);
  t.equal(node.onDisk('a'), 'new');
  t.equal(region.table.textOf('a'), 'new');
});

t.test('another region has published since', async (t) => {
  const { region, node } = await cleared();
  const timeUs = region.time.wallMs() * 1000;
  setBack(region, 'a', 'theirs', timeUs);
  node.round();
  t.equal(node.textOf('a'), 'theirs');
  t.equal(node.store.clearedAt('a'), null);
});

t.test('not more than so many', async (t) => {
  const forgotten: string[] = [];
  const clears = new RecentClears((topic) => forgotten.push(topic));
  for (let i = 0; i < 100_000; i++) clears.add(`${i}`, { timeUs: i, writer: CLEARED }, i);
  t.strictSame(forgotten, []);
  clears.add('more', { timeUs: 1, writer: CLEARED }, 100_000);
  t.equal(clears.size, 90_000);
  t.strictSame([forgotten[0], forgotten.at(-1)], ['0', '10000'], 'the oldest go');
  clears.add('10001', { timeUs: 9, writer: CLEARED }, 200_000);
  forgotten.length = 0;
  clears.roundEnded(70_005);
  t.strictSame(forgotten, ['10002', '10003', '10004', '10005']);
});
