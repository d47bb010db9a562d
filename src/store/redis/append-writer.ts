/**
 * Appends to the queues of sessions, wherever their clients are: what a loop turn brings goes into one
 * `session_append` per shard and 64 sessions. What Redis did not do, or did not say, is sent again before
 * anything newer of the same session; the queue drops what it had (hard case 7). What waits for longer than
 * a moment goes to the journal besides, and stays in its lane (docs/adr/0017). Used by redis-store.ts.
 */
import type { Incarnation, SharedEvents } from '../../core/cluster-ports.ts';
import { isRoamTopic } from '../../core/link-names.ts';
import type { Scheduler } from '../../core/ports.ts';
import type { QueueBudget } from '../../core/queue-budget.ts';
import type { SharedAppend } from '../../core/shared-append.ts';
import type { RedisFailure } from '../../drivers/redis/redis-port.ts';
import type { AppendJournal } from '../journal/journal-ports.ts';
import type { AppendLane, WaitingAppend } from './append-lane.ts';
import { encodeEntry } from './entry-codec.ts';
import {
  AppendCall,
  type AppendReply,
  appendReply,
  positionOf,
  sessionAppend,
} from './functions/session-queue.ts';
import { RecentAppends } from './recent-appends.ts';
import { passes, type RedisCalls } from './redis-calls.ts';
import type { StoreCounters } from './store-counters.ts';

export interface AppendLimits {
  /** Bounds of each queue. */
  readonly queueMessagesMax: number;
  readonly queueBytesMax: number;
  readonly overflow: 'oldest' | 'newest';
  /** Bounds of what waits here for Redis. */
  readonly waitingMessagesMax: number;
  readonly waitingBytesMax: number;
  /** Appends of the last so many ms are written again to a server that took over; 0: none. */
  readonly rewriteMs: number;
  readonly rewriteBytesMax: number;
  /** A session Redis does not know is waited for, as Redis may have been emptied (ADR 0010). */
  readonly absentMsMax: number;
}

export interface AppendWriterOptions {
  readonly calls: RedisCalls;
  readonly scheduler: Scheduler;
  readonly wallMs: () => number;
  readonly incarnation: () => Incarnation;
  readonly limits: AppendLimits;
  readonly counters: StoreCounters;
  /** Of what the queue of this client may have, the oldest going first; absent or null: as `limits` say. */
  readonly budgetOf?: ((clientId: string) => QueueBudget | null) | undefined;
  /** Null: there is none, and what waits for Redis waits. */
  readonly journal: AppendJournal | null;
}

/** A budget is of bytes. */
const BUDGET_MESSAGES_MAX = 1_000_000_000;
const SESSIONS_PER_CALL = 64;
const VALUES_PER_CALL = 2048;
const BYTES_PER_CALL = 1024 * 1024;
/** Of one session in one call. */
const VALUES_PER_SESSION = 1024;
/** Redis will not run it: after so many tries its messages are given up. */
const REFUSALS_MAX = 5;
const ABSENT_RETRY_MS = 200;
const HELD_RETRY_MS = 100;
/** What was acknowledged, or noted under its name, is never given up: it is tried again so often. */
const ACKED_RETRY_MS = 1000;
/** An append that Redis has not answered for so long goes to the journal; at once when Redis is away. */
export const JOURNAL_AFTER_MS = 250;
export const JOURNAL_LOOK_MS = 50;

/** Neighbouring appends of one writer to one session: one slice of a call. */
interface Slice {
  readonly lane: AppendLane;
  readonly appends: readonly WaitingAppend[];
}

interface OpenCall {
  readonly call: AppendCall;
  readonly slices: Slice[];
  readonly lanes: AppendLane[];
  values: number;
  bytes: number;
}

type Told =
  | { readonly kind: 'queued'; readonly slice: Slice; readonly reply: AppendReply }
  | {
      readonly kind: 'failed';
      readonly lane: AppendLane;
      readonly appends: readonly WaitingAppend[];
      readonly why: 'gone' | 'failed';
    };

