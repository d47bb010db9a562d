/**
 * Regions for one scenario: linked, with clients that do as they are told, and time that passes when the test
 * says so. Random runs are region-run.ts.
 */
import { flow, flowUntil } from './flowing.ts';
import { Kernel } from './kernel.ts';
import { LinkWatch } from './link-watch.ts';
import { holderOf, lifeOf, type RegionLife, readyOf, type SimRegion } from './region-life.ts';
import { RegionSite, type RegionSiteOptions } from './region-site.ts';
import { type ClientSite, SimClient, type SimClientOptions } from './sim-client.ts';
import type { SimDisk } from './sim-level.ts';
import type { SimSite } from './sim-site.ts';

const START_MS = 60_000;

export class RegionScene {
  readonly kernel: Kernel;
  readonly site: RegionSite;
  readonly watch: LinkWatch;

  private constructor(seed: number, options: RegionSiteOptions) {
    this.kernel = new Kernel(seed);
    this.site = new RegionSite(this.kernel, { delayMaxMs: 60, ...options });
    this.watch = new LinkWatch(this.site);
    this.site.onLife = (life) => this.watch.watch(life);
  }

  static async begin(seed: number, options: RegionSiteOptions): Promise<RegionScene> {
    const scene = new RegionScene(seed, options);
    for (const region of scene.site.regions) scene.site.start(region);
    await scene.linked();
    return scene;
  }

  region(name: string): SimRegion {
    return this.site.region(name);
  }

  /** Of its first node. */
  disk(name: string): SimDisk {
    return this.region(name).nodes[0]!.disk;
  }

  /** Of its first node. */
  life(name: string): RegionLife {
    const life = lifeOf(this.region(name));
    if (life === null) throw new Error(`${name} is not there`);
    return life;
  }

  /** Also what is wanted for others. */
  async linked(): Promise<void> {
    for (let looks = 0; looks < 3; looks++) {
      await this.until('linked', () => this.site.isLinked, START_MS);
      await this.pass(500);
    }
  }

  async connected(
    clientId: string,
    name: string,
    options: SimClientOptions = {},
  ): Promise<SimClient<SimRegion>> {
    const client = this.connecting(clientId, name, options);
    await this.until(`${clientId} connected`, () => client.connack !== null);
    return client;
  }

  /** Nobody waits for its CONNACK. */
  connecting(clientId: string, name: string, options: SimClientOptions = {}): SimClient<SimRegion> {
    const client = new SimClient<SimRegion>(
      {
        dialTo: (region, version, events) => {
          const dial = this.site.dialTo(region);
          if (dial === null) throw new Error(`nobody listens in ${region.name}`);
          return dial(version, events);
        },
      },
      clientId,
    );
    client.connect(this.region(name), options);
    return client;
  }

  async again(
    client: SimClient<SimRegion>,
    name: string,
    options: SimClientOptions = {},
  ): Promise<void> {
    client.connect(this.region(name), options);
    await this.until(`${client.clientId} connected`, () => client.connack !== null);
  }

  /** A session that lasts, and links that know what it wants. */
  async subscriber(
    clientId: string,
    name: string,
    filter: string,
    qos: 0 | 1 | 2,
  ): Promise<SimClient<SimRegion>> {
    const client = await this.connected(clientId, name);
    const packetId = client.subscribe(filter, qos);
    await this.until(`${clientId} subscribed`, () => client.count('SUBACK', packetId) > 0);
    await this.linked();
    return client;
  }

  /** A client of that node; what it was sent begins anew with each. */
  async connectedAt(
    clientId: string,
    life: RegionLife,
    options: SimClientOptions = {},
  ): Promise<SimClient<RegionLife>> {
    const dialTo: ClientSite<RegionLife>['dialTo'] = (at, version, events) =>
      this.site.dialAt(at)(version, events);
    const client = new SimClient<RegionLife>({ dialTo }, clientId);
    client.connect(life, options);
    await this.until(`${clientId} connected`, () => client.connack !== null);
    return client;
  }

  /** The node that has the links of the region. */
  holder(name: string): RegionLife {
    const life = holderOf(this.region(name));
    if (life === null) throw new Error(`nobody has the links of ${name}`);
    return life;
  }

  /** Another one. */
  other(name: string): RegionLife {
    return readyOf(this.region(name)).find((life) => life !== this.holder(name))!;
  }

  datacenter(name: string): SimSite {
    return this.region(name).datacenter!;
  }

  /** kill -9 of that node. */
  killNode(life: RegionLife): void {
    const region = this.region(life.region);
    const node = region.nodes.find((one) => one.life === life);
    if (node !== undefined) this.site.killNode(region, node);
  }

  async pass(ms: number): Promise<void> {
    await flow(this.kernel, ms);
  }

  /** Fails the scenario when it does not come true. */
  async until(what: string, isReached: () => boolean, withinMs: number = 60_000): Promise<void> {
    if (!(await this.comesTrue(isReached, withinMs))) this.kernel.fail(`never came: ${what}`);
  }

  async comesTrue(isReached: () => boolean, withinMs: number = 20_000): Promise<boolean> {
    return flowUntil(this.kernel, withinMs, isReached);
  }
}
