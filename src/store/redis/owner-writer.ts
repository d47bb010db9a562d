/**
 * Fenced writes of sessions this node owns: what a loop turn brings for a session goes out together, and
 * a ticket is settled when Redis has answered for it. A refusal by the fence ends the session here. Used
 * by redis-store.ts; it knows no queue but by its positions.
 */
import type { SharedEvents } from '../../core/cluster-ports.ts';
import type { Log, Scheduler } from '../../core/ports.ts';
import type { RedisFunction } from '../../drivers/redis/redis-port.ts';
import { type FencedAnswer, fencedAnswer, type RedisCall } from './functions/reply.ts';
import { removeCall, sessionRemove } from './functions/session-end.ts';
import { InboundCall, sessionInbound } from './functions/session-inbound.ts';
import { sessionSettle, settleCall } from './functions/session-queue.ts';
import { saveCall, sessionSave } from './functions/session-record.ts';
import type { Flight, InboundChange, OwnerLane } from './owner-lane.ts';
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
  #flights = 0;
  /** With nothing to write but what is settled, which nobody waits for. */
  #lazy: OwnerLane[] = [];

  constructor(options: OwnerWriterOptions) {
    this.#options = options;
  }

  get isIdle(): boolean {
    return this.#flights === 0 && this.#dirty.length === 0 && this.#lazy.length === 0;
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

  /** Calls back, now or later, when all that is known now is written or void. */
  whenIdle(lane: OwnerLane, then: () => void): void {
    if (lane.isIdle) {
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
    this.#held.delete(lane);
    this.#idle(lane);
  }

  flush(): void {
    this.#isScheduled = false;
    const lanes = this.#dirty;
    this.#dirty = [];
    for (const lane of lanes) {
      lane.isDirty = false;
      if (lane.isOver || lane.isHeld || lane.flight !== null) continue;
      if (!lane.hasNews) this.#idle(lane);
      else if (this.#options.calls.isUp) this.#fly(lane);
      else this.#hold(lane, 0);
    }
  }

  #fly(lane: OwnerLane): void {
    const { keys, sid, epoch } = lane;
    const flight = lane.take();
    this.#flights++;
    // Held by itself until all its calls are made.
    flight.callsLeft = 1;
    const { record, inbound, settled } = flight;
    if (flight.isRemoval) {
      this.#call(lane, flight, sessionRemove, removeCall(keys, sid, epoch), () => {});
    }
    if (record !== null) {
      const { expiryIntervalS, counter } = record;
      const rec = encodeSubscriptions(record.subscriptions);
      const call = saveCall(keys, sid, epoch, expiryIntervalS, counter, rec);
      this.#call(lane, flight, sessionSave, call, () => {
        flight.record = null;
      });
    }
    for (let from = 0; from < inbound.length; from += CHANGES_PER_CALL) {
      const call = new InboundCall(keys, sid, epoch);
      for (const change of inbound.slice(from, from + CHANGES_PER_CALL)) addChange(call, change);
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
    this.#flights--;
    lane.flight = null;
    const { counters, tickets } = this.#options;
    if (flight.outcome === 'done') {
      lane.absentSinceMs = 0;
      lane.refusals = 0;
      counters.settleConfirmed += flight.settledCount;
      if (flight.settled !== null) lane.positions.confirm(flight.settled);
      for (const ticket of flight.tickets) tickets.settle(ticket, null);
      if (flight.isRemoval) {
        lane.isRemoved = true;
        this.end(lane, null);
      } else if (lane.hasNews) {
        this.touch(lane);
      } else {
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
    if (!calls.isUp) return;
    calls.after(delayMs, () => {
      if (calls.isUp) this.#letGo(lane);
    });
  }

  #letGo(lane: OwnerLane): void {
    if (!this.#held.delete(lane)) return;
    lane.isHeld = false;
    this.touch(lane);
  }

  #idle(lane: OwnerLane): void {
    // Nothing has to be written for what a read has found to be gone from the queue.
    this.#options.counters.settleConfirmed += lane.settledCount;
    lane.settledCount = 0;
    const waiting = lane.onIdle;
    lane.onIdle = [];
    for (const then of waiting) then();
  }
}

const SEVERITY = ['done', 'again', 'refused', 'gone', 'fenced'] as const;

function worsen(flight: Flight, outcome: Flight['outcome']): void {
  if (SEVERITY.indexOf(outcome) > SEVERITY.indexOf(flight.outcome)) flight.outcome = outcome;
}

function addChange(call: InboundCall, change: InboundChange): void {
  const { packetId } = change;
  if (change.op === 'pending') call.pending(packetId, change.publisherSeq, change.value);
  else if (change.op === 'add') call.add(packetId);
  else if (change.op === 'remove') call.remove(packetId);
  else call.done(packetId);
}
