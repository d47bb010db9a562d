/**
 * The queue of one shared subscription while this node owns it (ADR 0019, hard case 14): what came when all
 * members were away goes into the queues of members that are connected, some at a time. A QoS 2 message is
 * given to a member in writing first, so that whoever comes next gives it to the same one. Opened and
 * closed by group-queues.ts; delivery.ts tells it of new entries and of room.
 */
import type { Awaited } from './awaited.ts';
import type { Core } from './core.ts';
import type { Delivery } from './delivery.ts';
import { Message, makeMessage } from './message.ts';
import type { Ticket } from './ports.ts';
import type { QueueEntry } from './queue-entry.ts';
import type { ParkedOwner } from './services.ts';
import type { Feed, Session, SessionOwner, Subscription } from './session.ts';
import {
  type AppendIdentity,
  type GroupChoices,
  OWN_IDENTITY,
  SharedAppend,
} from './shared-append.ts';

/** Messages moved at a time. */
const MOVES_MAX = 64;
/** What a member here may have waiting before others are given more. */
const WAITING_MAX = 64;
/** Nobody here knows how fast members of other nodes are: each gets so many between two `tick`s. */
const ELSEWHERE_MAX = 128;
/** Claims are stored as the choices of a message that an inbound QoS 2 packet of this id would have. */
const CLAIMS_ID = 1;
const CLAIMS_TOPIC = 'claims';
/** Between sid and client id of a claim that is apart; else a space. */
const APART = '!';

/** A QoS 2 message was given to this session, and perhaps to its client. */
interface Claim {
  readonly clientId: string;
  readonly sid: string;
  /**
   * It was given to somebody before: that queue may have later positions by now, and would take it for
   * one it had. So it has a name of its own there.
   */
  readonly isApart: boolean;
  /** An owner before may have given it to the client. */
  readonly isOld: boolean;
}

interface Move {
  readonly entry: QueueEntry;
  readonly session: Session;
  /** Null: it has unsubscribed since it was given the message. */
  readonly member: Subscription | null;
  append: SharedAppend | null;
}

export interface GroupQueueParts {
  readonly core: Core;
  readonly delivery: Delivery;
  /** Told when tickets are settled. */
  readonly parked: Set<ParkedOwner>;
}

export class GroupQueue implements Feed, ParkedOwner, SessionOwner {
  readonly clientId: string;
  /** It has no client that could say one. */
  readonly hearGoodbye: null = null;
  readonly session: Session;
  readonly fullFilter: string;
  /** Another node has the queue by now, or nobody. */
  isOver = false;
  /** Claims cannot be stored: it has to be opened anew. */
  isBroken = false;
  readonly #parts: GroupQueueParts;
  readonly #group: string;
  readonly #filter: string;
  /** How queues of members name what comes from here. */
  readonly #writer: string;
  /** By position. */
  readonly #claims: Map<number, Claim> = new Map();
  /** Positions that could not be given to the one they were meant for. */
  readonly #failed: Set<number> = new Set();
  /** Settled since claims were stored last: when they are again, Redis knows. */
  #settledClaims: number[] = [];
  /** The batch under way. */
  #moves: Move[] = [];
  #unanswered = 0;
  /** The claims of the batch, until they are stored. */
  #storing: Awaited | null = null;
  #ticket: Ticket = 0;
  #forgettable: readonly number[] = [];
  #next = 0;
  /** A member could not be given something: not again before the next `tick`. */
  #isPutOff = false;
  readonly #given: Map<Session, number> = new Map();
  readonly #elsewhere: Map<Session, number> = new Map();

  constructor(
    parts: GroupQueueParts,
    session: Session,
    group: string,
    filter: string,
    claims: readonly GroupChoices[],
  ) {
    this.#parts = parts;
    this.session = session;
    this.clientId = session.clientId;
    this.#group = group;
    this.#filter = filter;
    this.fullFilter = `$share/${group}/${filter}`;
    this.#writer = `g${session.ownership!.sid}`;
    for (const choices of claims) this.#restore(choices);
  }

  /** A batch is under way. */
  get isBusy(): boolean {
    return this.#moves.length > 0;
  }

  /** Somebody else has it: nothing more is written for it. */
  close(): void {
    this.stop();
  }

  stop(): void {
    this.isOver = true;
    this.#parts.parked.delete(this);
    if (this.session.feed !== this) return;
    this.session.feed = null;
    this.session.owner = null;
  }

