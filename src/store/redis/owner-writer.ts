/**
 * Fenced writes of sessions this node owns: what a loop turn brings for a session goes out together, and
 * a ticket is settled when Redis has answered for it. A refusal by the fence ends the session here. Used
 * by redis-store.ts; it knows no queue but by its positions.
 */
import type { SharedEvents } from '../../core/cluster-ports.ts';
import type { Log, Scheduler } from '../../core/ports.ts';
import type { RedisFunction } from '../../drivers/redis/redis-port.ts';
import type { AppendJournal } from '../journal/journal-ports.ts';
import { JOURNAL_AFTER_MS, JOURNAL_LOOK_MS } from './append-writer.ts';
import { type FencedAnswer, fencedAnswer, type RedisCall } from './functions/reply.ts';
import { removeCall, sessionRemove } from './functions/session-end.ts';
import { InboundCall, sessionInbound } from './functions/session-inbound.ts';
import { sessionSettle, settleCall } from './functions/session-queue.ts';
import { saveCall, sessionSave } from './functions/session-record.ts';
import { inboundRecord } from './inbound-change.ts';
import type { InboundRecall } from './inbound-recall.ts';
import type { Flight, OwnerLane } from './owner-lane.ts';
import { passes, type RedisCalls } from './redis-calls.ts';
import type { SettleNews } from './settled-positions.ts';
import type { StoreCounters } from './store-counters.ts';
import { encodeSubscriptions } from './subscriptions-codec.ts';
import type { TicketLine } from './ticket-line.ts';

export interface OwnerWriterOptions {
  readonly calls: RedisCalls;
  readonly scheduler: Scheduler;
  readonly log: Log;
  readonly counters: StoreCounters;
  readonly tickets: TicketLine;
  /** A session Redis does not know is waited for, as Redis may have been emptied (ADR 0010). */
  readonly absentMsMax: number;
  /** Null: there is none, and what waits for Redis waits. */
  readonly journal: AppendJournal | null;
  /** Writes what the journal has. */
  readonly recall: InboundRecall;
}

/** Changes of one session in one call. */
const CHANGES_PER_CALL = 512;
/** Settled positions are written at once when there are so many of a session, else after so long. */
const SETTLED_PER_CALL = 64;
const SETTLE_MS = 20;
/** Redis will not run it: after so many tries it is given up. */
const REFUSALS_MAX = 5;
const HELD_RETRY_MS = 100;
const ABSENT_RETRY_MS = 200;

export class OwnerWriter {
  events: SharedEvents | null = null;
  readonly #options: OwnerWriterOptions;
  #dirty: OwnerLane[] = [];
  readonly #held: Set<OwnerLane> = new Set();
  #isScheduled = false;
  readonly #flying: Set<OwnerLane> = new Set();
  #stopLooking: (() => void) | null = null;
  /** With nothing to write but what is settled, which nobody waits for. */
  #lazy: OwnerLane[] = [];

  constructor(options: OwnerWriterOptions) {
    this.#options = options;
  }

  get isIdle(): boolean {
    return this.#flying.size === 0 && this.#dirty.length === 0 && this.#lazy.length === 0;
  }

  /** A position was settled: many cost Redis hardly more than one, so they wait a moment for each other. */
  settled(lane: OwnerLane): void {
    if (lane.settledCount >= SETTLED_PER_CALL) {
      this.touch(lane);
      return;
    }
    if (lane.isLazy || lane.isDirty) return;
    lane.isLazy = true;
    this.#lazy.push(lane);
    if (this.#lazy.length === 1) this.#options.calls.after(SETTLE_MS, () => this.#hurry());
  }

  #hurry(): void {
    const lanes = this.#lazy;
    this.#lazy = [];
    for (const lane of lanes) {
      lane.isLazy = false;
      this.touch(lane);
    }
  }

  /** There is something to write for the session. */
  touch(lane: OwnerLane): void {
    if (lane.isDirty || lane.isOver) return;
    lane.isDirty = true;
    this.#dirty.push(lane);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#options.scheduler.endOfTurn(() => this.flush());
  }

