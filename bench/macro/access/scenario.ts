// The shape of a scenario of access, and what all of them start from: brokers with a configuration
// of their own, and the pairs whose traffic is measured. access.ts runs them.

import type { BrokerProcess, Place } from '../../peers/broker-process.ts';
import { startBroker } from '../../peers/broker-process.ts';
import type { Peer } from '../../peers/peer.ts';
import type { Login } from '../load/protocol.ts';
import type { LoadProcesses } from '../load-processes.ts';
import type { Options } from '../options.ts';
import type { Phase } from '../run-context.ts';
import { RunContext } from '../run-context.ts';
import type { Cast } from '../scenarios/clients.ts';
import { pairs } from '../scenarios/clients.ts';
import type { Columns, Table } from './table.ts';

export interface Bench {
  readonly peer: Peer;
  readonly options: Options;
  readonly table: Table;
}

export interface AccessScenario {
  readonly name: string;
  readonly title: string;
  readonly columns: Columns;
  /** One round: measures every variant once and puts it into the table. */
  round(bench: Bench): Promise<void>;
}

export const PAIRS = 50;
const PILOT_MESSAGES = 20_000;
/** Messages a second whose latency is looked at. */
export const CALM_RATE_PER_S = 10_000;
/** The load that measures latency sleeps between its turns: others have to get at its core too. */
const PAUSE_MS = 1;

/** The configuration's text: a listener and the sections given. */
export function configuration({ port }: Place, ...sections: readonly string[]): string {
  return ['listeners:', `  - mqtt://127.0.0.1:${port}`, ...sections, ''].join('\n');
}

export function start(
  { peer, options }: Bench,
  configure: ((place: Place) => string) | undefined,
  login?: Login | undefined,
): Promise<BrokerProcess> {
  const { mqttVersion } = options.settings;
  const { brokerCore: core } = options;
  const run = { core, durable: false, profile: 'traffic', mqttVersion } as const;
  return startBroker(peer, { ...run, login, ...(configure === undefined ? {} : { configure }) });
}

/** User of a pair: publisher and subscriber log in with the same name, which is in their topic. */
export function pairUser(index: number): string {
  return String(index).padStart(4, '0');
}

/** 50 pairs whose clients show what `loginOf` says. */
export function pairsOf(qos: number, loginOf: (user: string) => Login | undefined): Cast {
  const { publishers, subscribers, copies } = pairs(PAIRS, qos, false);
  const logins = publishers.map((_, index) => loginOf(pairUser(index)));
  const withLogin = (clients: Cast['publishers']): Cast['publishers'] =>
    clients.map((client, index) => {
      const login = logins[index];
      return login === undefined ? client : { ...client, login };
    });
  return { publishers: withLogin(publishers), subscribers: withLogin(subscribers), copies };
}

/** Pairs that are connected to one broker and can be made to talk. */
export class Pairs {
  readonly context: RunContext;
  readonly #qos: number;
  readonly #group: string;

  private constructor(context: RunContext, qos: number, group: string) {
    this.context = context;
    this.#qos = qos;
    this.#group = group;
  }

  /** `group` tells them from pairs of the same load processes at another broker. */
  static async open(
    broker: BrokerProcess,
    load: LoadProcesses,
    options: Options,
    { qos, cast, group }: { readonly qos: number; readonly cast: Cast; readonly group: string },
  ): Promise<Pairs> {
    const context = new RunContext(broker, load, options.settings, options.brokerCore);
    await context.open(`subscribers ${group}`, cast.subscribers);
    await context.open(`publishers ${group}`, cast.publishers);
    return new Pairs(context, qos, `publishers ${group}`);
  }

  /** So many messages, as fast as they are taken or at a rate. */
  async send(messages: number, ratePerS: number = 0): Promise<Phase> {
    const each = Math.max(1, Math.ceil(messages / PAIRS));
    const plan = this.context.plan(this.#qos, each, ratePerS, false);
    const paused = ratePerS > 0 ? { ...plan, pauseMs: PAUSE_MS } : plan;
    const phase = await this.context.phase(this.#group, PAIRS, paused, 1);
    if (phase.received !== phase.sent) {
      this.context.problems.add(`${phase.received} of ${phase.sent} messages arrived`);
    }
    return phase;
  }

  /** Messages a second as fast as they are taken: two shorter runs that also warm up. */
  async warmUp(seconds: number): Promise<number> {
    const pilot = await this.send(PILOT_MESSAGES);
    const warm = await this.send((pilot.sent / pilot.elapsedS) * seconds);
    return warm.sent / warm.elapsedS;
  }
}

/** What went wrong in a round, for the table. */
export function problemsOf(context: RunContext): string[] {
  const { crash } = context.broker;
  return [...context.problems, ...(crash === undefined ? [] : [crash])];
}
