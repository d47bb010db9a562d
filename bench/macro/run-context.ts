// What a scenario works with during one run against one broker: the broker's process, the load,
// and the measured phases built from them. Collects problems (drops, crashes, lost connections)
// so that no scenario can forget to tell them.

import type { BrokerProcess } from '../peers/broker-process.ts';
import type { Column } from './figure.ts';
import type { ClientSpec, Opened, PublishPlan, Target } from './load/protocol.ts';
import type { LoadProcesses, LoadStats } from './load-processes.ts';
import { coreBusySeconds, cpuSeconds, peakResidentBytes, residentBytes } from './process-usage.ts';

const POLL_MS = 25;
const STALL_MS = 5000;
const SETTLE_MAX_MS = 60_000;
/** A phase that was meant to last some seconds is cut off here. */
const PUBLISH_MAX_MS = 30_000;
const QUIET_MS = 200;
const QUIET_CPU_S = 0.011;
const QUIET_MAX_MS = 20_000;
const MIB = 1024 * 1024;

export interface RunSettings {
  readonly seconds: number;
  readonly warmupSeconds: number;
  readonly mqttVersion: 4 | 5;
  readonly payloadBytes: number;
  readonly window: number;
  readonly burst: number;
  readonly keepAliveS: number;
  /** Overrides a traffic scenario's rate. */
  readonly ratePerS: number | undefined;
  /** Overrides how many messages the offline scenarios store. */
  readonly messages: number | undefined;
  /** Overrides how many clients the idle scenario opens. */
  readonly clients: number | undefined;
}

/** What one phase took, between sending the first and receiving the last message. */
export interface Phase {
  readonly sent: number;
  readonly received: number;
  readonly elapsedS: number;
  readonly publishS: number;
  readonly usage: Usage;
}

/** What was used since `begin`. */
export interface Usage {
  readonly brokerCpuS: number;
  /** What everybody else used of the broker's core; NaN when it has none of its own. */
  readonly othersS: number;
  readonly wallS: number;
}

interface UsageBegin {
  readonly brokerCpuS: number;
  readonly coreS: number;
  readonly atMs: number;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

function list(reasons: ReadonlyMap<string, number>): string {
  return [...reasons].map(([reason, count]) => `${count} × ${reason}`).join(', ');
}

export class RunContext {
  readonly broker: BrokerProcess;
  readonly load: LoadProcesses;
  readonly settings: RunSettings;
  readonly target: Target;
  readonly problems: Set<string> = new Set();
  /** What a reader of the figures should know, though nothing went wrong. */
  readonly remarks: Set<string> = new Set();

  readonly #core: number | undefined;

  constructor(
    broker: BrokerProcess,
    load: LoadProcesses,
    settings: RunSettings,
    core: number | undefined,
  ) {
    this.#core = core;
    this.broker = broker;
    this.load = load;
    this.settings = settings;
    this.target = {
      host: '127.0.0.1',
      port: broker.port,
      mqttVersion: settings.mqttVersion,
      keepAliveS: settings.keepAliveS,
    };
  }

  /** CPU the broker has used since it was started, in seconds. */
  brokerCpuS(): number {
    return cpuSeconds(this.broker.pid);
  }

  /** Begins to watch what the broker and others use. */
  begin(): UsageBegin {
    const coreS = this.#core === undefined ? Number.NaN : coreBusySeconds(this.#core);
    return { brokerCpuS: this.brokerCpuS(), coreS, atMs: performance.now() };
  }

  usedSince(begin: UsageBegin): Usage {
    const end = this.begin();
    const brokerCpuS = end.brokerCpuS - begin.brokerCpuS;
    return {
      brokerCpuS,
      othersS: Math.max(0, end.coreS - begin.coreS - brokerCpuS),
      wallS: (end.atMs - begin.atMs) / 1000,
    };
  }

  /** Opens clients; a run with one missing is no run. */
  async open(group: string, clients: readonly ClientSpec[]): Promise<Opened> {
    const opened = await this.load.open(group, this.target, clients);
    this.demand(opened, `of ${clients.length} ${group}`);
    return opened;
  }

