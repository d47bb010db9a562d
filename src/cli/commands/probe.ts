/**
 * `causeway probe`: uses servers as devices do, once or for ever, and says what devices see: a table,
 * JSON, an exit code, Prometheus metrics and a health check.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ParseArgsOptionsConfig } from 'node:util';
import { Client } from '../../client/client.ts';
import { parseEndpoint } from '../../client/endpoint.ts';
import type { ClientOptions } from '../../client/options.ts';
import { probeRound } from '../../client/probe/probe-round.ts';
import type { RoundResult } from '../../client/probe/probe-step.ts';
import { parseAdminUrl } from '../../config/address.ts';
import { isValidTopicName } from '../../wire/topic.ts';
import type { Command } from '../command.ts';
import { EXIT_OK, UsageError } from '../command.ts';
import { clientFlags, clientOptions, loginUsage } from '../mqtt/client-flags.ts';
import type { Flags } from '../mqtt/flags.ts';
import { readFlags } from '../mqtt/flags.ts';
import { Output } from '../mqtt/output.ts';
import { refuseProperties } from '../mqtt/properties.ts';
import { EXIT_CONNECTION, fromFlags, onSignal, Remarks } from '../mqtt/run.ts';
import { Figures } from '../probe/figures.ts';
import { ProbeDoor } from '../probe/probe-door.ts';
import { ProbeMetrics } from '../probe/probe-metrics.ts';
import { figuresJson, figuresTable, roundJson, roundLines, roundTable } from '../probe/report.ts';
import { version } from '../version.ts';

/** A server was reached, but did not do what it should. */
const EXIT_STEP = 3;
/** Each server is well alone, but not all comes from one to another. */
const EXIT_CROSS = 4;
const SERVERS_MAX = 16;

const usage = `causeway probe URL [URL ...] [FLAGS]

Uses each server as a device does: connects, subscribes, publishes and receives at QoS 0 and 1, sets,
reads and clears a retained message; with several servers also from each to each other.
URL is mqtt://, mqtts://, ws://host:port/mqtt, wss:// or unix:/path; a user and password in it are
for that server and come before those of the flags.

How often:
      --every SECONDS      again and again, a round begins every so many seconds
  -C, --count N            end after N rounds (default 1, with --every no end)
What is well:
  -W, --timeout SECONDS    longest for one step (default 5)
      --round-timeout SECONDS   longest for a round (default 30)
      --max-latency MS     a step that takes longer has failed
Where:
      --prefix TOPIC       topics below it are used, and left empty (default causeway/probe)
Output:
      --json               one JSON object for each round; with several also a summary
      --metrics HOST:PORT  with --every: http://HOST:PORT/metrics for Prometheus, and /health, which
                           answers 200 while the last round went well and 503 else
      --quiet              no remarks on standard error
Who:
  -i, --id ID              client identifiers are ID-1 for the first URL, ID-2 for the second and so on
                           (default random ones)
${loginUsage}
TLS (mqtts:// and wss://):
      --cafile FILE        PEM of the authorities to trust instead of the system's
      --cert FILE, --key FILE   client certificate and its key
      --insecure           do not check the certificate of the server
MQTT:
  -V, --protocol-version V 5 (default), 3.1.1 or 3.1
  -k, --keepalive SECONDS  (default 60)
      --property NAME=VALUE     MQTT 5 property of CONNECT, repeatable

Exit codes: 0 all went well in every round; 1 wrong flags; else the lowest of what happened:
2 a server could not be reached, or refused the connection; 3 a server failed in another step;
4 each is well alone, but between two of them something did not arrive.`;

/** Of the flags all clients have. */
const CLIENT_FLAGS = [
  'id',
  'username',
  'password',
  'password-file',
  'protocol-version',
  'keepalive',
  'cafile',
  'cert',
  'key',
  'insecure',
  'property',
  'quiet',
] as const;

