/**
 * Durable sessions that all nodes of a datacenter share, in Redis (ADR 0013): the core's `SessionStore` and
 * `SharedSessions`. It gives each call to whoever writes it: append-writer.ts (any node), owner-writer.ts
 * (fenced), journal-replay.ts; who owns what is its `ledger`, for cluster/. Everything is callbacks; time
 * and turns are handed in. It does not listen to its RedisPort: whoever does tells it `redisUp`.
 */
import type {
  Awaited,
  Incarnation,
  SharedEvents,
  SharedSessions,
} from '../../core/cluster-ports.ts';
import type { Message } from '../../core/message.ts';
import type {
  Clock,
  Log,
  Scheduler,
  SessionRecord,
  SessionStore,
  StoreEvents,
  Ticket,
} from '../../core/ports.ts';
import type { QueueBudget } from '../../core/queue-budget.ts';
import type { QueueEntry } from '../../core/queue-entry.ts';
import type { GroupChoices, SharedAppend } from '../../core/shared-append.ts';
import type { RedisPort, RedisPortEvents } from '../../drivers/redis/redis-port.ts';
import type { AppendJournal, JournalSink } from '../journal/journal-ports.ts';
import type { JournalRecord } from '../journal/journal-record.ts';
import { type AppendLimits, AppendWriter } from './append-writer.ts';
import { Farewells } from './farewells.ts';
import { sessionTook, tookCall, tookReply } from './functions/session-queue.ts';
import { InboundChange } from './inbound-change.ts';
import { InboundRecall } from './inbound-recall.ts';
import { JournalReplay } from './journal-replay.ts';
import { checkPrefix, sessionKeys } from './keys.ts';
import { encodePending } from './message-value.ts';
import type { Quarantine } from './opened-record.ts';
import type { OwnerLane } from './owner-lane.ts';
import { OwnerWriter } from './owner-writer.ts';
import { QueueReader } from './queue-reader.ts';
import { NewerRecord } from './record-version.ts';
import { RedisCalls } from './redis-calls.ts';
import { SessionBindings } from './session-bindings.ts';
import { RedisLedger } from './session-ledger.ts';
import { StoreCounters } from './store-counters.ts';
import { TicketLine } from './ticket-line.ts';

export interface RedisStoreLimits extends AppendLimits {}

/** Bounds of each queue. */
export type QueueLimits = Pick<RedisStoreLimits, 'queueMessagesMax' | 'queueBytesMax'>;

export interface RedisStoreOptions {
  readonly redis: RedisPort;
  /** Of all keys; several clusters may share a Redis. */
  readonly keyPrefix: string;
  readonly scheduler: Scheduler;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits?: Partial<RedisStoreLimits>;
  /** Of this life of the node: names what it appends. */
  readonly incarnation: () => Incarnation;
  /** Of the queue of this client; absent or null: as `limits` say. */
  readonly budgetOf?: ((clientId: string) => QueueBudget | null) | undefined;
  /** Where appends go that Redis does not answer; absent: they wait. */
  readonly journal?: AppendJournal | null;
}

const DEFAULTS: RedisStoreLimits = {
  queueMessagesMax: 100_000,
  queueBytesMax: 64 * 1024 * 1024,
  overflow: 'oldest',
  waitingMessagesMax: 1_000_000,
  waitingBytesMax: 256 * 1024 * 1024,
  rewriteMs: 10_000,
  rewriteBytesMax: 64 * 1024 * 1024,
  absentMsMax: 10_000,
};

/** A stop waits for Redis for so long. */
const STOP_MS_MAX = 3000;
const STOP_TICK_MS = 10;
/** Appends that are waited for to be answered, as few moves of sessions do. */
const APPENDED_TICK_MS = 5;
const QUARANTINE_LOG_MS = 1000;

export class RedisStore implements SessionStore, SharedSessions, JournalSink, RedisPortEvents {
  readonly keepsQueues = true;
  readonly ledger: RedisLedger;
  readonly counters: StoreCounters = new StoreCounters();
  readonly #options: RedisStoreOptions;
  readonly #calls: RedisCalls;
  readonly #tickets: TicketLine;
  readonly #appends: AppendWriter;
  readonly #owners: OwnerWriter;
  readonly #recall: InboundRecall;
  readonly #reader: QueueReader;
  readonly #bindings: SessionBindings;
  readonly #replay: JournalReplay;
  readonly #farewells: Farewells;
  #storeEvents: StoreEvents | null = null;
  #isStopped = false;
  #quarantineLoggedMs = Number.NEGATIVE_INFINITY;

