// The harness's command line.

import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import type { RunSettings } from './run-context.ts';

export interface Options {
  readonly brokers: readonly string[] | undefined;
  readonly scenarios: readonly string[] | undefined;
  readonly runs: number;
  readonly out: string | undefined;
  readonly json: string | undefined;
  readonly loadProcesses: number;
  readonly brokerCore: number | undefined;
  readonly loadCore: number | undefined;
  readonly executable: string | undefined;
  readonly command: string | undefined;
  readonly base: string | undefined;
  readonly list: boolean;
  readonly help: boolean;
  readonly settings: RunSettings;
}

export const usage = `node bench/macro/run.ts [options]

  --brokers a,b        which brokers, alternating; the first is the base of the ratios
  --scenarios x,y      which scenarios; a trailing * matches several
  --seconds S          length of a measured run (3)
  --warmup S           length of the run before it (1)
  --runs R             rounds; the report gives medians (3)
  --out FILE           put the report into this markdown file (bench/RESULTS.md)
  --json FILE          write every single run as JSON
  --mqtt 4|5           4 is MQTT 3.1.1 (4)
  --payload BYTES      payload size (64)
  --window N           unacked messages per publisher at QoS > 0 (100)
  --burst N            messages per publisher and turn (16)
  --rate N             fixed rate for traffic scenarios, messages/s
  --messages N         messages the offline scenarios store
  --clients N          clients of the idle scenario
  --load-procs N       load processes, all on the load's core (1)
  --broker-core N      CPU of the broker, or none (0)
  --load-core N        CPU of the load, or none (1)
  --causeway-bin FILE  measure this executable
  --causeway-cmd LINE  measure this command line; {port} and {store} are filled in
  --base-bin FILE      another executable of ours, as the broker causeway-base
  --list               name the scenarios and brokers
`;

function number(text: string, name: string, least: number): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value < least) {
    throw new Error(`--${name} wants a number of at least ${least}, not ${text}`);
  }
  return value;
}

function core(text: string, name: string): number | undefined {
  if (text === 'none' || availableParallelism() < 2) {
    return undefined;
  }
  return number(text, name, 0);
}

function names(text: string | undefined): readonly string[] | undefined {
  return text?.split(',').filter((name) => name !== '');
}

export function parseOptions(parameters: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...parameters],
    options: {
      brokers: { type: 'string' },
      scenarios: { type: 'string' },
      seconds: { type: 'string', default: '3' },
      warmup: { type: 'string', default: '1' },
      runs: { type: 'string', default: '3' },
      out: { type: 'string' },
      json: { type: 'string' },
      mqtt: { type: 'string', default: '4' },
      payload: { type: 'string', default: '64' },
      window: { type: 'string', default: '100' },
      burst: { type: 'string', default: '16' },
      rate: { type: 'string' },
      messages: { type: 'string' },
      clients: { type: 'string' },
      'load-procs': { type: 'string', default: '1' },
      'broker-core': { type: 'string', default: '0' },
      'load-core': { type: 'string', default: '1' },
      'causeway-bin': { type: 'string' },
      'causeway-cmd': { type: 'string' },
      'base-bin': { type: 'string' },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.mqtt !== '4' && values.mqtt !== '5') {
    throw new Error('--mqtt wants 4 (MQTT 3.1.1) or 5');
  }
  const optional = (text: string | undefined, name: string): number | undefined =>
    text === undefined ? undefined : number(text, name, 1);
  return {
    brokers: names(values.brokers),
    scenarios: names(values.scenarios),
    runs: number(values.runs, 'runs', 1),
    out: values.out,
    json: values.json,
    loadProcesses: number(values['load-procs'], 'load-procs', 1),
    brokerCore: core(values['broker-core'], 'broker-core'),
    loadCore: core(values['load-core'], 'load-core'),
    executable: values['causeway-bin'],
    command: values['causeway-cmd'],
    base: values['base-bin'],
    list: values.list,
    help: values.help,
    settings: {
      seconds: number(values.seconds, 'seconds', 0.1),
      warmupSeconds: number(values.warmup, 'warmup', 0.1),
      mqttVersion: values.mqtt === '5' ? 5 : 4,
      payloadBytes: number(values.payload, 'payload', 4),
      window: number(values.window, 'window', 1),
      burst: number(values.burst, 'burst', 1),
      keepAliveS: 600,
      ratePerS: optional(values.rate, 'rate'),
      messages: optional(values.messages, 'messages'),
      clients: optional(values.clients, 'clients'),
    },
  };
}