  /** Now and then: what was put off is tried again. */
  tick(): void {
    this.#elsewhere.clear();
    this.#isPutOff = false;
    this.pump();
  }

  messageSafe(): void {}

  // ------------------------------------------------------------------ choosing

  pump(): void {
    if (this.isOver || this.isBroken || this.#isPutOff || this.isBusy) return;
    const { session } = this;
    const { core, delivery } = this.#parts;
    const members = core.router.groupOf(this.#group, this.#filter)?.durableMembers ?? [];
    this.#given.clear();
    const moves: Move[] = [];
    const queue = session.queue;
    while (queue !== null && moves.length < MOVES_MAX) {
      const entry = queue.at(0);
      if (entry === undefined) break;
      const { message, seq } = entry;
      const claim = this.#claims.get(seq) ?? null;
      const { expiresAtMs } = message;
      if (claim === null && expiresAtMs !== 0 && expiresAtMs <= core.clock.wallMs()) {
        queue.shift();
        core.drop('expired', this.clientId, message.topic);
        delivery.settle(session, entry);
        continue;
      }
      if (claim === null) {
        const member = this.#choose(members);
        if (member === null) break;
        queue.shift();
        moves.push({ entry, session: member.session, member, append: null });
        continue;
      }
      queue.shift();
      const taker = core.sessions.get(claim.clientId);
      if (taker?.ownership?.sid !== claim.sid) {
        // A QoS 2 delivery that has begun ends with its session [MQTT5-4.8.2-5].
        core.drop('session_expired', claim.clientId, message.topic);
        this.#settle(entry);
        continue;
      }
      const member = members.find((one) => one.session === taker) ?? null;
      moves.push({ entry, session: taker, member, append: null });
    }
    if (moves.length > 0) this.#begin(moves);
    else if (queue === null || queue.length === 0) delivery.fetch(session);
  }

  /** In turn: who is here and has room, or is connected to another node. */
  #choose(members: readonly Subscription[]): Subscription | null {
    const count = members.length;
    for (let i = 0; i < count; i++) {
      const at = (this.#next + i) % count;
      const member = members[at]!;
      const { session } = member;
      const given = session.connected ? this.#given : this.#elsewhere;
      const already = given.get(session) ?? 0;
      if (already >= this.#room(session)) continue;
      given.set(session, already + 1);
      this.#next = at + 1;
      return member;
    }
    return null;
  }

  #room(session: Session): number {
    if (!session.connected) return session.isElsewhere ? ELSEWHERE_MAX : 0;
    session.roomWaiter = this;
    // As much again as its window, so that it does not run dry.
    return Math.min(session.inflightMax * 2, WAITING_MAX) - session.queuedMessages;
  }

  // ------------------------------------------------------------------ moving

  #begin(moves: Move[]): void {
    const { core, parked } = this.#parts;
    const { session } = this;
    this.#moves = moves;
    this.#unanswered = moves.length;
    let isNew = false;
    for (const { entry, session: taker } of moves) {
      if (entry.qos === 1 || this.#claims.has(entry.seq)) continue;
      isNew = true;
      const { sid } = taker.ownership!;
      const isApart = this.#failed.has(entry.seq);
      this.#claims.set(entry.seq, { clientId: taker.clientId, sid, isApart, isOld: false });
    }
    if (!isNew) {
      this.#append();
      return;
    }
    // One record of all that may not be settled in Redis yet takes the place of the one before.
    const choices = new Map<string, string>();
    for (const [seq, { sid, clientId, isApart }] of this.#claims) {
      choices.set(`${seq}`, `${sid}${isApart ? APART : ' '}${clientId}`);
    }
    this.#forgettable = this.#settledClaims;
    this.#settledClaims = [];
    const seq = ++session.ownership!.publisherSeq;
    const dummy = makeMessage(0, CLAIMS_TOPIC, Buffer.alloc(0), { qos: 2 });
    const { sessions } = core.bus!;
    const storing: Awaited = { unsafeCount: 0, waiter: null, failed: false };
    storing.waiter = { messageSafe: () => this.releaseParked() };
    this.#storing = storing;
    sessions.beginInbound(session.number, CLAIMS_ID, dummy, choices, seq, storing);
    // A journal may have it before Redis does, and Redis must have what was settled before: it is written
    // with the record, and that waits for Redis.
    this.#ticket = core.store.saveSession(session.record());
    parked.add(this);
    this.releaseParked();
  }

  releaseParked(): void {
    const { core, parked } = this.#parts;
    const storing = this.#storing;
    if (this.isOver || storing === null) return;
    if (storing.unsafeCount > 0 || this.#ticket > core.settledTicket) return;
    parked.delete(this);
    this.#storing = null;
    if (storing.failed || core.failedTickets.has(this.#ticket)) {
      this.isBroken = true;
      this.#moves = [];
      return;
    }
    // What was settled before they were stored is settled in Redis.
    for (const seq of this.#forgettable) this.#claims.delete(seq);
    this.#append();
  }

  #append(): void {
    const { sessions } = this.#parts.core.bus!;
    for (const move of this.#moves) {
      const { entry, session, member } = move;
      const message = copyOf(entry.message);
      message.unsafeCount = 1;
      message.waiter = { messageSafe: () => this.#answered() };
      const qos = member === null || entry.qos < member.qos ? entry.qos : (member.qos as 1 | 2);
      // [MQTT5-3.3.1-12]
      const retain = entry.retain && member?.retainAsPublished === true;
      const ids = member?.subscriptionIds ?? null;
      const identity = this.#identityOf(entry);
      const { clientId, fullFilter } = this;
      // Whoever takes the queue next finds in its members' queues what is settled here (hard case 11).
      move.append = new SharedAppend(message, qos, retain, ids, fullFilter, identity, clientId);
      sessions.enqueue(session.number, move.append);
    }
  }

  /** QoS 1 may come twice, and in any order; positions of QoS 2 rise in each queue. */
  #identityOf({ qos, seq }: QueueEntry): AppendIdentity {
    if (qos === 1) return OWN_IDENTITY;
    const isApart = this.#claims.get(seq)?.isApart === true;
    const writer = this.#writer;
    return { publisherSid: isApart ? `${writer}.${seq}` : writer, publisherSeq: seq };
  }

  #answered(): void {
    this.#unanswered--;
    if (this.#unanswered > 0) return;
    const moves = this.#moves;
    this.#moves = [];
    if (this.isOver) return;
    const kept: QueueEntry[] = [];
    for (const move of moves) if (!this.#isDone(move)) kept.push(move.entry);
    if (kept.length > 0) {
      this.#isPutOff = true;
      for (let i = kept.length - 1; i >= 0; i--) this.session.queue?.unshift(kept[i]!);
    }
    // The last of them is not counted against its receiver's room yet.
    this.#parts.core.scheduler.endOfTurn(() => this.pump());
  }

  /** False: it has to be given to somebody again. */
  #isDone({ entry, append, session }: Move): boolean {
    const { refusal } = append!;
    const isOld = this.#claims.get(entry.seq)?.isOld === true;
    // It never had it: another member may.
    const isFree = refusal === 'failed' || (refusal === 'gone' && !isOld);
    if (isFree) {
      this.#claims.delete(entry.seq);
      this.#failed.add(entry.seq);
      return false;
    }
    if (refusal === 'gone') {
      this.#parts.core.drop('session_expired', session.clientId, entry.message.topic);
    } else if (refusal === null) {
      this.#parts.core.stats.groupMovedMessages++;
    }
    this.#settle(entry);
    return true;
  }

  #settle(entry: QueueEntry): void {
    this.#failed.delete(entry.seq);
    if (this.#claims.has(entry.seq)) this.#settledClaims.push(entry.seq);
    this.#parts.delivery.settle(this.session, entry);
  }

  // ------------------------------------------------------------------ claims of an owner before

  #restore(choices: GroupChoices): void {
    for (const [seq, taker] of choices) {
      // What is below the queue has been settled.
      if (Number(seq) <= this.session.loadedSeq) continue;
      const [sid = ''] = taker.split(/[ !]/, 1);
      const isApart = taker.charAt(sid.length) === APART;
      const clientId = taker.slice(sid.length + 1);
      this.#claims.set(Number(seq), { clientId, sid, isApart, isOld: true });
    }
  }
}

/** Of a message that others may wait for. */
function copyOf(message: Message): Message {
  return new Message(
    message.sequence,
    message.topic,
    message.slab,
    message.bodyStart,
    message.payloadStart,
    message.bodyEnd,
    message.properties,
    message.qos,
    message.retain,
    message.expiresAtMs,
  );
}
