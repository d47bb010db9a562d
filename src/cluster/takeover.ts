/**
 * Opening and closing sessions of the datacenter, one after the other for each client id (P3): Redis names
 * the owner before, a live one is asked to let go over its link, and only its answer, or its death, lets
 * this node go on. And the other side: what this node does when it is asked. Called by the bus; answers to
 * clients are the core's business.
 */
import type {
  Incarnation,
  LedgerAnswer,
  OpenAnswer,
  OpenedRecord,
  OpenRequest,
  RemoteSide,
  SessionImage,
  SessionLedger,
} from '../core/cluster-ports.ts';
import type { Clock, Random, Scheduler } from '../core/ports.ts';
import { newLife } from '../core/session-life.ts';
import { Ring } from '../util/ring.ts';
import { publishWill } from './absent-will.ts';
import type { Barrier } from './barrier.ts';
import { Closings } from './closings.ts';
import type { ClusterCounters } from './cluster-counters.ts';
import { Answer, answerTo, isToAll, LetGoRequests } from './let-go-requests.ts';
import { encodeLetGoDone, type LetGoFrame } from './link/frame-codec.ts';
import type { Mesh } from './ports.ts';
import { RecentNews } from './recent-news.ts';
import type { RoutesAnnouncer } from './routes-announcer.ts';
import { Unregistered } from './unregistered.ts';

export interface TakeoverParts {
  readonly ledger: SessionLedger;
  readonly mesh: Mesh;
  readonly clock: Clock;
  readonly random: Random;
  readonly scheduler: Scheduler;
  readonly barrier: Barrier;
  readonly announcer: RoutesAnnouncer;
  readonly counters: ClusterCounters;
  readonly remote: () => RemoteSide;
  readonly self: () => Incarnation;
  readonly isMember: (incarnation: Incarnation) => boolean;
  readonly members: () => Iterable<Incarnation>;
  readonly mayServe: () => boolean;
  readonly hasRedis: () => boolean;
  /** Milliseconds of a hybrid clock: what epochs are made of. */
  readonly hlcMs: () => number;
  /** Redis may not have the session though this node knows it: it is written first, if it can be. */
  readonly beforeOpen: (clientId: string, then: (isThere: boolean) => void) => void;
  /** How often Redis has lost data, as far as this node knows. */
  readonly losses: () => number;
  /** It has lost all it had: whose a session was before it does not say. */
  readonly wasEmptyLately: () => boolean;
  /** Redis had lost a session when it was left. */
  readonly forgotten: (image: SessionImage) => void;
  /** What dead nodes had journaled is in the queues, or has been waited for long enough (P5). */
  readonly beforeTaken: (then: () => void) => void;
  readonly journal: TakeoverJournal;
  /** Asks Redis whether it still is the one that knows this node: it may have been emptied just now. */
  readonly confirm: (done: (isSame: boolean | null) => void) => void;
  readonly linkGraceMs: number;
}

/** What nodes had promised while Redis was away, and who is to write it there. */
export interface TakeoverJournal {
  /** Somebody has entries of a node that is no member any more. */
  readonly isOwed: boolean;
  keepers(): Iterable<Incarnation>;
  /** Somebody has, or had, entries of it. */
  hasKeptOf(incarnation: Incarnation): boolean;
  /** What this node keeps of the packet ids of that client is in Redis. */
  whenWritten(clientId: string, then: () => void): void;
}

/** Of a node that has none. */
export const NO_JOURNAL: TakeoverJournal = {
  isOwed: false,
  keepers: () => [],
  hasKeptOf: () => false,
  whenWritten: (_clientId, then) => then(),
};

type OpenedInRedis = Extract<LedgerAnswer, { kind: 'opened' }>;