const flagTable: ParseArgsOptionsConfig = {
  ...Object.fromEntries(CLIENT_FLAGS.map((name) => [name, clientFlags[name]!])),
  every: { type: 'string' },
  count: { type: 'string', short: 'C' },
  timeout: { type: 'string', short: 'W' },
  'round-timeout': { type: 'string' },
  'max-latency': { type: 'string' },
  prefix: { type: 'string' },
  json: { type: 'boolean' },
  metrics: { type: 'string' },
};

const PREFIX = 'causeway/probe';
const PREFIX_BYTES_MAX = 1024;
const STEP_S = 5;
const ROUND_S = 30;
const EVERY_S_MIN = 0.1;
const RUN_BYTES = 6;
/** The last round is old when the next one should have been over for so many intervals. */
const FRESH_INTERVALS = 2;

interface Plan {
  readonly servers: readonly ClientOptions[];
  /** URLs without user and password. */
  readonly names: readonly string[];
  readonly prefix: string;
  readonly stepMs: number;
  readonly totalMs: number;
  readonly latencyMaxMs: number;
  /** 0: one round follows the other. */
  readonly everyMs: number;
  readonly roundsMax: number;
  readonly isJson: boolean;
  readonly door: { readonly host: string; readonly port: number } | null;
}

async function run(args: readonly string[]): Promise<number> {
  const flags = readFlags(args, flagTable, SERVERS_MAX);
  const remarks = new Remarks('probe', flags.has('quiet'));
  const plan = readPlan(flags);
  const output = new Output();
  const stop = new AbortController();
  const figures = new Figures(plan.names.length);
  const metrics = plan.door === null ? null : new ProbeMetrics(plan.names, version);
  let door: ProbeDoor | null = null;
  const forget = onSignal(() => stop.abort());
  output.onClosed(() => stop.abort());
  let code = EXIT_OK;
  try {
    door = metrics === null ? null : await openDoor(plan, metrics);
    if (door !== null) remarks.remark(`metrics at ${door.url}/metrics`);
    await rounds(plan, stop.signal, async (round) => {
      figures.add(round);
      metrics?.add(round);
      door?.add(round);
      code = worse(code, exitCodeOf(round));
      await output.write(Buffer.from(shown(plan, round, figures.rounds)));
    });
    if (plan.roundsMax > 1) {
      const { isJson, names } = plan;
      const summary = isJson ? figuresJson(figures, names) : figuresTable(figures, names);
      await output.write(Buffer.from(summary));
    }
  } finally {
    forget();
    await door?.close();
  }
  await output.flushed();
  return code;
}

/** Runs rounds at even times; one that takes longer than the interval is followed at once. */
async function rounds(
  plan: Plan,
  signal: AbortSignal,
  over: (round: RoundResult) => Promise<void>,
): Promise<void> {
  const { servers, prefix, stepMs, totalMs, latencyMaxMs, everyMs, roundsMax } = plan;
  const runId = randomBytes(RUN_BYTES).toString('hex');
  let dueMs = performance.now();
  for (let number = 1; number <= roundsMax && !signal.aborted; number++) {
    const topicPrefix = `${prefix}/${runId}-${number}`;
    const bounds = { stepMs, totalMs, latencyMaxMs, signal };
    const round = await probeRound({ servers, topicPrefix, ...bounds });
    if (round.isAborted) return;
    await over(round);
    dueMs = Math.max(dueMs + everyMs, performance.now());
    if (number < roundsMax) await wait(dueMs - performance.now(), signal);
  }
}

async function wait(ms: number, signal: AbortSignal): Promise<void> {
  // An end that was asked for is seen by the loop.
  await sleep(Math.max(0, ms), undefined, { signal }).catch(() => {});
}

function shown({ names, isJson, roundsMax }: Plan, round: RoundResult, number: number): string {
  if (isJson) return roundJson(round, names, number);
  return roundsMax === 1 ? roundTable(round, names) : roundLines(round, names);
}

function exitCodeOf({ steps }: RoundResult): number {
  const failed = steps.filter(({ ok }) => !ok);
  if (failed.some(({ to, step }) => to === null && step === 'connect')) return EXIT_CONNECTION;
  if (failed.some(({ to }) => to === null)) return EXIT_STEP;
  return failed.length > 0 ? EXIT_CROSS : EXIT_OK;
}

