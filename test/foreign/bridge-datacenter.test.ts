// Bridges of a datacenter: the node that has them is killed while messages are under way between a real Redis
// and a real mosquitto, and another takes over. What the guide promises: nothing is lost, and only what was
// under way may come twice. And its budget, which is kept where any node can see it.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { stringify } from 'yaml';
import { Client } from '../../src/client/client.ts';
import { sleep, TestCluster, until } from '../e2e/cluster-kit.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { MosquittoServer } from './mosquitto-server.ts';

t.setTimeout(240_000);

const QUIET_MS = 1000;
/** The lease of the dead, a connection, and a machine that is busy. */
const TAKEN_MS = 40_000;
const NAMES = ['a', 'b'] as const;

type Way = 'out' | 'in';

/** A client at either broker, and the texts that have come to it. */
class End {
  readonly client: Client;
  readonly texts: string[] = [];

  constructor(t: Test, port: number, clientId: string) {
    this.client = new Client({
      url: `mqtt://127.0.0.1:${port}`,
      clientId,
      cleanStart: false,
      properties: { sessionExpiryIntervalS: 3600 },
      onMessage: ({ payload }) => void this.texts.push(payload.toString()),
    });
    t.teardown(() => this.client.destroy());
  }

  /** `PREFIX0`, `PREFIX1` …, every other one with QoS 2; all are acknowledged. */
  async publish(topic: string, prefix: string, count: number): Promise<string[]> {
    const texts = Array.from({ length: count }, (_, i) => `${prefix}${i}`);
    for (const [i, text] of texts.entries()) {
      await this.client.publish(topic, text, { qos: i % 2 === 0 ? 1 : 2 });
    }
    return texts;
  }

  async quiet(): Promise<void> {
    for (let before = -1; before !== this.texts.length; ) {
      before = this.texts.length;
      await sleep(QUIET_MS);
    }
  }
}

interface Stage {
  readonly cluster: TestCluster;
  /** Between the node that has the bridges and mosquitto. */
  readonly wire: TcpProxy;
  readonly holder: string;
  readonly other: string;
  /** Of the bridge, at a node. */
  metric(node: string, name: string, bridge?: string): Promise<number>;
}

