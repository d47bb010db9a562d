/**
 * Regions for a chaos run: each a datacenter of real nodes with a Redis, or a node alone; between them
 * links, each through a proxy of its own that can delay, cut and throttle; and, when asked for, a real
 * Cassandra of two datacenters. Used by run-region-chaos.ts.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  CassandraNode,
  CQL_PORT,
  freeLoopback,
  STORAGE_PORT,
} from '../../scripts/cassandra-node.ts';
import { runCli } from '../cli/run.ts';
import { ADMIN_TOKEN } from '../e2e/access-kit.ts';
import type { SharedCassandra } from '../support/cassandra-server.ts';
import { DURABLE, RedisServer } from '../support/redis-server.ts';
import { fetcherOf, type LinkName, sourceOf, writeRegion } from '../support/region-config.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { ClusterSite, type SiteNode } from './cluster-site.ts';

export type Topology = 'mesh' | 'ring' | 'star';

export interface RegionPlan {
  readonly name: string;
  readonly nodes: number;
  /** Its clocks are ahead of this machine's by so much. */
  readonly clockMs?: number;
  /** More of its section `regions`. */
  readonly section?: object;
}

export interface RegionSiteOptions {
  readonly regions: readonly RegionPlan[];
  readonly topology: Topology;
  readonly folder: string;
  /** Datacenters of a Cassandra of its own; the regions take them in turn. */
  readonly datacenters?: readonly string[];
  /** Instead: one that somebody else has started. */
  readonly cassandra?: SharedCassandra;
  readonly keyspace?: string;
  readonly flags?: readonly string[];
}

export interface SiteRegion {
  readonly name: string;
  readonly site: ClusterSite;
  readonly redis: RedisServer | null;
}

/** Compiled sources, so that the next node starts in half the time. */
const compileCache = fileURLToPath(new URL('../../node_modules/.cache/compile', import.meta.url));
const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const LEASE_MS = 1500;
const ROUND_S = 2;
const INIT_TRIES = 10;
/** Every node a datacenter loses is missed by the other one: a keyspace has one copy in each. */
const COPIES = 1;

export class RegionSite {
  readonly regions: SiteRegion[] = [];
  readonly links: Map<LinkName, TcpProxy> = new Map();
  readonly cassandras: CassandraNode[] = [];
  /** The way to each datacenter of Cassandra from the others. */
  readonly betweenCassandras: TcpProxy[] = [];
  readonly #options: RegionSiteOptions;

  constructor(options: RegionSiteOptions) {
    this.#options = options;
  }

  get hasCassandra(): boolean {
    const { datacenters = [], cassandra } = this.#options;
    return datacenters.length > 0 || cassandra !== undefined;
  }

  region(name: string): SiteRegion {
    return this.regions.find((one) => one.name === name)!;
  }

  async start(): Promise<void> {
    const { regions, topology, folder, flags = [] } = this.#options;
    await this.#startCassandra();
    const links = linksOf(
      regions.map(({ name }) => name),
      topology,
    );
    for (const link of links) this.links.set(link, await TcpProxy.start(1));
    for (const [index, { name, nodes, clockMs = 0, section = {} }] of regions.entries()) {
      const redis = nodes > 1 ? await RedisServer.launch(DURABLE) : null;
      const home = join(folder, name);
      const portOf = (link: LinkName): number => this.links.get(link)!.port;
      const site = new ClusterSite({
        nodes,
        redis,
        folder: home,
        prefix: `${name}-`,
        config: await writeRegion(home, {
          ...{ name, links, portOf, regions: section },
          config: this.#more(index),
        }),
        hasAdmin: true,
        env: { NODE_COMPILE_CACHE: compileCache, CAUSEWAY_ADMIN_TOKEN: ADMIN_TOKEN },
        program: [process.execPath, ...skewed(clockMs), main],
        flags: [...flags, ...(nodes > 1 ? ['--set', `cluster.leaseMs=${LEASE_MS}`] : [])],
      });
      this.regions.push({ name, site, redis });
    }
    for (const [link, proxy] of this.links) {
      // As a load balancer would: to one that is there.
      let turn = 0;
      proxy.retarget(() => {
        const { ports } = this.region(sourceOf(link)).site;
        return ports[turn++ % ports.length] ?? 1;
      });
    }
    await Promise.all(this.regions.map(({ site }) => site.start()));
  }

