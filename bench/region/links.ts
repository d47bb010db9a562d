/**
 * A link between two regions of one node each, and a bridge between two mosquitto in the same run, over the
 * same proxy: QoS 1 messages a second at a round trip of 100 ms, lag of a slow stream, and how fast is caught
 * up after an outage without any delay. With `--what bridges` the same of a bridge to a mosquitto, ours and
 * mosquitto's, out and in. Brokers, proxy, load and this process share the machine.
 *
 *   node bench/region/links.ts [--what links|bridges] [--rounds 3] [--messages 100000] [--caught-up 100000]
 *       [--round-trip-ms 100] [--only causeway] [--causeway-bin dist/causeway] [--base-bin OLD/src/cli/main.ts] [--profiles FOLDER]
 */
import { parseArgs } from 'node:util';
import type { ClientSpec, Counters, PublishPlan, Target } from '../macro/load/protocol.ts';
import { LoadProcesses, type LoadStats } from '../macro/load-processes.ts';
import { describeMachine } from '../macro/machine.ts';
import { causewayBridgePair, mosquittoBridgePair } from './bridge-pair.ts';
import { causewayPair, type LinkPair, mosquittoPair, type PairKind } from './link-pair.ts';

const PAYLOAD_BYTES = 64;
const PUBLISHERS = 32;
/** Unacknowledged messages of one publisher: so many that a slow disk bounds nobody. */
const WINDOW = 500;
const BURST = 64;
/** Load processes: one for either end. */
const READER = 0;
const WRITER = 1;
const SLOW_PER_S = 128;
const SLOW_MS = 4000;
/** A run counts what has come by then. */
const RUN_MS_MAX = 20_000;
const CAUGHT_UP_MS_MAX = 60_000;
const QUIET_MS = 1000;
const POLL_MS = 20;

const { values: options } = parseArgs({
  options: {
    what: { type: 'string', default: 'links' },
    rounds: { type: 'string', default: '3' },
    messages: { type: 'string', default: '100000' },
    'caught-up': { type: 'string', default: '100000' },
    'round-trip-ms': { type: 'string', default: '100' },
    only: { type: 'string', default: '' },
    'causeway-bin': { type: 'string' },
    'base-bin': { type: 'string' },
    profiles: { type: 'string' },
  },
});
const isOfBridges = options.what === 'bridges';
const roundTripMs = Number(options['round-trip-ms']);

/** Numbers of one pair in one round, by what they are called in the report. */
type Figures = Map<string, number>;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** The pair under load: who publishes at one end, and one who subscribes at the other. */
class Bench {
  readonly figures: Figures = new Map();
  readonly problems: string[] = [];
  readonly #pair: LinkPair;
  readonly #load: LoadProcesses;

  constructor(pair: LinkPair, load: LoadProcesses) {
    this.#pair = pair;
    this.#load = load;
  }

  async open(): Promise<void> {
    const { fromPort, toPort } = this.#pair;
    const at = (port: number): Target => ({
      host: '127.0.0.1',
      port,
      mqttVersion: 5,
      keepAliveS: 600,
    });
    const reader = { ...client('reader', READER), filters: ['load/#'] };
    const writers = Array.from({ length: PUBLISHERS }, (_, index) => ({
      ...client(`writer-${index}`, WRITER),
      topics: [`load/${index}`],
    }));
    await this.#load.open('readers', at(toPort), [reader]);
    await this.#load.open('writers', at(fromPort), writers);
    await this.#arrives();
    await this.#quiet();
  }