  /** Redis is there again. */
  up(): void {
    for (const lane of [...this.#held]) this.#letGo(lane);
  }

  /** The core does not have it any more; what is left is written all the same. */
  unbind(lane: OwnerLane): void {
    lane.isBound = false;
    if (lane.isHeld && this.#options.calls.isUp) this.#letGo(lane);
  }

  /**
   * Calls back, now or later, when all that is known now is written or void; or when Redis has lost the
   * session: it is written again as it is, perhaps behind this.
   */
  whenIdle(lane: OwnerLane, then: () => void): void {
    // What is behind the journal may wait for a session that Redis has lost, as well.
    if (lane.isIdle || lane.absentSinceMs > 0 || lane.isBehindJournal) {
      then();
      return;
    }
    lane.onIdle.push(then);
    this.touch(lane);
  }

  /** Nothing more is written for it; those who wait for tickets are told. */
  end(lane: OwnerLane, error: Error | null): void {
    if (lane.isOver) return;
    lane.isOver = true;
    const { tickets } = lane;
    lane.tickets = [];
    for (const ticket of tickets) this.#options.tickets.settle(ticket, error);
    const { inbound } = lane;
    lane.inbound = [];
    for (const change of inbound) change.tell(error !== null);
    this.#held.delete(lane);
    this.#idle(lane);
  }

  flush(): void {
    this.#isScheduled = false;
    const lanes = this.#dirty;
    this.#dirty = [];
    for (const lane of lanes) {
      lane.isDirty = false;
      if (lane.isOver) continue;
      if (lane.inbound.length > 0) this.#keepOrder(lane);
      if (lane.isHeld || lane.flight !== null) continue;
      if (lane.isIdle) this.#idle(lane);
      else if (!lane.hasNews) continue;
      else if (this.#options.calls.isUp) this.#fly(lane);
      else this.#hold(lane, 0);
    }
  }

  #fly(lane: OwnerLane): void {
    const { keys, sid, epoch } = lane;
    const flight = lane.take();
    this.#flying.add(lane);
    if (lane.stuckSinceMs === 0) lane.stuckSinceMs = this.#options.calls.nowMs;
    if (flight.inbound.length > 0) this.#lookAtJournal();
    // Held by itself until all its calls are made.
    flight.callsLeft = 1;
    const { record, inbound, settled } = flight;
    if (flight.isRemoval) {
      this.#call(lane, flight, sessionRemove, removeCall(keys, sid, epoch), () => {});
    }
    if (record !== null) {
      const { expiryIntervalS, counter } = record;
      const rec = encodeSubscriptions(record.subscriptions, record.turns);
      const call = saveCall(keys, sid, epoch, expiryIntervalS, counter, rec);
      this.#call(lane, flight, sessionSave, call, () => {
        flight.record = null;
      });
    }
    const changes = flight.isRemoval ? [] : inbound;
    for (let from = 0; from < changes.length; from += CHANGES_PER_CALL) {
      const call = new InboundCall(keys, sid, epoch);
      for (const change of changes.slice(from, from + CHANGES_PER_CALL)) call.change(change);
      this.#call(lane, flight, sessionInbound, call, () => {});
    }
    if (settled !== null) this.#settle(lane, flight, settled);
    this.#landed(lane, flight);
  }

  #settle(lane: OwnerLane, flight: Flight, { upTo, marks, released }: SettleNews): void {
    let from = 0;
    do {
      const to = from + CHANGES_PER_CALL;
      const { keys, sid, epoch } = lane;
      const call = settleCall(
        keys,
        sid,
        epoch,
        upTo,
        released.slice(from, to),
        marks.slice(from, to),
      );
      this.#options.counters.settleCalls++;
      this.#call(lane, flight, sessionSettle, call, () => {});
      from = to;
    } while (from < marks.length || from < released.length);
  }

