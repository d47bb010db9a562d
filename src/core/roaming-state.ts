/**
 * What a session must know to go from region to region (docs/adr/0023): where it stands, whose messages it
 * takes, what is still elsewhere, and which packet identifiers its entries have. State only; `roaming.ts`
 * acts on it, stores keep it as part of the session's record. Data plane.
 */
import { Doubts } from './doubts.ts';
import type { Message } from './message.ts';
import { EntryState, type QueueEntry, SentEntry } from './queue-entry.ts';
import type { RegionMark } from './region-mark.ts';
import type { Leaving, RoamingRecord, Source, Stream, Taken, Turn } from './roaming-record.ts';
import { RoamingStreams } from './roaming-streams.ts';

/** A message that waits until what was published before it is here. */
export interface Held {
  readonly message: Message;
  readonly subscriptionIds: readonly number[] | null;
  readonly qos: 1 | 2;
  readonly retain: boolean;
  /** Of its note; null: it has none. */
  readonly key: string | null;
}

/** What a region has said of where its messages belong, or one life of a node there. */
export interface HeardWord {
  readonly origin: string;
  readonly to: string;
  readonly epoch: number;
}

interface Doubtful {
  count: number;
  lastSeq: number;
}

export const ALL_IDS = 65_535;
/** So many homes in a row have packet identifiers of their own; turns go on rising. */
export const ID_SHARES = 16;
export const SHARE_IDS = 4095;
/** Of a session from before it roamed: all of them. */
const WHOLE = -1;

