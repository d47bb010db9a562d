/**
 * What survives a socket: subscriptions, queue, in-flight messages, inbound QoS 2 ids and the will of
 * one client identifier. State with the few operations that keep it consistent; delivery.ts sends,
 * sessions.ts opens and ends. It knows no packets.
 */

import type { Ring } from '../util/ring.ts';
import type { Timer } from '../util/timer-wheel.ts';
import type { CloseReason } from './close-reason.ts';
import type { Inflight } from './inflight.ts';
import { linkFilter } from './link-names.ts';
import type { Message } from './message.ts';
import type { Outlet } from './outlet.ts';
import type { Ownership } from './ownership.ts';
import type {
  ClientGate,
  GateWaiter,
  SessionQuota,
  SessionRecord,
  SubscriptionRecord,
} from './ports.ts';
import type { Principal } from './principal.ts';
import type { QueueBudget } from './queue-budget.ts';
import type { QueueEntry } from './queue-entry.ts';
import type { LinkPeer } from './region-links.ts';
import type { RoamingState } from './roaming-state.ts';
import type { UnansweredPubrec } from './unanswered-pubrec.ts';

/** One filter of one session, and one receiver of a matched message. */
export class Subscription {
  readonly session: Session;
  /** The filter that is matched: of a shared subscription the inner one. */
  readonly filter: string;
  readonly qos: 0 | 1 | 2;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: 0 | 1 | 2;
  /** Identifiers to send with each message; null: none. Several after merging overlaps. */
  readonly subscriptionIds: readonly number[] | null;
  /** Group name of a shared subscription, else null. */
  readonly group: string | null;
  /** Of a link: the other regions it is for (`parseLinkFilter`); null: the session is none. */
  via: string | null = null;
  /** What the session's own messages go to: this without its no-local parts; null: to nothing. */
  toSelf: Subscription | null;

  constructor(
    session: Session,
    filter: string,
    qos: 0 | 1 | 2,
    noLocal: boolean,
    retainAsPublished: boolean,
    retainHandling: 0 | 1 | 2,
    subscriptionIds: readonly number[] | null,
    group: string | null,
  ) {
    this.session = session;
    this.filter = filter;
    this.qos = qos;
    this.noLocal = noLocal;
    this.retainAsPublished = retainAsPublished;
    this.retainHandling = retainHandling;
    this.subscriptionIds = subscriptionIds;
    this.group = group;
    this.toSelf = noLocal ? null : this;
  }

  /** The filter as the client wrote it. */
  get fullFilter(): string {
    if (this.group !== null) return `$share/${this.group}/${this.filter}`;
    return this.via === null ? this.filter : linkFilter(this.via, this.filter);
  }

  /** Who wants it, for `WantedFilters`. */
  get wantedFor(): string {
    const { link } = this.session;
    if (link === null) return '';
    return this.via === null || this.via === '' ? link.region : `${this.via},${link.region}`;
  }

  record(): SubscriptionRecord {
    return {
      filter: this.fullFilter,
      qos: this.qos,
      noLocal: this.noLocal,
      retainAsPublished: this.retainAsPublished,
      retainHandling: this.retainHandling,
      subscriptionId: this.subscriptionIds?.[0] ?? 0,
    };
  }
}

export interface Will {
  readonly message: Message;
  readonly delayS: number;
}

/** The connection that owns the session now, as far as the session must know it. */
export interface SessionOwner {
  close(reason: CloseReason, reasonString?: string | null): void;
  /** Null: nothing that it has sent is unread. */
  readonly hearGoodbye: (() => void) | null;
  /** Pauses reading this publisher until `receiver` has drained. */
  readonly clientId: string;
}

/** How a session stands in the directory of all regions (`SessionDirectory`); kept by the session, changed by the directory alone. */
export interface Listing {
  /** Of the last CONNECT: the highest of all regions is home. */
  readonly epoch: number;
  /** Of the last write, in microseconds: what is written later is above it. */
  timeUs: number;
  /** As it was last written. */
  expiryIntervalS: number;
  /** All regions can read that this one is home. */
  isWritten?: boolean;
}

/** Takes messages out of one queue as others have room for them. */
export interface Feed {
  pump(): void;
}

export class Session {
  readonly clientId: string;
  /** Number in the store; never reused while the session lives. */
  readonly number: number;
  /** Who made it: only the same identity may resume it; null: nobody in particular. */
  readonly identity: string | null;
  /** Whose quotas it shares; '': nobody's. */
  tenant: string;
  version: 3 | 4 | 5 = 4;
  /** Seconds the session outlives its connection; 0: not at all. */
  expiryIntervalS = 0;
  /** Outlives its connection, so its queue survives a crash. */
  durable = false;
  /** The store has a record of it: durable, or with a will that a crash must not swallow. */
  recorded = false;
  /** Of the last change to its record. */
  saveTicket = 0;
  /** Wall-clock ms at which the last connection ended; 0: connected. */
  disconnectedAtMs = 0;

