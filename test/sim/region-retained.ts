/**
 * Retained messages of a node of a simulated region over its table: the real store and rounds of
 * src/store/cassandra, put together as app/region-retained.ts does. Used by region-alone.ts and
 * region-datacenter.ts.
 */
import type { RetainedRounds } from '../../src/cluster/ports-local.ts';
import type { Log } from '../../src/core/ports.ts';
import type { RetainedView } from '../../src/core/retained-view.ts';
import { CassandraCounters } from '../../src/store/cassandra/cassandra-counters.ts';
import { CassandraRetained } from '../../src/store/cassandra/cassandra-retained.ts';
import type { RetainedTable } from '../../src/store/cassandra/retained-table.ts';
import { Rounds } from '../../src/store/cassandra/rounds.ts';
import type { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts';
import { HybridClock } from '../../src/util/hybrid-clock.ts';
import type { SimNode } from './sim-node.ts';

const CLOCK_SKEW_MS = 10_000;
const ROUND_S = 10;

export interface RegionRetainedParts {
  readonly mirror: EmbeddedStore;
  readonly table: RetainedTable;
  readonly node: SimNode;
  readonly log: Log;
  /** Of the machine: when the last whole round began. */
  readonly memory: { beganMs: number };
  readonly tombstoneS: number;
  /** Whether another node of the datacenter has it on its disk; null: this one is alone, and stamps changes itself. */
  readonly askKept: ((done: (isKept: boolean) => void) => boolean) | null;
}

/** What a node of a datacenter goes round for. */
export interface RetainedTurns {
  readonly isMine: () => boolean;
  readonly hasOthers: () => boolean;
  readonly ended: (beganMs: number) => void;
}

const ALONE: RetainedTurns = { isMine: () => true, hasOthers: () => false, ended: () => {} };

export class RegionRetained {
  readonly store: CassandraRetained;
  readonly rounds: Rounds;
  readonly hybridClock: HybridClock;
  readonly #isAlone: boolean;

  constructor(parts: RegionRetainedParts) {
    const { mirror, table, node, log, memory, tombstoneS, askKept } = parts;
    const { clock, random } = node;
    this.#isAlone = askKept === null;
    const counters = new CassandraCounters();
    this.hybridClock = new HybridClock(() => clock.wallMs(), CLOCK_SKEW_MS);
    const shared = { table, clock, scheduler: node, log, counters, tombstoneS };
    this.store = new CassandraRetained({
      ...shared,
      mirror,
      random,
      inFlightMax: 16,
      stamps: this.#isAlone
        ? { hybridClock: this.hybridClock, writer: random.below(2 ** 32) }
        : null,
      keepers: { isLocalEnough: false, ask: (done) => askKept?.(done) === true },
    });
    this.rounds = new Rounds({
      ...shared,
      lane: this.store.lane,
      memory: {
        get beganMs() {
          return memory.beganMs;
        },
        save: (beganMs) => {
          memory.beganMs = beganMs;
        },
      },
      intervalS: ROUND_S,
      rowsPerS: 10_000,
    });
  }

  /** `ready`: it has what subscribers are to be served from. `turns` null: this node is alone. */
  begin(view: RetainedView, turns: RetainedTurns | null, ready: () => void): void {
    const { isMine, hasOthers, ended } = turns ?? ALONE;
    this.rounds.begin(
      {
        view,
        isMine,
        hasOthers,
        ended: (beganMs) => {
          this.store.roundEnded(beganMs);
          ended(beganMs);
        },
      },
      ready,
    );
  }

  /** What the other nodes of a datacenter hear, and ask. */
  get datacenterRounds(): RetainedRounds {
    const { rounds, store } = this;
    return {
      get beganMs() {
        return rounds.beganMs;
      },
      get isStale() {
        return rounds.isStale;
      },
      isOwed: (topic) => store.lane.has(topic),
      mayBeOver: (version, beganMs) => rounds.mayBeOver(version, beganMs),
      heard: (beganMs) => rounds.heard(beganMs),
      synced: (done) => store.synced(done),
    };
  }
}
