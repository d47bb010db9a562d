/**
 * One run of the cluster in virtual time: the cast of the chaos runs (test/chaos) over simulated nodes,
 * faults chosen by the seed, and the books of test/chaos/ledger.ts at the end: acked is never lost, QoS 2
 * comes once, first deliveries keep their order, sessions are truthful.
 */
import { cast } from '../chaos/cast.ts';
import { Ledger, type Verdict } from '../chaos/ledger.ts';
import { Prng } from '../chaos/prng.ts';
import type { Stage } from '../chaos/stage.ts';
import { Kernel, SimulationFailure } from './kernel.ts';
import { SimSite, type SimSiteOptions } from './sim-site.ts';

export const simFaults = [
  'kill',
  'pause',
  'redis_down',
  'redis_away',
  'redis_slow',
  'redis_replies',
  'link_block',
  'link_cut',
  'restart',
] as const;
export type SimFault = (typeof simFaults)[number];

export interface ClusterRunOptions extends SimSiteOptions {
  readonly seed: number;
  readonly faults?: number;
  readonly kinds?: readonly SimFault[];
  readonly isTracing?: boolean;
  /** Messages of each publisher and second of virtual time. */
  readonly ratePerS?: number;
}

export interface ClusterRunReport extends Verdict {
  readonly seed: number;
  readonly happened: readonly string[];
  readonly virtualS: number;
  readonly events: number;
}

const TICK_MS = 20;
/** Until everything has come after the last fault; longer than expiry of a lease and a join. */
const HEAL_MS = 60_000;
const START_MS = 60_000;
const STEP_MS = 50;
const STEPS_MAX = 4_000_000;
const REFUSALS = new Set([0x88, 0x89, 0x9c, 3]);
const DEAF_MS = 6000;

export function runCluster(options: ClusterRunOptions): Promise<ClusterRunReport> {
  return new ClusterRun(options).run();
}

class ClusterRun {
  readonly #options: ClusterRunOptions;
  readonly #kernel: Kernel;
  readonly #site: SimSite;
  readonly #ledger = new Ledger();
  readonly #stage: Stage;
  readonly #cast: ReturnType<typeof cast>;
  readonly #happened: string[] = [];
  readonly #plan: Prng;
  readonly #open: Set<{ close: () => void; heardMs: number }> = new Set();
  #debt = 0;

