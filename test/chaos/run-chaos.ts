/**
 * One chaos run: a cast of publishers and subscribers, a broker that is killed again and again at
 * moments chosen by the seed, and the books. Everything runs in this process but the broker, so the
 * order of sending, acking and delivering is known. Called by run.ts and the tests.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cast } from './cast.ts';
import { Ledger, type Verdict } from './ledger.ts';
import { Link } from './link.ts';
import { Prng } from './prng.ts';
import { checkRetained } from './retained-watch.ts';
import type { Moment, Stage } from './stage.ts';
import type { Life, Subject } from './subject.ts';

export interface ChaosOptions {
  readonly seed: number;
  readonly kills: number;
  readonly subject: (folder: string) => Subject | Promise<Subject>;
  /** Messages a second of each publisher. */
  readonly ratePerS?: number;
  /** Faults the books must find. */
  readonly plant?: 'loss' | 'duplicate' | 'repeat';
  readonly log?: (line: string) => void;
}

export interface ChaosReport extends Verdict {
  readonly subject: string;
  readonly seed: number;
  readonly kills: number;
  /** Kills by what they were aimed at. */
  readonly aims: Readonly<Record<string, number>>;
  /** Longest time in which no subscriber received anything, restarts included. */
  readonly longestSilenceMs: number;
  readonly slowestStartMs: number;
  readonly peakRssBytes: number;
  readonly elapsedS: number;
}

const TICK_MS = 5;
const RATE_PER_S = 60;
/** A broker that is not up by then is not coming. */
const START_MS = 60_000;
/** Longest wait for a moment to strike at. */
const PATIENCE_MS = 1500;
const DRAIN_QUIET_MS = 8000;
const DRAIN_MAX_MS = 90_000;
/** After everything has come: time for what comes twice. */
const LATE_MS = 700;

type Aim = Moment | 'anytime' | 'starting' | 'listening';
const aims: readonly Aim[] = [
  'anytime',
  'anytime',
  'starting',
  'starting',
  'listening',
  'connack',
  'suback',
  'unsuback',
  'puback',
  'puback',
  'pubrec',
  'pubcomp',
  'delivery',
  'released',
  'backlog',
  'backlog',
];

/** A strike comes at the first to the n-th such packet; 25 where nothing is said. */
const countsMax: Partial<Record<Aim, number>> = { suback: 10, unsuback: 2, connack: 15 };

export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const folder = mkdtempSync(join(tmpdir(), 'causeway-chaos-'));
  const run = new ChaosRun(options, await options.subject(folder));
  try {
    return await run.run();
  } finally {
    run.end();
    rmSync(folder, { recursive: true, force: true });
  }
}

class ChaosRun {
  readonly #options: ChaosOptions;
  readonly #subject: Subject;
  readonly #prng: Prng;
  readonly #ledger = new Ledger();
  readonly #stage: Stage;
  readonly #cast: ReturnType<typeof cast>;
  readonly #timer: NodeJS.Timeout;
  readonly #aims: Record<string, number> = {};
  #life: Life | null = null;
  #debt = 0;
  #lastTickMs = performance.now();
  #lastDelivered = 0;
  #lastDeliveryMs = 0;
  #longestSilenceMs = 0;
  #slowestStartMs = 0;
  #peakRssBytes = 0;

