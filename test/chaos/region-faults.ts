/**
 * What happens to regions in a chaos run: nodes, Redis servers, datacenters of Cassandra and whole regions
 * that die or stand still, a Redis that loses all it has, datacenters of Cassandra that do not see each other
 * (with the links between their regions, or without), and links that are cut, silent, slow or narrow. Chosen by run-region-chaos.ts;
 * each is over when its call is, but for a link that is down for long.
 */
import type { TcpProxy } from '../support/tcp-proxy.ts';
import type { SiteNode } from './cluster-site.ts';
import { emptyRedis } from './emptied-redis.ts';
import type { Prng } from './prng.ts';
import type { RegionLosses } from './region-losses.ts';
import type { RegionSite, SiteRegion } from './region-site.ts';

export const regionFaults = [
  'kill',
  'stop',
  'redis_restart',
  'redis_away',
  'redis_flush',
  'region_kill',
  'region_restart',
  'link_cut',
  'link_silent',
  'link_one_way',
  'link_slow',
  'link_narrow',
  'link_lossy',
  'link_long',
  'region_alone',
  'cassandra_kill',
  'cassandra_stop',
  'cassandra_apart',
  'datacenters_apart',
] as const;
export type RegionFault = (typeof regionFaults)[number];

const NARROW_BYTES_PER_S = 20_000;
/** Until a lost segment is sent again. */
const RESENT_MS = 400;
const LOST_ONE_IN = 10;
const SLOW_MS = 300;

export class RegionFaults {
  readonly #site: RegionSite;
  readonly #prng: Prng;
  readonly #longMs: number;
  /** Links that are down for long: nothing else happens to them. */
  readonly #down: Set<TcpProxy> = new Set();
  readonly #healing: Promise<void>[] = [];

  readonly #haste: number;
  readonly #losses: RegionLosses;

  /** `haste`: how many times shorter than usual they are. */
  constructor(
    site: RegionSite,
    prng: Prng,
    losses: RegionLosses,
    { longMs, haste }: { readonly longMs: number; readonly haste: number },
  ) {
    this.#site = site;
    this.#prng = prng;
    this.#losses = losses;
    this.#longMs = longMs;
    this.#haste = haste;
  }

  isPossible(fault: RegionFault): boolean {
    if (fault.endsWith('_apart')) return this.#site.betweenCassandras.length > 1;
    if (fault.startsWith('cassandra')) return this.#site.cassandras.length > 0;
    if (fault.startsWith('redis')) return this.#withRedis.length > 0;
    return true;
  }

