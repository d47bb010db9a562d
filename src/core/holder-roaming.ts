import type { PageReader } from './leaving-queues.ts';
import { MoveTickets } from './move-tickets.ts';
import { MovedDoubts } from './moved-doubts.ts';
import type { MovedEntry } from './moved-entry.ts';
import { MovedQueue } from './moved-queue.ts';
import { MovingOwner } from './moving-owner.ts';
import { type Moving, MovingTable, type RoamNotes } from './moving-table.ts';
import type { Ticket } from './ports.ts';
import type { PublishEncoder } from './publish-encoder.ts';
import type { QueueEntry } from './queue-entry.ts';
import type { FoundElsewhere, Placement } from './roam-frame.ts';
import type { ArrivalAnswer, AskedArrival, RoamHolder } from './roam-holder.ts';
import { isLeaving, Roaming } from './roaming.ts';
import type { FetchAnswer } from './roaming-ports.ts';
import type { Source } from './roaming-record.ts';
import { RoamingState } from './roaming-state.ts';
import type { Services } from './services.ts';
import type { Session } from './session.ts';
import { type ListedSession, roams, type SessionDirectory } from './session-directory.ts';
import { beganMs } from './session-life.ts';
import { moveIdentity } from './shared-append.ts';
import type { SharedRoaming } from './shared-roaming.ts';

const US_PER_MS = 1000;
const LOOK_MS = 250;
/** A client that does not come for what was fetched for it: its home has it all. */
const UNOPENED_MS = 600_000;
/** Clients of which this region, which has nothing of them, has said where its messages belong. */
const TOLD_MAX = 10_000;
/** A node that has its client has said so by then. */
const OPENED_MS = 5000;
/** A region has said by then what it has to, also after a node of it has died. */
const AGAIN_MS = 15_000;
const NEVER_EXPIRES = 0xffffffff;

export class HolderRoaming extends Roaming implements RoamHolder {
  /** Regions with links; set by app/. */
  regions: () => Iterable<string> = () => [];
  readonly #shared: SharedRoaming;
  readonly #moving: MovingTable;
  readonly #tickets: MoveTickets = new MoveTickets();
  readonly #queue: MovedQueue;
  readonly #doubts: MovedDoubts;
  readonly #owner: MovingOwner;
  readonly #told: Map<string, number> = new Map();
  #lookMs = 0;

  constructor(
    services: Services,
    encoder: PublishEncoder,
    directory: SessionDirectory,
    shared: SharedRoaming,
    notes: RoamNotes,
  ) {
    super(services, encoder, shared.own, directory);
    this.announce = shared.codec.word;
    this.#shared = shared;
    this.#moving = new MovingTable(shared.own, notes, shared.codec, this.#tickets);
    this.#queue = new MovedQueue(services);
    const parts = { services, table: this.#moving, tickets: this.#tickets };
    this.#doubts = new MovedDoubts(parts, this.#queue);
    this.#owner = new MovingOwner(parts, this.#doubts);
  }

  // ------------------------------------------------------------------ terms of the role

  /** A note of the holder before; false: it is of others. */
  restore(key: string, value: Buffer): boolean {
    const nowMs = this.services.core.clock.monotonicMs();
    return this.#moving.restore(key, value, () => this.nextSequence(), nowMs);
  }

  /** Redis has lost what was noted, and this node knows it yet. */
  recover(earlier: HolderRoaming): void {
    this.#moving.recover(earlier.#moving);
  }

  /** All notes are read; `mover` is set, and started after this. */
  resume(): void {
    this.#moving.restored();
    this.#shared.begin(this);
    for (const moving of this.#moving.all()) {
      this.#shared.place(moving.clientId, moving.placement, () => {});
      const session = this.session(moving.clientId);
      if (session === null || moving.state.leaving === null) continue;
      // Its owner is dead, or about to let go.
      this.#owner.takeUp(moving, session);
    }
    this.#shared.inform();
  }

  /** Another node has the links, or will. */
  close(): void {
    this.#moving.isOver = true;
    this.#shared.end();
    this.#tickets.failAll();
  }

  stateOf(clientId: string): RoamingState | null {
    return this.#moving.get(clientId)?.state ?? null;
  }

  /** A session that its client has begun anew has nothing elsewhere that is wanted. */
  sees({ clientId, ownership }: Session): void {
    const moving = this.#moving.get(clientId);
    if (moving === null || moving.sid === '' || ownership === null) return;
    if (ownership.sid !== moving.sid) this.#drop(moving);
  }

  #make(clientId: string, state: RoamingState, placement: Placement): Moving {
    return this.#moving.make(clientId, state, placement, this.services.core.clock.monotonicMs());
  }

