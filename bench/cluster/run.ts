// `node bench/cluster/run.ts`: clusters of two and three nodes, ours and the aedes stack over the same
// kind of Redis, in turns within the same run. Every cluster is started fresh for each measurement;
// figures are CPU of all broker processes per message, rates, and ratios to the aedes stack of the
// same round. bench/cluster/README.md says what each scenario measures.

import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { percent, Table } from '../macro/access/table.ts';
import { LoadProcesses } from '../macro/load-processes.ts';
import { describeMachine } from '../macro/machine.ts';
import type { Options } from '../macro/options.ts';
import { parseOptions } from '../macro/options.ts';
import { Cluster } from './cluster.ts';
import { ClusterContext } from './cluster-context.ts';
import { proveCluster } from './proof.ts';
import type { ClusterScenario, ClusterSizes } from './scenario.ts';
import { away } from './scenarios/away.ts';
import { death } from './scenarios/death.ts';
import { routes } from './scenarios/routes.ts';
import { suback } from './scenarios/suback.ts';
import { takeover } from './scenarios/takeover.ts';
import { trafficScenarios } from './scenarios/traffic.ts';
import type { Stack } from './stack.ts';
import { stacks } from './stack.ts';

const scenarios: readonly ClusterScenario[] = [
  ...trafficScenarios,
  away,
  suback,
  takeover,
  death,
  routes,
];

const usage = `node bench/cluster/run.ts [options]

  --nodes 2,3          sizes of clusters (2,3)
  --scenarios a,b      which scenarios (all)
  --brokers a,b        aedes-stack, causeway (both); the first is the base of the ratios
  --seconds S          length of a measured run (3)
  --warmup S           length of the run before it (1)
  --runs R             rounds; the tables have medians (3)
  --pairs N            publishers with one subscriber each (50)
  --fanout N           subscribers of one topic (100)
  --away N             messages stored for clients that are away (5000)
  --subscribes N       SUBSCRIBEs that are timed (500)
  --takeovers N        sessions taken over (500)
  --sessions N         sessions of a node that is killed (1000)
  --routes N           subscriptions of the route scenario (100000)
  --causeway-bin FILE  measure this executable instead of the source
  --broker-core N      CPU of all nodes, or none (0)
  --load-core N        CPU of the load and of Redis, or none (1)

scenarios:
${scenarios.map(({ name, title }) => `  ${name.padEnd(12)}${title}\n`).join('')}`;

interface Plan {
  readonly options: Options;
  readonly sizes: ClusterSizes;
  readonly nodes: readonly number[];
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Flags of this harness; the rest is read as run.ts of bench/macro reads it. */
function readPlan(parameters: readonly string[]): Plan {
  const own = {
    nodes: '2,3',
    pairs: '50',
    fanout: '100',
    away: '5000',
    subscribes: '500',
    takeovers: '500',
    sessions: '1000',
    routes: '100000',
  };
  const rest: string[] = [];
  const given: string[] = [];
  for (let at = 0; at < parameters.length; at++) {
    const word = parameters[at]!;
    const isOwn = word.slice(2) in own;
    (isOwn ? given : rest).push(word);
    if (isOwn && ++at < parameters.length) given.push(parameters[at]!);
  }
  const flags = Object.keys(own).map((name) => [name, { type: 'string' }] as const);
  const { values } = parseArgs({ args: given, options: Object.fromEntries(flags) });
  const wanted = { ...own, ...values };
  const count = (text: string): number => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < 1) throw new Error(`${text} is no number of anything`);
    return value;
  };
  return {
    options: parseOptions(rest),
    nodes: wanted.nodes.split(',').map((text) => Math.max(2, count(text))),
    sizes: {
      pairs: count(wanted.pairs),
      fanOut: count(wanted.fanout),
      away: count(wanted.away),
      subscribes: count(wanted.subscribes),
      takeovers: count(wanted.takeovers),
      sessions: count(wanted.sessions),
      routes: count(wanted.routes),
    },
  };
}

function choose<T extends { readonly name: string }>(
  all: readonly T[],
  wanted: readonly string[] | undefined,
  what: string,
): readonly T[] {
  if (wanted === undefined) return all;
  return wanted.map((name) => {
    const found = all.find((one) => one.name === name);
    if (found === undefined) throw new Error(`no ${what} is called ${name}; --help names them`);
    return found;
  });
}