function worse(one: number, other: number): number {
  if (one === EXIT_OK || other === EXIT_OK) return Math.max(one, other);
  return Math.min(one, other);
}

async function openDoor(plan: Plan, metrics: ProbeMetrics): Promise<ProbeDoor> {
  const { names, everyMs, totalMs } = plan;
  const { host, port } = plan.door!;
  const freshMs = FRESH_INTERVALS * Math.max(everyMs, totalMs);
  try {
    return await ProbeDoor.open({ host, port, metrics, names, freshMs });
  } catch (error) {
    throw new UsageError(`--metrics: ${(error as Error).message}`);
  }
}

function readPlan(flags: Flags): Plan {
  refuseProperties(flags, 'publish', 'probe');
  const urls = flags.positionals;
  if (urls.length === 0) throw new UsageError('a URL is missing, such as mqtt://127.0.0.1:1883');
  const everyS = flags.seconds('every');
  if (everyS !== undefined && everyS < EVERY_S_MIN) {
    throw new UsageError(`--every is ${EVERY_S_MIN} seconds or more`);
  }
  const count = flags.count('count', 1, 1_000_000_000);
  if (flags.has('metrics') && everyS === undefined) {
    throw new UsageError('--metrics needs --every: one round is over before anybody asks');
  }
  const [servers, names] = readServers(flags, urls);
  return {
    servers,
    names,
    prefix: readPrefix(flags),
    stepMs: positiveMs(flags, 'timeout', STEP_S),
    totalMs: positiveMs(flags, 'round-timeout', ROUND_S),
    latencyMaxMs: flags.count('max-latency', 1, 3_600_000) ?? Number.POSITIVE_INFINITY,
    everyMs: (everyS ?? 0) * 1000,
    roundsMax: count ?? (everyS === undefined ? 1 : Number.POSITIVE_INFINITY),
    isJson: flags.has('json'),
    door: readDoor(flags),
  };
}

function readServers(flags: Flags, urls: readonly string[]): [ClientOptions[], string[]] {
  const shared = clientOptions(flags);
  const endpoints = urls.map((url) => fromFlags(() => parseEndpoint(url)));
  const servers = endpoints.map((endpoint, place): ClientOptions => {
    const { username, password, clientId, ...others } = shared;
    const options = { ...others, url: urls[place]! };
    const named =
      clientId === undefined ? options : { ...options, clientId: `${clientId}-${place + 1}` };
    if (endpoint.username !== null) return named;
    return {
      ...named,
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
    };
  });
  for (const options of servers) fromFlags(() => new Client(options));
  const names = endpoints.map(({ display }) => display);
  const twice = names.find((name, place) => names.indexOf(name) !== place);
  if (twice !== undefined) throw new UsageError(`${twice} is given twice`);
  return [servers, names];
}

function readPrefix(flags: Flags): string {
  const prefix = flags.text('prefix') ?? PREFIX;
  if (!isValidTopicName(prefix) || Buffer.byteLength(prefix) > PREFIX_BYTES_MAX) {
    throw new UsageError('--prefix is a topic, without + and #');
  }
  return prefix.replace(/\/+$/, '');
}

function positiveMs(flags: Flags, name: string, defaultS: number): number {
  const seconds = flags.seconds(name) ?? defaultS;
  if (seconds <= 0) throw new UsageError(`--${name} is more than 0 seconds`);
  return seconds * 1000;
}

function readDoor(flags: Flags): Plan['door'] {
  const text = flags.text('metrics');
  if (text === undefined) return null;
  const address = parseAdminUrl(`http://${text}`);
  if (address === null || typeof address === 'string' || !/:\d+$/.test(text)) {
    throw new UsageError('--metrics is HOST:PORT, such as 127.0.0.1:9880');
  }
  return { host: address.host, port: address.port };
}

export const command: Command = {
  name: 'probe',
  summary: 'use servers as devices do, and say what devices see',
  usage,
  run,
};