  /** The link has subscribed when the first message arrives. */
  async #arrives(): Promise<void> {
    for (let triesLeft = 100; ; triesLeft--) {
      await this.#publish(1);
      await sleep(POLL_MS * 5);
      if ((await this.#load.counters()).received > 0) return;
      if (triesLeft === 0) throw new Error('nothing comes over the link');
    }
  }

  #publish(countPerPublisher: number, more: Partial<PublishPlan> = {}): Promise<Counters> {
    return this.#load.publish(
      'writers',
      {
        ...{ qos: 1, retain: false, payloadBytes: PAYLOAD_BYTES, countPerPublisher },
        ...{ window: WINDOW, burst: BURST, ratePerS: 0, stallMs: 20_000, withinMs: RUN_MS_MAX },
        ...more,
      },
      1,
    );
  }

  /** Until nothing has come for a while. */
  async #quiet(): Promise<void> {
    for (let last = -1; ; ) {
      const { received } = await this.#load.counters();
      if (received === last) break;
      last = received;
      await sleep(QUIET_MS);
    }
    await this.#load.clear();
  }

  async #received(count: number, untilMs: number): Promise<Counters> {
    for (;;) {
      const counters = await this.#load.counters();
      if (counters.received >= count || performance.now() > untilMs) return counters;
      await sleep(POLL_MS);
    }
  }

  /** A stream that keeps nobody busy: what the way itself takes. */
  async lag(): Promise<void> {
    this.#pair.link.delay(roundTripMs / 2);
    const count = (SLOW_PER_S * SLOW_MS) / 1000;
    await this.#publish(count / PUBLISHERS, { ratePerS: SLOW_PER_S, pauseMs: 1 });
    await this.#received(count, performance.now() + RUN_MS_MAX);
    const { latency } = await this.#load.stats();
    this.figures.set('lag p50 ms', latency.percentileMs(0.5));
    this.figures.set('lag p99 ms', latency.percentileMs(0.99));
    await this.#quiet();
  }

  /** As fast as acknowledgements allow, at a round trip. */
  async throughput(name: string, count: number): Promise<void> {
    this.#pair.link.delay(roundTripMs / 2);
    const before = this.#pair.cpu();
    const untilMs = performance.now() + RUN_MS_MAX;
    const [sent, come] = await Promise.all([
      this.#publish(count / PUBLISHERS),
      this.#received(count, untilMs),
    ]);
    const { firstSentUs } = sent;
    const seconds = (come.lastReceivedUs - firstSentUs) / 1e6;
    this.figures.set(`${name} messages/s`, come.received / seconds);
    this.#note(name, count, come.received, before, await this.#load.stats());
    await this.#quiet();
  }

  /** What was published while the link was down. */
  async catchUp(count: number): Promise<void> {
    const { link } = this.#pair;
    link.delay(0);
    link.refuse(true);
    link.cut();
    await this.#publish(count / PUBLISHERS, { withinMs: CAUGHT_UP_MS_MAX });
    await sleep(QUIET_MS);
    if ((await this.#load.counters()).received > 0) this.problems.push('the link was up');
    const before = this.#pair.cpu();
    link.refuse(false);
    let first = await this.#load.counters();
    for (const untilMs = performance.now() + CAUGHT_UP_MS_MAX; first.received === 0; ) {
      if (performance.now() > untilMs) break;
      await sleep(1);
      first = await this.#load.counters();
    }
    const come = await this.#received(count, performance.now() + CAUGHT_UP_MS_MAX);
    const seconds = (come.lastReceivedUs - first.lastReceivedUs) / 1e6;
    const rate = (come.received - first.received) / seconds;
    this.figures.set('caught up messages/s', rate);
    this.#note('caught up', count, come.received, before, null);
    await this.#quiet();
  }

  #note(
    name: string,
    expected: number,
    received: number,
    before: { fromS: number; toS: number },
    load: LoadStats | null,
  ): void {
    const after = this.#pair.cpu();
    const each = (seconds: number): number => (seconds * 1e6) / received;
    this.figures.set(`${name} CPU µs, from`, each(after.fromS - before.fromS));
    this.figures.set(`${name} CPU µs, to`, each(after.toS - before.toS));
    if (load !== null) this.figures.set(`${name} CPU µs, load`, each(load.cpuS));
    if (received !== expected) this.problems.push(`${name}: ${received} of ${expected}`);
  }
}

function client(clientId: string, affinity: number): ClientSpec {
  return { clientId, affinity, cleanStart: true, filters: [], qos: 1 };
}

async function measure(kind: PairKind): Promise<Bench> {
  const pair = await kind.start();
  const load = new LoadProcesses(2, undefined);
  try {
    const bench = new Bench(pair, load);
    await bench.open();
    const count = share(Number(options.messages));
    await bench.lag();
    await bench.throughput('warm-up', share(count / 10));
    await bench.throughput(isOfBridges ? 'bridge' : 'link', count);
    // What is still under way would be taken for what was caught up.
    if (bench.problems.length === 0) {
      await bench.catchUp(share(Number(options['caught-up'])));
    }
    const problem = await pair.problem();
    if (problem !== '') bench.problems.push(problem);
    return bench;
  } finally {
    load.end();
    await pair.stop();
  }
}

/** So many that each publisher has as many as the others. */
function share(count: number): number {
  return Math.max(1, Math.floor(count / PUBLISHERS)) * PUBLISHERS;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

const written = (value: number): string =>
  value >= 1000 ? new Intl.NumberFormat('en').format(Math.round(value)) : value.toPrecision(3);

const base = options['base-bin'];
const executable = options['causeway-bin'] ?? null;
const profiles = options.profiles ?? null;
const kinds = (
  isOfBridges
    ? (['out', 'in'] as const).flatMap((direction) => [
        causewayBridgePair(direction, executable, profiles),
        mosquittoBridgePair(direction),
      ])
    : [
        ...(base === undefined ? [] : [causewayPair('causeway-base', base, null)]),
        causewayPair('causeway', executable, profiles),
        mosquittoPair(false),
        mosquittoPair(true),
      ]
).filter(({ name }) => name.startsWith(options.only));
const taken = new Map<string, Figures[]>(kinds.map(({ name }) => [name, []]));
let problems = 0;
for (let round = 1; round <= Number(options.rounds); round++) {
  for (const kind of round % 2 === 1 ? kinds : [...kinds].reverse()) {
    const bench = await measure(kind);
    taken.get(kind.name)!.push(bench.figures);
    const said = [...bench.figures].map(([what, value]) => `${what} ${written(value)}`);
    console.log(`round ${round}, ${kind.name}: ${said.join('; ')}`);
    for (const problem of bench.problems) console.log(`  ${problem}`);
    problems += bench.problems.length;
  }
}

const { cpu, kernel, node, loadAverage } = describeMachine();
console.log(`\n${cpu}, ${kernel}, Node ${node}, load average ${loadAverage.toFixed(2)}\n`);
console.log(
  `| ${roundTripMs} ms, QoS 1, ${PAYLOAD_BYTES} bytes | ${[...taken.keys()].join(' | ')} |`,
);
console.log(`| --- |${' ---: |'.repeat(taken.size)}`);
for (const what of [...taken.values()][0]?.[0]?.keys() ?? []) {
  if (what.startsWith('warm-up')) continue;
  const cells = [...taken.values()].map((rounds) =>
    written(median(rounds.map((figures) => figures.get(what) ?? Number.NaN))),
  );
  console.log(`| ${what} | ${cells.join(' | ')} |`);
}
if (problems > 0) process.exitCode = 1;
