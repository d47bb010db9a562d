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
  /** The table has the last change of the topic; `isOver`: its tombstone is not needed any more. */
  readonly confirmed: (topic: string, isOver: boolean) => void;
}

interface Pending {
  readonly topic: string;
  message: Message | null;
  version: RetainedVersion;
  waiting: Awaiting[];
  sinceMs: number;
  isUnderWay: boolean;
  isOver: boolean;
}

/** So many in a row, and it is not the topic: a pause. */
const FAILURES_MAX = 8;
const PAUSE_MS_MIN = 100;
const PAUSE_MS_MAX = 5000;
const LOG_EVERY_MS = 10_000;

export class RetainedLane {
  readonly #parts: LaneParts;
  readonly #pending: Map<string, Pending> = new Map();
  readonly #ready: Ring<Pending> = new Ring();
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

  /** How long the oldest one that was handed in has been waiting. */
  lagMs(nowMs: number): number {
    for (const { sinceMs } of this.#pending.values()) return nowMs - sinceMs;
    return 0;
  }

  put(
    topic: string,
    message: Message | null,
    version: RetainedVersion,
    awaiting: Awaiting | null,
  ): void {
    const { clock, counters } = this.#parts;
    let pending = this.#pending.get(topic);
    if (pending === undefined) {
      pending = {
        topic,
        message,
        version,
        waiting: [],
        sinceMs: clock.monotonicMs(),
        isUnderWay: false,
        isOver: false,
      };
      this.#pending.set(topic, pending);
      this.#ready.push(pending);
    } else {
      counters.coalesced++;
      if (isAbove(version, pending.version)) {
        pending.message = message;
        pending.version = version;
        pending.isOver = false;
      }
    }
    if (awaiting !== null) pending.waiting.push(awaiting);
    this.pump();
  }

  /** The tombstone of the topic has had its time elsewhere; false: nothing of it waits. */
  over(topic: string): boolean {
    const pending = this.#pending.get(topic);
    if (pending === undefined) return false;
    pending.isOver = true;
    return true;
  }

  /** Sends what may be sent; called when something came, went, or time passed. */
  pump(): void {
    // A table may answer so fast that it calls back from here.
    if (this.#isPumping) return;
    this.#isPumping = true;
    const { clock, inFlightMax } = this.#parts;
    while (this.#ready.length > 0 && this.#underWay < inFlightMax) {
      if (this.isPaused) {
        // One asks whether it is over.
        if (this.#underWay > 0 || clock.monotonicMs() < this.#pausedUntilMs) break;
      }
      this.#write(this.#ready.shift()!);
    }
    this.#isPumping = false;
  }

  #write(pending: Pending): void {
    const { table, tombstoneS, counters } = this.#parts;
    const { topic, message, version } = pending;
    const { waiting } = pending;
    pending.waiting = [];
    pending.isUnderWay = true;
    this.#underWay++;
    counters.writes++;
    const ttlS = message === null ? tombstoneS : 0;
    table.write(topic, encodeRecord(message, version), version.timeUs, ttlS, (error) => {
      this.#underWay--;
      pending.isUnderWay = false;
      if (error === null) this.#written(pending, version, waiting);
      else this.#failed(pending, version, waiting, error);
      this.pump();
    });
  }

  #written(pending: Pending, version: RetainedVersion, waiting: readonly Awaiting[]): void {
    this.#failures = 0;
    this.#pauseMs = 0;
    this.#settle(pending, version);
    for (const one of waiting) one.confirmed(null);
  }

  /** Ends, unless there is something newer. */
  #settle(pending: Pending, version: RetainedVersion): void {
    if (pending.version !== version) {
      pending.sinceMs = this.#parts.clock.monotonicMs();
      // Behind those that have not been written at all.
      this.#pending.delete(pending.topic);
      this.#pending.set(pending.topic, pending);
      this.#ready.push(pending);
      return;
    }
    this.#pending.delete(pending.topic);
    this.#parts.confirmed(pending.topic, pending.isOver);
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
      log.error({ err: error, topic: pending.topic }, 'Cassandra does not take a retained message');
      this.#settle(pending, version);
      for (const one of waiting) one.confirmed(error);
      return;
    }
    pending.waiting = [...waiting, ...pending.waiting];
    this.#ready.push(pending);
    this.#failures++;
    if (this.#failures < FAILURES_MAX) return;
    this.#pauseMs = Math.min(PAUSE_MS_MAX, Math.max(PAUSE_MS_MIN, this.#pauseMs * 2));
    this.#pausedUntilMs = nowMs + this.#pauseMs / 2 + random.below(this.#pauseMs / 2);
    if (nowMs - this.#loggedMs < LOG_EVERY_MS) return;
    this.#loggedMs = nowMs;
    log.warn({ err: error, topics: this.size }, 'Cassandra takes no retained messages');
  }
}
