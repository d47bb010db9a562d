/**
 * Three regions on one machine, as a story: devices that move between them, control rooms that hear of all
 * of them, and what happens to both while nodes, links, Redis servers, a region and Cassandra are taken
 * away. Started by run.ts; real processes throughout, those of the chaos runs.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RegionSite, type SiteRegion } from '../chaos/region-site.ts';
import { retainedOf } from '../chaos/retained-digest.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { ControlRoom } from './control-room.ts';
import { Device } from './device.ts';
import { Orders } from './orders.ts';

export interface DemoOptions {
  readonly nodesPerRegion: number;
  /** Datacenters of Cassandra; none: retained messages pass by links alone, and sessions do not roam. */
  readonly datacenters: readonly string[];
  readonly devices: number;
  /** How many times faster than usual things happen. */
  readonly pace: number;
  readonly say: (line: string) => void;
}

const REGIONS: readonly string[] = ['eu', 'us', 'ap'];
const FIRST = REGIONS[0]!;
const STATUS_MS = 5000;
const EVERY_MS = 400;
const ORDER_EVERY_MS = 100;
/** One way; a round trip of a link takes twice that. */
const FAR_MS = 60;
const LINKS_MS_MAX = 90_000;
const SETTLED_MS_MAX = 120_000;

export class Demo {
  readonly #options: DemoOptions;
  readonly #folder: string = mkdtempSync(join(tmpdir(), 'causeway-demo-'));
  readonly #site: RegionSite;
  /** Where devices reach a region: leads to whichever of its nodes is there, as a load balancer does. */
  readonly #doors: Map<string, TcpProxy> = new Map();
  readonly #rooms: ControlRoom[] = [];
  readonly #devices: Device[] = [];
  /** Null: sessions do not roam. */
  #orders: Orders | null = null;
  #forgotten = 0;
  readonly #acked: Set<string> = new Set();
  readonly #beganMs: number = performance.now();
  #outages: number[] = [];
  #notices = 0;
  #status: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(options: DemoOptions) {
    this.#options = options;
    const { nodesPerRegion: nodes, datacenters } = options;
    const section = this.#roams ? { roaming: true } : {};
    this.#site = new RegionSite({
      regions: REGIONS.map((name) => ({ name, nodes, section })),
      // Sessions roam among regions of which each two are linked.
      topology: this.#roams ? 'mesh' : 'ring',
      folder: this.#folder,
      datacenters,
    });
    process.once('exit', () => rmSync(this.#folder, { recursive: true, force: true }));
  }

  get #roams(): boolean {
    return this.#options.datacenters.length > 0;
  }

  /** True: everything that was acknowledged has come to every control room, and each order to its device. */
  async run(): Promise<boolean> {
    await this.#start();
    const ends = this.#devices.map((device) => device.run());
    if (this.#roams) await this.#giveOrders();
    this.#status = setInterval(() => this.#sayStatus(), STATUS_MS / this.#options.pace);
    await this.#wait(8000);
    await this.#story();
    this.#orders?.stop();
    if (this.#orders !== null) {
      this.#say('Everything is back. No more orders; those on their way arrive.');
      await this.#until(() => this.#orders!.isDone);
    }
    this.#say('Devices stop; what is on its way arrives.');
    for (const device of this.#devices) device.stop();
    await Promise.race([Promise.all(ends), pause(SETTLED_MS_MAX)]);
    return await this.#settle();
  }

  /** No process is left; may be called at any moment, and more than once. */
  async end(): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    clearInterval(this.#status);
    for (const device of this.#devices) device.destroy();
    for (const room of this.#rooms) room.end();
    this.#orders?.end();
    for (const door of this.#doors.values()) await door.close();
    await this.#site.end();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #say(text: string): void {
    const s = Math.round((performance.now() - this.#beganMs) / 1000);
    this.#options.say(`${`${s}`.padStart(4)} s  ${text}`);
  }

  #wait(ms: number): Promise<void> {
    return pause(ms / this.#options.pace);
  }

  async #start(): Promise<void> {
    const { nodesPerRegion, datacenters, devices } = this.#options;
    const nodes = nodesPerRegion === 1 ? 'one node' : `${nodesPerRegion} nodes and a Redis`;
    this.#say(
      `Three regions, ${REGIONS.join(', ')}, of ${nodes} each; links in a ring${this.#roams ? ', both ways' : ''}.`,
    );
    if (datacenters.length > 0) {
      this.#say(`Cassandra with ${datacenters.length} datacenters: this takes a while.`);
    }
    await this.#site.start();
    for (const proxy of this.#site.links.values()) proxy.delay(FAR_MS);
    for (const { name, site } of this.#site.regions) {
      const door = await TcpProxy.start(1);
      let turn = 0;
      door.retarget(() => site.ports[turn++ % site.ports.length] ?? 1);
      this.#doors.set(name, door);
      this.#say(`${name} is at mqtt://127.0.0.1:${door.port}`);
    }
    for (const [name, door] of this.#doors) {
      const room = new ControlRoom(name, door.port);
      this.#rooms.push(room);
      await room.start();
    }
    await this.#linksAsked();
    this.#say('A control room in each region hears of all devices, wherever they are:');
    this.#say(`  mosquitto_sub -p ${this.#doors.get(FIRST)!.port} -t 'fleet/#' -v`);
    const doors = new Map([...this.#doors].map(([name, { port }]) => [name, port]));
    for (let index = 0; index < devices; index++) {
      const device = new Device(
        {
          name: `device-${index + 1}`,
          doors,
          everyMs: EVERY_MS,
          roams: this.#roams,
          events: {
            acked: (name, number) => this.#acked.add(`${name}:${number}`),
            back: (outageMs) => this.#outages.push(outageMs),
            ordered: (name, payload) => this.#orders?.came(name, payload),
            forgotten: (name, region) => {
              this.#forgotten++;
              this.#say(`!!! ${name} was told in ${region} that it has no session`);
            },
          },
        },
        REGIONS[index % REGIONS.length]!,
      );
      this.#devices.push(device);
    }
    this.#say(`${devices} devices say where they are, and move from region to region.`);
  }

  /** Nothing is owed to who has not subscribed yet. */
  async #giveOrders(): Promise<void> {
    await this.#until(() => this.#devices.every(({ isSubscribed }) => isSubscribed));
    const names = this.#devices.map(({ name }) => name);
    this.#orders = new Orders(this.#doors.get(FIRST)!.port, names);
    await this.#orders.start(ORDER_EVERY_MS / this.#options.pace);
    this.#say(`Their sessions go with them: headquarters in ${FIRST} give orders to each.`);
  }

  /** What control rooms want has to be known at the other ends before anything is owed to them. */
  async #linksAsked(): Promise<void> {
    const deadline = performance.now() + LINKS_MS_MAX;
    for (const link of this.#site.links.keys()) {
      while (!(await this.#site.hasSubscribed(link, 2))) {
        if (performance.now() > deadline) throw new Error(`the link ${link} has not subscribed`);
        await pause(200);
      }
    }
  }

  async #story(): Promise<void> {
    const [eu, us, ap] = REGIONS.map((name) => this.#site.region(name)) as [
      SiteRegion,
      SiteRegion,
      SiteRegion,
    ];
    const node = eu.site.nodes[0]!;
    await this.#scene(`kill -9 of the node ${node.name}`, 5000, async () => {
      await eu.site.kill(node);
      return () => eu.site.startNode(node);
    });

    const ring = this.#site.between('eu', 'us');
    await this.#scene('the link between eu and us is cut', 10_000, async () => {
      for (const proxy of ring) {
        proxy.refuse(true);
        proxy.cut();
      }
      return async () => {
        for (const proxy of ring) proxy.refuse(false);
      };
    });

    const { redis } = us;
    if (redis !== null) {
      await this.#scene('kill -9 of the Redis of us', 3000, async () => {
        await redis.stop('SIGKILL');
        return () => redis.resume();
      });
    }

    const cassandra = this.#site.cassandras[0];
    if (cassandra !== undefined) {
      await this.#scene(`Cassandra of ${cassandra.datacenter} stands still`, 6000, async () => {
        cassandra.signal('SIGSTOP');
        return async () => cassandra.signal('SIGCONT');
      });
    }

    await this.#scene('kill -9 of everything in ap', 8000, async () => {
      await Promise.all([
        ...ap.site.nodes.map((one) => ap.site.kill(one)),
        ap.redis?.stop('SIGKILL'),
      ]);
      return async () => {
        await ap.redis?.resume();
        await Promise.all(ap.site.nodes.map((one) => ap.site.startNode(one)));
      };
    });
  }

  /** `strike` answers what makes it good again. */
  async #scene(
    what: string,
    forMs: number,
    strike: () => Promise<() => Promise<void>>,
  ): Promise<void> {
    if (this.#isOver) return;
    this.#outages = [];
    this.#say(`--- ${what}`);
    const heal = await strike();
    await this.#wait(forMs);
    if (this.#isOver) return;
    this.#say('+++ it is back');
    await heal();
    await this.#wait(6000);
    const away = this.#devices.filter(({ isAway }) => isAway).length;
    const longest = Math.round(Math.max(0, ...this.#outages));
    const felt =
      this.#outages.length === 0
        ? 'no device noticed'
        : `${this.#outages.length} connections were lost, each was back within ${longest} ms`;
    this.#say(`    ${felt}${away === 0 ? '' : `; ${away} are still away`}`);
  }

  #sayStatus(): void {
    // Something that every region has to show, with or without a control room that listens.
    this.#rooms[0]?.post(`notice ${++this.#notices}`);
    const regions = this.#site.regions.map(({ name, site }) => {
      const here = this.#devices.filter(({ region, isAway }) => region === name && !isAway);
      return `${name} ${site.ports.length}/${site.nodes.length} nodes ${here.length} devices`;
    });
    const heard = this.#rooms.map(({ region, heard }) => `${region} ${heard}`);
    const moves = this.#devices.reduce((sum, device) => sum + device.moves, 0);
    const orders = this.#orders;
    const given = orders === null ? '' : ` | ${orders.owed} orders, ${orders.missing} on their way`;
    this.#say(
      `${regions.join(', ')} | ${this.#acked.size} acknowledged, heard in ${heard.join(', ')} | ${moves} moves${given}`,
    );
  }

  async #settle(): Promise<boolean> {
    clearInterval(this.#status);
    const beganMs = performance.now();
    const isHeard = (): boolean =>
      this.#rooms.every((room) => [...this.#acked].every((text) => room.has(text)));
    let isSame = false;
    while (performance.now() - beganMs < SETTLED_MS_MAX && !this.#isOver) {
      isSame = await this.#isRetainedTheSame();
      if (isSame && isHeard()) break;
      await pause(500);
    }
    const tookS = ((performance.now() - beganMs) / 1000).toFixed(1);
    const isWhole = isHeard();
    this.#say(`${this.#acked.size} messages were acknowledged. After ${tookS} s:`);
    for (const room of this.#rooms) {
      const missing = [...this.#acked].filter((text) => !room.has(text)).length;
      this.#say(`  the control room of ${room.region} misses ${missing}, ${room.again} came again`);
    }
    this.#say(
      isSame ? '  every node shows the same notice' : '  NODES DO NOT SHOW THE SAME NOTICE',
    );
    return this.#areOrdersThere() && isWhole && isSame;
  }

  #areOrdersThere(): boolean {
    if (this.#orders === null) return true;
    const { owed, missing, again } = this.#orders;
    this.#say(`  ${owed} orders: devices miss ${missing}, ${again} came again`);
    if (this.#forgotten > 0) this.#say(`  ${this.#forgotten} SESSIONS WERE FORGOTTEN`);
    return missing === 0 && this.#forgotten === 0;
  }

  async #until(isSo: () => boolean): Promise<void> {
    const beganMs = performance.now();
    while (!isSo() && performance.now() - beganMs < SETTLED_MS_MAX && !this.#isOver) {
      await pause(200);
    }
  }

  async #isRetainedTheSame(): Promise<boolean> {
    const digests = new Set<string>();
    for (const { site } of this.#site.regions) {
      for (const { port } of site.nodes) {
        const found = port === null ? null : await retainedOf(port, ['notice/#']);
        digests.add(found?.digest ?? `nothing of ${port}`);
      }
    }
    return digests.size === 1;
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
