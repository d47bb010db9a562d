/**
 * What the core asks of whoever moves sessions between regions (docs/adr/0023). Implemented by geo/roaming;
 * called by `roaming.ts` alone.
 */
import type { SessionRecord } from './ports.ts';
import type { Session } from './session.ts';

/** What a home hands over before anything that waits. */
export interface HandedSession {
  /** As it was there; its number means nothing here, it has no will. */
  readonly record: SessionRecord;
  /** QoS 2 messages of the client that are between PUBREC and PUBREL. */
  readonly inboundIds: readonly number[];
  readonly born: number;
  /** Turn of the packet identifiers that were given out there last. */
  readonly turn: number;
  /** What that region durably has of this one's queue, of which life of it; null: nothing. */
  readonly taken: { readonly born: number; readonly had: number } | null;
}

/** How a home has answered: `none`: it has no such session; `silent`: nobody has, in time. */
export type FetchAnswer =
  | { readonly kind: 'handed'; readonly home: string; readonly handed: HandedSession }
  | { readonly kind: 'none' }
  | { readonly kind: 'silent' };

export interface Mover {
  /** Has the home let go. `done` is called once, later, with the epoch it knows the CONNECT by. */
  fetch(
    clientId: string,
    home: string,
    epoch: number,
    done: (answer: FetchAnswer, epoch: number) => void,
  ): void;
  /**
   * Asks all regions where the session is, for the CONNECT of that epoch: earlier ones elsewhere come first.
   * `done` is called once; null: nobody has said; `isSure`: all have.
   */
  locate(
    clientId: string,
    epoch: number,
    done: (home: string | null, isSure: boolean) => void,
  ): void;
  /** Where a session has gone that was here, as long as that is remembered. */
  goneTo(clientId: string): { readonly to: string; readonly epoch: number } | null;
  /** Regions may have what is in doubt here: they are asked. */
  inquire(session: Session): void;
  /** Goes for what other regions still have of it. */
  begin(session: Session): void;
  /** Its word about the session has not come: it is to say once more where its messages belong, or say that of `to`. */
  askAgain(clientId: string, region: string, to: string, epoch: number): void;
  /** A region with a link to this one has asked. */
  asked(region: string, payload: Buffer): void;
}
