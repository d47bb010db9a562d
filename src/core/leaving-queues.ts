/**
 * Queues of sessions that another region fetches, or has fetched from (docs/adr/0023): pages of what waits, what
 * is settled as it is durable there, and what is delivered here after all, as it never came there.
 */
import type { MovedEntry } from './moved-entry.ts';
import { EntryState, QueueEntry } from './queue-entry.ts';
import type { RoamingState } from './roaming-state.ts';
import type { Services } from './services.ts';
import type { Session } from './session.ts';

/** Entries read at once. */
const READ_MESSAGES = 256;
const READ_BYTES = 64 * 1024;

/** `isAll`: nothing waits behind these. */
export type PageReader = (entries: readonly MovedEntry[], more: boolean, isAll: boolean) => void;

export class LeavingQueues {
  readonly #services: Services;
  readonly #settle: (session: Session, entry: QueueEntry) => void;
  readonly #mayHave: (region: string, topic: string) => boolean;

  constructor(
    services: Services,
    settle: (session: Session, entry: QueueEntry) => void,
    mayHave: (region: string, topic: string) => boolean,
  ) {
    this.#services = services;
    this.#settle = settle;
    this.#mayHave = mayHave;
  }

  /** What follows `had`, which is durable at `to`: that goes. What is in doubt is never among it. */
  readPage(session: Session, had: number, bytesMax: number, to: string, done: PageReader): void {
    const { core } = this.#services;
    const { roam, number } = session;
    if (roam === null || session.ended) {
      done([], false, true);
      return;
    }
    const fromSeq = Math.max(1, roam.skipTo + 1);
    const { tailSeq } = session;
    const { inflightMessagesMax } = core.limits;
    core.store.read(
      number,
      fromSeq,
      READ_MESSAGES,
      Math.min(bytesMax, READ_BYTES),
      (read, error) => {
        // It may go to another region by now.
        if (session.ended || roam.leaving?.to !== to) return;
        if (error !== null) {
          core.log.error({ err: error, clientId: session.clientId }, 'queue could not be read');
          return;
        }
        const page: MovedEntry[] = [];
        for (const entry of read) {
          const { seq, message, qos, retain, subscriptionIds } = entry;
          if (seq <= roam.skipTo) continue;
          if (seq <= had) {
            this.#settle(session, entry);
            continue;
          }
          roam.recall(entry);
          const isReleased = entry.state === EntryState.RELEASED;
          const wasSent = isReleased || entry.sentBefore;
          if (!wasSent && !this.#mayHave(to, message.topic)) {
            core.drop('not_authorized_receive', session.clientId, message.topic);
            this.#settle(session, entry);
            continue;
          }
          const id = wasSent || roam.isDoubtful(seq, qos, inflightMessagesMax) ? roam.idOf(seq) : 0;
          page.push({ seq, message, qos, retain, subscriptionIds, id, isReleased });
        }
        if (page.length === 0 && read.length > 0) {
          roam.skipTo = Math.max(roam.skipTo, read.at(-1)!.seq);
          this.readPage(session, had, bytesMax, to, done);
          return;
        }
        roam.skipTo = Math.max(roam.skipTo, Math.min(had, session.tailSeq));
        roam.givenSeq = Math.max(roam.givenSeq, page.at(-1)?.seq ?? 0);
        // What has come while it was read has not been seen.
        const isStill = session.tailSeq === tailSeq;
        const isAll = isStill && (read.length === 0 || read.at(-1)!.seq === tailSeq);
        done(page, read.length > 0 || !isStill, isAll);
      },
    );
  }

  /** What another region has, but for what is in doubt. */
  settleUpTo(session: Session, had: number, done: (failed: boolean) => void): void {
    const { core } = this.#services;
    const { doubts } = session.roam!;
    const step = (fromSeq: number): void => {
      core.store.read(session.number, fromSeq, READ_MESSAGES, READ_BYTES, (read, error) => {
        if (error !== null || session.ended) {
          done(error !== null);
          return;
        }
        for (const entry of read) {
          if (entry.seq <= had && !doubts.covers(entry.seq)) this.#settle(session, entry);
        }
        const last = read.at(-1)?.seq ?? had;
        if (last < had) step(last + 1);
        else done(false);
      });
    };
    if (had > 0) step(1);
    else done(false);
  }

  /** `region` has no more of what was given to it than up to `had`: the rest goes on from here. */
  resolve(session: Session, region: string, had: number): void {
    const { core, delivery, sessions } = this.#services;
    const { roam } = session;
    const doubt = roam?.doubts.of(region) ?? null;
    if (roam === null || doubt === null || roam.isResolving) return;
    const { fromSeq, upTo } = doubt;
    roam.isResolving = true;
    roam.lastSeq = -1;
    const ended = (): void => {
      roam.isResolving = false;
    };
    core.store.read(session.number, fromSeq, READ_MESSAGES, READ_BYTES, (read, error) => {
      ended();
      if (session.ended || !roam.doubts.has(doubt)) return;
      if (error !== null) return;
      let isLast = read.length === 0;
      for (const entry of read) {
        if (entry.seq > upTo) {
          isLast = true;
          break;
        }
        if (entry.seq > had) this.#again(session, roam, entry);
        this.#settle(session, entry);
      }
      if (isLast) roam.doubts.drop(doubt);
      sessions.save(session);
      delivery.pump(session);
      this.resolve(session, region, had);
    });
  }

  /** At the end of the queue, under the identifier it may have been sent under. */
  #again(session: Session, roam: RoamingState, entry: QueueEntry): void {
    const { seq, message, qos, retain, subscriptionIds } = entry;
    roam.recall(entry);
    const again = new QueueEntry(++session.tailSeq, message, qos, retain, subscriptionIds, false);
    roam.giveId(again.seq, roam.idOf(seq), entry.state === EntryState.RELEASED);
    roam.recall(again);
    this.#services.delivery.takeIn(session, again);
  }
}