export class AppendWriter {
  events: SharedEvents | null = null;
  /** The tail of a queue reaches to this position, whatever is there; set before traffic. */
  onTail: ((owner: Incarnation, lane: AppendLane, tailSeq: number) => void) | null = null;
  waitingMessages = 0;
  waitingBytes = 0;
  readonly #options: AppendWriterOptions;
  readonly #recent: RecentAppends;
  #dirty: AppendLane[] = [];
  readonly #held: Set<AppendLane> = new Set();
  #isScheduled = false;
  #nextSeq = 1;
  readonly #underWay: Set<OpenCall> = new Set();
  #stopLooking: (() => void) | null = null;
  #refused: { readonly lane: AppendLane; readonly append: SharedAppend }[] = [];
  /** A fan-out gives the same message to many sessions, one after the other. */
  #lastAppend: SharedAppend | null = null;
  #lastValue: Buffer | null = null;

  constructor(options: AppendWriterOptions) {
    this.#options = options;
    this.#recent = new RecentAppends(options.limits.rewriteMs, options.limits.rewriteBytesMax);
  }

  get isFull(): boolean {
    const { waitingMessagesMax, waitingBytesMax } = this.#options.limits;
    return this.waitingMessages >= waitingMessagesMax || this.waitingBytes >= waitingBytesMax;
  }

  /** Nothing waits but what cannot be sent now. */
  get isIdle(): boolean {
    return this.#underWay.size === 0 && this.#dirty.length === 0;
  }

  enqueue(lane: AppendLane, append: SharedAppend): void {
    // A word about a session that moves counts here already (docs/adr/0023): it is one for each move.
    if (this.isFull && !append.isNoted && !isRoamTopic(append.message.topic)) {
      this.#refuse(lane, append);
      return;
    }
    const { publisherSid, publisherSeq } = append.identity;
    const isOwn = publisherSid === null;
    const isDated = this.#options.budgetOf?.(lane.clientId)?.isDated === true;
    const value = isDated ? this.#encodeDated(append) : this.#encode(append);
    this.waitingMessages++;
    this.waitingBytes += value.length;
    lane.push({
      append,
      writer: publisherSid ?? this.#options.incarnation(),
      seq: isOwn ? this.#nextSeq++ : publisherSeq,
      value,
      entry: null,
      answered: null,
    });
    this.touch(lane);
  }

  /** From a journal: under the name and the number it had. `answered`: it needs not be kept any more. */
  replay(lane: AppendLane, writer: string, seq: number, value: Buffer, answered: () => void): void {
    lane.push({ append: null, writer, seq, value, entry: null, answered });
    this.touch(lane);
  }

  /** Something may be sent for the session. */
  touch(lane: AppendLane): void {
    if (lane.isDirty) return;
    lane.isDirty = true;
    this.#dirty.push(lane);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#options.scheduler.endOfTurn(() => this.flush());
  }

