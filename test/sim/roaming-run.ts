/**
 * One run of sessions that go from region to region, in virtual time (ADR 0023): publishers in every region,
 * devices that move, faults chosen by the seed, and the books of test/chaos/ledger.ts over all. At first without
 * faults, when also the order is promised; then with them. In the end each session has one home, and what was
 * acknowledged has come to it. What a region is made of, a node alone or a datacenter, is region-site.ts's.
 */
import { Ledger, type Verdict } from '../chaos/ledger.ts';
import { Prng } from '../chaos/prng.ts';
import type { Publisher } from '../chaos/publisher.ts';
import type { Stage } from '../chaos/stage.ts';
import type { Subscriber } from '../chaos/subscriber.ts';
import { flow, flowUntil } from './flowing.ts';
import { Kernel, SimulationFailure } from './kernel.ts';
import { LinkWatch } from './link-watch.ts';
import { OwnerWatch } from './owner-watch.ts';
import { regionCast, regionPublishers } from './region-cast.ts';
import { RegionEnding } from './region-ending.ts';
import { type RegionFault, RegionFaults, regionFaults } from './region-faults.ts';
import type { RegionLife, SimRegion } from './region-life.ts';
import { RegionSite, type RegionSiteOptions } from './region-site.ts';
import { type CastHabits, roamingCast } from './roaming-cast.ts';
import type { RoamingClient, RoamingGuide } from './roaming-client.ts';
import { type RoamingExcuses, RoamingWatch } from './roaming-watch.ts';
import { faultUnanswered, simStage } from './sim-stage.ts';

export interface RoamingRunOptions extends RegionSiteOptions, Partial<CastHabits> {
  readonly seed: number;
  readonly faults?: number;
  readonly kinds?: readonly RegionFault[];
  readonly isTracing?: boolean;
  /** Others that stay where they are, so that links want all there is. */
  readonly hasResidents?: boolean;
  /** Left out: the seed decides. */
  readonly devices?: number;
  /** Until the first fault. */
  readonly quietMs?: number;
  /** Messages of each publisher and second of virtual time. */
  readonly ratePerS?: number;
}

export interface RoamingRunReport extends Verdict {
  readonly seed: number;
  readonly happened: readonly string[];
  readonly virtualS: number;
  readonly events: number;
  readonly moves: number;
  readonly away: number;
  readonly excused: RoamingExcuses;
}

type Guide = RoamingGuide & { isStarted: boolean; isClosing: boolean; isOver: boolean };

interface Place {
  readonly region: SimRegion;
  readonly stage: Stage;
  readonly publishers: readonly Publisher[];
  readonly residents: readonly Subscriber[];
}

const TICK_MS = 20;
const START_MS = 60_000;
/** A half-open link is noticed after a minute, and comes again after half of one. */
const HEAL_MS = 240_000;
const SETTLE_MS = 2000;
const FAULTS_MAX = 8;
const TRACE_LINES = 6000;
const DELAY_MAX_MS = 300;

export function runRoaming(options: RoamingRunOptions): Promise<RoamingRunReport> {
  return new RoamingRun(options).run();
}

class RoamingRun {
  readonly #options: RoamingRunOptions;
  readonly #kernel: Kernel;
  readonly #site: RegionSite;
  readonly #ledger = new Ledger();
  readonly #places: readonly Place[];
  readonly #devices: readonly RoamingClient[];
  readonly #guide: Guide;
  readonly #plan: Prng;
  readonly #faults: RegionFaults;
  readonly #links: LinkWatch;
  readonly #watch: RoamingWatch;
  /** By region. */
  readonly #owners: Map<string, OwnerWatch> = new Map();
  #debt = 0;
  #isStarted = false;
  #isEnded = false;

