/** What connections and the fan-out ask of `roaming.ts`, so that they need not know it. Types only. */
import type { Publication } from './publication.ts';
import type { Session, Subscription } from './session.ts';
import type { ListedSession } from './session-directory.ts';

export interface MovingSessions {
  /**
   * A client comes whose session is not here, or not here any more. `done` when it is, as far as it can be;
   * `isWanted`: the client still waits.
   */
  arrive(
    clientId: string,
    found: ListedSession | null,
    isClean: boolean,
    isWanted: () => boolean,
    done: () => void,
  ): void;
  /** The client has its session. */
  opened(session: Session): void;
  /** Text of a region with a link here, which its client may not have said. */
  asked(region: string, payload: Buffer): void;
  /** Keeps a message back until those before it have come from another region. */
  hold(session: Session, publication: Publication, receiver: Subscription, qos: 1 | 2): void;
  /** Nothing is kept back for it any more. */
  release(session: Session): void;
  /** What it subscribes to now no other region knows of. */
  changed(session: Session): void;
}
