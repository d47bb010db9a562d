/**
 * Sessions of a node of a simulated region that go from region to region: the real directory over a table of the
 * world, and the real mover over its links, put together as app/region-sessions.ts does. Used by region-alone.ts.
 */
import type { Broker } from '../../src/core/broker.ts';
import type { Log } from '../../src/core/ports.ts';
import { HELD_PREFIX, type Roaming } from '../../src/core/roaming.ts';
import type { NoteKeeper } from '../../src/geo/identity-window.ts';
import type { LinkHolder } from '../../src/geo/link-holder.ts';
import { decodeFrame, encodeFrame, type Kept } from '../../src/geo/roaming/frame.ts';
import { RegionMover } from '../../src/geo/roaming/mover.ts';
import { roamCodec } from '../../src/geo/roaming/roam-codec.ts';
import type { RoamingLinks } from '../../src/geo/roaming/roaming-links.ts';
import { CassandraDirectory } from '../../src/store/cassandra/cassandra-directory.ts';
import { DirectoryCounters } from '../../src/store/cassandra/directory-counters.ts';
import type { RetainedTable } from '../../src/store/cassandra/retained-table.ts';
import { HybridClock } from '../../src/util/hybrid-clock.ts';
import type { SimNode } from './sim-node.ts';

const CLOCK_SKEW_MS = 10_000;
const IN_FLIGHT_MAX = 64;
/** See app/region-sessions.ts. */
const UNWRITTEN_US = 60_000_000;
export const WAIT_MS = 300;

export interface RegionRoamingParts {
  readonly region: string;
  readonly table: RetainedTable;
  readonly node: SimNode;
  readonly log: Log;
  /** That of retained messages; null: they have none. */
  readonly hybridClock: HybridClock | null;
}

export class RegionRoaming {
  readonly directory: CassandraDirectory;
  readonly #parts: RegionRoamingParts;
  readonly #held: Map<string, Buffer> = new Map();
  #mover: RegionMover | null = null;
  #roaming: Roaming | null = null;

  constructor(parts: RegionRoamingParts) {
    this.#parts = parts;
    this.directory = directoryOf(parts);
  }

  /** What the store has kept of an earlier life; false: it is of others. */
  recall(key: string, value: Buffer): boolean {
    if (!key.startsWith(HELD_PREFIX)) return false;
    this.#held.set(key, value);
    return true;
  }

  get mover(): RegionMover {
    return this.#mover!;
  }

  get core(): Roaming {
    return this.#roaming!;
  }

  /** The broker is made, and has not started. `holder`: asked when something is said over a link. */
  attach({ roaming }: Broker, holder: () => LinkHolder): RegionMover {
    const { node, log } = this.#parts;
    this.#roaming = roaming!;
    this.#mover = new RegionMover({
      roaming: roaming!,
      links: waysOf(holder),
      clock: node.clock,
      random: node.random,
      scheduler: node,
      log,
      waitMs: WAIT_MS,
    });
    return this.#mover;
  }

  /** Sessions are restored, and links begin after this. */
  begin(notes: Pick<NoteKeeper, 'putNote'>): void {
    const roaming = this.core;
    this.directory.start();
    this.#list(roaming);
    roaming.note = (key, client, entry) =>
      void notes.putNote(key, entry === null ? null : encodeFrame({ client }, [entry]));
    for (const [key, value] of this.#held) {
      const { head, entries } = decodeFrame<Kept>(value, () => roaming.nextSequence());
      for (const entry of entries) roaming.recall(key, head.client, entry);
    }
    this.#held.clear();
    roaming.mover = this.mover;
    roaming.announce = roamCodec.word;
    this.mover.start();
  }

  #list(roaming: Roaming): void {
    let lastUs = 0;
    for (const { roam } of roaming.sessions()) lastUs = Math.max(lastUs, roam?.epoch ?? 0);
    for (const session of roaming.sessions()) {
      const { durable, roam } = session;
      if (!durable || roam?.leaving) continue;
      const isOld =
        roam !== null && roam.sources.length === 0 && roam.epoch < lastUs - UNWRITTEN_US;
      if (!isOld) this.directory.changed(session);
    }
  }
}

export function directoryOf({
  region,
  table,
  node,
  log,
  hybridClock,
}: RegionRoamingParts): CassandraDirectory {
  const { clock } = node;
  return new CassandraDirectory({
    region,
    moves: true,
    table,
    clock,
    scheduler: node,
    hybridClock: hybridClock ?? new HybridClock(() => clock.wallMs(), CLOCK_SKEW_MS),
    log,
    counters: new DirectoryCounters(),
    inFlightMax: IN_FLIGHT_MAX,
  });
}

export function waysOf(holder: () => LinkHolder): RoamingLinks {
  return {
    regions: () => holder().regions,
    isUp: (region) => holder().link(region)?.isUp === true,
    ask: (region, payload) => holder().link(region)?.ask(payload) === true,
    sync: (region) => holder().link(region)?.sync() === true,
  };
}
