/**
 * What the holder of a datacenter's links knows of each session on its way, and keeps in the notes of the
 * links for the next one (docs/adr/0023). State and its notes; `holder-roaming.ts` acts on it.
 */
import type { MoveTickets } from './move-tickets.ts';
import type { MovedEntry } from './moved-entry.ts';
import type { Coming } from './moving-sessions.ts';
import type { Ticket } from './ports.ts';
import type { MovingNote, Placement, RoamCodec } from './roam-frame.ts';
import { RoamingState } from './roaming-state.ts';

/** Notes of the links: in Redis, fenced by the epoch of the role. */
export interface RoamNotes {
  putNote(key: string, value: Buffer | null): Ticket;
  whenDurable(ticket: Ticket, settled: (failed: boolean) => void): void;
}

export interface Moving {
  readonly clientId: string;
  readonly state: RoamingState;
  /** For the node whose client it is; null: it has it. */
  coming: Coming | null;
  isOpened: boolean;
  /** Of the life of the session that is meant; '': not known yet. */
  sid: string;
  /** Nobody else can hand over what is published here. */
  isCutAtOnce: boolean;
  /** Of the holder before: how much of the queue that one has given away is not known. */
  isRestored: boolean;
  placement: Placement;
  /** Given to regions that may or may not have them, and put aside. */
  doubts: readonly MovedEntry[];
  /** All that is in doubt is among them. */
  isKept: boolean;
  /** Letting go; 0: it is not under way. */
  leaving: Ticket;
  /** Being forgotten; 0: it is not. */
  forgetting: Ticket;
  /** Of what another region has taken. */
  settling: Ticket;
  /** A page on its way into the queue; 0: none is. */
  taking: Ticket;
  /** How far it had come with queues of other regions: as the queue here has it, not as the holder before noted. */
  isLearned: boolean;
  whenLearned: (() => void)[];
  /** Who waits until that is known. */
  whenRecovered: (() => void)[];
  /** Nodes that wait until what is published here is for the session here. */
  whenCut: (() => void)[];
  /** A region that has not said anything is asked then (monotonic ms); 0: all have. */
  againMs: number;
  isListed: boolean;
  isLooking: boolean;
  /** Monotonic ms. */
  sinceMs: number;
}

const MOVING_PREFIX = 'm/';
const DOUBTS_PREFIX = 'd/';

export class MovingTable {
  readonly #own: string;
  readonly #notes: RoamNotes;
  readonly #codec: RoamCodec;
  readonly #tickets: MoveTickets;
  readonly #moving: Map<string, Moving> = new Map();
  /** Doubts that were read before the note they belong to. */
  readonly #early: Map<string, readonly MovedEntry[]> = new Map();
  /** Another node has the notes by now. */
  isOver = false;

  constructor(own: string, notes: RoamNotes, codec: RoamCodec, tickets: MoveTickets) {
    this.#own = own;
    this.#notes = notes;
    this.#codec = codec;
    this.#tickets = tickets;
  }

  get(clientId: string): Moving | null {
    return this.#moving.get(clientId) ?? null;
  }

  has(clientId: string): boolean {
    return this.#moving.has(clientId);
  }

  /** A copy: they come and go while they are looked at. */
  all(): Moving[] {
    return [...this.#moving.values()];
  }

  make(clientId: string, state: RoamingState, placement: Placement, nowMs: number): Moving {
    const moving: Moving = {
      ...{ clientId, state, coming: null, isOpened: false, sid: '', isCutAtOnce: false, placement },
      ...{
        doubts: [],
        isKept: true,
        leaving: 0,
        forgetting: 0,
        settling: 0,
        taking: 0,
        isListed: false,
        isLooking: false,
      },
      ...{
        isLearned: true,
        whenLearned: [],
        isRestored: false,
        againMs: 0,
        whenRecovered: [],
        whenCut: [],
      },
      sinceMs: nowMs,
    };
    this.#moving.set(clientId, moving);
    return moving;
  }

  /** False: it was not there, or is another one by now. */
  remove(moving: Moving): boolean {
    const { clientId, doubts } = moving;
    if (this.#moving.get(clientId) !== moving) return false;
    this.#moving.delete(clientId);
    this.#put(MOVING_PREFIX + clientId, null);
    if (doubts.length > 0) this.#put(DOUBTS_PREFIX + clientId, null);
    return true;
  }

  // ------------------------------------------------------------------ notes

  /** A note of the holder before; false: it is of others. */
  restore(key: string, value: Buffer, nextSequence: () => number, nowMs: number): boolean {
    if (key.startsWith(DOUBTS_PREFIX)) {
      const clientId = key.slice(DOUBTS_PREFIX.length);
      const doubts = this.#codec.readEntries(value, nextSequence);
      const moving = this.#moving.get(clientId);
      if (moving === undefined) this.#early.set(clientId, doubts);
      else moving.doubts = doubts;
      return true;
    }
    if (!key.startsWith(MOVING_PREFIX)) return false;
    const clientId = key.slice(MOVING_PREFIX.length);
    const { roaming, placement, coming, isOpened, sid, isCutAtOnce } = this.#codec.readNote(value);
    const state = RoamingState.restored(this.#own, roaming, 0, 0);
    const moving = this.make(clientId, state, placement, nowMs);
    Object.assign(moving, {
      coming,
      isOpened,
      sid,
      isCutAtOnce,
      isRestored: true,
      isLearned: false,
    });
    moving.doubts = this.#early.get(clientId) ?? [];
    moving.isKept = state.leaving === null;
    return true;
  }

  /** All notes are read. */
  restored(): void {
    this.#early.clear();
  }

  /** Redis has lost what was noted, and this node knows it yet. */
  recover(earlier: MovingTable): void {
    for (const moving of earlier.all()) {
      if (this.#moving.has(moving.clientId)) continue;
      this.#moving.set(moving.clientId, moving);
      this.note(moving);
      if (moving.doubts.length > 0) this.noteDoubts(moving);
    }
  }

  note(moving: Moving): Ticket {
    const { clientId, state, coming, isOpened, sid, isCutAtOnce, placement } = moving;
    const note: MovingNote = {
      roaming: state.record(),
      ...{ coming, isOpened, sid, isCutAtOnce, placement },
    };
    return this.#put(MOVING_PREFIX + clientId, this.#codec.note(note));
  }

  noteDoubts({ clientId, doubts }: Moving): Ticket {
    const value = doubts.length === 0 ? null : this.#codec.entries(clientId, doubts);
    return this.#put(DOUBTS_PREFIX + clientId, value);
  }

  #put(key: string, value: Buffer | null): Ticket {
    const ticket = this.#tickets.open();
    if (this.isOver) this.#tickets.settle(ticket, true);
    else {
      this.#notes.whenDurable(this.#notes.putNote(key, value), (failed) =>
        this.#tickets.settle(ticket, failed),
      );
    }
    return ticket;
  }
}
