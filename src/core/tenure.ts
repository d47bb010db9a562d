/**
 * Sessions of a datacenter that this node owns: taking one over, giving it up, telling the others what
 * it subscribes to (ADR 0011, 0013). Used by sessions.ts and the CONNECT handler when there is a bus;
 * what other nodes do is remote.ts' business.
 */
import { whenSafe } from './awaited.ts';
import type { CloseReason } from './close-reason.ts';
import type {
  Awaited,
  Bus,
  OpenAnswer,
  OpenedRecord,
  PendingInbound,
  SessionImage,
} from './cluster-ports.ts';
import type { Core } from './core.ts';
import type { Delivery } from './delivery.ts';
import { isGroupQueue } from './group-queue-id.ts';
import type { Message } from './message.ts';
import { Ownership } from './ownership.ts';
import type { SubscriptionRecord, WillRecord } from './ports.ts';
import type { Publisher } from './publisher.ts';
import { RoamingState } from './roaming-state.ts';
import { Session, type Subscription, type Will } from './session.ts';
import {
  type AppendIdentity,
  type GroupChoices,
  inboundIdentity,
  willIdentity,
} from './shared-append.ts';
import { Unqueued } from './unqueued.ts';
import type { Wills } from './wills.ts';

export interface OpenOptions {
  readonly clientId: string;
  readonly identity: string | null;
  readonly tenant: string;
  readonly version: 3 | 4 | 5;
  readonly cleanStart: boolean;
  readonly expiryIntervalS: number;
  readonly will: Will | null;
  /** See OpenRequest. */
  readonly isWanted?: () => boolean;
  /** False: its client is in another region, which says so to all. Left out: it is here. */
  readonly isClaimed?: boolean;
}

/** What it needs of sessions.ts, which makes it. */
export interface TenureHost {
  subscribe(session: Session, record: SubscriptionRecord): Subscription | null;
  unsubscribe(session: Session, filter: string): boolean;
  countQuota(session: Session): void;
}

export type Taken =
  | {
      readonly kind: 'opened';
      readonly session: Session;
      readonly present: boolean;
      /** Of the queue of a shared subscription: to whom QoS 2 messages were given, by batch. */
      readonly claims: readonly GroupChoices[];
    }
  | { readonly kind: 'foreign' | 'unavailable' };

const US_PER_MS = 1000;
/** Clients whose last connection here has left no will, oldest forgotten first. */
const LEFT_MAX = 100_000;

export class Tenure {
  readonly unqueued: Unqueued = new Unqueued();
  /** Wills of connections that were gone when others may have counted this node as dead. */
  #unpublished: (() => void)[] = [];
  /** Epoch of the connection, by client id: Redis may not have heard that its will is void. */
  readonly #left: Map<string, number> = new Map();
  readonly #core: Core;
  readonly #bus: Bus;
  readonly #delivery: Delivery;
  readonly #publisher: Publisher;
  readonly #wills: Wills;
  readonly #sessions: TenureHost;

  constructor(
    core: Core,
    bus: Bus,
    delivery: Delivery,
    publisher: Publisher,
    wills: Wills,
    sessions: TenureHost,
  ) {
    this.#core = core;
    this.#bus = bus;
    this.#delivery = delivery;
    this.#publisher = publisher;
    this.#wills = wills;
    this.#sessions = sessions;
  }

