/**
 * One run of the cluster in virtual time: the cast of the chaos runs (test/chaos), clients with wills and
 * probes over simulated nodes, faults chosen by the seed, and the books of test/chaos/ledger.ts: acked is
 * never lost, QoS 2 comes once, first deliveries keep their order, sessions are truthful (FIELD §3).
 * While it runs nobody owns what another has, and nobody answers without a lease; in the end all nodes and
 * Redis say the same, and when every session has ended nothing is left of any.
 */
import { type Cast, cast } from '../chaos/cast.ts';
import { Ledger, type Verdict } from '../chaos/ledger.ts';
import { Prng } from '../chaos/prng.ts';
import type { Stage } from '../chaos/stage.ts';
import { AnswerWatch } from './answer-watch.ts';
import {
  ClusterFaults,
  FAILOVER_HISTORY_MS,
  lossyFaults,
  type SimFault,
  simFaults,
} from './cluster-faults.ts';
import { Kernel, SimulationFailure } from './kernel.ts';
import { OwnerWatch } from './owner-watch.ts';
import { pass, passUntil } from './passing.ts';
import { isKnown, leftOver, unsettled } from './settled-site.ts';
import { SimClient } from './sim-client.ts';
import { SimSite, type SimSiteOptions } from './sim-site.ts';
import { simStage } from './sim-stage.ts';
import { SubackProbes } from './suback-probes.ts';
import { WillKeepers } from './will-keepers.ts';

export interface ClusterRunOptions extends SimSiteOptions {
  readonly seed: number;
  readonly faults?: number;
  readonly kinds?: readonly SimFault[];
  readonly isTracing?: boolean;
  /** Messages of each publisher and second of virtual time. */
  readonly ratePerS?: number;
  /** A part of the cast, chosen by the seed: for many short runs. */
  readonly isShort?: boolean;
  /** Who subscribes are members of shared groups that come and go: often all are away. */
  readonly isOfGroups?: boolean;
  /** How long clients stay with a node that says nothing. */
  readonly deafMs?: number;
  /** Between two probes, and how many at most: for runs about SUBACK. */
  readonly probeEveryMs?: readonly [min: number, max: number];
  readonly probesMax?: number;
  /** Redis is made worse: planted. */
  readonly plant?: (site: SimSite) => void;
}

export interface ClusterRunReport extends Verdict {
  readonly seed: number;
  readonly happened: readonly string[];
  readonly virtualS: number;
  readonly events: number;
  /** SUBACKs at which another node was published to at once. */
  readonly probes: number;
  readonly probesMissed: number;
  readonly drifts: number;
  /** Sessions nobody is connected to, of which not all nodes know the same in the end. */
  readonly stale: number;
}

const TICK_MS = 20;
/** Until everything has come after the last fault; longer than expiry of a lease and a join. */
const HEAL_MS = 60_000;
const START_MS = 60_000;
/** Until nodes say the same, and until nothing is left. */
const SETTLE_MS = 8000;
/** What is not settled by then is looked at so often. */
const LOOKS = 60;
const LOOK_MS = 50;
const DEAF_MS = 6000;
/** Of a short run: how many of each. */
const SHORT_PUBLISHERS = 3;
const SHORT_SUBSCRIBERS = 6;
const FAULTS_MAX = 8;
const SAID_OF_A_LOSS = ': Redis was empty: queued messages are lost ';
/** A node may be another one afterwards. */
const DEADLY: ReadonlySet<SimFault> = new Set([
  'kill',
  'all_down',
  'restart',
  'pause',
  'suspend',
  'clock_jump',
  'redis_away',
  'link_block',
]);

export function runCluster(options: ClusterRunOptions): Promise<ClusterRunReport> {
  return new ClusterRun(options).run();
}

