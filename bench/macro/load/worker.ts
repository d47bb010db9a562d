// A load process: holds clients in named groups, publishes, counts, and does what the harness asks
// over the child process channel. Started by ../load-processes.ts, pinned to the load's core.

import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Client } from './client.ts';
import { publishTemplate } from './frames.ts';
import { Meter } from './meter.ts';
import type {
  Answers,
  ClientSpec,
  Counters,
  Opened,
  PublishPlan,
  Reply,
  Request,
  Stats,
  Stormed,
  StormPlan,
  Target,
} from './protocol.ts';
import { Publisher } from './publisher.ts';
import { Storm } from './storm.ts';
import { Traffic } from './traffic.ts';

const OPENING_MAX = 100;
const READY_WITHIN_MS = 20_000;
const LOOP_TICK_MS = 5;

const meter = new Meter(Number(process.argv[2]));
const groups = new Map<string, Client[]>();
const storms = new Set<Storm>();
const loopDelay = monitorEventLoopDelay({ resolution: LOOP_TICK_MS });
let mqttVersion: 4 | 5 = 4;
let cpuAtClear = process.cpuUsage();
loopDelay.enable();

/** The client's own outcome, or 'timeout' when none came in time. */
function withinTime(outcome: Promise<string | undefined>): Promise<string | undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve('timeout'), READY_WITHIN_MS);
    void outcome.then((value) => {
      clearTimeout(timer);
      resolve(value);
    });
  });
}

/** Runs `work` for every item with a bounded number under way; counts what failed, by reason. */
async function forEach<Item>(
  items: readonly Item[],
  work: (item: Item) => Promise<string | undefined>,
): Promise<Map<string, number>> {
  const failures = new Map<string, number>();
  let next = 0;
  async function lane(): Promise<void> {
    while (next < items.length) {
      const item = items[next++]!;
      const failure = await withinTime(work(item));
      if (failure !== undefined) {
        failures.set(failure, (failures.get(failure) ?? 0) + 1);
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(OPENING_MAX, items.length) }, lane));
  return failures;
}

async function open(group: string, target: Target, specs: readonly ClientSpec[]): Promise<Opened> {
  mqttVersion = target.mqttVersion;
  const clients: Client[] = [];
  groups.set(group, clients);
  const failures = await forEach(specs, (spec) => {
    const client = new Client(spec, target, meter);
    clients.push(client);
    return client.ready();
  });
  return { failures, sessionsPresent: clients.filter((client) => client.sessionPresent).length };
}

/** Gives every client of the group a subscription of its own. */
async function subscribe(group: string, qos: number): Promise<Opened> {
  const failures = await forEach(groups.get(group) ?? [], (client) =>
    client.subscribe([`own/${client.spec.clientId}/command`], qos),
  );
  return { failures, sessionsPresent: 0 };
}

function counters(): Counters {
  const { received, lastReceivedUs, sent, acked, firstSentUs, closed } = meter;
  return { received, lastReceivedUs, sent, acked, firstSentUs, closed };
}

function publish(group: string, plan: PublishPlan): Promise<Counters> {
  const publishers: Publisher[] = [];
  for (const client of groups.get(group) ?? []) {
    const topics = client.spec.topics;
    if (topics !== undefined && client.usable) {
      const { qos, retain, payloadBytes } = plan;
      const template = publishTemplate(mqttVersion, topics, qos, retain, payloadBytes);
      publishers.push(new Publisher(client, plan, template, meter));
    }
  }
  if (publishers.length === 0) {
    return Promise.resolve(counters());
  }
  return new Promise((resolve) => {
    new Traffic(publishers, plan, meter, () => resolve(counters())).start();
  });
}

function clear(): true {
  meter.clear();
  loopDelay.reset();
  cpuAtClear = process.cpuUsage();
  return true;
}

/** The monitor tells the time between its ticks; what is beyond a tick is delay. */
function delayMs(betweenTicksNs: number): number {
  return Math.max(0, betweenTicksNs / 1_000_000 - LOOP_TICK_MS);
}

function stats(): Stats {
  const cpu = process.cpuUsage(cpuAtClear);
  return {
    latency: meter.latency.counts,
    ackLatency: meter.ackLatency.counts,
    lateness: meter.lateness.counts,
    cpuS: (cpu.user + cpu.system) / 1_000_000,
    loopDelayP99Ms: delayMs(loopDelay.percentile(99)),
    loopDelayMaxMs: delayMs(loopDelay.max),
  };
}

async function close(group: string): Promise<true> {
  const clients = groups.get(group) ?? [];
  groups.delete(group);
  await Promise.all(clients.map((client) => client.close()));
  return true;
}

function storm(plan: StormPlan): Promise<Stormed> {
  return new Promise((resolve) => {
    const one: Storm = new Storm(plan, meter, (result) => {
      storms.delete(one);
      resolve(result);
    });
    storms.add(one);
    one.start();
  });
}

function answer(request: Request): Promise<Answers[keyof Answers]> | Answers[keyof Answers] {
  switch (request.kind) {
    case 'open':
      return open(request.group, request.target, request.clients);
    case 'subscribe':
      return subscribe(request.group, request.qos);
    case 'publish':
      return publish(request.group, request.plan);
    case 'counters':
      return counters();
    case 'clear':
      return clear();
    case 'stats':
      return stats();
    case 'close':
      return close(request.group);
    case 'storm':
      return storm(request.plan);
    case 'endStorms':
      for (const one of storms) one.end();
      return true;
  }
}

async function handle(id: number, request: Request): Promise<void> {
  let reply: Reply;
  try {
    reply = { id, value: await answer(request) };
  } catch (error) {
    reply = {
      id,
      failure: error instanceof Error ? (error.stack ?? error.message) : String(error),
    };
  }
  process.send?.(reply);
}

process.on('message', (message: { id: number; request: Request }) => {
  void handle(message.id, message.request);
});
process.on('disconnect', () => {
  process.exit(0);
});
