/**
 * A Redis Cluster of three primaries (and replicas, where asked for) on loopback, made with commands
 * over our own connection: redis-cli is not needed.
 */
import type { Test } from 'tap';
import { askRedis, type Told } from './redis-ask.ts';
import { RedisServer } from './redis-server.ts';

const SLOTS = 16_384;
const PRIMARIES = 3;
const WAIT_MS_MAX = 30_000;

export class RedisCluster {
  /** The primaries, then replica i of primary i. */
  readonly servers: RedisServer[] = [];

  static async start(t: Test, isReplicated = false): Promise<RedisCluster> {
    const cluster = await RedisCluster.launch(isReplicated);
    t.teardown(() => cluster.remove());
    return cluster;
  }

  static async launch(isReplicated = false): Promise<RedisCluster> {
    const cluster = new RedisCluster();
    try {
      const count = isReplicated ? 2 * PRIMARIES : PRIMARIES;
      for (let index = 0; index < count; index += 1) {
        cluster.servers.push(await cluster.#launchOne());
      }
      await cluster.#form(isReplicated);
      return cluster;
    } catch (error) {
      await cluster.remove();
      throw error;
    }
  }

  get url(): string {
    return `redis-cluster://${this.servers.map((one) => `127.0.0.1:${one.port}`).join(',')}`;
  }

  async idOf(server: RedisServer): Promise<string> {
    return `${await askRedis(server.port, 'CLUSTER', 'MYID')}`;
  }

  /** The primary that has a slot, as the first server that answers sees it. */
  async ownerOf(slot: number): Promise<RedisServer> {
    for (const server of this.servers) {
      const ranges = await askRedis(server.port, 'CLUSTER', 'SLOTS').catch(() => null);
      for (const [first, last, node] of (ranges ?? []) as [number, number, Told[]][]) {
        if (slot < first || slot > last) continue;
        return this.servers.find((one) => one.port === node[1]) as RedisServer;
      }
    }
    throw new Error(`nobody has slot ${slot}`);
  }

  /** Until every server that runs finds the cluster well. */
  async settled(servers: readonly RedisServer[] = this.servers): Promise<void> {
    const endMs = performance.now() + WAIT_MS_MAX;
    for (const { port } of servers) {
      for (;;) {
        const info = `${await askRedis(port, 'CLUSTER', 'INFO')}`;
        const isWhole = info.includes(`cluster_known_nodes:${this.servers.length}`);
        if (isWhole && info.includes('cluster_state:ok')) break;
        if (performance.now() > endMs) throw new Error('the Redis Cluster did not form');
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }

  async remove(): Promise<void> {
    await Promise.all(this.servers.map((one) => one.remove()));
  }

  async #launchOne(): Promise<RedisServer> {
    const mine = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '1000'];
    // A part of the slots may be down without the rest.
    const rest = ['--cluster-require-full-coverage', 'no', '--repl-diskless-sync-delay', '0'];
    for (let attempt = 1; ; attempt += 1) {
      const server = await RedisServer.launch([...mine, ...rest]).catch((error) => {
        // The port of the bus is 10000 higher, which may be taken or too high.
        if (attempt === 20) throw error;
        return null;
      });
      if (server !== null) return server;
    }
  }

  async #form(isReplicated: boolean): Promise<void> {
    const [first] = this.servers as [RedisServer];
    for (const [index, server] of this.servers.entries()) {
      await askRedis(server.port, 'CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
      if (index < PRIMARIES) {
        const from = Math.floor((SLOTS * index) / PRIMARIES);
        const end = Math.floor((SLOTS * (index + 1)) / PRIMARIES);
        const slots = Array.from({ length: end - from }, (_, at) => from + at);
        await askRedis(server.port, 'CLUSTER', 'ADDSLOTS', ...slots);
      }
      if (index > 0) await askRedis(first.port, 'CLUSTER', 'MEET', '127.0.0.1', server.port);
    }
    await this.settled();
    if (!isReplicated) return;
    for (let index = 0; index < PRIMARIES; index += 1) {
      const primary = await this.idOf(this.servers[index] as RedisServer);
      const replica = this.servers[PRIMARIES + index] as RedisServer;
      await askRedis(replica.port, 'CLUSTER', 'REPLICATE', primary);
    }
    const endMs = performance.now() + WAIT_MS_MAX;
    for (const { port } of this.servers.slice(PRIMARIES)) {
      while (!`${await askRedis(port, 'INFO', 'replication')}`.includes('link_status:up')) {
        if (performance.now() > endMs) throw new Error('a replica did not come into step');
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }
}
