/**
 * One chaos run against a datacenter: the cast of run-chaos.ts spread over several nodes, faults chosen
 * by the seed, and the books. Clients reconnect to whichever node answers, as real ones do. Called by
 * run-cluster.ts and the tests.
 */
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RedisServer } from '../support/redis-server.ts';
import type { TcpProxy } from '../support/tcp-proxy.ts';
import { cast } from './cast.ts';
import { ClusterSite, type SiteNode, saidBy } from './cluster-site.ts';
import { Doors } from './doors.ts';
import { emptyRedis, excuse } from './emptied-redis.ts';
import { Ledger, type Verdict } from './ledger.ts';
import { Prng } from './prng.ts';
import { checkRetained } from './retained-watch.ts';
import type { Stage } from './stage.ts';

export const clusterFaults = [
  'kill',
  'stop',
  'redis_restart',
  'redis_flush',
  'redis_away',
  'redis_slow',
  'link_cut',
  'link_slow',
  'rolling_restart',
] as const;
export type ClusterFault = (typeof clusterFaults)[number];

export interface ClusterChaosOptions {
  readonly seed: number;
  readonly faults: number;
  readonly kinds?: readonly ClusterFault[];
  /** These in this order, instead of `faults` chosen ones. */
  readonly plan?: readonly ClusterFault[];
  readonly nodes?: number;
  readonly redis: RedisServer;
  readonly ratePerS?: number;
  readonly program?: readonly string[];
  readonly flags?: readonly string[];
  readonly log?: (line: string) => void;
  /** Folder for what nodes have said, what clients had and what Redis has, when the run is not clean. */
  readonly logs?: string;
}

export interface ClusterChaosReport extends Verdict {
  readonly seed: number;
  readonly nodes: number;
  readonly happened: Readonly<Record<string, number>>;
  readonly longestSilenceMs: number;
  readonly elapsedS: number;
}

const TICK_MS = 5;
const RATE_PER_S = 30;
const DRAIN_QUIET_MS = 12_000;
const DRAIN_MAX_MS = 120_000;
const SUBSCRIBE_MS = 40_000;
const LATE_MS = 1000;
/** Unavailable, busy, use another server: a node in trouble says so and the client goes on trying. */
const REFUSALS = new Set([0x88, 0x89, 0x9c, 3]);

export async function runClusterChaos(options: ClusterChaosOptions): Promise<ClusterChaosReport> {
  const folder = mkdtempSync(join(tmpdir(), 'causeway-cluster-'));
  const run = new ClusterChaos(options, folder);
  try {
    return await run.run();
  } finally {
    await run.end();
    rmSync(folder, { recursive: true, force: true });
  }
}

class ClusterChaos {
  readonly #options: ClusterChaosOptions;
  readonly #site: ClusterSite;
  readonly #prng: Prng;
  readonly #ledger = new Ledger();
  readonly #stage: Stage;
  readonly #cast: ReturnType<typeof cast>;
  readonly #happened: Record<string, number> = {};
  readonly #trace: string[] = [];
  readonly #doors: Doors;
  #timer: NodeJS.Timeout | undefined;
  #debt = 0;
  #lastTickMs = performance.now();
  #lastDelivered = 0;
  #lastDeliveryMs = 0;
  #longestSilenceMs = 0;