  get #withRedis(): SiteRegion[] {
    return this.#site.regions.filter(({ redis }) => redis !== null);
  }

  /** When no link is down any more. */
  async healed(): Promise<void> {
    await Promise.all(this.#healing);
  }

  /** Whom or what it was done to. */
  async now(fault: RegionFault): Promise<string> {
    const region = this.#prng.pick(this.#site.regions);
    const node = this.#prng.pick(region.site.nodes);
    switch (fault) {
      case 'kill':
        await region.site.kill(node);
        await this.#pause(0, 5000);
        await region.site.startNode(node);
        return node.name;
      case 'stop':
        region.site.stop(node);
        await this.#pause(1000, 10_000);
        region.site.goOn(node);
        return node.name;
      case 'redis_restart':
      case 'redis_away':
      case 'redis_flush':
        return this.#redis(fault);
      case 'region_kill':
        await Promise.all([
          ...region.site.nodes.map((one) => region.site.kill(one)),
          region.redis?.stop('SIGKILL'),
        ]);
        await this.#pause(0, 8000);
        await region.redis?.resume();
        await Promise.all(region.site.nodes.map((one) => region.site.startNode(one)));
        return region.name;
      case 'region_restart':
        for (const one of region.site.nodes) await this.#restart(region, one);
        return region.name;
      case 'region_alone':
        return this.#alone(region);
      case 'cassandra_kill':
      case 'cassandra_stop':
        return this.#cassandra(fault);
      case 'cassandra_apart':
      case 'datacenters_apart':
        return this.#apart(fault);
      default:
        return this.#link(fault);
    }
  }

  async #restart({ site }: SiteRegion, node: SiteNode): Promise<void> {
    await site.kill(node, 'SIGTERM');
    await site.startNode(node);
  }

  async #redis(fault: 'redis_restart' | 'redis_away' | 'redis_flush'): Promise<string> {
    const region = this.#prng.pick(this.#withRedis);
    if (fault === 'redis_flush') {
      const lost = await emptyRedis(region.redis!.url);
      this.#losses.emptied(region.name, lost);
      return `of ${region.name}, ${lost.length} messages in queues`;
    }
    if (fault === 'redis_restart') {
      await region.redis!.stop('SIGKILL');
      await this.#pause(0, 3000);
      await region.redis!.resume();
      return `of ${region.name}`;
    }
    const node = this.#prng.pick(region.site.nodes);
    await this.#cut([node.toRedis], this.#ms(200, 8000));
    return `for ${node.name}`;
  }

  async #cassandra(fault: 'cassandra_kill' | 'cassandra_stop'): Promise<string> {
    const cassandra = this.#prng.pick(this.#site.cassandras);
    if (fault === 'cassandra_kill') {
      await cassandra.stop('SIGKILL');
      await this.#pause(1000, 8000);
      await cassandra.resume();
    } else {
      cassandra.signal('SIGSTOP');
      await this.#pause(1000, 15_000);
      cassandra.signal('SIGCONT');
    }
    return cassandra.datacenter;
  }

  /** They hear nothing of each other for long enough to notice; each goes on for its own regions. */
  async #apart(fault: 'cassandra_apart' | 'datacenters_apart'): Promise<string> {
    const ways = [...this.#site.betweenCassandras];
    const isAll = fault === 'datacenters_apart';
    const links = isAll ? this.#site.betweenDatacenters() : [];
    ways.push(...links.filter((proxy) => !this.#down.has(proxy)));
    const forMs = this.#ms(3000, 40_000);
    await this.#cut(ways, forMs);
    return `for ${forMs} ms`;
  }

  /** From all other regions, in both directions. */
  async #alone({ name }: SiteRegion): Promise<string> {
    const proxies = this.#site.regions
      .flatMap((other) => this.#site.between(name, other.name))
      .filter((proxy) => !this.#down.has(proxy));
    await this.#cut([...new Set(proxies)], this.#ms(1000, 12_000));
    return name;
  }

  async #link(fault: RegionFault): Promise<string> {
    const free = [...this.#site.links].filter(([, proxy]) => !this.#down.has(proxy));
    if (free.length === 0) return 'nothing, as all links are down';
    const [name, proxy] = this.#prng.pick(free);
    const [one, other] = name.split('<') as [string, string];
    const both = this.#site.between(one, other).filter((each) => !this.#down.has(each));
    switch (fault) {
      case 'link_cut':
        await this.#reset(both, this.#ms(100, 8000));
        return `${one} and ${other}`;
      case 'link_silent':
        await this.#silence(both, this.#ms(1000, 20_000));
        return `${one} and ${other}`;
      case 'link_one_way': {
        const direction = this.#prng.once(2) ? 'toServer' : 'toClient';
        proxy.pause(direction);
        await this.#pause(1000, 20_000);
        proxy.resume();
        return `${name}, ${direction}`;
      }
      case 'link_long': {
        const forMs = this.#prng.between(Math.floor(this.#longMs / 2), this.#longMs);
        for (const each of both) this.#down.add(each);
        const healing = this.#cut(both, forMs).then(() => {
          for (const each of both) this.#down.delete(each);
        });
        this.#healing.push(healing);
        return `${one} and ${other} for ${forMs} ms`;
      }
      default:
        await this.#worse(fault, proxy);
        return name;
    }
  }

  /** It carries everything, but not well. */
  async #worse(fault: RegionFault, proxy: TcpProxy): Promise<void> {
    const before = proxy.delay(
      fault === 'link_slow'
        ? SLOW_MS
        : fault === 'link_lossy'
          ? () => 100 + (Math.random() * LOST_ONE_IN < 1 ? RESENT_MS : 0)
          : null,
    );
    if (fault === 'link_narrow') proxy.throttle(NARROW_BYTES_PER_S);
    await this.#pause(2000, 10_000);
    proxy.throttle(0);
    proxy.delay(before);
  }

  /** Reset and refused, or, as often, silent. */
  #cut(proxies: readonly TcpProxy[], forMs: number): Promise<void> {
    return this.#prng.once(2) ? this.#reset(proxies, forMs) : this.#silence(proxies, forMs);
  }

  async #reset(proxies: readonly TcpProxy[], forMs: number): Promise<void> {
    for (const proxy of proxies) {
      proxy.refuse(true);
      proxy.cut();
    }
    await pause(forMs);
    for (const proxy of proxies) proxy.refuse(false);
  }

  async #silence(proxies: readonly TcpProxy[], forMs: number): Promise<void> {
    for (const proxy of proxies) proxy.pause();
    await pause(forMs);
    for (const proxy of proxies) proxy.resume();
  }

  #ms(low: number, high: number): number {
    return Math.round(this.#prng.between(low, high) / this.#haste);
  }

  #pause(low: number, high: number): Promise<void> {
    return pause(this.#ms(low, high));
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
