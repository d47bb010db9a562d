/**
 * One chaos run over regions: clients in all of them, links between them with the round trips of continents,
 * faults chosen by the seed, and the books of P7 and P8: nothing lost, each message once a region, no loop,
 * order by publisher, the same retained messages everywhere. Called by run-regions.ts and the tests.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Broker } from '../e2e/broker.ts';
import type { TcpProxy } from '../support/tcp-proxy.ts';
import type { Cast } from './cast.ts';
import { saidBy } from './cluster-site.ts';
import { Doors } from './doors.ts';
import { Ledger, type Verdict } from './ledger.ts';
import { Prng } from './prng.ts';
import { KEPT, regionCast, SHARED } from './region-cast.ts';
import { type RegionFault, RegionFaults, regionFaults } from './region-faults.ts';
import { RegionLosses } from './region-losses.ts';
import { linksOf, RegionSite, type RegionSiteOptions } from './region-site.ts';
import { digestOf, type Retained, retainedOf, wantFrom } from './retained-digest.ts';
import type { Stage } from './stage.ts';

export interface RegionChaosOptions extends Omit<RegionSiteOptions, 'folder'> {
  readonly seed: number;
  readonly faults: number;
  readonly kinds?: readonly RegionFault[];
  /** These in this order, instead of `faults` chosen ones. */
  readonly plan?: readonly RegionFault[];
  readonly ratePerS?: number;
  /** Longest time that a link is down when it is down for long. */
  readonly longMs?: number;
  /** How many times shorter than usual faults are. */
  readonly haste?: number;
  readonly log?: (line: string) => void;
  /** Folder for what nodes have said and clients had, when the run is not clean. */
  readonly logs?: string;
}

/** What links say of themselves, over all lives of all nodes. */
interface LinkCounts {
  readonly messages: number;
  /** Dropped by their name, as they had come over another way or before. */
  readonly known: number;
  readonly loops: number;
  readonly gaps: number;
  readonly dropped: number;
}

export interface RegionChaosReport extends Verdict {
  readonly seed: number;
  readonly shape: string;
  readonly happened: Readonly<Record<string, number>>;
  /** In the region that heard nothing for longest. */
  readonly longestSilenceMs: number;
  /** From the end of the last fault. */
  readonly settledMs: number;
  readonly digestsEqualMs: number | null;
  readonly links: LinkCounts;
  readonly elapsedS: number;
}

interface Scene {
  readonly region: string;
  readonly stage: Stage;
  readonly doors: Doors;
  readonly cast: Cast;
  lastDeliveryMs: number;
  longestSilenceMs: number;
}

const TICK_MS = 5;
const RATE_PER_S = 8;
const LONG_MS = 60_000;
/** A link that was down comes back within 30 s. */
const DRAIN_QUIET_MS = 45_000;
const DRAIN_MAX_MS = 240_000;
const SUBSCRIBE_MS = 60_000;
const LATE_MS = 1500;
const DIGESTS_MS_MAX = 120_000;
const SAMPLE_MS_MAX = 2000;
const REFUSALS = new Set([0x88, 0x89, 0x9c, 3]);
const KEEPER = 'keeper';

export async function runRegionChaos(options: RegionChaosOptions): Promise<RegionChaosReport> {
  const folder = mkdtempSync(join(tmpdir(), 'causeway-regions-'));
  const remove = (): void => rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  process.once('exit', remove);
  const run = new RegionChaos(options, folder);
  try {
    return await run.run();
  } finally {
    await run.end();
    remove();
    process.off('exit', remove);
  }
}

class RegionChaos {
  readonly #options: RegionChaosOptions;
  readonly #site: RegionSite;
  readonly #prng: Prng;
  readonly #ledger = new Ledger();
  readonly #scenes: Scene[] = [];
  readonly #losses: RegionLosses;
  readonly #happened: Record<string, number> = {};
  readonly #trace: string[] = [];
  /** By process, as each begins at nothing. */
  readonly #samples: Map<Broker, LinkCounts> = new Map();
  #timer: NodeJS.Timeout | undefined;
  #isOpen = false;
  #debt = 0;
  #lastTickMs = performance.now();

  constructor(options: RegionChaosOptions, folder: string) {
    this.#options = options;
    this.#prng = new Prng(options.seed);
    this.#site = new RegionSite({ ...options, folder });
    const names = options.regions.map(({ name }) => name);
    const links = linksOf(names, options.topology);
    this.#losses = new RegionLosses(this.#ledger, links, this.#site.hasCassandra);
  }

