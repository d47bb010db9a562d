/**
 * The holder of a datacenter's links as the owner of sessions on their way to other regions (docs/adr/0023):
 * takes one over from whoever has it, and learns what the holder before had not noted. Used by
 * `holder-roaming.ts`.
 */
import type { MovedDoubts, MoveParts } from './moved-doubts.ts';
import type { Moving } from './moving-table.ts';
import type { Source } from './roaming-record.ts';
import type { Session } from './session.ts';
import { moveIdentity } from './shared-append.ts';

export class MovingOwner {
  readonly #parts: MoveParts;
  readonly #doubts: MovedDoubts;

  constructor(parts: MoveParts, doubts: MovedDoubts) {
    this.#parts = parts;
    this.#doubts = doubts;
  }

  isOwned({ ownership }: Session): boolean {
    const { bus } = this.#parts.services.core;
    return ownership !== null && !ownership.isLost && ownership.owner === bus!.incarnation;
  }

  /** Takes it from whoever has it; its client's connection ends. */
  own(moving: Moving, session: Session, done: (owned: Session | null) => void): void {
    const then = (owned: Session | null): void => {
      if (owned === null || !moving.isRestored) done(owned);
      else this.#recover(moving, owned, () => done(owned));
    };
    if (this.isOwned(session) && session.owner === null) {
      then(session);
      return;
    }
    const { sessions } = this.#parts.services;
    const { clientId, identity, tenant, version, expiryIntervalS } = session;
    const { state } = moving;
    sessions.tenure!.take(
      {
        ...{ clientId, identity, tenant, version, expiryIntervalS },
        ...{ cleanStart: false, will: null, isClaimed: false },
        isWanted: () => !this.#parts.table.isOver,
      },
      false,
      (taken) => {
        if (taken.kind !== 'opened') {
          then(null);
          return;
        }
        const owned = taken.session;
        if (!taken.present || this.#parts.table.isOver) {
          if (!taken.present) owned.expiryIntervalS = 0;
          sessions.tenure!.disconnected(owned, false);
          then(null);
          return;
        }
        if (owned.roam === null) state.adopt([], 0);
        else if (owned.roam !== state) state.takeTurns(owned.roam);
        owned.roam = state;
        // What came until the owner before had let go it may have sent: it had read on.
        const { inflightMessagesMax } = this.#parts.services.core.limits;
        state.doubtUpTo(Math.max(owned.tailSeq, owned.loadedSeq) + inflightMessagesMax);
        then(owned);
      },
    );
  }

  /** One that leaves, of the holder before: nobody is told anything of it before it is owned. */
  takeUp(moving: Moving, session: Session): void {
    const ticket = this.#parts.tickets.open();
    moving.leaving = ticket;
    this.own(moving, session, (owned) => {
      if (moving.leaving === ticket) moving.leaving = 0;
      this.#parts.tickets.settle(ticket, owned === null);
    });
  }

  /**
   * The holder before may have given away all that was in the queue until it died, and have taken more than it
   * noted: the queue knows.
   */
  #recover(moving: Moving, owned: Session, then: () => void): void {
    moving.whenRecovered.push(then);
    if (moving.whenRecovered.length > 1) return;
    const { state } = moving;
    const recovered = (): void => {
      moving.isRestored = false;
      const waiting = moving.whenRecovered;
      moving.whenRecovered = [];
      for (const done of waiting) done();
    };
    if (state.leaving === null) {
      recovered();
      return;
    }
    const { tailSeq } = owned;
    state.givenSeq = Math.max(state.givenSeq, tailSeq);
    // What had been sent before it was let go of that one knew.
    if (state.restoredSeq === 0) state.doubtUpTo(tailSeq);
    this.#doubts.keep(moving, owned, () => this.learnTaken(moving, owned, recovered));
  }

  /** Once, and before any other region is told of it. */
  whenLearned(moving: Moving, session: Session, then: () => void): void {
    if (moving.isLearned) {
      then();
      return;
    }
    moving.whenLearned.push(then);
    if (moving.whenLearned.length === 1) this.learnTaken(moving, session, () => {});
  }

  /** A holder that died may not have noted what it had put into the queue: that knows. */
  learnTaken(moving: Moving, session: Session, then: () => void): void {
    const roam = moving.state;
    const { bus } = this.#parts.services.core;
    const known: Source[] = [...roam.sources];
    for (const taken of roam.taken.values()) known.push({ ...taken, isDone: false });
    let left = 1;
    const one = (): void => {
      left--;
      if (left > 0) return;
      moving.isLearned = true;
      const waiting = moving.whenLearned;
      moving.whenLearned = [];
      then();
      for (const learned of waiting) learned();
    };
    for (const source of known) {
      if (source.born === 0) continue;
      left++;
      const { publisherSid } = moveIdentity(source.born, 0);
      bus!.sessions.tookUpTo(session.number, publisherSid!, (seq) => {
        if (seq !== null && seq > source.had) roam.tookUpTo(source, seq);
        one();
      });
    }
    one();
  }
}
