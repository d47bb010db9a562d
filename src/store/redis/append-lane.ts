/**
 * What waits to be appended to one session's queue, in order. One call at a time is under way for a
 * session: so a repetition never comes behind something newer, and what comes meanwhile goes together.
 */
import type { SharedAppend } from '../../core/shared-append.ts';
import { Ring } from '../../util/ring.ts';
import type { JournalEntry } from '../journal/journal-entry.ts';
import type { SessionKeys } from './keys.ts';

export interface WaitingAppend {
  /** Null: it was answered long ago and is written again, or a journal has it. */
  readonly append: SharedAppend | null;
  readonly writer: string;
  /** Rising per writer. */
  readonly seq: number;
  readonly value: Buffer;
  /** What the journal of this node has of it; null: nothing. */
  entry: JournalEntry | null;
  /** Of a journal that is replayed: told when it is answered. */
  readonly answered: (() => void) | null;
}

function isRewrite(waiting: WaitingAppend | undefined): boolean {
  return waiting !== undefined && waiting.append === null && waiting.answered === null;
}

export class AppendLane {
  readonly sessionNumber: number;
  readonly clientId: string;
  readonly sid: string;
  readonly keys: SessionKeys;
  readonly shard: number;
  readonly #pending: Ring<WaitingAppend> = new Ring();
  /** Of the call that is under way; null: there is none. */
  #inFlight: readonly WaitingAppend[] | null = null;
  /** The node knows the session by this sid; false: whoever waits here is told and forgotten. */
  isBound = true;
  isDirty = false;
  /** Not to be sent before it is let go: Redis is away, would not, or has no such session. */
  isHeld = false;
  /** Redis had no such session, since then; 0: it has. */
  absentSinceMs = 0;
  /** Calls in a row that Redis would not run at all. */
  refusals = 0;
  /** Redis has answered nothing of what waits, since then (monotonic ms); 0: nothing waits for long. */
  stuckSinceMs = 0;
  /** Of what waits, so many are in the journal. */
  journaled = 0;

  constructor(
    sessionNumber: number,
    clientId: string,
    sid: string,
    keys: SessionKeys,
    shard: number,
  ) {
    this.sessionNumber = sessionNumber;
    this.clientId = clientId;
    this.sid = sid;
    this.keys = keys;
    this.shard = shard;
  }

  get pending(): number {
    return this.#pending.length;
  }

  get isIdle(): boolean {
    return this.#inFlight === null && this.#pending.length === 0;
  }

  get isSendable(): boolean {
    return this.#inFlight === null && this.#pending.length > 0 && !this.isHeld;
  }

  /** What is newer than all that the journal has, in order. `isFor`: what may go there. */
  notJournaled(isFor: (append: WaitingAppend) => boolean): WaitingAppend[] {
    const found: WaitingAppend[] = [];
    for (let i = this.#pending.length - 1; i >= 0; i--) {
      const append = this.#pending.at(i)!;
      if (append.entry !== null) return found.reverse();
      if (isFor(append)) found.push(append);
    }
    const inFlight = this.#inFlight ?? [];
    for (let i = inFlight.length - 1; i >= 0; i--) {
      const append = inFlight[i]!;
      if (append.entry !== null) break;
      if (isFor(append)) found.push(append);
    }
    return found.reverse();
  }

  push(append: WaitingAppend): void {
    this.#pending.push(append);
  }

  /** What the next call takes, at least one. */
  take(valuesMax: number, bytesMax: number): readonly WaitingAppend[] {
    const taken: WaitingAppend[] = [];
    let bytes = 0;
    while (taken.length < valuesMax && bytes < bytesMax && this.#pending.length > 0) {
      const append = this.#pending.shift()!;
      taken.push(append);
      bytes += append.value.length;
    }
    this.#inFlight = taken;
    return taken;
  }

  /** The call was answered; `undone`, in order, are to be sent again before all others. */
  answered(undone: readonly WaitingAppend[]): void {
    this.#inFlight = null;
    // What is written again for a new server is older than any call that was under way.
    const older: WaitingAppend[] = [];
    while (undone.length > 0 && isRewrite(this.#pending.at(0))) {
      older.push(this.#pending.shift()!);
    }
    this.#putFirst(undone);
    this.#putFirst(older);
  }

  /** Before all that waits. */
  rewrite(appends: readonly WaitingAppend[]): void {
    this.#putFirst(appends);
  }

  /** Empties it. */
  takeAll(): WaitingAppend[] {
    const taken: WaitingAppend[] = [];
    while (this.#pending.length > 0) taken.push(this.#pending.shift()!);
    return taken;
  }

  #putFirst(appends: readonly WaitingAppend[]): void {
    for (let i = appends.length - 1; i >= 0; i--) this.#pending.unshift(appends[i]!);
  }
}
