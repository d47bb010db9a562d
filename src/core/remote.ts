/**
 * What other nodes of the datacenter do here: their messages, what their clients want, sessions that
 * are elsewhere or nowhere, and who takes a session from this node. Called by cluster/ through
 * `RemoteSide`; hears from the shared store what became of appends.
 */

import { parseSharedFilter } from '../wire/topic.ts';
import { whenSafe } from './awaited.ts';
import type {
  Awaited,
  Bus,
  Incarnation,
  Interest,
  OwnedQueue,
  Peer,
  RemoteSide,
  RetainedVersion,
  SessionImage,
  SharedEvents,
  SubscriptionChange,
  WillOfAbsent,
} from './cluster-ports.ts';
import type { Connection } from './connection.ts';
import type { Message } from './message.ts';
import { Ownership } from './ownership.ts';
import { Publication } from './publication.ts';
import type { Services } from './services.ts';
import { Session } from './session.ts';
import { type SharedAppend, willIdentity } from './shared-append.ts';
import { imageOf, type Tenure } from './tenure.ts';

/** How long the end of a session outweighs late news of it; and how many ends are kept. */
const TOMBSTONE_MS = 600_000;
const TOMBSTONES_MAX = 100_000;

interface Tombstone {
  readonly epoch: number;
  readonly atMs: number;
}

export class Remote implements RemoteSide, SharedEvents {
  readonly #services: Services & { readonly connections: Set<Connection> };
  readonly #bus: Bus;
  readonly #tenure: Tenure;
  readonly #publication: Publication = new Publication();
  /** By client id, oldest first. */
  readonly #ends: Map<string, Tombstone> = new Map();

  constructor(
    services: Services & { readonly connections: Set<Connection> },
    bus: Bus,
    tenure: Tenure,
  ) {
    this.#services = services;
    this.#bus = bus;
    this.#tenure = tenure;
  }

  // ------------------------------------------------------------------ live messages

  deliver(message: Message): void {
    const publication = this.#remote(message);
    if (publication === null) return;
    const { core, fanout } = this.#services;
    const entry = core.router.lookup(publication.view);
    fanout.send(publication, entry.route);
  }

  deliverToGroup(message: Message, group: string, filter: string): void {
    const { core, fanout } = this.#services;
    const shared = core.router.groupOf(group, filter);
    if (shared === null) {
      core.drop('no_member', '', message.topic);
      return;
    }
    const publication = this.#remote(message);
    if (publication !== null) fanout.sendToGroup(publication, shared);
  }