  constructor(options: ClusterRunOptions) {
    this.#options = options;
    this.#kernel = new Kernel(options.seed, { isTracing: options.isTracing ?? false });
    this.#site = new SimSite(this.#kernel, options);
    this.#plan = new Prng(options.seed ^ 0x0fa7);
    this.#stage = {
      ledger: this.#ledger,
      prng: new Prng(options.seed ^ 0x5eed),
      dial: null,
      nowMs: () => this.#kernel.nowMs,
      refusals: REFUSALS,
      isClosing: false,
      isOver: false,
      onMoment: () => {},
    };
    this.#cast = cast(this.#stage);
  }

  #tick(): void {
    const kernel = this.#kernel;
    kernel.after(null, TICK_MS, () => this.#tick());
    const nowMs = kernel.nowMs;
    this.#debt += (TICK_MS * (this.#options.ratePerS ?? 5)) / 1000;
    const count = Math.floor(this.#debt);
    this.#debt -= count;
    this.#stage.dial = this.#site.ready.length === 0 ? null : this.#dial;
    for (const publisher of this.#cast.publishers) publisher.tick(count, nowMs);
    for (const subscriber of this.#cast.subscribers) subscriber.tick(nowMs);
    for (const open of this.#open) if (nowMs - open.heardMs > DEAF_MS) open.close();
  }

  readonly #dial: NonNullable<Stage['dial']> = (version, events) => {
    const open = { close: () => line.close(), heardMs: this.#kernel.nowMs };
    const line = this.#site.dial(version, {
      ...events,
      packet: (packet) => {
        open.heardMs = this.#kernel.nowMs;
        events.packet(packet);
      },
      closed: () => {
        this.#open.delete(open);
        events.closed();
      },
    });
    this.#open.add(open);
    return line;
  };

  async run(): Promise<ClusterRunReport> {
    const { faults = 6, kinds = simFaults, seed } = this.#options;
    const kernel = this.#kernel;
    for (const machine of this.#site.machines) this.#site.start(machine);
    await this.#until(
      START_MS,
      () => this.#site.ready.length === this.#site.machines.length,
      'ready',
    );
    this.#tick();
    const isThere = (): boolean => this.#cast.subscribers.every(({ isSubscribed }) => isSubscribed);
    await this.#until(START_MS, isThere, 'subscribed');
    for (let index = 0; index < faults; index++) {
      await this.#pass(this.#plan.between(50, 2500));
      this.#inflict(this.#plan.pick(kinds));
    }
    await this.#pass(2000);
    this.#stage.isClosing = true;
    const isDone = (): boolean =>
      this.#site.ready.length === this.#site.machines.length &&
      this.#cast.publishers.every((publisher) => publisher.isDone) &&
      this.#ledger.isSettled;
    const untilMs = kernel.nowMs + HEAL_MS;
    while (!isDone() && kernel.nowMs < untilMs) await this.#pass(250);
    for (const publisher of this.#cast.publishers) {
      if (!publisher.isDone) {
        this.#ledger.fault(`${publisher.options.clientId}: waits for acks that never come`);
      }
    }
    await this.#pass(1500);
    if (this.#site.ready.length < this.#site.machines.length) {
      this.#ledger.fault(`only ${this.#site.ready.length} nodes are ready in the end`);
    }
    for (const text of this.#site.complaints) this.#ledger.fault(`complained: ${text}`);
    const report = {
      seed,
      happened: this.#happened,
      virtualS: Math.round(kernel.nowMs / 1000),
      events: kernel.steps,
      ...this.#ledger.verdict(),
    };
    if (report.isClean) return report;
    throw new SimulationFailure(kernel.report(describeClusterRun(report)));
  }

  /** In steps, between which what a promise waits for may go on: a node that starts has a few. */
  async #pass(ms: number): Promise<void> {
    const untilMs = this.#kernel.nowMs + ms;
    while (this.#kernel.nowMs < untilMs) {
      const end = this.#kernel.run(Math.min(untilMs, this.#kernel.nowMs + STEP_MS), STEPS_MAX);
      if (end === 'steps_max') this.#kernel.fail('too many events: something spins');
      for (let turn = 0; turn < 10; turn++) await null;
    }
  }

  async #until(withinMs: number, isReached: () => boolean, what: string): Promise<void> {
    const untilMs = this.#kernel.nowMs + withinMs;
    while (!isReached() && this.#kernel.nowMs < untilMs) await this.#pass(50);
    if (isReached()) return;
    const { faults } = this.#ledger.verdict();
    const missing = this.#cast.subscribers.filter(({ isSubscribed }) => !isSubscribed);
    const names = missing.map(({ options }) => options.clientId).join(', ');
    const why = [...faults, ...this.#site.complaints].join('\n');
    this.#kernel.fail(`never ${what}: ${names}\n${why}`);
  }

  #inflict(fault: SimFault): void {
    const kernel = this.#kernel;
    const machine = this.#plan.pick(this.#site.machines);
    const { redis, network } = this.#site;
    const forMs = this.#plan.between(50, 6000);
    this.#happened.push(`${fault} ${machine.name} ${forMs} ms at ${Math.round(kernel.nowMs)}`);
    kernel.trace(null, `FAULT ${this.#happened.at(-1)}`);
    const { life } = machine;
    switch (fault) {
      case 'kill':
        this.#site.kill(machine);
        kernel.after(null, forMs, () => {
          if (machine.life === null) this.#site.start(machine);
        });
        break;
      case 'restart':
        if (life === null) return;
        life.isReady = false;
        life.broker.drain({ clientsPerS: 1000, serverReference: null }, () => {});
        kernel.after(life.node, 500, () =>
          life.cluster.stop(() => {
            kernel.after(null, 0, () => {
              if (machine.life !== life) return;
              this.#site.kill(machine);
              this.#site.start(machine);
            });
          }),
        );
        break;
      case 'pause':
        if (life !== null) kernel.pause(life.node, forMs * 2);
        break;
      case 'redis_down':
        redis.down();
        kernel.after(null, forMs, () => redis.up(true));
        break;
      case 'redis_away':
        life?.redis.partition();
        kernel.after(null, forMs, () => life?.redis.heal());
        break;
      case 'redis_slow':
        redis.slow(this.#plan.between(5, 200));
        kernel.after(null, forMs, () => redis.slow(0));
        break;
      case 'redis_replies':
        life?.redis.loseReplies(this.#plan.between(1, 20));
        break;
      case 'link_block': {
        const other = this.#plan.pick(this.#site.machines);
        if (other === machine) return;
        network.block(machine.address, other.address);
        if (this.#plan.once(2)) network.block(other.address, machine.address);
        kernel.after(null, forMs, () => network.unblockAll());
        break;
      }
      case 'link_cut': {
        const other = this.#plan.pick(this.#site.machines);
        const how = this.#plan.pick(['both', 'half', 'silent'] as const);
        if (other !== machine) network.cut(machine.address, other.address, how);
      }
    }
  }
}

export function describeClusterRun(report: ClusterRunReport): string {
  return [
    `seed ${report.seed}: ${report.virtualS} s, ${report.events} events`,
    ...report.happened.map((text) => `  ${text}`),
    `  published ${report.published}, acked ${report.acked}, delivered ${report.delivered}, ` +
      `again ${report.redelivered}, owed ${report.owed}`,
    `  lost ${report.lost}, QoS 2 duplicates ${report.duplicates}, ` +
      `order violations ${report.orderViolations}, unwanted ${report.unwanted}, ` +
      `sessions lost ${report.sessionsLost}, invented ${report.sessionsInvented}`,
    ...report.faults.map((text) => `  FAULT ${text}`),
    ...report.examples.map((text) => `  ${text}`),
  ].join('\n');
}

if (import.meta.main) {
  const [first = '1', count = '1', faults = '6'] = process.argv.slice(2);
  for (let seed = Number(first); seed < Number(first) + Number(count); seed++) {
    const isTracing = Number(count) === 1;
    const report = await runCluster({ seed, faults: Number(faults), isTracing });
    console.log(describeClusterRun(report));
  }
}
