// One cluster of one run: its Redis and its nodes, started one after the other and stopped together.
// What is asked of all nodes at once (CPU, crashes) is asked here.

import type { Options } from '../macro/options.ts';
import { cpuSeconds } from '../macro/process-usage.ts';
import type { BrokerProcess } from '../peers/broker-process.ts';
import { startBroker } from '../peers/broker-process.ts';
import { RedisProcess } from './redis-process.ts';
import type { Stack } from './stack.ts';

export class Cluster {
  readonly stack: Stack;
  readonly nodes: BrokerProcess[] = [];
  readonly #redis: RedisProcess;
  readonly #options: Options;

  private constructor(stack: Stack, redis: RedisProcess, options: Options) {
    this.stack = stack;
    this.#redis = redis;
    this.#options = options;
  }

  static async start(stack: Stack, nodes: number, options: Options): Promise<Cluster> {
    const redis = await RedisProcess.start(stack.redis, options.loadCore);
    const cluster = new Cluster(stack, redis, options);
    try {
      for (let index = 0; index < nodes; index++) await cluster.addNode();
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  /** Resolves when it answers a CONNECT. */
  async addNode(): Promise<BrokerProcess> {
    const peer = this.stack.node(this.#redis.url, this.nodes.length);
    const { mqttVersion } = this.#options.settings;
    const core = this.#options.brokerCore;
    const node = await startBroker(peer, { core, durable: true, profile: 'traffic', mqttVersion });
    this.nodes.push(node);
    return node;
  }

  /** By SIGKILL, on purpose. */
  async kill(node: number): Promise<void> {
    await this.nodes[node]!.kill();
  }

  /** Of all nodes together, in seconds. */
  brokerCpuS(): number {
    return this.nodes.reduce((sum, { pid }) => sum + cpuSeconds(pid), 0);
  }

  redisCpuS(): number {
    return cpuSeconds(this.#redis.pid);
  }

  get crashes(): string[] {
    return this.nodes.flatMap(({ crash }, index) =>
      crash === undefined ? [] : [`node ${index} ${crash}`],
    );
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop()));
    await this.#redis.stop();
  }
}