  #call(
    lane: OwnerLane,
    flight: Flight,
    fn: RedisFunction,
    call: RedisCall,
    done: () => void,
  ): void {
    flight.callsLeft++;
    const decode = (reply: Parameters<typeof fencedAnswer>[1]): FencedAnswer =>
      fencedAnswer(fn.name, reply);
    this.#options.calls.call(fn, call, decode, (failure, answer) => {
      if (failure !== null) {
        worsen(flight, passes(failure) ? 'again' : 'refused');
      } else if (answer === 'done' || (flight.isRemoval && answer === 'gone')) {
        done();
      } else {
        worsen(flight, answer as 'fenced' | 'gone');
      }
      this.#landed(lane, flight);
    });
  }

  #landed(lane: OwnerLane, flight: Flight): void {
    flight.callsLeft--;
    if (flight.callsLeft > 0) return;
    this.#flying.delete(lane);
    lane.flight = null;
    const { counters, tickets } = this.#options;
    if (flight.outcome === 'done') {
      lane.absentSinceMs = 0;
      lane.refusals = 0;
      lane.stuckSinceMs = 0;
      counters.settleConfirmed += flight.settledCount;
      if (flight.settled !== null) lane.positions.confirm(flight.settled);
      for (const ticket of flight.tickets) tickets.settle(ticket, null);
      for (const change of flight.inbound) change.tell(false);
      if (flight.isRemoval) {
        lane.isRemoved = true;
        this.end(lane, null);
      } else if (lane.hasNews) {
        this.touch(lane);
      } else if (lane.isIdle) {
        this.#idle(lane);
      }
      return;
    }
    lane.undo(flight);
    if (lane.isOver) {
      // Ended while it was under way.
      lane.isOver = false;
      this.end(lane, new Error('the session is over'));
    } else if (flight.outcome === 'again') {
      counters.retries++;
      this.#hold(lane, HELD_RETRY_MS);
    } else if (flight.outcome === 'refused' && ++lane.refusals < REFUSALS_MAX) {
      counters.retries++;
      this.#hold(lane, HELD_RETRY_MS);
    } else if (flight.outcome === 'refused') {
      this.end(lane, new Error('Redis will not run a function'));
    } else if (flight.outcome === 'gone' && this.#isAwaited(lane)) {
      this.#hold(lane, ABSENT_RETRY_MS);
      this.#goOn(lane);
    } else {
      this.#fenced(lane);
    }
  }

  /** Somebody asserts the session again soon, if Redis was emptied. */
  #isAwaited(lane: OwnerLane): boolean {
    const { nowMs } = this.#options.calls;
    if (lane.absentSinceMs === 0) lane.absentSinceMs = nowMs;
    return lane.isBound && nowMs - lane.absentSinceMs < this.#options.absentMsMax;
  }

  #fenced(lane: OwnerLane): void {
    this.end(lane, new Error('another node has the session'));
    this.#options.counters.fenced++;
    this.#options.log.debug({ clientId: lane.clientId }, 'a session is no longer ours');
    if (lane.isBound) this.events!.fenced(lane.sessionNumber);
  }

  #hold(lane: OwnerLane, delayMs: number): void {
    lane.isHeld = true;
    this.#held.add(lane);
    const { calls } = this.#options;
    if (lane.stuckSinceMs === 0) lane.stuckSinceMs = calls.nowMs;
    if (lane.inbound.length > 0) this.#lookAtJournal();
    if (!calls.isUp) {
      this.#journal(lane);
      return;
    }
    calls.after(delayMs, () => {
      if (calls.isUp) this.#letGo(lane);
    });
  }

  #letGo(lane: OwnerLane): void {
    if (!this.#held.delete(lane)) return;
    lane.isHeld = false;
    this.touch(lane);
  }

  // ------------------------------------------------------------------ the journal

  stop(): void {
    this.#stopLooking?.();
    this.#stopLooking = null;
  }

  /** What the journal has of the client is written first. */
  #keepOrder(lane: OwnerLane): void {
    const { calls, recall } = this.#options;
    if (recall.isBusy(lane.clientId)) this.#goBehind(lane);
    if (lane.isBehindJournal || (lane.isHeld && !calls.isUp)) this.#journal(lane);
    if (lane.isHeld || lane.flight !== null) this.#lookAtJournal();
  }

  /** Looks for what waits for too long, as long as something waits. */
  #lookAtJournal(): void {
    const { journal, scheduler, calls } = this.#options;
    if (journal === null || this.#stopLooking !== null) return;
    const stop = scheduler.every(JOURNAL_LOOK_MS, () => {
      if (this.#flying.size === 0 && this.#held.size === 0) {
        this.#stopLooking = null;
        stop();
        return;
      }
      const { isUp, nowMs } = calls;
      const look = (lane: OwnerLane): void => {
        if (!isUp || nowMs - lane.stuckSinceMs >= JOURNAL_AFTER_MS) this.#journal(lane);
      };
      for (const lane of this.#flying) look(lane);
      for (const lane of this.#held) look(lane);
    });
    this.#stopLooking = stop;
  }

  /** All changes to inbound ids, in their order, as far as there is room; nothing else goes there. */
  #journal(lane: OwnerLane): void {
    const { journal, recall } = this.#options;
    if (journal === null || lane.isRemoving || lane.flight?.isRemoval === true) return;
    const { clientId, sid, epoch } = lane;
    const underWay = lane.flight?.inbound.filter(({ isJournaled }) => !isJournaled) ?? [];
    const events = this.events!;
    for (const change of [...underWay, ...lane.inbound]) {
      if (!journal.hasRoom) break;
      let isOwed = true;
      const written = (): void => {
        if (isOwed) events.inboundWritten(clientId);
        isOwed = false;
      };
      const entry = journal.keep(
        inboundRecord(clientId, sid, epoch, change),
        () => change.tell(false),
        written,
      );
      if (entry === null) break;
      change.isJournaled = true;
      events.inboundKept(clientId);
      const answered = (): void => {
        journal.answered(entry);
        change.tell(false);
        written();
      };
      recall.add({ clientId, sid, epoch, change, answered });
    }
    lane.inbound = lane.inbound.filter(({ isJournaled }) => !isJournaled);
    if (recall.isBusy(clientId)) this.#goBehind(lane);
  }

  #goBehind(lane: OwnerLane): void {
    if (lane.isBehindJournal) return;
    lane.isBehindJournal = true;
    this.#options.recall.whenIdle(lane.clientId, () => {
      lane.isBehindJournal = false;
      // Also one that is over: somebody may wait for all of it to be written.
      if (lane.isOver) this.#idle(lane);
      else this.touch(lane);
    });
  }

  #idle(lane: OwnerLane): void {
    // Nothing has to be written for what a read has found to be gone from the queue.
    this.#options.counters.settleConfirmed += lane.settledCount;
    lane.settledCount = 0;
    this.#goOn(lane);
  }

  #goOn(lane: OwnerLane): void {
    const waiting = lane.onIdle;
    lane.onIdle = [];
    for (const then of waiting) then();
  }
}

const SEVERITY = ['done', 'again', 'refused', 'gone', 'fenced'] as const;

function worsen(flight: Flight, outcome: Flight['outcome']): void {
  if (SEVERITY.indexOf(outcome) > SEVERITY.indexOf(flight.outcome)) flight.outcome = outcome;
}
