/**
 * When the retained messages of this node are held against Cassandra, and from when on subscribers can be
 * served from its mirror: at once when the last whole round is not too long ago, else after one, its own
 * or that of the node whose turn it is (docs/adr/0021, hard case 18). Made by app/; knows no driver.
 */
import type { Clock, Log, Scheduler } from '../../core/ports.ts';
import type { RetainedVersion } from '../../core/retained-version.ts';
import type { CassandraCounters } from './cassandra-counters.ts';
import { isTooOld, Reconciler, type RetainedView } from './reconciler.ts';
import type { RetainedLane } from './retained-lane.ts';
import type { RetainedTable } from './retained-table.ts';

/** When the last whole round of this mirror began, kept beside it. */
export interface RoundMemory {
  /** Wall-clock ms; 0: there was none. */
  readonly beganMs: number;
  save(beganMs: number): void;
}

export interface RoundsParts {
  readonly table: RetainedTable;
  readonly lane: RetainedLane;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly log: Log;
  readonly counters: CassandraCounters;
  readonly memory: RoundMemory;
  readonly intervalS: number;
  readonly rowsPerS: number;
  readonly tombstoneS: number;
}

/** What is there once the mirror is open. */
export interface RoundsAround {
  readonly view: RetainedView & { readonly size: number };
  /** It is this node's turn to go round. */
  readonly isMine: () => boolean;
  /** Somebody else serves clients. */
  readonly hasOthers: () => boolean;
  /** A whole round that began then has ended here; the others are to know. */
  readonly ended: (beganMs: number) => void;
}

const TICK_MS = 250;
/** Nobody is served yet. */
const FILL_ROWS_PER_S = 1_000_000;
/** A node that waits for a round serves without when Cassandra is away, or nothing comes, for so long. */
const AWAY_MS = 5000;
const STALLED_MS = 30_000;
/** Whoever hears of no round for three intervals and so long goes round: whose turn it is cannot, say. */
const OVERDUE_MS = 600_000;
/** Clocks of two nodes of a datacenter are not further apart. */
const AHEAD_MS_MAX = 60_000;

export class Rounds {
  readonly #parts: RoundsParts;
  #around: RoundsAround | null = null;
  #reconciler: Reconciler | null = null;
  #stopTick: (() => void) | null = null;
  #isStopped = false;
  #nextMs = 0;
  /** How often a round was asked for, and up to which of these one has begun and ended since. */
  #requests = 0;
  #answered = 0;
  /** Monotonic ms at which the end of a round was last heard of, or the node began. */
  #heardMs = 0;
  /** Told when the node may serve; null: it may. */
  #ready: ((isWhole: boolean) => void) | null = null;
  /** Something has come since: what it was, and when. */
  #came = -1;
  #cameMs = 0;

  constructor(parts: RoundsParts) {
    this.#parts = parts;
  }

