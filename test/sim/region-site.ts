/**
 * Regions in virtual time: in each a node of the real core over the real embedded store, with the real links
 * of src/geo to the others, over simulated disks and connections. Made by a run (region-run.ts), which decides
 * what happens; everything that happens follows from the kernel's seed.
 */
import type { Transport, TransportHandler } from '../../src/client/transport.ts';
import { Broker } from '../../src/core/broker.ts';
import { makeLimits } from '../../src/core/limits.ts';
import { linkIdOf } from '../../src/core/link-names.ts';
import type { ConnectDecision, ConnectRequest, Log } from '../../src/core/ports.ts';
import { RegionLinks } from '../../src/core/region-links.ts';
import { LinkHolder } from '../../src/geo/link-holder.ts';
import { interestFor } from '../../src/geo/link-interest.ts';
import { LocalNotes } from '../../src/geo/link-notes.ts';
import type { LinkSettings } from '../../src/geo/region-link.ts';
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts';
import type { Dial, LineEvents } from '../chaos/line.ts';
import { accepted, FakeGate } from '../core/fake-gate.ts';
import type { Kernel } from './kernel.ts';
import { losesPower, type RegionEnd, RegionNetwork } from './region-network.ts';
import { RegionRetained } from './region-retained.ts';
import { RegionTables } from './region-tables.ts';
import { SimDisk, SimLevel } from './sim-level.ts';
import { SimLine } from './sim-line.ts';
import type { SimNode } from './sim-node.ts';

/** Clocks of two regions are so far apart at most. */
export const SKEW_MS = 5000;
const UNSUBSCRIBE_AFTER_MS = 3000;
const listenerInfo = { name: 'link', transport: 'tls', limits: {} } as const;

/** Each pair that is linked fetches from each other. */
export type Topology = 'pair' | 'star' | 'ring' | 'mesh';

/** One life of a region's node. */
export interface RegionLife extends RegionEnd {
  readonly broker: Broker;
  readonly links: RegionLinks;
  readonly holder: LinkHolder;
  readonly store: EmbeddedStore;
  readonly notes: LocalNotes;
  /** Told when the links have begun, with the window they will have. */
  onBegun: (() => void) | null;
  isReady: boolean;
}

export interface SimRegion {
  readonly name: string;
  readonly disk: SimDisk;
  /** When the last whole round of its retained messages began. */
  readonly roundMemory: { beganMs: number };
  readonly wallOffsetMs: number;
  /** Regions it fetches from. */
  readonly links: readonly string[];
  life: RegionLife | null;
  lives: number;
}

export interface RegionSiteOptions {
  readonly regions?: number;
  readonly topology?: Topology;
  /** Of one way between two regions, at most. */
  readonly delayMaxMs?: number;
  readonly budgetAgeS?: number;
  readonly budgetBytes?: number;
  /** Retained messages have a Cassandra, and so versions. */
  readonly hasCassandra?: boolean;
  /** Planted: what a test replaces to see that it is found. */
  readonly sabotage?: (life: RegionLife) => void;
}

const NAMES = ['eu', 'us', 'ap', 'af'] as const;
const DAY_S = 86_400;

export class RegionSite {
  readonly kernel: Kernel;
  readonly network: RegionNetwork;
  readonly regions: SimRegion[];
  /** Null: retained messages have no versions. */
  readonly tables: RegionTables | null;
  /** What the nodes complained about. */
  readonly complaints: string[] = [];
  /** Told of each life before it starts, and of what brokers send over links. */
  onLife: ((life: RegionLife) => void) | null = null;
  onWrite: ((life: RegionLife, to: string, connection: number, bytes: Buffer) => void) | null =
    null;
  readonly #options: RegionSiteOptions;

  constructor(kernel: Kernel, options: RegionSiteOptions = {}) {
    const { regions = 2, topology = 'pair', delayMaxMs = 300 } = options;
    this.kernel = kernel;
    this.#options = options;
    this.network = new RegionNetwork(kernel, delayMaxMs);
    const names = NAMES.slice(0, regions);
    const { hasCassandra = false } = options;
    this.tables = hasCassandra ? new RegionTables(kernel, this.network, names) : null;
    this.regions = names.map((name, index) => ({
      name,
      disk: new SimDisk(),
      roundMemory: { beganMs: 0 },
      wallOffsetMs: (kernel.chance.next() - 0.5) * SKEW_MS,
      links: linkedWith(topology, index, regions).map((other) => names[other]!),
      life: null,
      lives: 0,
    }));
  }

