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
import { doubtIdentity } from './shared-append.ts';

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

  /** What was given to regions that have not said what they have of it is put aside, until they do. */
  keep(moving: Moving, session: Session, then: () => void): void {
    const { core } = this.#parts.services;
    const { doubts } = moving.state;
    const fromSeq = doubts.all.at(0)?.fromSeq ?? 0;
    const upTo = doubts.all.at(-1)?.upTo ?? 0;
    const read: QueueEntry[] = [];
    const step = (seq: number): void => {
      core.store.read(session.number, seq, READ_MESSAGES, READ_BYTES, (entries, error) => {
        const last = entries.at(-1)?.seq ?? upTo;
        for (const entry of entries) if (doubts.covers(entry.seq)) read.push(entry);
        if (error === null && last < upTo) step(last + 1);
        else this.#putAside(moving, session, read, then);
      });
    };
    if (doubts.isEmpty) {
      moving.isKept = true;
      then();
    } else step(fromSeq);
  }

  #putAside(moving: Moving, session: Session, read: readonly QueueEntry[], then: () => void): void {
    const roam = moving.state;
    const kept = new Map<number, MovedEntry>();
    for (const entry of read) {
      const { seq, message, qos, retain, subscriptionIds } = entry;
      roam.recall(entry);
      const isReleased = entry.state === EntryState.RELEASED;
      const id = roam.idOf(seq);
      kept.set(seq, { seq, message, qos, retain, subscriptionIds, id, isReleased });
    }
    for (const entry of moving.doubts) kept.set(entry.seq, entry);
    moving.doubts = [...kept.values()].sort((a, b) => a.seq - b.seq);
    this.#parts.tickets.when(this.#parts.table.noteDoubts(moving), (failed) => {
      if (failed) return;
      for (const entry of read) this.#queue.settle(session, entry);
      moving.isKept = true;
      then();
    });
  }

  /** What that region does not have goes to the end of the queue; not twice, by its name. */
  resolve(moving: Moving, session: Session, region: string, had: number): void {
    const roam = moving.state;
    const doubt = roam.doubts.of(region);
    if (doubt === null || roam.isResolving || !moving.isKept) return;
    const isOf = ({ seq }: MovedEntry): boolean => seq >= doubt.fromSeq && seq <= doubt.upTo;
    const owed = moving.doubts.filter((entry) => isOf(entry) && entry.seq > had);
    const ticket = this.#parts.tickets.open();
    moving.taking = ticket;
    roam.isResolving = true;
    roam.lastSeq = -1;
    const named = (seq: number) => doubtIdentity(roam.born, doubt.fromSeq, seq);
    this.#queue.append(session, named, owed, (failed) => {
      roam.isResolving = false;
      if (moving.taking === ticket) moving.taking = 0;
      this.#parts.tickets.settle(ticket, failed);
      if (failed || !roam.doubts.has(doubt)) return;
      roam.doubts.drop(doubt);
      moving.doubts = moving.doubts.filter((entry) => !isOf(entry));
      this.#parts.table.note(moving);
      this.#parts.table.noteDoubts(moving);
      this.resolve(moving, session, region, had);
    });
  }
}
