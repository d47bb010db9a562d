/**
 * Sessions that end with their connection, taken while Redis is away (P6): the other nodes were asked one
 * by one whether they have the client, and Redis hears of it when it is back. Until then the will of such a
 * session is in the memory of its node alone. Used by takeover.ts, on both sides.
 */
import type {
  Incarnation,
  LedgerAnswer,
  OpenedRecord,
  OpenRequest,
  RemoteSide,
  SessionLedger,
  WillOfAbsent,
} from '../core/cluster-ports.ts';
import { publishWill } from './absent-will.ts';
import type { ClusterCounters } from './cluster-counters.ts';

export interface UnregisteredParts {
  readonly ledger: SessionLedger;
  readonly counters: ClusterCounters;
  readonly remote: () => RemoteSide;
  readonly self: () => Incarnation;
  readonly mayServe: () => boolean;
  readonly hasRedis: () => boolean;
  /** Another live node has it, as Redis says: it lets go. */
  readonly letGo: (owner: Incarnation, clientId: string, epoch: number) => void;
}

/** At once on their way to Redis. */
const REGISTERING_MAX = 64;
/** Of other nodes, oldest forgotten first: those who take such a client then do not ask its node. */
const ELSEWHERE_MAX = 65_536;

interface Entry {
  readonly request: OpenRequest;
  readonly sid: string;
  /** What the core knows it by. */
  readonly epoch: number;
  /** What Redis has it under; 0: it has not heard of it. */
  registered: number;
  isAsking: boolean;
}

export class Unregistered {
  readonly #parts: UnregisteredParts;
  /** By client id: those Redis has not heard of, and those it knows by another epoch than the core. */
  readonly #entries: Map<string, Entry> = new Map();
  /** Those Redis has to hear of, oldest first. */
  readonly #waiting: Set<Entry> = new Set();
  #asking = 0;
  /** Clients that another node took while it had no Redis. */
  readonly #elsewhere: Map<string, Incarnation> = new Map();

  constructor(parts: UnregisteredParts) {
    this.#parts = parts;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** Whether a client may have its session without Redis: nobody knows of one that has to be kept. */
  isOpenTo({ clientId, expiryIntervalS }: OpenRequest): boolean {
    const { remote, hasRedis, mayServe } = this.#parts;
    if (hasRedis() || !mayServe() || expiryIntervalS > 0) return false;
    return remote().knownSession(clientId) === null;
  }

  /** What the core gets to open. A connection before that Redis never heard of has left its will. */
  take(request: OpenRequest, sid: string, epoch: number): OpenedRecord {
    const { clientId } = request;
    const before = this.#forget(clientId);
    const will = before === null || before.registered > 0 ? null : before.request.will;
    const entry = { request, sid, epoch, registered: 0, isAsking: false };
    this.#entries.set(clientId, entry);
    this.#waiting.add(entry);
    this.#parts.counters.openedWithoutRedis++;
    return {
      epoch,
      sid,
      present: false,
      subscriptions: [],
      counter: 0,
      turns: [],
      headSeq: 1,
      tailSeq: 0,
      queuedBytes: 0,
      releasedSeqs: [],
      settledSeqs: [],
      inboundIds: [],
      pending: [],
      publisherSeq: 0,
      oldWill:
        will === null || before === null
          ? null
          : { message: will.message, isDue: true, sid: before.sid, epoch: before.epoch },
    };
  }

  /**
   * The connection of a session that the core knows by this epoch is gone: the epoch that Redis knows it
   * by; 0: it knows nothing of it.
   */
  closed(clientId: string, epoch: number): number {
    const entry = this.#entries.get(clientId);
    if (entry === undefined || entry.epoch !== epoch) return epoch;
    this.#forget(clientId);
    return entry.registered;
  }

  /**
   * A newer connection has the client: the will of a session that only this node knew of, which nobody
   * else can publish; null: there is none.
   */
  takenAway(clientId: string, epoch: number): WillOfAbsent | null {
    const entry = this.#entries.get(clientId);
    if (entry === undefined || entry.epoch >= epoch) return null;
    this.#forget(clientId);
    const { request, sid } = entry;
    if (entry.registered > 0 || request.will === null) return null;
    const { identity, tenant } = request;
    return { clientId, identity, tenant, sid, epoch: entry.epoch, message: request.will.message };
  }

  #forget(clientId: string): Entry | null {
    const entry = this.#entries.get(clientId);
    if (entry === undefined) return null;
    this.#entries.delete(clientId);
    this.#waiting.delete(entry);
    return entry;
  }

