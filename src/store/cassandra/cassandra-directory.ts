/**
 * The directory of sessions in Cassandra (docs/adr/0023): of each session the last state, a little later
 * than it changed, one call for it under way at a time. `find` waits for it, and for a moment what a client
 * is told of its subscriptions. Made by `app/region-sessions.ts`; knows no driver.
 *
 * Timestamps are the fence between regions: a CONNECT claims with the time it has now; whatever follows at
 * the same home is written one microsecond above, so a region that has claimed since is never overwritten.
 */

import type { Awaited } from '../../core/awaited.ts';
import type { Clock, Log, Scheduler } from '../../core/ports.ts';
import { Session } from '../../core/session.ts';
import { type ListedSession, roams, type SessionDirectory } from '../../core/session-directory.ts';
import { NEVER_EXPIRES } from '../../core/sessions.ts';
import type { HybridClock } from '../../util/hybrid-clock.ts';
import { RecordDamage } from '../embedded/damage.ts';
import { AwaitedRows, settle } from './awaited-rows.ts';
import type { DirectoryCounters } from './directory-counters.ts';
import { decodeListed, encodeListed } from './listed-record.ts';
import type { RetainedTable, TableError, TableRow } from './retained-table.ts';

/** What it needs of a table whose keys are client identifiers. */
export type SessionsTable = Pick<RetainedTable, 'isUp' | 'write' | 'remove' | 'read'>;

export interface DirectoryParts {
  /** This region. */
  readonly region: string;
  /** See SessionDirectory. */
  readonly moves: boolean;
  readonly table: SessionsTable;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly hybridClock: HybridClock;
  readonly log: Log;
  readonly counters: DirectoryCounters;
  readonly inFlightMax: number;
}

interface Pending {
  /** Written as it is then. */
  readonly session: Session;
  readonly dueMs: number;
}

interface Lookup {
  readonly clientId: string;
  readonly untilMs: number;
  /** Null: it was answered, or given up. */
  done: FindDone | null;
}

type FindDone = (found: ListedSession | null, isSure: boolean) => void;

const TICK_MS = 25;
/** Of a session from before there was a directory: below every claim. */
const NEVER_LISTED_US = 1;
/** A session is written so long after its first change: subscriptions come right behind a CONNECT. */
export const DELAY_MS = 250;
/** An answer to SUBSCRIBE or UNSUBSCRIBE waits so long for the row. */
export const LISTED_MS = 100;
/** A CONNECT waits so long for an answer. */
export const LOOKUP_MS = 500;
const PAUSE_MS_MIN = 100;
const PAUSE_MS_MAX = 5000;
const LOG_EVERY_MS = 10_000;
/** Cassandra takes no longer ones. */
const TTL_S_MAX = 20 * 365 * 86_400;
/** Sessions that have ended are in no other map: while Cassandra is away no more of them are remembered. */
export const ENDED_MAX = 100_000;
/** Clients that were looked up and whose CONNECT is under way. */
const FOUND_MAX = 100_000;

export class CassandraDirectory implements SessionDirectory {
  readonly #parts: DirectoryParts;
  /** By client identifier, the one that is due first at the front; no client is in both. */
  readonly #live: Map<string, Pending> = new Map();
  readonly #gone: Map<string, Pending> = new Map();
  readonly #underWay: Set<string> = new Set();
  /** By client identifier: the time of a row of another region, which a claim has to be above. */
  readonly #found: Map<string, number> = new Map();
  readonly #lookups: Lookup[] = [];
  readonly #awaited: AwaitedRows = new AwaitedRows();
  /** Somebody has waited in vain, and nothing was written since: nobody waits. */
  #isLate = false;
  #stopTick: (() => void) | null = null;
  #pauseMs = 0;
  #pausedUntilMs = 0;
  #loggedMs = Number.NEGATIVE_INFINITY;
  readonly #flushing: (() => void)[] = [];
  #isFlushing = false;

  constructor(parts: DirectoryParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#stopTick = this.#parts.scheduler.every(TICK_MS, () => this.#tick());
  }

