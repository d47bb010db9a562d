// What a login costs: CONNECT, CONNACK, DISCONNECT, as fast as they are answered. With tokens of
// each algorithm (each token once, then the same ones again), with passwords that were verified
// before, and with client certificates. The broker has one core: CPU per login says how many.

import type { BrokerProcess, Place } from '../../peers/broker-process.ts';
import { Histogram } from '../histogram.ts';
import type { ClientTls, Login, StormOptions, Target } from '../load/protocol.ts';
import { LoadProcesses } from '../load-processes.ts';
import { RunContext } from '../run-context.ts';
import { makeCertificates } from './certificates.ts';
import type { Algorithm } from './issuer.ts';
import { Issuer } from './issuer.ts';
import { Metrics } from './metrics.ts';
import { configurePasswords, rightLogin } from './passwords.ts';
import type { AccessScenario, Bench } from './scenario.ts';
import { configuration, problemsOf, start } from './scenario.ts';
import { percent, precise, whole } from './table.ts';

const CONCURRENCY = 100;
const LOGINS_PER_S = 2000;
/** So that the broker still remembers all of them when they come again. */
const LOGINS_MAX = 9000;
const WARM_LOGINS = 1000;
const PASSWORD_USERS = 20;
/** A handshake costs the load many times what a login costs it. */
const HANDSHAKE_SHARE = 0.25;
const HASHED_WITHIN_MS = 20_000;
/** Whoever asks whether the broker is up may do so more than once, with one token. */
const PROBES_MAX = 10;

const algorithms: readonly Algorithm[] = ['HS256', 'RS256', 'ES256', 'EdDSA'];
/** Made once: every broker is new and has seen none of them. */
const tokens: Map<Algorithm, { readonly issuer: Issuer; readonly logins: readonly Login[] }> =
  new Map();

function tokensOf(algorithm: Algorithm, count: number): { issuer: Issuer; logins: Login[] } {
  const known = tokens.get(algorithm) ?? { issuer: new Issuer(algorithm), logins: [] };
  const { issuer } = known;
  const logins = [...known.logins];
  while (logins.length < count) logins.push(issuer.login(`device-${logins.length}`));
  tokens.set(algorithm, { issuer, logins });
  return { issuer, logins };
}

/** A broker under one storm after the other. */
class Counter {
  readonly broker: BrokerProcess;
  readonly context: RunContext;
  readonly #bench: Bench;
  readonly #load: LoadProcesses;
  readonly #count: number;

