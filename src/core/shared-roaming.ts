/**
 * Sessions that go from region to region, at each node of a datacenter (docs/adr/0023): whose messages this
 * node's are, telling other regions so in their order, asking the holder of the links at a CONNECT, and taking
 * in what it brings. What becomes of a move only the holder decides (`holder-roaming.ts`).
 */
import type { Awaited } from './awaited.ts';
import { whenSafe } from './awaited.ts';
import type { Bus, Incarnation, RoamListener } from './cluster-ports.ts';
import { linkIdOf } from './link-names.ts';
import type { Message } from './message.ts';
import type { Arrival, Coming, MovingSessions, Place } from './moving-sessions.ts';
import type { Ticket } from './ports.ts';
import type { RegionLinks } from './region-links.ts';
import type { Placement, RoamCodec, RoamFrame } from './roam-frame.ts';
import type { RoamHolder } from './roam-holder.ts';
import type { RoamVoice } from './roam-voice.ts';
import { RoamingState } from './roaming-state.ts';
import type { Services } from './services.ts';
import type { Session } from './session.ts';
import { TicketLine } from './ticket-line.ts';

const TICK_MS = 100;
/** A client that comes waits so long for a holder. */
const ARRIVE_MS = 10_000;
/** Of clients whose CONNECT is under way. */
const COMING_MAX = 10_000;

/** A CONNECT that waits for the holder. */
interface Asked {
  readonly arrival: Arrival;
  readonly untilMs: number;
}

/** What the holder was told of a session, and answers. */
interface Told {
  readonly head: Extract<RoamFrame, { k: 'opened' | 'cut' }>;
  /** Answers to its client. */
  readonly waiting: Awaited[];
  readonly untilMs: number;
  isTold: boolean;
}

/** What every node has to do before something counts as done. */
interface Placing {
  readonly placement: Placement;
  readonly waiting: Set<Incarnation>;
  /** All nodes have; null: that is told. */
  done: (() => void) | null;
  /** So has what dead ones have left. */
  readonly sure: () => void;
}

export class SharedRoaming implements MovingSessions, RoamListener {
  readonly own: string;
  /** This node has the links; null: another one has. */
  holder: RoamHolder | null = null;
  readonly #services: Services;
  readonly #bus: Bus;
  readonly #voice: RoamVoice;
  readonly codec: RoamCodec;
  readonly #source: string;
  /** Sessions on their way, by client identifier. */
  readonly #table: Map<string, Placement> = new Map();
  readonly #placing: Map<string, Placing> = new Map();
  /** Of those, which this life has said as it began. */
  readonly #begun: Set<string> = new Set();
  /** Regions' link sessions that have been told of them. */
  readonly #toldLinks: Set<string> = new Set();
  #holderAt: Incarnation | null = null;
  readonly #asked: Map<number, Asked> = new Map();
  #count = 0;
  /** What comes with a CONNECT that is under way. */
  readonly #coming: Map<string, Coming> = new Map();
  /** Clients whose CONNECT was asked about, with its epoch: the holder is told when they have their session. */
  readonly #arriving: Map<string, number> = new Map();
  readonly #told: Map<string, Told> = new Map();
  /** Who has been a node for longer has told what is on its way, or the holder has. */
  #isInformed = false;
  #uninformed: { readonly untilMs: number; readonly then: (isInformed: boolean) => void }[] = [];
  readonly #tickets: TicketLine;
  #stopTick: (() => void) | null = null;

  constructor(
    services: Services,
    bus: Bus,
    voice: RoamVoice,
    links: RegionLinks,
    codec: RoamCodec,
  ) {
    this.#services = services;
    this.#tickets = new TicketLine(services);
    this.#bus = bus;
    this.#voice = voice;
    this.codec = codec;
    this.own = links.region;
    this.#source = links.source;
  }

  /** Before the node joins. */
  start(): void {
    this.#bus.listenRoam(this);
    this.#stopTick = this.#services.core.scheduler.every(TICK_MS, () => this.#tick());
  }

  stop(): void {
    this.#stopTick?.();
    this.#stopTick = null;
    for (const [n, { arrival }] of this.#asked) {
      this.#asked.delete(n);
      arrival.refused();
    }
  }