export class RoamingState {
  /** This region. */
  readonly own: string;
  /** This life of this node, as names of its messages begin; '': only the region as a whole says anything. */
  source: string;
  /** Of the last CONNECT here: microseconds of the hybrid clock. The highest of all regions is home. */
  epoch = 0;
  /** Of the CONNECT the session began with here. */
  born = 0;
  /** Above the epoch of every home before this one. */
  arrived = 0;
  #turns: Turn[] = [[0, 0]];
  leaving: Leaving | null = null;
  sources: Source[] = [];
  /** Filters that the client has asked for or given up here since then. */
  readonly changed: Set<string> = new Set();
  /** Where messages of regions belong that have not said otherwise. */
  rest: string;
  /** By which messages are judged. */
  #streams: RoamingStreams = new RoamingStreams();
  /** Without words of others that may not be kept yet; null: there is none. */
  #kept: RoamingStreams | null = null;
  #unkept: readonly HeardWord[] = [];
  /** By position: identifiers that a client knows from another region. */
  readonly #ids: Map<number, { readonly id: number; readonly isReleased: boolean }> = new Map();
  /** Positions that may have been sent before the last start. */
  restoredSeq = 0;
  /** Sent before the session left, and not settled. */
  readonly sent: Set<number> = new Set();
  /** Entries from before the start that were handed over as perhaps sent: of QoS 1, and of QoS 2. */
  #doubtful: readonly [Doubtful, Doubtful] = [
    { count: 0, lastSeq: 0 },
    { count: 0, lastSeq: 0 },
  ];
  /** Nothing up to here is left but what is in doubt. */
  skipTo = 0;
  /** How far this region has come with queues of others that it does not ask now. */
  readonly taken: Map<string, Taken> = new Map();
  /** Handed to the region it leaves for, up to here, which may or may not have it. */
  givenSeq = 0;
  /** Where the queue ended when its last page was given; -1: none was since something came from elsewhere. */
  lastSeq = -1;
  /** Given to regions that have not said how much of it they have. */
  doubts: Doubts = new Doubts();
  /** One of them is looked at now. */
  isResolving = false;
  /** Of a datacenter: something of it is still on its way here, by way of another node. */
  isComing = false;
  /** Null: nothing is held. */
  held: Held[] | null = null;
  heldBytes = 0;

  constructor(own: string, tailSeq: number, source = '') {
    this.own = own;
    this.source = source;
    this.rest = own;
    if (tailSeq > 0)
      this.#turns = [
        [0, WHOLE],
        [tailSeq + 1, 0],
      ];
  }

  static restored(
    own: string,
    record: RoamingRecord,
    headSeq: number,
    tailSeq: number,
    source = '',
  ): RoamingState {
    const state = new RoamingState(own, 0, source);
    state.epoch = record.epoch;
    state.born = record.born;
    state.arrived = record.arrived;
    state.#turns = [...record.turns];
    state.leaving = record.leaving;
    state.sources = record.sources.map((source) => ({ ...source }));
    for (const filter of record.changed ?? []) state.changed.add(filter);
    for (const taken of record.taken) state.taken.set(taken.region, taken);
    state.doubts = new Doubts(record.doubts);
    state.skipTo = record.skipTo;
    if (record.leaving !== null) state.givenSeq = tailSeq;
    state.rest = record.rest;
    for (const [origin, to, epoch] of record.streams) state.#streams.say(origin, to, epoch);
    for (const [seq, id, isReleased] of record.ids) {
      if (seq >= headSeq) state.#ids.set(seq, { id, isReleased });
    }
    state.restoredSeq = tailSeq;
    return state;
  }

  /** Of a session of the datacenter, by what is saved with it; none: identifiers are as of one that stays. */
  static ofTurns(own: string, turns: readonly Turn[], headSeq: number): RoamingState {
    const state = new RoamingState(own, 0);
    state.adopt(turns, headSeq);
    return state;
  }

  /** It is taken over as it is saved; identifiers of single entries come with these, when they are read. */
  adopt(turns: readonly Turn[], headSeq: number): void {
    const kept = turns.filter((_, i) => i + 1 === turns.length || turns[i + 1]![0] > headSeq);
    this.#turns = kept.length === 0 ? [[0, WHOLE]] : kept;
    this.#ids.clear();
  }

  /** Packet identifiers as its owner before knew them. */
  takeTurns(from: RoamingState): void {
    this.#turns = [...from.#turns];
    this.takeIds(from);
  }

  /** Another node may have sent what is not above that position. */
  doubtUpTo(seq: number): void {
    this.restoredSeq = seq;
    this.#doubtful = [
      { count: 0, lastSeq: 0 },
      { count: 0, lastSeq: 0 },
    ];
  }

  /**
   * Whether the client may know an entry that is not settled, as it was sent no more than `windowMessages`. Each
   * QoS has that many: what is acknowledged of QoS 1 may have been forgotten with the node, and then the
   * window had gone on. What is settled between them does not count: a window has no end in positions.
   */
  isDoubtful(seq: number, qos: 1 | 2, windowMessages: number): boolean {
    if (seq > this.restoredSeq) return false;
    const doubtful = this.#doubtful[qos - 1]!;
    if (seq <= doubtful.lastSeq) return true;
    if (doubtful.count >= windowMessages) return false;
    doubtful.count++;
    doubtful.lastSeq = seq;
    return true;
  }

  takeIds(from: RoamingState): void {
    for (const [seq, known] of from.#ids) this.#ids.set(seq, known);
  }

  /** What is elsewhere is another node's to know from here on. */
  becomeLight(): void {
    this.leaving = null;
    this.isComing = false;
    this.sources = [];
    this.taken.clear();
    this.#streams.clear();
    this.#kept = null;
    this.#unkept = [];
    this.arrived = 0;
  }

  record(): RoamingRecord {
    return {
      epoch: this.epoch,
      born: this.born,
      arrived: this.arrived,
      turns: this.#turns,
      leaving: this.leaving,
      sources: this.sources.map((source) => ({ ...source })),
      ...(this.sources.length > 0 && this.changed.size > 0 ? { changed: [...this.changed] } : {}),
      taken: [...this.taken.values()],
      doubts: [...this.doubts.all],
      skipTo: this.skipTo,
      rest: this.rest,
      streams: (this.#kept ?? this.#streams).all(),
      ids: [...this.#ids].map(([seq, { id, isReleased }]) => [seq, id, isReleased] as const),
    };
  }

  // ------------------------------------------------------------------ whose messages

  /** Whether a message is for the session here, and not for it somewhere else. */
  takes(mark: RegionMark | null): boolean {
    const id = mark?.origin?.id ?? null;
    if (id === null) return this.homeOf(this.source === '' ? this.own : this.source) === this.own;
    const regionEnd = id.indexOf('.');
    const end = this.#streams.hasSources ? id.indexOf('.', regionEnd + 1) : regionEnd;
    return this.homeOf(id.slice(0, end)) === this.own;
  }

  /** Where messages of a region belong, or of one life of a node there. */
  homeOf(origin: string): string {
    return this.#streams.homeOf(origin) ?? this.rest;
  }

  /** Where messages of a region belong that has nodes which change one after the other. */
  homesOf(region: string): Set<string> {
    return new Set([this.homeOf(region), ...this.#streams.homesOfSources(region)]);
  }

  /**
   * `origin`, a region or one life of a node, says: what follows belongs to `to`. False: it has said
   * something later already, or its region has.
   */
  redirect(origin: string, to: string, epoch: number): boolean {
    if (epoch < this.born) return false;
    this.#kept?.redirect(origin, to, epoch);
    return this.#streams.redirect(origin, to, epoch);
  }

  /**
   * The same of another region, which may not be kept before all is that was published before it: until then
   * messages alone are judged by it. Null: it is nothing new.
   */
  hear(origin: string, to: string, epoch: number): HeardWord | null {
    if (epoch < this.born) return null;
    const kept = this.#kept ?? this.#streams.copy();
    if (!this.#streams.redirect(origin, to, epoch)) {
      // Said again, as its link broke: this one may be kept first.
      const isThis = (one: HeardWord): boolean =>
        one.origin === origin && one.to === to && one.epoch === epoch;
      return this.#unkept.find(isThis) ?? null;
    }
    const word = { origin, to, epoch };
    this.#kept = kept;
    this.#unkept = [...this.#unkept, word];
    return word;
  }

  /** It may be kept; `failed`: something before it comes again, and is to be judged as if it had not been said. */
  keep(word: HeardWord, failed: boolean): void {
    if (this.#kept === null || !this.#unkept.includes(word)) return;
    this.#unkept = this.#unkept.filter((one) => one !== word);
    const { origin, to, epoch } = word;
    if (!failed) this.#kept.redirect(origin, to, epoch);
    if (this.#unkept.length === 0) {
      this.#streams = this.#kept;
      this.#kept = null;
    } else if (failed) {
      this.#streams = this.#kept.copy();
      for (const one of this.#unkept) this.#streams.redirect(one.origin, one.to, one.epoch);
    }
  }

  /** All that is published in a region is for here, whatever has been said there. */
  claim(region: string, epoch: number): void {
    this.#kept?.claim(region, this.own, epoch);
    this.#streams.claim(region, this.own, epoch);
  }

  /** What was said last. */
  wordOf(origin: string): Stream | null {
    return this.#streams.saidOf(origin) ?? null;
  }

  /** All that is published in a region is for the session there, until it says so. */
  concede(region: string, epoch: number): void {
    this.#kept?.claim(region, region, epoch);
    this.#streams.claim(region, region, epoch);
  }

  /** Epoch of what was said last; 0: nothing was. */
  saidOf(origin: string): number {
    return this.#streams.saidOf(origin)?.epoch ?? 0;
  }

  /** Of this node alone, whatever it has said before. */
  place(to: string, epoch: number): void {
    this.#kept?.say(this.source, to, epoch);
    this.#streams.say(this.source, to, epoch);
  }

  /** This node says nothing of its own. */
  unplace(): void {
    this.#kept?.unsay(this.source);
    this.#streams.unsay(this.source);
  }

  /** It has begun here, and its client with it: what older ones of it have elsewhere that does not know. */
  get isAnew(): boolean {
    return this.arrived < this.born;
  }

  /** This region has said of this stay that its messages belong here. */
  get isCut(): boolean {
    return this.isHeard(this.own);
  }

  /** That region has: also of what it published before, all is either here or where the session was. */
  isHeard(origin: string): boolean {
    const kept = this.#kept ?? this.#streams;
    if ((kept.homeOf(origin) ?? this.rest) !== this.own) return false;
    return this.arrived === 0 || (kept.saidOf(origin)?.epoch ?? 0) >= this.arrived;
  }

  /** The latest CONNECT that is known here, or has been spoken of. */
  get latest(): number {
    let epoch = Math.max(this.epoch, this.leaving?.epoch ?? 0);
    for (const [, , said] of this.#streams.all()) epoch = Math.max(epoch, said);
    return epoch;
  }

  /** Nothing of that region comes here any more: it has said so since the last CONNECT here. */
  isOver(origin: string): boolean {
    const said = (this.#kept ?? this.#streams).saidOf(origin);
    return said !== undefined && said.to !== this.own && said.epoch > this.epoch;
  }

  // ------------------------------------------------------------------ what is elsewhere

  sourceOf(region: string): Source | null {
    return this.sources.find((source) => source.region === region) ?? null;
  }

  /** What is there is wanted, from where this region has come with it before. `born` 0: not known. */
  addSource(region: string, born: number): void {
    if (this.sources.length === 0) this.changed.clear();
    const taken = this.taken.get(region);
    const isSame = taken !== undefined && (born === 0 || taken.born === born);
    this.taken.delete(region);
    this.sources.push({
      region,
      born: isSame ? taken.born : born,
      had: isSame ? taken.had : 0,
      isDone: false,
    });
  }

  dropSource(source: Source): void {
    const { region, born, had } = source;
    this.sources = this.sources.filter((one) => one !== source);
    if (born !== 0) this.taken.set(region, { region, born, had });
  }

  /** That far all of that queue is here, whether or not it is still asked for. */
  tookUpTo(source: Source, seq: number): void {
    source.had = Math.max(source.had, seq);
    const { region, born, had } = source;
    const known = this.taken.get(region);
    if (known?.born === born) this.taken.set(region, { region, born, had });
  }

  /** What was given to the region it leaves for may be there. False: nothing was. */
  doubtGiven(): boolean {
    const { leaving, givenSeq, skipTo } = this;
    this.givenSeq = 0;
    if (leaving === null || givenSeq <= skipTo) return false;
    this.doubts.add({ region: leaving.to, fromSeq: skipTo + 1, upTo: givenSeq });
    this.skipTo = givenSeq;
    return true;
  }

  /** How far this region has come with the queue of that one. */
  takenOf(region: string): Taken | null {
    return this.sourceOf(region) ?? this.taken.get(region) ?? null;
  }

  // ------------------------------------------------------------------ packet identifiers

  get turn(): number {
    return Math.max(0, this.#turns.at(-1)![1]);
  }

  /** Entries from `fromSeq` on have identifiers of that share. */
  beginTurn(fromSeq: number, turn: number): void {
    this.#turns = this.#turns.filter(([seq]) => seq < fromSeq);
    this.#turns.push([fromSeq, turn]);
  }

  /** The packet identifier of the entry at a position. */
  idOf(seq: number): number {
    const known = this.#ids.size === 0 ? undefined : this.#ids.get(seq);
    if (known !== undefined) return known.id;
    let i = this.#turns.length - 1;
    while (i > 0 && this.#turns[i]![0] > seq) i--;
    const turn = this.#turns[i]![1];
    if (turn === WHOLE) return (seq % ALL_IDS) + 1;
    return (turn % ID_SHARES) * SHARE_IDS + (seq % SHARE_IDS) + 1;
  }

  /** It was sent under this identifier by another region. */
  giveId(seq: number, id: number, isReleased: boolean): void {
    this.#ids.set(seq, { id, isReleased });
  }

  /** Whether entries have identifiers that do not follow from their positions. */
  get hasForeignIds(): boolean {
    return this.#ids.size > 0;
  }

  isForeign(seq: number): boolean {
    return this.#ids.has(seq);
  }

  /** An entry was read from the store. */
  recall(entry: QueueEntry): void {
    if (this.sent.has(entry.seq)) entry.sentBefore = true;
    if (entry instanceof SentEntry) this.giveId(entry.seq, entry.packetId, entry.wasReleased);
    const known = this.#ids.size === 0 ? undefined : this.#ids.get(entry.seq);
    if (known === undefined) return;
    entry.sentBefore = true;
    if (known.isReleased) entry.state = EntryState.RELEASED;
  }

  settled(seq: number): void {
    if (this.sent.size > 0) this.sent.delete(seq);
    if (this.#ids.size > 0) this.#ids.delete(seq);
  }

  /** Whether an entry with this identifier is here or elsewhere and may be sent again. */
  awaitsTurn(packetId: number, firstSeq: number, tailSeq: number): boolean {
    if (this.sources.length > 0 || this.isComing) return true;
    for (const { id } of this.#ids.values()) if (id === packetId) return true;
    const lastSeq = Math.min(tailSeq, firstSeq + SHARE_IDS - 1);
    for (let seq = firstSeq; seq <= lastSeq; seq++) if (this.idOf(seq) === packetId) return true;
    return false;
  }
}

/** Of a home that comes behind the one that had `turn`, in the region of that rank among so many. */
export function turnAbove(turn: number, rank: number, regions: number): number {
  const next = turn + 1;
  return next + ((rank + regions - (next % regions)) % regions);
}
