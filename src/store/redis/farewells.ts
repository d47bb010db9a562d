/**
 * What the journal says of connections that went while Redis was away: that no will of theirs is owed
 * (docs/adr/0017). Each goes when Redis has heard of it, or could have. Said by
 * redis-store.ts, heard by session-ledger.ts.
 */
import type { JournalEntry } from '../journal/journal-entry.ts';
import type { AppendJournal } from '../journal/journal-ports.ts';
import { leftRecord } from './inbound-change.ts';
import type { RedisCalls } from './redis-calls.ts';

interface Farewell {
  readonly epoch: number;
  readonly entry: JournalEntry;
}

/** Longer than a close waits for what was read before it. */
const HEARD_WITHIN_MS = 15_000;
const nothing = (): void => {};

export class Farewells {
  readonly #journal: AppendJournal | null;
  readonly #calls: RedisCalls;
  /** By client id; as many as the journal has room for. */
  readonly #said: Map<string, Farewell> = new Map();

  constructor(journal: AppendJournal | null, calls: RedisCalls) {
    this.#journal = journal;
    this.#calls = calls;
  }

  say(clientId: string, sid: string, epoch: number, expiryIntervalS: number): void {
    const journal = this.#journal;
    // While it is there Redis hears so at once, with the close.
    if (journal === null || this.#calls.isUp) return;
    const entry = journal.keep(leftRecord(clientId, sid, epoch, expiryIntervalS), nothing, nothing);
    if (entry === null) return;
    this.#over(clientId);
    this.#said.set(clientId, { epoch, entry });
  }

  /** Of the connection of that epoch, or one before it. */
  heard(clientId: string, epoch: number): void {
    const farewell = this.#said.get(clientId);
    if (farewell !== undefined && farewell.epoch <= epoch) this.#over(clientId);
  }

  /** Redis is there: what it does not hear of in time is void, as the node has lost its sessions meanwhile. */
  up(): void {
    const said = [...this.#said];
    if (said.length === 0) return;
    this.#calls.after(HEARD_WITHIN_MS, () => {
      if (!this.#calls.isUp) return;
      for (const [clientId, farewell] of said) {
        if (this.#said.get(clientId) === farewell) this.#over(clientId);
      }
    });
  }

  #over(clientId: string): void {
    const farewell = this.#said.get(clientId);
    if (farewell === undefined) return;
    this.#said.delete(clientId);
    this.#journal!.answered(farewell.entry);
  }
}
