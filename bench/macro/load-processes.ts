// The load side of a run: starts the load processes on their core, spreads clients over them and
// adds up what they count. The scenarios speak to this and never to a process.

import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Histogram } from './histogram.ts';
import type {
  Answers,
  ClientSpec,
  Counters,
  Opened,
  PublishPlan,
  Reply,
  Request,
  Stormed,
  StormOptions,
  Target,
} from './load/protocol.ts';

const REPLY_WITHIN_MS = 300_000;

interface Pending {
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

/** What the load itself cost and felt since the last `clear`. */
export interface LoadStats {
  readonly latency: Histogram;
  readonly ackLatency: Histogram;
  readonly lateness: Histogram;
  readonly cpuS: number;
  readonly loopDelayP99Ms: number;
  readonly loopDelayMaxMs: number;
}

/** Words before a command that keep it on a core. */
export function pinnedTo(core: number | undefined): string[] {
  return core === undefined ? [] : ['taskset', '-c', String(core)];
}

/**
 * The same for a load that must not disturb the one that measures: it runs when the core is idle,
 * and steps aside at once.
 */
export function inBackground(core: number | undefined): string[] {
  return core === undefined ? [] : [...pinnedTo(core), 'chrt', '--idle', '0'];
}

class LoadProcess {
  readonly #child: ChildProcess;
  readonly #pending: Map<number, Pending> = new Map();
  #nextId = 0;

  constructor(core: number | undefined, epochUs: number, isBackground: boolean) {
    const placed = isBackground ? inBackground(core) : pinnedTo(core);
    const worker = fileURLToPath(new URL('./load/worker.ts', import.meta.url));
    const [executable, ...parameters] = [...placed, process.execPath, worker, String(epochUs)];
    this.#child = spawn(executable!, parameters, {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      serialization: 'advanced',
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    this.#child.on('message', (reply: Reply) => this.#replied(reply));
    this.#child.once('error', (error) => this.#fail(error));
    this.#child.once('exit', (code, signal) => {
      this.#fail(new Error(`a load process ended with ${signal ?? code}`));
    });
  }

  ask<Kind extends Request['kind']>(
    request: Extract<Request, { kind: Kind }>,
  ): Promise<Answers[Kind]> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new Error(`a load process did not answer ${request.kind}`));
      }, REPLY_WITHIN_MS);
      this.#pending.set(id, { resolve, reject, timer });
      this.#child.send({ id, request });
    });
  }

  end(): void {
    this.#child.removeAllListeners('exit');
    if (this.#child.connected) {
      this.#child.disconnect();
    }
  }

  #replied(reply: Reply): void {
    const pending = this.#pending.get(reply.id);
    if (pending === undefined) {
      return;
    }
    this.#pending.delete(reply.id);
    clearTimeout(pending.timer);
    if ('failure' in reply) {
      pending.reject(new Error(reply.failure));
    } else {
      pending.resolve(reply.value as never);
    }
  }

  #fail(error: Error): void {
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer);
      pending.reject(error);
    }
    this.#pending.clear();
  }
}

function addUp(parts: readonly ReadonlyMap<string, number>[]): Map<string, number> {
  const sum = new Map<string, number>();
  for (const part of parts) {
    for (const [reason, count] of part) {
      sum.set(reason, (sum.get(reason) ?? 0) + count);
    }
  }
  return sum;
}

function addOpened(parts: readonly Opened[]): Opened {
  return {
    failures: addUp(parts.map((part) => part.failures)),
    sessionsPresent: parts.reduce((sum, part) => sum + part.sessionsPresent, 0),
  };
}

function addCounters(parts: readonly Counters[]): Counters {
  const began = parts.map((part) => part.firstSentUs).filter((us) => us > 0);
  return {
    received: parts.reduce((sum, part) => sum + part.received, 0),
    lastReceivedUs: Math.max(...parts.map((part) => part.lastReceivedUs)),
    sent: parts.reduce((sum, part) => sum + part.sent, 0),
    acked: parts.reduce((sum, part) => sum + part.acked, 0),
    firstSentUs: began.length > 0 ? Math.min(...began) : 0,
    closed: addUp(parts.map((part) => part.closed)),
  };
}

