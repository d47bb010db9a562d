// What clients at their publish quota take from all others: latency of 50 pairs at QoS 1 and 10,000
// messages/s, calm and beside one or 500 clients that send more than they may, for each thing that
// can happen at the limit. `within` are 500 clients that keep to their limit, for comparison.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { BrokerProcess, Place } from '../../peers/broker-process.ts';
import type { HogPlan, HogReport } from '../load/hogs.ts';
import { inBackground, LoadProcesses } from '../load-processes.ts';
import { sleep } from '../run-context.ts';
import { Issuer } from './issuer.ts';
import { Metrics } from './metrics.ts';
import type { AccessScenario, Bench } from './scenario.ts';
import {
  CALM_RATE_PER_S,
  configuration,
  PAIRS,
  Pairs,
  pairsOf,
  pairUser,
  problemsOf,
  start,
} from './scenario.ts';
import type { Values } from './table.ts';
import { percent, precise, whole } from './table.ts';

const LIMIT_PER_S = 10;
const MANY = 500;
const READY_WITHIN_MS = 30_000;
/** Until what they may send at once is used up. */
const SETTLE_MS = 1500;
/** A slowed client is gone when the broker has read all it sent before. */
const GONE_WITHIN_MS = 60_000;
const POLL_MS = 250;

type Action = 'slow' | 'drop' | 'disconnect';
const actions: readonly Action[] = ['slow', 'drop', 'disconnect'];

interface Variant {
  readonly name: string;
  readonly hogs: (Omit<HogPlan, 'port' | 'login'> & { readonly action: Action }) | null;
  readonly meetsLimit: boolean;
}

function hogs(
  name: string,
  action: Action,
  clients: number,
  ratePerS: number,
  qos: 0 | 1 = 1,
): Variant {
  const meetsLimit = ratePerS === 0 || ratePerS > LIMIT_PER_S;
  return { name, hogs: { action, clients, ratePerS, qos }, meetsLimit };
}

const variants: readonly Variant[] = [
  { name: 'calm', hogs: null, meetsLimit: false },
  hogs(`${MANY} within`, 'slow', MANY, LIMIT_PER_S * 0.9),
  ...actions.map((action) => hogs(`1 × ${action}, as fast as it can`, action, 1, 0)),
  ...actions.map((action) =>
    hogs(`${MANY} × ${action}, twice their limit`, action, MANY, LIMIT_PER_S * 2),
  ),
  hogs('1 × drop, QoS 0 flood', 'drop', 1, 0, 0),
  { name: 'calm again', hogs: null, meetsLimit: false },
  // The last: what it had sent keeps the broker busy with it for long.
  hogs('1 × slow, QoS 0 flood', 'slow', 1, 0, 0),
];

