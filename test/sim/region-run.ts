/**
 * One run of regions in virtual time: clients of the chaos runs (test/chaos) in every region, faults chosen by
 * the seed, and the books of test/chaos/ledger.ts over all of them: what one region has acked is lost in none,
 * QoS 2 comes once, first deliveries keep their order (FIELD §3; P4, P5 and P8). In the end each link has what
 * its region wants, and when every session has ended no region wants anything.
 */
import { Ledger, type Verdict } from '../chaos/ledger.ts';
import { Prng } from '../chaos/prng.ts';
import type { Stage } from '../chaos/stage.ts';
import { flow, flowUntil } from './flowing.ts';
import { KeptWriters } from './kept-writers.ts';
import { Kernel, SimulationFailure } from './kernel.ts';
import { LinkWatch } from './link-watch.ts';
import { type RegionCast, regionCast } from './region-cast.ts';
import { RegionEnding } from './region-ending.ts';
import { type RegionFault, RegionFaults, regionFaults } from './region-faults.ts';
import type { SimRegion } from './region-life.ts';
import { RegionSite, type RegionSiteOptions } from './region-site.ts';
import { faultUnanswered, simStage } from './sim-stage.ts';
import { ZeroTalkers } from './zero-talkers.ts';

export interface RegionRunOptions extends RegionSiteOptions {
  readonly seed: number;
  readonly faults?: number;
  readonly kinds?: readonly RegionFault[];
  readonly isTracing?: boolean;
  /** Clients set and clear retained messages, which are to be the same everywhere; with a Cassandra always. */
  readonly comparesRetained?: boolean;
  /** Messages of each publisher and second of virtual time. */
  readonly ratePerS?: number;
}

export interface RegionRunReport extends Verdict {
  readonly seed: number;
  readonly happened: readonly string[];
  readonly virtualS: number;
  readonly events: number;
  /** Messages that links have brought, and copies that they have sent. */
  readonly taken: number;
  readonly sent: number;
}

/** Clients of one region. */
interface Scene extends RegionCast {
  readonly region: SimRegion;
  readonly stage: Stage;
}

const TICK_MS = 20;
const START_MS = 60_000;
/** A half-open link is noticed after a minute, and comes again after half of one. */
const HEAL_MS = 180_000;
const SETTLE_MS = 2000;
const FAULTS_MAX = 8;
const TRACE_LINES = 2000;

export function runRegions(options: RegionRunOptions): Promise<RegionRunReport> {
  return new RegionRun(options).run();
}

class RegionRun {
  readonly #options: RegionRunOptions;
  readonly #kernel: Kernel;
  readonly #site: RegionSite;
  readonly #ledger = new Ledger();
  readonly #scenes: readonly Scene[];
  readonly #plan: Prng;
  readonly #faults: RegionFaults;
  readonly #watch: LinkWatch;
  readonly #zero: ZeroTalkers;
  readonly #kept: KeptWriters;
  #debt = 0;
  #isStarted = false;
  #isEnded = false;