class ClusterRun {
  readonly #options: ClusterRunOptions;
  readonly #kernel: Kernel;
  readonly #site: SimSite;
  readonly #ledger = new Ledger();
  readonly #stage: Stage;
  readonly #cast: Cast;
  readonly #plan: Prng;
  readonly #faults: ClusterFaults;
  readonly #planned: readonly SimFault[];
  readonly #owners: OwnerWatch;
  readonly #answers = new AnswerWatch();
  readonly #probes: SubackProbes;
  readonly #wills: WillKeepers;
  readonly #deafMs: number;
  readonly #open: Set<{ close: () => void; heardMs: number }> = new Set();
  #debt = 0;
  #probesMissed = 0;
  /** What is never settled. */
  #standing: readonly string[] = [];
  /** Things known to some nodes only, of sessions nobody is connected to. */
  #stale = 0;

  constructor(options: ClusterRunOptions) {
    const { seed, faults = 6, kinds = simFaults } = options;
    this.#options = options;
    this.#deafMs = options.deafMs ?? DEAF_MS;
    const plan = new Prng(seed ^ 0x0fa7);
    this.#plan = plan;
    const planned = plannedFaults(plan, faults, kinds);
    this.#planned = planned;
    const fails = planned.includes('failover');
    const kernel = new Kernel(seed, { isTracing: options.isTracing ?? false });
    const site = new SimSite(kernel, {
      ...options,
      historyMs: fails ? FAILOVER_HISTORY_MS : 0,
    });
    if (fails) site.redis.replicaMs = ClusterFaults.replicaMs(plan);
    this.#kernel = kernel;
    this.#site = site;
    this.#owners = new OwnerWatch(site);
    site.onLife = (life) => this.#owners.watch(life);
    site.onWrite = (life, buffer, start, end) =>
      this.#answers.wrote(life, kernel.nowMs, buffer, start, end);
    const ledger = this.#ledger;
    this.#stage = simStage(kernel, ledger, new Prng(seed ^ 0x5eed));
    const whole = cast(this.#stage);
    const some = options.isShort === true ? someOf(whole, plan) : whole;
    this.#cast = options.isOfGroups === true ? ofGroups(whole, some) : some;
    this.#faults = new ClusterFaults({
      kernel,
      site,
      plan,
      ledger,
      storm: (messages) => {
        this.#debt += messages;
      },
    });
    this.#probes = new SubackProbes(kernel, site, new Prng(seed ^ 0x9e0b), options);
    this.#wills = new WillKeepers(kernel, site, new Prng(seed ^ 0x3111));
    options.plant?.(site);
  }

  #tick(): void {
    const kernel = this.#kernel;
    if (this.#stage.isOver) return;
    kernel.after(null, TICK_MS, () => this.#tick());
    const nowMs = kernel.nowMs;
    this.#debt += (TICK_MS * (this.#options.ratePerS ?? 5)) / 1000;
    const count = Math.floor(this.#debt);
    this.#debt -= count;
    this.#stage.dial = this.#site.ready.length === 0 ? null : this.#dial;
    for (const publisher of this.#cast.publishers) publisher.tick(count, nowMs);
    for (const subscriber of this.#cast.subscribers) subscriber.tick(nowMs);
    for (const open of this.#open) if (nowMs - open.heardMs > this.#deafMs) open.close();
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

  get #isReady(): boolean {
    return this.#site.ready.length === this.#site.machines.length;
  }

  async run(): Promise<ClusterRunReport> {
    const kernel = this.#kernel;
    for (const machine of this.#site.machines) this.#site.start(machine);
    await this.#until(START_MS, () => this.#isReady, 'ready');
    this.#tick();
    this.#wills.begin();
    const isThere = (): boolean =>
      this.#wills.isWatching && this.#cast.subscribers.every(({ isSubscribed }) => isSubscribed);
    await this.#until(START_MS, isThere, 'subscribed');
    this.#probes.begin();
    for (const fault of this.#planned) {
      // Now and then two at once.
      if (!this.#plan.once(5)) await pass(kernel, this.#plan.between(50, 2500));
      this.#faults.inflict(fault);
    }
    await pass(kernel, 2000);
    await this.#settle();
    this.#judge();
    await this.#end();
    const report = {
      seed: this.#options.seed,
      happened: this.#faults.happened,
      virtualS: Math.round(kernel.nowMs / 1000),
      events: kernel.steps,
      probes: this.#probes.answered,
      probesMissed: this.#probesMissed,
      drifts: this.#faults.driftsMs.length,
      stale: this.#stale,
      ...this.#ledger.verdict(),
    };
    if (report.isClean) return report;
    throw new SimulationFailure(kernel.report(describeClusterRun(report)), report);
  }

  async #until(withinMs: number, isReached: () => boolean, what: string): Promise<void> {
    if (await passUntil(this.#kernel, withinMs, isReached)) return;
    const { faults } = this.#ledger.verdict();
    const missing = this.#cast.subscribers.filter(({ isSubscribed }) => !isSubscribed);
    const names = missing.map(({ options }) => options.clientId).join(', ');
    const why = [...faults, ...this.#site.complaints].join('\n');
    this.#kernel.fail(`seed ${this.#options.seed}: never ${what}: ${names}\n${why}`);
  }

  /** Nobody goes away any more; everything that is owed comes. */
  async #settle(): Promise<void> {
    const kernel = this.#kernel;
    this.#stage.isClosing = true;
    this.#probes.end();
    this.#wills.end();
    this.#faults.heal();
    const hasLostData = this.#faults.losses > 0;
    const isDone = (): boolean =>
      this.#isReady &&
      this.#cast.publishers.every((publisher) => publisher.isDone) &&
      this.#ledger.isSettled &&
      // A queue is read when its owner has Redis again; the looks of every minute are no excuse.
      (kernel.nowMs >= this.#faults.overMs ||
        this.#probes.missed(hasLostData, this.#faults.driftsMs).length === 0) &&
      this.#wills.isSettled(hasLostData);
    const untilMs = kernel.nowMs + HEAL_MS;
    while (!isDone() && kernel.nowMs < untilMs) await pass(kernel, 250);
    // What must not come has time to come.
    await pass(kernel, 1000);
    // Nodes may have ended connections meanwhile: their wills are due later.
    await passUntil(kernel, HEAL_MS, () => this.#wills.isSettled(hasLostData));
    await passUntil(kernel, SETTLE_MS, () => this.#isAtRest);
    this.#standing = unsettled(this.#site).hard;
    // What stands still is there whenever one looks; what clients that come and go have under way is not.
    for (let looks = 0; looks < LOOKS && this.#standing.length > 0; looks++) {
      await pass(kernel, LOOK_MS);
      const now = new Set(unsettled(this.#site).hard);
      this.#standing = this.#standing.filter((text) => now.has(text));
    }
  }

  get #isAtRest(): boolean {
    const { hard, soft } = unsettled(this.#site);
    this.#stale = soft.length;
    return hard.length + soft.length === 0;
  }

  #judge(): void {
    const ledger = this.#ledger;
    const hasLostData = this.#faults.losses > 0;
    for (const publisher of this.#cast.publishers) {
      const { clientId } = publisher.options;
      if (!publisher.isDone) ledger.fault(`${clientId}: waits for acks that never come`);
      else if (publisher.options.retain === true) this.#judgeRetained(publisher);
    }
    if (!this.#isReady) ledger.fault(`only ${this.#site.ready.length} nodes are ready in the end`);
    this.#wills.judge(ledger, hasLostData);
    const { broken } = this.#owners;
    const missed = this.#probes.missed(hasLostData, this.#faults.driftsMs);
    this.#probesMissed = missed.length;
    const standing = this.#standing;
    const faults = [...missed, ...broken, ...this.#answers.broken, ...standing, ...this.#unknown()];
    for (const text of faults.slice(0, FAULTS_MAX)) ledger.fault(text);
    for (const text of this.#site.complaints) {
      // That it is counted and said is what is promised then (P1).
      if (hasLostData && text.includes(SAID_OF_A_LOSS)) continue;
      ledger.fault(`complained: ${text}`);
    }
  }

  /** Subscriptions that clients were told they have. */
  #unknown(): string[] {
    const unknown: string[] = [];
    for (const { options } of this.#cast.subscribers) {
      if (options.temper === 'fickle') continue;
      for (const filter of options.filters) {
        unknown.push(...isKnown(this.#site, options.clientId, filter));
      }
    }
    return unknown;
  }

  #judgeRetained(publisher: Cast['publishers'][number]): void {
    for (const life of this.#site.ready) {
      const kept = new Map<string, string>();
      for (const { topic, payload } of life.broker.admin.kept()) {
        kept.set(topic, payload.toString('latin1'));
      }
      for (const topic of publisher.retainedTopics) {
        const allowed = publisher.retainedAllowed(topic)();
        this.#ledger.retained(topic, kept.get(topic) ?? '', allowed);
      }
    }
  }

  /** Every client takes its session and ends it: nothing may be left. */
  async #end(): Promise<void> {
    const kernel = this.#kernel;
    const { publishers, subscribers } = this.#cast;
    this.#stage.isOver = true;
    this.#wills.stop();
    if (!this.#isReady) return;
    const others = [...this.#probes.clients, ...this.#wills.clients];
    for (const client of [...publishers, ...subscribers]) client.close();
    for (const client of others) if (client.isOpen) client.leave();
    // A node that has no Redis yet would refuse them.
    await pass(kernel, Math.max(100, this.#faults.overMs - kernel.nowMs));
    const clientIds = [...publishers, ...subscribers].map(({ options }) => options.clientId);
    const last = [...clientIds, ...others.map(({ clientId }) => clientId)].map(
      (clientId) => new SimClient(this.#site, clientId),
    );
    for (const client of last) {
      client.onPacket = ({ type }) => {
        if (type === 'CONNACK') client.leave();
      };
      client.connect(this.#plan.pick(this.#site.machines), { cleanStart: true, expiryS: 0 });
    }
    const left = (): string[] => leftOver(this.#site, this.#stale > 0);
    await passUntil(kernel, SETTLE_MS, () => left().length === 0);
    for (const text of left().slice(0, FAULTS_MAX)) this.#ledger.fault(text);
  }
}

/**
 * When Redis loses its data the nodes are all that is left: then at most one of them goes, or nobody could
 * say any more what there was.
 */
function plannedFaults(plan: Prng, count: number, kinds: readonly SimFault[]): SimFault[] {
  const planned: SimFault[] = [];
  for (let index = 0; index < count; index++) planned.push(plan.pick(kinds));
  if (!planned.some((fault) => lossyFaults.some((lossy) => lossy === fault))) return planned;
  const firstDeadly = planned.findIndex((fault) => DEADLY.has(fault));
  return planned.filter(
    (fault, index) => !DEADLY.has(fault) || (index === firstDeadly && fault !== 'all_down'),
  );
}

/** Some publishers and readers, groups as a whole. */
function someOf({ publishers, subscribers }: Cast, plan: Prng): Cast {
  const chosen = new Set<string>();
  while (chosen.size < SHORT_SUBSCRIBERS) {
    const { group, clientId } = plan.pick(subscribers).options;
    chosen.add(group ?? clientId);
    if (group === undefined) continue;
    // Three of a kind.
    for (const { options } of subscribers)
      if (options.group === group) chosen.add(options.clientId);
  }
  const some = new Set<string>();
  while (some.size < SHORT_PUBLISHERS) some.add(plan.pick(publishers).options.clientId);
  return {
    publishers: publishers.filter(({ options }) => some.has(options.clientId)),
    subscribers: subscribers.filter(({ options }) => chosen.has(options.clientId)),
  };
}

function ofGroups({ subscribers }: Cast, { publishers }: Cast): Cast {
  const members = subscribers.filter(
    ({ options }) => options.group !== undefined && options.temper !== 'steady',
  );
  return { publishers, subscribers: members };
}

export function describeClusterRun(report: ClusterRunReport): string {
  return [
    `seed ${report.seed}: ${report.virtualS} s, ${report.events} events, ${report.probes} probes`,
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
