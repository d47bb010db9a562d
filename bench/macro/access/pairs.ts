// What rules, tokens and quotas cost a message: 50 pairs at QoS 0, as fast as they can. All brokers
// of a round run at the same time and are measured in short turns, so that what the machine does
// meanwhile hits all of them; the ratio is that of CPU per message to the broker without any of it.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BrokerProcess, Place } from '../../peers/broker-process.ts';
import { LoadProcesses } from '../load-processes.ts';
import type { Algorithm } from './issuer.ts';
import { Issuer } from './issuer.ts';
import { Metrics } from './metrics.ts';
import { siteRules } from './rules.ts';
import type { AccessScenario, Bench } from './scenario.ts';
import { configuration, Pairs, pairsOf, pairUser, problemsOf, start } from './scenario.ts';
import type { Values } from './table.ts';
import { percent, precise, whole } from './table.ts';

const TURNS = 5;
const PLENTY = '1000000000000';
const scopes = ['client', 'user', 'tenant', 'node'];

type Rules = 'none' | 'plain' | 'filtering';

interface Variant {
  readonly name: string;
  /** Without one everybody is let in, and nothing else is configured. */
  readonly algorithm?: Algorithm;
  readonly rules: Rules;
  /** What is limited, each per client, user, tenant and node. */
  readonly quotas: readonly string[];
}

const rates = ['publishMessagesPerS', 'publishBytesPerS', 'deliverBytesPerS'];
const variants: readonly Variant[] = [
  { name: 'no access', rules: 'none', quotas: [] },
  { name: '1,000 rules, HS256', algorithm: 'HS256', rules: 'plain', quotas: [] },
  { name: '1,000 rules, RS256', algorithm: 'RS256', rules: 'plain', quotas: [] },
  { name: 'the same, delivery filtered', algorithm: 'HS256', rules: 'filtering', quotas: [] },
  { name: '4 quotas, HS256', algorithm: 'HS256', rules: 'none', quotas: rates.slice(0, 1) },
  { name: '12 quotas, HS256', algorithm: 'HS256', rules: 'none', quotas: rates },
  { name: 'all of it', algorithm: 'HS256', rules: 'filtering', quotas: rates },
];

function quotaLines(kinds: readonly string[]): string[] {
  const lines = kinds.flatMap((kind) =>
    scopes.map(
      (scope) => `  - { name: ${kind}-${scope}, of: ${kind}, per: ${scope}, max: ${PLENTY} }`,
    ),
  );
  return lines.length > 0 ? ['quotas:', ...lines] : [];
}

function configure(variant: Variant, issuer: Issuer, place: Place): string {
  const sections = [
    'authentication:',
    '  chain: [jwt]',
    '  tenant: { from: claim }',
    issuer.configure(place.directory),
    ...quotaLines(variant.quotas),
  ];
  if (variant.rules !== 'none') {
    const file = join(place.directory, 'rules.yaml');
    writeFileSync(file, siteRules(variant.rules === 'filtering'));
    sections.push('authorization:', `  rulesFile: ${file}`);
  }
  return configuration(place, ...sections);
}

/** One broker of the round and what was counted for it so far. */
class Contestant {
  readonly variant: Variant;
  readonly broker: BrokerProcess;
  readonly pairs: Pairs;
  readonly #load: LoadProcesses;
  #perTurn = 0;
  #received = 0;
  #elapsedS = 0;
  #brokerCpuS = 0;
  #othersS = 0;
  #wallS = 0;
  #loadCpuS = 0;

  private constructor(variant: Variant, broker: BrokerProcess, pairs: Pairs, load: LoadProcesses) {
    this.variant = variant;
    this.broker = broker;
    this.pairs = pairs;
    this.#load = load;
  }

