/**
 * What is to be written to Cassandra: of each topic the last change, one write of it under way at a time,
 * so many topics side by side. What comes while a write is under way takes the place of what waits, and
 * those who waited for that wait for it. Used by `cassandra-retained.ts`; knows no driver.
 */
import type { Message } from '../../core/message.ts';
import type { Clock, Log, Random } from '../../core/ports.ts';
import { isAbove, type RetainedVersion } from '../../core/retained-version.ts';
import { Ring } from '../../util/ring.ts';
import type { CassandraCounters } from './cassandra-counters.ts';
import { encodeRecord } from './retained-record.ts';
import type { RetainedTable, TableError } from './retained-table.ts';

/** Told once when the change it came with, or one that took its place, is in the table. */
export interface Awaiting {
  /** Need not be told any more. */
  readonly isSettled: boolean;
  confirmed(error: Error | null): void;
}

export interface LaneParts {
  readonly table: RetainedTable;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly counters: CassandraCounters;
  /** Topics that are written at a time. */
  readonly inFlightMax: number;
  readonly tombstoneS: number;
  /** The table has the last change of the topic, or never will; `tombstone`: what the mirror has of it. */
  readonly confirmed: (topic: string, tombstone: Tombstone, version: RetainedVersion) => void;
}

/** Whether the mirror has a tombstone in the place of a topic, and others still need it. */
export type Tombstone = 'none' | 'needed' | 'over';

interface Pending {
  readonly topic: string;
  message: Message | null;
  version: RetainedVersion;
  waiting: Awaiting[];
  /** At so many those that need not be told are looked for. */
  waitingMax: number;
  sinceMs: number;
  /** What the write under way writes; null: none is. */
  writing: RetainedVersion | null;
  tombstone: Tombstone;
  /** Nobody waits for it: it was owed at a start, or a round found that it is missing. */
  isLate: boolean;
  /** Where it stands; null: its write is under way. */
  place: Ring<Pending> | null;
  /** Writes of it that have failed in a row, and until when it rests. */
  failures: number;
  restsUntilMs: number;
}

/** So many in a row, and it is not the topic: a pause. */
const FAILURES_MAX = 8;
const PAUSE_MS_MIN = 100;
const PAUSE_MS_MAX = 5000;
/** A topic rests after a failure of its own, twice as long after each: 100 ms to 3.2 s. */
const REST_STEPS = 6;
const WAITING_MIN = 64;
/** Of so many writes one is of what nobody waits for, while there is something else. */
const LATE_SHARE = 8;
const LOG_EVERY_MS = 10_000;

export class RetainedLane {
  readonly #parts: LaneParts;
  readonly #pending: Map<string, Pending> = new Map();
  readonly #ready: Ring<Pending> = new Ring();
  /** Of what has been asked for since, the entries that are left behind count no more. */
  readonly #late: Ring<Pending> = new Ring();
  #turn = 0;
  /** By how often they have failed: those of one ring rest equally long. */
  readonly #resting: Ring<Pending>[] = Array.from({ length: REST_STEPS }, () => new Ring());
  #touched: Set<string> | null = null;
  #isStopped = false;
  #underWay = 0;
  #failures = 0;
  #pauseMs = 0;
  #pausedUntilMs = 0;
  #loggedMs = Number.NEGATIVE_INFINITY;
  #isPumping = false;

  constructor(parts: LaneParts) {
    this.#parts = parts;
  }

  /** Topics with a change that the table has not confirmed. */
  get size(): number {
    return this.#pending.size;
  }

  get underWay(): number {
    return this.#underWay;
  }

  /** Nothing gets through. */
  get isPaused(): boolean {
    return this.#failures >= FAILURES_MAX;
  }

  has(topic: string): boolean {
    return this.#pending.has(topic);
  }

  /** What was handed in last and the table has not confirmed; null: nothing. */
  versionOf(topic: string): RetainedVersion | null {
    return this.#pending.get(topic)?.version ?? null;
  }