  async #startCassandra(): Promise<void> {
    const { datacenters = [], cassandra, keyspace = 'causeway' } = this.#options;
    const [first, ...others] = datacenters;
    if (first !== undefined) {
      const reachedAt = (ip: string): Promise<string> => this.#wayTo(ip);
      const seed = await CassandraNode.launch({ datacenter: first, reachedAt });
      this.cassandras.push(seed);
      for (const datacenter of others) {
        this.cassandras.push(await CassandraNode.launch({ datacenter, seed, reachedAt }));
      }
    }
    if (!this.hasCassandra) return;
    const points = cassandra?.contactPoints ?? this.cassandras.map(({ ip }) => `${ip}:${CQL_PORT}`);
    const names = cassandra === undefined ? datacenters : [cassandra.datacenter];
    const args = [
      ...['cassandra', 'init', '--contact-points', points.join(), '--keyspace', keyspace],
      ...['--local-datacenter', names[0]!],
      ...['--replication', names.map((name) => `${name}=${COPIES}`).join()],
      ...Object.entries(this.#login()).flatMap(([key, value]) => [
        '--set',
        `cassandra.${key}=${value}`,
      ]),
    ];
    for (let attempt = 1; ; attempt++) {
      const { code, stderr } = await runCli(args);
      if (code === 0) return;
      // Datacenters hear of each other a moment after they answer.
      if (attempt === INIT_TRIES) throw new Error(`cassandra init: ${stderr}`);
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }

  /** Through a proxy, which has an address of its own, as nodes know each other by address. */
  async #wayTo(ip: string): Promise<string> {
    const host = await freeLoopback();
    const proxy = await TcpProxy.start(STORAGE_PORT, ip, { host, port: STORAGE_PORT });
    this.betweenCassandras.push(proxy);
    return host;
  }

  #login(): Readonly<Record<string, string>> {
    const { cassandra, folder } = this.#options;
    if (cassandra === undefined || cassandra.username === null) return {};
    const passwordFile = join(folder, 'cassandra-password');
    writeFileSync(passwordFile, cassandra.password ?? '', { mode: 0o600 });
    return { username: cassandra.username, passwordFile };
  }

  #more(index: number): object {
    const { cassandra, keyspace = 'causeway' } = this.#options;
    if (!this.hasCassandra) return {};
    const own = this.cassandras[index % Math.max(1, this.cassandras.length)];
    return {
      cassandra: {
        contactPoints: own === undefined ? cassandra!.contactPoints : [`${own.ip}:${CQL_PORT}`],
        localDatacenter: own === undefined ? cassandra!.datacenter : own.datacenter,
        keyspace,
        reconcileIntervalS: ROUND_S,
        degraded: 'local',
        ...this.#login(),
      },
    };
  }

  /** The other end knows that many filters of whoever fetches. */
  async hasSubscribed(link: LinkName, filters: number): Promise<boolean> {
    const name = `causeway_fetcher_subscriptions{region="${fetcherOf(link)}"}`;
    for (const { broker } of this.region(sourceOf(link)).site.nodes) {
      const count = (await broker?.metric(name).catch(() => 0)) ?? 0;
      if (count >= filters) return true;
    }
    return false;
  }

  /** The node that has the links of a region; null: none that runs has them. */
  async holder(name: string): Promise<SiteNode | null> {
    const { nodes } = this.region(name).site;
    if (nodes.length === 1) return nodes[0]!;
    for (const node of nodes) if ((await sample(node, 'causeway_links_held')) === 1) return node;
    return null;
  }

  async areLinksUp(): Promise<boolean> {
    for (const link of this.links.keys()) {
      const { nodes } = this.region(fetcherOf(link)).site;
      const name = `causeway_link_up{region="${sourceOf(link)}"}`;
      const ups = await Promise.all(nodes.map((node) => sample(node, name)));
      if (!ups.includes(1)) return false;
    }
    return true;
  }

  /** Of all lives of all nodes, those that are over. */
  complaints(): string[] {
    return this.regions.flatMap(({ site }) => site.nodes.flatMap(({ complaints }) => complaints));
  }

  /** Both ways between two regions, as far as there are such. */
  between(one: string, other: string): TcpProxy[] {
    return [...this.links]
      .filter(([link]) => {
        const ends = [fetcherOf(link), sourceOf(link)];
        return ends.includes(one) && ends.includes(other);
      })
      .map(([, proxy]) => proxy);
  }

  /** Links between regions of which each is over another datacenter of Cassandra. */
  betweenDatacenters(): TcpProxy[] {
    const names = this.regions.map(({ name }) => name);
    const datacenter = (name: string): number =>
      names.indexOf(name) % Math.max(1, this.cassandras.length);
    return [...this.links]
      .filter(([link]) => datacenter(fetcherOf(link)) !== datacenter(sourceOf(link)))
      .map(([, proxy]) => proxy);
  }

  async end(): Promise<void> {
    for (const { site, redis } of this.regions) {
      await site.end();
      await redis?.remove();
    }
    for (const proxy of this.links.values()) await proxy.close();
    for (const node of this.cassandras) await node.remove();
    for (const proxy of this.betweenCassandras) await proxy.close();
  }
}

/** 0 of a node that does not answer. */
async function sample({ broker, isStopped }: SiteNode, name: string): Promise<number> {
  if (broker === null || isStopped) return 0;
  return broker.metric(name).catch(() => 0);
}

export function linksOf(names: readonly string[], topology: Topology): LinkName[] {
  const [hub] = names;
  const links: LinkName[] = [];
  for (const [index, name] of names.entries()) {
    for (const other of names) {
      if (other === name) continue;
      const isWanted =
        topology === 'mesh' ||
        (topology === 'star' && (name === hub || other === hub)) ||
        (topology === 'ring' && other === names[(index + 1) % names.length]);
      if (isWanted) links.push(`${name}<${other}`);
    }
  }
  return links;
}

/** Arguments of Node under which the wall clock is ahead; the monotonic one is what it is. */
function skewed(clockMs: number): string[] {
  if (clockMs === 0) return [];
  const text = `const now = Date.now; Date.now = () => now() + ${clockMs};`;
  return ['--import', `data:text/javascript,${encodeURIComponent(text)}`];
}
