/**
 * What every node of a simulated region is made with, whether it is alone or one of a datacenter: terms and
 * settings of its links, the world these run in, a gate, a log. Used by region-alone.ts and region-datacenter.ts.
 */
import type { Transport, TransportHandler } from '../../src/client/transport.ts';
import type { ConnectDecision, ConnectRequest, Log } from '../../src/core/ports.ts';
import { RegionLinks } from '../../src/core/region-links.ts';
import { LinkHolder, type LinksParts } from '../../src/geo/link-holder.ts';
import type { LinkSettings } from '../../src/geo/region-link.ts';
import { accepted, FakeGate } from '../core/fake-gate.ts';
import type { Kernel } from './kernel.ts';
import type { RegionLife, SimRegion } from './region-life.ts';
import type { RegionNetwork } from './region-network.ts';
import type { RegionTables } from './region-tables.ts';
import type { SimNode } from './sim-node.ts';

export interface RegionWorldOptions {
  readonly budgetAgeS?: number;
  readonly budgetBytes?: number;
  /** How long tables remember what was cleared. */
  readonly tombstoneS?: number;
}

export const linkListener = { name: 'link', transport: 'tls', limits: {} } as const;
const UNSUBSCRIBE_AFTER_MS = 3000;
const DAY_S = 86_400;
const TOMBSTONE_S = 864_000;

export class RegionWorld {
  readonly kernel: Kernel;
  readonly network: RegionNetwork;
  /** Null: retained messages have no versions that all regions share. */
  readonly tables: RegionTables | null;
  /** Of the directory of sessions; null: these stay in their region. */
  readonly sessions: RegionTables | null;
  /** What the nodes complained about. */
  readonly complaints: string[] = [];
  /** Told of each life before it starts. */
  onLife: (life: RegionLife) => void = () => {};
  onWrite: (life: RegionLife, to: string, connection: number, bytes: Buffer) => void = () => {};
  readonly tombstoneS: number;
  readonly #budget: { readonly budgetAgeS: number; readonly budgetBytes: number };

  constructor(
    kernel: Kernel,
    network: RegionNetwork,
    tables: RegionTables | null,
    sessions: RegionTables | null,
    options: RegionWorldOptions,
  ) {
    const { budgetAgeS = DAY_S, budgetBytes = 2 ** 30, tombstoneS = TOMBSTONE_S } = options;
    this.kernel = kernel;
    this.network = network;
    this.tables = tables;
    this.sessions = sessions;
    this.#budget = { budgetAgeS, budgetBytes };
    this.tombstoneS = tombstoneS;
  }

  /** What the core of a node knows of other regions. */
  linksOf({ name, links }: SimRegion): RegionLinks {
    const core = new RegionLinks(name, this.#incarnation());
    const { budgetAgeS, budgetBytes } = this.#budget;
    core.revise(
      links.map((region) => ({
        region,
        user: `link-${region}`,
        certificate: null,
        topics: ['#'],
        budgetAgeMs: budgetAgeS * 1000,
        budgetBytes,
      })),
    );
    core.budgetAgeMaxMs = budgetAgeS * 1000;
    return core;
  }

  #incarnation(): Buffer {
    const bytes = Buffer.alloc(16);
    for (let at = 0; at < bytes.length; at += 4) {
      bytes.writeUInt32BE(this.kernel.chance.below(2 ** 32), at);
    }
    return bytes;
  }

  /** The links of a node; `life` is asked when one of them opens. */
  holderOf(
    node: SimNode,
    log: Log,
    life: () => RegionLife,
    parts: Pick<LinksParts, 'core' | 'inlet' | 'notes' | 'isHolder' | 'missed' | 'ears' | 'moves'>,
  ): LinkHolder {
    return new LinkHolder({
      ...parts,
      clock: node.clock,
      scheduler: node,
      log,
      unsubscribeAfterMs: UNSUBSCRIBE_AFTER_MS,
      world: {
        timers: this.#timersOf(node),
        random: () => node.random.below(2 ** 32) / 2 ** 32,
        open: (url: string, handler: TransportHandler): Transport =>
          this.network.connect(life(), new URL(url).hostname, handler),
      },
    });
  }

  settingsOf({ name, links }: SimRegion): readonly LinkSettings[] {
    return links.map((region) => ({
      region,
      url: `mqtt://${region}`,
      username: `link-${name}`,
      password: undefined,
      tls: undefined,
      allow: ['#'],
      ...this.#budget,
    }));
  }

  #timersOf(node: SimNode) {
    const { kernel } = this;
    return {
      nowMs: () => node.clock.monotonicMs(),
      after: (delayMs: number, task: () => void) => {
        const event = kernel.after(node, delayMs / node.clock.rate, task);
        return () => kernel.cancel(event);
      },
      every: (intervalMs: number, task: () => void) => node.every(intervalMs, task),
    };
  }

  logOf(node: SimNode): Log {
    const say = (level: string) => (fields: object, message: string) => {
      if (this.kernel.isTracing) node.trace(`${level}: ${message} ${shown(fields)}`);
    };
    return {
      debug: say('debug'),
      info: say('info'),
      warn: say('warn'),
      error: (fields, message) => {
        node.trace(`error: ${message} ${shown(fields)}`);
        this.complaints.push(`${node.name}: ${message} ${shown(fields)}`);
      },
    };
  }
}

/** Whoever says a name has it: what links prove is tested elsewhere. */
export class RegionGate extends FakeGate {
  override connect(request: ConnectRequest): ConnectDecision {
    return accepted(request.packet?.username ?? null, null);
  }
}

function shown(fields: object): string {
  return JSON.stringify(fields, (key, value) =>
    key === 'err' && value instanceof Error ? (value.stack ?? value.message) : value,
  );
}
