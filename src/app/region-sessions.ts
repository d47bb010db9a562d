/**
 * Sessions that roam between regions (docs/adr/0023): their directory in the Cassandra of this region, and
 * what moves them. Made by `node.ts` where `regions.roaming` or `regions.directory` is on.
 */
import type { DirectoryView, MovesView } from '../admin/directory-view.ts';
import type { RegionsConfig } from '../config/regions-config.ts';
import type { Broker } from '../core/broker.ts';
import type { Log } from '../core/ports.ts';
import type { RoamCodec } from '../core/roam-frame.ts';
import { HELD_PREFIX, type Roaming } from '../core/roaming.ts';
import type { SessionDirectory } from '../core/session-directory.ts';
import { DatacenterMoves } from '../geo/roaming/datacenter-moves.ts';
import { decodeFrame, encodeFrame, type Kept } from '../geo/roaming/frame.ts';
import { RegionMover } from '../geo/roaming/mover.ts';
import { roamCodec } from '../geo/roaming/roam-codec.ts';
import { RoamingCounters } from '../geo/roaming/roaming-counters.ts';
import type { RoamingEars } from '../geo/roaming/roaming-links.ts';
import { systemClock, systemRandom, systemScheduler } from '../listeners/scheduler.ts';
import { CassandraDirectory } from '../store/cassandra/cassandra-directory.ts';
import { CqlTable } from '../store/cassandra/cql-table.ts';
import { DirectoryCounters } from '../store/cassandra/directory-counters.ts';
import type { NodeLinks } from './node-links.ts';
import type { OpenStore } from './open-store.ts';
import type { RegionRetained } from './region-retained.ts';

/** Of the driver's requests, which retained messages need, too. */
const IN_FLIGHT_MAX = 64;
/** What is not written by then is found after the start as after a crash, or has its end already. */
const FLUSH_MS_MAX = 2000;
/** Of the last CONNECTs before a crash: their rows may be missing. */
const UNWRITTEN_US = 60_000_000;

export class RegionSessions {
  readonly view: DirectoryView;
  readonly codec: RoamCodec = roamCodec;
  /** Of a node alone; null until it begins. */
  mover: RegionMover | null = null;
  /** Of a datacenter; null: this node is alone, or sessions stay. */
  shared: DatacenterMoves | null = null;
  readonly #log: Log;
  readonly #waitMs: number;
  readonly #directory: CassandraDirectory;
  readonly #held: Map<string, Buffer> = new Map();

  constructor({ name, roaming, roamingWaitMs }: RegionsConfig, region: RegionRetained, log: Log) {
    this.#log = log;
    this.#waitMs = roamingWaitMs;
    const counters = new DirectoryCounters();
    const directory = new CassandraDirectory({
      region: name,
      moves: roaming,
      table: CqlTable.sessions(region.link),
      clock: systemClock,
      scheduler: systemScheduler,
      hybridClock: region.hybridClock,
      log,
      counters,
      inFlightMax: IN_FLIGHT_MAX,
    });
    this.#directory = directory;
    this.view = {
      counters,
      get waiting() {
        return directory.waiting;
      },
      moves: roaming ? this.#moves() : null,
    };
  }

  #moves(): MovesView {
    const ofMover = (): RegionMover | DatacenterMoves | null => this.mover ?? this.shared;
    const none = new RoamingCounters();
    return {
      get counters() {
        return ofMover()?.counters ?? none;
      },
      get moving() {
        return ofMover()?.moving ?? 0;
      },
    };
  }

  /** What the store has kept of an earlier life; false: it is of others. Before `begin`. */
  recall(key: string, value: Buffer): boolean {
    if (!key.startsWith(HELD_PREFIX)) return false;
    this.#held.set(key, value);
    return true;
  }

  /** Before this node joins a datacenter. */
  attach(broker: Broker, links: NodeLinks | null): void {
    const { sharedRoaming } = broker;
    if (sharedRoaming === null || links === null) return;
    this.shared = new DatacenterMoves({
      broker,
      ways: () => links.ways,
      waitMs: this.#waitMs,
      clock: systemClock,
      random: systemRandom,
      scheduler: systemScheduler,
      log: this.#log,
    });
    sharedRoaming.start();
  }

  /** For the links. */
  get ears(): RoamingEars | null {
    return this.mover ?? this.shared;
  }

  /** Sessions are restored, and links begin after this. */
  begin({ roaming }: Broker, links: NodeLinks | null, notes: OpenStore['notes']): void {
    this.#directory.start();
    if (roaming === null || links === null) return;
    this.#list(roaming);
    roaming.note = (key, client, entry) =>
      notes?.putNote(key, entry === null ? null : encodeFrame({ client }, [entry]));
    for (const [key, value] of this.#held) {
      const { head, entries } = decodeFrame<Kept>(value, () => roaming.nextSequence());
      for (const entry of entries) roaming.recall(key, head.client, entry);
    }
    this.#held.clear();
    this.mover = new RegionMover({
      roaming,
      links: links.ways,
      clock: systemClock,
      random: systemRandom,
      scheduler: systemScheduler,
      log: this.#log,
      waitMs: this.#waitMs,
    });
    roaming.mover = this.mover;
    roaming.announce = roamCodec.word;
    this.mover.start();
  }

  /**
   * The row of a session may not have been written when its node died, and never if it is from before the
   * directory: its client would find none elsewhere.
   */
  #list(roaming: Roaming): void {
    let lastUs = 0;
    for (const { roam } of roaming.sessions()) lastUs = Math.max(lastUs, roam?.epoch ?? 0);
    for (const session of roaming.sessions()) {
      const { durable, roam } = session;
      if (!durable || roam?.leaving) continue;
      const isOld =
        roam !== null && roam.sources.length === 0 && roam.epoch < lastUs - UNWRITTEN_US;
      if (!isOld) this.#directory.changed(session);
    }
  }

  /** No session moves from here on. */
  end(): void {
    this.mover?.stop();
    this.shared?.stop();
  }

  get core(): SessionDirectory {
    return this.#directory;
  }

  /** The broker has stopped: no session changes any more. */
  async stop(leftMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.min(FLUSH_MS_MAX, Math.max(0, leftMs)));
      this.#directory.flush(() => {
        clearTimeout(timer);
        resolve();
      });
    });
    this.#directory.stop();
  }
}
