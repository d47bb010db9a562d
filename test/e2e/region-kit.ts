/**
 * What clients of a region see of retained messages, for tests from outside; and how a region of one
 * node is started. Knows the command line; clients are those of the conformance tests.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Client, connectClient, openSocket } from '../conformance/client.ts';
import type { SharedCassandra } from '../support/cassandra-server.ts';
import { Broker } from './broker.ts';
import { until } from './cluster-kit.ts';

export const ROUND_S = 1;
/** A round, and what a busy machine needs for one. */
const CONVERGED_MS = 30_000;
const QUIET_MS = 200;
/** Also when it has to wait until another node is there. */
const ACKED_MS = 30_000;

let clients = 0;

async function connected(broker: Broker): Promise<Client> {
  const socket = await openSocket('127.0.0.1', broker.port());
  const clientId = `region-client-${clients++}`;
  return connectClient(new Client(socket, 5, clientId), { clientId, version: 5 });
}

/** Resolves when it is acknowledged; '' clears. */
export async function publishAt(broker: Broker, topic: string, payload: string): Promise<void> {
  const client = await connected(broker);
  const packetId = client.sendPublish(topic, payload, { qos: 1, retain: true });
  await client.waitFor('PUBACK', { packetId }, ACKED_MS);
  await client.disconnect();
}

/** What a new subscriber gets, as `topic=payload`. */
export async function retainedAt(broker: Broker, filter: string): Promise<string[]> {
  const client = await connected(broker);
  await client.subscribed(filter);
  const found: string[] = [];
  for (let packet = await client.next(QUIET_MS); packet !== null; ) {
    if (packet.type === 'PUBLISH') found.push(`${packet.topic}=${packet.payload}`);
    packet = await client.next(QUIET_MS);
  }
  await client.disconnect();
  return found.sort();
}

/** Until a new subscriber gets that. */
export function shows(
  broker: Broker,
  filter: string,
  expected: readonly string[],
): Promise<unknown> {
  const holds = async (): Promise<boolean> =>
    `${await retainedAt(broker, filter)}` === `${expected}`;
  return until(`${filter} shows ${expected}`, holds, CONVERGED_MS);
}

/** Flags of a node over this Cassandra. */
export function regionFlags(
  { contactPoints, datacenter }: SharedCassandra,
  options: readonly string[] = [],
): string[] {
  return [
    `cassandra.contactPoints=${contactPoints}`,
    `cassandra.localDatacenter=${datacenter}`,
    `cassandra.reconcileIntervalS=${ROUND_S}`,
    'sysIntervalS=0',
    ...options,
  ].flatMap((option) => ['--set', option]);
}

/** A region of one node. */
export class Region {
  broker!: Broker;
  readonly #flags: readonly string[];
  readonly #data: string;

  constructor(data: string, flags: readonly string[]) {
    this.#data = data;
    this.#flags = flags;
  }

  /** Nodes alone, each with a folder of its own; they end with the test. */
  static several(t: Test, names: readonly string[], flags: readonly string[]): Region[] {
    const folder = mkdtempSync(join(tmpdir(), 'causeway-regions-'));
    const regions = names.map((name) => new Region(join(folder, name), flags));
    t.teardown(async () => {
      for (const { broker } of regions) if (broker !== undefined) await broker.kill();
      rmSync(folder, { recursive: true, force: true });
    });
    return regions;
  }

  async start(hasAdmin = false): Promise<void> {
    this.broker = await Broker.start({ data: this.#data, flags: this.#flags, hasAdmin });
  }

  /** The check of that name in /health/ready. */
  async check(name: string): Promise<unknown> {
    const admin = this.broker.addresses.get('http');
    const answer = await fetch(new URL('/health/ready', admin), {
      headers: { connection: 'close' },
    });
    const { checks } = (await answer.json()) as { checks: { name: string }[] };
    return checks.find((check) => check.name === name);
  }

  publish(topic: string, payload: string): Promise<void> {
    return publishAt(this.broker, topic, payload);
  }

  retained(filter: string): Promise<string[]> {
    return retainedAt(this.broker, filter);
  }

  shows(filter: string, expected: readonly string[]): Promise<unknown> {
    return shows(this.broker, filter, expected);
  }
}
