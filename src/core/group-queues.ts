/**
 * Which queues of shared subscriptions this node owns (ADR 0019): one is opened when a durable member of the
 * group connects here and nobody has it, closed when none is connected here any more, and ended with the
 * last durable member. Told by interests.ts of members here, looks at the rest now and then.
 */

import { parseSharedFilter } from '../wire/topic.ts';
import type { Bus } from './cluster-ports.ts';
import { GroupQueue, type GroupQueueParts } from './group-queue.ts';
import { groupQueueId } from './group-queue-id.ts';
import type { Session, Subscription } from './session.ts';
import type { OpenOptions, Taken } from './tenure.ts';

/** Between two looks at all that are known here; so many at a time. */
const SWEEP_MS = 1000;
const LOOKS_MAX = 1000;
/** Looks at which a queue must have neither owner nor members before somebody may end it, and will. */
const DESERTED_LOOKS = 3;
const DESERTED_LOOKS_MAX = 6;

/** What it needs of sessions and their owners. */
export interface GroupQueuesHost {
  take(options: OpenOptions, done: (taken: Taken) => void): void;
  /** It goes on without owner, for as long as its `expiryIntervalS` says. */
  release(session: Session): void;
  end(session: Session): void;
  save(session: Session): void;
}

export class GroupQueues {
  readonly #parts: GroupQueueParts;
  readonly #bus: Bus;
  readonly #host: GroupQueuesHost;
  /** By full filter: owned here. */
  readonly #owned: Map<string, GroupQueue> = new Map();
  readonly #opening: Set<string> = new Set();
  /** Groups that had a member here when somebody last looked. */
  readonly #here: Set<string> = new Set();
  readonly #deserted: Map<string, number> = new Map();
  #touched: Set<string> = new Set();
  #nextSweepMs = 0;
  /** Of the sweep under way; null: it is over. */
  #rest: Iterator<string> | null = null;

  constructor(parts: GroupQueueParts, bus: Bus, host: GroupQueuesHost) {
    this.#parts = parts;
    this.#bus = bus;
    this.#host = host;
  }

