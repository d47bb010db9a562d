// Passwords are hashed beside the event loop: latency of 50 pairs at QoS 1 and 10,000 messages/s,
// calm and while users log in for the first time, ten at a time, each costing a hash of some 90 ms.
// With the broker on one core, where hashes and loop share it, and on all cores.

import type { Place } from '../../peers/broker-process.ts';
import { LoadProcesses } from '../load-processes.ts';
import { Issuer } from './issuer.ts';
import { Metrics } from './metrics.ts';
import { configurePasswords, rightLogin } from './passwords.ts';
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

const UNDER_WAY = 10;
const ADDRESSES = 10;
const NETWORK = 30;
/** More than can be hashed while it lasts. */
const USERS = 5000;
const ANSWER_WITHIN_MS = 20_000;
/** With `--seconds 3` about a hundred logins on one core. */
const LONGER = 4;

const users = Array.from({ length: USERS }, (_, index) => `device-${index}`);

function configure(issuer: Issuer, place: Place): string {
  return configuration(
    place,
    'authentication:',
    '  chain: [jwt, password]',
    issuer.configure(place.directory),
    configurePasswords(place.directory, users),
  );
}

async function measure(pairs: Pairs, hashes: boolean): Promise<Values> {
  const { load, target, settings, broker, problems } = pairs.context;
  const rate = settings.ratePerS ?? CALM_RATE_PER_S;
  const seconds = settings.seconds * LONGER;
  const before = await Metrics.read(broker);
  const logins = hashes
    ? load.storm(target, {
        seconds: seconds + 1,
        concurrency: UNDER_WAY,
        logins: users.map(rightLogin),
        network: NETWORK,
        addresses: ADDRESSES,
        attemptMs: ANSWER_WITHIN_MS,
      })
    : null;
  const phase = await pairs.send(rate * seconds, rate);
  const { latency, lateness, loopDelayP99Ms } = await load.stats();
  await load.endStorms();
  const stormed = await logins;
  const after = await Metrics.read(broker);
  for (const [reason, count] of stormed?.failures ?? []) {
    problems.add(`logins failed: ${count} × ${reason}`);
  }
  const remembered = after.since(before, 'causeway_authentication_cache_hits_total', 'password');
  if (remembered > 0) problems.add(`${remembered} logins were not hashed`);
  const { brokerCpuS, othersS, wallS } = phase.usage;
  return {
    p50: latency.percentileMs(0.5),
    p99: latency.percentileMs(0.99),
    p999: latency.percentileMs(0.999),
    loop: after.longestLoopDelayMs(before),
    hashed: stormed?.connected ?? 0,
    busy: brokerCpuS / wallS,
    others: othersS / wallS,
    lag: loopDelayP99Ms,
    late: lateness.percentileMs(0.99),
  };
}

async function onCores(name: string, bench: Bench): Promise<void> {
  const { options, table } = bench;
  const issuer = new Issuer('HS256');
  const login = issuer.login(pairUser(0));
  const broker = await start(bench, (place) => configure(issuer, place), login);
  const load = new LoadProcesses(options.loadProcesses, options.loadCore);
  try {
    const cast = pairsOf(1, (user) => issuer.login(user));
    const pairs = await Pairs.open(broker, load, options, { qos: 1, cast, group: 'pairs' });
    await pairs.warmUp(options.settings.warmupSeconds);
    const calm = `calm, ${name}`;
    table.add(calm, await measure(pairs, false), calm);
    const hashing = `hashing, ${name}`;
    table.add(hashing, await measure(pairs, true), calm);
    table.complain(name, problemsOf(pairs.context));
  } finally {
    load.end();
    await broker.stop();
  }
}

async function round(bench: Bench): Promise<void> {
  await onCores('broker on one core', bench);
  await onCores('broker on all cores', {
    ...bench,
    options: { ...bench.options, brokerCore: undefined },
  });
}

export const passwordHashing: AccessScenario = {
  name: 'hashing',
  title: `50 pairs, QoS 1, ${CALM_RATE_PER_S} messages/s, while passwords are hashed`,
  columns: {
    p50: { title: 'p50 ms', write: precise },
    p99: { title: 'p99 ms', write: precise, isCompared: true },
    p999: { title: 'p99.9 ms', write: precise },
    loop: { title: 'loop delay below ms', write: precise },
    hashed: { title: 'hashed', write: whole },
    busy: { title: 'broker busy', write: percent },
    others: { title: 'others on its core', write: percent },
    lag: { title: 'load lag p99 ms', write: precise },
    late: { title: 'late p99 ms', write: precise },
  },
  round,
};