  demand(opened: Opened, whose: string): void {
    if (opened.failures.size > 0) {
      throw new Error(`not ready ${whose}: ${list(opened.failures)}`);
    }
  }

  plan(qos: number, countPerPublisher: number, ratePerS: number, retain: boolean): PublishPlan {
    const { payloadBytes, window, burst } = this.settings;
    return {
      qos,
      retain,
      payloadBytes,
      countPerPublisher,
      window,
      burst,
      ratePerS,
      stallMs: STALL_MS,
      withinMs: Math.max(PUBLISH_MAX_MS, this.settings.seconds * 4000),
    };
  }

  /** Publishes from a group, waits until `copies` of each message came, and measures both. */
  async phase(
    group: string,
    publishers: number,
    plan: PublishPlan,
    copies: number,
  ): Promise<Phase> {
    await this.load.clear();
    const begin = this.begin();
    const beganUs = this.load.nowUs();
    const done = await this.load.publish(group, plan, publishers);
    const publishedUs = this.load.nowUs();
    const wanted = plan.countPerPublisher * publishers;
    const cut = publishedUs - beganUs > plan.withinMs * 1000;
    if ((done.sent < wanted && !cut) || (plan.qos > 0 && done.acked < done.sent)) {
      this.problems.add(`publishers stalled: ${done.sent} of ${wanted} sent, ${done.acked} acked`);
    } else if (done.sent < wanted) {
      this.remarks.add(`cut off after ${plan.withinMs / 1000} s: ${done.sent} of ${wanted} sent`);
    }
    const { received, lastReceivedUs } = await this.settle(done.sent * copies);
    const firstUs = done.firstSentUs > 0 ? done.firstSentUs : beganUs;
    return {
      sent: done.sent,
      received,
      elapsedS: Math.max(lastReceivedUs, copies > 0 ? 0 : publishedUs) / 1e6 - firstUs / 1e6,
      publishS: (publishedUs - firstUs) / 1e6,
      usage: this.usedSince(begin),
    };
  }

  /** Waits until so many messages came since the last clear, or nothing moves any more. */
  async settle(expected: number): Promise<{ received: number; lastReceivedUs: number }> {
    const endMs = performance.now() + SETTLE_MAX_MS;
    let movedMs = performance.now();
    let seen = -1;
    for (;;) {
      const { received, lastReceivedUs, closed } = await this.load.counters();
      const nowMs = performance.now();
      if (received !== seen) {
        seen = received;
        movedMs = nowMs;
      }
      if (closed.size > 0) {
        this.problems.add(`connections lost: ${list(closed)}`);
      }
      const over = received >= expected || closed.size > 0 || this.broker.crash !== undefined;
      if (over || nowMs - movedMs > STALL_MS || nowMs > endMs) {
        await sleep(POLL_MS);
        const last = await this.load.counters();
        return last.received === received
          ? { received, lastReceivedUs }
          : { received: last.received, lastReceivedUs: last.lastReceivedUs };
      }
      await sleep(POLL_MS);
    }
  }

  /** Waits until the broker has stopped working on what it was given. */
  async quiet(): Promise<void> {
    const endMs = performance.now() + QUIET_MAX_MS;
    let before = this.brokerCpuS();
    while (performance.now() < endMs && this.broker.crash === undefined) {
      await sleep(QUIET_MS);
      const after = this.brokerCpuS();
      if (after - before <= QUIET_CPU_S) {
        return;
      }
      before = after;
    }
  }

  memory(): { rssMib: number; peakMib: number } {
    return {
      rssMib: residentBytes(this.broker.pid) / MIB,
      peakMib: peakResidentBytes(this.broker.pid) / MIB,
    };
  }

  /** The columns every loaded phase shares. */
  columns(
    operations: number,
    elapsedS: number,
    usage: Usage,
    stats: LoadStats,
  ): Partial<Record<Column, number>> {
    return {
      operationsPerS: operations / elapsedS,
      cpuUs: (usage.brokerCpuS * 1e6) / operations,
      brokerBusy: usage.brokerCpuS / elapsedS,
      coreOthers: usage.othersS / usage.wallS,
      loadBusy: stats.cpuS / elapsedS,
      loadLagMs: stats.loopDelayP99Ms,
      ...this.memory(),
    };
  }
}