/** An open that waits for a close of the same client to reach Redis is given up after this. */
const CLOSE_WAIT_MS = 5000;
/** A Redis that is emptied while it is asked is asked again, so often. */
const DOUBTS_MAX = 3;
/** What is opened only to be opened again ends no earlier than this, should its node die in between. */
const REOPEN_EXPIRY_S = 60;
/** So long after a session was written again whoever had it may still be at it; clocks may differ besides. */
const WRITTEN_AGAIN_MS = 120_000;

interface Opening {
  readonly request: OpenRequest;
  readonly done: (answer: OpenAnswer) => void;
  /** The life of this node that asked. */
  incarnation: Incarnation;
  /** How often it was asked whether Redis is still the same. */
  doubts: number;
  /** `losses` when Redis was asked. */
  losses: number;
  /** Redis named some, and goes on to until it hears that they have let go. */
  hadOwners: boolean;
  /** What Redis answered may lack what a node had promised. */
  isStale: boolean;
  isReread: boolean;
  /** Session ids that were made for it and given back: it finds one of them when it asks again. */
  readonly made: string[];
}

/** Openings of one client id; the first one is under way. */
interface OpenLine {
  readonly openings: Ring<Opening>;
  /** Waits for closes since then (monotonic ms); -1: it does not. */
  closeWaitMs: number;
  /** Another node has taken the session under this epoch meanwhile. */
  supersededBy: number;
}

export class Takeover {
  readonly #parts: TakeoverParts;
  readonly #lines: Map<string, OpenLine> = new Map();
  readonly #requests: LetGoRequests;
  readonly #closings: Closings;
  /** Ends this node has announced. */
  readonly #ends: RecentNews = new RecentNews();
  readonly #unregistered: Unregistered;

