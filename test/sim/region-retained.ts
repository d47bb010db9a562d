/**
 * Retained messages of a simulated region over its table: the real store and rounds of src/store/cassandra, put
 * together as app/region-retained.ts does for a node alone. Used by region-site.ts.
 */
import type { Log, Random } from '../../src/core/ports.ts';
import type { RetainedView } from '../../src/core/retained-view.ts';
import { CassandraCounters } from '../../src/store/cassandra/cassandra-counters.ts';
import { CassandraRetained } from '../../src/store/cassandra/cassandra-retained.ts';
import type { RetainedTable } from '../../src/store/cassandra/retained-table.ts';
import { Rounds } from '../../src/store/cassandra/rounds.ts';
import type { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts';
import { HybridClock } from '../../src/util/hybrid-clock.ts';
import type { SimNode } from './sim-node.ts';

const CLOCK_SKEW_MS = 10_000;
const TOMBSTONE_S = 864_000;
const ROUND_S = 10;

export interface RegionRetainedParts {
  readonly mirror: EmbeddedStore;
  readonly table: RetainedTable;
  readonly node: SimNode;
  readonly random: Random;
  readonly log: Log;
  /** Of the machine: when the last whole round began. */
  readonly memory: { beganMs: number };
}

export class RegionRetained {
  readonly store: CassandraRetained;
  readonly rounds: Rounds;
  readonly hybridClock: HybridClock;

  constructor({ mirror, table, node, random, log, memory }: RegionRetainedParts) {
    const { clock } = node;
    const counters = new CassandraCounters();
    this.hybridClock = new HybridClock(() => clock.wallMs(), CLOCK_SKEW_MS);
    const shared = { table, clock, scheduler: node, log, counters, tombstoneS: TOMBSTONE_S };
    this.store = new CassandraRetained({
      ...shared,
      mirror,
      random,
      inFlightMax: 16,
      stamps: { hybridClock: this.hybridClock, writer: random.below(2 ** 32) },
      keepers: { isLocalEnough: false, ask: () => false },
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

  /** `ready`: it has what subscribers are to be served from. */
  begin(view: RetainedView, ready: () => void): void {
    this.rounds.begin(
      {
        view,
        isMine: () => true,
        hasOthers: () => false,
        ended: (beganMs) => this.store.roundEnded(beganMs),
      },
      ready,
    );
  }
}
