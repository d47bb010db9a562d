// Retained messages of two regions that share a Cassandra, as their clients see them: nodes alone, each a
// region of its own, and a Cassandra that is stopped and comes back (P7, ADR 0021).
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { CassandraNode } from '../../scripts/cassandra-node.ts';
import { runCli } from '../cli/run.ts';
import { Client, connectClient, openSocket } from '../conformance/client.ts';
import { ownCassandra } from '../support/cassandra-server.ts';
import { Broker } from './broker.ts';
import { until } from './cluster-kit.ts';

t.setTimeout(240_000);

const ROUND_S = 1;
/** A round, and what a busy machine needs for one. */
const CONVERGED_MS = 30_000;

class Region {
  broker!: Broker;
  readonly #flags: readonly string[];
  readonly #data: string;
  #clients = 0;

  constructor(data: string, flags: readonly string[]) {
    this.#data = data;
    this.#flags = flags;
  }

  async start(): Promise<void> {
    this.broker = await Broker.start({ data: this.#data, flags: this.#flags });
  }

  async client(): Promise<Client> {
    const socket = await openSocket('127.0.0.1', this.broker.port());
    const clientId = `c${this.#clients++}`;
    return connectClient(new Client(socket, 5, clientId), { clientId, version: 5 });
  }

  async publish(topic: string, payload: string): Promise<void> {
    const client = await this.client();
    await client.publish(topic, payload, { qos: 1, retain: true });
    await client.disconnect();
  }

  /** What a new subscriber gets, by topic. */
  async retained(filter: string): Promise<string[]> {
    const client = await this.client();
    await client.subscribed(filter);
    const found: string[] = [];
    for (let packet = await client.next(200); packet !== null; packet = await client.next(200)) {
      if (packet.type === 'PUBLISH') found.push(`${packet.topic}=${packet.payload}`);
    }
    await client.disconnect();
    return found.sort();
  }

  shows(filter: string, expected: readonly string[]): Promise<unknown> {
    return until(
      `${filter} shows ${expected}`,
      async () => {
        const found = await this.retained(filter);
        return `${found}` === `${expected}`;
      },
      CONVERGED_MS,
    );
  }
}

function regionsOf(t: Test, cassandra: CassandraNode): [Region, Region] {
  const folder = mkdtempSync(join(tmpdir(), 'causeway-regions-'));
  const flags = [
    `cassandra.contactPoints=${cassandra.ip}`,
    `cassandra.localDatacenter=${cassandra.datacenter}`,
    `cassandra.reconcileIntervalS=${ROUND_S}`,
    'cassandra.degraded=local',
    'sysIntervalS=0',
  ].flatMap((option) => ['--set', option]);
  const regions: [Region, Region] = [
    new Region(join(folder, 'a'), flags),
    new Region(join(folder, 'b'), flags),
  ];
  t.teardown(async () => {
    for (const { broker } of regions) if (broker !== undefined) await broker.kill();
    rmSync(folder, { recursive: true, force: true });
  });
  return regions;
}

t.test('two regions over one Cassandra', async (t) => {
  const cassandra = await ownCassandra(t);
  const to = ['--contact-points', cassandra.ip, '--local-datacenter', cassandra.datacenter];
  const copies = ['--replication', `${cassandra.datacenter}=1`];
  const [a, b] = regionsOf(t, cassandra);

  await t.rejects(a.start(), 'no tables yet');
  t.match(await runCli(['cassandra', 'init', ...to]), { code: 1, stderr: /--replication/ });
  t.match(await runCli(['cassandra', 'init', ...to, ...copies]), { code: 0, stdout: /made/ });
  t.match(await runCli(['cassandra', 'init', ...to]), { code: 0, stdout: /already/ });

  await Promise.all([a.start(), b.start()]);
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
  await a.start();
  t.strictSame(await a.retained('r/#'), ['r/2=two', 'r/3=three', 'r/4=four'], 'after kill -9');

  await cassandra.stop('SIGKILL');
  await a.publish('r/2', 'away');
  await a.publish('r/3', '');
  t.strictSame(await a.retained('r/#'), ['r/2=away', 'r/4=four'], 'acknowledged, and served');
  t.strictSame(await b.retained('r/#'), ['r/2=two', 'r/3=three', 'r/4=four']);
  await a.broker.kill();
  await a.start();
  t.strictSame(await a.retained('r/#'), ['r/2=away', 'r/4=four'], 'also after kill -9');
  await cassandra.resume();
  await b.shows('r/#', ['r/2=away', 'r/4=four']);
  t.pass('what was acknowledged without Cassandra is in both regions when it is back');
  for (const { broker } of [a, b]) t.equal(broker.noise, '');
});
