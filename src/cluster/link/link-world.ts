/** What all links of a node share: who it is, its bounds, and the world that is handed in. */
import type { Incarnation } from '../../core/cluster-ports.ts';
import type { Clock, Log, Random } from '../../core/ports.ts';
import type { LinkTransport, MeshEvents } from '../ports.ts';

export interface LinkLimits {
  /** A connection without bytes for so long is given up; after a sixth of it there is a PING. */
  readonly leaseMs: number;
  /** Handed over and not applied by one peer (ADR 0012, Bounds). */
  readonly bufferBytesMax: number;
  /** Largest frame that is taken from a peer. */
  readonly frameBytesMax: number;
}

/** What is put off to the end of the turn, so that what a turn brings leaves in one write. */
export interface Flushable {
  flush(): void;
}

export interface LinkWorld {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly transport: LinkTransport;
  readonly limits: LinkLimits;
  readonly release: string;
  /** Null: not started. */
  events: MeshEvents | null;
  /** ''; no member yet. */
  self: Incarnation;
  generation: string;
  secret: string;
  /** HELLOs said so far: an acceptor tells a late connection by their number. */
  attempts: number;
  /** Calls `flush` at the end of this turn; the caller sees to asking once. */
  atEndOfTurn(flushable: Flushable): void;
}
