// `node bench/macro/hostile.ts`: what one hostile client takes from all others. 50 pairs at QoS 1
// are measured in turns with and without the attacker, against one broker in one run: as fast as
// they can, and for latency at a fixed rate. Options are those of run.ts that make sense here
// (--seconds, --runs, --rate, --brokers, --causeway-bin, cores).

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { startBroker } from '../peers/broker-process.ts';
import type { Peer } from '../peers/peer.ts';
import { brokers } from '../peers/table.ts';
import { attacks } from './load/attacker.ts';
import { LoadProcesses } from './load-processes.ts';
import type { Options } from './options.ts';
import { parseOptions } from './options.ts';
import { RunContext, sleep } from './run-context.ts';
import { pairs } from './scenarios/clients.ts';

const PAIRS = 50;
const RATE_PER_S = 10_000;
/** Attackers need a moment to have their effect. */
const SETTLE_MS = 500;

interface Measured {
  readonly ratePerS: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly rssMib: number;
}

/** Answers with what ends it. */
async function startAttack(
  attack: string,
  port: number,
  core: number | undefined,
): Promise<() => Promise<void>> {
  const pinned = core === undefined ? [] : ['taskset', '-c', String(core)];
  const script = fileURLToPath(new URL('./load/attacker.ts', import.meta.url));
  const words = [...pinned, process.execPath, script, attack, String(port)];
  const child = spawn(words[0]!, words.slice(1), {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  const ended = once(child, 'exit');
  const said = once(createInterface({ input: child.stdout }), 'line');
  await Promise.race([said, ended]);
  await sleep(SETTLE_MS);
  return async (): Promise<void> => {
    child.stdin.end();
    await ended;
  };
}

async function measure(context: RunContext, options: Options): Promise<Measured> {
  const { seconds } = options.settings;
  const perPublisher = async (messages: number, ratePerS: number) => {
    const plan = context.plan(1, Math.max(1, Math.ceil(messages / PAIRS)), ratePerS, false);
    const phase = await context.phase('publishers', PAIRS, plan, 1);
    if (phase.received !== phase.sent) {
      context.problems.add(`${phase.received} of ${phase.sent} messages arrived`);
    }
    return phase;
  };
  const pilot = await perPublisher(20_000, 0);
  const fast = await perPublisher((pilot.sent / pilot.elapsedS) * seconds, 0);
  const rate = options.settings.ratePerS ?? RATE_PER_S;
  await perPublisher(rate * seconds, rate);
  const { latency } = await context.load.stats();
  return {
    ratePerS: fast.received / fast.elapsedS,
    p50Ms: latency.percentileMs(0.5),
    p99Ms: latency.percentileMs(0.99),
    rssMib: context.memory().rssMib,
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function row(name: string, of: readonly Measured[], base?: readonly Measured[]): string {
  const middle = (key: keyof Measured, from = of): number => median(from.map((one) => one[key]));
  const share = (key: keyof Measured): string =>
    base === undefined ? '' : ` (${Math.round((100 * middle(key)) / middle(key, base))} %)`;
  const cells = [
    name,
    Math.round(middle('ratePerS')).toLocaleString('en-US') + share('ratePerS'),
    middle('p50Ms').toFixed(2),
    middle('p99Ms').toFixed(2) + share('p99Ms'),
    middle('rssMib').toFixed(0),
  ];
  return `| ${cells.join(' | ')} |`;
}

async function underAttack(peer: Peer, attack: string, options: Options): Promise<boolean> {
  const broker = await startBroker(peer, {
    core: options.brokerCore,
    durable: false,
    profile: 'traffic',
    mqttVersion: options.settings.mqttVersion,
  });
  const load = new LoadProcesses(options.loadProcesses, options.loadCore);
  const context = new RunContext(broker, load, options.settings, options.brokerCore);
  const calm: Measured[] = [];
  const attacked: Measured[] = [];
  try {
    const { publishers, subscribers } = pairs(PAIRS, 1, false);
    await context.open('subscribers', subscribers);
    await context.open('publishers', publishers);
    await measure(context, options);
    for (let round = 0; round < options.runs; round++) {
      calm.push(await measure(context, options));
      const stop = await startAttack(attack, broker.port, options.loadCore);
      attacked.push(await measure(context, options));
      await stop();
      await sleep(SETTLE_MS);
    }
  } finally {
    load.end();
    await broker.stop();
  }
  console.log(row(`${peer.name}, nobody`, calm));
  console.log(row(`${peer.name}, ${attack}`, attacked, calm));
  if (broker.crash !== undefined) context.problems.add(broker.crash);
  for (const problem of context.problems) console.log(`\n${peer.name}, ${attack}: ${problem}\n`);
  return context.problems.size === 0;
}

const options = parseOptions(process.argv.slice(2));
const all = brokers(options);
const wanted = options.brokers ?? ['causeway'];
const rate = options.settings.ratePerS ?? RATE_PER_S;
console.log(
  `${PAIRS} pairs, QoS 1, latency at ${rate} messages/s; medians of ${options.runs} rounds`,
);
console.log('with and without the attacker in turns\n');
console.log('| attacker | messages/s | p50 ms | p99 ms | RSS MiB |');
console.log('|---|---:|---:|---:|---:|');
let isGood = true;
for (const attack of attacks) {
  for (const peer of all.filter(({ name }) => wanted.includes(name))) {
    const reason = peer.prepare();
    if (reason !== undefined) console.log(`\n${peer.name}: skipped: ${reason}\n`);
    else isGood = (await underAttack(peer, attack, options)) && isGood;
  }
}
process.exit(isGood ? 0 : 1);