  /** Takes the session from whoever has it; `done` when nobody else has. */
  take(options: OpenOptions, isTenantProven: boolean, done: (taken: Taken) => void): void {
    const { clientId, identity, tenant, version, cleanStart, expiryIntervalS } = options;
    const { will, isWanted, isClaimed = true } = options;
    this.#bus.open(
      {
        clientId,
        identity,
        tenant,
        isTenantProven,
        version,
        cleanStart,
        expiryIntervalS,
        will: will === null ? null : willRecord(will),
        isWanted,
        // It is above what its client had elsewhere, whatever the clocks of the regions say.
        epochMs: isClaimed
          ? Math.ceil((this.#core.roaming?.epochOf(clientId) ?? 0) / US_PER_MS)
          : 0,
      },
      (answer: OpenAnswer) => {
        if (answer.kind !== 'opened') {
          done({ kind: answer.kind });
          return;
        }
        const session = this.#adopt(options, answer.record);
        const { present, pending } = answer.record;
        const claims = isGroupQueue(clientId) ? pending.map(({ choices }) => choices) : [];
        done({ kind: 'opened', session, present, claims });
      },
    );
  }

  #adopt(options: OpenOptions, record: OpenedRecord): Session {
    const core = this.#core;
    const { clientId, identity, tenant } = options;
    let session = core.sessions.get(clientId) ?? null;
    const wasDurable = session?.durable === true;
    if (session !== null) {
      this.giveUp(session);
      if (session.ownership?.sid !== record.sid) {
        this.forget(session);
        session = null;
      }
    }
    const { stats } = core;
    if (session === null) {
      session = new Session(clientId, core.nextSessionNumber++, identity, tenant);
      core.addShared(session);
    }
    const isClients = !isGroupQueue(clientId);
    if (isClients && record.present) stats.sessionsResumed++;
    else if (isClients) stats.sessionsCreated++;
    const { sid, epoch, counter } = record;
    const ownership = new Ownership(sid, epoch, counter, this.#bus.incarnation);
    ownership.publisherSeq = record.publisherSeq;
    const windowEnd = record.headSeq - 1 + core.limits.inflightMessagesMax;
    if (record.present) ownership.maybeSentSeq = Math.min(record.tailSeq, windowEnd);
    session.ownership = ownership;
    session.tenant = tenant;
    session.version = options.version;
    session.expiryIntervalS = options.expiryIntervalS;
    session.disconnectedAtMs = 0;
    session.will = options.will;
    session.durable = options.expiryIntervalS > 0 || record.present;
    session.inboundIds = record.inboundIds.length === 0 ? null : new Set(record.inboundIds);
    session.unanswered = null;
    this.#bus.sessions.bind(session.number, clientId, sid, epoch);
    this.setSubscriptions(session, record.subscriptions);
    if (isClients) this.#sessions.countQuota(session);
    this.#delivery.adoptQueue(session, record.headSeq, record.tailSeq);
    this.#adoptTurns(session, record);
    core.roaming?.known(session);
    if (session.durable) this.#bus.announceSession(imageOf(session));
    // Whatever the others know of it has ended with this clean start.
    else if (wasDurable) this.#bus.announceEnd(clientId, '', epoch);
    // Epochs rise from owner to owner, whatever the clocks of their nodes say.
    if (options.isClaimed !== false) {
      if (session.durable) core.directory?.claimed(session, epoch * US_PER_MS);
      else if (wasDurable) core.directory?.forget(clientId, epoch * US_PER_MS);
    }
    if (record.oldWill !== null) this.#settleOldWill(session, record.oldWill);
    if (isClients) for (const pending of record.pending) this.#replay(session, pending);
    return session;
  }

  /** Which packet identifiers its entries have: as the owner before gave them. */
  #adoptTurns(session: Session, { turns, headSeq }: OpenedRecord): void {
    if (session.roam !== null) session.roam.adopt(turns, headSeq);
    else if (turns.length > 0) {
      session.roam = RoamingState.ofTurns(this.#core.links?.region ?? '', turns, headSeq);
    }
  }

  /** The will of the connection before; its rights are those of its session's owner. */
  #settleOldWill(session: Session, old: NonNullable<OpenedRecord['oldWill']>): void {
    const { clientId } = session;
    const { sid, epoch } = old;
    const isVoid = this.#left.get(clientId) === epoch;
    this.#left.delete(clientId);
    const settled = (): void => this.#bus.oldWillSettled(clientId, sid, epoch);
    if (!old.isDue || isVoid) {
      settled();
      return;
    }
    const identity = willIdentity(sid, epoch);
    this.#wills.publish(session.principal, null, old.message, identity, settled);
  }