  region(name: string): SimRegion {
    return this.regions.find((region) => region.name === name)!;
  }

  /** Starts the node of the region; it is ready later. */
  start(region: SimRegion): void {
    const { kernel, network } = this;
    region.lives++;
    const node = kernel.node(`${region.name}.${region.lives}`, {
      rate: 1 + (kernel.chance.next() - 0.5) / 50,
      wallOffsetMs: region.wallOffsetMs,
    });
    const log = this.#log(node);
    const found: Map<string, Buffer> = new Map();
    const store = new EmbeddedStore({
      directory: region.name,
      marksRetained: this.tables !== null,
      database: SimLevel.of(kernel, node, region.disk),
      scheduler: node,
      log,
      onNote: (key, value) => void found.set(key, value),
    });
    const retained =
      this.tables === null
        ? null
        : new RegionRetained({
            mirror: store,
            table: this.tables.of(region.name, node),
            node,
            random: node.random,
            log,
            memory: region.roundMemory,
          });
    const links = new RegionLinks(region.name, this.#incarnation());
    links.revise(region.links.map((name) => this.#terms(name)));
    const broker = new Broker({
      limits: makeLimits({}),
      queueOverflow: 'drop_oldest',
      sharedStrategy: 'round_robin',
      revokedSubscription: 'disconnect',
      clock: node.clock,
      random: node.random,
      scheduler: node,
      log,
      store: retained?.store ?? store,
      gate: new RegionGate(),
      observer: null,
      bus: null,
      links,
    });
    const notes = new LocalNotes(store, broker.linkInlet, found);
    const holder = new LinkHolder({
      core: links,
      inlet: broker.linkInlet,
      notes,
      isHolder: () => true,
      clock: node.clock,
      scheduler: node,
      log,
      missed: () => retained?.rounds.request(),
      unsubscribeAfterMs: UNSUBSCRIBE_AFTER_MS,
      world: {
        timers: timersOf(kernel, node),
        random: () => node.random.below(2 ** 32) / 2 ** 32,
        open: (url, handler) => this.#open(life, url, handler),
      },
    });
    const life: RegionLife = {
      region: region.name,
      node,
      broker,
      links,
      holder,
      store,
      notes,
      onBegun: null,
      isReady: false,
      accept: (sink) => broker.accept(sink, listenerInfo),
      wrote: (to, connection, buffer, start, end) =>
        this.onWrite?.(life, to, connection, buffer.subarray(start, end)),
    };
    region.life = life;
    this.#options.sabotage?.(life);
    this.onLife?.(life);
    void broker.start().then(() =>
      kernel.after(node, 1, () => {
        const begin = (): void => {
          holder.start(region.links.map((name) => this.#settings(region.name, name)));
          life.onBegun?.();
          life.isReady = true;
          network.listen(region.name, life);
          node.trace('ready');
        };
        if (retained === null) begin();
        else retained.begin(broker.retained, begin);
      }),
    );
  }

  #open(life: RegionLife, url: string, handler: TransportHandler): Transport {
    return this.network.connect(life, new URL(url).hostname, handler);
  }

  #incarnation(): Buffer {
    const bytes = Buffer.alloc(16);
    for (let at = 0; at < bytes.length; at += 4) {
      bytes.writeUInt32BE(this.kernel.chance.below(2 ** 32), at);
    }
    return bytes;
  }

  #terms(region: string) {
    const { budgetAgeS = DAY_S, budgetBytes = 2 ** 30 } = this.#options;
    const user = `link-${region}`;
    const budgetAgeMs = budgetAgeS * 1000;
    return { region, user, certificate: null, topics: ['#'], budgetAgeMs, budgetBytes };
  }

  #settings(own: string, region: string): LinkSettings {
    const { budgetAgeS = DAY_S, budgetBytes = 2 ** 30 } = this.#options;
    return {
      region,
      url: `mqtt://${region}`,
      username: `link-${own}`,
      password: undefined,
      tls: undefined,
      allow: ['#'],
      budgetAgeS,
      budgetBytes,
    };
  }

  #log(node: SimNode): Log {
    const say = (level: string) => (fields: object, message: string) => {
      if (this.kernel.isTracing) node.trace(`${level}: ${message} ${shown(fields)}`);
    };
    return {
      debug: say('debug'),
      info: say('info'),
      warn: say('warn'),
      error: (fields, message) => {
        node.trace(`error: ${message} ${shown(fields)}`);
        this.complaints.push(`${node.name}: ${message} ${shown(fields)}`);
      },
    };
  }