/** Answers with what ends them, which tells what they saw. */
async function letLoose(
  plan: HogPlan,
  core: number | undefined,
): Promise<() => Promise<HogReport>> {
  const script = fileURLToPath(new URL('../load/hogs.ts', import.meta.url));
  const words = [...inBackground(core), process.execPath, script, JSON.stringify(plan)];
  const child = spawn(words[0]!, words.slice(1), {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  const takeAlong = (): boolean => child.kill('SIGKILL');
  process.once('exit', takeAlong);
  const lines: string[] = [];
  const reader = createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  const ended = once(child, 'exit');
  const late = setTimeout(() => child.kill('SIGKILL'), READY_WITHIN_MS);
  await Promise.race([once(reader, 'line'), ended]);
  clearTimeout(late);
  if (lines[0] !== 'ready') throw new Error('the clients over their limit did not get in');
  return async (): Promise<HogReport> => {
    child.stdin.end();
    await ended;
    process.removeListener('exit', takeAlong);
    return JSON.parse(lines[1] ?? '{}') as HogReport;
  };
}

async function gone(broker: BrokerProcess): Promise<void> {
  const endMs = performance.now() + GONE_WITHIN_MS;
  for (;;) {
    const metrics = await Metrics.read(broker);
    if (metrics.sum('causeway_clients_connected') <= 2 * PAIRS) return;
    if (performance.now() > endMs) throw new Error('clients over their limit did not go');
    await sleep(POLL_MS);
  }
}

function quotaLine(action: Action): string {
  const what = `name: hog-${action}, of: publishMessagesPerS, per: client`;
  return `  - { ${what}, max: ${LIMIT_PER_S}, action: ${action}, users: [${action}] }`;
}

function configure(issuer: Issuer, place: Place): string {
  return configuration(
    place,
    'authentication:',
    '  chain: [jwt]',
    issuer.configure(place.directory),
    'quotas:',
    ...actions.map(quotaLine),
  );
}

async function beside(
  variant: Variant,
  pairs: Pairs,
  issuer: Issuer,
  { options }: Bench,
): Promise<Values> {
  const { broker, load, problems, settings } = pairs.context;
  const rate = settings.ratePerS ?? CALM_RATE_PER_S;
  const plan = variant.hogs;
  const stop =
    plan === null
      ? null
      : await letLoose(
          { ...plan, port: broker.port, login: issuer.login(plan.action) },
          options.loadCore,
        );
  await sleep(SETTLE_MS);
  const before = await Metrics.read(broker);
  const phase = await pairs.send(rate * settings.seconds, rate);
  const after = await Metrics.read(broker);
  const { latency, lateness, loopDelayP99Ms } = await load.stats();
  const report = await stop?.();
  const hits = after.since(before, 'causeway_quota_hits_total');
  if (hits > 0 !== variant.meetsLimit) problems.add(`limits were met ${hits} times`);
  const wallS = phase.usage.wallS;
  const read = after.since(before, 'causeway_packets_received_total', 'type="publish"');
  return {
    p50: latency.percentileMs(0.5),
    p99: latency.percentileMs(0.99),
    p999: latency.percentileMs(0.999),
    busy: phase.usage.brokerCpuS / wallS,
    others: phase.usage.othersS / wallS,
    lag: loopDelayP99Ms,
    late: lateness.percentileMs(0.99),
    hits: hits / wallS,
    reads: (read - phase.sent) / wallS,
    connects: after.since(before, 'causeway_connects_accepted_total') / wallS,
    ...(report === undefined ? {} : { sent: report.sent }),
  };
}

async function round(bench: Bench): Promise<void> {
  const { options, table } = bench;
  const issuer = new Issuer('HS256');
  const login = issuer.login(pairUser(0));
  const broker = await start(bench, (place) => configure(issuer, place), login);
  const load = new LoadProcesses(options.loadProcesses, options.loadCore);
  try {
    const cast = pairsOf(1, (user) => issuer.login(user));
    const pairs = await Pairs.open(broker, load, options, { qos: 1, cast, group: 'pairs' });
    const rate = options.settings.ratePerS ?? CALM_RATE_PER_S;
    await pairs.warmUp(options.settings.warmupSeconds);
    await pairs.send(rate * options.settings.warmupSeconds, rate);
    for (const variant of variants) {
      await gone(broker);
      table.add(variant.name, await beside(variant, pairs, issuer, bench));
      table.complain(variant.name, problemsOf(pairs.context));
      pairs.context.problems.clear();
    }
  } finally {
    load.end();
    await broker.stop();
  }
}

export const neighbours: AccessScenario = {
  name: 'limits',
  title: `50 pairs, QoS 1, ${CALM_RATE_PER_S} messages/s, beside clients that may send ${LIMIT_PER_S} a second`,
  columns: {
    p50: { title: 'p50 ms', write: precise },
    p99: { title: 'p99 ms', write: precise, isCompared: true },
    p999: { title: 'p99.9 ms', write: precise },
    busy: { title: 'broker busy', write: percent },
    others: { title: 'others on its core', write: percent },
    lag: { title: 'load lag p99 ms', write: precise },
    late: { title: 'late p99 ms', write: precise },
    reads: { title: 'their messages/s', write: whole },
    hits: { title: 'limit met /s', write: whole },
    connects: { title: 'their connects/s', write: whole },
  },
  round,
};