  /** What an owner before had accepted and perhaps not handed on (hard case 10). */
  #replay(session: Session, pending: PendingInbound): void {
    const { packetId, message, choices, publisherSeq, publisherEpoch } = pending;
    const identity = inboundIdentity(session.ownership!.sid, publisherEpoch, publisherSeq);
    this.#publisher.publishAgain(message, session, identity, choices);
    whenSafe(message, () => this.#bus.sessions.inboundDone(session.number, packetId));
  }

  /** Its subscriptions as another owner, or the record, has them. */
  setSubscriptions(session: Session, records: readonly SubscriptionRecord[]): void {
    const wanted = new Map(records.map((record) => [record.filter, record]));
    for (const known of [...(session.subscriptions?.values() ?? [])]) {
      const record = wanted.get(known.fullFilter);
      if (record !== undefined && isSame(known, record)) wanted.delete(known.fullFilter);
      else if (record === undefined) this.#sessions.unsubscribe(session, known.fullFilter);
    }
    for (const record of wanted.values()) this.#sessions.subscribe(session, record);
  }

  /** Counted in until every node knows what this one has announced so far (P2). */
  awaitApplied(awaited: Awaited): void {
    this.#bus.awaitApplied(awaited);
  }

  /** Subscriptions of an owned session have changed. */
  changed(
    session: Session,
    added: readonly SubscriptionRecord[],
    removed: readonly string[],
  ): void {
    const ownership = session.ownership!;
    ownership.counter++;
    if (!session.durable || ownership.isLost) return;
    const { clientId } = session;
    const { sid, epoch, counter } = ownership;
    this.#bus.announceChange({ clientId, sid, epoch, counter, added, removed });
  }

  /** The connection of an owned session is gone. */
  disconnected(session: Session, publishesWill: boolean): void {
    const ownership = session.ownership!;
    if (ownership.isLost) return;
    session.disconnectedAtMs = this.#core.clock.wallMs();
    const { will, willGate } = session;
    session.will = null;
    session.willGate = null;
    const { clientId } = session;
    const { sid, epoch } = ownership;
    const { expiryIntervalS } = session;
    ownership.owner = null;
    this.#delivery.forgetQueue(session);
    endQuota(session);
    if (expiryIntervalS > 0) {
      this.#bus.announceSession(imageOf(session));
      this.#core.directory?.left(session);
    } else this.end(session);
    const isDelayed = will !== null && will.delayS > 0 && expiryIntervalS > 0;
    const { lingering } = ownership;
    // Whoever takes it next must find what was read from its client in the queues.
    const close = (willDelayS: number): void => {
      if (willDelayS < 0) this.#leave(clientId, sid, epoch, expiryIntervalS);
      const closed = (): void => this.#bus.close(clientId, sid, epoch, expiryIntervalS, willDelayS);
      const settled = (): void => this.unqueued.whenQueued(clientId, closed);
      if (lingering === null) settled();
      else lingering.whenOver(settled);
    };
    if (will === null || !publishesWill) {
      close(-1);
    } else if (isDelayed) {
      // Whoever looks at the session then publishes it.
      close(will.delayS);
    } else {
      const identity = willIdentity(sid, epoch);
      // A crash before it is safe leaves it to the survivors.
      const publish = (): void =>
        this.#wills.publish(session.principal, willGate, will.message, identity, () => close(-1));
      if (this.#bus.mayServe()) publish();
      else this.#unpublished.push(publish);
    }
  }

  #leave(clientId: string, sid: string, epoch: number, expiryIntervalS: number): void {
    const left = this.#left;
    left.delete(clientId);
    left.set(clientId, epoch);
    for (const oldest of left.keys()) {
      if (left.size <= LEFT_MAX) break;
      left.delete(oldest);
    }
    this.#bus.sessions.left(clientId, sid, epoch, expiryIntervalS);
  }

  /** The connection of that epoch was here, and its will is void, or published. */
  hasLeft(clientId: string, epoch: number): boolean {
    return this.#left.get(clientId) === epoch;
  }

  /** The lease goes on: nobody else has published them. */
  unfenced(): void {
    const unpublished = this.#unpublished;
    this.#unpublished = [];
    for (const publish of unpublished) publish();
  }

  /** This incarnation is dead: the survivors publish them. */
  lost(): void {
    this.#unpublished = [];
  }

