/** How a session stands between regions, as stores keep it with the session (docs/adr/0023). Types only. */

/** It has another home; what waits here is on its way there. */
export interface Leaving {
  readonly to: string;
  /** Of the CONNECT there. */
  readonly epoch: number;
}

/** A region that still has something of the session. */
export interface Source {
  readonly region: string;
  /** Which life of the session there `had` is about; 0: not known yet. */
  born: number;
  /** Up to this position of that queue all is durable here. */
  had: number;
  /** All is here: it may forget. */
  isDone: boolean;
  /** It was silent when its client came: what that had subscribed to there last has not been heard. */
  isUnheard?: boolean;
}

/** How far this region has come with the queue of another one; kept when it asks there no more. */
export interface Taken {
  readonly region: string;
  readonly born: number;
  readonly had: number;
}

/** A stretch of the queue that was given to a region: it may have any beginning of it. */
export interface Doubt {
  readonly region: string;
  readonly fromSeq: number;
  readonly upTo: number;
}

/** From here on messages of one region, or of one life of a node there, belong to the session at `to`. */
export interface Stream {
  readonly to: string;
  readonly epoch: number;
}

/** Position from which on, and which share of the packet identifiers; -1: all of them. */
export type Turn = readonly [number, number];

/** As stored with the session. */
export interface RoamingRecord {
  readonly epoch: number;
  readonly born: number;
  /** Whoever has said since then that its messages belong here has said it of this stay. */
  readonly arrived: number;
  readonly turns: readonly Turn[];
  readonly leaving: Leaving | null;
  readonly sources: readonly Source[];
  /** Filters that the client has asked for or given up here while others had something of it; left out: none. */
  readonly changed?: readonly string[];
  readonly taken: readonly Taken[];
  readonly doubts: readonly Doubt[];
  /** Up to here other regions have it all, but for what is in doubt. */
  readonly skipTo: number;
  readonly rest: string;
  /** Region, or `REGION.INCARNATION` of a node that has said something later; where to, epoch. */
  readonly streams: readonly (readonly [string, string, number])[];
  /** Position, packet identifier, whether PUBREC has come. */
  readonly ids: readonly (readonly [number, number, boolean])[];
}
