// A storm of 2,000 wrong passwords a second from 50 addresses: what it takes from 50 pairs at QoS 1
// (latency at 10,000 messages/s, then throughput), how long a good user from another address waits
// for CONNACK, and whether memory comes back. With the guard against guessing as it is by default,
// and without it, where every attempt wants to be hashed.

import type { BrokerProcess, Place } from '../../peers/broker-process.ts';
import { collectGarbage } from '../collect.ts';
import { Histogram } from '../histogram.ts';
import type { Login } from '../load/protocol.ts';
import { LoadProcesses } from '../load-processes.ts';
import { acceptQueueOverflows, residentBytes } from '../process-usage.ts';
import { sleep } from '../run-context.ts';
import { Issuer } from './issuer.ts';
import { Metrics } from './metrics.ts';
import { configurePasswords, rightLogin, wrongLogin } from './passwords.ts';
import type { AccessScenario, Bench } from './scenario.ts';
import {
  CALM_RATE_PER_S,
  configuration,
  Pairs,
  pairsOf,
  pairUser,
  problemsOf,
  start,
} from './scenario.ts';
import type { Values } from './table.ts';
import { percent, precise, whole } from './table.ts';

const ATTEMPTS_PER_S = 2000;
const ADDRESSES = 50;
const STORM_NETWORK = 20;
const UNDER_WAY_MAX = 6000;
const DEVICES = 1000;
/** Good users come for the first time, so each costs a hash. */
const GOOD_PER_S = 2;
const GOOD_USERS = 400;
const GOOD_NETWORK = 30;
const ANSWER_WITHIN_MS = 20_000;
/** It is told to end before. */
const STORM_S_MAX = 600;
/** Until blocks are in force and queues are full. */
const SETTLE_MS = 1500;
const MIB = 1024 * 1024;

const goodUsers = Array.from({ length: GOOD_USERS }, (_, index) => `good-${index}`);
const devices = Array.from({ length: DEVICES }, (_, index) => `device-${index}`);
/** Of known and unknown users in turn. */
const wrongLogins: readonly Login[] = devices.flatMap((user) => [
  wrongLogin(user),
  wrongLogin(`un${user}`),
]);

interface Guard {
  readonly name: string;
  readonly lines: readonly string[];
}

const guards: readonly Guard[] = [
  { name: 'guard as by default', lines: [] },
  { name: 'no guard', lines: ['bans:', '  login: { failuresMax: 0 }'] },
];

function configure(issuer: Issuer, guard: Guard, place: Place): string {
  return configuration(
    place,
    'authentication:',
    '  chain: [jwt, password]',
    issuer.configure(place.directory),
    configurePasswords(place.directory, [...goodUsers, ...devices]),
    ...guard.lines,
  );
}

/** Memory in use after a collection. */
async function residentMib(broker: BrokerProcess): Promise<number> {
  await collectGarbage(broker);
  return residentBytes(broker.pid) / MIB;
}

/** Good users who log in while something else goes on. */
class GoodUsers {
  readonly #pairs: Pairs;
  #next = 0;

  constructor(pairs: Pairs) {
    this.#pairs = pairs;
  }