  /** The region whose link it is; null: an ordinary session. */
  link: LinkPeer | null = null;
  /** What bounds its queue, of a link or a bridge; null: the limits of all sessions do. */
  budget: QueueBudget | null = null;
  /** How other regions know it; null: not yet, or not since the start. */
  listing: Listing | null = null;
  /** How it goes from region to region; null: it stays, or has not been claimed yet. */
  roam: RoamingState | null = null;
  /** Where it stands in the datacenter; null: this node is alone. */
  ownership: Ownership | null = null;
  owner: SessionOwner | null = null;
  outlet: Outlet | null = null;
  /** Rights of the connection. */
  gate: ClientGate | null = null;
  /** What is delivered is checked: rights hold a part back, or were taken back since it was queued. */
  checksReceive = false;
  /** Null: nothing of it is counted. */
  quota: SessionQuota | null = null;
  /** What hands on its entries instead of an outlet: the queue of a shared subscription, owned here. */
  feed: Feed | null = null;
  /** Told once when its queue is empty again; null: nobody waits for that. */
  roomWaiter: Feed | null = null;
  /** Told when its quota of delivered bytes has room again; null until it first had none. */
  deliveryWaiter: GateWaiter | null = null;
  /** Rights of the connection that left the will. */
  willGate: ClientGate | null = null;
  #principal: Principal | null = null;
  /** QoS 1 and 2 messages that may be open towards the client. */
  inflightMax = 0;

  /** By full filter, in order of subscribing; null until the first. */
  subscriptions: Map<string, Subscription> | null = null;
  inflight: Inflight | null = null;
  /** Entries that wait, in order, as far as memory holds them; null until the first. */
  queue: Ring<QueueEntry> | null = null;
  /** Highest position given to an entry. */
  tailSeq = 0;
  /** Highest position that memory has seen; the store holds those above it, up to tailSeq. */
  loadedSeq = 0;
  /** A read from the store is under way. */
  reading = false;
  /** Not settled: waiting, in flight, in memory or only in the store. */
  queuedMessages = 0;
  queuedBytes = 0;

  /** Inbound QoS 2 ids between PUBREC and PUBREL. */
  inboundIds: Set<number> | null = null;
  /** Of those, the ones whose PUBREC was not sent before the connection ended; null: none. */
  unanswered: Map<number, UnansweredPubrec> | null = null;
  will: Will | null = null;
  /** Wall-clock ms at which the will is due; 0: not pending. */
  willDueAtMs = 0;
  expiryTimer: Timer | null = null;
  willTimer: Timer | null = null;
  /** Marks for merging overlapping subscriptions while matching. */
  matchStamp = 0;
  matchIndex = 0;
  ended = false;

  constructor(clientId: string, number: number, identity: string | null, tenant: string) {
    this.clientId = clientId;
    this.number = number;
    this.identity = identity;
    this.tenant = tenant;
  }

  /** For what outlives the session: retained messages. One object for all of them. */
  get principal(): Principal {
    if (this.#principal?.tenant !== this.tenant) {
      const { clientId, identity, tenant } = this;
      this.#principal = { clientId, identity, tenant };
    }
    return this.#principal!;
  }

  get connected(): boolean {
    return this.outlet !== null;
  }

  /** Its client is connected to another node. */
  get isElsewhere(): boolean {
    return this.ownership !== null && this.outlet === null && this.ownership.owner !== null;
  }

  /** Entries exist that only the store holds. */
  get spilled(): boolean {
    return this.loadedSeq < this.tailSeq;
  }

  record(): SessionRecord {
    const subscriptions: SubscriptionRecord[] = [];
    if (this.subscriptions !== null) {
      for (const subscription of this.subscriptions.values()) {
        subscriptions.push(subscription.record());
      }
    }
    return {
      sessionNumber: this.number,
      clientId: this.clientId,
      identity: this.identity,
      tenant: this.tenant,
      protocolVersion: this.version,
      expiryIntervalS: this.expiryIntervalS,
      disconnectedAtMs: this.disconnectedAtMs,
      subscriptions,
      ...(this.ownership === null ? null : { counter: this.ownership.counter }),
      will:
        this.will === null
          ? null
          : { message: this.will.message, delayS: this.will.delayS, dueAtMs: this.willDueAtMs },
      ...(this.roam === null ? null : { roaming: this.roam.record() }),
    };
  }
}