  stop(): void {
    this.#stopTick?.();
    this.#stopTick = null;
    for (const { done } of this.#lookups.splice(0)) done?.(null, false);
    this.#awaited.stop();
  }

  /** Sessions that the table does not have as they are. */
  get waiting(): number {
    return this.#live.size + this.#gone.size + this.#underWay.size;
  }

  /** From now on nothing is put off; `done` when all is written. */
  flush(done: () => void): void {
    this.#isFlushing = true;
    this.#flushing.push(done);
    this.#tick();
  }

  // ------------------------------------------------------------------ SessionDirectory

  get moves(): boolean {
    return this.#parts.moves;
  }

  claimed(session: Session, atUs = 0): void {
    const { clientId, listing, expiryIntervalS } = session;
    if (!roams(clientId)) return;
    const foundUs = this.#found.get(clientId) ?? 0;
    this.#found.delete(clientId);
    const nowUs = atUs > 0 ? atUs : this.#parts.hybridClock.nextUs();
    const timeUs = Math.max(nowUs, foundUs + 1, (listing?.timeUs ?? 0) + 1);
    session.listing = { epoch: timeUs, timeUs, expiryIntervalS };
    this.#put(session);
  }

  released(session: Session): void {
    const { clientId } = session;
    session.listing = null;
    if (this.#live.get(clientId)?.session === session) this.#live.delete(clientId);
  }

  changed(session: Session): void {
    if (!roams(session.clientId)) return;
    this.#put(session);
  }

  awaitListed(session: Session, awaited: Awaited): void {
    const { moves, table, clock, counters, scheduler, inFlightMax } = this.#parts;
    const { clientId, listing } = session;
    if (!moves || this.#live.get(clientId)?.session !== session) return;
    const nowMs = clock.monotonicMs();
    const isBusy = this.#underWay.size >= inFlightMax || nowMs < this.#pausedUntilMs;
    if (listing === null || !table.isUp || isBusy || this.#isLate) {
      counters.late++;
      return;
    }
    // With what else the client has sent by then.
    if (!this.#awaited.has(clientId)) scheduler.nextTurn(() => this.#writeNow(clientId));
    this.#awaited.add(clientId, awaited, nowMs + LISTED_MS);
  }

  /** Somebody waits for it. */
  #writeNow(clientId: string): void {
    const { table, clock, inFlightMax } = this.#parts;
    const pending = this.#live.get(clientId);
    if (pending === undefined || !this.#awaited.has(clientId) || !table.isUp) return;
    if (this.#underWay.has(clientId) || this.#underWay.size >= inFlightMax) return;
    if (clock.monotonicMs() < this.#pausedUntilMs) return;
    this.#live.delete(clientId);
    this.#write(pending.session);
  }

  left(session: Session): void {
    if (!roams(session.clientId)) return;
    // It has no end that began to run.
    const { listing, expiryIntervalS } = session;
    if (expiryIntervalS === NEVER_EXPIRES && listing?.expiryIntervalS === NEVER_EXPIRES) return;
    this.#put(session);
  }

  ended(session: Session): void {
    if (!roams(session.clientId)) return;
    this.#put(session);
  }

  forget(clientId: string, atUs = 0): void {
    const gone = new Session(clientId, 0, null, '');
    gone.ended = true;
    const timeUs = atUs > 0 ? atUs : this.nextEpoch();
    gone.listing = { epoch: timeUs, timeUs, expiryIntervalS: 0 };
    this.#put(gone);
  }

  nextEpoch(): number {
    return this.#parts.hybridClock.nextUs();
  }

  observe(epoch: number): void {
    this.#parts.hybridClock.observe(epoch);
  }

  isListed({ listing }: Session): boolean {
    return listing?.isWritten === true;
  }

  find(clientId: string, done: FindDone): void {
    const { table, clock, counters, scheduler } = this.#parts;
    counters.lookups++;
    if (!table.isUp) {
      counters.unanswered++;
      scheduler.nextTurn(() => done(null, false));
      return;
    }
    const lookup: Lookup = { clientId, untilMs: clock.monotonicMs() + LOOKUP_MS, done };
    this.#lookups.push(lookup);
    table.read(clientId, (error, row) => {
      const { done: waiting } = lookup;
      if (waiting === null) return;
      lookup.done = null;
      if (error !== null) counters.unanswered++;
      const listed = error === null && row !== null ? this.#read(clientId, row) : null;
      // Of this region: what was here has gone, and the row is behind, or it is lost.
      const isBehind = listed?.home === this.#parts.region;
      const found = listed === null || isBehind ? null : this.#resumable(clientId, listed);
      if (found !== null) counters.found++;
      waiting(found, error === null && !isBehind);
    });
  }

  isHome(clientId: string, done: (isHome: boolean) => void): void {
    const { table, region, scheduler } = this.#parts;
    if (!table.isUp) {
      scheduler.nextTurn(() => done(false));
      return;
    }
    table.read(clientId, (error, row) => {
      const listed = error === null && row !== null ? this.#read(clientId, row) : null;
      done(listed?.home === region);
    });
  }

  #resumable(clientId: string, listed: ListedSession): ListedSession | null {
    const { expiryIntervalS, disconnectedAtMs } = listed.record;
    const endsAtMs = disconnectedAtMs + expiryIntervalS * 1000;
    const hasEnd = expiryIntervalS !== NEVER_EXPIRES && disconnectedAtMs !== 0;
    if (hasEnd && endsAtMs <= this.#parts.clock.wallMs()) return null;
    // What is claimed from now on is above it.
    this.#parts.hybridClock.observe(listed.listing.timeUs);
    if (this.#found.size >= FOUND_MAX) this.#found.clear();
    this.#found.set(clientId, listed.listing.timeUs);
    return listed;
  }

  #read(clientId: string, { record, timeUs }: TableRow): ListedSession | null {
    if (record === null) return null;
    try {
      return decodeListed(clientId, record, timeUs);
    } catch (error) {
      if (!(error instanceof RecordDamage)) throw error;
      this.#say(error.message);
      return null;
    }
  }

  // ------------------------------------------------------------------ what is to be written

  #put(session: Session): void {
    const { counters } = this.#parts;
    const { clientId } = session;
    const { here, there } = session.ended
      ? { here: this.#gone, there: this.#live }
      : { here: this.#live, there: this.#gone };
    if (here.has(clientId) || there.has(clientId)) counters.coalesced++;
    there.delete(clientId);
    if (session.ended && here.size >= ENDED_MAX && !here.has(clientId)) {
      counters.dropped++;
      return;
    }
    const dueMs = here.get(clientId)?.dueMs ?? this.#parts.clock.monotonicMs() + DELAY_MS;
    // One that waits keeps its place.
    here.set(clientId, { session, dueMs });
  }

  #tick(): void {
    const nowMs = this.#parts.clock.monotonicMs();
    this.#endLookups(nowMs);
    const late = this.#awaited.expire(nowMs);
    this.#parts.counters.late += late;
    if (late > 0) this.#isLate = true;
    this.#pump(this.#gone, nowMs);
    this.#pump(this.#live, nowMs);
    if (this.waiting > 0) return;
    for (const done of this.#flushing.splice(0)) done();
  }

  #endLookups(nowMs: number): void {
    while (this.#lookups.length > 0) {
      const first = this.#lookups[0]!;
      const { done } = first;
      if (done !== null && first.untilMs > nowMs) return;
      this.#lookups.shift();
      if (done === null) continue;
      first.done = null;
      this.#parts.counters.unanswered++;
      done(null, false);
    }
  }

  #pump(pending: Map<string, Pending>, nowMs: number): void {
    const { table, inFlightMax } = this.#parts;
    for (const [clientId, { session, dueMs }] of pending) {
      if (!table.isUp || nowMs < this.#pausedUntilMs) return;
      if (this.#underWay.size >= inFlightMax) return;
      if (dueMs > nowMs && !this.#isFlushing) return;
      // The answer to what was written before comes first.
      if (this.#underWay.has(clientId)) continue;
      pending.delete(clientId);
      this.#write(session);
    }
  }

  #write(session: Session): void {
    const { region, table, clock, counters } = this.#parts;
    const { clientId, listing, expiryIntervalS } = session;
    // Whoever has it has claimed it.
    if (listing === null && isOwned(session)) return;
    this.#underWay.add(clientId);
    if (listing === null) {
      table.read(clientId, (error, row) => this.#recalled(session, error, row));
      return;
    }
    counters.writes++;
    const waits = this.#awaited.begun(clientId);
    const written = (error: TableError | null): void => {
      for (const wait of waits) settle(wait);
      // What cannot be written is waited for by nobody.
      if (error === null || error.isFinal === true) listing.isWritten = true;
      const isReleased = session.listing !== listing;
      this.#written(session, error, isReleased);
    };
    if (session.ended) {
      // Only what is not newer than this home's own last write.
      table.remove(clientId, listing.timeUs, written);
      return;
    }
    listing.timeUs++;
    listing.expiryIntervalS = expiryIntervalS;
    const record = session.record();
    const endsAtMs = record.disconnectedAtMs + expiryIntervalS * 1000;
    const hasEnd = record.disconnectedAtMs !== 0 && expiryIntervalS !== NEVER_EXPIRES;
    const leftS = Math.max(1, Math.ceil((endsAtMs - clock.wallMs()) / 1000));
    const ttlS = hasEnd && leftS <= TTL_S_MAX ? leftS : 0;
    table.write(
      clientId,
      encodeListed(region, listing.epoch, record),
      listing.timeUs,
      ttlS,
      written,
    );
  }

  /** Of a session from before the start: goes on from what was written last, unless another region has since. */
  #recalled(session: Session, error: TableError | null, row: TableRow | null): void {
    const { clientId } = session;
    if (error !== null) {
      this.#written(session, error);
      return;
    }
    this.#underWay.delete(clientId);
    const listed = row === null ? null : this.#read(clientId, row);
    if (isOwned(session)) return;
    if (listed?.home === this.#parts.region) {
      session.listing ??= { ...listed.listing, isWritten: true };
    } else if (session.ended || session.ownership !== null) {
      return;
    } else {
      // Its last CONNECT had not been written; never listed at all: whoever claims it is above that.
      const timeUs = session.roam?.epoch ?? NEVER_LISTED_US;
      if ((row?.timeUs ?? 0) >= timeUs || session.roam?.leaving) return;
      session.listing ??= { epoch: timeUs, timeUs, expiryIntervalS: session.expiryIntervalS };
    }
    this.#put(session);
  }

  /** `isReleased`: another node has it by now, or a later claim is under way. */
  #written(session: Session, error: TableError | null, isReleased = false): void {
    const { clock, counters } = this.#parts;
    const { clientId } = session;
    this.#underWay.delete(clientId);
    if (error === null) {
      this.#pauseMs = 0;
      this.#isLate = false;
      if (this.#awaited.has(clientId)) this.#writeNow(clientId);
      return;
    }
    counters.failures++;
    this.#say(error.message);
    if (error.isFinal === true) {
      counters.rejected++;
      return;
    }
    this.#pauseMs = Math.min(PAUSE_MS_MAX, Math.max(PAUSE_MS_MIN, this.#pauseMs * 2));
    this.#pausedUntilMs = clock.monotonicMs() + this.#pauseMs;
    if (isReleased) return;
    // What has changed meanwhile waits already, or is another session of that client.
    if (!this.#live.has(clientId) && !this.#gone.has(clientId)) this.#put(session);
  }

  #say(problem: string): void {
    const { clock, log } = this.#parts;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#loggedMs < LOG_EVERY_MS) return;
    this.#loggedMs = nowMs;
    log.warn({ problem, waiting: this.waiting }, 'directory of sessions');
  }
}

/** By a node of the datacenter, which writes what it is like. */
function isOwned({ ownership }: Session): boolean {
  return ownership !== null && ownership.owner !== null;
}
