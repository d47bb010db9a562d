/**
 * Sessions from birth to end: opening with clean start or resumption, takeover, expiry, restoring after a
 * restart; when their wills are due is said here, what becomes of those in wills.ts. Called by the CONNECT
 * handler, by closing connections and by the clock.
 */
import { Timer } from '../util/timer-wheel.ts';
import { parseSharedFilter } from '../wire/topic.ts';
import type { Awaited } from './awaited.ts';
import { whenSafe } from './awaited.ts';
import { isBridgeId } from './bridge-names.ts';
import type { Core } from './core.ts';
import type { Delivery } from './delivery.ts';
import { parseLinkFilter } from './link-names.ts';
import type {
  ClientGate,
  ConnectDecision,
  Gate,
  RestoredSession,
  SubscriptionRecord,
  Ticket,
} from './ports.ts';
import type { Publisher } from './publisher.ts';
import { EntryState } from './queue-entry.ts';
import { RoamingState } from './roaming-state.ts';
import { Session, Subscription } from './session.ts';
import { type ListedSession, roams } from './session-directory.ts';
import { type OpenOptions, Tenure } from './tenure.ts';
import { setWallTimer } from './wall-timer.ts';
import { Wills } from './wills.ts';

/** Session Expiry Interval that means never [MQTT5-3.1.2.11.2]. */
export const NEVER_EXPIRES = 0xffffffff;
/** Sessions whose subscriptions are looked at again in one turn after a reload. */
const RECHECKED_PER_TURN = 500;

export interface OpenedSession {
  readonly session: Session;
  readonly present: boolean;
  readonly ticket: Ticket;
}

export class Sessions {
  readonly #core: Core;
  readonly #delivery: Delivery;
  readonly #publisher: Publisher;
  /** Of the last session removed from the store. */
  #endTicket: Ticket = 0;
  /** Sessions shared with other nodes; null: this one is alone. */
  readonly tenure: Tenure | null;
  readonly wills: Wills;

  constructor(core: Core, delivery: Delivery, publisher: Publisher) {
    this.#core = core;
    this.#delivery = delivery;
    this.#publisher = publisher;
    this.wills = new Wills(core, publisher, (session) => {
      this.save(session);
    });
    this.tenure =
      core.bus === null ? null : new Tenure(core, core.bus, delivery, publisher, this.wills, this);
  }

  /** The session that `clientId` may resume has another identity. */
  isForeign(clientId: string, decision: ConnectDecision): boolean {
    const session = this.#core.sessions.get(clientId);
    return session !== undefined && this.isForeignTo(session, decision);
  }

  /** So is this one, which may be of another region. */
  isForeignTo(
    session: Pick<Session, 'identity' | 'tenant'>,
    { identity, tenant = '', isTenantProven }: ConnectDecision,
  ): boolean {
    // What nobody in particular made is nobody's to keep: it starts clean for whoever comes.
    if (session.identity === null) return false;
    if (session.identity !== identity) return true;
    // A session from before there were tenants moves to the one that is proven now.
    return isTenantProven === true && session.tenant !== '' && session.tenant !== tenant;
  }

  /** Ends the connection that holds the session [MQTT5-3.1.4-3]. */
  takeOver(clientId: string): void {
    const owner = this.#core.sessions.get(clientId)?.owner;
    if (!owner) return;
    this.#core.stats.sessionsTakenOver++;
    owner.close('session_taken_over');
  }