  constructor(options: ChaosOptions, subject: Subject) {
    this.#options = options;
    this.#subject = subject;
    this.#prng = new Prng(options.seed);
    this.#stage = {
      ledger: this.#ledger,
      // The clients draw from their own, so that the plan of kills does not depend on timing.
      prng: new Prng(options.seed ^ 0x5eed),
      dial: null,
      nowMs: () => performance.now(),
      refusals: new Set(),
      isClosing: false,
      isOver: false,
      onMoment: () => {},
    };
    this.#cast = cast(this.#stage);
    if (options.plant === 'duplicate') this.#cast.publishers[2]!.plantTwiceEvery = 10;
    if (options.plant === 'repeat') this.#cast.subscribers[1]!.plantRepeatEvery = 50;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  end(): void {
    clearInterval(this.#timer);
    this.#stage.isOver = true;
    for (const one of [...this.#cast.publishers, ...this.#cast.subscribers]) one.close();
    this.#life?.kill();
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
    if (this.#ledger.delivered === this.#lastDelivered) return;
    this.#lastDelivered = this.#ledger.delivered;
    if (this.#lastDeliveryMs > 0) {
      this.#longestSilenceMs = Math.max(this.#longestSilenceMs, nowMs - this.#lastDeliveryMs);
    }
    this.#lastDeliveryMs = nowMs;
  }

  async run(): Promise<ChaosReport> {
    const { kills, seed, plant, log = () => {} } = this.#options;
    const beganMs = performance.now();
    // Everybody is there once, so that there are sessions to keep.
    await this.#start();
    await this.#opened();
    await pause(300);
    await this.#killAt('anytime');
    for (let kill = 1; kill < kills; kill++) {
      if (plant === 'loss' && kill === Math.floor(kills / 2)) this.#subject.wipe();
      const aim = this.#prng.pick(aims);
      await pause(this.#prng.between(0, 60));
      if (aim === 'starting') await this.#killWhileStarting();
      else {
        const life = await this.#start();
        // In about one life of six a new subscriber looks at the retained messages.
        if (this.#prng.once(6)) await this.#watchRetained();
        if (life === this.#life) await this.#killAt(aim);
      }
      if (kill % 10 === 0) {
        log(`${kill} kills, ${this.#ledger.acked} acked, ${this.#ledger.delivered} delivered`);
      }
    }
    await this.#start();
    await this.#drain();
    const verdict = this.#ledger.verdict();
    return {
      subject: this.#subject.name,
      seed,
      kills,
      aims: this.#aims,
      longestSilenceMs: Math.round(this.#longestSilenceMs),
      slowestStartMs: Math.round(this.#slowestStartMs),
      peakRssBytes: this.#peakRssBytes,
      elapsedS: Math.round((performance.now() - beganMs) / 100) / 10,
      ...verdict,
    };
  }

  async #opened(): Promise<void> {
    const deadline = performance.now() + START_MS;
    const isMissing = (): boolean => this.#cast.subscribers.some((one) => !one.isSubscribed);
    while (isMissing() && performance.now() < deadline) await pause(10);
    if (!isMissing()) return;
    const missing = this.#cast.subscribers.filter((one) => !one.isSubscribed);
    const names = missing.map(({ options }) => options.clientId).join(', ');
    const { faults } = this.#ledger.verdict();
    const why = [...faults, ...(this.#life?.complaints() ?? []).slice(-3)].join('\n');
    throw new Error(`never subscribed: ${names}\n${why}`);
  }

  #spawn(): Life {
    this.#ledger.life++;
    const life = this.#subject.start();
    this.#life = life;
    life.ready.catch(() => {});
    void life.exited.then(() => {
      this.#stage.dial = null;
      // Whoever kills it takes it off the stage first.
      if (this.#life !== life || this.#stage.isOver) return;
      this.#ledger.fault(`ended by itself: ${life.complaints().slice(-3).join(' ')}`);
      this.#life = null;
    });
    return life;
  }

  async #start(): Promise<Life> {
    const beganMs = performance.now();
    const life = this.#spawn();
    const port = await within(life.ready, START_MS);
    if (port === null) throw new Error(`does not listen: ${life.complaints().join(' ')}`);
    this.#slowestStartMs = Math.max(this.#slowestStartMs, performance.now() - beganMs);
    this.#stage.dial = (version, events) => new Link(port, version, events);
    return life;
  }

  async #strike(aim: string): Promise<void> {
    const life = this.#life;
    this.#stage.onMoment = () => {};
    if (life === null) return;
    this.#aims[aim] = (this.#aims[aim] ?? 0) + 1;
    this.#peakRssBytes = Math.max(this.#peakRssBytes, rssOf(life));
    this.#life = null;
    life.kill();
    await life.exited;
    for (const text of life.complaints()) this.#ledger.fault(`complained: ${text}`);
  }

  async #killAt(aim: Aim): Promise<void> {
    if (aim === 'listening') return this.#strike(aim);
    if (aim === 'anytime') {
      await pause(this.#prng.between(20, 900));
      return this.#strike(aim);
    }
    // Those come with the crowd that connects after a start, and are rare later.
    if (aim !== 'connack' && aim !== 'suback') await pause(this.#prng.between(0, 500));
    let left = this.#prng.between(1, countsMax[aim] ?? 25);
    const { promise, resolve } = Promise.withResolvers<void>();
    let struck: Promise<void> | null = null;
    this.#stage.onMoment = (moment) => {
      if (moment !== aim || --left > 0) return;
      // Here and now: the packet that caused it is still being handled.
      struck = this.#strike(aim);
      resolve();
    };
    await within(promise, PATIENCE_MS);
    await (struck ?? this.#strike(`${aim}, missed`));
  }

  async #killWhileStarting(): Promise<void> {
    this.#spawn();
    await pause(this.#prng.between(0, Math.round(this.#slowestStartMs)));
    await this.#strike('starting');
  }

  async #watchRetained(): Promise<void> {
    await checkRetained(this.#stage, this.#cast.publishers, 'kept/#');
  }

  /** Everybody stays and nothing new is published, until all has come or nothing comes any more. */
  async #drain(): Promise<void> {
    await pause(500);
    this.#stage.isClosing = true;
    const deadline = performance.now() + DRAIN_MAX_MS;
    this.#lastDeliveryMs = performance.now();
    // A planted loss never comes, so there is no point in waiting for it.
    const quietMs = this.#options.plant === 'loss' ? DRAIN_QUIET_MS / 5 : DRAIN_QUIET_MS;
    const isQuiet = (): boolean => performance.now() - this.#lastDeliveryMs > quietMs;
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
    this.#peakRssBytes = Math.max(this.#peakRssBytes, this.#life === null ? 0 : rssOf(this.#life));
  }
}

function rssOf(life: Life): number {
  try {
    return life.rssBytes();
  } catch {
    return 0;
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Null when it takes longer; leaves no timer behind. */
async function within<Value>(promise: Promise<Value>, ms: number): Promise<Value | null> {
  const { promise: late, resolve } = Promise.withResolvers<null>();
  const timer = setTimeout(() => resolve(null), ms);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The report for people. */
export function describeChaos(report: ChaosReport): string {
  const aimed = Object.entries(report.aims).map(([aim, count]) => `${aim} ${count}`);
  const share = report.owed === 0 ? 0 : (100 * report.lost) / report.owed;
  return [
    `${report.subject}: seed ${report.seed}, ${report.kills} kills in ${report.elapsedS} s`,
    `  published ${report.published}, acked ${report.acked}, refused ${report.refused}`,
    `  delivered ${report.delivered}, again ${report.redelivered}, owed ${report.owed}`,
    `  lost ${report.lost} (${share.toFixed(2)} %), QoS 2 duplicates ${report.duplicates}, ` +
      `order violations ${report.orderViolations}, unwanted ${report.unwanted}`,
    `  sessions lost ${report.sessionsLost}, invented ${report.sessionsInvented}; ` +
      `retained checked ${report.retainedChecked}, wrong ${report.retainedWrong}`,
    `  longest silence ${report.longestSilenceMs} ms, slowest start ${report.slowestStartMs} ms, ` +
      `peak RSS ${(report.peakRssBytes / 1048576).toFixed(0)} MiB`,
    `  kills aimed at: ${aimed.join(', ')}`,
    ...report.faults.map((text) => `  FAULT ${text}`),
    ...report.examples.map((text) => `  ${text}`),
    report.isClean ? '  clean' : '  NOT CLEAN',
  ].join('\n');
}