  constructor(parts: TakeoverParts) {
    this.#parts = parts;
    const { ledger, counters, remote, self, isMember, mayServe, hasRedis, mesh, journal } = parts;
    this.#requests = new LetGoRequests(mesh, journal);
    this.#closings = new Closings(parts);
    this.#unregistered = new Unregistered({
      ledger,
      counters,
      remote,
      self,
      mayServe,
      hasRedis,
      letGo: (owner, clientId, epoch) => {
        if (isMember(owner)) this.#requests.ask(owner, clientId, epoch, false, () => {});
      },
    });
  }

  /** Sessions here that Redis has not heard of, for operators. */
  get unregistered(): number {
    return this.#unregistered.size;
  }

  /** Requests to other nodes that are not answered yet, for operators. */
  waitingFor(peer: Incarnation): number {
    return this.#requests.waitingFor(peer);
  }

  get opening(): number {
    return this.#lines.size;
  }

  // ------------------------------------------------------------------------------ open

  open(request: OpenRequest, done: (answer: OpenAnswer) => void): void {
    const { clientId } = request;
    let line = this.#lines.get(clientId);
    const opening = {
      request,
      done,
      incarnation: this.#parts.self(),
      doubts: 0,
      losses: 0,
      hadOwners: false,
      isStale: false,
      isReread: false,
      made: [],
    };
    if (line !== undefined) {
      line.openings.push(opening);
      return;
    }
    line = { openings: new Ring(), closeWaitMs: -1, supersededBy: 0 };
    line.openings.push(opening);
    this.#lines.set(clientId, line);
    this.#begin(line, opening);
  }

  #begin(line: OpenLine, opening: Opening): void {
    const { scheduler, mayServe, clock, self } = this.#parts;
    const { clientId } = opening.request;
    opening.incarnation = self();
    if (!mayServe()) {
      scheduler.nextTurn(() => this.#answer(line, opening, { kind: 'unavailable' }));
      return;
    }
    if (this.#unregistered.isOpenTo(opening.request)) {
      this.#askAll(line, opening);
      return;
    }
    // What was sent over the links stays in front of what this connection will send.
    line.closeWaitMs = clock.monotonicMs();
    if (this.#closings.hurry(clientId)) return;
    line.closeWaitMs = -1;
    this.#write(line, opening);
  }

  #write(line: OpenLine, opening: Opening): void {
    const { beforeOpen, losses } = this.#parts;
    opening.losses = losses();
    beforeOpen(opening.request.clientId, (isThere) => this.#written(line, opening, isThere));
  }

  #written(line: OpenLine, opening: Opening, isThere: boolean): void {
    if (isThere) this.#ask(line, opening);
    else if (this.#unregistered.isOpenTo(opening.request)) this.#askAll(line, opening);
    else this.#answer(line, opening, { kind: 'unavailable' });
  }

  #ask(line: OpenLine, opening: Opening): void {
    const { ledger, random, hlcMs, self, mayServe, journal } = this.#parts;
    const { request, incarnation } = opening;
    opening.isStale = journal.isOwed;
    // Its client may be elsewhere by now, with a session that this would take, or end.
    const isWanted = request.isWanted?.() ?? true;
    if (!isWanted || incarnation !== self() || !mayServe()) {
      this.#answer(line, opening, { kind: 'unavailable' });
      return;
    }
    const epochMs = this.#nextEpoch(request, hlcMs());
    const newSid = newLife(epochMs, random);
    const isKnown = this.#forgotten(opening) !== null;
    ledger.open(incarnation, epochMs, newSid, { ...request, isKnown }, (answer) => {
      if (answer.kind === 'opened') this.#opened(line, opening, answer);
      else if (answer.kind === 'absent') this.#doubt(line, opening);
      else if (answer.kind === 'unavailable' && this.#unregistered.isOpenTo(request)) {
        this.#askAll(line, opening);
      } else {
        this.#answer(line, opening, answer);
      }
    });
  }

  /** Without Redis: who of the members has the client lets go of it; then it is this node's. */
  #askAll(line: OpenLine, opening: Opening): void {
    const { members, hlcMs, scheduler } = this.#parts;
    const { clientId, isWanted } = opening.request;
    // Its client may be with one of those who would be asked.
    if (isWanted?.() === false) {
      scheduler.nextTurn(() => this.#answer(line, opening, { kind: 'unavailable' }));
      return;
    }
    const epoch = this.#nextEpoch(opening.request, hlcMs());
    let waiting = 1;
    const answered = (): void => {
      waiting--;
      if (waiting === 0) this.#takenFromAll(line, opening, epoch);
    };
    for (const peer of members()) {
      waiting++;
      this.#requests.ask(peer, clientId, epoch, true, answered);
    }
    scheduler.nextTurn(answered);
  }

  #takenFromAll(line: OpenLine, opening: Opening, epoch: number): void {
    const { mayServe, self, random } = this.#parts;
    const isWanted = opening.request.isWanted?.() ?? true;
    const isStale =
      !isWanted || epoch < line.supersededBy || opening.incarnation !== self() || !mayServe();
    const record = isStale
      ? null
      : this.#unregistered.take(opening.request, newLife(epoch, random), epoch);
    this.#answer(
      line,
      opening,
      record === null ? { kind: 'unavailable' } : { kind: 'opened', record },
    );
  }

  #opened(line: OpenLine, opening: Opening, { previousOwners, record }: OpenedInRedis): void {
    const { counters, self, members } = this.#parts;
    const { clientId } = opening.request;
    const { epoch } = record;
    opening.hadOwners = previousOwners.some((owner) => owner !== opening.incarnation);
    const owners = this.#ownersBefore(clientId, previousOwners, epoch);
    if (owners.size > 0) counters.takeovers++;
    if (this.#isOwnerForgotten(record)) for (const member of members()) owners.add(member);
    if (owners.size === 0 || opening.incarnation !== self()) {
      this.#taken(line, opening, record, false);
      return;
    }
    let left = owners.size;
    let all = 0;
    for (const owner of owners) {
      this.#requests.ask(owner, clientId, epoch, false, (bits) => {
        all |= bits;
        left--;
        if (left > 0) return;
        if ((all & Answer.STALE) !== 0) opening.isStale = true;
        this.#taken(line, opening, record, (all & Answer.WILL_VOID) !== 0);
      });
    }
  }

  /**
   * Who may have it: the owner Redis names, and those before it who may not have let go yet when it was
   * taken from, died or gave it back; one that took it while it had no Redis; and the one that is known
   * here. And whoever is still to write what a dead one had promised.
   */
  #ownersBefore(clientId: string, named: readonly Incarnation[], epoch: number): Set<Incarnation> {
    const { remote, isMember, journal } = this.#parts;
    const known = remote().knownSession(clientId);
    const candidates = new Set([...named, this.#unregistered.ownerElsewhere(clientId)]);
    for (const keeper of journal.keepers()) candidates.add(keeper);
    if (known !== null && known.epoch < epoch) candidates.add(known.owner);
    const owners = new Set<Incarnation>();
    for (const owner of candidates) if (owner !== null && isMember(owner)) owners.add(owner);
    return owners;
  }

  /**
   * Whoever a client has left is its session's owner in Redis until all it had promised is there. A Redis
   * that was emptied meanwhile has it as nobody's: anybody may have something of it, and all are asked.
   * Also by a node that has not heard of the loss: names of what is written again go on from its time.
   */
  #isOwnerForgotten({ publisherSeq }: OpenedRecord): boolean {
    const { wasEmptyLately, hlcMs } = this.#parts;
    return wasEmptyLately() || publisherSeq > hlcMs() - WRITTEN_AGAIN_MS;
  }

  /**
   * A Redis that has failed over, with a clock that is behind, would begin below what is known. And one
   * that has forgotten a session which ended may give its epoch again within the same millisecond:
   * whoever remembers the end would not believe in the new session.
   */
  #nextEpoch({ clientId, epochMs = 0 }: OpenRequest, nowMs: number): number {
    return Math.max(nowMs, epochMs, this.#lastEpoch(clientId) + 1);
  }

  #lastEpoch(clientId: string): number {
    const ended = Math.max(this.#parts.remote().endedEpoch(clientId), this.#ends.epochOf(clientId));
    return Math.max(this.#knownEpoch(clientId), ended);
  }

  /** Announced by this node. */
  ended(clientId: string, epoch: number): void {
    this.#ends.note(clientId, epoch, this.#parts.clock.monotonicMs());
  }

  #knownEpoch(clientId: string): number {
    return this.#parts.remote().knownSession(clientId)?.epoch ?? 0;
  }

  /** A session that this node knows of, and that the client wants: Redis should have it. */
  #forgotten({ request, doubts }: Opening): SessionImage | null {
    if (request.cleanStart || doubts >= DOUBTS_MAX) return null;
    const image = this.#parts.remote().knownSession(request.clientId);
    const isTheirs = image !== null && image.identity === request.identity;
    return isTheirs && image.expiryIntervalS > 0 ? image : null;
  }

  /**
   * Redis has no such session. It has just ended, or Redis has been emptied: nobody may have noticed yet,
   * or this node has while it asked. Then what is known is written there before it is asked again.
   */
  #doubt(line: OpenLine, opening: Opening): void {
    const { confirm, ledger, remote, self, losses } = this.#parts;
    const { clientId } = opening.request;
    opening.doubts++;
    confirm((isSame) => {
      if (isSame === null) {
        this.#answer(line, opening, { kind: 'unavailable' });
        return;
      }
      const known = this.#forgotten(opening);
      if ((isSame && opening.losses === losses()) || known === null) {
        opening.doubts = DOUBTS_MAX;
        this.#ask(line, opening);
        return;
      }
      opening.losses = losses();
      // Another owner comes to its own, and is asked to let go.
      const isOwned = known.owner === self();
      const headSeq = remote().queueOf(clientId)?.tailSeq ?? -1;
      ledger.assert(isOwned ? known : { ...known, owner: null }, headSeq, (isWritten) =>
        this.#written(line, opening, isWritten !== null),
      );
    });
  }

  /** Nobody else has it any more. */
  #taken(line: OpenLine, opening: Opening, record: OpenedRecord, isWillVoid: boolean): void {
    const { journal, beforeTaken } = this.#parts;
    journal.whenWritten(opening.request.clientId, () =>
      beforeTaken(() => this.#adopt(line, opening, record, isWillVoid)),
    );
  }

  #adopt(line: OpenLine, opening: Opening, record: OpenedRecord, isWillVoid: boolean): void {
    const { mayServe, self, losses, ledger } = this.#parts;
    // Also when whoever took it could not ask this node to let go, as its link was broken.
    const knownEpoch = this.#knownEpoch(opening.request.clientId);
    if (record.epoch < line.supersededBy || record.epoch < knownEpoch) {
      // Whoever has it was told that it is not here: it must not be from now on either.
      this.#giveBack(opening, record);
      this.#answer(line, opening, { kind: 'unavailable' });
      return;
    }
    if (opening.incarnation !== self() || !mayServe()) {
      this.#giveBack(opening, record);
      this.#answer(line, opening, { kind: 'unavailable' });
      return;
    }
    if (opening.losses !== losses() && opening.doubts < DOUBTS_MAX) {
      // What was opened may be gone again, and was nobody's yet who would have written it.
      if (record.present) this.#giveBack(opening, record);
      else {
        // Made anew in a Redis that had lost it: the others know what there was.
        const { clientId, expiryIntervalS } = opening.request;
        ledger.giveBack(opening.incarnation, clientId, record.sid, record.epoch, expiryIntervalS);
        opening.made.push(record.sid);
      }
      opening.doubts++;
      this.#write(line, opening);
      return;
    }
    if (opening.isStale && !opening.isReread && (record.present || record.oldWill !== null)) {
      // All that was promised is there by now: packet ids, what is still to be handed on, which wills are void.
      opening.isReread = true;
      this.#giveBack(opening, record, record.present ? REOPEN_EXPIRY_S : 0);
      this.#write(line, opening);
      return;
    }
    if (opening.hadOwners) ledger.adopted(opening.request.clientId, record.sid, record.epoch);
    const own = this.#unregistered.takenAway(opening.request.clientId, record.epoch);
    const oldWill = record.oldWill ?? (own === null ? null : { ...own, isDue: true });
    const isVoid = isWillVoid && oldWill?.isDue === true;
    // Its client has never had it.
    const present = record.present && !opening.made.includes(record.sid);
    const taken = { ...record, present, oldWill: isVoid ? { ...oldWill, isDue: false } : oldWill };
    this.#answer(line, opening, { kind: 'opened', record: taken });
  }

  /** It was opened for a client that is told otherwise: it must not stay with a node that forgot it. */
  #giveBack({ request, incarnation }: Opening, record: OpenedRecord, expiryMinS = 0): void {
    const { clientId, identity, tenant } = request;
    const expiryIntervalS = Math.max(request.expiryIntervalS, expiryMinS);
    const { sid, epoch, counter, subscriptions } = record;
    this.#parts.ledger.giveBack(incarnation, clientId, sid, epoch, expiryIntervalS);
    this.givenBack({
      ...{ clientId, sid, epoch, counter, owner: null },
      ...{ identity, tenant, expiryIntervalS, subscriptions },
    });
  }

  /** What it was before this open, or whose, is over: nobody else can say so. */
  givenBack(image: SessionImage): void {
    const { remote, announcer } = this.#parts;
    const { clientId, epoch, expiryIntervalS } = image;
    if (expiryIntervalS === 0) {
      announcer.end(clientId, '', epoch);
      return;
    }
    remote().applySession(image);
    announcer.session(image);
  }

  #answer(line: OpenLine, opening: Opening, answer: OpenAnswer): void {
    const { openings } = line;
    openings.shift();
    line.closeWaitMs = -1;
    const next = openings.at(0);
    if (next === undefined) this.#lines.delete(opening.request.clientId);
    opening.done(answer);
    if (next !== undefined) this.#begin(line, next);
  }

  // ------------------------------------------------------------------------------ asked by this node

  answered(from: Incarnation, number: number): void {
    this.#requests.answered(from, number);
  }

  /** Its session was taken from it under this epoch, for nobody: it finds out now. */
  dispossess(peer: Incarnation, clientId: string, epoch: number): void {
    const { isMember, self } = this.#parts;
    if (peer !== self() && isMember(peer)) this.#requests.tell(peer, clientId, epoch);
  }

  /** A link session with the peer was lost, in either direction: question or answer may be. */
  askAgain(peer: Incarnation): void {
    this.#requests.again(peer);
  }

  /** It is no member any more: it has let go of everything. */
  memberGone(peer: Incarnation): void {
    this.#unregistered.memberGone(peer);
    this.#requests.memberGone(peer);
  }

  // ------------------------------------------------------------------------------ asked of this node

  /**
   * Another node has taken the session. Its client is disconnected, what was read from it is settled, and
   * what was sent of it over the links is applied (P5) before the answer.
   */
  asked(from: Incarnation, { request: number, clientId, epoch }: LetGoFrame): void {
    const { remote, announcer, mesh, isMember, self, journal } = this.#parts;
    if (isToAll(number)) this.#unregistered.tookElsewhere(clientId, from);
    const held = announcer.own.owned.get(clientId);
    let isStale = false;
    const answer = (): void => {
      if (!isMember(from)) return;
      const isWillVoid = this.#closings.hadGoodbye(clientId, epoch);
      mesh.send(from, encodeLetGoDone(answerTo(number, isWillVoid, isStale)));
    };
    // It was opened here again since.
    if (held !== undefined && held.epoch >= epoch) {
      answer();
      return;
    }
    const line = this.#lines.get(clientId);
    if (line !== undefined) line.supersededBy = Math.max(line.supersededBy, epoch);
    const incarnation = self();
    const will = this.#unregistered.takenAway(clientId, epoch);
    const written = (): void => {
      if (incarnation !== self()) return;
      this.#closings.supersededBy(clientId, epoch);
      if (will === null) this.#closings.bounded(answer);
      else publishWill(remote(), will, () => this.#closings.bounded(answer));
    };
    remote().letGo(clientId, epoch, (hasPromised) => {
      isStale = hasPromised === true;
      journal.whenWritten(clientId, written);
    });
    announcer.release(clientId, epoch);
  }

  // ------------------------------------------------------------------------------ close

  /** Redis hears of it when the other nodes have what was sent before (P5). */
  close(
    clientId: string,
    sid: string,
    epoch: number,
    expiryIntervalS: number,
    willDelayS: number,
  ): void {
    const knownBy = this.#unregistered.closed(clientId, epoch);
    // Redis has never heard of it.
    if (knownBy === 0) {
      this.#parts.ledger.leftHeard(clientId, epoch);
      return;
    }
    const closed = { clientId, sid, epoch, knownBy, expiryIntervalS, willDelayS };
    this.#closings.begin(closed, () => {
      const line = this.#lines.get(clientId);
      if (line === undefined || line.closeWaitMs === -1) return;
      line.closeWaitMs = -1;
      this.#begin(line, line.openings.at(0)!);
    });
  }

  // ------------------------------------------------------------------------------ time, fate

  tick(nowMs: number): void {
    this.#unregistered.tick();
    this.#closings.tick(nowMs);
    for (const line of [...this.#lines.values()]) {
      if (line.closeWaitMs === -1 || nowMs - line.closeWaitMs < CLOSE_WAIT_MS) continue;
      this.#answer(line, line.openings.at(0)!, { kind: 'unavailable' });
    }
  }

  /** This incarnation is dead: what was asked of others is answered by nobody. */
  lost(): void {
    this.#requests.lost();
    this.#unregistered.lost();
  }
}