  constructor(options: RoamingRunOptions) {
    const { seed, hasResidents = false } = options;
    this.#options = options;
    const plan = new Prng(seed ^ 0x70a3);
    this.#plan = plan;
    const kernel = new Kernel(seed, {
      isTracing: options.isTracing ?? false,
      traceLines: TRACE_LINES,
    });
    this.#kernel = kernel;
    const site = new RegionSite(kernel, { ...options, roams: true });
    this.#site = site;
    this.#links = new LinkWatch(site, options.startsClean);
    this.#watch = new RoamingWatch(site, this.#ledger, options.delayMaxMs ?? DELAY_MAX_MS);
    site.onLife = (life) => {
      this.#links.watch(life);
      this.#watchOwners(life);
      this.#watch.watch(life);
    };
    this.#faults = new RegionFaults({ kernel, site, plan });
    const prng = new Prng(seed ^ 0x5eed);
    this.#places = site.regions.map((region) => {
      const stage = simStage(kernel, this.#ledger, prng);
      stage.isClosing = true;
      if (!hasResidents) {
        const publishers = regionPublishers(stage, region.name, plan);
        return { region, stage, publishers, residents: [] };
      }
      const { publishers, subscribers } = regionCast(stage, region.name, plan);
      return { region, stage, publishers, residents: subscribers };
    });
    this.#guide = this.#guideOf(prng);
    const { startsClean = false, changesSubscriptions = false, devices, newcomers } = options;
    const habits = { startsClean, changesSubscriptions, devices, newcomers };
    this.#devices = roamingCast(this.#guide, site.regions, plan, habits);
    for (const { clientId } of this.#devices) this.#ledger.reader(clientId);
  }

