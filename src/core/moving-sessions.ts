/** What connections and the fan-out ask of `roaming.ts`, so that they need not know it. Types only. */
import type { Awaited } from './awaited.ts';
import type { SessionRecord, Ticket } from './ports.ts';
import type { Publication } from './publication.ts';
import type { Session, Subscription } from './session.ts';
import type { ListedSession } from './session-directory.ts';

export interface Arrival {
  readonly clientId: string;
  /** What the directory says. */
  readonly found: ListedSession | null;
  /** False: other regions are asked, too, as the directory could not say, or may not have it yet. */
  readonly isSure: boolean;
  readonly isClean: boolean;
  /** The client still waits. */
  readonly isWanted: () => boolean;
  /** The session is here, as far as it can be. */
  readonly done: () => void;
  /** Nobody can say now what becomes of it: the client is to come again. */
  readonly refused: () => void;
}

/** What a CONNECT brings into the session it opens, from another region. */
export interface Coming {
  readonly record: SessionRecord;
  /** QoS 2 messages of the client that are between PUBREC and PUBREL. */
  readonly inboundIds: readonly number[];
  /** Of packet identifiers: position, and share. */
  readonly turns: readonly (readonly [number, number])[];
}

export interface Place {
  readonly to: string;
  /** Before it was on its way. */
  readonly was: string;
}

export interface MovingSessions {
  /** What is on its way is known here: messages go where they belong. False: `then` is told once it is, or is not in time. */
  isInformed(then: (isInformed: boolean) => void): boolean;
  /** A client comes whose session is not here, or not here any more. */
  arrive(arrival: Arrival): void;
  /** What waits for the CONNECT of that client; null: nothing. Of datacenters alone. */
  coming(clientId: string): Coming | null;
  /** Another region has its client, and is given what waits here. */
  isAway(clientId: string): boolean;
  /** Of the last CONNECT of that client in any region that is known here, microseconds; 0: none is. */
  epochOf(clientId: string): number;
  /** Puts that into the session, which is new here. The ticket that makes it durable. */
  moveIn(session: Session): Ticket;
  /** This node knows the session from now on, or anew. */
  known(session: Session): void;
  /** The session of a CONNECT is as it is to be, once that ticket is durable: whoever moves it is told. */
  admit(session: Session, ticket: Ticket): void;
  /** What an answer to its client waits for besides: that all that is published here from then on is for it. */
  awaitMove(session: Session, awaited: Awaited): void;
  /** Where messages of this node belong that are for the session; null: it is not on its way. Of datacenters alone. */
  placeOf(clientId: string): Place | null;
  /** A CONNECT has made a session, in the turn it did so. The ticket that makes durable what others are told of it. */
  begun(session: Session): Ticket;
  /** The client has its session. */
  opened(session: Session): void;
  /** Text of a region with a link here, which its client may not have said. */
  asked(region: string, payload: Buffer): void;
  /** Keeps a message back until those before it have come from another region. */
  hold(session: Session, publication: Publication, receiver: Subscription, qos: 1 | 2): void;
  /** Nothing is kept back for it any more. */
  release(session: Session): void;
  /** It has asked for these filters, or given them up: no other region knows of it. */
  changed(session: Session, filters: readonly string[]): void;
}
