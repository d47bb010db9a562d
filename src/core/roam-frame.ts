/**
 * What nodes of a datacenter say to each other of sessions that move between regions (docs/adr/0023): a
 * head of JSON, and behind it bytes that are another region's. Between nodes of one release only, which
 * the peer links see to. Types only.
 */

import type { Anew } from './beginnings.ts';
import type { MovedEntry } from './moved-entry.ts';
import type { Coming } from './moving-sessions.ts';
import type { SessionRecord } from './ports.ts';
import type { RoamingRecord } from './roaming-record.ts';

/** Where messages of this region's nodes belong that are for a session on its way. */
export interface Placement {
  /** Region. */
  readonly to: string;
  /** Where they belonged before the session was on its way. */
  readonly was: string;
  /** Of the CONNECT it is about, microseconds; what has a lower one is over. */
  readonly epoch: number;
  /** The region that has its client; null: it is here. */
  readonly away: string | null;
  /** Each node says so to other regions, in the order of what is published at it. */
  readonly isSaid: boolean;
}

/** What the directory said at a CONNECT, as far as the holder needs it. */
export interface FoundElsewhere {
  readonly home: string;
  readonly epoch: number;
  readonly timeUs: number;
  readonly record: SessionRecord;
}

export type RoamFrame =
  /** The node that says so has the links. */
  | { readonly k: 'holder' }
  /** All that is on its way has been said before this. */
  | { readonly k: 'informed' }
  /** A client has come; the holder answers with `arrived`. */
  | {
      readonly k: 'arrive';
      readonly n: number;
      readonly client: string;
      readonly found: FoundElsewhere | null;
      readonly isSure: boolean;
      readonly isClean: boolean;
    }
  /** `here`: it may be opened as any session; null record: there is nothing to bring. */
  | {
      readonly k: 'arrived';
      readonly n: number;
      readonly client: string;
      readonly epoch: number;
      readonly record: SessionRecord | null;
      readonly inboundIds: readonly number[];
      readonly turns: readonly (readonly [number, number])[];
    }
  /** The node that says so has it for its client, with all it subscribes to; the holder answers with `settled`. */
  | {
      readonly k: 'opened';
      readonly n: number;
      readonly client: string;
      readonly identity: string | null;
    }
  /** What is published here must be for the session here from now on; the holder answers with `settled`. */
  | { readonly k: 'cut'; readonly n: number; readonly client: string }
  /** So it is; or nothing that is published here has to be for it yet. */
  | { readonly k: 'settled'; readonly n: number; readonly client: string }
  | ({ readonly k: 'place'; readonly client: string } & Placement)
  /** All that this node has published before is where it belongs. */
  | { readonly k: 'placed'; readonly client: string; readonly to: string; readonly epoch: number }
  /** It is on its way no more. */
  | { readonly k: 'unplace'; readonly client: string; readonly epoch: number }
  /** Behind it: a question of that region, which came to the node that says so. */
  | { readonly k: 'asked'; readonly region: string }
  /** Behind it: what is to be told to that region, whose link is at the node this goes to. */
  | { readonly k: 'tell'; readonly region: string; readonly topic: string };

/** What the holder keeps of one session in the notes of the links. */
export interface MovingNote {
  readonly roaming: RoamingRecord;
  readonly coming: Coming | null;
  readonly isOpened: boolean;
  readonly sid: string;
  readonly isCutAtOnce: boolean;
  readonly placement: Placement;
}

/** What goes with a word when a session has begun anew. */
export interface AnewWord {
  readonly anew: Anew;
  /** Whose it is: nobody else's ends, or is handed over. */
  readonly identity: string | null;
}

/** How all of it is written. Implemented by geo/roaming. */
export interface RoamCodec {
  frame(head: RoamFrame, body?: Buffer): Buffer;
  /** `body` may be a view of `bytes`. */
  readFrame(bytes: Buffer): { readonly head: RoamFrame; readonly body: Buffer };
  note(note: MovingNote): Buffer;
  readNote(bytes: Buffer): MovingNote;
  entries(clientId: string, entries: readonly MovedEntry[]): Buffer;
  readEntries(bytes: Buffer, nextSequence: () => number): readonly MovedEntry[];
  /** What one node (`by`), or the region, says to other regions: where its messages belong. */
  word(
    clientId: string,
    to: string,
    epoch: number,
    by: string | null,
    anew: AnewWord | null,
  ): Buffer;
}