  /** A member here came, went or changed. */
  readonly touch = (fullFilter: string): void => {
    this.#touched.add(fullFilter);
    if (this.#touched.size > 1) return;
    this.#parts.core.scheduler.endOfTurn(() => {
      const touched = this.#touched;
      this.#touched = new Set();
      for (const one of touched) this.#meet(one);
    });
  };

  tick(nowMs: number): void {
    if (this.#rest === null) {
      if (nowMs < this.#nextSweepMs) return;
      this.#nextSweepMs = nowMs + SWEEP_MS;
      const { groupQueues } = this.#parts.core;
      // Somebody else has ended it.
      for (const one of this.#deserted.keys())
        if (!groupQueues.has(one)) this.#deserted.delete(one);
      if (groupQueues.size + this.#here.size === 0) return;
      this.#rest = new Set([...groupQueues.keys(), ...this.#here]).values();
    }
    for (let looked = 0; looked < LOOKS_MAX; looked++) {
      const next = this.#rest.next();
      if (next.done === true) {
        this.#rest = null;
        return;
      }
      this.#look(next.value);
    }
  }

  /** Connected durable members of the group want what waits for them. */
  #meet(fullFilter: string): void {
    const members = this.#membersOf(fullFilter);
    const hasHere = members.some(isHere);
    if (hasHere) this.#here.add(fullFilter);
    const owned = this.#ownedOf(fullFilter);
    if (owned !== null) owned.pump();
    else if (hasHere && this.#isFree(fullFilter)) this.#open(fullFilter, members);
  }

  #look(fullFilter: string): void {
    const members = this.#membersOf(fullFilter);
    const hasHere = members.some(isHere);
    if (!hasHere) this.#here.delete(fullFilter);
    const owned = this.#ownedOf(fullFilter);
    if (owned !== null) this.#keep(owned, members, hasHere);
    else if (!this.#isFree(fullFilter)) this.#deserted.delete(fullFilter);
    else if (hasHere || this.#isDeserted(fullFilter, members)) this.#open(fullFilter, members);
  }

  #membersOf(fullFilter: string): readonly Subscription[] {
    const { group, filter } = parseSharedFilter(fullFilter)!;
    return this.#parts.core.router.groupOf(group, filter)?.durableMembers ?? [];
  }

  #ownedOf(fullFilter: string): GroupQueue | null {
    const owned = this.#owned.get(fullFilter) ?? null;
    if (owned?.isOver !== true) return owned;
    this.#forget(fullFilter);
    return null;
  }

  #forget(fullFilter: string): void {
    this.#owned.delete(fullFilter);
    this.#parts.core.stats.groupQueues = this.#owned.size;
  }

  /** Nobody has it, as far as this node knows. */
  #isFree(fullFilter: string): boolean {
    if (this.#opening.has(fullFilter) || !this.#bus.mayServe()) return false;
    const { groupQueues, peers } = this.#parts.core;
    const owner = groupQueues.get(fullFilter)?.ownership?.owner ?? null;
    // Late news may name a node that is no more.
    return owner === null || !peers.has(owner);
  }

  /** Its last durable member has ended where nobody owned it. */
  #isDeserted(fullFilter: string, members: readonly Subscription[]): boolean {
    const { core } = this.#parts;
    if (members.length > 0 || !core.groupQueues.has(fullFilter)) {
      this.#deserted.delete(fullFilter);
      return false;
    }
    const looks = (this.#deserted.get(fullFilter) ?? 0) + 1;
    this.#deserted.set(fullFilter, looks);
    // Not all nodes at once, and not at no time.
    return looks > DESERTED_LOOKS && (looks >= DESERTED_LOOKS_MAX || core.random.below(2) === 0);
  }

  #keep(owned: GroupQueue, members: readonly Subscription[], hasHere: boolean): void {
    const { session, fullFilter } = owned;
    if (owned.isBusy && !owned.isBroken) {
      owned.tick();
      return;
    }
    const expiryIntervalS = longest(members);
    if (hasHere && !owned.isBroken) {
      if (expiryIntervalS > session.expiryIntervalS) {
        session.expiryIntervalS = expiryIntervalS;
        this.#host.save(session);
      }
      owned.tick();
      return;
    }
    owned.stop();
    this.#forget(fullFilter);
    const { queuedMessages } = session;
    this.#parts.core.log.debug({ fullFilter, queuedMessages }, 'queue of a group closed');
    if (members.length === 0) {
      this.#host.end(session);
      return;
    }
    session.expiryIntervalS = expiryIntervalS;
    this.#host.release(session);
  }

  #open(fullFilter: string, members: readonly Subscription[]): void {
    const { core } = this.#parts;
    this.#deserted.delete(fullFilter);
    this.#opening.add(fullFilter);
    this.#host.take(
      {
        clientId: groupQueueId(fullFilter),
        identity: null,
        tenant: '',
        version: 5,
        cleanStart: false,
        expiryIntervalS: longest(members),
        will: null,
      },
      (taken) => {
        this.#opening.delete(fullFilter);
        // It is tried again when it is next looked at.
        if (taken.kind !== 'opened') return;
        const { session, claims } = taken;
        const { group, filter } = parseSharedFilter(fullFilter)!;
        const owned = new GroupQueue(this.#parts, session, group, filter, claims);
        const { queuedMessages } = session;
        core.log.debug({ fullFilter, queuedMessages }, 'queue of a group opened');
        session.owner = owned;
        session.feed = owned;
        this.#owned.set(fullFilter, owned);
        core.stats.groupQueues = this.#owned.size;
        const current = this.#membersOf(fullFilter);
        // It was opened to be ended.
        if (current.length === 0) this.#keep(owned, current, false);
        else owned.pump();
      },
    );
  }
}

/** Its client is connected here, or about to be told so. */
function isHere({ session }: Subscription): boolean {
  return session.owner !== null;
}

/** Of the members' sessions; it outlives its opening in any case. */
function longest(members: readonly Subscription[]): number {
  let longestS = 1;
  for (const { session } of members) longestS = Math.max(longestS, session.expiryIntervalS);
  return longestS;
}