  async end(): Promise<void> {
    clearInterval(this.#timer);
    for (const { stage, cast } of this.#scenes) {
      stage.isOver = true;
      for (const one of [...cast.publishers, ...cast.subscribers]) one.close();
    }
    await this.#site.end();
  }

  async run(): Promise<RegionChaosReport> {
    const { seed, faults, kinds = regionFaults, plan, log = () => {} } = this.#options;
    const beganMs = performance.now();
    await this.#site.start();
    this.#delayLinks();
    const names = this.#options.regions.map(({ name }) => name);
    for (const [index, name] of names.entries()) this.#scenes.push(this.#scene(name, index, names));
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    await this.#opened();
    log(`open after ${seconds(performance.now() - beganMs)} s`);
    await pause(500);
    const { longMs = LONG_MS, haste = 1 } = this.#options;
    const inflict = new RegionFaults(this.#site, this.#prng, this.#losses, { longMs, haste });
    const possible = kinds.filter((kind) => inflict.isPossible(kind));
    for (let index = 0; index < (plan?.length ?? faults); index++) {
      const fault = plan?.[index] ?? this.#prng.pick(possible);
      const beforeMs = performance.now();
      const began = `${new Date().toISOString().slice(11, 23)} (${Math.round(beforeMs)} ms)`;
      this.#ledger.life = index + 1;
      await this.#sample();
      const whom = await inflict.now(fault);
      this.#happened[fault] = (this.#happened[fault] ?? 0) + 1;
      const tookMs = Math.round(performance.now() - beforeMs);
      log(
        `#${index + 1} ${began} ${fault} ${whom} (${tookMs} ms): ${this.#ledger.acked} acked, ${this.#ledger.delivered} delivered`,
      );
      await pause(this.#prng.between(200, 1500));
    }
    await inflict.healed();
    const healedMs = performance.now();
    log(`${new Date().toISOString().slice(11, 23)} all is healed`);
    await this.#drain();
    const settledMs = Math.round(performance.now() - healedMs);
    const digestsEqualMs = await this.#digests(healedMs);
    await this.#sample();
    const links = this.#linkCounts();
    if (links.loops > 0) this.#ledger.fault(`${links.loops} messages came back to their region`);
    if (links.gaps > 0) this.#ledger.fault(`${links.gaps} sessions of links were lost`);
    if (links.dropped > 0) this.#ledger.fault(`${links.dropped} dropped within the budget`);
    for (const text of this.#site.complaints()) this.#ledger.fault(`complained: ${text}`);
    const report = {
      seed,
      shape: this.#shape(),
      happened: this.#happened,
      longestSilenceMs: Math.round(Math.max(...this.#scenes.map((one) => one.longestSilenceMs))),
      settledMs,
      digestsEqualMs,
      links,
      elapsedS: seconds(performance.now() - beganMs),
      ...this.#ledger.verdict(),
    };
    if (!report.isClean) this.#keepLogs();
    return report;
  }

  #shape(): string {
    const { regions, topology, datacenters = [], cassandra } = this.#options;
    const nodes = regions.map(({ name, nodes, clockMs = 0 }) =>
      clockMs === 0 ? `${name} ${nodes}` : `${name} ${nodes} (clock ${clockMs} ms)`,
    );
    const record =
      datacenters.length > 0
        ? `Cassandra in ${datacenters.join(', ')}`
        : cassandra === undefined
          ? 'no Cassandra'
          : 'a Cassandra';
    return `regions ${nodes.join(', ')}, ${topology} of links, ${record}`;
  }

  /** Round trips of 100 to 300 ms, and no two chunks alike. */
  #delayLinks(): void {
    for (const proxy of this.#site.links.values()) delayAsFar(proxy, this.#prng.between(50, 150));
  }

  #scene(region: string, index: number, regions: readonly string[]): Scene {
    const chance = new Prng(this.#options.seed ^ (0x5eed + index));
    const { site } = this.#site.region(region);
    const doors = new Doors(() => site.ports, chance);
    const stage: Stage = {
      ledger: this.#ledger,
      prng: chance,
      dial: doors.dial,
      nowMs: () => performance.now(),
      refusals: REFUSALS,
      isClosing: false,
      isOver: false,
      onMoment: (moment) => {
        if (moment === 'delivery') heard();
      },
      ...(this.#options.logs === undefined
        ? {}
        : { trace: (who: string, text: string) => this.#noted(who, text) }),
    };
    const cast = regionCast(stage, region, regions, this.#site.hasCassandra);
    const scene: Scene = {
      region,
      stage,
      doors,
      cast,
      lastDeliveryMs: 0,
      longestSilenceMs: 0,
    };
    const heard = (): void => {
      const nowMs = performance.now();
      if (scene.lastDeliveryMs > 0 && !stage.isClosing) {
        const silenceMs = nowMs - scene.lastDeliveryMs;
        scene.longestSilenceMs = Math.max(scene.longestSilenceMs, silenceMs);
      }
      scene.lastDeliveryMs = nowMs;
    };
    return scene;
  }

  #noted(who: string, text: string): void {
    const at = `${new Date().toISOString().slice(11, 23)} (${Math.round(performance.now())} ms)`;
    this.#trace.push(`${at} ${who} ${text}`);
  }

  #tick(): void {
    const nowMs = performance.now();
    const rate = this.#options.ratePerS ?? RATE_PER_S;
    this.#debt = Math.min(this.#debt + ((nowMs - this.#lastTickMs) * rate) / 1000, rate / 4);
    this.#lastTickMs = nowMs;
    const count = Math.floor(this.#debt);
    this.#debt -= count;
    for (const { cast, doors } of this.#scenes) {
      for (const publisher of cast.publishers) publisher.tick(this.#isOpen ? count : 0, nowMs);
      for (const subscriber of cast.subscribers) subscriber.tick(nowMs);
      doors.closeDeaf(nowMs);
    }
  }

  get #filters(): readonly string[] {
    return this.#site.hasCassandra ? ['chaos/#', KEPT, SHARED] : ['chaos/#', KEPT];
  }

  /** Everybody has subscribed, and every link has what that asks for: before nothing is owed. */
  async #opened(): Promise<void> {
    const deadline = performance.now() + SUBSCRIBE_MS;
    const isOver = (): boolean => performance.now() > deadline;
    const subscribers = this.#scenes.flatMap(({ cast }) => cast.subscribers);
    const missing = (): string[] =>
      subscribers.filter((one) => !one.isSubscribed).map(({ options }) => options.clientId);
    while (missing().length > 0 && !isOver()) await pause(10);
    if (missing().length > 0) {
      const { faults } = this.#ledger.verdict();
      throw new Error(`never subscribed: ${missing().join(', ')}\n${faults.join('\n')}`);
    }
    for (const { name, site } of this.#site.regions) {
      const isKept = await wantFrom(site.ports[0]!, `${name}-${KEEPER}`, this.#filters.slice(1));
      if (!isKept) throw new Error(`${name} refuses its keeper`);
    }
    for (const link of this.#site.links.keys()) {
      while (!(await this.#site.hasSubscribed(link, this.#filters.length))) {
        if (isOver()) throw new Error(`the link ${link} has not subscribed`);
        await pause(100);
      }
    }
    this.#isOpen = true;
  }

  async #drain(): Promise<void> {
    await pause(500);
    for (const { stage } of this.#scenes) stage.isClosing = true;
    const deadline = performance.now() + DRAIN_MAX_MS;
    const beganMs = performance.now();
    const publishers = this.#scenes.flatMap(({ cast }) => cast.publishers);
    const isQuiet = (): boolean => {
      const last = Math.max(beganMs, ...this.#scenes.map((one) => one.lastDeliveryMs));
      return performance.now() - last > DRAIN_QUIET_MS;
    };
    const isDone = (): boolean =>
      publishers.every((publisher) => publisher.isDone) && this.#ledger.isSettled;
    while (!isDone() && !isQuiet() && performance.now() < deadline) await pause(50);
    for (const { isDone: done, options } of publishers) {
      if (!done) this.#ledger.fault(`${options.clientId}: waits for acks that never come`);
    }
    await pause(LATE_MS);
  }

  /** What new subscribers find at every node of every region; how long until that was the same. */
  async #digests(healedMs: number): Promise<number | null> {
    const deadline = performance.now() + DIGESTS_MS_MAX;
    let seen = new Map<string, Retained>();
    const filters = this.#filters.slice(1);
    do {
      seen = new Map();
      for (const { site } of this.#site.regions) {
        for (const { name, port } of site.nodes) {
          const found = port === null ? null : await retainedOf(port, filters);
          if (found !== null) seen.set(name, found);
        }
      }
      const nodes = this.#site.regions.flatMap(({ site }) => site.nodes);
      const allowed = this.#allowed();
      const besides = this.#mayDiffer(allowed);
      const digests = new Set([...seen.values()].map(({ found }) => digestOf(found, besides)));
      if (seen.size === nodes.length && digests.size === 1 && isRight(seen, allowed)) {
        const tookMs = Math.round(performance.now() - healedMs);
        this.#checkRetained(seen);
        return tookMs;
      }
      await pause(500);
    } while (performance.now() < deadline);
    this.#checkRetained(seen);
    this.#ledger.fault('retained messages of the regions have not become the same');
    for (const [name, { found }] of seen) {
      this.#ledger.fault(`${name} has ${[...found].map(([t, p]) => `${t}=${p.slice(0, 8)}`)}`);
    }
    return null;
  }

  /** By topic: what may be found. */
  #allowed(): Map<string, string[]> {
    const allowed = new Map<string, string[]>();
    for (const { cast } of this.#scenes) {
      for (const publisher of cast.publishers) {
        for (const topic of publisher.retainedTopics) {
          const values = publisher.retainedAllowed(topic)();
          allowed.set(topic, [...(allowed.get(topic) ?? []), ...values]);
        }
      }
    }
    return allowed;
  }

  /** And takes them out of what is allowed. */
  #mayDiffer(allowed: Map<string, string[]>): Set<string> {
    const besides = new Set<string>();
    for (const [topic, values] of allowed) {
      if (this.#losses.mayDiffer(topic, values)) besides.add(topic);
    }
    for (const topic of besides) allowed.delete(topic);
    return besides;
  }

  #checkRetained(seen: ReadonlyMap<string, Retained>): void {
    const allowed = this.#allowed();
    this.#mayDiffer(allowed);
    for (const [topic, values] of allowed) {
      for (const [name, { found }] of seen) {
        this.#ledger.retained(`${topic} at ${name}`, found.get(topic) ?? '', values);
      }
    }
  }

  /** Counters of a node that is killed would be gone. */
  async #sample(): Promise<void> {
    const brokers = this.#site.regions.flatMap(({ site }) =>
      site.nodes.flatMap(({ broker, isStopped }) => (broker === null || isStopped ? [] : [broker])),
    );
    await Promise.all(
      brokers.map(async (broker) => {
        const metrics = await Promise.race([broker.metrics().catch(() => null), late()]);
        if (metrics === null) return;
        const sum = (name: string): number =>
          [...metrics].reduce(
            (total, [text, value]) => (text.startsWith(`${name}{`) ? total + value : total),
            0,
          );
        this.#samples.set(broker, {
          messages: sum('causeway_link_messages_total'),
          known: sum('causeway_link_duplicates_total'),
          loops: sum('causeway_link_loops_total'),
          gaps: sum('causeway_link_gaps_total'),
          dropped: sum('causeway_fetcher_dropped_total'),
        });
      }),
    );
  }

  #linkCounts(): LinkCounts {
    const sum = (of: (counts: LinkCounts) => number): number =>
      [...this.#samples.values()].reduce((total, counts) => total + of(counts), 0);
    return {
      messages: sum(({ messages }) => messages),
      known: sum(({ known }) => known),
      loops: sum(({ loops }) => loops),
      gaps: sum(({ gaps }) => gaps),
      dropped: sum(({ dropped }) => dropped),
    };
  }

  #keepLogs(): void {
    const { logs, seed } = this.#options;
    if (logs === undefined) return;
    mkdirSync(logs, { recursive: true });
    writeFileSync(join(logs, `${seed}-clients.log`), `${this.#trace.join('\n')}\n`);
    for (const { site } of this.#site.regions) {
      for (const node of site.nodes) {
        writeFileSync(join(logs, `${seed}-${node.name}.log`), `${saidBy(node).join('\n')}\n`);
      }
    }
  }
}

function isRight(
  seen: ReadonlyMap<string, Retained>,
  allowed: ReadonlyMap<string, readonly string[]>,
): boolean {
  for (const [topic, values] of allowed) {
    for (const { found } of seen.values()) {
      if (!values.includes(found.get(topic) ?? '')) return false;
    }
  }
  return true;
}

/** One way, with some jitter. */
export function delayAsFar(proxy: TcpProxy, ms: number): void {
  proxy.delay(() => ms + Math.random() * 10);
}

function late(): Promise<null> {
  return new Promise((resolve) => setTimeout(resolve, SAMPLE_MS_MAX, null));
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function seconds(ms: number): number {
  return Math.round(ms / 100) / 10;
}

/** The report for people. */
export function describeRegionChaos(report: RegionChaosReport): string {
  const happened = Object.entries(report.happened).map(([fault, count]) => `${fault} ${count}`);
  const { links } = report;
  return [
    `${report.shape}: seed ${report.seed}, faults ${happened.join(', ')} in ${report.elapsedS} s`,
    `  published ${report.published}, acked ${report.acked}, refused ${report.refused}`,
    `  delivered ${report.delivered}, again ${report.redelivered}, owed ${report.owed}`,
    `  lost ${report.lost}, QoS 2 duplicates ${report.duplicates}, ` +
      `order violations ${report.orderViolations}, unwanted ${report.unwanted}`,
    `  sessions lost ${report.sessionsLost}, invented ${report.sessionsInvented}; ` +
      `retained checked ${report.retainedChecked}, wrong ${report.retainedWrong}`,
    `  links brought ${links.messages}, known by name ${links.known}, loops ${links.loops}, ` +
      `gaps ${links.gaps}, dropped ${links.dropped}`,
    `  longest silence ${report.longestSilenceMs} ms, all delivered ${report.settledMs} ms after ` +
      `the last fault, the same retained messages after ${report.digestsEqualMs ?? 'never'} ms`,
    ...report.faults.map((text) => `  FAULT ${text}`),
    ...report.examples.map((text) => `  ${text}`),
  ].join('\n');
}