  /** The node does not know the session by this sid any more. */
  unbind(lane: AppendLane): void {
    lane.isBound = false;
    if (lane.isHeld && this.#options.calls.isUp) this.#letGo(lane);
  }

  /** Redis is there again. */
  up(isOtherServer: boolean): void {
    if (isOtherServer) this.#rewrite();
    for (const lane of [...this.#held]) this.#letGo(lane);
  }

  stop(): void {
    this.#stopLooking?.();
    this.#stopLooking = null;
  }

  flush(): void {
    this.#isScheduled = false;
    const lanes = this.#dirty;
    this.#dirty = [];
    const open = new Map<number, OpenCall>();
    for (const lane of lanes) {
      lane.isDirty = false;
      if (!lane.isSendable) {
        // Its turn has not come, and those before it are in the journal.
        if (lane.journaled > 0) this.#journal(lane);
        continue;
      }
      if (!this.#options.calls.isUp) {
        this.#hold(lane, 0);
        continue;
      }
      const budget = this.#options.budgetOf?.(lane.clientId) ?? null;
      if (budget !== null) {
        // Bounds are of a whole call.
        const bytesMax = Math.min(budget.budgetBytes, Number.MAX_SAFE_INTEGER);
        const own = this.#begin(new AppendCall(BUDGET_MESSAGES_MAX, bytesMax, 'oldest'));
        this.#fill(own, lane);
        this.#send(own);
        continue;
      }
      let call = open.get(lane.shard);
      if (call === undefined) {
        call = this.#begin(this.#boundedCall());
        open.set(lane.shard, call);
      }
      this.#fill(call, lane);
      const isFull = call.slices.length >= SESSIONS_PER_CALL || call.values >= VALUES_PER_CALL;
      if (isFull || call.bytes >= BYTES_PER_CALL) {
        this.#send(call);
        open.delete(lane.shard);
      }
    }
    for (const call of open.values()) this.#send(call);
  }

  #boundedCall(): AppendCall {
    const { queueMessagesMax, queueBytesMax, overflow } = this.#options.limits;
    return new AppendCall(queueMessagesMax, queueBytesMax, overflow);
  }

  #begin(call: AppendCall): OpenCall {
    return { call, slices: [], lanes: [], values: 0, bytes: 0 };
  }

  #fill(open: OpenCall, lane: AppendLane): void {
    const appends = lane.take(VALUES_PER_SESSION, BYTES_PER_CALL);
    if (lane.stuckSinceMs === 0) lane.stuckSinceMs = this.#options.calls.nowMs;
    open.lanes.push(lane);
    let from = 0;
    for (let at = 1; at <= appends.length; at++) {
      const first = appends[from]!;
      // What is replayed while it waits here from before would be stored twice: the queue knows what it
      // had by sequences that rise.
      const goesOn = at < appends.length && appends[at]!.writer === first.writer;
      if (goesOn && appends[at]!.seq > appends[at - 1]!.seq) continue;
      const slice = { lane, appends: appends.slice(from, at) };
      open.slices.push(slice);
      // One call at a time: nothing of this writer is unanswered.
      open.call.session(lane.keys, lane.sid, first.writer, 0);
      for (const { seq, value } of slice.appends) {
        open.call.value(seq, value);
        open.bytes += value.length;
      }
      from = at;
    }
    open.values += appends.length;
  }