  constructor(options: RegionRunOptions) {
    const { seed } = options;
    this.#options = options;
    const plan = new Prng(seed ^ 0x2e61);
    this.#plan = plan;
    const kernel = new Kernel(seed, {
      isTracing: options.isTracing ?? false,
      traceLines: TRACE_LINES,
    });
    this.#kernel = kernel;
    const site = new RegionSite(kernel, options);
    this.#site = site;
    this.#watch = new LinkWatch(site);
    this.#zero = new ZeroTalkers(site);
    this.#kept = new KeptWriters(site, new Prng(seed ^ 0x6e97));
    site.onLife = (life) => this.#watch.watch(life);
    this.#faults = new RegionFaults({ kernel, site, plan });
    const prng = new Prng(seed ^ 0x5eed);
    this.#scenes = site.regions.map((region) => {
      const stage = simStage(kernel, this.#ledger, prng);
      // Nobody changes his mind until links have what is wanted.
      stage.isClosing = true;
      return { region, stage, ...regionCast(stage, region.name, plan) };
    });
  }

  #tick(): void {
    if (this.#isEnded) return;
    this.#kernel.after(null, TICK_MS, () => this.#tick());
    const { nowMs } = this.#kernel;
    if (this.#isStarted) this.#debt += (TICK_MS * (this.#options.ratePerS ?? 5)) / 1000;
    const count = Math.floor(this.#debt);
    this.#debt -= count;
    for (const { region, stage, publishers, subscribers } of this.#scenes) {
      stage.dial = this.#site.dialTo(region);
      for (const publisher of publishers) publisher.tick(count, nowMs);
      for (const subscriber of subscribers) subscriber.tick(nowMs);
    }
  }

  async run(): Promise<RegionRunReport> {
    const kernel = this.#kernel;
    const { faults = 4, kinds = regionFaults } = this.#options;
    const planned = Array.from({ length: faults }, () => this.#plan.pick(kinds));
    for (const region of this.#site.regions) this.#site.start(region);
    await this.#until(START_MS, () => this.#site.isReady, 'ready');
    this.#tick();
    this.#zero.begin();
    const { comparesRetained = this.#site.tables !== null } = this.#options;
    if (comparesRetained) this.#kept.begin();
    const areThere = (): boolean =>
      this.#scenes.every(({ subscribers }) => subscribers.every((one) => one.isSubscribed));
    await this.#until(START_MS, areThere, 'subscribed');
    // P8 is about filters that the far side has acknowledged; those of a ring go round for a while.
    await this.#linked('linked');
    this.#kept.linked();
    this.#isStarted = true;
    for (const { stage } of this.#scenes) stage.isClosing = false;
    await flow(kernel, this.#plan.between(100, 1500));
    for (const fault of planned) {
      // Now and then two at once.
      if (!this.#plan.once(4)) await flow(kernel, this.#plan.between(50, 4000));
      this.#faults.inflict(fault);
    }
    await flow(kernel, 2000);
    await this.#settle();
    this.#judge();
    await this.#end();
    const report = {
      seed: this.#options.seed,
      happened: this.#faults.happened,
      virtualS: Math.round(kernel.nowMs / 1000),
      events: kernel.steps,
      taken: this.#watch.taken,
      sent: this.#watch.sent,
      ...this.#ledger.verdict(),
    };
    if (report.isClean) return report;
    throw new SimulationFailure(kernel.report(describeRegionRun(report)), report);
  }

  /** And still so a moment later: what one region wants of the next is wanted further. */
  async #linked(what: string): Promise<void> {
    const kernel = this.#kernel;
    for (let looks = 0; looks < 3; looks++) {
      await this.#until(HEAL_MS, () => this.#site.isLinked, what);
      await flow(kernel, SETTLE_MS);
    }
    await this.#until(HEAL_MS, () => this.#site.isLinked, what);
  }

  async #until(withinMs: number, isReached: () => boolean, what: string): Promise<void> {
    if (await flowUntil(this.#kernel, withinMs, isReached)) return;
    const { faults } = this.#ledger.verdict();
    const why = [...faults, ...this.#site.complaints, ...this.#site.drifts()].join('\n');
    this.#kernel.fail(`seed ${this.#options.seed}: never ${what}\n${why}`);
  }

  /** Nobody goes away any more; everything that is owed comes. */
  async #settle(): Promise<void> {
    const kernel = this.#kernel;
    for (const { stage } of this.#scenes) stage.isClosing = true;
    this.#faults.heal();
    this.#zero.settle();
    this.#kept.settle();
    const isDone = (): boolean =>
      this.#site.isLinked &&
      this.#scenes.every(({ publishers }) => publishers.every((one) => one.isDone)) &&
      this.#ledger.isSettled &&
      this.#watch.waiting().next().done === true &&
      this.#zero.isHeard &&
      this.#kept.differences().length === 0;
    await flowUntil(kernel, HEAL_MS, isDone, 250);
    // What must not come has time to come.
    await flow(kernel, SETTLE_MS);
  }

  #judge(): void {
    const ledger = this.#ledger;
    for (const { publishers } of this.#scenes) faultUnanswered(ledger, publishers);
    const { ready, isReady } = this.#site;
    if (!isReady) ledger.fault(`only ${ready.length} nodes are ready in the end`);
    const faults = [
      ...this.#watch.broken,
      ...this.#zero.judge(),
      ...this.#kept.differences(),
      ...this.#watch.counted(),
      ...this.#watch.waiting(),
      ...this.#site.drifts(),
      ...this.#site.complaints.map((text) => `complained: ${text}`),
    ];
    for (const text of faults.slice(0, FAULTS_MAX)) ledger.fault(text);
  }

  /** Every session ends: no region wants anything any more, of others or for them. */
  async #end(): Promise<void> {
    const ending = new RegionEnding(this.#kernel, this.#site, this.#ledger);
    this.#isEnded = true;
    this.#zero.end();
    this.#kept.end();
    for (const { stage, publishers, subscribers, region } of this.#scenes) {
      stage.isOver = true;
      for (const client of [...publishers, ...subscribers]) {
        client.close();
        ending.endSession(region, client.options.clientId);
      }
    }
    for (const [region, clientId] of this.#kept.sessions) ending.endSession(region, clientId);
    await ending.nothingLeft(HEAL_MS, FAULTS_MAX);
  }
}

export function describeRegionRun(report: RegionRunReport): string {
  const { seed, happened, published, acked, delivered, lost, duplicates, orderViolations } = report;
  const { taken, sent, faults, examples } = report;
  return [
    `seed ${seed}: published ${published}, acked ${acked}, delivered ${delivered}, lost ${lost}, ` +
      `duplicates ${duplicates}, order violations ${orderViolations}, over links ${sent}, taken ${taken}`,
    ...happened,
    ...faults,
    ...examples,
  ].join('\n');
}