async function measureOnce(
  scenario: ClusterScenario,
  stack: Stack,
  nodes: number,
  { options, sizes }: Plan,
  table: Table,
): Promise<void> {
  let cluster: Cluster | undefined;
  const load = new LoadProcesses(options.loadProcesses, options.loadCore);
  try {
    cluster = await Cluster.start(stack, nodes, options);
    const context = new ClusterContext(cluster, load, options);
    await proveCluster(context);
    const values = await scenario.measure(context, sizes);
    const problems = [...context.problems, ...cluster.crashes];
    // Figures of a run in which something was missing would flatter whoever lost it.
    const isSound = problems.length === 0;
    table.add(stack.name, isSound ? { ...values, sound: 1 } : { sound: 0 });
    table.complain(stack.name, problems);
    for (const remark of context.remarks) table.remark(stack.name, remark);
    const shown = Object.entries(values).map(([name, value]) => `${name} ${value.toPrecision(4)}`);
    const verdict = isSound ? '' : ' (not counted, see its problems)';
    say(`${scenario.name}, ${nodes} nodes, ${stack.name}: ${shown.join(', ')}${verdict}`);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    table.add(stack.name, { sound: 0 });
    table.complain(stack.name, [text, ...(cluster?.crashes ?? [])]);
    say(`${scenario.name}, ${nodes} nodes, ${stack.name}: ${text}`);
  } finally {
    load.end();
    await cluster?.stop();
  }
}

/** False when something went wrong. */
async function run(
  scenario: ClusterScenario,
  nodes: number,
  contestants: readonly Stack[],
  plan: Plan,
): Promise<boolean> {
  const table = new Table({
    ...scenario.columns,
    sound: { title: 'sound rounds', write: percent },
  });
  const loads: string[] = [];
  for (let round = 1; round <= plan.options.runs; round++) {
    loads.push((loadavg()[0] ?? Number.NaN).toFixed(2));
    // The base stays the first of the table, whoever is measured first.
    const inTurn = round % 2 === 1 ? contestants : contestants.toReversed();
    for (const stack of inTurn) await measureOnce(scenario, stack, nodes, plan, table);
  }
  process.stdout.write(`### ${scenario.name}, ${nodes} nodes: ${scenario.title}\n\n`);
  process.stdout.write(`Load average before each round: ${loads.join(', ')}.\n\n`);
  process.stdout.write(`${table.markdown()}\n\n`);
  return table.problems.size === 0;
}

async function main(): Promise<void> {
  const plan = readPlan(process.argv.slice(2));
  const { options } = plan;
  if (options.help || options.list) {
    process.stdout.write(usage);
    return;
  }
  const chosen = choose(scenarios, options.scenarios, 'scenario');
  const contestants = choose(stacks(options), options.brokers, 'cluster');
  const { cpu, kernel, node } = describeMachine();
  const at = new Date().toISOString().slice(0, 16).replace('T', ' ');
  process.stdout.write(`Taken ${at} UTC on ${cpu}, ${kernel}, Node ${node}.\n\n`);
  for (const stack of contestants) {
    const peer = stack.node('redis://127.0.0.1', 0);
    const reason = peer.prepare();
    if (reason !== undefined) throw new Error(`${stack.name}: ${reason}`);
    process.stdout.write(`- ${stack.name}: ${peer.version()}; Redis with ${flagsOf(stack)}\n`);
  }
  process.stdout.write(`\n\`node bench/cluster/run.ts ${process.argv.slice(2).join(' ')}\`\n\n`);
  for (const scenario of chosen) {
    for (const nodes of plan.nodes) {
      if (!(await run(scenario, nodes, contestants, plan))) process.exitCode = 1;
    }
  }
  if (process.exitCode === 1) say('some runs had problems, named below their table');
}

function flagsOf({ redis }: Stack): string {
  return `\`${redis.map((word) => (word === '' ? "''" : word)).join(' ')}\``;
}

// A run that was told to stop takes its processes along; see BrokerProcess and RedisProcess.
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => process.exit(130));
}
try {
  await main();
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  process.exitCode = 2;
}