  // ------------------------------------------------------------------ tickets

  override whenDurable(ticket: Ticket, done: (failed: boolean) => void): void {
    this.#tickets.when(ticket, done);
  }

  override pending(session: Session): Ticket {
    const moving = this.#moving.get(session.clientId);
    if (moving === null) return 0;
    const { isRestored, state, leaving } = moving;
    if (isRestored && state.leaving !== null && leaving === 0) this.#owner.takeUp(moving, session);
    return moving.leaving;
  }

  override save(session: Session): Ticket {
    const moving = this.#moving.get(session.clientId);
    if (moving === null) return 0;
    const noted = this.#moving.note(moving);
    // Nothing is told of one that is being let go of before it is.
    return moving.leaving === 0 ? noted : this.#tickets.both(noted, moving.leaving);
  }

  // ------------------------------------------------------------------ sessions

  override session(clientId: string): Session | null {
    const session = super.session(clientId);
    if (session === null || !session.durable || session.ownership === null) return null;
    if (!roams(clientId)) return null;
    const state = this.#moving.get(clientId)?.state;
    if (state !== undefined && session.roam !== state) this.#shared.known(session);
    const roam = (session.roam ??= new RoamingState(this.own, session.tailSeq));
    if (roam.leaving === null) {
      roam.epoch = Math.max(roam.epoch, session.ownership.epoch * US_PER_MS);
      if (roam.born === 0) roam.born = beganMs(session.ownership.sid) * US_PER_MS || roam.epoch;
    }
    return session;
  }

  override *sessions(): Iterable<Session> {
    for (const { clientId, isOpened, state } of this.#moving.all()) {
      const session = this.session(clientId);
      if (session !== null && (isOpened || state.leaving !== null)) yield session;
    }
  }