  /** The session is no more; its record goes with `Bus.close` or `deleteSession`. */
  end(session: Session): void {
    const { clientId, durable } = session;
    const { sid, epoch, isLost } = session.ownership!;
    if (durable && !isLost) {
      this.#bus.announceEnd(clientId, sid, epoch);
      this.#core.directory?.ended(session);
    }
    this.forget(session);
  }

  /** Ends a session wherever it is: takes it as a client that wants nothing of it would. `isClaimed`: see OpenOptions. */
  evict(session: Session, isClaimed = true): void {
    if (session.ended) return;
    const { clientId, identity, tenant, version } = session;
    const wanted = { clientId, identity, tenant, version, cleanStart: true, isClaimed };
    this.take({ ...wanted, expiryIntervalS: 0, will: null }, false, (taken) => {
      if (taken.kind === 'opened') this.disconnected(taken.session, false);
      else this.#core.log.warn({ clientId, why: taken.kind }, 'session could not be ended');
    });
  }

  /** Another node, or a newer connection here, has it: the connection ends, nothing is written. */
  giveUp(session: Session, why: CloseReason = 'session_taken_over'): void {
    const { ownership, owner } = session;
    this.#core.directory?.released(session);
    if (ownership === null || owner === null) return;
    ownership.isLost = true;
    session.will = null;
    session.willGate = null;
    const isClients = !isGroupQueue(session.clientId);
    if (isClients && why === 'session_taken_over') this.#core.stats.sessionsTakenOver++;
    owner.close(why);
    this.#delivery.forgetQueue(session);
    endQuota(session);
    if (!session.durable) this.forget(session);
  }

  /** Takes the session out of this node's memory. */
  forget(session: Session): void {
    if (session.ended) return;
    const core = this.#core;
    session.ended = true;
    this.#delivery.forgetQueue(session);
    if (session.subscriptions !== null) {
      for (const subscription of session.subscriptions.values()) {
        core.router.remove(subscription);
      }
      session.subscriptions = null;
    }
    endQuota(session);
    this.#bus.sessions.unbind(session.number);
    core.removeShared(session);
  }

  /** The name of the next QoS 2 message of the session: queues take it once. */
  nameInbound(session: Session): AppendIdentity {
    const ownership = session.ownership!;
    return inboundIdentity(ownership.sid, ownership.epoch, ++ownership.publisherSeq);
  }

  /** Stores a QoS 2 message before anything of it leaves (hard case 10). */
  beginInbound(
    session: Session,
    packetId: number,
    message: Message,
    choices: GroupChoices,
    seq: number,
    awaited: Awaited,
  ): void {
    const { sessions } = this.#bus;
    sessions.beginInbound(session.number, packetId, message, choices, seq, awaited);
  }

  /** Forgets a packet id of an owned session. */
  endInbound(session: Session, packetId: number, awaited: Awaited | null): void {
    this.#bus.sessions.endInbound(session.number, packetId, awaited);
  }
}

/** What the other nodes know of a session. */
export function imageOf(session: Session): SessionImage {
  const { sid, epoch, counter, owner } = session.ownership!;
  const { clientId, identity, tenant, expiryIntervalS } = session;
  const subscriptions: SubscriptionRecord[] = [];
  if (session.subscriptions !== null) {
    for (const subscription of session.subscriptions.values()) {
      subscriptions.push(subscription.record());
    }
  }
  return {
    clientId,
    sid,
    epoch,
    counter,
    owner,
    identity,
    tenant,
    expiryIntervalS,
    subscriptions,
  };
}

/** Quotas count what is here. */
function endQuota(session: Session): void {
  session.quota?.ended();
  session.quota = null;
}

function willRecord(will: Will): WillRecord {
  return { message: will.message, delayS: will.delayS, dueAtMs: 0 };
}

function isSame(known: Subscription, record: SubscriptionRecord): boolean {
  const other = known.record();
  return (
    other.qos === record.qos &&
    other.noLocal === record.noLocal &&
    other.retainAsPublished === record.retainAsPublished &&
    other.retainHandling === record.retainHandling &&
    other.subscriptionId === record.subscriptionId
  );
}