async function open(t: Test, far: MosquittoServer, budgetAgeS = 600): Promise<Stage> {
  const folder = mkdtempSync(join(tmpdir(), 'causeway-bridge-dc-'));
  const wire = await TcpProxy.start(far.port);
  t.teardown(async () => {
    await wire.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const config = join(folder, 'causeway.yaml');
  const topics = [
    { filter: 'out/#', qos: 2 },
    { filter: 'in/#', direction: 'in', qos: 2 },
  ];
  const url = `mqtt://127.0.0.1:${wire.port}`;
  const bridges = [
    { name: 'far', url, topics, budgetAgeS },
    { name: 'small', url, topics: [{ filter: 'small/#' }], budgetBytes: 65_536 },
  ];
  writeFileSync(config, stringify({ bridges }));
  const cluster = await TestCluster.start(t, {
    names: NAMES,
    hasAdmin: true,
    flags: ['--config', config],
  });
  const metric: Stage['metric'] = (node, name, bridge = 'far') =>
    cluster.node(node).metric(`causeway_bridge_${name}{bridge="${bridge}"}`);
  const up = (): Promise<number[]> => Promise.all(NAMES.map((name) => metric(name, 'up')));
  await until('the bridge is up', async () => (await up()).includes(1), TAKEN_MS);
  const holder = NAMES[(await up()).indexOf(1)]!;
  const other = NAMES.find((name) => name !== holder)!;
  t.equal(await metric(other, 'up'), 0, 'one node has it');
  return { cluster, wire, holder, other, metric };
}

for (const way of ['out', 'in'] satisfies Way[]) {
  t.test(`the holder dies with messages under way, ${way}`, async (t) => {
    const far = await MosquittoServer.start();
    t.teardown(() => far.remove());
    const { cluster, wire, holder, other, metric } = await open(t, far);
    const here = new End(t, cluster.node(other).port(), 'here');
    const there = new End(t, far.port, 'there');
    await Promise.all([here.client.connect(), there.client.connect()]);
    const [source, reader] = way === 'out' ? [here, there] : [there, here];
    await reader.client.subscribe([{ filter: `${way}/#`, qos: 2 }]);

    const settled = await source.publish(`${way}/x`, 'settled', 20);
    const has = (texts: readonly string[]) => () =>
      texts.every((text) => reader.texts.includes(text));
    await until('what is settled has come', has(settled), 20_000);
    await reader.quiet();
    t.equal(await metric(holder, 'queued_messages'), 0);

    // Handed over, and the end it came from does not hear of that.
    wire.pause(way === 'out' ? 'toClient' : 'toServer');
    const underWay = await source.publish(`${way}/x`, 'under-way', 20);
    const isOut = way === 'out';
    await until('they are under way', async () =>
      isOut
        ? (await metric(holder, 'queued_messages')) === underWay.length
        : (await metric(holder, 'received_total')) === settled.length + underWay.length,
    );
    await reader.quiet();
    await cluster.node(holder).kill();
    const meanwhile = await source.publish(`${way}/x`, 'meanwhile', 10);
    wire.cut();
    wire.resume();
    const tookMs = await until(
      'the other node has the bridge',
      async () => (await metric(other, 'up')) === 1,
      TAKEN_MS,
    );
    t.comment(`taken over in ${Math.round(tookMs)} ms`);
    const after = await source.publish(`${way}/x`, 'after', 10);
    const all = [...settled, ...underWay, ...meanwhile, ...after];
    await until('all has come', has(all), 30_000).catch(() => {});
    await reader.quiet();

    const counts = new Map<string, number>();
    for (const text of reader.texts) counts.set(text, (counts.get(text) ?? 0) + 1);
    const lost = all.filter((text) => !counts.has(text));
    t.strictSame(lost, [], 'nothing is lost');
    const once = [...settled, ...meanwhile, ...after].filter((text) => counts.get(text) !== 1);
    t.strictSame(once, [], 'what was not under way comes once');
    const often = underWay.filter((text) => counts.get(text)! > 2);
    t.strictSame(often, [], 'what was, twice at most');
    const twice = underWay.filter((text) => counts.get(text) === 2);
    t.ok(twice.length > 0, `${twice.length} of ${underWay.length} came twice`);
    await until('nothing waits', async () => (await metric(other, 'queued_messages')) === 0);
    t.equal(await metric(other, 'gaps_total'), 0);
    t.equal(await metric(other, 'over_budget_total'), 0);
    t.strictSame(cluster.errors(), []);
  });
}

t.test('budgets: age under the next holder too, bytes from any node', async (t) => {
  const far = await MosquittoServer.start();
  t.teardown(() => far.remove());
  const budgetAgeS = 3;
  const { cluster, holder, other, metric } = await open(t, far, budgetAgeS);
  const here = new End(t, cluster.node(other).port(), 'here');
  await here.client.connect();
  await far.kill();
  await until('it is away', async () => (await metric(holder, 'up')) === 0);
  await here.publish('out/old', 'm', 10);
  const oldMs = performance.now();
  await cluster.node(holder).kill();
  const bounded = async (): Promise<boolean> =>
    (await metric(other, 'budget_bytes', 'small')) === 65_536;
  await until('the other node has the bridges', bounded, TAKEN_MS);
  await sleep(Math.max(0, oldMs + budgetAgeS * 1000 + 500 - performance.now()));
  const back = await cluster.startNode(holder);
  const there = new End(t, back.port(), 'there');
  await there.client.connect();
  for (let i = 0; i < 100; i++) {
    await there.client.publish(`small/${i}`, `${i}`.padEnd(2000), { qos: 1, retain: true });
  }
  const dropped = await back.metric('causeway_messages_dropped_total{reason="bridge_budget"}');
  t.ok(dropped >= 65 && dropped <= 72, `${dropped} of 100 are too much, and the node says so`);

  await far.restart();
  const reader = new End(t, far.port, 'reader');
  await reader.client.connect();
  await reader.client.subscribe(['out/#', 'small/#']);
  const left = Array.from({ length: 100 - dropped }, (_, i) => `${dropped + i}`);
  const came = (): string[] => reader.texts.map((text) => text.trim());
  const missing = (): string[] => left.filter((text) => !came().includes(text));
  await until('it has come', () => missing().length === 0, TAKEN_MS).catch(() => {});
  t.strictSame(missing(), [], 'what is within the budget has come');
  const isAged = async (): Promise<boolean> => (await metric(other, 'over_budget_total')) === 10;
  await until('what is too old has gone', isAged, TAKEN_MS);
  await here.publish('out/young', 'young', 1);
  await until('what is not has come', () => came().includes('young0'), TAKEN_MS);
  await reader.quiet();
  const others = came().filter((text) => text !== 'young0' && !left.includes(text));
  // The holder may have read once, before they were dropped, as many as there may be.
  t.ok(others.length <= left.length + 1, `${others.length} more, of ${dropped}`);
  t.strictSame(
    others.filter((text) => text.startsWith('m')),
    [],
    'nothing that is too old',
  );
  t.strictSame(cluster.errors(), []);
});