  readonly #limits: { queueMessagesMax: number; queueBytesMax: number };

  constructor(options: RedisStoreOptions) {
    checkPrefix(options.keyPrefix);
    const { redis, scheduler, clock, log, incarnation } = options;
    const limits = { ...DEFAULTS, ...options.limits };
    const { counters } = this;
    const journal = options.journal ?? null;
    this.#options = options;
    this.#calls = new RedisCalls(redis, scheduler, clock, log, counters);
    const calls = this.#calls;
    this.#farewells = new Farewells(journal, calls);
    const wallMs = (): number => Math.floor(clock.wallMs());
    this.#tickets = new TicketLine(scheduler, (ticket, error) =>
      this.#storeEvents?.committed(ticket, error),
    );
    this.#limits = limits;
    this.#appends = new AppendWriter({
      calls,
      scheduler,
      wallMs,
      incarnation,
      limits,
      counters,
      budgetOf: options.budgetOf,
      journal,
    });
    const { absentMsMax } = limits;
    this.#recall = new InboundRecall({ calls, prefix: options.keyPrefix, absentMsMax });
    this.#owners = new OwnerWriter({
      calls,
      scheduler,
      log,
      counters,
      tickets: this.#tickets,
      absentMsMax,
      journal,
      recall: this.#recall,
    });
    const quarantine = this.#quarantine;
    this.#reader = new QueueReader({
      calls,
      counters,
      quarantine,
      settle: (lane, seq) => this.#settle(lane, seq),
    });
    const prefix = options.keyPrefix;
    const bindings = new SessionBindings({
      prefix,
      calls,
      appends: this.#appends,
      owners: this.#owners,
    });
    this.#bindings = bindings;
    this.ledger = new RedisLedger({
      calls,
      prefix,
      clock,
      quarantine,
      farewells: this.#farewells,
      onOpened: (opened) => bindings.keepOpened(opened),
      flushed: (clientId, sid, epoch, then) => {
        const lane = bindings.writtenOf(clientId, sid, epoch);
        if (lane === null) then();
        else this.#owners.whenIdle(lane, then);
      },
      recalled: (clientId, then) => this.#recall.whenIdle(clientId, then),
      opened: (clientId, sid) => bindings.openedOf(clientId, sid),
    });
    this.#replay = new JournalReplay({
      prefix,
      calls,
      appends: this.#appends,
      recall: this.#recall,
      ledger: this.ledger,
      quarantine,
    });
  }

  // ------------------------------------------------------------------ Redis comes and goes

  redisUp(isOtherServer: boolean): void {
    if (this.#isStopped) return;
    this.#appends.up(isOtherServer);
    this.#owners.up();
    this.#calls.up();
    this.#farewells.up();
  }

  /** What is under way is answered by its own callback. */
  redisDown(_why: string): void {}

  /** Hold for what is appended from now on. */
  setQueueLimits({ queueMessagesMax, queueBytesMax }: QueueLimits): void {
    this.#limits.queueMessagesMax = queueMessagesMax;
    this.#limits.queueBytesMax = queueBytesMax;
  }

  // ------------------------------------------------------------------ start and stop

  /** Nothing is restored: the ledger's `load` gives the sessions of the datacenter to cluster/. */
  start(events: StoreEvents): Promise<void> {
    this.begin(events);
    return Promise.resolve();
  }

  stop(): Promise<void> {
    return new Promise((resolve) => this.end(resolve));
  }

  begin(events: StoreEvents): void {
    this.#storeEvents = events;
  }

  /** Waits a while for what is under way; then nothing is called back any more. */
  end(done: () => void): void {
    if (this.#isStopped) {
      done();
      return;
    }
    this.whenWritten(() => {
      this.#isStopped = true;
      this.#appends.stop();
      this.#owners.stop();
      this.#calls.stop();
      done();
    });
  }

  /** Calls back when nothing waits for Redis; also when it is away, or has not answered for a while. */
  whenWritten(done: () => void): void {
    const { clock, scheduler } = this.#options;
    const endMs = clock.monotonicMs() + STOP_MS_MAX;
    const isOver = (): boolean =>
      (this.#appends.isIdle &&
        this.#owners.isIdle &&
        this.#recall.isIdle &&
        this.#tickets.waiting === 0) ||
      !this.#calls.isUp ||
      clock.monotonicMs() >= endMs;
    const stopTicks = scheduler.every(STOP_TICK_MS, () => {
      if (!isOver()) return;
      stopTicks();
      done();
    });
  }

  // ------------------------------------------------------------------ metrics

  get writable(): boolean {
    return !this.#appends.isFull;
  }

  /** Messages that wait for Redis, and their bytes. */
  get waitingMessages(): number {
    return this.#appends.waitingMessages;
  }

  get waitingBytes(): number {
    return this.#appends.waitingBytes;
  }

  /** Settled positions that Redis does not know of yet. */
  get settleLag(): number {
    return this.counters.settled - this.counters.settleConfirmed;
  }

  get ticketsWaiting(): number {
    return this.#tickets.waiting;
  }

  // ------------------------------------------------------------------ SharedSessions

  listen(events: SharedEvents): void {
    this.#appends.events = events;
    this.#owners.events = events;
  }

  /**
   * Told when an append was in the queue before, as the answer to it was lost: its owner is to look how
   * far the queue reaches.
   */
  set onTail(told: (owner: Incarnation, clientId: string, sid: string, tailSeq: number) => void,) {
    this.#appends.onTail = (owner, { clientId, sid }, tailSeq) =>
      told(owner, clientId, sid, tailSeq);
  }

  bind(sessionNumber: number, clientId: string, sid: string, epoch: number): void {
    this.#bindings.bind(sessionNumber, clientId, sid, epoch);
  }

  unbind(sessionNumber: number): void {
    this.#bindings.unbind(sessionNumber);
  }

  get isFull(): boolean {
    return this.#appends.isFull;
  }

  enqueue(sessionNumber: number, append: SharedAppend): void {
    const lane = this.#bindings.appendLane(sessionNumber);
    if (lane !== null) {
      this.#appends.enqueue(lane, append);
      return;
    }
    this.#options.scheduler.nextTurn(() => {
      this.counters.gone++;
      this.#appends.events!.enqueueFailed(sessionNumber, append, 'gone');
    });
  }

  tookUpTo(sessionNumber: number, publisherSid: string, done: (seq: number | null) => void): void {
    const binding = this.#bindings.get(sessionNumber);
    if (binding === undefined) {
      this.#options.scheduler.nextTurn(() => done(null));
      return;
    }
    const keys = sessionKeys(this.#options.keyPrefix, binding.clientId);
    const call = tookCall(keys, binding.sid, publisherSid);
    this.#calls.call(sessionTook, call, tookReply, (failure, seq) => {
      if (failure === null) done(seq);
      else this.#calls.again(failure, () => this.tookUpTo(sessionNumber, publisherSid, done));
    });
  }

  whenAppended(sessionNumber: number, then: () => void): void {
    const lane = this.#bindings.get(sessionNumber)?.append ?? null;
    if (lane === null || lane.isIdle || !lane.isBound) {
      then();
      return;
    }
    const stop = this.#options.scheduler.every(APPENDED_TICK_MS, () => {
      if (!lane.isIdle && lane.isBound) return;
      stop();
      then();
    });
  }

  beginInbound(
    sessionNumber: number,
    packetId: number,
    message: Message,
    choices: GroupChoices,
    seq: number,
    awaited: Awaited,
  ): void {
    const value = encodePending(message, choices);
    this.#changeInbound(
      sessionNumber,
      (number) => new InboundChange('pending', packetId, number, seq, value, awaited),
    );
  }

  inboundDone(sessionNumber: number, packetId: number): void {
    this.#changeInbound(sessionNumber, (number) => new InboundChange('done', packetId, number));
  }

  endInbound(sessionNumber: number, packetId: number, awaited: Awaited | null): void {
    this.#changeInbound(
      sessionNumber,
      (number) => new InboundChange('remove', packetId, number, 0, null, awaited),
    );
  }

  #changeInbound(sessionNumber: number, numbered: (number: number) => InboundChange): void {
    const lane = this.#bindings.ownerLane(sessionNumber);
    const change = numbered(lane === null ? 0 : lane.nextChange++);
    if (lane === null || lane.isOver) {
      this.#options.scheduler.nextTurn(() => change.tell(true));
      return;
    }
    lane.inbound.push(change);
    this.#owners.touch(lane);
  }

  left(clientId: string, sid: string, epoch: number, expiryIntervalS: number): void {
    this.#farewells.say(clientId, sid, epoch, expiryIntervalS);
  }

  // ------------------------------------------------------------------ SessionStore

  saveSession(record: SessionRecord): Ticket {
    const { sessionNumber, expiryIntervalS, counter = 0, subscriptions, roaming } = record;
    const turns = roaming?.turns ?? [];
    const opened = this.#bindings.get(sessionNumber)?.opened ?? null;
    if (opened !== null) opened.turns = turns;
    return this.#owned(sessionNumber, (lane) => {
      lane.record = { expiryIntervalS, counter, subscriptions, turns };
    });
  }

  deleteSession(sessionNumber: number): Ticket {
    const binding = this.#bindings.get(sessionNumber);
    if (binding === undefined || binding.owner?.isRemoved === true) return 0;
    const ticket = this.#owned(sessionNumber, (lane) => {
      lane.isRemoving = true;
    });
    const { clientId, epoch, owner } = binding;
    this.ledger.removing(clientId, epoch, (then) => this.#owners.whenIdle(owner!, then));
    return ticket;
  }

  /** The queue gives positions itself: a node of a datacenter calls `enqueue`. */
  append(_sessionNumber: number, _entry: QueueEntry): Ticket {
    throw new Error('the shared queue gives positions: enqueue, not append');
  }

  settle(sessionNumber: number, entry: QueueEntry): void {
    const lane = this.#bindings.ownerLane(sessionNumber);
    if (lane !== null) this.#settle(lane, entry.seq);
  }

  settleStored(sessionNumber: number, seq: number): void {
    const lane = this.#bindings.ownerLane(sessionNumber);
    if (lane !== null) this.#settle(lane, seq);
  }

  release(sessionNumber: number, entry: QueueEntry): Ticket {
    return this.#owned(sessionNumber, (lane) => lane.positions.release(entry.seq));
  }

  read(
    sessionNumber: number,
    fromSeq: number,
    messagesMax: number,
    bytesMax: number,
    done: (entries: QueueEntry[], error: Error | null) => void,
  ): void {
    const lane = this.#bindings.ownerLane(sessionNumber);
    if (lane === null) this.#options.scheduler.nextTurn(() => done([], null));
    else this.#reader.read(lane, fromSeq, messagesMax, bytesMax, done);
  }

  addInboundId(sessionNumber: number, packetId: number): Ticket {
    return this.#inbound(sessionNumber, 'add', packetId);
  }

  removeInboundId(sessionNumber: number, packetId: number): Ticket {
    return this.#inbound(sessionNumber, 'remove', packetId);
  }

  // ------------------------------------------------------------------ JournalSink

  get isUp(): boolean {
    return this.#calls.isUp;
  }

  /** In the order of the calls, for each session. */
  replay(record: JournalRecord, answered: () => void): void {
    this.#replay.replay(record, answered);
  }

  // ------------------------------------------------------------------ what its owner writes

  #settle(lane: OwnerLane, seq: number): void {
    if (lane.isOver || !lane.positions.settle(seq)) return;
    this.counters.settled++;
    lane.settledCount++;
    this.#owners.settled(lane);
  }

  #inbound(sessionNumber: number, op: 'add' | 'remove', packetId: number): Ticket {
    return this.#owned(sessionNumber, (lane) =>
      lane.inbound.push(new InboundChange(op, packetId, lane.nextChange++)),
    );
  }

  /** A change that somebody waits for. */
  #owned(sessionNumber: number, change: (lane: OwnerLane) => void): Ticket {
    const ticket = this.#tickets.take();
    const lane = this.#bindings.ownerLane(sessionNumber);
    if (lane === null || lane.isOver) {
      const error = new Error('the session is not this node’s');
      this.#options.scheduler.nextTurn(() => this.#tickets.settle(ticket, error));
      return ticket;
    }
    change(lane);
    lane.tickets.push(ticket);
    this.#owners.touch(lane);
    return ticket;
  }

  readonly #quarantine: Quarantine = (clientId, what, error) => {
    if (error instanceof NewerRecord) this.counters.unreadable++;
    else this.counters.quarantined++;
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs - this.#quarantineLoggedMs < QUARANTINE_LOG_MS) return;
    this.#quarantineLoggedMs = nowMs;
    this.#options.log.error(
      { clientId, what, why: error.message },
      'a value in Redis could not be decoded and was set aside',
    );
  };
}
