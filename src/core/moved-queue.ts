/**
 * Entries of a session of a datacenter on their way between regions, as its queue in Redis has them
 * (docs/adr/0023). Used by `holder-roaming.ts` and `moved-doubts.ts`.
 */

import { whenSafe } from './awaited.ts';
import type { Message } from './message.ts';
import type { MovedEntry } from './moved-entry.ts';
import { EntryState, type QueueEntry } from './queue-entry.ts';
import type { Services } from './services.ts';
import type { Session } from './session.ts';
import { type AppendIdentity, SharedAppend } from './shared-append.ts';

export class MovedQueue {
  readonly #services: Services;

  constructor(services: Services) {
    this.#services = services;
  }

  /** Under names that rise with their positions there: the queue drops what it had. */
  append(
    session: Session,
    named: (seq: number) => AppendIdentity,
    entries: readonly MovedEntry[],
    done: (failed: boolean) => void,
  ): void {
    const { bus } = this.#services.core;
    let left = entries.length + 1;
    let isFailed = false;
    const one = (message: Message | null): void => {
      if (message?.failed === true) isFailed = true;
      left--;
      // A journal may have it, which a later holder would be overtaken by: it counts once the queue has it.
      if (left === 0) bus!.sessions.whenAppended(session.number, () => done(isFailed));
    };
    for (const { seq, message, qos, retain, subscriptionIds, id, isReleased } of entries) {
      const append = new SharedAppend(message, qos, retain, subscriptionIds, null, named(seq));
      if (id !== 0) append.sentAs = { packetId: id, isReleased };
      message.unsafeCount++;
      bus!.sessions.enqueue(session.number, append);
      whenSafe(message, () => one(message));
    }
    one(null);
  }

  /** It is safe elsewhere. */
  settle(session: Session, entry: QueueEntry): void {
    const { core } = this.#services;
    if (entry.state === EntryState.SETTLED) return;
    entry.state = EntryState.SETTLED;
    session.queuedMessages--;
    core.stats.queuedMessages--;
    session.roam?.settled(entry.seq);
    core.store.settle(session.number, entry);
  }
}
