/**
 * Retained messages of a region with a Cassandra: the store around this node's own, and the rounds that
 * hold it against Cassandra, when this node has the role (docs/adr/0021). Made by `node.ts`.
 */
import { randomBytes } from 'node:crypto';
import { open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { CassandraReport, CassandraView } from '../admin/cassandra-view.ts';
import type { RetainedRounds } from '../cluster/ports-local.ts';
import type { CassandraConfig } from '../config/cassandra-config.ts';
import type { Lease, Log } from '../core/ports.ts';
import type { RetainedView } from '../core/retained-view.ts';
import type { CassandraLink } from '../drivers/cassandra/cassandra-link.ts';
import {
  type CassandraCode,
  CassandraFailure,
  type CassandraState,
} from '../drivers/cassandra/cassandra-port.ts';
import { systemClock, systemRandom, systemScheduler } from '../listeners/scheduler.ts';
import { CassandraCounters } from '../store/cassandra/cassandra-counters.ts';
import { CassandraRetained, type MirrorStore } from '../store/cassandra/cassandra-retained.ts';
import { CqlTable } from '../store/cassandra/cql-table.ts';
import { type RoundMemory, Rounds } from '../store/cassandra/rounds.ts';
import { CLOCK_SKEW_MS } from '../util/clock-skew.ts';
import { HybridClock } from '../util/hybrid-clock.ts';
import { openRegionCassandra, schemaProblem, syncsLate } from './region-cassandra.ts';
import { StartError } from './start-error.ts';

export interface RegionParts {
  readonly config: CassandraConfig;
  /** Folder of the mirror. */
  readonly data: string;
  readonly mirror: MirrorStore;
  /** This node has no others: it stamps changes itself. */
  readonly isAlone: boolean;
  readonly log: Log;
}

/** What the broker and the datacenter have, once they are made. */
export interface RegionSurroundings {
  readonly view: RetainedView;
  /** Null: this node is alone. */
  readonly roles: (Lease & { want(role: string): void }) | null;
  /** Another live node has what this one tells. */
  readonly hasOthers: () => boolean;
  /** The others are to know that a whole round has ended here. */
  readonly roundEnded: (beganMs: number) => void;
  /** Whether one of the others has all changes so far on its disk; see `Keepers`. */
  readonly askKept: (done: (isKept: boolean) => void) => boolean;
}

/** What waiting does not mend: somebody has to change a name, a right or a table. */
const LASTING: ReadonlySet<CassandraCode> = new Set([
  'NO_KEYSPACE',
  'NO_TABLE',
  'NO_DATACENTER',
  'LOGIN',
  'TLS',
  'UNAUTHORIZED',
]);
const LATE_SYNC =
  'Cassandra answers before it syncs: when all its nodes here lose power together, the last seconds are gone there, and nodes write again what they have';
const ROLE = 'retained';
const CONNECT_MS = 5000;

export class RegionRetained {
  readonly store: CassandraRetained;
  readonly rounds: Rounds;
  readonly counters: CassandraCounters = new CassandraCounters();
  readonly #parts: RegionParts;
  readonly link: CassandraLink;
  readonly #table: CqlTable;
  /** Above all that this node has seen of other regions. */
  readonly hybridClock: HybridClock = new HybridClock(() => systemClock.wallMs(), CLOCK_SKEW_MS);
  #around: RegionSurroundings | null = null;
  #state: CassandraState = 'down';
  #schemaProblem: string | null = null;
  #isSchemaKnown = false;

  /** Throws a StartError when Cassandra answers and cannot be worked with; one that is away is waited for later. */
  static async open(parts: RegionParts): Promise<RegionRetained> {
    const { config, data, log } = parts;
    const link = await openRegionCassandra(config, config.keyspace, log);
    try {
      const region = new RegionRetained(parts, link, await RoundFile.load(data, log));
      await region.#reach();
      return region;
    } catch (error) {
      link.close();
      throw error;
    }
  }

  private constructor(parts: RegionParts, link: CassandraLink, memory: RoundMemory) {
    const { config, mirror, isAlone, log } = parts;
    this.#parts = parts;
    this.link = link;
    this.#table = CqlTable.retained(link);
    const hybridClock = this.hybridClock;
    this.store = new CassandraRetained({
      mirror,
      table: this.#table,
      clock: systemClock,
      random: systemRandom,
      scheduler: systemScheduler,
      log,
      counters: this.counters,
      inFlightMax: config.inFlightMax,
      tombstoneS: config.tombstoneS,
      stamps: isAlone ? { hybridClock, writer: randomBytes(4).readUInt32BE(0) } : null,
      keepers: {
        isLocalEnough: config.degraded === 'local',
        ask: (done) => this.#around?.askKept(done) === true,
      },
    });
    this.rounds = new Rounds({
      table: this.#table,
      lane: this.store.lane,
      clock: systemClock,
      scheduler: systemScheduler,
      log,
      counters: this.counters,
      memory,
      intervalS: config.reconcileIntervalS,
      rowsPerS: config.reconcileRowsPerS,
      tombstoneS: config.tombstoneS,
    });
    link.listen({ cassandraChanged: (state, reasons) => this.#changed(state, reasons) });
  }

  async #reach(): Promise<void> {
    const { log } = this.#parts;
    try {
      await this.link.ready(CONNECT_MS);
    } catch (error) {
      const problem = (error as Error).message;
      if (error instanceof CassandraFailure && LASTING.has(error.code)) {
        throw new StartError('CASSANDRA', problem, error);
      }
      log.warn({ problem }, 'Cassandra is away: retained messages are served from this node');
      return;
    }
    await this.#lookAtSchema();
    if (this.#schemaProblem !== null) throw new StartError('CASSANDRA', this.#schemaProblem, null);
  }

  async #lookAtSchema(): Promise<void> {
    try {
      this.#schemaProblem = await schemaProblem(this.link, this.#parts.config.keyspace);
      this.#isSchemaKnown = true;
      const late = await syncsLate(this.link);
      if (late !== null) this.#parts.log.warn(late, LATE_SYNC);
    } catch (error) {
      this.#parts.log.warn({ problem: (error as Error).message }, 'Cassandra');
    }
  }

  #changed(state: CassandraState, reasons: readonly string[]): void {
    const { log } = this.#parts;
    const was = this.#state;
    this.#state = state;
    log.info({ state, reasons }, 'Cassandra');
    if (was !== 'down' || state === 'down') return;
    // What was written elsewhere meanwhile.
    this.rounds.hasten();
    if (this.#isSchemaKnown) return;
    void this.#lookAtSchema().then(() => {
      if (this.#schemaProblem !== null) log.error({ problem: this.#schemaProblem }, 'Cassandra');
    });
  }

  /** The mirror is open. Resolves when the node has what subscribers are to be served from, or has ended. */
  begin(around: RegionSurroundings): Promise<void> {
    this.#around = around;
    const { roles, hasOthers } = around;
    roles?.want(ROLE);
    return new Promise((resolve) => {
      this.rounds.begin(
        {
          view: around.view,
          isMine: () => roles === null || roles.held(ROLE),
          hasOthers,
          ended: (beganMs) => {
            this.store.roundEnded(beganMs);
            around.roundEnded(beganMs);
          },
        },
        () => resolve(),
      );
    });
  }

  /** Other regions may have told of changes that did not come: Cassandra is asked, at once. */
  beginRound(): void {
    this.rounds.request();
  }

  /** For operators. */
  get view(): CassandraView {
    return {
      report: () => this.#report(),
      retained: this.counters,
      link: this.link.counters,
    };
  }

  #report(): CassandraReport {
    const { rounds, counters, warning } = this;
    const { localDatacenter, keyspace } = this.#parts.config;
    const { link } = this;
    const { lane } = this.store;
    const { progress, rowsRead } = counters;
    return {
      state: link.state,
      reasons: link.reasons,
      localDatacenter,
      keyspace,
      warning,
      isFilling: rounds.isFilling,
      round: rounds.isRunning ? { progress, rowsRead } : null,
      isComparing: rounds.isMine,
      lastRoundMs: rounds.beganMs,
      waitingTopics: lane.size,
      lagMs: lane.lagMs(systemClock.monotonicMs()),
      requests: link.requests,
      requestBytes: link.requestBytes,
    };
  }

  /** Why Cassandra does not have all that was acknowledged; '': it has. */
  get warning(): string {
    if (this.#schemaProblem !== null) return this.#schemaProblem;
    if (this.store.isDegraded) {
      return 'Cassandra does not take retained messages: they are kept by the nodes';
    }
    if (!this.rounds.isWhole) {
      return 'retained messages have not all been compared with Cassandra: some may be missing';
    }
    return '';
  }

  /** What the other nodes hear, and ask (`RetainedRounds`). */
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

  /** Before the store is stopped. */
  end(): void {
    this.rounds.stop();
  }

  close(): void {
    this.end();
    this.link.close();
  }
}

/** When the last whole round of this mirror began, beside it. */
class RoundFile implements RoundMemory {
  readonly #file: string;
  readonly #log: Log;
  beganMs: number;
  /** One after the other, and of those that wait the last. */
  #writing: Promise<void> | null = null;

  private constructor(file: string, beganMs: number, log: Log) {
    this.#file = file;
    this.beganMs = beganMs;
    this.#log = log;
  }

  static async load(data: string, log: Log): Promise<RoundFile> {
    const file = join(data, 'retained-round.json');
    try {
      const { beganMs } = JSON.parse(await readFile(file, 'utf8')) as { beganMs?: unknown };
      return new RoundFile(file, typeof beganMs === 'number' ? beganMs : 0, log);
    } catch {
      // None, or a torn one: what is missing in Cassandra is written there again.
      return new RoundFile(file, 0, log);
    }
  }

  save(beganMs: number): void {
    this.beganMs = beganMs;
    this.#writing ??= this.#write().finally(() => {
      this.#writing = null;
    });
  }

  async #write(): Promise<void> {
    const next = `${this.#file}.next`;
    try {
      for (let written = 0; written !== this.beganMs; ) {
        written = this.beganMs;
        const handle = await open(next, 'w', 0o600);
        try {
          await handle.writeFile(JSON.stringify({ beganMs: written }));
          await handle.sync();
        } finally {
          await handle.close();
        }
        await rename(next, this.#file);
      }
    } catch (error) {
      this.#log.warn({ err: error, file: this.#file }, 'the end of a round could not be kept');
    }
  }
}
