// `node bench/macro/run.ts`: measures whole brokers under load, ours and those we compare with, in
// turns within the same run, and reports rates, CPU per message, drops, latency and memory.
// bench/README.md says what each scenario measures.

import { writeFileSync } from 'node:fs';
import type { BrokerProcess } from '../peers/broker-process.ts';
import { startBroker } from '../peers/broker-process.ts';
import type { Peer } from '../peers/peer.ts';
import { brokers } from '../peers/table.ts';
import { LoadProcesses } from './load-processes.ts';
import { describeMachine } from './machine.ts';
import type { Options } from './options.ts';
import { parseOptions, usage } from './options.ts';
import type { RunRecord } from './report.ts';
import { scenarioSection, writeReport } from './report.ts';
import { RunContext } from './run-context.ts';
import type { Scenario } from './scenario.ts';
import { scenarios } from './scenarios.ts';

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

function chooseScenarios(wanted: readonly string[] | undefined): readonly Scenario[] {
  if (wanted === undefined) {
    return scenarios;
  }
  return wanted.flatMap((name) => {
    const found = scenarios.filter((scenario) =>
      name.endsWith('*') ? scenario.name.startsWith(name.slice(0, -1)) : scenario.name === name,
    );
    if (found.length === 0) {
      throw new Error(`no scenario is called ${name}; --list names them`);
    }
    return found;
  });
}

/** The wanted brokers in the order given; those that cannot be had go to `skipped`. */
function chooseBrokers(options: Options, skipped: Map<string, string>): readonly Peer[] {
  const all = brokers(options);
  const wanted = options.brokers ?? all.map((peer) => peer.name);
  return wanted.flatMap((name) => {
    const peer = all.find((one) => one.name === name);
    if (peer === undefined) {
      throw new Error(`no broker is called ${name}; --list names them`);
    }
    const reason =
      peer.prepare() ?? (options.settings.mqttVersion === 5 ? peer.lacks('mqtt5') : undefined);
    if (reason !== undefined) {
      skipped.set(name, reason);
      say(`${name}: skipped: ${reason}`);
      return [];
    }
    return [peer];
  });
}

async function measure(
  scenario: Scenario,
  broker: BrokerProcess,
  options: Options,
): Promise<Pick<RunRecord, 'figures' | 'problems' | 'remarks' | 'failure'>> {
  const load = new LoadProcesses(options.loadProcesses, options.loadCore);
  const context = new RunContext(broker, load, options.settings, options.brokerCore);
  try {
    const figures = await scenario.measure(context);
    const crash = broker.crash;
    for (const { operation, expected, happened } of figures) {
      if (expected !== happened) {
        context.problems.add(`${operation}: ${happened} of ${expected}`);
      }
    }
    return {
      figures: crash === undefined ? figures : [],
      problems: [...context.problems],
      remarks: [...context.remarks],
      ...(crash === undefined ? {} : { failure: crash }),
    };
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    return {
      figures: [],
      problems: [...context.problems],
      remarks: [...context.remarks],
      failure: broker.crash === undefined ? text : `${broker.crash} (${text})`,
    };
  } finally {
    load.end();
  }
}

async function runOnce(
  scenario: Scenario,
  peer: Peer,
  round: number,
  options: Options,
): Promise<RunRecord> {
  const record = { scenario: scenario.name, title: scenario.title, broker: peer.name, round };
  const missing = scenario.needs.map((feature) => peer.lacks(feature)).find((why) => why);
  if (missing !== undefined) {
    const remarks = [`skipped: ${missing}`];
    return { ...record, startedAfterMs: 0, figures: [], problems: [], remarks };
  }
  let broker: BrokerProcess;
  try {
    broker = await startBroker(peer, {
      core: options.brokerCore,
      durable: scenario.durable,
      profile: scenario.profile,
      mqttVersion: options.settings.mqttVersion,
    });
  } catch (error) {
    const failure = error instanceof Error ? error.message : String(error);
    return { ...record, startedAfterMs: 0, figures: [], problems: [], remarks: [], failure };
  }
  try {
    const outcome = await measure(scenario, broker, options);
    return { ...record, startedAfterMs: broker.startedAfterMs, ...outcome };
  } finally {
    await broker.stop();
  }
}

/** Where the report goes is no part of how it was taken. */
function isOutput(word: string): boolean {
  return word === '--out' || word === '--json';
}

function sayRun(record: RunRecord): void {
  const where = `${record.scenario} ${record.broker} round ${record.round}`;
  for (const { operation, values } of record.figures) {
    const rate = values.operationsPerS;
    const cpu = values.cpuUs;
    const numbers =
      rate === undefined || cpu === undefined
        ? JSON.stringify(values)
        : `${Math.round(rate).toLocaleString('en-US')}/s, ${cpu.toFixed(2)} µs`;
    say(`${where}: ${numbers} per ${operation}`);
  }
  for (const text of [record.failure, ...record.problems, ...record.remarks]) {
    if (text !== undefined) {
      say(`${where}: ${text}`);
    }
  }
}

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2));
  if (options.help || options.list) {
    process.stdout.write(usage);
    for (const scenario of scenarios) {
      process.stdout.write(`  ${scenario.name.padEnd(26)}${scenario.title}\n`);
    }
    const names = brokers({}).map((peer) => peer.name);
    process.stdout.write(`brokers: ${names.join(', ')}\n`);
    return;
  }
  const began = new Date();
  const machine = describeMachine();
  const skipped = new Map<string, string>();
  const peers = chooseBrokers(options, skipped);
  const versions = new Map(peers.map((peer) => [peer.name, peer.version()]));
  const records: RunRecord[] = [];
  for (const scenario of chooseScenarios(options.scenarios)) {
    for (let round = 1; round <= options.runs; round++) {
      // Turned round every other time, so that nobody is always the first.
      for (const peer of round % 2 === 1 ? peers : peers.toReversed()) {
        const record = await runOnce(scenario, peer, round, options);
        records.push(record);
        sayRun(record);
      }
    }
    const own = records.filter((record) => record.scenario === scenario.name);
    if (own.length > 0) {
      process.stdout.write(`${scenarioSection(own)}\n\n`);
    }
  }
  const invocation = process.argv
    .slice(2)
    .filter((word, index, all) => !isOutput(word) && !isOutput(all[index - 1] ?? ''))
    .join(' ');
  if (options.out !== undefined) {
    writeReport(options.out, { machine, versions, skipped, records, invocation, began });
  }
  if (records.some((record) => record.failure !== undefined || record.problems.length > 0)) {
    say('some runs had problems, named above');
    process.exitCode = 1;
  }
  if (options.json !== undefined) {
    writeFileSync(options.json, `${JSON.stringify({ machine, records }, null, 1)}\n`);
  }
}

// A run that was told to stop takes its broker along; see BrokerProcess.
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => process.exit(130));
}
try {
  await main();
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  process.exitCode = 2;
}
