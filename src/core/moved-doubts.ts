/**
 * What a datacenter has given of a session to another region that does not answer, while its client is here
 * again (docs/adr/0023): in the notes of the links, until that region says what it has of it. Used by
 * `holder-roaming.ts`.
 */
import type { MoveTickets } from './move-tickets.ts';
import type { MovedEntry } from './moved-entry.ts';
import type { MovedQueue } from './moved-queue.ts';
import type { Moving, MovingTable } from './moving-table.ts';
import { EntryState, type QueueEntry } from './queue-entry.ts';
import type { Services } from './services.ts';
import type { Session } from './session.ts';

export interface MoveParts {
  readonly services: Services;
  readonly table: MovingTable;
  readonly tickets: MoveTickets;
}

const READ_MESSAGES = 256;
const READ_BYTES = 64 * 1024;

export class MovedDoubts {
  readonly #parts: MoveParts;
  readonly #queue: MovedQueue;

  constructor(parts: MoveParts, queue: MovedQueue) {
    this.#parts = parts;
    this.#queue = queue;
  }

  /** What was given to a region that cannot be asked is put aside: that one says what it has. */
  keep(moving: Moving, session: Session, then: () => void): void {
    const { core } = this.#parts.services;
    const roam = moving.state;
    const { doubtSeq } = roam;
    if (doubtSeq === 0 || doubtSeq <= roam.skipTo) {
      roam.doubtSeq = moving.doubts.length === 0 ? 0 : doubtSeq;
      then();
      return;
    }
    const kept = new Map(moving.doubts.map((entry) => [entry.seq, entry]));
    const read: QueueEntry[] = [];
    const step = (fromSeq: number): void => {
      core.store.read(session.number, fromSeq, READ_MESSAGES, READ_BYTES, (entries, error) => {
        const last = entries.at(-1)?.seq ?? doubtSeq;
        for (const entry of entries) if (entry.seq <= doubtSeq) read.push(entry);
        if (error === null && last < doubtSeq) step(last + 1);
        else put();
      });
    };
    const put = (): void => {
      for (const entry of read) {
        const { seq, message, qos, retain, subscriptionIds } = entry;
        roam.recall(entry);
        const isReleased = entry.state === EntryState.RELEASED;
        kept.set(seq, {
          seq,
          message,
          qos,
          retain,
          subscriptionIds,
          id: roam.idOf(seq),
          isReleased,
        });
      }
      moving.doubts = [...kept.values()].sort((a, b) => a.seq - b.seq);
      const noted = this.#parts.table.noteDoubts(moving);
      this.#parts.tickets.when(noted, (failed) => {
        if (failed) return;
        for (const entry of read) this.#queue.settle(session, entry);
        roam.skipTo = Math.max(roam.skipTo, doubtSeq);
        then();
      });
    };
    step(Math.max(1, roam.skipTo + 1));
  }

  /** What was put aside comes before all that is in the queue. */
  page(moving: Moving, had: number, bytesMax: number): readonly MovedEntry[] {
    if (moving.doubts.length === 0) return [];
    this.keepBehind(moving, had);
    const { doubts, state } = moving;
    let bytes = 0;
    let count = 0;
    while (count < doubts.length && count < READ_MESSAGES && bytes < bytesMax) {
      bytes += doubts[count]!.message.bytes;
      count++;
    }
    const page = doubts.slice(0, count);
    state.givenSeq = Math.max(state.givenSeq, page.at(-1)?.seq ?? 0);
    return page;
  }

  keepBehind(moving: Moving, had: number): void {
    const owed = moving.doubts.filter(({ seq }) => seq > had);
    if (owed.length === moving.doubts.length) return;
    moving.doubts = owed;
    this.#parts.table.noteDoubts(moving);
  }

  /** What was put aside and is not had elsewhere goes to the end of the queue; not twice, by its name. */
  putBack(moving: Moving, session: Session, had: number, done: (failed: boolean) => void): void {
    const roam = moving.state;
    const ticket = this.#parts.tickets.open();
    moving.taking = ticket;
    roam.isResolving = true;
    const owed = moving.doubts.filter(({ seq }) => seq > had);
    this.#queue.append(session, roam.born, owed, (failed) => {
      roam.isResolving = false;
      if (moving.taking === ticket) moving.taking = 0;
      if (!failed) {
        moving.doubts = [];
        this.#parts.table.noteDoubts(moving);
      }
      this.#parts.tickets.settle(ticket, failed);
      done(failed);
    });
  }
}
