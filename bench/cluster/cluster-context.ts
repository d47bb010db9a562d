// What a scenario works with during one run against one cluster: the nodes, the load, and the phases of
// bench/macro with the CPU of all nodes counted together.

import type { ClientSpec, Opened, Target } from '../macro/load/protocol.ts';
import type { LoadProcesses } from '../macro/load-processes.ts';
import type { Options } from '../macro/options.ts';
import type { Phase } from '../macro/run-context.ts';
import { RunContext } from '../macro/run-context.ts';
import type { Cluster } from './cluster.ts';

/** Values of a variant, by column. */
export type Measured = Readonly<Record<string, number>>;

export class ClusterContext extends RunContext {
  readonly cluster: Cluster;
  readonly #options: Options;

  constructor(cluster: Cluster, load: LoadProcesses, options: Options) {
    super(cluster.nodes[0]!, load, options.settings, undefined);
    this.cluster = cluster;
    this.#options = options;
  }

  override brokerCpuS(): number {
    return this.cluster.brokerCpuS();
  }

  get nodes(): number {
    return this.cluster.nodes.length;
  }

  targetOf(node: number): Target {
    return { ...this.target, port: this.cluster.nodes[node]!.port };
  }

  /** Opens clients at a node; a run with one missing is no run. */
  async openAt(node: number, group: string, clients: readonly ClientSpec[]): Promise<Opened> {
    const opened = await this.load.open(group, this.targetOf(node), clients);
    this.demand(opened, `of ${clients.length} ${group}`);
    return opened;
  }

  /** A phase and what Redis used in it. */
  async measured(
    publishers: number,
    messages: number,
    qos: number,
    copies: number,
  ): Promise<{ readonly phase: Phase; readonly redisCpuS: number }> {
    const beforeS = this.cluster.redisCpuS();
    const each = Math.max(1, Math.ceil(messages / publishers));
    const plan = this.plan(qos, each, 0, false);
    const phase = await this.phase('publishers', publishers, plan, copies);
    return { phase, redisCpuS: this.cluster.redisCpuS() - beforeS };
  }

  /** Two shorter runs before, which warm up and tell how many messages make a run. */
  async warmUp(publishers: number, qos: number, copies: number, pilot: number): Promise<number> {
    const { seconds, warmupSeconds } = this.#options.settings;
    const first = (await this.measured(publishers, pilot / copies, qos, copies)).phase;
    const wanted = (first.sent / first.elapsedS) * warmupSeconds;
    const warm = (await this.measured(publishers, wanted, qos, copies)).phase;
    if (this.problems.size > 0) throw new Error('the warm-up already failed');
    return (warm.sent / warm.elapsedS) * seconds;
  }

  /** More or fewer than there should be is a problem, and so is a node that ended. */
  expect(what: string, happened: number, expected: number): void {
    if (happened !== expected) this.problems.add(`${what}: ${happened} of ${expected}`);
  }
}
