/**
 * What every part of the broker core shares: limits, counters, ports and the long-lived tables. Made
 * once by broker.ts. State only; the parts that act on it (delivery, fan-out, sessions, handlers) take
 * it as their first argument or in their constructor.
 */
import { TimerWheel } from '../util/timer-wheel.ts';
import type { BridgeBudgets } from './bridge-budgets.ts';
import type { CloseReason } from './close-reason.ts';
import type { Bus, Incarnation } from './cluster-ports.ts';
import { Drop, type DropReason } from './drop-reason.ts';
import { groupFilterOf, isGroupQueue } from './group-queue-id.ts';
import { Interests } from './interests.ts';
import type { Limits, QueueOverflow, RevokedSubscription, SharedStrategy } from './limits.ts';
import type { MovingSessions } from './moving-sessions.ts';
import { Outbox } from './outbox.ts';
import type { Clock, Gate, Log, Observer, Random, Scheduler, Steering, Store } from './ports.ts';
import type { RegionLinks } from './region-links.ts';
import { RetainedIndex } from './retained.ts';
import { RetainedStamps } from './retained-stamps.ts';
import type { RoamCodec } from './roam-frame.ts';
import { Router } from './router.ts';
import type { Session, SessionOwner } from './session.ts';
import type { SessionDirectory } from './session-directory.ts';
import { Stats } from './stats.ts';

export interface CoreOptions {
  readonly limits: Limits;
  readonly queueOverflow: QueueOverflow;
  readonly sharedStrategy: SharedStrategy;
  readonly revokedSubscription: RevokedSubscription;
  readonly clock: Clock;
  readonly random: Random;
  readonly scheduler: Scheduler;
  readonly log: Log;
  readonly store: Store;
  /** Null: every client is allowed everything outside `$`. */
  readonly gate: Gate | null;
  readonly observer: Observer | null;
  /** Null: alone. */
  readonly bus: Bus | null;
  /** Absent: no other region is linked. */
  readonly links?: RegionLinks | null | undefined;
  /** Absent: no bridge has a budget of its own. */
  readonly bridges?: BridgeBudgets | null | undefined;
  /** Absent: no other region knows of sessions here. */
  readonly directory?: SessionDirectory | null | undefined;
  /** How nodes of a datacenter speak of sessions that go from region to region; absent: they stay. */
  readonly roamCodec?: RoamCodec | null | undefined;
}

const WHEEL_TICK_MS = 50;
const WHEEL_SLOTS = 4096;
const REFUSALS_LOGGED_PER_S = 20;

export class Core {
  limits: Limits;
  queueOverflow: QueueOverflow;
  sharedStrategy: SharedStrategy;
  revokedSubscription: RevokedSubscription;
  readonly clock: Clock;
  readonly random: Random;
  readonly scheduler: Scheduler;
  readonly log: Log;
  readonly store: Store;
  readonly gate: Gate | null;
  observer: Observer | null;
  readonly bus: Bus | null;
  /** Null: no other region is linked. */
  readonly links: RegionLinks | null;
  /** Null: what waits for a bridge is bounded as all queues are. */
  readonly bridges: BridgeBudgets | null;
  /** Null: no other region knows of sessions here. */
  readonly directory: SessionDirectory | null;
  /** Null: sessions stay in their region. Set by broker.ts. */
  roaming: MovingSessions | null = null;
  /** What clients here want, for the other nodes; null: alone. */
  readonly interests: Interests | null;

  readonly stats: Stats = new Stats();
  readonly router: Router;
  readonly outbox: Outbox;
  readonly retained: RetainedIndex;
  /** Null: retained changes get their version elsewhere, or have none. */
  readonly stamps: RetainedStamps | null;
  readonly wheel: TimerWheel;
  /** By client identifier. */
  readonly sessions: Map<string, Session> = new Map();
  readonly sessionsByNumber: Map<number, Session> = new Map();
  /** Queues of shared subscriptions, by full filter; they are among `sessions` too. Alone: none. */
  readonly groupQueues: Map<string, Session> = new Map();
  /** Other nodes that are there. */
  readonly peers: Set<Incarnation> = new Set();
  nextSequence = 1;
  nextSessionNumber = 1;
  /** All tickets up to this one are settled, durable or failed. */
  settledTicket = 0;
  readonly failedTickets: Set<number> = new Set();
  /** Where clients are told to go instead while the node is drained; null: nowhere in particular. */
  serverReference: string | null = null;
  /** Who should be served elsewhere; null: nobody. */
  steering: Steering | null = null;
  /** The node is being emptied: whoever comes is sent on. */
  draining = false;
  /** The broker was told to stop: no new connections. */
  stopping = false;
  #refusals = 0;
  #refusalsSinceMs = 0;
  readonly #closing: { readonly owner: SessionOwner; readonly reason: CloseReason }[] = [];