  static async enter(bench: Bench, variant: Variant, load: LoadProcesses): Promise<Contestant> {
    const { algorithm, name } = variant;
    const issuer = algorithm === undefined ? undefined : new Issuer(algorithm);
    const broker = await start(
      bench,
      issuer && ((place) => configure(variant, issuer, place)),
      issuer?.login(pairUser(0)),
    );
    try {
      const cast = pairsOf(0, (user) => issuer?.login(user));
      const pairs = await Pairs.open(broker, load, bench.options, { qos: 0, cast, group: name });
      return new Contestant(variant, broker, pairs, load);
    } catch (error) {
      await broker.stop();
      throw error;
    }
  }

  async warmUp(seconds: number, turnS: number): Promise<void> {
    this.#perTurn = (await this.pairs.warmUp(seconds)) * turnS;
  }

  async takeTurn(): Promise<void> {
    const { received, elapsedS, usage } = await this.pairs.send(this.#perTurn);
    this.#received += received;
    this.#elapsedS += elapsedS;
    this.#brokerCpuS += usage.brokerCpuS;
    this.#othersS += usage.othersS;
    this.#wallS += usage.wallS;
    this.#loadCpuS += (await this.#load.stats()).cpuS;
  }

  values(): Values {
    return {
      rate: this.#received / this.#elapsedS,
      cpuUs: (this.#brokerCpuS * 1e6) / this.#received,
      busy: this.#brokerCpuS / this.#elapsedS,
      others: this.#othersS / this.#wallS,
      loadBusy: this.#loadCpuS / this.#elapsedS,
      rss: this.pairs.context.memory().rssMib,
    };
  }

  /** That what was meant to be asked was asked, and nothing else; no limit was met. */
  async check(): Promise<void> {
    const { rules, algorithm, quotas } = this.variant;
    const { problems } = this.pairs.context;
    const metrics = await Metrics.read(this.broker);
    const asked = (action: string): number =>
      metrics.sum('causeway_access_decisions_total', `action="${action}"`);
    const isAsked = {
      publish: algorithm !== undefined,
      receive: rules === 'filtering',
    };
    for (const [action, wanted] of Object.entries(isAsked)) {
      if (asked(action) >= this.#received !== wanted) {
        problems.add(`${asked(action)} decisions about ${action} for ${this.#received} messages`);
      }
    }
    const logins = metrics.sum('causeway_authentications_total', 'jwt', 'accepted');
    if (logins > 0 !== (algorithm !== undefined)) problems.add(`${logins} logins by token`);
    if (metrics.sum('causeway_quota_hits_total') > 0) problems.add('a quota was met');
    const keys = metrics.sum('causeway_quota_keys');
    if (keys > 0 !== quotas.length > 0) problems.add(`quotas count ${keys} keys`);
  }
}

async function round(bench: Bench): Promise<void> {
  const { options, table } = bench;
  const { seconds, warmupSeconds } = options.settings;
  const load = new LoadProcesses(options.loadProcesses, options.loadCore);
  const contestants: Contestant[] = [];
  try {
    for (const variant of variants) contestants.push(await Contestant.enter(bench, variant, load));
    for (const contestant of contestants) await contestant.warmUp(warmupSeconds, seconds / TURNS);
    for (let turn = 0; turn < TURNS; turn++) {
      const inTurn = turn % 2 === 0 ? contestants : contestants.toReversed();
      for (const contestant of inTurn) await contestant.takeTurn();
    }
    for (const contestant of contestants) {
      await contestant.check();
      table.add(contestant.variant.name, contestant.values());
      table.complain(contestant.variant.name, problemsOf(contestant.pairs.context));
    }
  } finally {
    load.end();
    for (const { broker } of contestants) await broker.stop();
  }
}

export const messageCost: AccessScenario = {
  name: 'pairs',
  title: 'what rules, tokens and quotas cost a message: 50 pairs, QoS 0, 64 bytes',
  columns: {
    cpuUs: { title: 'broker CPU µs per message', write: precise, isCompared: true },
    rate: { title: 'messages/s', write: whole, isCompared: true },
    busy: { title: 'broker busy', write: percent },
    others: { title: 'others on its core', write: percent },
    loadBusy: { title: 'load busy', write: percent },
    rss: { title: 'RSS MiB', write: whole },
  },
  round,
};