  constructor(bench: Bench, broker: BrokerProcess) {
    const { options } = bench;
    this.#bench = bench;
    this.broker = broker;
    this.#load = new LoadProcesses(options.loadProcesses, options.loadCore);
    this.context = new RunContext(broker, this.#load, options.settings, options.brokerCore);
    this.#count = loginsOf(bench);
  }

  /** A storm that is not counted, to warm up; nobody may be refused in it either. */
  async warmUp(
    options: Partial<StormOptions>,
    target: Target = this.context.target,
  ): Promise<void> {
    const plan = { seconds: 60, concurrency: CONCURRENCY, count: WARM_LOGINS, ...options };
    const { failures } = await this.#load.storm(target, plan);
    for (const [reason, count] of failures) {
      this.context.problems.add(`warming up, logins failed: ${count} × ${reason}`);
    }
  }

  async count(
    name: string,
    options: Partial<StormOptions>,
    target: Target = this.context.target,
  ): Promise<void> {
    await this.context.quiet();
    await this.#load.clear();
    const begin = this.context.begin();
    const plan = { seconds: 300, concurrency: CONCURRENCY, count: this.#count, ...options };
    const { connected, elapsedS, failures, connackUs } = await this.#load.storm(target, plan);
    const used = this.context.usedSince(begin);
    const stats = await this.#load.stats();
    const connack = new Histogram();
    connack.merge(connackUs);
    for (const [reason, count] of failures) {
      this.context.problems.add(`logins failed: ${count} × ${reason}`);
    }
    const cpuUs = (used.brokerCpuS * 1e6) / connected;
    const { table } = this.#bench;
    table.add(name, {
      cpuUs,
      perCore: 1e6 / cpuUs,
      rate: connected / elapsedS,
      p50: connack.percentileMs(0.5),
      p99: connack.percentileMs(0.99),
      busy: used.brokerCpuS / elapsedS,
      others: used.othersS / used.wallS,
      loadBusy: stats.cpuS / elapsedS,
      rss: this.context.memory().rssMib,
    });
    table.complain(name, problemsOf(this.context));
    this.context.problems.clear();
  }

  /** That the link of the chain let all of them in, and so many of them from memory. */
  async expect(kind: string, accepted: number, remembered: number): Promise<void> {
    const metrics = await Metrics.read(this.broker);
    const label = `authenticator="${kind}"`;
    const seen = metrics.sum('causeway_authentications_total', label, 'accepted');
    const hits = metrics.sum('causeway_authentication_cache_hits_total', label);
    if (seen < accepted || hits < remembered || hits > remembered + WARM_LOGINS + PROBES_MAX) {
      this.context.problems.add(
        `${seen} let in and ${hits} from memory; expected ${accepted} and ${remembered}`,
      );
    }
    this.#bench.table.complain(kind, problemsOf(this.context));
  }

  async end(): Promise<void> {
    this.#load.end();
    await this.broker.stop();
  }
}

function loginsOf({ options }: Bench): number {
  return Math.min(LOGINS_MAX, Math.ceil(options.settings.seconds * LOGINS_PER_S));
}

async function withBroker(
  bench: Bench,
  configure: ((place: Place) => string) | undefined,
  login: Login | undefined,
  use: (counter: Counter) => Promise<void>,
): Promise<void> {
  const counter = new Counter(bench, await start(bench, configure, login));
  try {
    await use(counter);
  } finally {
    await counter.end();
  }
}

async function byToken(bench: Bench, algorithm: Algorithm): Promise<void> {
  const count = loginsOf(bench);
  const { issuer, logins } = tokensOf(algorithm, count + WARM_LOGINS);
  const measured = logins.slice(0, count);
  const configure = (place: Place): string =>
    configuration(place, 'authentication:', '  chain: [jwt]', issuer.configure(place.directory));
  await withBroker(bench, configure, issuer.login('probe'), async (counter) => {
    await counter.warmUp({ logins: logins.slice(count) });
    await counter.count(`${algorithm}, each token once`, { logins: measured });
    await counter.expect('jwt', count, 0);
    await counter.count(`${algorithm}, the same tokens again`, { logins: measured });
    await counter.expect('jwt', 2 * count, count);
  });
}

async function byPassword(bench: Bench): Promise<void> {
  const users = Array.from({ length: PASSWORD_USERS }, (_, index) => `device-${index}`);
  const logins = users.map(rightLogin);
  const configure = (place: Place): string =>
    configuration(
      place,
      'authentication:',
      '  chain: [password]',
      configurePasswords(place.directory, users),
    );
  await withBroker(bench, configure, logins[0], async (counter) => {
    const first = { logins, count: users.length, concurrency: 4, attemptMs: HASHED_WITHIN_MS };
    await counter.warmUp(first);
    await counter.warmUp({ logins });
    await counter.count('password (scrypt), verified before', { logins });
    const count = loginsOf(bench);
    await counter.expect('password', count, count);
  });
}

async function byCertificate(bench: Bench): Promise<void> {
  let tls: ClientTls | undefined;
  const configure = (place: Place): string => {
    tls = makeCertificates(place.directory);
    const file = (name: string): string => `${place.directory}/${name}`;
    return [
      'listeners:',
      `  - url: mqtt://127.0.0.1:${place.port}`,
      '    authentication: { chain: [] }',
      `  - url: mqtts://127.0.0.1:${place.tlsPort}`,
      '    tls:',
      `      certFile: ${file('server.pem')}`,
      `      keyFile: ${file('server.key')}`,
      `      caFile: ${file('authority.pem')}`,
      '      clientCertificate: required',
      'authentication:',
      '  chain: [certificate]',
      '',
    ].join('\n');
  };
  await withBroker(bench, configure, undefined, async (counter) => {
    const count = Math.ceil(loginsOf(bench) * HANDSHAKE_SHARE);
    const target = { ...counter.context.target, port: counter.broker.tlsPort };
    const shown = { ...(tls === undefined ? {} : { tls }) };
    await counter.warmUp({ ...shown, count: Math.ceil(WARM_LOGINS * HANDSHAKE_SHARE) }, target);
    await counter.count('client certificate (TLS 1.3, P-256)', { ...shown, count }, target);
    await counter.expect('certificate', count, 0);
  });
}

async function round(bench: Bench): Promise<void> {
  await withBroker(bench, undefined, undefined, async (counter) => {
    await counter.warmUp({});
    await counter.count('no authentication', {});
  });
  for (const algorithm of algorithms) await byToken(bench, algorithm);
  await byPassword(bench);
  await byCertificate(bench);
}

export const loginCost: AccessScenario = {
  name: 'logins',
  title: `CONNECT, CONNACK, DISCONNECT with credentials, ${CONCURRENCY} at a time`,
  columns: {
    cpuUs: { title: 'broker CPU µs per login', write: precise, isCompared: true },
    perCore: { title: 'logins/s and core', write: whole },
    rate: { title: 'logins/s', write: whole },
    p50: { title: 'p50 ms', write: precise },
    p99: { title: 'p99 ms', write: precise },
    busy: { title: 'broker busy', write: percent },
    others: { title: 'others on its core', write: percent },
    loadBusy: { title: 'load busy', write: percent },
    rss: { title: 'RSS MiB', write: whole },
  },
  round,
};
