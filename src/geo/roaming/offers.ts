/**
 * Sessions that have another home while something of them waits here (docs/adr/0023): the home fetches it, if
 * it knows of it. Where it has not asked for a while, as it served the client without this region, or went on
 * to a third one, it is told. Keeps nothing of its own that a start would not find in the sessions.
 */
import type { Clock } from '../../core/ports.ts';
import type { Roaming } from '../../core/roaming.ts';
import type { Session } from '../../core/session.ts';
import type { Answer, Ask } from './frame.ts';

export interface OffersParts {
  readonly roaming: Roaming;
  readonly clock: Clock;
  /** Asks another region; false: its link is down. */
  readonly ask: (region: string, ask: Omit<Ask, 'n'>, taken: (answer: Answer) => void) => boolean;
  /** Asks all regions who has it. */
  readonly locate: (clientId: string, done: (home: string | null, epoch: number) => void) => void;
}

interface Offer {
  readonly session: Session;
  dueMs: number;
}

/** A home that fetches asks more often. */
const QUIET_MS = 15_000;
const AGAIN_MS = 3000;
const TICK_MS = 250;

export class Offers {
  readonly #parts: OffersParts;
  readonly #offers: Map<string, Offer> = new Map();
  #tickedMs = 0;

  constructor(parts: OffersParts) {
    this.#parts = parts;
  }

  /** It has let go of by itself, or was found so at the start: the other home may not know. */
  add(session: Session): void {
    const { leaving } = session.roam ?? { leaving: null };
    if (leaving === null || session.ended) return;
    this.#offers.set(session.clientId, { session, dueMs: 0 });
  }

  /** The home fetches what is here. */
  asked(session: Session): void {
    const dueMs = this.#parts.clock.monotonicMs() + QUIET_MS;
    const offer = this.#offers.get(session.clientId);
    if (offer?.session === session) offer.dueMs = dueMs;
    else this.#offers.set(session.clientId, { session, dueMs });
  }

  tick(nowMs: number): void {
    if (nowMs - this.#tickedMs < TICK_MS) return;
    this.#tickedMs = nowMs;
    for (const [clientId, offer] of this.#offers) {
      const { session } = offer;
      const leaving = session.roam?.leaving ?? null;
      if (session.ended || leaving === null) this.#offers.delete(clientId);
      else if (nowMs >= offer.dueMs) {
        offer.dueMs = nowMs + AGAIN_MS;
        this.#make(session, leaving.to, leaving.epoch);
      }
    }
  }

  #make(session: Session, to: string, epoch: number): void {
    const { clientId } = session;
    this.#parts.ask(to, { kind: 'offer', client: clientId, epoch }, (answer) => {
      const leaving = session.roam?.leaving ?? null;
      if (session.ended || leaving === null || leaving.to !== to) return;
      if (answer.kind === 'moved' && answer.to !== undefined) {
        this.#turn(session, answer.to, answer.epoch ?? 0);
      } else if (answer.kind === 'none') {
        this.#parts.locate(clientId, (home, at) => {
          if (home !== null && session.roam?.leaving === leaving) this.#turn(session, home, at);
        });
      }
    });
  }

  /** Whom it was for has nothing of it any more: somebody else has. */
  #turn(session: Session, to: string, epoch: number): void {
    const { roaming } = this.#parts;
    const { leaving, epoch: own } = session.roam!;
    if (session.ended || leaving === null || to === leaving.to || to === roaming.own) return;
    // One from before this home may say that it still has it.
    if (epoch <= own) return;
    roaming.letGo(session, to, Math.max(leaving.epoch, epoch));
    this.add(session);
  }
}