  /** The message may live in the frame it came in: whoever keeps it makes a copy. */
  #remote(message: Message): Publication | null {
    const { core } = this.#services;
    const publication = this.#publication;
    publication.setTransient(message, core.nextSequence++);
    publication.isRemote = true;
    publication.mark = message.mark;
    publication.from = null;
    publication.fromId = '';
    publication.expiryS = -1;
    if (message.expiresAtMs !== 0) {
      const remainingMs = message.expiresAtMs - core.clock.wallMs();
      if (remainingMs <= 0) return null;
      publication.expiryS = Math.ceil(remainingMs / 1000);
    }
    return publication;
  }

  applyRetained(topic: string, message: Message | null, version: RetainedVersion): void {
    this.#services.publisher.applyRetained(topic, message, version);
  }

  forgetTombstone(topic: string): void {
    const { core } = this.#services;
    // Meanwhile there may be a message again, which is in the tombstone's place.
    if (core.retained.slotOf(topic) === -1) core.store.forgetTombstone(topic);
  }

  // ------------------------------------------------------------------ routes

  addPeer(peer: Peer): void {
    this.#services.core.peers.add(peer.incarnation);
    this.#services.core.stats.peers++;
  }

  removePeer(peer: Peer): void {
    this.#services.core.peers.delete(peer.incarnation);
    this.#services.core.stats.peers--;
    this.#services.core.router.removePeer(peer);
  }

  setInterest(peer: Peer, filter: string, interest: Interest): void {
    this.#services.core.router.setInterest(peer, filter, interest);
  }

  setGroup(peer: Peer, group: string, filter: string, members: number): void {
    this.#services.core.router.setGroup(peer, group, filter, members);
  }

  // ------------------------------------------------------------------ sessions elsewhere

  applySession(image: SessionImage): void {
    const { core } = this.#services;
    const { clientId, sid, epoch, counter, owner } = image;
    const end = this.#ends.get(clientId);
    if (end !== undefined && end.epoch >= epoch) return;
    let session = core.sessions.get(clientId) ?? null;
    const known = session?.ownership ?? null;
    if (session !== null && known !== null) {
      if (epoch < known.epoch || (epoch === known.epoch && counter < known.counter)) return;
      // Nobody but the owner changes what it owns.
      if (epoch === known.epoch && this.#isOwnedHere(session)) return;
      this.#tenure.giveUp(session);
      if (known.sid !== sid && !session.ended) this.#tenure.forget(session);
      if (session.ended) session = null;
    }
    if (session === null) {
      session = new Session(clientId, core.nextSessionNumber++, image.identity, image.tenant);
      core.addShared(session);
    }
    session.durable = true;
    session.tenant = image.tenant;
    session.expiryIntervalS = image.expiryIntervalS;
    session.ownership = new Ownership(sid, epoch, counter, owner);
    core.directory?.released(session);
    if (owner !== null) session.disconnectedAtMs = 0;
    else if (session.disconnectedAtMs === 0) session.disconnectedAtMs = core.clock.wallMs();
    this.#bus.sessions.bind(session.number, clientId, sid, epoch);
    this.#tenure.setSubscriptions(session, image.subscriptions);
    core.roaming?.known(session);
    if (owner !== null && core.groupQueues.size > 0) this.#feed(image);
  }

  /** A member of a shared subscription is there again. */
  #feed({ subscriptions }: SessionImage): void {
    const { groupQueues } = this.#services.core;
    for (const { filter } of subscriptions) groupQueues.get(filter)?.feed?.pump();
  }

  applyChange(change: SubscriptionChange): boolean {
    const { core, sessions } = this.#services;
    const session = core.sessions.get(change.clientId);
    const known = session?.ownership ?? null;
    if (session === undefined || known === null) {
      const end = this.#ends.get(change.clientId);
      return end !== undefined && end.epoch >= change.epoch;
    }
    if (change.epoch < known.epoch) return true;
    if (change.epoch > known.epoch || change.sid !== known.sid) return false;
    if (change.counter <= known.counter) return true;
    if (change.counter !== known.counter + 1) return false;
    known.counter = change.counter;
    for (const filter of change.removed) sessions.unsubscribe(session, filter);
    for (const record of change.added) sessions.subscribe(session, record);
    return true;
  }

  applyEnd(clientId: string, sid: string, epoch: number): void {
    const { core } = this.#services;
    this.#bury(clientId, epoch);
    const session = core.sessions.get(clientId);
    const known = session?.ownership ?? null;
    if (session === undefined || known === null) return;
    // Without a sid: whichever it is by then.
    if ((sid !== '' && known.sid !== sid) || known.epoch > epoch) return;
    this.#tenure.giveUp(session);
    this.#tenure.forget(session);
  }

  endedEpoch(clientId: string): number {
    return this.#ends.get(clientId)?.epoch ?? 0;
  }

  /** Late news of the session must not bring it back (hard case 6). */
  #bury(clientId: string, epoch: number): void {
    const ends = this.#ends;
    const nowMs = this.#services.core.clock.monotonicMs();
    const before = ends.get(clientId);
    ends.delete(clientId);
    ends.set(clientId, { epoch: Math.max(epoch, before?.epoch ?? 0), atMs: nowMs });
    for (const [oldest, { atMs }] of ends) {
      if (ends.size <= TOMBSTONES_MAX && nowMs - atMs < TOMBSTONE_MS) break;
      ends.delete(oldest);
    }
  }

  ownerDied(owner: Incarnation): void {
    const { core } = this.#services;
    for (const session of core.sessions.values()) {
      if (session.ownership === null || session.ownership.owner !== owner) continue;
      session.ownership.owner = null;
      session.disconnectedAtMs = core.clock.wallMs();
    }
  }

  orphaned(clientId: string): void {
    const { core } = this.#services;
    const session = core.sessions.get(clientId);
    if (session?.ownership?.owner === null) core.directory?.left(session);
  }

  // ------------------------------------------------------------------ ownership

  #isOwnedHere(session: Session): boolean {
    const { ownership } = session;
    return ownership !== null && !ownership.isLost && ownership.owner === this.#bus.incarnation;
  }

  letGo(clientId: string, epoch: number, done: (hasPromised?: boolean) => void): void {
    const session = this.#services.core.sessions.get(clientId);
    const ownership = session?.ownership ?? null;
    if (ownership !== null && ownership.epoch >= epoch) {
      done();
      return;
    }
    const { unqueued } = this.#tenure;
    const { clock } = this.#services.core;
    const settled = (): void =>
      unqueued.whenQueued(clientId, () =>
        done(unqueued.hadPromised(clientId, clock.monotonicMs())),
      );
    if (session === undefined || ownership === null) {
      settled();
      return;
    }
    // Its client may have said goodbye before it went there: then the new owner has no will to publish.
    session.owner?.hearGoodbye?.();
    if (this.#isOwnedHere(session)) {
      this.#tenure.giveUp(session);
      ownership.owner = null;
    }
    // Also of a connection that was gone before: its messages may be on their way.
    if (ownership.lingering === null) settled();
    else ownership.lingering.whenOver(settled);
  }

  hint(clientId: string, sid: string, tailSeq: number): void {
    const session = this.#services.core.sessions.get(clientId);
    if (session === undefined || session.ownership?.sid !== sid) return;
    if (this.#isOwnedHere(session)) this.#services.delivery.grown(session, tailSeq, null);
  }

  lost(): void {
    const { core, connections } = this.#services;
    this.#tenure.lost();
    for (const session of [...core.sessions.values()]) {
      if (session.ownership === null) continue;
      // What it does not own stays known until the tables of the others replace it.
      if (!this.#isOwnedHere(session)) continue;
      session.ownership.isLost = true;
      this.#tenure.giveUp(session, 'node_fenced');
      if (!session.ended) session.ownership.owner = null;
    }
    for (const connection of [...connections]) connection.close('node_fenced');
  }

  unfenced(): void {
    this.#tenure.unfenced();
    for (const connection of [...this.#services.connections]) connection.leaseRenewed();
  }

  // ------------------------------------------------------------------ what others are told

  *interests(): Iterable<readonly [string, Interest]> {
    yield* this.#services.core.interests!.filters();
  }

  *groups(): Iterable<readonly [string, string, number]> {
    yield* this.#services.core.interests!.groups();
  }

  *ownedSessions(): Iterable<SessionImage> {
    for (const session of this.#services.core.sessions.values()) {
      if (session.durable && this.#isOwnedHere(session)) yield imageOf(session);
    }
  }

  *knownSessions(): Iterable<SessionImage> {
    for (const session of this.#services.core.sessions.values()) {
      if (session.durable && session.ownership !== null) yield imageOf(session);
    }
  }

  knownSession(clientId: string): SessionImage | null {
    const session = this.#services.core.sessions.get(clientId);
    if (session === undefined || !session.durable || session.ownership === null) return null;
    return imageOf(session);
  }

  queueOf(clientId: string): OwnedQueue | null {
    const session = this.#services.core.sessions.get(clientId);
    if (session === undefined || !session.durable || !this.#isOwnedHere(session)) return null;
    return { tailSeq: session.tailSeq, messages: session.queuedMessages };
  }

  retained(): Iterable<Message> {
    return this.#services.retainedView.all();
  }

  retainedOf(topic: string): Message | null {
    return this.#services.core.retained.get(topic);
  }

  publishWill(will: WillOfAbsent, awaited: Awaited): void {
    const { clientId, identity, tenant, sid, message } = will;
    // Redis has yet to hear so.
    if (this.#tenure.hasLeft(clientId, will.epoch)) return;
    awaited.unsafeCount++;
    const settled = (failed: boolean): void => {
      if (failed) awaited.failed = true;
      awaited.unsafeCount--;
      if (awaited.unsafeCount === 0) awaited.waiter?.messageSafe();
    };
    const principal = { clientId, identity, tenant };
    const name = willIdentity(sid, will.epoch);
    this.#services.sessions.wills.publish(principal, null, message, name, settled);
  }

  // ------------------------------------------------------------------ SharedEvents

  queued(
    sessionNumber: number,
    append: SharedAppend,
    seq: number,
    owner: Incarnation | null,
    dropped: number,
  ): void {
    const { core, delivery } = this.#services;
    this.keptQueued(append);
    if (!append.isKept) delivery.appended(append.message, false);
    const session = core.sessionsByNumber.get(sessionNumber);
    if (session === undefined) return;
    const { budget } = session;
    if (budget !== null) budget.dropped += dropped;
    for (let i = 0; i < dropped; i++) {
      core.drop(budget?.reason ?? 'queue_full', session.clientId, append.message.topic);
    }
    if (seq === 0 || owner === null) return;
    if (owner !== this.#bus.incarnation) {
      this.#bus.hint(owner, session.clientId, session.ownership!.sid, seq);
    } else if (this.#isOwnedHere(session)) {
      delivery.grown(session, seq, append);
    }
  }

  kept(_sessionNumber: number, append: SharedAppend): void {
    // Whoever has the links next would let what is behind it overtake it.
    if (append.comesAgain) return;
    append.isKept = true;
    append.isUnqueued = true;
    this.#tenure.unqueued.kept(append.fromId);
    this.#services.delivery.appended(append.message, false);
  }

  keptQueued(append: SharedAppend): void {
    if (!append.isUnqueued) return;
    append.isUnqueued = false;
    this.#tenure.unqueued.queued(append.fromId);
  }

  inboundKept(clientId: string): void {
    this.#tenure.unqueued.kept(clientId);
  }

  inboundWritten(clientId: string): void {
    const { unqueued } = this.#tenure;
    unqueued.promised(clientId, this.#services.core.clock.monotonicMs());
    unqueued.queued(clientId);
  }

  enqueueFailed(
    sessionNumber: number,
    append: SharedAppend,
    why: 'gone' | 'full' | 'failed',
  ): void {
    const { core, delivery } = this.#services;
    append.refusal = why;
    const session = core.sessionsByNumber.get(sessionNumber);
    const clientId = session?.clientId ?? '';
    if (why === 'full') core.drop('queue_full', clientId, append.message.topic);
    if (why === 'failed') core.drop('store_failed', clientId, append.message.topic);
    // A session that is gone is owed nothing; a full queue is what its bounds are for.
    this.keptQueued(append);
    if (why === 'gone' && append.isForGroup) {
      this.#giveToMember(append);
      return;
    }
    if (append.isKept) return;
    delivery.appended(append.message, why === 'failed');
  }

  /** The queue of its group has ended with the last member, and another one came since. */
  #giveToMember(append: SharedAppend): void {
    const { delivery, publisher } = this.#services;
    const { message, identity, isKept } = append;
    const { group, filter } = parseSharedFilter(append.sharedFilter!)!;
    const given = publisher.giveToMember(message, group, filter, identity);
    if (isKept) return;
    if (given === null) delivery.appended(message, false);
    else whenSafe(given, () => delivery.appended(message, given.failed));
  }

  fenced(sessionNumber: number): void {
    const session = this.#services.core.sessionsByNumber.get(sessionNumber);
    if (session === undefined || !this.#isOwnedHere(session)) return;
    this.#tenure.giveUp(session);
    if (!session.ended) session.ownership!.owner = null;
  }
}
