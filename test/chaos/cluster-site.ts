/**
 * A datacenter for a chaos run: a Redis and several nodes, all real processes, each of which can be
 * killed, stopped for a while, and started again. Between nodes and Redis, and between nodes, stand
 * proxies of ours that can cut and delay. Without a Redis it is one node alone. Used by
 * run-cluster-chaos.ts, and by region-site.ts for each region.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Broker } from '../e2e/broker.ts';
import { freePort, type RedisServer } from '../support/redis-server.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';

export interface SiteNode {
  readonly name: string;
  /** MQTT port while it is ready; null: nobody may connect. */
  port: number | null;
  broker: Broker | null;
  /** Its way to Redis; to nothing where there is none. */
  readonly toRedis: TcpProxy;
  /** The way of others to its peer listener. */
  readonly toPeers: TcpProxy;
  readonly peerPort: number;
  isStopped: boolean;
  /** Complaints of all its lives. */
  readonly complaints: string[];
  /** What it said in the lives before this one. */
  readonly said: string[];
}

export interface SiteOptions {
  readonly nodes: number;
  readonly folder: string;
  readonly redis: RedisServer | null;
  /** Before the number of a node; `n` unless told. */
  readonly prefix?: string;
  /** Of all nodes. */
  readonly config?: string;
  readonly hasAdmin?: boolean;
  readonly env?: NodeJS.ProcessEnv;
  /** Program and first arguments instead of `node src/cli/main.ts`. */
  readonly program?: readonly string[];
  readonly flags?: readonly string[];
}

/** A run does not end because others keep the machine busy. */
const START_MS_MAX = 120_000;
/** A node says a lot when it is cut off; these words are no complaints in a run that cuts it off. */
const EXPECTED = /redis|peer|link|lease|member|node|cluster|session|store|queue|journal|cassandra/i;

export class ClusterSite {
  readonly nodes: SiteNode[] = [];
  readonly #options: SiteOptions;

  constructor(options: SiteOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { nodes, redis, prefix = 'n' } = this.#options;
    for (let index = 0; index < nodes; index++) {
      const toRedis = await TcpProxy.start(redis?.port ?? 1);
      // Whom it leads to is known when the node has chosen its port.
      const peerPort = await freePort();
      const toPeers = await TcpProxy.start(peerPort);
      this.nodes.push({
        name: `${prefix}${index + 1}`,
        port: null,
        broker: null,
        toRedis,
        toPeers,
        peerPort,
        isStopped: false,
        complaints: [],
        said: [],
      });
    }
    await Promise.all(this.nodes.map((node) => this.startNode(node)));
  }

  async startNode(node: SiteNode): Promise<void> {
    const { folder, program, config, hasAdmin = false, env, flags = [] } = this.#options;
    const data = join(folder, node.name);
    mkdirSync(data, { recursive: true });
    const broker = new Broker({
      data,
      startMsMax: START_MS_MAX,
      hasAdmin,
      flags: ['--set', 'sysIntervalS=0', ...this.#membership(node), ...flags],
      ...(config === undefined ? {} : { config }),
      ...(env === undefined ? {} : { env }),
      ...(program === undefined ? {} : { program }),
    });
    node.broker = broker;
    node.isStopped = false;
    void broker.exited.then(() => this.#gone(node, broker));
    await broker.ready;
    if (node.broker === broker) node.port = broker.port();
  }

  #membership({ name, toRedis, toPeers, peerPort }: SiteNode): string[] {
    if (this.#options.redis === null) return [];
    return [
      ...['--redis', `redis://127.0.0.1:${toRedis.port}`],
      ...['--node-id', name, '--peer', `127.0.0.1:${peerPort}`],
      ...['--set', `cluster.peer.advertise=127.0.0.1:${toPeers.port}`],
    ];
  }

  #gone(node: SiteNode, broker: Broker): void {
    node.said.push(...linesOf(broker), `-- ended: ${JSON.stringify(broker.exit)}`);
    for (const entry of broker.errors) {
      const text = JSON.stringify(entry);
      if (!EXPECTED.test(text)) node.complaints.push(`${node.name}: ${text}`);
    }
    if (broker.noise !== '') node.complaints.push(`${node.name}: ${broker.noise}`);
    if (node.broker !== broker) return;
    node.complaints.push(`${node.name} ended by itself with ${broker.exit?.code}`);
    node.broker = null;
    node.port = null;
  }

  /** Ends it; `SIGTERM` in order. */
  async kill(node: SiteNode, signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    const { broker } = node;
    if (broker === null) return;
    node.port = null;
    node.broker = null;
    if (node.isStopped) broker.signal('SIGCONT');
    broker.signal(signal);
    await broker.exited;
  }

  stop(node: SiteNode): void {
    node.isStopped = true;
    node.broker?.signal('SIGSTOP');
  }

  goOn(node: SiteNode): void {
    node.isStopped = false;
    node.broker?.signal('SIGCONT');
  }

  /** Ports clients may try; a stopped node takes connections and does not answer, as real ones do. */
  get ports(): readonly number[] {
    return this.nodes.flatMap(({ port }) => (port === null ? [] : [port]));
  }

  async end(): Promise<void> {
    for (const node of this.nodes) {
      await this.kill(node);
      await node.toRedis.close();
      await node.toPeers.close();
    }
  }
}

/** All that a node has said, oldest first. */
export function saidBy(node: SiteNode): string[] {
  return node.broker === null ? node.said : [...node.said, ...linesOf(node.broker)];
}

function linesOf({ entries, noise }: Broker): string[] {
  const lines = entries.map((entry) => JSON.stringify(entry));
  return noise === '' ? lines : [...lines, noise];
}
