// Clients the harness holds itself, for what is timed one operation at a time: the load generator's
// client with a meter of its own.

import { Client } from '../macro/load/client.ts';
import { Meter } from '../macro/load/meter.ts';
import type { ClientSpec } from '../macro/load/protocol.ts';
import type { ClusterContext } from './cluster-context.ts';

const WITHIN_MS = 20_000;

export class OwnClients {
  readonly meter: Meter = new Meter(Number(process.hrtime.bigint() / 1000n));
  readonly #context: ClusterContext;
  readonly #open: Set<Client> = new Set();

  constructor(context: ClusterContext) {
    this.#context = context;
  }

  /** Resolves at the CONNACK, or at the SUBACK of the spec's filters. */
  async open(node: number, spec: ClientSpec): Promise<Client> {
    const client = new Client(spec, this.#context.targetOf(node), this.meter);
    this.#open.add(client);
    await this.done(client.ready(), `client ${spec.clientId} at node ${node}`);
    return client;
  }

  /** Closed with the others; it is open already. */
  adopt(client: Client): void {
    this.#open.add(client);
  }

  /** Throws what the client says went wrong, or that nothing came. */
  async done(outcome: Promise<string | undefined>, what: string): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<string>((resolve) => {
      timer = setTimeout(() => resolve('timeout'), WITHIN_MS);
    });
    const failure = await Promise.race([outcome, late]);
    clearTimeout(timer);
    if (failure !== undefined) throw new Error(`${what}: ${failure}`);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open].map((client) => client.close()));
    this.#open.clear();
  }
}

/** Milliseconds, sorted. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}
