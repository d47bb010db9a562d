// `node bench/macro/access.ts`: what authentication, rules and quotas cost, and what clients at
// their limits and storms of logins take from all others. Ours against itself: every variant is
// measured in each round, and ratios are those of a round. bench/README.md says what each shows.

import { loadavg } from 'node:os';
import { brokers } from '../peers/table.ts';
import { passwordHashing } from './access/hashing.ts';
import { loginStorm } from './access/login-storm.ts';
import { loginCost } from './access/logins.ts';
import { neighbours } from './access/neighbours.ts';
import { messageCost } from './access/pairs.ts';
import type { AccessScenario } from './access/scenario.ts';
import { Table } from './access/table.ts';
import { describeMachine } from './machine.ts';
import type { Options } from './options.ts';
import { parseOptions } from './options.ts';

const scenarios: readonly AccessScenario[] = [
  messageCost,
  loginCost,
  neighbours,
  loginStorm,
  passwordHashing,
];

const usage = `node bench/macro/access.ts [options]

  --only a,b           which scenarios (all)
  --seconds S          length of a measured run (3)
  --warmup S           length of the run before it (1)
  --runs R             rounds; the tables have medians (3)
  --causeway-bin FILE  measure this executable instead of the source
  --broker-core N      CPU of the broker, or none (0)
  --load-core N        CPU of the load, or none (1)

scenarios:
${scenarios.map(({ name, title }) => `  ${name.padEnd(12)}${title}\n`).join('')}`;

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** run.ts calls it --scenarios. */
function readOptions(parameters: readonly string[]): Options {
  return parseOptions(parameters.map((word) => (word === '--only' ? '--scenarios' : word)));
}

function choose(wanted: readonly string[] | undefined): readonly AccessScenario[] {
  const unknown = wanted?.find((name) => scenarios.every((scenario) => scenario.name !== name));
  if (unknown !== undefined) throw new Error(`no scenario is called ${unknown}; --help names them`);
  return scenarios.filter(({ name }) => wanted?.includes(name) ?? true);
}

/** The scenario's table, written when all rounds are over; false when something went wrong. */
async function run(scenario: AccessScenario, options: Options): Promise<boolean> {
  const peer = brokers(options)[0]!;
  const table = new Table(scenario.columns);
  const loads: string[] = [];
  for (let round = 1; round <= options.runs; round++) {
    loads.push((loadavg()[0] ?? Number.NaN).toFixed(2));
    say(`${scenario.name}: round ${round} of ${options.runs}, load average ${loads.at(-1)}`);
    try {
      await scenario.round({ peer, options, table });
    } catch (error) {
      table.complain(`round ${round}`, [error instanceof Error ? error.message : String(error)]);
    }
  }
  process.stdout.write(`### ${scenario.name}: ${scenario.title}\n\n`);
  process.stdout.write(`Load average before each round: ${loads.join(', ')}.\n\n`);
  process.stdout.write(`${table.markdown()}\n\n`);
  return table.problems.size === 0;
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  if (options.help || options.list) {
    process.stdout.write(usage);
    return;
  }
  const peer = brokers(options)[0]!;
  const reason = peer.prepare();
  if (reason !== undefined) throw new Error(reason);
  const chosen = choose(options.scenarios);
  const { cpu, kernel, node } = describeMachine();
  const at = new Date().toISOString().slice(0, 16).replace('T', ' ');
  process.stdout.write(
    `Taken ${at} UTC on ${cpu}, ${kernel}, Node ${node}; ${peer.version()}.\n\n`,
  );
  process.stdout.write(`\`node bench/macro/access.ts ${process.argv.slice(2).join(' ')}\`\n\n`);
  for (const scenario of chosen) {
    if (!(await run(scenario, options))) process.exitCode = 1;
  }
  if (process.exitCode === 1) say('some runs had problems, named below their table');
}

// A run that was told to stop takes its brokers along; see BrokerProcess.
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => process.exit(130));
}
try {
  await main();
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  process.exitCode = 2;
}