  #tick(): void {
    const nowMs = this.#services.core.clock.monotonicMs();
    for (const [n, asked] of this.#asked) {
      if (asked.arrival.isWanted() && nowMs < asked.untilMs) continue;
      this.#asked.delete(n);
      asked.arrival.refused();
    }
    for (const [clientId, { untilMs }] of this.#told) {
      if (nowMs >= untilMs) this.#answered(clientId, true);
    }
    while (this.#uninformed[0] !== undefined && this.#uninformed[0].untilMs <= nowMs) {
      this.#uninformed.shift()!.then(false);
    }
    this.#settle();
    this.holder?.tick(nowMs);
  }

  // ------------------------------------------------------------------ MovingSessions

  isInformed(then: (isInformed: boolean) => void): boolean {
    if (this.#isInformed) return true;
    const untilMs = this.#services.core.clock.monotonicMs() + ARRIVE_MS;
    this.#uninformed.push({ untilMs, then });
    return false;
  }

  arrive(arrival: Arrival): void {
    const { clock } = this.#services.core;
    const n = ++this.#count;
    this.#coming.delete(arrival.clientId);
    const untilMs = clock.monotonicMs() + ARRIVE_MS;
    const asked: Asked = { arrival, untilMs };
    this.#asked.set(n, asked);
    this.#askHolder(n, asked);
  }

  #askHolder(n: number, asked: Asked): void {
    const { self } = this.#bus.roam;
    const at = this.holder === null ? this.#holderAt : self;
    if (at === null) return;
    const { clientId: client, found, isSure, isClean } = asked.arrival;
    const elsewhere =
      found === null
        ? null
        : {
            home: found.home,
            epoch: found.listing.epoch,
            timeUs: found.listing.timeUs,
            record: found.record,
          };
    this.#say(at, { k: 'arrive', n, client, found: elsewhere, isSure, isClean });
  }

  coming(clientId: string): Coming | null {
    return this.#coming.get(clientId) ?? null;
  }

  isAway(clientId: string): boolean {
    return (this.#table.get(clientId)?.away ?? null) !== null;
  }

  epochOf(clientId: string): number {
    const placed = this.#table.get(clientId)?.epoch ?? 0;
    return Math.max(placed, this.#arriving.get(clientId) ?? 0);
  }

  moveIn(session: Session): Ticket {
    const { core, sessions } = this.#services;
    const { clientId } = session;
    const coming = this.#coming.get(clientId);
    if (coming === undefined) return 0;
    this.#coming.delete(clientId);
    const { record, inboundIds, turns } = coming;
    session.roam = RoamingState.ofTurns(this.own, turns, 0);
    this.known(session);
    session.roam.adopt(turns, 0);
    for (const subscription of record.subscriptions) sessions.subscribe(session, subscription);
    sessions.countQuota(session);
    let ticket = 0;
    for (const id of inboundIds) {
      session.inboundIds ??= new Set();
      session.inboundIds.add(id);
      ticket = Math.max(ticket, core.store.addInboundId(session.number, id));
    }
    return Math.max(ticket, sessions.changed(session, record.subscriptions, []));
  }

  admit(session: Session, ticket: Ticket): void {
    const { clientId: client, identity } = session;
    this.#coming.delete(client);
    const isAsked = this.#arriving.delete(client);
    if (!isAsked && !this.#table.has(client)) return;
    const told = this.#tellHolder({ k: 'opened', n: ++this.#count, client, identity });
    this.#tickets.when(ticket, (failed) => {
      if (failed) return;
      // All that it subscribes to is known to all by then.
      this.#bus.roam.whenApplied((isApplied) => {
        if (isApplied) this.#sayTold(told);
      });
    });
  }

  awaitMove({ clientId }: Session, awaited: Awaited): void {
    const told = this.#told.get(clientId);
    if (told === undefined) return;
    awaited.unsafeCount++;
    told.waiting.push(awaited);
  }

  opened(): void {}

  /** The holder tells others, once the client has it. */
  begun(): Ticket {
    return 0;
  }

  changed({ clientId: client }: Session): void {
    const placement = this.#table.get(client);
    if (placement === undefined || placement.isSaid || placement.away !== null) return;
    if (this.#arriving.has(client)) return;
    const told = this.#tellHolder({ k: 'cut', n: ++this.#count, client });
    this.#bus.roam.whenApplied((isApplied) => {
      if (isApplied) this.#sayTold(told);
    });
  }

  /** Who waits for an earlier answer waits for this one. */
  #tellHolder(head: Told['head']): Told {
    const waiting = this.#told.get(head.client)?.waiting ?? [];
    const untilMs = this.#services.core.clock.monotonicMs() + ARRIVE_MS;
    const told = { head, waiting, untilMs, isTold: false };
    this.#told.set(head.client, told);
    return told;
  }

  #sayTold(told: Told): void {
    if (this.#told.get(told.head.client) !== told) return;
    told.isTold = true;
    this.#sayToHolder(told.head);
  }

  #answered(clientId: string, failed: boolean): void {
    const told = this.#told.get(clientId);
    if (told === undefined) return;
    this.#told.delete(clientId);
    for (const awaited of told.waiting) {
      if (failed) awaited.failed = true;
      awaited.unsafeCount--;
      if (awaited.unsafeCount === 0) awaited.waiter?.messageSafe();
    }
  }

  asked(region: string, payload: Buffer): void {
    if (this.holder !== null) this.holder.asked(region, payload);
    else if (this.#holderAt !== null) {
      this.#bus.roam.send(this.#holderAt, this.codec.frame({ k: 'asked', region }, payload));
    }
  }

  placeOf(clientId: string): Place | null {
    return this.#table.get(clientId) ?? null;
  }

  /** Nothing waits here for what is on its way: it comes through the queue. */
  hold(): void {}
  release(): void {}

  /** A session that this node knows from now on, or anew. */
  known(session: Session): void {
    const { clientId } = session;
    if (session.link !== null && session.durable) this.#tellLink(session);
    this.holder?.sees(session);
    const placement = this.#table.get(clientId);
    if (placement === undefined) return;
    const full = this.holder?.stateOf(clientId) ?? null;
    if (full !== null && session.roam !== full) {
      if (session.roam !== null) full.takeIds(session.roam);
      session.roam = full;
    }
    const roam = (session.roam ??= new RoamingState(this.own, session.tailSeq));
    roam.source = this.#source;
    if (full !== null) {
      // Its region may have said less than this node: what that says counts as long as it is on its way.
      roam.place(placement.to, placement.epoch);
      return;
    }
    if (placement.isSaid) roam.place(placement.to, placement.epoch);
    else roam.unplace();
    roam.rest = placement.to;
    roam.isComing = placement.away === null;
    roam.leaving = placement.away === null ? null : { to: placement.away, epoch: placement.epoch };
  }

  /** This life may have said where its messages belong before it knew of that region's queue. */
  #tellLink(session: Session): void {
    if (this.#toldLinks.has(session.clientId)) return;
    this.#toldLinks.add(session.clientId);
    for (const [clientId, { to, epoch, isSaid }] of this.#table) {
      if (!isSaid && !this.#begun.has(clientId)) continue;
      const word = this.codec.word(clientId, to, isSaid ? epoch : epoch - 1, this.#source, null);
      this.#voice.announceTo(session, word);
    }
  }

  // ------------------------------------------------------------------ for the holder

  /** Regions' own words are the holder's to say. */
  announceRegion(clientId: string, to: string, epoch: number): void {
    this.#voice.announce(this.codec.word(clientId, to, epoch, null, null));
  }

  /**
   * `done` when all nodes have it, and all they had published before is in its place; `sure` when so is what comes
   * of nodes that have died.
   */
  place(
    clientId: string,
    placement: Placement,
    done: () => void,
    sure: () => void = nothing,
  ): void {
    const known = this.#table.get(clientId);
    const isEarlier = known !== undefined && known.epoch > placement.epoch;
    if (isEarlier && known.away !== null && known.away === placement.away) {
      // Nodes pass over what is earlier, and answer nothing: what they have stands for it.
      this.place(clientId, known, done, sure);
      return;
    }
    const { roam } = this.#bus;
    const before = this.#placing.get(clientId);
    const placing: Placing = {
      placement,
      waiting: new Set([...roam.members(), roam.self]),
      // What is newer stands for what was before.
      done: () => {
        before?.done?.();
        done();
      },
      sure: () => {
        before?.sure();
        sure();
      },
    };
    this.#placing.set(clientId, placing);
    roam.sendAll(this.codec.frame({ k: 'place', client: clientId, ...placement }));
    this.#place(clientId, placement, roam.self);
  }

  isPlacing(clientId: string): boolean {
    return this.#placing.has(clientId);
  }

  /** All nodes have what was placed last. */
  isPlaced(clientId: string): boolean {
    return (this.#placing.get(clientId)?.done ?? null) === null;
  }

  unplace(clientId: string, epoch: number): void {
    const placing = this.#placing.get(clientId);
    this.#placing.delete(clientId);
    placing?.done?.();
    placing?.sure();
    this.#bus.roam.sendAll(this.codec.frame({ k: 'unplace', client: clientId, epoch }));
    this.#unplace(clientId, epoch);
  }

  /** To a region whose link is at some node of this one; false: it has none. */
  tellRegion(region: string, topic: string, payload: Buffer): boolean {
    if (this.#voice.tell(region, topic, payload)) return true;
    const at = this.#services.core.sessions.get(linkIdOf(region))?.ownership?.owner ?? null;
    if (at === null || at === this.#bus.roam.self) return false;
    this.#bus.roam.send(at, this.codec.frame({ k: 'tell', region, topic }, payload));
    return true;
  }

  /** This node has the links from now on, and has read what the holder before had noted. */
  begin(holder: RoamHolder): void {
    this.holder = holder;
    this.#holderAt = null;
    this.#bus.roam.sendAll(this.codec.frame({ k: 'holder' }));
    for (const session of this.#services.core.sessions.values()) this.known(session);
    this.#askAgain();
  }

  /** Another node has them, or will. */
  end(): void {
    this.holder = null;
    this.#placing.clear();
    for (const clientId of this.#table.keys()) {
      const session = this.#services.core.sessions.get(clientId);
      if (session?.roam == null) continue;
      session.roam.becomeLight();
      this.known(session);
    }
  }

  /** All that the holder before had noted is in its place. */
  inform(): void {
    this.#bus.roam.sendAll(this.codec.frame({ k: 'informed' }));
    this.#informed();
  }

  #informed(): void {
    this.#isInformed = true;
    for (const { then } of this.#uninformed.splice(0)) then(true);
  }

  #askAgain(): void {
    for (const [n, asked] of this.#asked) this.#askHolder(n, asked);
    for (const told of [...this.#told.values()]) if (told.isTold) this.#sayTold(told);
  }

  // ------------------------------------------------------------------ RoamListener

  said(from: Incarnation, payload: Buffer): void {
    const { head, body } = this.codec.readFrame(payload);
    this.#heard(from, head, body);
  }

  #heard(from: Incarnation, head: RoamFrame, body: Buffer): void {
    switch (head.k) {
      case 'holder':
        this.#holderAt = from;
        this.#askAgain();
        return;
      case 'informed':
        this.#informed();
        return;
      case 'place':
        this.#place(head.client, head, from);
        return;
      case 'placed':
        this.#placed(from, head.client, head.to, head.epoch);
        return;
      case 'unplace':
        this.#unplace(head.client, head.epoch);
        return;
      case 'arrived':
        this.#arrived(head);
        return;
      case 'settled':
        if (this.#told.get(head.client)?.head.n === head.n) this.#answered(head.client, false);
        return;
      case 'tell':
        this.#voice.tell(head.region, head.topic, body);
        return;
      default:
        this.#asHolder(from, head, body);
    }
  }

  /** What only the holder is told; whoever is not is asked again, elsewhere. */
  #asHolder(from: Incarnation, head: RoamFrame, body: Buffer): void {
    const { holder } = this;
    if (holder === null) return;
    if (head.k === 'asked') holder.asked(head.region, Buffer.from(body));
    else if (head.k === 'opened') {
      holder.openedAt(head.client, head.identity, () => this.#saySettled(from, head));
    } else if (head.k === 'cut') {
      holder.cutNow(head.client, () => this.#saySettled(from, head));
    } else if (head.k === 'arrive') {
      holder.arriveAt(head, (answer) => this.#say(from, { k: 'arrived', ...answer, n: head.n }));
    }
  }

  #saySettled(to: Incarnation, { n, client }: Told['head']): void {
    this.#say(to, { k: 'settled', n, client });
  }

  tell(peer: Incarnation): void {
    const { roam } = this.#bus;
    if (this.holder !== null) roam.send(peer, this.codec.frame({ k: 'holder' }));
    for (const [client, placement] of this.#table) {
      roam.send(peer, this.codec.frame({ k: 'place', client, ...placement }));
    }
    if (this.#isInformed) roam.send(peer, this.codec.frame({ k: 'informed' }));
    if (this.#holderAt === peer) this.#askAgain();
  }

  gone(peer: Incarnation): void {
    if (this.#holderAt === peer) this.#holderAt = null;
    for (const placing of this.#placing.values()) placing.waiting.delete(peer);
    this.#settle();
  }

  lost(): void {
    this.#holderAt = null;
    this.#isInformed = false;
    this.#toldLinks.clear();
    this.#placing.clear();
    for (const clientId of [...this.#told.keys()]) this.#answered(clientId, true);
    // The others tell what of it still holds.
    for (const [clientId, { epoch }] of [...this.#table]) this.#unplace(clientId, epoch);
  }

  #say(to: Incarnation, head: RoamFrame): void {
    if (to === this.#bus.roam.self) this.#heard(to, head, EMPTY);
    else this.#bus.roam.send(to, this.codec.frame(head));
  }

  #sayToHolder(head: RoamFrame): void {
    const at = this.holder === null ? this.#holderAt : this.#bus.roam.self;
    if (at !== null) this.#say(at, head);
  }

  #arrived(answer: Extract<RoamFrame, { k: 'arrived' }>): void {
    const asked = this.#asked.get(answer.n);
    if (asked === undefined || asked.arrival.clientId !== answer.client) return;
    this.#asked.delete(answer.n);
    const { client, record, inboundIds, turns } = answer;
    if (!asked.arrival.isWanted()) return;
    if (this.#coming.size >= COMING_MAX) this.#coming.clear();
    if (record !== null) this.#coming.set(client, { record, inboundIds, turns });
    if (this.#arriving.size >= COMING_MAX) this.#arriving.clear();
    this.#arriving.set(client, answer.epoch);
    asked.arrival.done();
  }

  // ------------------------------------------------------------------ where messages belong

  #place(clientId: string, placement: Placement, from: Incarnation): void {
    const { core } = this.#services;
    const { to, was, epoch, away, isSaid } = placement;
    const before = this.#table.get(clientId);
    if (before !== undefined && before.epoch > epoch) return;
    const isSame = before?.epoch === epoch && before.to === to && before.isSaid === isSaid;
    // What is said for this stay is not taken back by what was noted before.
    const isBehind = before?.epoch === epoch && before.isSaid && !isSaid;
    if (!isBehind) this.#table.set(clientId, { to, was, epoch, away, isSaid });
    const session = core.sessions.get(clientId);
    if (session !== undefined) this.known(session);
    let words: readonly Message[] = [];
    if (isSaid && !isSame) {
      words = this.#voice.announce(this.codec.word(clientId, to, epoch, this.#source, null));
    } else if (before === undefined && !this.#isInformed) {
      // Lives of nodes have said so. This one has just begun, and the region may have said nothing since: it is
      // judged by its own word, which is older than the next one.
      this.#begun.add(clientId);
      words = this.#voice.announce(this.codec.word(clientId, to, epoch - 1, this.#source, null));
    }
    this.#whenSafe(words, () => {
      const told = (): void => this.#say(from, { k: 'placed', client: clientId, to, epoch });
      if (session === undefined) told();
      else this.#bus.sessions.whenAppended(session.number, told);
    });
  }

  #whenSafe(messages: readonly Message[], then: () => void): void {
    let left = messages.length + 1;
    const one = (): void => {
      left--;
      if (left === 0) then();
    };
    for (const message of messages) whenSafe(message, one);
    one();
  }

  #placed(from: Incarnation, clientId: string, to: string, epoch: number): void {
    const placing = this.#placing.get(clientId);
    if (placing === undefined) return;
    if (placing.placement.epoch !== epoch || placing.placement.to !== to) return;
    placing.waiting.delete(from);
    if (placing.waiting.size === 0) this.#settle();
  }

  /** What a dead node had promised may not be in the queues yet, or be on its way there. */
  #settle(): void {
    if (this.#placing.size === 0) return;
    for (const [clientId, placing] of [...this.#placing]) {
      if (placing.waiting.size > 0) continue;
      const { done } = placing;
      placing.done = null;
      done?.();
      if (this.#bus.roam.isOwed || this.#placing.get(clientId) !== placing) continue;
      this.#placing.delete(clientId);
      placing.sure();
    }
  }

  #unplace(clientId: string, epoch: number): void {
    const known = this.#table.get(clientId);
    if (known === undefined || known.epoch > epoch) return;
    this.#table.delete(clientId);
    this.#begun.delete(clientId);
    const session = this.#services.core.sessions.get(clientId);
    if (session?.roam == null) return;
    const { roam } = session;
    roam.becomeLight();
    roam.rest = this.own;
    // Whoever owns it goes on with the packet identifiers it has.
    if (session.ownership?.owner !== this.#bus.incarnation) session.roam = null;
  }
}

const EMPTY: Buffer = Buffer.alloc(0);

function nothing(): void {}