export class LoadProcesses {
  readonly #processes: readonly LoadProcess[];
  readonly #epochUs: number;

  constructor(count: number, core: number | undefined, isBackground: boolean = false) {
    this.#epochUs = Math.floor(Number(process.hrtime.bigint()) / 1000);
    this.#processes = Array.from(
      { length: count },
      () => new LoadProcess(core, this.#epochUs, isBackground),
    );
  }

  /** The clock the load stamps with. */
  nowUs(): number {
    return Math.floor(Number(process.hrtime.bigint()) / 1000) - this.#epochUs;
  }

  /** Opens the clients and waits for every CONNACK and SUBACK. */
  async open(group: string, target: Target, clients: readonly ClientSpec[]): Promise<Opened> {
    const count = this.#processes.length;
    return addOpened(
      await Promise.all(
        this.#processes.map((process, index) => {
          const own = clients.filter((client) => client.affinity % count === index);
          return process.ask({ kind: 'open', group, target, clients: own });
        }),
      ),
    );
  }

  async subscribe(group: string, qos: number): Promise<Opened> {
    return addOpened(await this.#askAll({ kind: 'subscribe', group, qos }));
  }

  /** Publishes; the plan's rate is that of all processes together. */
  async publish(group: string, plan: PublishPlan, publishers: number): Promise<Counters> {
    const count = Math.min(this.#processes.length, publishers);
    const own = { ...plan, ratePerS: plan.ratePerS / count };
    return addCounters(await this.#askAll({ kind: 'publish', group, plan: own }));
  }

  async counters(): Promise<Counters> {
    return addCounters(await this.#askAll({ kind: 'counters' }));
  }

  async clear(): Promise<void> {
    await this.#askAll({ kind: 'clear' });
  }

  async close(group: string): Promise<void> {
    await this.#askAll({ kind: 'close', group });
  }

  /** Rate, number and logins are those of all processes together. */
  async storm(target: Target, options: StormOptions): Promise<Stormed> {
    const { concurrency, ratePerS, count: connects, logins } = options;
    const count = this.#processes.length;
    const parts = await Promise.all(
      this.#processes.map((process, index) => {
        const plan = {
          ...options,
          concurrency: Math.ceil(concurrency / count),
          ...(ratePerS === undefined ? {} : { ratePerS: ratePerS / count }),
          ...(connects === undefined ? {} : { count: Math.ceil(connects / count) }),
          ...(logins === undefined
            ? {}
            : { logins: logins.filter((_, number) => number % count === index) }),
          target,
          process: index,
        };
        return process.ask({ kind: 'storm', plan });
      }),
    );
    const connack = new Histogram();
    for (const part of parts) {
      connack.merge(part.connackUs);
    }
    return {
      connected: parts.reduce((sum, part) => sum + part.connected, 0),
      elapsedS: Math.max(...parts.map((part) => part.elapsedS)),
      failures: addUp(parts.map((part) => part.failures)),
      connackUs: connack.counts,
    };
  }

  /** Storms open no more connections; they end when those under way are answered. */
  async endStorms(): Promise<void> {
    await this.#askAll({ kind: 'endStorms' });
  }

  async stats(): Promise<LoadStats> {
    const parts = await this.#askAll({ kind: 'stats' });
    const latency = new Histogram();
    const ackLatency = new Histogram();
    const lateness = new Histogram();
    for (const part of parts) {
      latency.merge(part.latency);
      ackLatency.merge(part.ackLatency);
      lateness.merge(part.lateness);
    }
    return {
      latency,
      ackLatency,
      lateness,
      cpuS: parts.reduce((sum, part) => sum + part.cpuS, 0),
      loopDelayP99Ms: Math.max(...parts.map((part) => part.loopDelayP99Ms)),
      loopDelayMaxMs: Math.max(...parts.map((part) => part.loopDelayMaxMs)),
    };
  }

  end(): void {
    for (const process of this.#processes) {
      process.end();
    }
  }

  #askAll<Kind extends Request['kind']>(
    request: Extract<Request, { kind: Kind }>,
  ): Promise<Answers[Kind][]> {
    return Promise.all(this.#processes.map((process) => process.ask(request)));
  }
}