  /** kill -9, or, with `hasPower` false, the whole machine: nobody is told, what is not synced is gone. */
  kill(region: SimRegion, hasPower: boolean = true): void {
    const { life } = region;
    if (life === null) return;
    region.life = null;
    this.network.listen(region.name, null);
    if (!hasPower) losesPower(life.node);
    this.kernel.kill(life.node);
    if (!hasPower) region.disk.losePower(() => this.kernel.chance.next());
  }

  get ready(): readonly RegionLife[] {
    return this.regions.flatMap(({ life }) => (life?.isReady === true ? [life] : []));
  }

  get isReady(): boolean {
    return this.ready.length === this.regions.length;
  }

  /** A client of that region; null: its node is not there. */
  dialTo(region: SimRegion): Dial | null {
    const { life } = region;
    if (life === null || !life.isReady) return null;
    return (version: 4 | 5, events: LineEvents) =>
      new SimLine({
        kernel: this.kernel,
        node: life.node,
        broker: life.broker,
        version,
        events,
        delayMs: () => 0.1 + this.kernel.chance.next() * 3,
        onKill: (task) => life.node.onKill(task),
      });
  }

  /** Where a link's subscriptions are not what is wanted, by what the session at the other region has. */
  drifts(): string[] {
    const drifts: string[] = [];
    for (const { name, life, links } of this.regions) {
      if (life === null) return [`${name} is not there`];
      for (const other of links) {
        const there = this.region(other).life;
        const wanted = interestFor(life.links.wanted, name, other, ['#']);
        const has = there?.broker.admin.subscriptions(linkIdOf(name)) ?? null;
        if (has === null) {
          drifts.push(`${name} has no session at ${other}`);
          continue;
        }
        const had = new Set(has.map(({ filter }) => filter));
        for (const filter of wanted) {
          if (!had.has(filter)) drifts.push(`${name} < ${other} lacks ${filter}`);
        }
        for (const filter of had) {
          if (!wanted.has(filter)) drifts.push(`${name} < ${other} still has ${filter}`);
        }
      }
    }
    return drifts;
  }

  /** All links are up, and have what is wanted. */
  get isLinked(): boolean {
    return (
      this.isReady &&
      this.ready.every(({ holder }) => [...holder.links].every(({ isUp }) => isUp)) &&
      this.drifts().length === 0
    );
  }
}

/** Whoever says a name has it: what links prove is tested elsewhere. */
class RegionGate extends FakeGate {
  override connect(request: ConnectRequest): ConnectDecision {
    return accepted(request.packet?.username ?? null, null);
  }
}

function linkedWith(topology: Topology, index: number, count: number): number[] {
  const others = Array.from({ length: count }, (_, other) => other).filter((one) => one !== index);
  if (topology === 'mesh' || topology === 'pair') return others;
  if (topology === 'star') return index === 0 ? others : [0];
  return others.filter(
    (one) => (one - index + count) % count === 1 || (index - one + count) % count === 1,
  );
}

function timersOf(kernel: Kernel, node: SimNode) {
  return {
    nowMs: () => node.clock.monotonicMs(),
    after: (delayMs: number, task: () => void) => {
      const event = kernel.after(node, delayMs / node.clock.rate, task);
      return () => kernel.cancel(event);
    },
    every: (intervalMs: number, task: () => void) => node.every(intervalMs, task),
  };
}

function shown(fields: object): string {
  return JSON.stringify(fields, (key, value) =>
    key === 'err' && value instanceof Error ? (value.stack ?? value.message) : value,
  );
}
