/**
 * What the owner of one session has to write about it: record, inbound QoS 2 ids, what is settled; fenced
 * by its epoch. One flight of calls at a time: what comes meanwhile goes together, and what was lost is
 * repeated before anything newer. State only; owner-writer.ts sends it.
 */
import type { SubscriptionRecord, Ticket } from '../../core/ports.ts';
import type { Turn } from '../../core/roaming-record.ts';
import type { InboundChange } from './inbound-change.ts';
import type { SessionKeys } from './keys.ts';
import { SettledPositions, type SettleNews } from './settled-positions.ts';

export interface SavedRecord {
  readonly expiryIntervalS: number;
  readonly counter: number;
  readonly subscriptions: readonly SubscriptionRecord[];
  readonly turns: readonly Turn[];
}

/** What one flight of calls writes. */
export interface Flight {
  readonly isRemoval: boolean;
  record: SavedRecord | null;
  inbound: readonly InboundChange[];
  settled: SettleNews | null;
  readonly tickets: readonly Ticket[];
  /** Positions settled with it, for the count. */
  readonly settledCount: number;
  callsLeft: number;
  /** The worst that became of one of its calls. */
  outcome: 'done' | 'again' | 'gone' | 'fenced' | 'refused';
}

export class OwnerLane {
  readonly sessionNumber: number;
  readonly clientId: string;
  readonly sid: string;
  readonly epoch: number;
  readonly keys: SessionKeys;
  readonly positions: SettledPositions = new SettledPositions();
  record: SavedRecord | null = null;
  inbound: InboundChange[] = [];
  /** Number of the next change to inbound ids. */
  nextChange = 1;
  /** Changes before those are in the journal, and not in Redis yet. */
  isBehindJournal = false;
  isRemoving = false;
  tickets: Ticket[] = [];
  settledCount = 0;
  flight: Flight | null = null;
  /** The core has the session under this epoch; false: nobody is told any more. */
  isBound = true;
  isDirty = false;
  /** It is written within a moment, as nobody waits for it. */
  isLazy = false;
  isHeld = false;
  /** Another node has it, or it was removed: nothing is written any more. */
  isOver = false;
  isRemoved = false;
  /** Redis had no such session, since then; 0: it has. */
  absentSinceMs = 0;
  /** Redis has answered nothing of what waits, since then (monotonic ms); 0: nothing waits for long. */
  stuckSinceMs = 0;
  refusals = 0;
  /** Called once when nothing is left to be written. */
  onIdle: (() => void)[] = [];

  constructor(
    sessionNumber: number,
    clientId: string,
    sid: string,
    epoch: number,
    keys: SessionKeys,
  ) {
    this.sessionNumber = sessionNumber;
    this.clientId = clientId;
    this.sid = sid;
    this.epoch = epoch;
    this.keys = keys;
  }

  get hasNews(): boolean {
    return (
      this.record !== null ||
      (this.inbound.length > 0 && !this.isBehindJournal) ||
      this.isRemoving ||
      this.tickets.length > 0 ||
      this.positions.hasNews
    );
  }

  get isIdle(): boolean {
    if (this.flight !== null || this.isBehindJournal) return false;
    return this.isOver || !this.hasNews;
  }

  /** Takes all that is to be written. */
  take(): Flight {
    const { isRemoving, positions } = this;
    const inbound = this.isBehindJournal ? [] : this.inbound;
    const flight: Flight = {
      isRemoval: isRemoving,
      record: isRemoving ? null : this.record,
      inbound,
      settled: isRemoving || !positions.hasNews ? null : positions.take(),
      tickets: this.tickets,
      settledCount: this.settledCount,
      callsLeft: 0,
      outcome: 'done',
    };
    this.settledCount = 0;
    this.record = null;
    if (!this.isBehindJournal) this.inbound = [];
    this.isRemoving = false;
    this.tickets = [];
    this.flight = flight;
    return flight;
  }

  /** Puts back what was not done, or may not have been. */
  undo(flight: Flight): void {
    this.record ??= flight.record;
    const inbound = flight.inbound.filter(({ isJournaled }) => !isJournaled);
    if (inbound.length > 0) this.inbound = [...inbound, ...this.inbound];
    if (flight.settled !== null) this.positions.undo(flight.settled);
    if (flight.isRemoval) this.isRemoving = true;
    this.tickets = [...flight.tickets, ...this.tickets];
    this.settledCount += flight.settledCount;
  }
}
