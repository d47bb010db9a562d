/**
 * What a node does about its whole region: tells the other nodes how many clients it has, sends clients
 * to the region or node that should serve them, and drains when the region is to be drained. Wires
 * geo/steering to broker, configuration and the operator's door; made by `node.ts`.
 */

import { DrainControl } from '../admin/api/drain-control.ts';
import type { RegionDrainPort, RegionDrainReport } from '../admin/api/ports.ts';
import type { ExtraMetric } from '../admin/metric-sources.ts';
import type { Broker } from '../core/broker.ts';
import type { Clock, Log } from '../core/ports.ts';
import type { HeardNode, RegionBoard, RegionOrder } from '../geo/steering/region-board.ts';
import { type OtherNode, RegionSteering } from '../geo/steering/steering.ts';
import type { SteeringOptions } from '../geo/steering/steering-options.ts';

export interface RegionDeskParts {
  readonly broker: Broker;
  /** Null: the node is alone. */
  readonly board: RegionBoard | null;
  readonly nodeId: () => string;
  readonly isStopping: () => boolean;
  /** Regions that this node has the link to, and cannot reach now. */
  readonly unreachable: () => readonly string[];
  readonly clock: Clock;
  readonly log: Log;
}

export const steeredMetric = {
  name: 'causeway_clients_steered_total',
  type: 'counter',
  help: 'Clients told at CONNECT to go elsewhere, by policy; returned: taken, as they came back.',
} as const;

/** A node that cannot hear what was ordered takes clients after so long. */
const HEAR_MS = 2000;

export class RegionDesk implements RegionDrainPort {
  readonly drain: DrainControl;
  readonly #parts: RegionDeskParts;
  #options: SteeringOptions | undefined;
  #steering: RegionSteering | null = null;
  /** The drain that is under way was ordered for all nodes. */
  #isOrdered = false;
  /** Of the board, those that can be named; made once for each word of theirs. */
  #heard: readonly HeardNode[] = [];
  #open: readonly OtherNode[] = [];

  constructor(parts: RegionDeskParts) {
    const { broker, clock, log } = parts;
    this.#parts = parts;
    this.drain = new DrainControl(broker, clock, log);
  }

  /** At start and after a reload. */
  revise(options: SteeringOptions | undefined): void {
    if (options === this.#options) return;
    const { broker, clock } = this.#parts;
    const loads = {
      isReachable: (region: string) => this.#isReachable(region),
      ownClients: () => broker.stats.clientsConnected,
      others: () => this.#openNodes(),
    };
    this.#options = options;
    this.#steering =
      options === undefined ? null : new RegionSteering(options, clock, loads, this.#steering);
    broker.setSteering(this.#steering);
  }

  /** Resolves when what was ordered for the region holds here, or Redis did not say in time. */
  async start(): Promise<void> {
    const { board } = this.#parts;
    if (board === null) return;
    board.start(
      () => this.#word(),
      (order) => this.#obey(order),
    );
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      timer = setTimeout(resolve, HEAR_MS);
      board.hear(() => resolve());
    });
    clearTimeout(timer);
  }

  report(): RegionDrainReport {
    const { board } = this.#parts;
    const order = board?.order ?? null;
    const isDraining = order?.isDraining === true;
    const nodes = [this.#word(), ...(board?.others ?? [])].map((node) => ({
      nodeId: node.nodeId,
      draining: node.isDraining,
      moved: node.moved,
      remaining: node.clients,
    }));
    return {
      draining: isDraining,
      clientsPerS: isDraining ? order.clientsPerS : null,
      serverReference: isDraining ? order.serverReference : null,
      startedAtMs: isDraining ? order.startedAtMs : 0,
      by: isDraining ? order.by : null,
      nodes,
    };
  }

  begin(
    options: { readonly clientsPerS: number; readonly serverReference: string | null },
    by: string,
  ): Promise<boolean> {
    const startedAtMs = this.#parts.clock.wallMs();
    return this.#give({ ...options, isDraining: true, by, startedAtMs });
  }

  async end(by: string): Promise<boolean | null> {
    const order = this.#parts.board?.order ?? null;
    if (order?.isDraining !== true) return null;
    return this.#give({ ...order, isDraining: false, by });
  }

  #give(order: Omit<RegionOrder, 'version'>): Promise<boolean> {
    return new Promise((resolve) => {
      const { board } = this.#parts;
      if (board === null) resolve(false);
      else board.give(order, resolve);
    });
  }

  #obey({ isDraining, clientsPerS, serverReference, by }: RegionOrder): void {
    if (this.#parts.isStopping()) return;
    if (isDraining) {
      const nodes = 1 + (this.#parts.board?.others.length ?? 0);
      // Each has its share; a node that nobody has heard of yet makes it a little faster.
      const share = Math.max(1, Math.ceil(clientsPerS / nodes));
      this.#isOrdered = true;
      this.drain.begin({ clientsPerS: share, serverReference }, by);
    } else if (this.#isOrdered) {
      this.#isOrdered = false;
      this.drain.end(by);
    }
  }

  #word(): {
    nodeId: string;
    reference: string;
    clients: number;
    isDraining: boolean;
    moved: number;
    unreachable: readonly string[];
  } {
    const { broker, nodeId, isStopping, unreachable } = this.#parts;
    const progress = broker.drainProgress;
    return {
      nodeId: nodeId(),
      reference: this.#options?.leastLoaded?.reference ?? '',
      clients: broker.stats.connections,
      isDraining: progress !== null || isStopping(),
      moved: progress?.moved ?? 0,
      unreachable: unreachable(),
    };
  }

  /** Unless this node, or another one, has the link there and says no. */
  #isReachable(region: string): boolean {
    const { board, unreachable } = this.#parts;
    if (unreachable().includes(region)) return false;
    return !(board?.others ?? []).some((node) => node.unreachable.includes(region));
  }

  #openNodes(): readonly OtherNode[] {
    const others = this.#parts.board?.others ?? [];
    if (others === this.#heard) return this.#open;
    this.#heard = others;
    this.#open = others.filter(({ isDraining, reference }) => !isDraining && reference !== '');
    return this.#open;
  }

  *metrics(): Iterable<ExtraMetric> {
    if (this.#steering === null) return;
    const { nearest, home, leastLoaded, returned } = this.#steering.counters;
    const values = { nearest, home, least_loaded: leastLoaded, returned };
    for (const [policy, value] of Object.entries(values)) {
      yield { ...steeredMetric, labels: { policy }, value };
    }
  }
}