  /** `ready`: subscribers can be served; false: as well as can be, for some may be missing. */
  begin(around: RoundsAround, ready: (isWhole: boolean) => void): void {
    if (this.#isStopped) {
      ready(false);
      return;
    }
    const { scheduler, clock, memory, rowsPerS } = this.#parts;
    this.#around = around;
    this.#heardMs = clock.monotonicMs();
    this.#reconciler = new Reconciler({
      ...this.#parts,
      view: around.view,
      lastRoundMs: () => memory.beganMs,
      roundEnded: (beganMs) => {
        this.#heardMs = clock.monotonicMs();
        memory.save(beganMs);
        around.ended(beganMs);
      },
    });
    this.#stopTick = scheduler.every(TICK_MS, () => this.#tick());
    if (this.isWhole) {
      ready(true);
      return;
    }
    this.#reconciler.rowsPerS = Math.max(FILL_ROWS_PER_S, rowsPerS);
    this.#cameMs = clock.monotonicMs();
    this.#ready = ready;
    this.#tick();
  }

  get beganMs(): number {
    return this.#parts.memory.beganMs;
  }

  /** Another node has ended a whole round that began then, and all it found is here. */
  heard(beganMs: number): void {
    const { memory, clock } = this.#parts;
    this.#heardMs = clock.monotonicMs();
    const knownMs = Math.min(beganMs, clock.wallMs() + AHEAD_MS_MAX);
    if (knownMs > memory.beganMs) memory.save(knownMs);
  }

  /** A mirror with that last round says so, and it may have been cleared since; this one knows better. */
  mayBeOver({ timeUs }: RetainedVersion, beganMs: number): boolean {
    const { clock, tombstoneS } = this.#parts;
    const nowMs = clock.wallMs();
    if (!isTooOld(beganMs, nowMs, tombstoneS) || !this.isWhole) return false;
    return nowMs - timeUs / 1000 >= tombstoneS * 1000;
  }

  /** The next one begins as soon as it may. */
  hasten(): void {
    this.#nextMs = 0;
  }

  /**
   * Something may have been missed: a round that begins from now on, by this node, whoever's turn it is. Two
   * nodes at a time do the same twice.
   */
  request(): void {
    this.#requests++;
  }

  /** The mirror has had a whole round, and not so long ago that what it has may have been cleared since. */
  get isWhole(): boolean {
    return this.#parts.memory.beganMs !== 0 && !this.isStale;
  }

  /** Where Cassandra has nothing, what is here is not to be believed. */
  get isStale(): boolean {
    const { memory, clock, tombstoneS } = this.#parts;
    return isTooOld(memory.beganMs, clock.wallMs(), tombstoneS);
  }

  /** The node waits for a round before it serves. */
  get isFilling(): boolean {
    return this.#ready !== null;
  }

  /** This node is on one. */
  get isRunning(): boolean {
    return this.#reconciler?.isRunning === true;
  }

  /** It is this node's turn. */
  get isMine(): boolean {
    return this.#around?.isMine() === true;
  }

  stop(): void {
    this.#isStopped = true;
    this.#stopTick?.();
    this.#reconciler?.stop();
    this.#served(false);
  }

  #served(isWhole: boolean): void {
    const ready = this.#ready;
    if (ready === null) return;
    this.#ready = null;
    if (this.#reconciler !== null) this.#reconciler.rowsPerS = this.#parts.rowsPerS;
    ready(isWhole);
  }

  #tick(): void {
    const around = this.#around;
    const reconciler = this.#reconciler;
    if (around === null || reconciler === null) return;
    const { clock, intervalS } = this.#parts;
    const nowMs = clock.monotonicMs();
    // Whoever starts as the first need not wait until nobody else can have the turn.
    const isFirst = this.#ready !== null && !around.hasOthers();
    const isOverdue = nowMs - this.#heardMs > 3 * intervalS * 1000 + OVERDUE_MS;
    const isAsked = this.#requests > this.#answered;
    const isMine = around.isMine() || isFirst || isOverdue || isAsked;
    const isDue = isAsked || nowMs >= this.#nextMs;
    if (!isMine) reconciler.abandon();
    else if (!reconciler.isRunning && isDue && this.#parts.table.isUp) {
      const requests = this.#requests;
      reconciler.start(around.view.size === 0, (isDone) => {
        if (!isDone) return;
        this.#answered = requests;
        this.#nextMs = clock.monotonicMs() + intervalS * 1000;
      });
    }
    if (this.#ready !== null) this.#judge(around, reconciler, nowMs);
  }

  #judge({ view }: RoundsAround, reconciler: Reconciler, nowMs: number): void {
    const { counters, table, log } = this.#parts;
    // All that Cassandra has is here; what is missing there needs not be waited for.
    if (this.isWhole || (reconciler.hasRead && !this.isStale)) {
      this.#served(true);
      return;
    }
    const came = counters.rowsRead + view.size;
    if (came !== this.#came) {
      this.#came = came;
      this.#cameMs = nowMs;
    }
    if (nowMs - this.#cameMs < (table.isUp ? STALLED_MS : AWAY_MS)) return;
    const messages = view.size;
    log.warn({ messages }, 'retained messages are served before Cassandra was read: it is away');
    this.#served(false);
  }
}
