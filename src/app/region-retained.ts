/**
 * Retained messages of a region with a Cassandra: the store around this node's own, and the rounds that
 * hold it against Cassandra, when this node has the role (docs/adr/0021). Made by `node.ts`.
 */
import { randomBytes } from 'node:crypto';
import { open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
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
import { Reconciler, type RetainedView as ReconcilerView } from '../store/cassandra/reconciler.ts';
import { HybridClock } from '../util/hybrid-clock.ts';
import { CLOCK_SKEW_MS } from './clock-skew.ts';
import { openRegionCassandra, schemaProblem } from './region-cassandra.ts';
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
const ROLE = 'retained';
const CONNECT_MS = 5000;
const TICK_MS = 1000;
/** Nobody waits for a round of a mirror with something in it. */
const FILL_ROWS_PER_S = 1_000_000;

export class RegionRetained {
  readonly store: CassandraRetained;
  readonly counters: CassandraCounters = new CassandraCounters();
  readonly #parts: RegionParts;
  readonly #link: CassandraLink;
  readonly #table: CqlTable;
  readonly #memory: RoundMemory;
  readonly #hybridClock: HybridClock = new HybridClock(() => systemClock.wallMs(), CLOCK_SKEW_MS);
  #around: RegionSurroundings | null = null;
  #reconciler: Reconciler | null = null;
  #stopTick: (() => void) | null = null;
  #nextRoundMs = 0;
  #state: CassandraState = 'down';
  #schemaProblem: string | null = null;
  #isSchemaKnown = false;

  /** Throws a StartError when Cassandra answers and cannot be worked with; one that is away is waited for later. */
  static async open(parts: RegionParts): Promise<RegionRetained> {
    const { config, data, log } = parts;
    const link = await openRegionCassandra(config, config.keyspace, log);
    try {
      const region = new RegionRetained(parts, link, await RoundMemory.load(data));
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
    this.#link = link;
    this.#memory = memory;
    this.#table = new CqlTable(link);
    const hybridClock = this.#hybridClock;
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
      mayKeep: () => config.degraded === 'local' || this.#around?.hasOthers() === true,
    });
    link.listen({ cassandraChanged: (state, reasons) => this.#changed(state, reasons) });
  }

  async #reach(): Promise<void> {
    const { log } = this.#parts;
    try {
      await this.#link.ready(CONNECT_MS);
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
      this.#schemaProblem = await schemaProblem(this.#link, this.#parts.config.keyspace);
      this.#isSchemaKnown = true;
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
    this.#nextRoundMs = 0;
    if (this.#isSchemaKnown) return;
    void this.#lookAtSchema().then(() => {
      if (this.#schemaProblem !== null) log.error({ problem: this.#schemaProblem }, 'Cassandra');
    });
  }

  /** The mirror is open. Resolves when the node has what subscribers are to be served from. */
  async begin(around: RegionSurroundings): Promise<void> {
    this.#around = around;
    around.roles?.want(ROLE);
    const isEmpty = around.view.size === 0;
    if (isEmpty && !around.hasOthers() && this.#table.isUp) {
      this.#reconciler = this.#newReconciler(FILL_ROWS_PER_S);
      await new Promise<void>((resolve) => this.#reconciler!.start(true, () => resolve()));
      this.#reconciler.stop();
      this.#plan();
    }
    this.#reconciler = this.#newReconciler(this.#parts.config.reconcileRowsPerS);
    this.#stopTick = systemScheduler.every(TICK_MS, () => this.#tick());
  }

  #newReconciler(rowsPerS: number): Reconciler {
    const { log, config } = this.#parts;
    return new Reconciler({
      table: this.#table,
      lane: this.store.lane,
      view: this.#view(this.#around!.view),
      clock: systemClock,
      scheduler: systemScheduler,
      log,
      counters: this.counters,
      rowsPerS,
      tombstoneS: config.tombstoneS,
      lastRoundMs: this.#memory.beganMs,
      roundEnded: (beganMs) => this.#memory.save(beganMs, log),
    });
  }

  /** A bus refuses versions ahead of their time; a node alone has none. */
  #view(view: RetainedView): ReconcilerView {
    if (!this.#parts.isAlone) return view;
    return {
      get: (topic) => view.get(topic),
      all: () => view.all(),
      apply: (topic, message, version) =>
        this.#hybridClock.observe(version.timeUs) === 'observed' &&
        view.apply(topic, message, version),
    };
  }

  #plan(): void {
    this.#nextRoundMs = systemClock.monotonicMs() + this.#parts.config.reconcileIntervalS * 1000;
  }

  #tick(): void {
    const reconciler = this.#reconciler;
    const around = this.#around;
    if (reconciler === null || around === null) return;
    const isMine = around.roles === null || around.roles.held(ROLE);
    if (!isMine) {
      reconciler.abandon();
      return;
    }
    if (reconciler.isRunning || !this.#table.isUp) return;
    if (systemClock.monotonicMs() < this.#nextRoundMs) return;
    reconciler.start(around.view.size === 0, (isWhole) => {
      if (isWhole) this.#plan();
    });
  }

  /** Why Cassandra does not have all that was acknowledged; '': it has. */
  get warning(): string {
    if (this.#schemaProblem !== null) return this.#schemaProblem;
    if (this.store.isDegraded) {
      return 'Cassandra does not take retained messages: they are kept by the nodes';
    }
    return '';
  }

  /** Before the store is stopped. */
  end(): void {
    this.#stopTick?.();
    this.#reconciler?.stop();
  }

  close(): void {
    this.end();
    this.#link.close();
  }
}

/** When the last whole round of this mirror began, beside it. */
class RoundMemory {
  readonly #file: string;
  beganMs: number;

  private constructor(file: string, beganMs: number) {
    this.#file = file;
    this.beganMs = beganMs;
  }

  static async load(data: string): Promise<RoundMemory> {
    const file = join(data, 'retained-round.json');
    try {
      const { beganMs } = JSON.parse(await readFile(file, 'utf8')) as { beganMs?: unknown };
      return new RoundMemory(file, typeof beganMs === 'number' ? beganMs : 0);
    } catch {
      // None, or a torn one: what is missing in Cassandra is written there again.
      return new RoundMemory(file, 0);
    }
  }

  save(beganMs: number, log: Log): void {
    this.beganMs = beganMs;
    this.#write(beganMs).catch((error: unknown) => {
      log.warn({ err: error, file: this.#file }, 'the end of a round could not be kept');
    });
  }

  async #write(beganMs: number): Promise<void> {
    const next = `${this.#file}.next`;
    const handle = await open(next, 'w', 0o600);
    try {
      await handle.writeFile(JSON.stringify({ beganMs }));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(next, this.#file);
  }
}