  constructor(options: ClusterChaosOptions, folder: string) {
    this.#options = options;
    this.#prng = new Prng(options.seed);
    this.#site = new ClusterSite({
      nodes: options.nodes ?? 3,
      folder,
      redis: options.redis,
      ...(options.program === undefined ? {} : { program: options.program }),
      ...(options.flags === undefined ? {} : { flags: options.flags }),
    });
    const chance = new Prng(options.seed ^ 0x5eed);
    this.#doors = new Doors(() => this.#site.ports, chance);
    this.#stage = {
      ledger: this.#ledger,
      prng: chance,
      dial: null,
      nowMs: () => performance.now(),
      refusals: REFUSALS,
      isClosing: false,
      isOver: false,
      onMoment: () => {},
      ...(options.logs === undefined ? {} : { trace: (who, text) => this.#noted(who, text) }),
    };
    this.#cast = cast(this.#stage);
  }

  async end(): Promise<void> {
    clearInterval(this.#timer);
    this.#stage.isOver = true;
    for (const one of [...this.#cast.publishers, ...this.#cast.subscribers]) one.close();
    await this.#site.end();
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
    for (const publisher of this.#cast.publishers) publisher.tick(count, nowMs);
    for (const subscriber of this.#cast.subscribers) subscriber.tick(nowMs);
    this.#doors.closeDeaf(nowMs);
    if (this.#ledger.delivered === this.#lastDelivered) return;
    this.#lastDelivered = this.#ledger.delivered;
    if (this.#lastDeliveryMs > 0) {
      this.#longestSilenceMs = Math.max(this.#longestSilenceMs, nowMs - this.#lastDeliveryMs);
    }
    this.#lastDeliveryMs = nowMs;
  }

  async run(): Promise<ClusterChaosReport> {
    const { seed, faults, kinds = clusterFaults, log = () => {} } = this.#options;
    const beganMs = performance.now();
    await this.#site.start();
    this.#stage.dial = this.#doors.dial;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    await this.#opened();
    await pause(500);
    const { plan } = this.#options;
    for (let index = 0; index < (plan?.length ?? faults); index++) {
      const fault = plan?.[index] ?? this.#prng.pick(kinds);
      const beforeMs = performance.now();
      const began = `${new Date().toISOString().slice(11, 23)} (${Math.round(beforeMs)} ms)`;
      this.#ledger.life = index + 1;
      const whom = await this.#inflict(fault);
      this.#happened[fault] = (this.#happened[fault] ?? 0) + 1;
      const tookMs = Math.round(performance.now() - beforeMs);
      log(
        `#${index + 1} ${began} ${fault} ${whom} (${tookMs} ms): ${this.#ledger.acked} acked, ${this.#ledger.delivered} delivered`,
      );
      await pause(this.#prng.between(200, 1500));
    }
    await this.#drain();
    for (const text of this.#site.nodes.flatMap((node) => node.complaints)) {
      this.#ledger.fault(`complained: ${text}`);
    }
    const report = {
      seed,
      nodes: this.#site.nodes.length,
      happened: this.#happened,
      longestSilenceMs: Math.round(this.#longestSilenceMs),
      elapsedS: Math.round((performance.now() - beganMs) / 100) / 10,
      ...this.#ledger.verdict(),
    };
    if (!report.isClean) this.#keepLogs();
    return report;
  }

  #keepLogs(): void {
    const { logs, seed, redis } = this.#options;
    if (logs === undefined) return;
    mkdirSync(logs, { recursive: true });
    writeFileSync(join(logs, `${seed}-clients.log`), `${this.#trace.join('\n')}\n`);
    // All that was ever written, in its order.
    cpSync(redis.folder, join(logs, `${seed}-redis`), { recursive: true });
    for (const node of this.#site.nodes) {
      writeFileSync(join(logs, `${seed}-${node.name}.log`), `${saidBy(node).join('\n')}\n`);
    }
  }

  /** Whom or what it was done to. */
  async #inflict(fault: ClusterFault): Promise<string> {
    const node = this.#prng.pick(this.#site.nodes);
    const { redis } = this.#options;
    switch (fault) {
      case 'kill':
        await this.#site.kill(node);
        await pause(this.#prng.between(0, 5000));
        await this.#site.startNode(node);
        break;
      case 'stop':
        this.#site.stop(node);
        await pause(this.#prng.between(1000, 10_000));
        this.#site.goOn(node);
        break;
      case 'redis_restart':
        await redis.stop('SIGKILL');
        await pause(this.#prng.between(0, 2000));
        await redis.resume();
        return 'redis';
      case 'redis_flush': {
        const lost = await emptyRedis(redis.url);
        excuse(this.#ledger, lost);
        return `redis, ${lost.length} messages in queues`;
      }
      case 'redis_away':
        await this.#away(node.toRedis, this.#prng.between(200, 8000));
        break;
      case 'redis_slow':
        for (const one of this.#site.nodes) one.toRedis.delay(100);
        await pause(this.#prng.between(1000, 4000));
        for (const one of this.#site.nodes) one.toRedis.delay(0);
        return 'all';
      case 'link_cut':
        await this.#away(node.toPeers, this.#prng.between(100, 6000));
        break;
      case 'link_slow':
        node.toPeers.delay(this.#prng.between(5, 150));
        await pause(this.#prng.between(1000, 4000));
        node.toPeers.delay(0);
        break;
      case 'rolling_restart':
        for (const one of this.#site.nodes) await this.#restart(one);
        return 'all';
    }
    return node.name;
  }

  /** Reset and refused, or, as often, silent. */
  async #away(proxy: TcpProxy, forMs: number): Promise<void> {
    if (this.#prng.once(2)) {
      proxy.refuse(true);
      proxy.cut();
      await pause(forMs);
      proxy.refuse(false);
      return;
    }
    proxy.pause();
    await pause(forMs);
    proxy.resume();
  }

  async #restart(node: SiteNode): Promise<void> {
    await this.#site.kill(node, 'SIGTERM');
    await this.#site.startNode(node);
  }

  async #opened(): Promise<void> {
    const deadline = performance.now() + SUBSCRIBE_MS;
    const isMissing = (): boolean => this.#cast.subscribers.some((one) => !one.isSubscribed);
    while (isMissing() && performance.now() < deadline) await pause(10);
    if (!isMissing()) return;
    const missing = this.#cast.subscribers.filter((one) => !one.isSubscribed);
    const names = missing.map(({ options }) => options.clientId).join(', ');
    const { faults } = this.#ledger.verdict();
    const said = this.#site.nodes.flatMap(({ broker }) => broker?.errors.slice(-2) ?? []);
    throw new Error(`never subscribed: ${names}\n${faults.join('\n')}\n${JSON.stringify(said)}`);
  }

  async #drain(): Promise<void> {
    await pause(500);
    this.#stage.isClosing = true;
    const deadline = performance.now() + DRAIN_MAX_MS;
    this.#lastDeliveryMs = performance.now();
    const isQuiet = (): boolean => performance.now() - this.#lastDeliveryMs > DRAIN_QUIET_MS;
    const isDone = (): boolean =>
      this.#cast.publishers.every((publisher) => publisher.isDone) && this.#ledger.isSettled;
    while (!isDone() && !isQuiet() && performance.now() < deadline) await pause(50);
    for (const publisher of this.#cast.publishers) {
      if (!publisher.isDone) {
        this.#ledger.fault(`${publisher.options.clientId}: waits for acks that never come`);
      }
    }
    await pause(LATE_MS);
    if (!(await checkRetained(this.#stage, this.#cast.publishers, 'kept/#'))) {
      this.#ledger.fault('the last look at retained messages failed');
    }
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The report for people. */
export function describeClusterChaos(report: ClusterChaosReport): string {
  const happened = Object.entries(report.happened).map(([fault, count]) => `${fault} ${count}`);
  return [
    `${report.nodes} nodes: seed ${report.seed}, faults ${happened.join(', ')} in ${report.elapsedS} s`,
    `  published ${report.published}, acked ${report.acked}, refused ${report.refused}`,
    `  delivered ${report.delivered}, again ${report.redelivered}, owed ${report.owed}`,
    `  lost ${report.lost}, QoS 2 duplicates ${report.duplicates}, ` +
      `order violations ${report.orderViolations}, unwanted ${report.unwanted}`,
    `  sessions lost ${report.sessionsLost}, invented ${report.sessionsInvented}; ` +
      `retained checked ${report.retainedChecked}, wrong ${report.retainedWrong}`,
    `  longest silence ${report.longestSilenceMs} ms`,
    ...report.faults.map((text) => `  FAULT ${text}`),
    ...report.examples.map((text) => `  ${text}`),
    report.isClean ? '  clean' : '  NOT CLEAN',
  ].join('\n');
}