  /** Within a region a session has one owner at a time. */
  #watchOwners({ region, member }: RegionLife): void {
    const { datacenter } = this.#site.region(region);
    if (datacenter === null || member === null) return;
    let owners = this.#owners.get(region);
    if (owners === undefined) {
      owners = new OwnerWatch(datacenter);
      this.#owners.set(region, owners);
    }
    owners.watch(member);
  }

  #guideOf(prng: Prng): Guide {
    const site = this.#site;
    const watch = this.#watch;
    const kernel = this.#kernel;
    return {
      ledger: this.#ledger,
      prng,
      nowMs: () => kernel.nowMs,
      isStarted: false,
      // Nobody goes away until links have what is wanted.
      isClosing: true,
      isOver: false,
      dial: (region) => site.dialTo(site.region(region)),
      isRooted: (device) => watch.isRooted(device),
      connecting: (device, region) => watch.connecting(device, region),
      excuses: (device, region) => watch.excuses(device, region),
      isCollected: (device) => watch.isCollected(device),
      isOwed: (region, filter) => filter.startsWith(`chaos/${region}/`) || watch.isLinked,
      trace: (clientId, text) => kernel.trace(null, `${clientId} ${text}`),
    };
  }

  #tick(): void {
    if (this.#isEnded) return;
    this.#kernel.after(null, TICK_MS, () => this.#tick());
    const { nowMs } = this.#kernel;
    if (this.#isStarted) this.#debt += (TICK_MS * (this.#options.ratePerS ?? 5)) / 1000;
    const count = Math.floor(this.#debt);
    this.#debt -= count;
    for (const { region, stage, publishers, residents } of this.#places) {
      stage.dial = this.#site.dialTo(region);
      for (const publisher of publishers) publisher.tick(count, nowMs);
      for (const resident of residents) resident.tick(nowMs);
    }
    this.#watch.tick(nowMs, this.#devices);
    for (const device of this.#devices) device.tick(nowMs);
  }

  async run(): Promise<RoamingRunReport> {
    const kernel = this.#kernel;
    const { faults = 3, kinds = regionFaults, quietMs = 4000 } = this.#options;
    const planned = Array.from({ length: faults }, () => this.#plan.pick(kinds));
    for (const region of this.#site.regions) this.#site.start(region);
    await this.#until(START_MS, () => this.#site.isReady, 'ready');
    this.#tick();
    const areThere = (): boolean =>
      this.#devices.every(
        ({ isServed, isClaimed, options }) => options.isNewcomer || (isServed && isClaimed),
      ) && this.#places.every(({ residents }) => residents.every((one) => one.isSubscribed));
    await this.#until(START_MS, areThere, 'subscribed');
    // P8 is about filters that the far side has acknowledged.
    await this.#linked();
    this.#isStarted = true;
    this.#guide.isStarted = true;
    this.#guide.isClosing = false;
    for (const { stage } of this.#places) stage.isClosing = false;
    await flow(kernel, quietMs);
    for (const fault of planned) {
      if (!this.#plan.once(4)) await flow(kernel, this.#plan.between(50, 4000));
      this.#watch.troubled();
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
      moves: this.#devices.reduce((sum, { moves }) => sum + moves, 0),
      away: this.#watch.away,
      excused: this.#watch.excused,
      ...this.#ledger.verdict(),
    };
    if (report.isClean) return report;
    throw new SimulationFailure(kernel.report(describeRoamingRun(report)), report);
  }

  async #linked(): Promise<void> {
    for (let looks = 0; looks < 3; looks++) {
      await this.#until(START_MS, () => this.#site.isLinked, 'linked');
      await flow(this.#kernel, SETTLE_MS);
    }
  }

  async #until(withinMs: number, isReached: () => boolean, what: string): Promise<void> {
    if (await flowUntil(this.#kernel, withinMs, isReached)) return;
    const { faults } = this.#ledger.verdict();
    const scattered = [...this.#watch.scattered(this.#devices)];
    const why = [...faults, ...scattered, ...this.#site.complaints, ...this.#site.drifts()];
    this.#kernel.fail(`seed ${this.#options.seed}: never ${what}\n${why.join('\n')}`);
  }

  /** Nobody goes away any more; everything that is owed comes, and each session to where its device is. */
  async #settle(): Promise<void> {
    this.#guide.isClosing = true;
    for (const { stage } of this.#places) stage.isClosing = true;
    this.#faults.heal();
    const isDone = (): boolean =>
      this.#site.isLinked &&
      this.#places.every(({ publishers }) => publishers.every((one) => one.isDone)) &&
      this.#ledger.isSettled &&
      this.#links.waiting().next().done === true &&
      this.#watch.scattered(this.#devices).next().done === true;
    await flowUntil(this.#kernel, HEAL_MS, isDone, 250);
    // What must not come has time to come.
    await flow(this.#kernel, SETTLE_MS);
    // What a client that began anew has elsewhere may end only now, and what was wanted for it.
    await flowUntil(this.#kernel, HEAL_MS, () => this.#site.isLinked, 250);
  }

  #judge(): void {
    const ledger = this.#ledger;
    if (this.#kernel.isTracing) this.#watch.trace(this.#devices);
    for (const { publishers } of this.#places) faultUnanswered(ledger, publishers);
    const { ready, isReady } = this.#site;
    if (!isReady) ledger.fault(`only ${ready.length} nodes are ready in the end`);
    const faults = [
      ...[...this.#owners.values()].flatMap(({ broken }) => broken),
      ...this.#links.broken,
      ...this.#links.counted(),
      ...this.#links.waiting(),
      ...this.#watch.scattered(this.#devices),
      ...this.#site.drifts(),
      ...this.#site.complaints.map((text) => `complained: ${text}`),
    ];
    for (const text of faults.slice(0, FAULTS_MAX)) ledger.fault(text);
  }

  /** Every session ends where its client is: no region has any of it any more. */
  async #end(): Promise<void> {
    const ending = new RegionEnding(this.#kernel, this.#site, this.#ledger);
    this.#isEnded = true;
    this.#guide.isOver = true;
    for (const { stage, publishers, residents, region } of this.#places) {
      stage.isOver = true;
      for (const client of [...publishers, ...residents]) {
        client.close();
        ending.endSession(region, client.options.clientId);
      }
    }
    for (const device of this.#devices) {
      device.close();
      ending.endSession(this.#site.region(device.region), device.clientId);
    }
    await ending.nothingLeft(HEAL_MS, FAULTS_MAX);
  }
}

export function describeRoamingRun(report: RoamingRunReport): string {
  const { seed, happened, published, acked, delivered, lost, duplicates, orderViolations } = report;
  const { faults, examples, moves, away } = report;
  return [
    `seed ${seed}: ${moves} moves, ${away} away, published ${published}, acked ${acked}, ` +
      `delivered ${delivered}, lost ${lost}, duplicates ${duplicates}, ` +
      `order violations ${orderViolations}`,
    ...happened,
    ...faults,
    ...examples,
  ].join('\n');
}