  /** Latency of their CONNACK; adds a problem for each who was not let in. */
  async come(seconds: number): Promise<Histogram> {
    const { load, target, problems } = this.#pairs.context;
    const count = Math.max(1, Math.ceil(seconds * GOOD_PER_S));
    const logins = goodUsers.slice(this.#next, this.#next + count).map(rightLogin);
    this.#next += count;
    if (logins.length < count) throw new Error('--seconds is too long for the number of users');
    const stormed = await load.storm(target, {
      seconds: seconds + 1,
      concurrency: count,
      ratePerS: GOOD_PER_S,
      count,
      logins,
      network: GOOD_NETWORK,
      attemptMs: ANSWER_WITHIN_MS,
    });
    for (const [reason, number] of stormed.failures) {
      problems.add(`good users were not let in: ${number} × ${reason}`);
    }
    const connack = new Histogram();
    connack.merge(stormed.connackUs);
    return connack;
  }
}

/** Latency at the fixed rate, good users beside it; then throughput. */
async function measure(pairs: Pairs, good: GoodUsers, messages: number): Promise<Values> {
  const { load, settings, broker } = pairs.context;
  const rate = settings.ratePerS ?? CALM_RATE_PER_S;
  const before = await Metrics.read(broker);
  const overflows = acceptQueueOverflows();
  const [phase, connack] = await Promise.all([
    pairs.send(rate * settings.seconds, rate),
    good.come(settings.seconds),
  ]);
  const { latency, loopDelayP99Ms } = await load.stats();
  const fast = await pairs.send(messages);
  const after = await Metrics.read(broker);
  return {
    p50: latency.percentileMs(0.5),
    p99: latency.percentileMs(0.99),
    rate: fast.received / fast.elapsedS,
    busy: phase.usage.brokerCpuS / phase.usage.wallS,
    others: phase.usage.othersS / phase.usage.wallS,
    lag: loopDelayP99Ms,
    loop: after.longestLoopDelayMs(before),
    goodP50: connack.percentileMs(0.5),
    goodMax: connack.percentileMs(1),
    good: connack.total(),
    overflows: acceptQueueOverflows() - overflows,
  };
}

function inWords(outcomes: ReadonlyMap<string, number>): string {
  const most = [...outcomes].sort((a, b) => b[1] - a[1]);
  return most.map(([outcome, count]) => `${whole(count)} × ${outcome}`).join(', ');
}

async function against(bench: Bench, guard: Guard): Promise<void> {
  const { options, table } = bench;
  const { seconds, warmupSeconds } = options.settings;
  const issuer = new Issuer('HS256');
  const login = issuer.login(pairUser(0));
  const broker = await start(bench, (place) => configure(issuer, guard, place), login);
  const load = new LoadProcesses(options.loadProcesses, options.loadCore);
  const attackers = new LoadProcesses(1, options.loadCore, true);
  try {
    const cast = pairsOf(1, (user) => issuer.login(user));
    const pairs = await Pairs.open(broker, load, options, { qos: 1, cast, group: 'pairs' });
    const { problems, target } = pairs.context;
    const good = new GoodUsers(pairs);
    const messages = (await pairs.warmUp(warmupSeconds)) * seconds;
    const memoryBefore = await residentMib(broker);
    const calm = `calm, ${guard.name}`;
    const calmValues = await measure(pairs, good, messages);
    table.add(calm, { ...calmValues, memory: memoryBefore }, calm);
    table.complain(calm, problemsOf(pairs.context));
    problems.clear();

    const storm = attackers.storm(target, {
      seconds: STORM_S_MAX,
      concurrency: UNDER_WAY_MAX,
      ratePerS: ATTEMPTS_PER_S,
      logins: wrongLogins,
      network: STORM_NETWORK,
      addresses: ADDRESSES,
      attemptMs: ANSWER_WITHIN_MS,
    });
    await sleep(SETTLE_MS);
    const values = await measure(pairs, good, messages);
    await attackers.endStorms();
    const { connected, elapsedS, failures } = await storm;
    const attempts = [...failures.values()].reduce((sum, count) => sum + count, 0);
    if (connected > 0) problems.add(`${connected} wrong passwords were let in`);
    await pairs.context.quiet();
    const stormy = `storm, ${guard.name}`;
    const { rssMib, peakMib } = pairs.context.memory();
    const memory = { memory: await residentMib(broker), rss: rssMib, peak: peakMib };
    table.add(stormy, { ...values, attempts: attempts / elapsedS, ...memory }, calm);
    table.complain(stormy, problemsOf(pairs.context));
    table.remark(stormy, `answers to the storm: ${inWords(failures)}`);
  } finally {
    attackers.end();
    load.end();
    await broker.stop();
  }
}

async function round(bench: Bench): Promise<void> {
  for (const guard of guards) await against(bench, guard);
}

export const loginStorm: AccessScenario = {
  name: 'login-storm',
  title: `${ATTEMPTS_PER_S} wrong passwords a second from ${ADDRESSES} addresses, beside 50 pairs, QoS 1`,
  columns: {
    p50: { title: `p50 ms at ${CALM_RATE_PER_S} /s`, write: precise },
    p99: { title: 'p99 ms', write: precise, isCompared: true },
    rate: { title: 'messages/s at most', write: whole, isCompared: true },
    goodP50: { title: 'good login p50 ms', write: precise },
    goodMax: { title: 'longest ms', write: precise },
    good: { title: 'good logins', write: whole },
    overflows: { title: 'accept queue full', write: whole },
    attempts: { title: 'attempts/s', write: whole },
    loop: { title: 'loop delay below ms', write: precise },
    busy: { title: 'broker busy', write: percent },
    others: { title: 'others on its core', write: percent },
    lag: { title: 'load lag p99 ms', write: precise },
    memory: { title: 'RSS after collection MiB', write: whole, isCompared: true },
    rss: { title: 'before it', write: whole },
    peak: { title: 'peak MiB', write: whole },
  },
  round,
};