  constructor(options: CoreOptions) {
    this.limits = options.limits;
    this.queueOverflow = options.queueOverflow;
    this.sharedStrategy = options.sharedStrategy;
    this.revokedSubscription = options.revokedSubscription;
    this.clock = options.clock;
    this.random = options.random;
    this.scheduler = options.scheduler;
    this.log = options.log;
    this.store = options.store;
    this.gate = options.gate;
    this.observer = options.observer;
    this.bus = options.bus;
    this.links = options.links ?? null;
    this.bridges = options.bridges ?? null;
    this.directory = options.directory ?? null;
    this.interests = options.bus === null ? null : new Interests(options.bus);
    const { routeCacheReceiversMax } = options.limits;
    this.router = new Router(this.stats, routeCacheReceiversMax, this.links?.wanted ?? null);
    this.outbox = new Outbox(options.scheduler, options.clock, this.stats, options.bus);
    this.retained = new RetainedIndex(this.stats, options.random);
    this.stamps = this.#stamps();
    this.wheel = new TimerWheel(WHEEL_TICK_MS, WHEEL_SLOTS, options.clock.monotonicMs());
  }

  #stamps(): RetainedStamps | null {
    const { bus, links, store, retained } = this;
    if (bus !== null || links === null || store.judgeRetained !== undefined) return null;
    return new RetainedStamps(this.clock, links, (topic) => {
      // A message that is there again is in the tombstone's place.
      if (retained.slotOf(topic) === -1) store.forgetTombstone(topic);
    });
  }

  /** A session that is new here: whether it is a link's or a bridge's, and its budget then. */
  bound(session: Session): void {
    const { clientId } = session;
    session.link = this.links?.peerOf(clientId) ?? null;
    if (session.link !== null) session.link.sentSeq = 0;
    session.budget = session.link ?? this.bridges?.of(clientId) ?? null;
  }

  /** A session of the datacenter that this node knows from now on. */
  addShared(session: Session): void {
    const { clientId } = session;
    this.bound(session);
    this.sessions.set(clientId, session);
    this.sessionsByNumber.set(session.number, session);
    if (isGroupQueue(clientId)) this.groupQueues.set(groupFilterOf(clientId), session);
    this.roaming?.known(session);
    this.#countSessions();
  }

  removeShared(session: Session): void {
    const { clientId } = session;
    if (this.sessions.get(clientId) === session) {
      this.sessions.delete(clientId);
      if (isGroupQueue(clientId)) this.groupQueues.delete(groupFilterOf(clientId));
    }
    this.sessionsByNumber.delete(session.number);
    this.#countSessions();
  }

  #countSessions(): void {
    this.stats.sessions = this.sessions.size - this.groupQueues.size;
  }

  /** Refused CONNECTs are worth a line each, but not thousands of lines a second. */
  logRefusal(fields: object): void {
    const nowMs = this.clock.monotonicMs();
    if (nowMs - this.#refusalsSinceMs >= 1000) {
      const suppressed = this.#refusals - REFUSALS_LOGGED_PER_S;
      if (suppressed > 0) this.log.info({ suppressed }, 'more connects refused');
      this.#refusalsSinceMs = nowMs;
      this.#refusals = 0;
    }
    if (++this.#refusals <= REFUSALS_LOGGED_PER_S) this.log.info(fields, 'connect refused');
  }

  drop(reason: DropReason, clientId: string, topic: string): void {
    const index = Drop[reason];
    this.stats.dropped[index] = this.stats.dropped[index]! + 1;
    if (this.observer !== null) this.observer.dropped(clientId, topic, reason);
  }

  /** Of messages that nobody looks at one by one. */
  countDropped(reason: DropReason, messages: number): void {
    const index = Drop[reason];
    this.stats.dropped[index] = this.stats.dropped[index]! + messages;
  }

  /** Closes a connection after the current fan-out: closing publishes wills, which is a fan-out. */
  closeLater(owner: SessionOwner, reason: CloseReason): void {
    this.#closing.push({ owner, reason });
    if (this.#closing.length > 1) return;
    this.scheduler.endOfTurn(() => {
      const closing = this.#closing.splice(0);
      for (const { owner: late, reason: why } of closing) late.close(why);
    });
  }
}