  /** Opens the session for a connection; the caller has taken it over and attaches to it. */
  open(options: OpenOptions): OpenedSession {
    const core = this.#core;
    let session = core.sessions.get(options.clientId) ?? null;
    if (session !== null && (options.cleanStart || session.identity !== options.identity)) {
      // [MQTT5-3.1.2-4]
      this.end(session);
      session = null;
    }
    const present = session !== null;
    if (session === null) {
      const { clientId, identity, tenant } = options;
      session = new Session(clientId, core.nextSessionNumber++, identity, tenant);
      core.bound(session);
      session.quota = core.gate?.quotas?.session(session.principal) ?? null;
      core.sessions.set(options.clientId, session);
      core.sessionsByNumber.set(session.number, session);
      core.stats.sessions = core.sessions.size;
      core.stats.sessionsCreated++;
    } else {
      core.stats.sessionsResumed++;
      this.#moveTenant(session, options.tenant);
      this.#cancelTimers(session);
      // A will that was delayed is not sent when the session goes on [MQTT5-3.1.3-9].
      session.willDueAtMs = 0;
    }
    session.version = options.version;
    session.expiryIntervalS = options.expiryIntervalS;
    session.disconnectedAtMs = 0;
    session.will = options.will;
    // A session with a will is recorded even when it ends with its connection: a crash must not
    // swallow the will.
    session.durable = session.durable || options.expiryIntervalS > 0;
    if (session.durable) this.#claim(session);
    let ticket: Ticket = 0;
    if (session.durable || session.will !== null) {
      session.recorded = true;
      ticket = core.store.saveSession(session.record());
    }
    if (!session.durable) ticket = 0;
    // "No session" must stay true over a crash: what was removed must be gone before it is said.
    if (!present && this.#endTicket > core.settledTicket)
      ticket = Math.max(ticket, this.#endTicket);
    return { session, present, ticket };
  }

  /** This region is its home from now on, whatever others know of it. */
  #claim(session: Session): void {
    const { directory, links, roaming } = this.#core;
    if (directory === null) return;
    directory.claimed(session);
    const { listing, clientId } = session;
    if (roaming === null || links === null || listing === null || !roams(clientId)) return;
    session.roam ??= new RoamingState(links.region, session.tailSeq);
    session.roam.epoch = listing.epoch;
    if (session.roam.born === 0) session.roam.born = listing.epoch;
  }

  /** Its client goes on elsewhere: the will is not sent [MQTT5-3.1.3-9]. */
  voidWill(session: Session): void {
    this.wills.cancel(session);
  }

  /** Of the last session removed from the store. */
  get endTicket(): Ticket {
    return this.#endTicket;
  }

  /** A connection has taken the session: what it may from here on. */
  grant(session: Session, gate: ClientGate | null): void {
    session.gate = gate;
    session.willGate = session.will === null ? null : gate;
    // What waits was queued under other rights.
    session.checksReceive = gate !== null && (gate.filtersReceive || session.queuedMessages > 0);
  }

  /** Ends the subscriptions its connection may not have; returns how many. The caller saves. */
  revokeDenied(session: Session): number {
    const { gate } = session;
    if (gate === null) return 0;
    return this.#revoke(session, (filter, qos) => gate.keeps(filter, qos));
  }

  #revoke(session: Session, keeps: (filter: string, qos: 0 | 1 | 2) => boolean): number {
    if (session.subscriptions === null) return 0;
    const core = this.#core;
    const removed: string[] = [];
    for (const subscription of [...session.subscriptions.values()]) {
      if (keeps(subscription.filter, subscription.qos)) continue;
      const { clientId } = session;
      const filter = subscription.fullFilter;
      this.unsubscribe(session, filter);
      core.stats.subscriptionsRevoked++;
      core.log.warn({ clientId, filter }, 'subscription is no longer allowed and was ended');
      if (core.observer !== null) core.observer.unsubscribed(clientId, filter);
      removed.push(filter);
    }
    if (removed.length > 0) {
      session.checksReceive = session.gate !== null;
      this.changed(session, [], removed);
    }
    return removed.length;
  }

  /** Rules have changed: looks at every session, some per turn, and ends what is not allowed. */
  recheck(): void {
    const core = this.#core;
    const { gate } = core;
    if (gate === null) return;
    const sessions = core.sessions.values();
    const step = (): void => {
      for (let looked = 0; looked < RECHECKED_PER_TURN; looked++) {
        const next = sessions.next();
        if (next.done === true) return;
        this.#recheckSession(next.value, gate);
      }
      core.scheduler.nextTurn(step);
    };
    step();
  }

