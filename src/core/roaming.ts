/**
 * Sessions that go from region to region, as far as the core is concerned (docs/adr/0023): what a CONNECT
 * of a client from elsewhere does, letting go, taking in, and saying in the order of what is published from
 * where on messages belong to another region. Who asks whom, and when, is geo/roaming's. A node whose
 * sessions stay where they are has none.
 */

import { type Anew, Beginnings } from './beginnings.ts';
import { learnSubscriptions } from './learned-subscriptions.ts';
import { LeavingQueues, type PageReader } from './leaving-queues.ts';
import { linkIdOf } from './link-names.ts';
import type { MovedEntry } from './moved-entry.ts';
import type { Arrival, Coming, MovingSessions, Place } from './moving-sessions.ts';
import type { SessionRecord, Ticket } from './ports.ts';
import { Publication } from './publication.ts';
import type { PublishEncoder } from './publish-encoder.ts';
import { EntryState, QueueEntry } from './queue-entry.ts';
import type { AnewWord, RoamCodec } from './roam-frame.ts';
import { RoamVoice } from './roam-voice.ts';
import type { FetchAnswer, HandedSession, Mover } from './roaming-ports.ts';
import type { Source } from './roaming-record.ts';
import { RoamingState, turnAbove } from './roaming-state.ts';
import type { Services } from './services.ts';
import type { Session, Subscription } from './session.ts';
import type { ListedSession, SessionDirectory } from './session-directory.ts';
import { TicketLine } from './ticket-line.ts';

/** What waits for a move in memory; beyond it the order is given up. */
const HELD_MESSAGES_MAX = 10_000;
const HELD_BYTES_MAX = 16 * 1024 * 1024;

/** Of notes of what waits for a move. */
export const HELD_PREFIX = 'roam/';

/** A region, or one life of a node (`by`), says from where on its messages belong to another home. */
export type Announce = RoamCodec['word'];

export class Roaming implements MovingSessions {
  readonly own: string;
  readonly directory: SessionDirectory;
  /** Set by app/ before clients come. */
  mover: Mover | null = null;
  /** How what `cut` says is written. */
  announce: Announce | null = null;
  /** Keeps what waits for a move, with the commit of the turn; null: it waits no more. */
  note: ((key: string, clientId: string, entry: MovedEntry | null) => void) | null = null;
  protected readonly services: Services;
  protected readonly voice: RoamVoice;
  readonly #publication: Publication = new Publication();
  readonly #tickets: TicketLine;
  protected readonly beginnings: Beginnings = new Beginnings();
  protected readonly queues: LeavingQueues;

  constructor(
    services: Services,
    encoder: PublishEncoder,
    own: string,
    directory: SessionDirectory,
  ) {
    this.services = services;
    this.#tickets = new TicketLine(services);
    this.queues = new LeavingQueues(
      services,
      (session, entry) => this.settleMoved(session, entry),
      (region, topic) => this.mayHave(region, topic),
    );
    this.voice = new RoamVoice(services, encoder);
    this.own = own;
    this.directory = directory;
  }

  // ------------------------------------------------------------------ CONNECT

  isInformed(): boolean {
    return true;
  }

  /** A client comes whose session is not here, or not here any more. */
  arrive(arrival: Arrival): void {
    const { clientId, found, isSure } = arrival;
    const local = this.session(clientId);
    const home = this.#homeOf(clientId, found, local);
    if (home !== null || isSure || this.mover === null) {
      this.#arriveFrom(home, true, arrival);
      return;
    }
    const epoch = this.directory.nextEpoch();
    this.beginnings.asking(clientId, epoch, this.services.core.clock.monotonicMs());
    this.mover.locate(clientId, epoch, (located, isKnown) => {
      if (arrival.isWanted()) this.#arriveFrom(located, isKnown, arrival);
      else this.beginnings.ended(clientId, epoch);
    });
  }

