/** What a node of a datacenter asks of the holder of its links when it is that itself (docs/adr/0023). Types only. */
import type { Coming } from './moving-sessions.ts';
import type { FoundElsewhere } from './roam-frame.ts';
import type { RoamingState } from './roaming-state.ts';
import type { Session } from './session.ts';

/** A CONNECT at some node. */
export interface AskedArrival {
  readonly client: string;
  readonly found: FoundElsewhere | null;
  readonly isSure: boolean;
  readonly isClean: boolean;
}

/** Answer to that node. */
export interface ArrivalAnswer extends Omit<Coming, 'record'> {
  readonly client: string;
  readonly record: Coming['record'] | null;
  /** The session is to be above it: of this CONNECT, microseconds; 0: no other region had it. */
  readonly epoch: number;
}

export interface RoamHolder {
  /** Null: it is not on its way. */
  stateOf(clientId: string): RoamingState | null;
  /** This node knows the session anew. */
  sees(session: Session): void;
  /** A client has come to a node of this region. */
  arriveAt(asked: AskedArrival, answer: (answer: ArrivalAnswer) => void): void;
  /**
   * Some node has it for its client, and has told all what it subscribes to. `settled`: what is published here
   * is for it now, if that is up to this region alone.
   */
  openedAt(clientId: string, identity: string | null, settled: () => void): void;
  /** What it subscribes to now no other region knows of. */
  cutNow(clientId: string, settled: () => void): void;
  /** A question of another region. */
  asked(region: string, payload: Buffer): void;
  tick(nowMs: number): void;
}