  /** From now on collects the topics of what is handed in; whoever asked before gets no more. */
  watch(): ReadonlySet<string> {
    this.#touched = new Set();
    return this.#touched;
  }

  unwatch(): void {
    this.#touched = null;
  }

  /** How long the oldest one that was handed in has been waiting. */
  lagMs(nowMs: number): number {
    for (const { sinceMs } of this.#pending.values()) return nowMs - sinceMs;
    return 0;
  }

  /** `isLate`: behind what clients change. */
  put(
    topic: string,
    message: Message | null,
    version: RetainedVersion,
    awaiting: Awaiting | null,
    isLate: boolean = false,
  ): void {
    const { clock, counters } = this.#parts;
    this.#touched?.add(topic);
    const tombstone = message === null ? 'needed' : 'none';
    let pending = this.#pending.get(topic);
    if (pending === undefined) {
      pending = {
        topic,
        message,
        version,
        waiting: [],
        waitingMax: WAITING_MIN,
        sinceMs: clock.monotonicMs(),
        writing: null,
        tombstone,
        isLate,
        place: null,
        failures: 0,
        restsUntilMs: 0,
      };
      this.#pending.set(topic, pending);
      this.#line(pending);
    } else if (isAbove(version, pending.version)) {
      if (pending.version !== pending.writing) counters.coalesced++;
      pending.message = message;
      pending.version = version;
      pending.tombstone = tombstone;
    } else {
      counters.coalesced++;
    }
    if (awaiting !== null) addWaiting(pending, awaiting);
    if (pending.isLate && !isLate) {
      pending.isLate = false;
      if (pending.place === this.#late) this.#line(pending);
    }
    this.pump();
  }

  /** The mirror has something else in the place of the topic; false: nothing of it waits. */
  mirrored(topic: string, tombstone: Tombstone): boolean {
    const pending = this.#pending.get(topic);
    if (pending === undefined) return false;
    pending.tombstone = tombstone;
    return true;
  }

  /** The tombstone of the topic has had its time elsewhere; false: nothing of it waits. */
  over(topic: string): boolean {
    const pending = this.#pending.get(topic);
    if (pending === undefined) return false;
    if (pending.tombstone === 'needed') pending.tombstone = 'over';
    return true;
  }

  /** Nothing is written any more; what is under way may still be answered. */
  stop(): void {
    this.#isStopped = true;
  }

  #line(pending: Pending): void {
    const place = pending.isLate ? this.#late : this.#ready;
    pending.place = place;
    place.push(pending);
  }

  #next(): Pending | undefined {
    const isLateTurn = this.#ready.length === 0 || this.#turn % LATE_SHARE === 0;
    while (isLateTurn && this.#late.length > 0) {
      const pending = this.#late.shift()!;
      if (pending.place === this.#late) return pending;
    }
    return this.#ready.shift();
  }

  /** Sends what may be sent; called when something came, went, or time passed. */
  pump(): void {
    // A table may answer so fast that it calls back from here.
    if (this.#isPumping || this.#isStopped) return;
    this.#isPumping = true;
    const { clock, inFlightMax } = this.#parts;
    this.#wake(clock.monotonicMs());
    while (this.#underWay < inFlightMax) {
      if (this.isPaused) {
        // One asks whether it is over.
        if (this.#underWay > 0 || clock.monotonicMs() < this.#pausedUntilMs) break;
      }
      this.#turn++;
      const pending = this.#next();
      if (pending === undefined) break;
      pending.place = null;
      this.#write(pending);
    }
    this.#isPumping = false;
  }

  /** Those that have rested long enough. */
  #wake(nowMs: number): void {
    for (const ring of this.#resting) {
      for (let first = ring.at(0); first !== undefined; first = ring.at(0)) {
        if (first.restsUntilMs > nowMs) break;
        this.#line(first);
        ring.shift();
      }
    }
  }

  #write(pending: Pending): void {
    const { table, tombstoneS, counters } = this.#parts;
    const { topic, message, version } = pending;
    const { waiting } = pending;
    pending.waiting = [];
    pending.writing = version;
    this.#underWay++;
    counters.writes++;
    const ttlS = message === null ? tombstoneS : 0;
    table.write(topic, encodeRecord(message, version), version.timeUs, ttlS, (error) => {
      this.#underWay--;
      pending.writing = null;
      if (error === null) this.#written(pending, version, waiting);
      else this.#failed(pending, version, waiting, error);
      this.pump();
    });
  }

  #written(pending: Pending, version: RetainedVersion, waiting: readonly Awaiting[]): void {
    this.#answered();
    this.#settle(pending, version, waiting, null);
  }