  /** A CONNECT of a client that may be new is under way here: whoever asks for one of `epoch` is to wait for it. */
  comesBefore(clientId: string, epoch: number, region: string): boolean {
    const own = this.beginnings.epochOf(clientId, this.services.core.clock.monotonicMs());
    if (own === null) return false;
    return own < epoch || (own === epoch && this.own < region);
  }

  /** `isSure`: no other region has it; nothing where a home is named. */
  #arriveFrom(home: string | null, isSure: boolean, arrival: Arrival): void {
    const { clientId, found, isClean, isWanted, done } = arrival;
    const { beginnings } = this;
    if (home === null || isClean) {
      const anew = isClean ? 'clean' : 'unsure';
      beginnings.expect(clientId, home === null && isSure ? null : anew);
      done();
      return;
    }
    const epoch = this.directory.nextEpoch();
    if (this.mover === null) {
      this.fetched(clientId, found, { kind: 'silent' }, home, epoch, done);
      return;
    }
    this.mover.fetch(clientId, home, epoch, (answer, known) => {
      if (!isWanted()) return;
      const isLost = answer.kind === 'silent' && found === null && this.session(clientId) === null;
      beginnings.expect(clientId, isLost ? 'unsure' : null);
      this.fetched(clientId, found, answer, home, known, done);
    });
  }

  /** The directory may be a little behind what was here. */
  #homeOf(clientId: string, found: ListedSession | null, local: Session | null): string | null {
    let home = found?.home ?? null;
    let epoch = found?.listing.epoch ?? 0;
    for (const known of [local?.roam?.leaving ?? null, this.mover?.goneTo(clientId) ?? null]) {
      if (known === null || known.epoch <= epoch || known.to === this.own) continue;
      home = known.to;
      epoch = known.epoch;
    }
    // The CONNECT now is above it, also when the clock was set back.
    this.directory.observe(Math.max(epoch, local?.roam?.epoch ?? 0));
    return home;
  }

  protected fetched(
    clientId: string,
    found: ListedSession | null,
    answer: FetchAnswer,
    home: string,
    epoch: number,
    then: () => void,
  ): void {
    this.#take(clientId, found, answer, home, epoch);
    then();
  }

  #take(
    clientId: string,
    found: ListedSession | null,
    answer: FetchAnswer,
    home: string,
    epoch: number,
  ): void {
    const { core, sessions } = this.services;
    const local = core.sessions.get(clientId) ?? null;
    if (local !== null && !isLeaving(local)) return;
    if (answer.kind === 'none') {
      // It never came to go on there: all of it is here.
      if (local === null) return;
    }
    const isNone = answer.kind === 'none';
    const handed = answer.kind === 'handed' ? answer.handed : null;
    const at = answer.kind === 'handed' ? answer.home : home;
    if (local !== null) {
      this.comeBack(local, handed, isNone, found, at);
    } else {
      const record = handed?.record ?? found?.record ?? null;
      if (record === null || record.expiryIntervalS === 0) return;
      const { roaming: _, ...plain } = record;
      sessions.adopt({ home: at, record: plain, listing: found?.listing ?? NO_LISTING });
    }
    const session = core.sessions.get(clientId);
    if (session === undefined) return;
    const roam = (session.roam ??= new RoamingState(this.own, 0));
    roam.epoch = epoch;
    roam.arrived = epoch;
    if (session.listing !== null) session.listing.isWritten = false;
    if (local === null) {
      roam.born = epoch;
      roam.rest = at;
    }
    this.beginTurn(session, handed?.turn ?? found?.record.roaming?.turns.at(-1)?.[1] ?? 0);
    if (handed !== null && handed.inboundIds.length > 0) {
      session.inboundIds ??= new Set();
      for (const id of handed.inboundIds) {
        session.inboundIds.add(id);
        core.store.addInboundId(session.number, id);
      }
    }
    const known = roam.sourceOf(at);
    if (isNone) {
      roam.rest = this.own;
      roam.claim(at, epoch);
    } else if (known === null) {
      roam.addSource(at, handed?.born ?? 0);
    } else {
      known.isDone = false;
    }
    // Nobody else can hand them over now.
    if (handed === null) this.cut(session, false);
    const source = roam.sourceOf(at);
    if (source !== null) source.isUnheard = handed === null;
    sessions.save(session);
  }

  /** What its client had subscribed to in a region that was silent when it came from there. */
  learn(session: Session, source: Source, there: SessionRecord): void {
    source.isUnheard = false;
    learnSubscriptions(this.services, session, there.subscriptions);
    this.save(session);
  }

  /** Behind the home that had `turn`, as far as is known: no other home gives the same packet identifiers. */
  protected beginTurn({ roam, tailSeq }: Session, turn: number): void {
    roam!.beginTurn(tailSeq + 1, this.turnBehind(Math.max(turn, roam!.turn)));
  }

  protected turnBehind(turn: number): number {
    const { links } = this.services.core;
    return turnAbove(turn, links?.rank ?? 0, links?.regionCount ?? 1);
  }

  /**
   * It was on its way to another region, and its client is here again. `handed`: by the region `at`; null: it is
   * silent, `found` is what the directory says, or it has nothing of it (`isAllHere`). Answers what it has its
   * subscriptions from now; null: it has those it had.
   */
  protected comeBack(
    session: Session,
    handed: HandedSession | null,
    isAllHere: boolean,
    found: ListedSession | null,
    at: string,
  ): SessionRecord | null {
    const { roam } = session;
    if (roam === null || roam.leaving === null) return null;
    const { to } = roam.leaving;
    const taken = handed?.taken ?? null;
    const had = taken?.born === roam.born ? taken.had : 0;
    // Whoever answers takes no more of it. What was given to another one is delivered by one of both.
    if (at !== to) this.doubt(session);
    else if (handed !== null) roam.skipTo = Math.max(roam.skipTo, had);
    else if (!isAllHere) this.doubt(session);
    roam.leaving = null;
    roam.givenSeq = 0;
    session.queue = null;
    session.loadedSeq = Math.min(roam.skipTo, session.tailSeq);
    if (handed !== null || isAllHere) this.resolveDoubt(session, at, had);
    // A holder that died may have noted that it is elsewhere, and not settled it.
    if (roam.skipTo > 0) this.forgetUpTo(session, roam.skipTo);
    if (handed === null) {
      // Its client may have subscribed to more there, and to less.
      if (isAllHere || found === null || found.home === this.own) return null;
      return this.#subscribeAs(session, found.record);
    }
    if (at !== to && roam.doubts.of(to) !== null && roam.sourceOf(to) === null) {
      // What it has taken it may still have.
      roam.addSource(to, 0);
    }
    session.inboundIds = null;
    return this.#subscribeAs(session, handed.record);
  }

  #subscribeAs(session: Session, record: SessionRecord): SessionRecord {
    const { sessions } = this.services;
    const filters = new Set(record.subscriptions.map(({ filter }) => filter));
    for (const filter of [...(session.subscriptions?.keys() ?? [])]) {
      if (!filters.has(filter)) sessions.unsubscribe(session, filter);
    }
    for (const subscription of record.subscriptions) sessions.subscribe(session, subscription);
    sessions.countQuota(session);
    return record;
  }

  /** It is in memory before its CONNECT goes on: nothing comes with that. */
  coming(): Coming | null {
    return null;
  }

  isAway(): boolean {
    return false;
  }

  epochOf(): number {
    return 0;
  }

  moveIn(_session: Session): Ticket {
    return 0;
  }

  known(_session: Session): void {}

  /** What a node alone has taken nobody publishes again. */
  placeOf(_clientId: string): Place | null {
    return null;
  }

  /** It is all done in the turn of its CONNECT. */
  admit(): void {}
  awaitMove(): void {}

  /** What others have to know of it is in the commit that has the session. */
  begun(session: Session): Ticket {
    const { clientId, identity, durable, roam } = session;
    const anew = this.beginnings.take(clientId);
    if (anew === null) return 0;
    const epoch = roam?.epoch ?? this.directory.nextEpoch();
    this.tellBegun(clientId, epoch, anew, identity, durable);
    if (anew === 'unsure') roam?.redirect(this.own, this.own, epoch);
    return this.services.sessions.save(session);
  }

  /** It has begun anew here: older ones elsewhere end, or are handed over. */
  protected tellBegun(
    clientId: string,
    epoch: number,
    anew: Anew,
    identity: string | null,
    isLasting: boolean,
  ): void {
    if (isLasting || anew === 'clean') this.sayAnew(clientId, epoch, anew, identity);
    if (!isLasting && anew === 'clean') this.directory.forget(clientId);
  }

  /** Into the queues of all links: a region that cannot be asked hears it when it is back. */
  sayAnew(clientId: string, epoch: number, anew: Anew, identity: string | null): void {
    const payload = this.announce?.(clientId, this.own, epoch, null, { anew, identity });
    if (payload !== undefined) this.voice.announce(payload);
  }

  /** The client has its session. */
  opened(session: Session): void {
    const { clientId, roam } = session;
    this.beginnings.ended(clientId);
    if (roam !== null && roam.sources.length > 0) this.mover?.begin(session);
  }

  /** It has asked for these filters, or given them up: no other region knows of it. */
  changed(session: Session, filters: readonly string[]): void {
    const { roam } = session;
    if (roam === null || roam.leaving !== null || roam.sources.length === 0) return;
    for (const filter of filters) roam.changed.add(filter);
    if (!roam.isCut) this.cut(session, true);
  }

  // ------------------------------------------------------------------ the region it comes from

  /** Ends its connection; what comes from now on waits for `to`. The ticket that makes it durable. */
  letGo(session: Session, to: string, epoch: number): Ticket {
    const { core, sessions } = this.services;
    session.roam ??= new RoamingState(this.own, session.tailSeq);
    const { roam } = session;
    const wasHere = roam.leaving === null;
    if (!wasHere && roam.leaving!.to !== to) this.doubt(session);
    roam.leaving = { to, epoch };
    if (!wasHere) return sessions.save(session);
    roam.givenSeq = 0;
    this.release(session);
    if (session.owner !== null) {
      core.stats.sessionsTakenOver++;
      session.owner.close('session_taken_over');
    }
    if (session.ended) return 0;
    // It goes on elsewhere [MQTT5-3.1.3-9].
    sessions.voidWill(session);
    for (const subscription of [...(session.subscriptions?.values() ?? [])]) {
      if (subscription.group !== null) sessions.unsubscribe(session, subscription.fullFilter);
    }
    for (let i = 0; i < (session.queue?.length ?? 0); i++) {
      const { seq, state, sentBefore } = session.queue!.at(i)!;
      if (state === EntryState.SETTLED) continue;
      if (sentBefore || state === EntryState.RELEASED) roam.sent.add(seq);
    }
    // From here on the store alone has it.
    session.queue = null;
    session.reading = false;
    session.loadedSeq = 0;
    return sessions.save(session);
  }

  /** Whether it is known of each QoS 2 message of its client whether it was taken. */
  isInboundSettled(session: Session): boolean {
    const { core } = this.services;
    for (const [packetId, { message, ticket, failed }] of session.unanswered ?? []) {
      if (message !== null || ticket > core.settledTicket) return false;
      if (!failed && !core.failedTickets.has(ticket)) continue;
      session.inboundIds?.delete(packetId);
      session.unanswered!.delete(packetId);
    }
    return true;
  }

  /** What follows `had`, which is durable elsewhere: that goes. */
  readPage(session: Session, had: number, bytesMax: number, to: string, done: PageReader): void {
    this.queues.readPage(session, had, bytesMax, to, done);
  }

  protected settleMoved(session: Session, entry: QueueEntry): void {
    this.services.delivery.settle(session, entry);
  }

  /** Found at the start: what another region has of it is still to be settled. */
  restored(session: Session): void {
    const { roam } = session;
    if (roam === null || roam.leaving !== null) return;
    if (roam.skipTo > 0) this.forgetUpTo(session, roam.skipTo);
  }

  /** Settles what another region has, of a session that is served here again. */
  protected forgetUpTo(session: Session, had: number): void {
    this.queues.settleUpTo(session, had, () => {});
  }

  /** What was given to the region it leaves for may be there: that one has to say. False: nothing was. */
  protected doubt(session: Session): boolean {
    if (session.roam?.doubtGiven() !== true) return false;
    this.mover?.inquire(session);
    return true;
  }

  /** `region` says how far it has come with what was given to it, and takes no more of that: the rest is here. */
  resolveDoubt(session: Session, region: string, had: number): void {
    this.queues.resolve(session, region, had);
  }

  /** That far `region` has come with this queue, which it asks for no more. The ticket that makes it known here. */
  closeTaken(session: Session, region: string, had: number): Ticket {
    const roam = session.roam!;
    if (roam.leaving?.to === region && had > roam.skipTo) {
      roam.skipTo = had;
      this.forgetUpTo(session, had);
    }
    this.resolveDoubt(session, region, had);
    return this.save(session);
  }

  /** What is on its way into the queue from other regions is there, and how far these are known to have come. */
  whenTaken(_session: Session, then: () => void): void {
    then();
  }

  /** All of it is elsewhere. */
  forget(session: Session): Ticket {
    const { sessions } = this.services;
    sessions.end(session);
    return sessions.endTicket;
  }

  // ------------------------------------------------------------------ the region it comes to

  /** Into the queue, with `source.had` in the same commit. Its ticket. */
  takeIn(session: Session, source: Source, entries: readonly MovedEntry[]): Ticket {
    const { delivery, sessions } = this.services;
    const roam = session.roam!;
    for (const { message, qos, retain, subscriptionIds, id, isReleased } of entries) {
      const seq = ++session.tailSeq;
      const entry = new QueueEntry(seq, message, qos, retain, subscriptionIds, false);
      if (id !== 0) {
        roam.giveId(seq, id, isReleased);
        roam.recall(entry);
      }
      delivery.takeIn(session, entry);
    }
    source.had = entries.at(-1)!.seq;
    roam.lastSeq = -1;
    const ticket = sessions.save(session);
    delivery.pump(session);
    return ticket;
  }

  /** What is published here from now on is for the session here; it waits for what was before, or not. */
  cut(session: Session, holds: boolean): void {
    const roam = session.roam!;
    if (holds) roam.held ??= [];
    if (roam.isCut) return;
    const epoch = Math.max(roam.epoch, roam.born);
    this.redirectOwn(session, this.own, epoch);
  }

  /** What is published here from now on belongs to `to`; all regions with a link hear of it in its place. */
  redirectOwn(session: Session, to: string, epoch: number): Ticket {
    const { sessions } = this.services;
    const roam = session.roam!;
    if (!roam.redirect(this.own, to, epoch)) return 0;
    this.tellMoved(session.clientId, to, epoch);
    return sessions.save(session);
  }

  /** The same of a session that is not here. */
  tellMoved(clientId: string, to: string, epoch: number, by: string | null = null): void {
    const payload = this.announce?.(clientId, to, epoch, by, null);
    if (payload !== undefined) this.voice.announce(payload);
  }

  /** A region has not heard what this one has said: the queue that word was in may have lost it. */
  sayAgain(clientId: string, session: Session | null, to: string, epoch: number): void {
    const said = session?.roam?.wordOf(this.own) ?? null;
    if (said !== null) this.repeat(clientId, said.to, said.epoch);
    else if (session === null) this.tellMoved(clientId, to, epoch);
    else if (to === this.own) this.repeat(clientId, to, epoch);
  }

  protected repeat(clientId: string, to: string, epoch: number): void {
    this.tellMoved(clientId, to, epoch);
  }

  /**
   * Another region has said so, or `by`, one life of a node there. What is given back is called when all that was
   * published before it is kept, or is not: the ticket that makes it durable; 0: it is nothing new.
   */
  redirected(
    origin: string,
    clientId: string,
    to: string,
    epoch: number,
    by: string | null = null,
  ): (failed: boolean) => Ticket {
    const session = this.session(clientId);
    const roam = session?.roam ?? null;
    if (session === null || roam === null || !session.durable) return nothingNew;
    const isBehind = to !== this.own && epoch < roam.epoch;
    if (isBehind && roam.saidOf(this.own) < roam.epoch) this.insist(session);
    const word = roam.hear(by ?? origin, to, epoch);
    if (word === null) return nothingNew;
    // A later CONNECT there, which this region could not be asked about.
    const isLater = to !== this.own && roam.leaving === null && epoch > roam.epoch;
    if (isLater) this.letGo(session, to, epoch);
    return (failed) => {
      roam.keep(word, failed);
      return session.ended ? 0 : this.save(session);
    };
  }

  /**
   * Its client has begun anew in that region. `keep` as of `redirected`; `outcome`: it has ended here, or what is
   * there is to be fetched.
   */
  begunElsewhere(
    region: string,
    clientId: string,
    epoch: number,
    { anew, identity }: AnewWord,
  ): BegunElsewhere {
    const session = this.session(clientId);
    if (session === null || session.ended || !session.durable) return NOTHING_BEGUN;
    // What is somebody else's is nobody's to end, or to have.
    if (session.identity !== null && session.identity !== identity) return NOTHING_BEGUN;
    if (isNewer(session, region, epoch)) {
      this.insist(session);
      const keep = (): Ticket => (session.ended ? 0 : this.save(session));
      if (anew === 'clean' || isLeaving(session)) return { keep, outcome: null };
      // What is published there from here on is in that one's queue.
      session.roam!.concede(region, epoch);
      return { keep, outcome: 'fetch' };
    }
    if (anew === 'unsure') {
      return { keep: this.redirected(region, clientId, region, epoch), outcome: null };
    }
    this.end(session, identity);
    return { keep: () => this.services.sessions.endTicket, outcome: 'ended' };
  }

  /** A home elsewhere with an earlier CONNECT is to let go. Once what is published here is for the session here. */
  protected insist(session: Session): void {
    const roam = session.roam!;
    if (roam.leaving !== null || roam.homeOf(this.own) !== this.own) return;
    roam.redirect(this.own, this.own, roam.epoch);
    this.tellHere(session.clientId, roam.epoch);
    this.save(session);
  }

  /** All regions are told that its home is here. */
  protected tellHere(clientId: string, epoch: number): void {
    this.tellMoved(clientId, this.own, epoch);
  }

  /** To a region that has a link up; false: it has none. What is lost is asked for again. */
  tell(region: string, topic: string, payload: Buffer): boolean {
    return this.voice.tell(region, topic, payload);
  }

  // ------------------------------------------------------------------ what waits for a move

  /** `publication` comes behind what is on its way from another region. */
  hold(session: Session, publication: Publication, receiver: Subscription, qos: 1 | 2): void {
    const roam = session.roam!;
    const message = publication.message();
    message.unsafeCount++;
    const retain = receiver.retainAsPublished && publication.view.retain;
    const { subscriptionIds } = receiver;
    const { core } = this.services;
    // Its publisher may be known to have sent it: after a crash it would not be taken again.
    const key = publication.view.qos === 2 ? `${HELD_PREFIX}${core.nextSequence++}` : null;
    roam.held!.push({ message, subscriptionIds, qos, retain, key });
    roam.heldBytes += message.bytes;
    if (key !== null) {
      const entry = { seq: 0, message, qos, retain, subscriptionIds, id: 0, isReleased: false };
      this.note?.(key, session.clientId, entry);
    }
    if (roam.held!.length === 1) return;
    if (roam.held!.length < HELD_MESSAGES_MAX && roam.heldBytes < HELD_BYTES_MAX) return;
    core.scheduler.endOfTurn(() => this.release(session));
  }

  /** Nothing more is waited for. */
  release(session: Session): void {
    const { delivery } = this.services;
    const { roam } = session;
    if (roam === null || roam.held === null) return;
    const { held } = roam;
    roam.held = null;
    roam.heldBytes = 0;
    for (const { message, subscriptionIds, qos, retain, key } of held) {
      if (!session.ended) {
        this.#publication.setMessage(message, message.sequence);
        delivery.deliverLate(session, this.#publication, subscriptionIds, qos, retain);
      }
      if (key !== null) this.note?.(key, session.clientId, null);
      delivery.appended(message, false);
    }
    if (!session.ended) delivery.pump(session);
  }

  /** What was held when this node died. Its note goes with the commit that has it in the queue. */
  recall(key: string, clientId: string, entry: MovedEntry): void {
    const { core, delivery } = this.services;
    const session = this.session(clientId);
    if (session?.durable && session.roam !== null) {
      const { message, subscriptionIds, qos, retain } = entry;
      this.#publication.setMessage(message, message.sequence);
      delivery.deliverLate(session, this.#publication, subscriptionIds, qos, retain);
    } else core.drop('session_expired', clientId, entry.message.topic);
    this.note?.(key, clientId, null);
  }

  // ------------------------------------------------------------------ other regions

  /** Text of a region with a link here, which its client may not have said. */
  asked(region: string, payload: Buffer): void {
    this.mover?.asked(region, payload);
  }

  // ------------------------------------------------------------------ commits

  whenDurable(ticket: Ticket, done: (failed: boolean) => void): void {
    this.#tickets.when(ticket, done);
  }

  // ------------------------------------------------------------------ for geo/roaming

  session(clientId: string): Session | null {
    return this.services.core.sessions.get(clientId) ?? null;
  }

  sessions(): Iterable<Session> {
    return this.services.core.sessions.values();
  }

  /** All regions can read that its home is here; if it has come without its client, that is told. */
  isListed(session: Session): boolean {
    const { directory } = this;
    if (directory.isListed(session)) return true;
    const { roam, listing } = session;
    if (roam !== null && roam.leaving === null && listing !== null && listing.epoch < roam.epoch) {
      directory.claimed(session);
      roam.epoch = Math.max(roam.epoch, session.listing!.epoch);
    }
    return false;
  }

  nextSequence(): number {
    return this.services.core.nextSequence++;
  }

  /** Whether that region may have the topic. */
  mayHave(region: string, topic: string): boolean {
    return this.services.core.links?.peerOf(linkIdOf(region))?.mayHave(topic) === true;
  }

  /** Letting go of it is under way until that ticket is settled; 0: it is not. */
  pending(_session: Session): Ticket {
    return 0;
  }

  save(session: Session): Ticket {
    return this.services.sessions.save(session);
  }

  /** Of a clean start elsewhere by `identity`. */
  end(session: Session, identity: string | null): void {
    const { sessions } = this.services;
    if (session.identity !== null && session.identity !== identity) return;
    session.owner?.close('session_taken_over');
    sessions.end(session);
  }
}

/** What the word of a session that has begun anew elsewhere comes to. */
export interface BegunElsewhere {
  readonly keep: (failed: boolean) => Ticket;
  readonly outcome: 'ended' | 'fetch' | null;
}

export function isLeaving({ roam }: Session): boolean {
  return roam !== null && roam.leaving !== null;
}

function nothingNew(): Ticket {
  return 0;
}

const NOTHING_BEGUN: BegunElsewhere = { keep: nothingNew, outcome: null };

/** Its client has been here since that CONNECT in another region, or in a third one. */
export function isNewer({ roam }: Session, region: string, epoch: number): boolean {
  if (roam === null) return false;
  const { leaving } = roam;
  if (leaving !== null && leaving.to !== region && leaving.epoch > epoch) return true;
  return roam.epoch > epoch;
}

const NO_LISTING = { epoch: 0, timeUs: 0, expiryIntervalS: 0 };

/** The record as a home hands it over. */
export function handedRecord(session: Session): SessionRecord {
  return { ...session.record(), will: null };
}
