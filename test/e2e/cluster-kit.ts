/**
 * A datacenter for tests from outside: a Redis of its own and nodes from source, with a short lease so
 * that deaths do not take long. Knows the command line; clients are those of the conformance tests.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Client, connectClient, openSocket } from '../conformance/client.ts';
import type { ConnectFields, ProtocolVersion } from '../conformance/packets.ts';
import { DURABLE, RedisServer } from '../support/redis-server.ts';
import { Broker, type BrokerOptions } from './broker.ts';

export const LEASE_MS = 1500;

export interface ClusterOptions {
  readonly names: readonly string[];
  /** Instead of a Redis of its own. */
  readonly redisUrl?: string;
  readonly redisArgs?: readonly string[];
  readonly flags?: readonly string[];
  readonly hasAdmin?: boolean;
  readonly env?: NodeJS.ProcessEnv;
}

export type ConnectOptions = Partial<Omit<ConnectFields, 'version' | 'clientId'>> & {
  readonly version?: ProtocolVersion;
};

export class TestCluster {
  readonly #redis: RedisServer | null;
  readonly nodes: Map<string, Broker> = new Map();
  readonly #options: ClusterOptions;
  readonly #folder: string;
  readonly #clients: Set<Client> = new Set();

  private constructor(options: ClusterOptions, redis: RedisServer | null, folder: string) {
    this.#options = options;
    this.#redis = redis;
    this.#folder = folder;
  }

  /** All nodes are ready; everything ends with the test. */
  static async start(t: Test, options: ClusterOptions): Promise<TestCluster> {
    const redis =
      options.redisUrl === undefined
        ? await RedisServer.launch(options.redisArgs ?? DURABLE)
        : null;
    const folder = mkdtempSync(join(tmpdir(), 'causeway-cluster-'));
    const cluster = new TestCluster(options, redis, folder);
    t.teardown(async () => {
      await cluster.end();
      await redis?.remove();
      rmSync(folder, { recursive: true, force: true });
    });
    await Promise.all(options.names.map((name) => cluster.startNode(name)));
    return cluster;
  }

  get redis(): RedisServer {
    if (this.#redis === null) throw new Error('it has no Redis of its own');
    return this.#redis;
  }

  /** A node with the data its name had before. */
  async startNode(name: string, more: BrokerOptions = {}): Promise<Broker> {
    const { flags = [], hasAdmin = false, env } = this.#options;
    const broker = new Broker({
      hasAdmin,
      ...(env === undefined ? {} : { env }),
      ...more,
      data: this.dataOf(name),
      flags: [
        ...['--redis', this.#options.redisUrl ?? this.redis.url, '--node-id', name],
        ...['--set', `cluster.leaseMs=${LEASE_MS}`, '--set', 'sysIntervalS=0'],
        ...flags,
        ...(more.flags ?? []),
      ],
    });
    this.nodes.set(name, broker);
    await broker.ready;
    return broker;
  }

  /** Its folder. */
  dataOf(name: string): string {
    return join(this.#folder, name);
  }

  node(name: string): Broker {
    const broker = this.nodes.get(name);
    if (broker === undefined) throw new Error(`no node ${name}`);
    return broker;
  }

  /** A socket that has sent nothing. */
  async open(name: string, clientId: string, version: ProtocolVersion = 5): Promise<Client> {
    const socket = await openSocket('127.0.0.1', this.node(name).port());
    const client = new Client(socket, version, clientId);
    this.#clients.add(client);
    return client;
  }

  /** Connected, with a session that ends with the connection. */
  async client(name: string, clientId: string, options: ConnectOptions = {}): Promise<Client> {
    const { version = 5, ...fields } = options;
    return connectClient(await this.open(name, clientId, version), {
      ...fields,
      clientId,
      version,
    });
  }

  /** Connected, with a session that outlives the connection. */
  durable(name: string, clientId: string, options: ConnectOptions = {}): Promise<Client> {
    const properties = [['sessionExpiryInterval', 3600] as const, ...(options.properties ?? [])];
    return this.client(name, clientId, { clean: false, ...options, properties });
  }

  /** Again and again until a node takes it; how long that took. */
  async resumed(
    name: string,
    clientId: string,
    options: ConnectOptions = {},
    withinMs: number = 10_000,
  ): Promise<{ readonly client: Client; readonly tookMs: number }> {
    const startMs = performance.now();
    for (;;) {
      try {
        const client = await this.durable(name, clientId, options);
        return { client, tookMs: performance.now() - startMs };
      } catch (error) {
        if (performance.now() - startMs > withinMs) throw error;
        await sleep(20);
      }
    }
  }

  async end(): Promise<void> {
    for (const client of this.#clients) client.destroy();
    await Promise.all([...this.nodes.values()].map((broker) => broker.kill()));
  }

  /** Errors that nodes have logged, for a test that expects none. */
  errors(): string[] {
    return [...this.nodes].flatMap(([name, { errors, noise }]) => [
      ...errors.map((entry) => `${name}: ${JSON.stringify(entry)}`),
      ...(noise === '' ? [] : [`${name}: ${noise}`]),
    ]);
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Until it holds; throws what it was about when it does not in time. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  withinMs: number = 10_000,
): Promise<number> {
  const startMs = performance.now();
  while (!(await holds())) {
    if (performance.now() - startMs > withinMs) throw new Error(`not in time: ${what}`);
    await sleep(20);
  }
  return performance.now() - startMs;
}
