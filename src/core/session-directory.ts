/**
 * What all regions know of a durable session (docs/adr/0023): where its home is, whose it is, what it
 * subscribes to and when it ends. Told by sessions.ts, asked at the CONNECT of a client that has no
 * session here. Implemented by store/cassandra; never on the way of a CONNECT at home, and for a moment on that of SUBSCRIBE.
 */
import type { Awaited } from './awaited.ts';
import { isBridgeId } from './bridge-names.ts';
import { isGroupQueue } from './group-queue-id.ts';
import { isLinkId } from './link-names.ts';
import type { SessionRecord } from './ports.ts';
import type { Listing, Session } from './session.ts';

/** What the directory says of a session whose home is elsewhere. */
export interface ListedSession {
  /** Region. */
  readonly home: string;
  readonly listing: Listing;
  /** Its number means nothing here; it has no will. */
  readonly record: SessionRecord;
}

export interface SessionDirectory {
  /** Sessions go where their client is; false: they stay, and it only says where they are. */
  readonly moves: boolean;
  /**
   * The client is here: this region is its home, whatever the directory says. `atUs`: of a session that a
   * datacenter shares, a time above that of any claim for an owner before; left out: now.
   */
  claimed(session: Session, atUs?: number): void;
  /** Another node of the datacenter has it: that one says what becomes of it. */
  released(session: Session): void;
  /** Its subscriptions are others. */
  changed(session: Session): void;
  /**
   * Counts in `awaited` until the directory has the session as it is, or for as long as a client may wait for that:
   * whoever serves it next, with this region gone, knows what it was told.
   */
  awaitListed(session: Session, awaited: Awaited): void;
  /** Its client is gone; also found so after a crash. */
  left(session: Session): void;
  ended(session: Session): void;
  /** A client begins anew here without a session that lasts: whatever was listed is over. `atUs` as above. */
  forget(clientId: string, atUs?: number): void;
  /** Of a CONNECT now: above all that this region has seen. */
  nextEpoch(): number;
  /** Another region has named one. */
  observe(epoch: number): void;
  /**
   * Null: there is none elsewhere that could be resumed; not `isSure`: nobody could say so in time, or what
   * there is cannot be true. `done` is called once, never from inside the call.
   */
  find(clientId: string, done: (found: ListedSession | null, isSure: boolean) => void): void;
  /** Whether all regions can read that this one is the client's home; false also when nobody can say. */
  isHome(clientId: string, done: (isHome: boolean) => void): void;
  /** The same as far as this node has written it: one that it has come from may forget it. */
  isListed(session: Session): boolean;
}

/** Whether a session may go from region to region: those of links, bridges and shared subscriptions stay. */
export function roams(clientId: string): boolean {
  return !isLinkId(clientId) && !isBridgeId(clientId) && !isGroupQueue(clientId);
}