  #send(open: OpenCall): void {
    this.#underWay.add(open);
    this.#lookAtJournal();
    const { calls, counters } = this.#options;
    calls.call(sessionAppend, open.call, appendReply, (failure, replies) => {
      this.#underWay.delete(open);
      if (failure === null && replies!.length === open.slices.length) {
        counters.appendCalls++;
        this.#answered(open, replies!);
      } else {
        this.#undone(open, failure);
      }
    });
  }

  /** All of the call is to be sent again, or given up when Redis never takes it. */
  #undone(open: OpenCall, failure: RedisFailure | null): void {
    const isPassing = failure !== null && passes(failure);
    const told: Told[] = [];
    for (const lane of open.lanes) {
      const appends: WaitingAppend[] = [];
      for (const slice of open.slices) {
        if (slice.lane === lane) for (const append of slice.appends) appends.push(append);
      }
      const isOwed = lane.journaled > 0 || appends.some(({ append }) => append?.isNoted === true);
      if (!isPassing && ++lane.refusals >= REFUSALS_MAX && !isOwed) {
        lane.refusals = 0;
        lane.answered([]);
        told.push({ kind: 'failed', lane, appends, why: 'failed' });
        if (lane.pending > 0) this.touch(lane);
      } else {
        this.#options.counters.retries++;
        lane.answered(appends);
        this.#hold(lane, isOwed && !isPassing ? ACKED_RETRY_MS : HELD_RETRY_MS);
      }
    }
    for (const each of told) this.#tell(each);
  }

  #answered(open: OpenCall, replies: readonly AppendReply[]): void {
    const told: Told[] = [];
    const undone = new Map<AppendLane, WaitingAppend[]>();
    for (let i = 0; i < replies.length; i++) {
      const slice = open.slices[i]!;
      const reply = replies[i]!;
      const { lane, appends } = slice;
      if (reply.status === 'stored') {
        told.push({ kind: 'queued', slice, reply });
      } else if (reply.status === 'gap' || (reply.status === 'absent' && this.#isAwaited(lane))) {
        const before = undone.get(lane) ?? [];
        for (const append of appends) before.push(append);
        undone.set(lane, before);
      } else {
        told.push({ kind: 'failed', lane, appends, why: 'gone' });
      }
    }
    // Order is put right before anybody is told: they may append more from inside.
    for (const lane of open.lanes) {
      const again = undone.get(lane);
      lane.answered(again ?? []);
      lane.refusals = 0;
      if (again === undefined) lane.stuckSinceMs = 0;
      if (again !== undefined) this.#hold(lane, ABSENT_RETRY_MS);
      else if (lane.pending > 0) this.touch(lane);
    }
    for (const each of told) this.#tell(each);
  }

  /**
   * Redis has no such session. It has ended, then this node hears of it soon; or Redis was emptied, then
   * somebody asserts the session soon. Until then nobody is told that nothing is owed.
   */
  #isAwaited(lane: AppendLane): boolean {
    const { nowMs } = this.#options.calls;
    if (lane.absentSinceMs === 0) lane.absentSinceMs = nowMs;
    return lane.isBound && nowMs - lane.absentSinceMs < this.#options.limits.absentMsMax;
  }

  #tell(told: Told): void {
    if (told.kind === 'queued') {
      this.#queued(told.slice, told.reply);
      return;
    }
    const { lane, appends, why } = told;
    // What comes for it later is not to be taken for as old.
    lane.absentSinceMs = 0;
    for (const waiting of appends) {
      this.#settled(lane, waiting);
      const { append, value } = waiting;
      if (append === null) continue;
      this.#forget(value);
      this.#options.counters[why]++;
      this.events!.enqueueFailed(lane.sessionNumber, append, why);
    }
  }

  #queued({ lane, appends }: Slice, reply: AppendReply): void {
    const { calls, counters } = this.#options;
    lane.absentSinceMs = 0;
    counters.appends += reply.stored;
    counters.dedupes += reply.skipped;
    counters.refused += reply.refused.length;
    counters.dropped += reply.dropped;
    const owner = reply.owner === '' || !lane.isBound ? null : reply.owner;
    const { nowMs } = calls;
    let { dropped } = reply;
    let isTailTold = false;
    for (let i = 0; i < appends.length; i++) {
      const waiting = appends[i]!;
      const seq = positionOf(reply, i);
      const { append } = waiting;
      this.#settled(lane, waiting);
      if (seq >= 0) {
        const { writer, seq: number, value } = waiting;
        const again = { append: null, writer, seq: number, value, entry: null, answered: null };
        this.#recent.add(lane, again, nowMs);
      }
      if (append === null) {
        if (waiting.answered === null) counters.rewrites++;
        continue;
      }
      this.#forget(waiting.value);
      if (seq < 0) {
        this.events!.enqueueFailed(lane.sessionNumber, append, 'full');
        continue;
      }
      const isNew = seq > 0;
      this.events!.queued(lane.sessionNumber, append, seq, owner, isNew ? dropped : 0);
      if (isNew) {
        dropped = 0;
        isTailTold = seq === reply.tail;
      }
    }
    // The answer that would have told the owner was lost.
    if (!isTailTold && owner !== null) this.onTail?.(owner, lane, reply.tail);
  }

  #forget(value: Buffer): void {
    this.waitingMessages--;
    this.waitingBytes -= value.length;
  }

  /** Whoever has it besides may forget it. */
  #settled(lane: AppendLane, waiting: WaitingAppend): void {
    const { entry } = waiting;
    if (entry !== null) {
      waiting.entry = null;
      lane.journaled--;
      this.#options.journal!.answered(entry);
    }
    waiting.answered?.();
  }

  // ------------------------------------------------------------------ the journal

  /** Looks for what waits for too long, as long as something waits. */
  #lookAtJournal(): void {
    const { journal, scheduler, calls } = this.#options;
    if (journal === null || this.#stopLooking !== null) return;
    const stop = scheduler.every(JOURNAL_LOOK_MS, () => {
      if (this.#underWay.size === 0 && this.#held.size === 0) {
        this.#stopLooking = null;
        stop();
        return;
      }
      const { isUp, nowMs } = calls;
      const look = (lane: AppendLane): void => {
        if (!isUp || nowMs - lane.stuckSinceMs >= JOURNAL_AFTER_MS) this.#journal(lane);
      };
      for (const { lanes } of this.#underWay) for (const lane of lanes) look(lane);
      for (const lane of this.#held) look(lane);
    });
    this.#stopLooking = stop;
  }

  /** All of the lane that may go there, in its order. */
  #journal(lane: AppendLane): void {
    const { journal } = this.#options;
    if (journal === null || !journal.hasRoom) return;
    const { clientId, sid } = lane;
    for (const waiting of lane.notJournaled(isJournaled)) {
      const { append, writer, seq, value } = waiting;
      waiting.entry = journal.keep(
        { clientId, sid, writer, seq, value },
        () => this.events!.kept(lane.sessionNumber, append!),
        () => this.events!.keptQueued(append!),
      );
      if (waiting.entry === null) return;
      lane.journaled++;
    }
  }

  #hold(lane: AppendLane, delayMs: number): void {
    const { calls } = this.#options;
    lane.isHeld = true;
    this.#held.add(lane);
    if (lane.stuckSinceMs === 0) lane.stuckSinceMs = calls.nowMs;
    this.#lookAtJournal();
    if (!calls.isUp) {
      this.#journal(lane);
      return;
    }
    calls.after(delayMs, () => {
      if (calls.isUp) this.#letGo(lane);
    });
  }

  #letGo(lane: AppendLane): void {
    if (!this.#held.delete(lane)) return;
    lane.isHeld = false;
    this.touch(lane);
  }

  #rewrite(): void {
    for (const [lane, appends] of this.#recent.take(this.#options.calls.nowMs)) {
      lane.rewrite(appends);
      this.touch(lane);
    }
  }

  #refuse(lane: AppendLane, append: SharedAppend): void {
    this.#refused.push({ lane, append });
    if (this.#refused.length > 1) return;
    this.#options.scheduler.nextTurn(() => {
      const refused = this.#refused;
      this.#refused = [];
      for (const each of refused) {
        this.#options.counters.failed++;
        this.events!.enqueueFailed(each.lane.sessionNumber, each.append, 'failed');
      }
    });
  }

  /** For a queue whose budget asks for the age of what waits. */
  #encodeDated(append: SharedAppend): Buffer {
    const { incarnation, wallMs } = this.#options;
    return encodeEntry(append, incarnation(), wallMs());
  }

  #encode(append: SharedAppend): Buffer {
    const last = this.#lastAppend;
    if (last !== null && isSame(last, append)) return this.#lastValue!;
    const value = encodeEntry(append, this.#options.incarnation(), 0);
    if (this.#lastAppend === null) {
      // It must not keep the message alive beyond this turn.
      this.#options.scheduler.endOfTurn(() => {
        this.#lastAppend = null;
        this.#lastValue = null;
      });
    }
    this.#lastAppend = append;
    this.#lastValue = value;
    return value;
  }
}

/** What is written again for a new server was answered once, and what is replayed is in a journal. */
function isJournaled({ append }: WaitingAppend): boolean {
  return append !== null;
}

function isSame(a: SharedAppend, b: SharedAppend): boolean {
  return (
    a.message === b.message &&
    a.qos === b.qos &&
    a.retain === b.retain &&
    a.subscriptionIds === b.subscriptionIds &&
    a.sharedFilter === b.sharedFilter &&
    a.identity === b.identity &&
    a.sentAs === b.sentAs
  );
}