  #answered(): void {
    this.#failures = 0;
    this.#pauseMs = 0;
  }

  /** Ends, unless there is something newer. */
  #settle(
    pending: Pending,
    version: RetainedVersion,
    waiting: readonly Awaiting[],
    error: TableError | null,
  ): void {
    pending.failures = 0;
    if (pending.version !== version) {
      pending.sinceMs = this.#parts.clock.monotonicMs();
      // Behind those that have not been written at all.
      this.#pending.delete(pending.topic);
      this.#pending.set(pending.topic, pending);
      this.#line(pending);
      for (const one of waiting) one.confirmed(error);
      return;
    }
    this.#pending.delete(pending.topic);
    this.#parts.confirmed(pending.topic, pending.tombstone, version);
    for (const one of waiting) one.confirmed(error);
    // Came meanwhile with something that is not newer.
    for (const one of pending.waiting) one.confirmed(error);
  }

  #failed(
    pending: Pending,
    version: RetainedVersion,
    waiting: readonly Awaiting[],
    error: TableError,
  ): void {
    const { clock, random, counters, log } = this.#parts;
    const nowMs = clock.monotonicMs();
    counters.failures++;
    if (error.isFinal === true) {
      // It stays in the mirrors of this datacenter.
      counters.rejected++;
      this.#answered();
      log.error({ err: error, topic: pending.topic }, 'Cassandra does not take a retained message');
      this.#settle(pending, version, waiting, error);
      return;
    }
    pending.waiting = [...waiting, ...pending.waiting];
    this.#failures++;
    if (this.#failures < FAILURES_MAX) {
      this.#rest(pending, nowMs);
      return;
    }
    // It is all of them: each may ask, and all go on when one has got through.
    this.#wake(Number.POSITIVE_INFINITY);
    this.#line(pending);
    // Of those that were under way when the pause began: no answer to what asked after it.
    if (nowMs < this.#pausedUntilMs) return;
    this.#pauseMs = Math.min(PAUSE_MS_MAX, Math.max(PAUSE_MS_MIN, this.#pauseMs * 2));
    this.#pausedUntilMs = nowMs + this.#pauseMs / 2 + random.below(this.#pauseMs / 2);
    if (nowMs - this.#loggedMs < LOG_EVERY_MS) return;
    this.#loggedMs = nowMs;
    log.warn({ err: error, topics: this.size }, 'Cassandra takes no retained messages');
  }

  /** Others may get through: part of the ring is away, say. */
  #rest(pending: Pending, nowMs: number): void {
    const step = Math.min(pending.failures, REST_STEPS - 1);
    pending.failures++;
    pending.restsUntilMs = nowMs + PAUSE_MS_MIN * 2 ** step;
    const resting = this.#resting[step]!;
    pending.place = resting;
    resting.push(pending);
  }
}

/** A topic may change for hours while nothing gets through: what was acknowledged meanwhile goes. */
function addWaiting(pending: Pending, awaiting: Awaiting): void {
  pending.waiting.push(awaiting);
  if (pending.waiting.length < pending.waitingMax) return;
  pending.waiting = pending.waiting.filter(({ isSettled }) => !isSettled);
  pending.waitingMax = Math.max(WAITING_MIN, pending.waiting.length * 2);
}