  #movingOf(session: Session): Moving {
    const { clientId } = session;
    const known = this.#moving.get(clientId);
    if (known !== null) return known;
    const roam = session.roam!;
    const { own } = this;
    const placement = { to: own, was: own, epoch: roam.epoch, away: null, isSaid: false };
    const moving = this.#make(clientId, roam, placement);
    moving.isOpened = true;
    moving.sid = session.ownership!.sid;
    return moving;
  }

  // ------------------------------------------------------------------ CONNECT

  /** A client has come to a node of this region. */
  arriveAt(asked: AskedArrival, answer: (answer: ArrivalAnswer) => void): void {
    const { client, found, isSure, isClean } = asked;
    this.arrive({
      clientId: client,
      found: found === null ? null : listed(found),
      ...{ isSure, isClean },
      isWanted: () => !this.#moving.isOver,
      done: () => {
        const moving = this.#moving.get(client);
        // What was is over; where it has gone is told to end it.
        if (isClean && moving !== null) this.#drop(moving);
        answer(this.#answerFor(client));
      },
      refused: () => {},
    });
  }

  #answerFor(client: string): ArrivalAnswer {
    const { coming = null, state = null } = this.#moving.get(client) ?? {};
    // Whoever has it elsewhere is to end it, and has an epoch that is not known here.
    const begunUs = this.beginnings.has(client) ? this.directory.nextEpoch() : 0;
    const epoch = Math.max(state?.epoch ?? 0, begunUs);
    const { record = null, inboundIds = [], turns = [] } = coming ?? {};
    return { client, epoch, record, inboundIds, turns };
  }

  protected override fetched(
    clientId: string,
    found: ListedSession | null,
    answer: FetchAnswer,
    home: string,
    epoch: number,
    then: () => void,
  ): void {
    const forgetting = this.#moving.get(clientId)?.forgetting ?? 0;
    if (forgetting !== 0) {
      // All of it is where it comes from; what is here is on its way out.
      this.whenDurable(forgetting, () => this.fetched(clientId, found, answer, home, epoch, then));
      return;
    }
    const local = this.session(clientId);
    if (local !== null && isLeaving(local)) {
      this.#fetchedBack(local, found, answer, home, epoch, then);
      return;
    }
    const handed = answer.kind === 'handed' ? answer.handed : null;
    const record = handed?.record ?? found?.record ?? null;
    if (local !== null || answer.kind === 'none' || record === null) {
      then();
      return;
    }
    const at = answer.kind === 'handed' ? answer.home : home;
    const { roaming, ...plain } = record;
    const state = new RoamingState(this.own, 0);
    state.epoch = epoch;
    state.arrived = epoch;
    state.born = epoch;
    state.rest = at;
    const turn = Math.max(0, handed?.turn ?? roaming?.turns.at(-1)?.[1] ?? 0);
    state.beginTurn(1, this.turnBehind(turn));
    state.addSource(at, handed?.born ?? 0);
    const moving = this.#make(clientId, state, {
      to: at,
      was: at,
      ...{ epoch, away: null, isSaid: false },
    });
    moving.coming = {
      record: { ...plain, will: null },
      inboundIds: handed?.inboundIds ?? [],
      turns: state.record().turns,
    };
    moving.isCutAtOnce = handed === null;
    this.#placed(moving, then);
  }

  /** All nodes know, and it is noted. */
  #placed(moving: Moving, then: () => void): void {
    const note = this.#moving.note(moving);
    this.#shared.place(moving.clientId, moving.placement, () =>
      this.whenDurable(note, (failed) => {
        if (!failed) then();
      }),
    );
  }

  /** It was on its way to another region, and its client is here again. */
  #fetchedBack(
    local: Session,
    found: ListedSession | null,
    answer: FetchAnswer,
    home: string,
    epoch: number,
    then: () => void,
  ): void {
    const { core, sessions } = this.services;
    const moving = this.#movingOf(local);
    const roam = moving.state;
    this.#owner.own(moving, local, (session) => {
      // Without an answer its client is refused, and comes again: opened as it is, it would be had twice.
      if (session === null) return;
      if (roam.leaving === null) {
        then();
        return;
      }
      const isNone = answer.kind === 'none';
      const handed = answer.kind === 'handed' ? answer.handed : null;
      const at = answer.kind === 'handed' ? answer.home : home;
      const before = [...(session.subscriptions?.keys() ?? [])];
      const inboundBefore = session.inboundIds ?? new Set<number>();
      const leftFor = roam.leaving.to;
      const from = this.comeBack(session, handed, isNone, found, at);
      if (from !== null) {
        const removed = before.filter((filter) => session.subscriptions?.has(filter) !== true);
        sessions.changed(session, from.subscriptions, removed);
      }
      if (handed !== null) {
        for (const id of inboundBefore) {
          if (!handed.inboundIds.includes(id)) core.store.removeInboundId(session.number, id);
        }
        for (const id of handed.inboundIds) {
          session.inboundIds ??= new Set();
          session.inboundIds.add(id);
          core.store.addInboundId(session.number, id);
        }
      }
      roam.epoch = epoch;
      roam.arrived = epoch;
      this.beginTurn(session, handed?.turn ?? found?.record.roaming?.turns.at(-1)?.[1] ?? 0);
      const known = roam.sourceOf(at);
      if (isNone) {
        roam.rest = this.own;
        roam.claim(leftFor, epoch);
      } else if (known === null) roam.addSource(at, handed?.born ?? 0);
      else known.isDone = false;
      moving.isOpened = false;
      moving.isListed = false;
      moving.leaving = 0;
      moving.isCutAtOnce = handed === null;
      // As each node has said last, whether or not the region has since.
      moving.placement = { ...moving.placement, epoch, away: null, isSaid: false };
      const store = (): void => {
        // With the turns: the node that opens it reads them.
        const stored = core.store.saveSession(session.record());
        super.whenDurable(stored, (failed) => {
          if (!failed) this.#placed(moving, then);
        });
      };
      this.whenDurable(moving.settling, () => this.#doubts.keep(moving, session, store));
    });
  }

  /** Its client has it, at some node, which has told all what it subscribes to. */
  openedAt(clientId: string, identity: string | null, settled: () => void): void {
    this.beginnings.ended(clientId);
    const session = this.session(clientId);
    const anew = this.beginnings.take(clientId);
    if (anew !== null) {
      const epoch = session?.roam?.epoch ?? this.directory.nextEpoch();
      this.tellBegun(clientId, epoch, anew, identity, session !== null);
    }
    const moving = this.#moving.get(clientId);
    if (moving === null || session === null) {
      settled();
      return;
    }
    moving.coming = null;
    moving.isOpened = true;
    moving.sid = session.ownership!.sid;
    this.#moving.note(moving);
    if (moving.isCutAtOnce) this.#cutFor(moving, session, settled);
    else settled();
    if (moving.state.sources.length > 0) this.mover?.begin(session);
    this.mover?.inquire(session);
  }

  #cutFor(moving: Moving, session: Session, settled: () => void): void {
    const { isCut, leaving } = moving.state;
    if (isCut || leaving !== null) {
      settled();
      return;
    }
    moving.whenCut.push(settled);
    this.cut(session);
  }

  #settled(moving: Moving): void {
    const waiting = moving.whenCut;
    moving.whenCut = [];
    for (const settled of waiting) settled();
  }

  /** What it subscribes to now no other region knows of. */
  cutNow(clientId: string, settled: () => void): void {
    const moving = this.#moving.get(clientId);
    const session = this.session(clientId);
    if (moving === null || session === null) {
      settled();
      return;
    }
    moving.isCutAtOnce = true;
    this.#cutFor(moving, session, settled);
  }

  // ------------------------------------------------------------------ the region it comes from

  override letGo(session: Session, to: string, epoch: number): Ticket {
    const { clientId } = session;
    const isNew = !this.#moving.has(clientId);
    const moving = this.#movingOf(session);
    const roam = moving.state;
    const wasHere = roam.leaving === null;
    const isTurned = !wasHere && roam.leaving!.to !== to;
    if (isTurned && moving.isRestored) return this.#turnOwned(moving, session, to, epoch);
    if (isTurned) this.doubt(session);
    roam.leaving = { to, epoch };
    this.#settled(moving);
    if (!wasHere) {
      // What nodes have said holds: said again of this CONNECT, it would stand against where they say it belongs.
      moving.placement = { ...moving.placement, epoch, away: to, isSaid: false };
      // Nobody is told of what is not sure yet.
      if (moving.leaving !== 0) return moving.leaving;
      this.#shared.place(clientId, moving.placement, () => {});
      return isTurned ? this.#keepDoubts(moving, session) : this.save(session);
    }
    roam.givenSeq = 0;
    const { isOpened, isCutAtOnce, sinceMs, placement } = moving;
    const stays = (): void => {
      roam.leaving = null;
      Object.assign(moving, { isOpened, isCutAtOnce, sinceMs, placement, leaving: 0 });
      // What it knows of one that was on its way before holds.
      if (isNew) this.#drop(moving);
    };
    const ticket = this.#tickets.open();
    moving.leaving = ticket;
    moving.isOpened = true;
    moving.isCutAtOnce = false;
    moving.sinceMs = this.services.core.clock.monotonicMs();
    moving.placement = { ...moving.placement, epoch, away: to, isSaid: false };
    // Whoever takes it over is told how far this region has come with what it had elsewhere.
    this.whenDurable(moving.taking, () => this.#letGo(moving, session, ticket, stays));
    return ticket;
  }

  /** What the holder before has given away is known once it is owned here. */
  #turnOwned(moving: Moving, session: Session, to: string, epoch: number): Ticket {
    const ticket = this.#tickets.open();
    this.#owner.own(moving, session, (owned) => {
      const { leaving } = moving.state;
      if (owned === null || leaving === null || leaving.epoch > epoch) {
        this.#tickets.settle(ticket, true);
        return;
      }
      this.whenDurable(this.letGo(owned, to, epoch), (failed) =>
        this.#tickets.settle(ticket, failed),
      );
    });
    return ticket;
  }

  #keepDoubts(moving: Moving, session: Session): Ticket {
    const ticket = this.#tickets.open();
    this.#owner.own(moving, session, (owned) => {
      if (owned === null) {
        this.#tickets.settle(ticket, true);
        return;
      }
      this.#doubts.keep(moving, owned, () =>
        this.whenDurable(this.save(owned), (failed) => this.#tickets.settle(ticket, failed)),
      );
    });
    return ticket;
  }

  #letGo(moving: Moving, session: Session, ticket: Ticket, stays: () => void): void {
    this.#owner.own(moving, session, (owned) => {
      if (owned === null) {
        // Its client has come again meanwhile, to a node of this region.
        stays();
        this.#tickets.settle(ticket, true);
        return;
      }
      const shared = [...(owned.subscriptions?.values() ?? [])]
        .filter(({ group }) => group !== null)
        .map(({ fullFilter }) => fullFilter);
      for (const filter of shared) this.services.sessions.unsubscribe(owned, filter);
      if (shared.length > 0) this.services.sessions.changed(owned, [], shared);
      this.#owner.learnTaken(moving, owned, () =>
        this.#placed(moving, () => {
          if (moving.leaving === ticket) moving.leaving = 0;
          this.#tickets.settle(ticket, false);
        }),
      );
    });
  }

  protected override settleMoved(session: Session, entry: QueueEntry): void {
    this.#queue.settle(session, entry);
  }

  override readPage(
    session: Session,
    had: number,
    bytesMax: number,
    to: string,
    done: PageReader,
  ): void {
    this.#owner.own(this.#movingOf(session), session, (owned) => {
      if (owned !== null) super.readPage(owned, had, bytesMax, to, done);
    });
  }

  /** It is owned here again only when its client comes. */
  override restored(): void {}

  /** The node that opens it next must not find what is settled here. */
  protected override forgetUpTo(session: Session, had: number): void {
    const moving = this.#movingOf(session);
    const ticket = this.#tickets.open();
    moving.settling = ticket;
    this.queues.settleUpTo(session, had, (failed) => this.#tickets.settle(ticket, failed));
  }

  override forget(session: Session): Ticket {
    const { core, sessions } = this.services;
    const { clientId } = session;
    const ticket = this.#tickets.open();
    const moving = this.#movingOf(session);
    moving.forgetting = ticket;
    const ended = (failed: boolean): void => {
      if (moving.forgetting === ticket) moving.forgetting = 0;
      this.#tickets.settle(ticket, failed);
    };
    this.#owner.own(moving, session, (owned) => {
      if (owned === null) {
        ended(true);
        return;
      }
      const removed = core.store.deleteSession(owned.number);
      super.whenDurable(removed, (failed) => {
        if (failed) {
          ended(true);
          return;
        }
        sessions.tenure!.end(owned);
        if (this.#moving.get(clientId) === moving) this.#drop(moving);
        ended(false);
      });
    });
    return ticket;
  }

  #drop(moving: Moving): void {
    const { clientId, state } = moving;
    if (!this.#moving.remove(moving)) return;
    this.#shared.unplace(clientId, Math.max(state.epoch, moving.placement.epoch));
    this.#settled(moving);
  }

  override end(session: Session, identity: string | null): void {
    if (session.identity !== null && session.identity !== identity) return;
    const moving = this.#moving.get(session.clientId);
    if (moving !== null) this.#drop(moving);
    // The row is that of the session its client has elsewhere.
    this.services.sessions.tenure!.evict(session, false);
  }

  // ------------------------------------------------------------------ the region it comes to

  override takeIn(session: Session, source: Source, entries: readonly MovedEntry[]): Ticket {
    const moving = this.#movingOf(session);
    const ticket = this.#tickets.open();
    moving.taking = ticket;
    moving.state.lastSeq = -1;
    const named = (seq: number) => moveIdentity(source.born, seq);
    this.#queue.append(session, named, entries, (failed) => {
      if (moving.taking === ticket) moving.taking = 0;
      if (failed) {
        this.#tickets.settle(ticket, true);
        return;
      }
      moving.state.tookUpTo(source, entries.at(-1)!.seq);
      this.whenDurable(this.#moving.note(moving), (isLost) => this.#tickets.settle(ticket, isLost));
    });
    return ticket;
  }

  override whenTaken(session: Session, then: () => void): void {
    const moving = this.#movingOf(session);
    this.whenDurable(moving.taking, () => this.#owner.whenLearned(moving, session, then));
  }

  override cut(session: Session): void {
    const moving = this.#movingOf(session);
    const roam = moving.state;
    if (roam.isCut || roam.leaving !== null || !moving.isOpened) return;
    this.#redirect(moving, session, this.own, Math.max(roam.epoch, roam.born), null);
  }

  override redirectOwn(session: Session, to: string, epoch: number): Ticket {
    const moving = this.#movingOf(session);
    if (moving.state.saidOf(this.own) >= epoch) return 0;
    this.#redirect(moving, session, to, epoch, to);
    return 0;
  }

  /** Each node says so in the order of what it publishes, then this one for the region. */
  #redirect(
    moving: Moving,
    session: Session,
    to: string,
    epoch: number,
    away: string | null,
  ): void {
    const { placement, clientId } = moving;
    const isUnderWay = placement.isSaid && placement.to === to && placement.epoch === epoch;
    if (isUnderWay && this.#shared.isPlacing(clientId)) {
      if (this.#shared.isPlaced(clientId)) this.#settled(moving);
      return;
    }
    moving.placement = { to, was: placement.was, epoch, away, isSaid: true };
    const noted = this.#moving.note(moving);
    const whenNoted = (then: () => void): void =>
      this.whenDurable(noted, (failed) => {
        if (!failed && this.#moving.get(clientId) === moving) then();
      });
    const placed = (): void => whenNoted(() => this.#settled(moving));
    const sure = (): void =>
      whenNoted(() => {
        if (!moving.state.redirect(this.own, to, epoch)) return;
        this.#shared.announceRegion(clientId, to, epoch);
        this.save(session);
      });
    this.#shared.place(clientId, moving.placement, placed, sure);
  }

  /** Of a session that this region has nothing of. */
  override tellMoved(clientId: string, to: string, epoch: number): void {
    if ((this.#told.get(clientId) ?? 0) >= epoch) {
      this.#shared.announceRegion(clientId, to, epoch);
      return;
    }
    if (this.#moving.has(clientId) || this.#shared.isPlacing(clientId)) return;
    const sure = (): void => {
      if (this.#told.size >= TOLD_MAX) this.#told.clear();
      this.#told.set(clientId, epoch);
      this.#shared.announceRegion(clientId, to, epoch);
      if (!this.#moving.has(clientId)) this.#shared.unplace(clientId, epoch);
    };
    const placement = { to, was: to, epoch, away: to, isSaid: true };
    this.#shared.place(clientId, placement, () => {}, sure);
  }

  protected override repeat(clientId: string, to: string, epoch: number): void {
    this.#shared.announceRegion(clientId, to, epoch);
  }

  /** Heard of a session that is not on its way: whoever has the links next is to know it, too. */
  override redirected(
    origin: string,
    clientId: string,
    to: string,
    epoch: number,
    by: string | null = null,
  ): (failed: boolean) => Ticket {
    const session = this.session(clientId);
    const roam = session?.roam ?? null;
    if (session !== null && roam !== null && roam.leaving === null) {
      const isBehind = to !== this.own && epoch < roam.epoch && epoch >= roam.born;
      if (isBehind) this.#movingOf(session);
    }
    return super.redirected(origin, clientId, to, epoch, by);
  }

  /** What nodes say is not changed for it: one that has just come is cut when what waited is here. */
  protected override insist(session: Session): void {
    const moving = this.#moving.get(session.clientId);
    if (moving === null) {
      super.insist(session);
      return;
    }
    const { placement, state, isOpened } = moving;
    if (placement.to !== this.own || !isOpened || state.leaving !== null) return;
    this.#redirect(moving, session, this.own, Math.max(state.epoch, state.born), null);
  }

  protected override tellHere(clientId: string, epoch: number): void {
    this.#shared.announceRegion(clientId, this.own, epoch);
  }

  override tell(region: string, topic: string, payload: Buffer): boolean {
    return this.#shared.tellRegion(region, topic, payload);
  }

  /** The row is written by the node that has the client. */
  override isListed(session: Session): boolean {
    const moving = this.#moving.get(session.clientId);
    if (moving === null || moving.isListed) return true;
    if (moving.isLooking) return false;
    moving.isLooking = true;
    this.directory.isHome(session.clientId, (isHome) => {
      moving.isLooking = false;
      moving.isListed = isHome;
    });
    return false;
  }

  // ------------------------------------------------------------------ doubts

  protected override doubt(session: Session): boolean {
    const isNew = super.doubt(session);
    if (isNew) this.#movingOf(session).isKept = false;
    return isNew;
  }

  override resolveDoubt(session: Session, region: string, had: number): void {
    this.#doubts.resolve(this.#movingOf(session), session, region, had);
  }

  // ------------------------------------------------------------------ the end of a move

  tick(nowMs: number): void {
    if (nowMs < this.#lookMs) return;
    this.#lookMs = nowMs + LOOK_MS;
    for (const moving of this.#moving.all()) this.#look(moving, nowMs);
  }

  /**
   * What a region says lies in the queue of its link, which may drop it over its budget, or be emptied with its
   * Redis: this one would wait for ever, or take nothing of what is published there.
   */
  #askAgain(moving: Moving, nowMs: number): void {
    const { clientId, state, isOpened } = moving;
    const { leaving } = state;
    const isWaiting =
      leaving === null
        ? isOpened && state.isCut && state.sources.length === 0
        : state.isOver(this.own);
    const missing = isWaiting
      ? [...this.regions()].filter((region) =>
          leaving === null ? !state.isHeard(region) : !state.isOver(region),
        )
      : [];
    if (missing.length === 0) {
      moving.againMs = 0;
      return;
    }
    if (moving.againMs === 0) moving.againMs = nowMs + AGAIN_MS;
    if (nowMs < moving.againMs) return;
    moving.againMs = nowMs + AGAIN_MS;
    const { to, epoch } = leaving ?? { to: this.own, epoch: state.epoch };
    for (const region of missing) this.mover?.askAgain(clientId, region, to, epoch);
  }

  #look(moving: Moving, nowMs: number): void {
    const { clientId, state } = moving;
    const session = super.session(clientId);
    if (session === null) {
      if (moving.coming === null || nowMs - moving.sinceMs > UNOPENED_MS) this.#drop(moving);
      return;
    }
    this.#askAgain(moving, nowMs);
    if (state.leaving !== null) {
      const { expiryIntervalS } = session;
      const isOver = nowMs - moving.sinceMs > expiryIntervalS * US_PER_MS;
      if (expiryIntervalS === NEVER_EXPIRES || !isOver || !this.#owner.isOwned(session)) return;
      this.services.core.stats.sessionsExpired++;
      this.forget(session);
      return;
    }
    const isThere = session.ownership?.owner != null && !this.#owner.isOwned(session);
    if (!moving.isOpened && isThere && nowMs - moving.sinceMs > OPENED_MS) {
      // The node that has told so has told the holder before.
      this.openedAt(clientId, session.identity, () => {});
    }
    if (!moving.isOpened || state.sources.length > 0 || !state.isCut) return;
    if (!state.doubts.isEmpty) return;
    for (const region of this.regions()) if (!state.isHeard(region)) return;
    this.#drop(moving);
  }
}

function listed({ home, epoch, timeUs, record }: FoundElsewhere): ListedSession {
  const { expiryIntervalS } = record;
  return { home, listing: { epoch, timeUs, expiryIntervalS }, record };
}
