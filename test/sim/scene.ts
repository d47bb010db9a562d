/**
 * A datacenter for one scenario: nodes that are ready, clients that do as they are told, and time that
 * passes when the test says so. Random runs are cluster-run.ts.
 */
import { Kernel } from './kernel.ts';
import { pass, passUntil } from './passing.ts';
import { SimClient } from './sim-client.ts';
import { type SimLife, type SimMachine, SimSite, type SimSiteOptions } from './sim-site.ts';

const START_MS = 60_000;

export class Scene {
  readonly kernel: Kernel;
  readonly site: SimSite;

  private constructor(seed: number, options: SimSiteOptions) {
    this.kernel = new Kernel(seed);
    this.site = new SimSite(this.kernel, options);
  }

  /** All nodes are ready. */
  static async begin(seed: number, options: SimSiteOptions = {}): Promise<Scene> {
    const scene = new Scene(seed, options);
    for (const machine of scene.site.machines) scene.site.start(machine);
    await scene.until('ready', () => scene.isReady, START_MS);
    return scene;
  }

  get isReady(): boolean {
    return this.site.ready.length === this.site.machines.length;
  }

  machine(index: number): SimMachine {
    return this.site.machines[index]!;
  }

  life(index: number): SimLife {
    const { life } = this.machine(index);
    if (life === null) throw new Error(`node ${index + 1} is not there`);
    return life;
  }

  client(clientId: string): SimClient {
    return new SimClient(this.site, clientId);
  }

  /** A client that is connected and has its subscription. */
  async subscriber(
    clientId: string,
    index: number,
    filter: string,
    qos: 0 | 1 | 2,
    options: Parameters<SimClient['connect']>[1] = {},
  ): Promise<SimClient> {
    const client = await this.connected(clientId, index, options);
    const packetId = client.subscribe(filter, qos);
    await this.until(`${clientId} subscribed`, () => client.count('SUBACK', packetId) > 0);
    return client;
  }

  async connected(
    clientId: string,
    index: number,
    options: Parameters<SimClient['connect']>[1] = {},
  ): Promise<SimClient> {
    const client = this.client(clientId);
    client.connect(this.machine(index), options);
    await this.until(`${clientId} connected`, () => client.connack !== null);
    return client;
  }

  async pass(ms: number): Promise<void> {
    await pass(this.kernel, ms);
  }

  /** Fails the scenario when it does not come true. */
  async until(what: string, isReached: () => boolean, withinMs = 20_000): Promise<void> {
    if (!(await passUntil(this.kernel, withinMs, isReached))) {
      this.kernel.fail(`never came: ${what}`);
    }
  }

  async comesTrue(isReached: () => boolean, withinMs = 20_000): Promise<boolean> {
    return passUntil(this.kernel, withinMs, isReached);
  }
}