  #recheckSession(session: Session, gate: Gate): void {
    if (session.ended) return;
    // Looked at where its client is, or when it comes back.
    if (session.ownership !== null && session.owner === null) return;
    if (session.gate === null) {
      if (isBridgeId(session.clientId)) return;
      const { principal } = session;
      this.#revoke(session, (filter, qos) => gate.keeps(principal, filter, qos));
      return;
    }
    session.checksReceive = session.gate.filtersReceive || session.queuedMessages > 0;
    const revoked = this.revokeDenied(session);
    if (revoked === 0 || this.#core.revokedSubscription === 'unsubscribe') return;
    // MQTT has no other word for it: the client comes back and hears it in its SUBACK.
    session.owner?.close('rights_revoked', 'a subscription is no longer allowed');
  }

  /** The configuration names another tenant than it did when the session began. */
  #moveTenant(session: Session, tenant: string): void {
    if (session.tenant === tenant) return;
    session.tenant = tenant;
    this.countQuota(session);
  }

  /** Counts what the session has against the quotas of whom it belongs to. */
  countQuota(session: Session): void {
    session.quota?.ended();
    const quota = this.#core.gate?.quotas?.session(session.principal) ?? null;
    session.quota = quota;
    if (quota === null) return;
    for (let i = session.subscriptions?.size ?? 0; i > 0; i--) quota.subscribed();
    if (session.queuedBytes > 0) quota.queued(session.queuedBytes);
  }

  /** The record changed: subscriptions, expiry, will. Returns the ticket that makes it durable. */
  save(session: Session): Ticket {
    if (session.ended || !session.durable) return 0;
    session.saveTicket = this.#core.store.saveSession(session.record());
    return session.saveTicket;
  }

  /** What an answer waits for until every other node knows of the change, and other regions can; null: alone. */
  known(session: Session): Awaited | null {
    const { directory } = this.#core;
    if (this.tenure === null && directory === null) return null;
    const awaited = { unsafeCount: 0, waiter: null, failed: false };
    if (session.durable) directory?.awaitListed(session, awaited);
    if (this.tenure === null) return awaited;
    this.tenure.awaitApplied(awaited);
    if (session.roam !== null) this.#core.roaming?.awaitMove(session, awaited);
    return awaited;
  }

  /** Subscriptions have changed: tells the other nodes, and saves. */
  changed(
    session: Session,
    added: readonly SubscriptionRecord[],
    removed: readonly string[],
  ): Ticket {
    if (session.ownership !== null) this.tenure!.changed(session, added, removed);
    if (session.durable) this.#core.directory?.changed(session);
    if (session.roam !== null) {
      const filters = [...added.map(({ filter }) => filter), ...removed];
      this.#core.roaming?.changed(session, filters);
    }
    return this.save(session);
  }

  /** An inbound packet id was taken for nothing. */
  endInbound(session: Session, packetId: number): void {
    if (session.ownership !== null) this.tenure!.endInbound(session, packetId, null);
    else this.#core.store.removeInboundId(session.number, packetId);
  }

  /** The ticket of a change to its record that is not durable yet; 0: none. */
  pendingSave(session: Session): Ticket {
    return session.saveTicket > this.#core.settledTicket ? session.saveTicket : 0;
  }

  /** The connection is gone. `publishesWill` unless the client said goodbye. */
  disconnected(session: Session, publishesWill: boolean): void {
    const core = this.#core;
    session.owner = null;
    session.outlet = null;
    session.gate = null;
    session.checksReceive = false;
    session.disconnectedAtMs = core.clock.wallMs();
    this.#core.interests?.detach(session);
    this.#delivery.detach(session);
    // It is no member that is connected somewhere any more.
    if (session.ownership?.isLost === false) session.ownership.owner = null;
    this.#redispatch(session);
    if (session.ownership !== null) {
      this.tenure!.disconnected(session, publishesWill);
      return;
    }
    if (publishesWill) this.wills.leave(session);
    else this.wills.forget(session);
    if (session.expiryIntervalS === 0) {
      this.end(session);
      return;
    }
    this.#armExpiry(session);
    core.directory?.left(session);
    this.save(session);
  }

  /** Removes the session and everything of it. */
  end(session: Session): void {
    if (session.ended) return;
    const core = this.#core;
    if (session.ownership !== null) {
      if (session.durable) core.store.deleteSession(session.number);
      this.tenure!.end(session);
      return;
    }
    if (session.roam !== null) core.roaming?.release(session);
    // The session ends before the delay is over: the will is due now [MQTT5-3.1.2-8].
    if (session.will !== null && session.willDueAtMs !== 0) this.wills.fire(session);
    session.ended = true;
    this.#cancelTimers(session);
    if (session.subscriptions !== null) {
      for (const subscription of session.subscriptions.values()) {
        core.router.remove(subscription);
      }
      session.subscriptions = null;
    }
    this.#delivery.discardQueue(session);
    if (session.recorded) this.#endTicket = core.store.deleteSession(session.number);
    if (session.durable) core.directory?.ended(session);
    session.will = null;
    session.willGate = null;
    session.quota?.ended();
    session.quota = null;
    if (core.sessions.get(session.clientId) === session) core.sessions.delete(session.clientId);
    core.sessionsByNumber.delete(session.number);
    core.stats.sessions = core.sessions.size;
  }

  /** Adds or replaces a subscription; returns the previous one of the same filter. */
  subscribe(session: Session, record: SubscriptionRecord): Subscription | null {
    session.subscriptions ??= new Map();
    const previous = session.subscriptions.get(record.filter) ?? null;
    const shared = parseSharedFilter(record.filter);
    const ofLink = session.link === null ? null : parseLinkFilter(record.filter);
    const subscription = new Subscription(
      session,
      ofLink?.filter ?? shared?.filter ?? record.filter,
      record.qos,
      record.noLocal,
      record.retainAsPublished,
      record.retainHandling,
      record.subscriptionId === 0 ? null : [record.subscriptionId],
      shared?.group ?? null,
    );
    subscription.via = ofLink?.via ?? null;
    session.subscriptions.set(record.filter, subscription);
    this.#core.router.add(subscription, previous);
    if (this.#core.interests !== null && session.owner !== null) {
      this.#core.interests.add(subscription);
      if (previous !== null) this.#core.interests.remove(previous);
    }
    return previous;
  }

  unsubscribe(session: Session, filter: string): boolean {
    const subscription = session.subscriptions?.get(filter);
    if (subscription === undefined) return false;
    session.subscriptions!.delete(filter);
    session.quota?.unsubscribed();
    this.#core.router.remove(subscription);
    if (this.#core.interests !== null && session.owner !== null) {
      this.#core.interests.remove(subscription);
    }
    return true;
  }

  /** Takes a session from the store at start; nobody is connected yet. */
  restore(restored: RestoredSession): void {
    const core = this.#core;
    const { record } = restored;
    const { clientId, sessionNumber, identity, tenant } = record;
    const session = new Session(clientId, sessionNumber, identity, tenant);
    core.bound(session);
    session.version = record.protocolVersion;
    session.expiryIntervalS = record.expiryIntervalS;
    session.durable = true;
    session.recorded = true;
    session.tailSeq = restored.tailSeq;
    session.loadedSeq = Math.max(0, restored.headSeq - 1);
    if (restored.queuedMessages === 0) session.loadedSeq = restored.tailSeq;
    session.queuedMessages = restored.queuedMessages;
    session.queuedBytes = restored.queuedBytes;
    core.stats.queuedMessages += restored.queuedMessages;
    core.stats.queuedBytes += restored.queuedBytes;
    if (restored.inboundIds.length > 0) session.inboundIds = new Set(restored.inboundIds);
    core.nextSessionNumber = Math.max(core.nextSessionNumber, record.sessionNumber + 1);
    core.sessions.set(session.clientId, session);
    core.sessionsByNumber.set(session.number, session);
    core.stats.sessions = core.sessions.size;
    for (const subscription of record.subscriptions) this.subscribe(session, subscription);
    this.countQuota(session);
    const { roaming } = record;
    if (roaming !== undefined && core.links !== null && core.roaming !== null) {
      const { headSeq, tailSeq } = restored;
      session.roam = RoamingState.restored(core.links.region, roaming, headSeq, tailSeq);
      // What is claimed from now on is above it, whatever the clock says after a start.
      core.directory?.observe(session.roam.latest);
      const goneSeq = Math.min(roaming.skipTo, tailSeq);
      session.loadedSeq = Math.max(session.loadedSeq, goneSeq);
    }

    const nowMs = core.clock.wallMs();
    // Connected when the broker ended: the connection ended with it.
    session.disconnectedAtMs = record.disconnectedAtMs === 0 ? nowMs : record.disconnectedAtMs;
    if (record.disconnectedAtMs === 0) core.directory?.left(session);
    if (record.will !== null) {
      session.will = { message: record.will.message, delayS: record.will.delayS };
      const delayMs = session.expiryIntervalS === 0 ? 0 : record.will.delayS * 1000;
      session.willDueAtMs =
        record.will.dueAtMs === 0 ? session.disconnectedAtMs + delayMs : record.will.dueAtMs;
    }
  }

  /** A session of another region goes on here, as the directory knows it: nothing waits in it. */
  adopt({ record, listing }: ListedSession): void {
    const core = this.#core;
    const { clientId } = record;
    if (core.sessions.has(clientId) || core.stats.sessions >= core.limits.sessionsMax) return;
    const nowMs = core.clock.wallMs();
    const sessionNumber = core.nextSessionNumber;
    // Until the client has it, it ends when it would have there.
    const disconnectedAtMs = record.disconnectedAtMs || nowMs;
    this.restore({
      record: { ...record, sessionNumber, disconnectedAtMs },
      headSeq: 0,
      tailSeq: 0,
      queuedMessages: 0,
      queuedBytes: 0,
      inboundIds: [],
    });
    const session = core.sessions.get(clientId)!;
    session.listing = { ...listing };
    this.#armExpiry(session);
    this.save(session);
  }

  /** After the last `restore`: deadlines that passed meanwhile are due now. */
  startTimers(): void {
    for (const session of [...this.#core.sessions.values()]) {
      if (session.connected || session.ended) continue;
      if (session.willDueAtMs !== 0) this.wills.arm(session);
      this.#armExpiry(session);
    }
  }

  /** Gives unacked QoS 1 messages of shared subscriptions to members that are there. */
  #redispatch(session: Session): void {
    const queue = session.queue;
    // Whoever has taken the session sends what is in its queue.
    if (queue === null || session.ownership?.isLost === true) return;
    for (let i = queue.length; i > 0; i--) {
      const entry = queue.shift()!;
      if (entry.state === EntryState.SETTLED) continue;
      const shared = entry.sharedFilter === null ? null : parseSharedFilter(entry.sharedFilter);
      // A QoS 2 delivery that has begun stays with its session [MQTT5-4.8.2-5].
      // In a datacenter a move is two writes, and a QoS 2 message may not be in both queues.
      const isFree = session.ownership === null && !entry.sentBefore;
      const mayMove = shared !== null && (entry.qos === 1 || isFree);
      const moved = mayMove
        ? this.#publisher.redispatch(entry.message, shared.group, shared.filter, session)
        : null;
      if (moved === null) {
        queue.push(entry);
      } else if (session.ownership === null) {
        this.#delivery.settle(session, entry);
      } else {
        // Another member's queue must have it first; until then this one's keeps it.
        const epoch = session.ownership.epoch;
        whenSafe(moved, () => {
          if (!moved.failed) this.#delivery.settleMoved(session, entry, epoch);
        });
      }
    }
  }

  #armExpiry(session: Session): void {
    if (session.expiryIntervalS === NEVER_EXPIRES) return;
    const dueMs = session.disconnectedAtMs + session.expiryIntervalS * 1000;
    session.expiryTimer ??= new Timer({
      onTimer: () => {
        if (session.ended || session.connected) return;
        const deadlineMs = session.disconnectedAtMs + session.expiryIntervalS * 1000;
        if (this.#core.clock.wallMs() < deadlineMs) {
          this.#armExpiry(session);
          return;
        }
        this.#core.stats.sessionsExpired++;
        this.end(session);
      },
    });
    setWallTimer(this.#core, session.expiryTimer, dueMs);
  }

  #cancelTimers(session: Session): void {
    if (session.expiryTimer !== null) this.#core.wheel.cancel(session.expiryTimer);
    if (session.willTimer !== null) this.#core.wheel.cancel(session.willTimer);
  }
}