  // ------------------------------------------------------------------------------ what others took

  tookElsewhere(clientId: string, owner: Incarnation): void {
    this.#elsewhere.delete(clientId);
    this.#elsewhere.set(clientId, owner);
    if (this.#elsewhere.size <= ELSEWHERE_MAX) return;
    for (const oldest of this.#elsewhere.keys()) {
      this.#elsewhere.delete(oldest);
      break;
    }
  }

  /** Who has the client though Redis may not know; it is asked once. */
  ownerElsewhere(clientId: string): Incarnation | null {
    const owner = this.#elsewhere.get(clientId) ?? null;
    this.#elsewhere.delete(clientId);
    return owner;
  }

  memberGone(incarnation: Incarnation): void {
    for (const [clientId, owner] of this.#elsewhere) {
      if (owner === incarnation) this.#elsewhere.delete(clientId);
    }
  }

  // ------------------------------------------------------------------------------ Redis is back

  tick(): void {
    const { hasRedis, mayServe } = this.#parts;
    if (this.#waiting.size === 0 || !hasRedis() || !mayServe()) return;
    for (const entry of this.#waiting) {
      if (this.#asking >= REGISTERING_MAX) return;
      if (!entry.isAsking) this.#register(entry);
    }
  }

  #register(entry: Entry): void {
    const { ledger, self } = this.#parts;
    const incarnation = self();
    entry.isAsking = true;
    this.#asking++;
    ledger.open(incarnation, entry.epoch, entry.sid, entry.request, (answer) => {
      this.#asking--;
      entry.isAsking = false;
      this.#registered(entry, incarnation, answer);
    });
  }

  #registered(entry: Entry, incarnation: Incarnation, answer: LedgerAnswer): void {
    const { ledger, self, letGo } = this.#parts;
    const { clientId } = entry.request;
    // Tried again with the next tick.
    if (answer.kind === 'unavailable' || answer.kind === 'absent') return;
    const isOver = !this.#waiting.delete(entry) || incarnation !== self();
    if (answer.kind === 'foreign' || answer.record.sid !== entry.sid) {
      // Somebody else's, or one that is kept after all: the client comes again, and is told.
      if (answer.kind === 'opened') {
        const { sid, epoch } = answer.record;
        ledger.close(clientId, sid, epoch, entry.request.expiryIntervalS, -1, nothing);
      }
      if (!isOver) this.#end(entry);
      return;
    }
    const { record, previousOwners } = answer;
    if (record.oldWill !== null) this.#settle(entry.request, record.oldWill);
    if (isOver) {
      ledger.close(clientId, record.sid, record.epoch, 0, -1, nothing);
      return;
    }
    entry.registered = record.epoch;
    if (record.epoch === entry.epoch) this.#entries.delete(clientId);
    for (const previous of previousOwners) {
      if (previous !== incarnation) letGo(previous, clientId, record.epoch);
    }
  }

  #end({ request: { clientId }, epoch }: Entry): void {
    this.#entries.delete(clientId);
    this.#parts.remote().letGo(clientId, epoch + 1, nothing);
  }

  /** Of the connection before, which Redis knew. */
  #settle(
    { clientId, identity, tenant }: OpenRequest,
    { message, isDue, sid, epoch }: NonNullable<OpenedRecord['oldWill']>,
  ): void {
    const settled = (): void => this.#parts.ledger.oldWillSettled(clientId, sid, epoch);
    if (!isDue) {
      settled();
      return;
    }
    publishWill(this.#parts.remote(), { clientId, identity, tenant, sid, epoch, message }, settled);
  }

  /** This incarnation is dead: its connections are gone. */
  lost(): void {
    this.#entries.clear();
    this.#waiting.clear();
    this.#elsewhere.clear();
  }
}

function nothing(): void {}
