/**
 * The region a session comes from (docs/adr/0023): answers whoever has its client now. Lets go of it, hands
 * over what waits page by page, and forgets it when all is durable there. Keeps nothing of its own: what it
 * has let go of is in the session's record, so a question may come twice, or after a restart.
 */

import { ANSWER_TOPIC } from '../../core/link-names.ts';
import type { MovedEntry } from '../../core/moved-entry.ts';
import type { Log } from '../../core/ports.ts';
import { handedRecord, isNewer, type Roaming } from '../../core/roaming.ts';
import type { HandedSession } from '../../core/roaming-ports.ts';
import type { Session } from '../../core/session.ts';
import { type Answer, type Ask, decodeFrame, encodeFrame, FrameDamage } from './frame.ts';
import type { RoamingCounters } from './roaming-counters.ts';
import type { RoamingLinks } from './roaming-links.ts';

const PAGE_BYTES = 64 * 1024;
/** Sessions that have gone, for whoever asks by a directory that is behind. */
const GONE_MAX = 10_000;

export interface HomeParts {
  readonly roaming: Roaming;
  readonly links: RoamingLinks;
  readonly log: Log;
  readonly counters: RoamingCounters;
  /** A session here has a later CONNECT than the region that asks for it. */
  readonly reclaim: (session: Session, from: string) => void;
  /** Its home fetches what is here. */
  readonly isAsked: (session: Session) => void;
}

export class HomeDesk {
  readonly #parts: HomeParts;
  readonly #gone: Map<string, { readonly to: string; readonly epoch: number }> = new Map();

  constructor(parts: HomeParts) {
    this.#parts = parts;
  }

  goneTo(clientId: string): { readonly to: string; readonly epoch: number } | null {
    return this.#gone.get(clientId) ?? null;
  }

  asked(from: string, payload: Buffer): void {
    const { roaming, log } = this.#parts;
    let ask: Ask;
    try {
      ask = decodeFrame<Ask>(payload, () => 0).head;
    } catch (error) {
      if (!(error instanceof FrameDamage)) throw error;
      log.warn({ region: from, problem: error.message }, 'a question of another region is damaged');
      return;
    }
    if (typeof ask.epoch !== 'number' || typeof ask.n !== 'string') return;
    roaming.directory.observe(ask.epoch);
    const session = roaming.session(ask.client);
    if (ask.kind === 'moved') this.#moved(from, ask, session);
    else if (ask.kind === 'again') this.#again(ask, session);
    else if (session === null || session.ended || !session.durable)
      this.#absent(from, ask, session);
    else if (ask.kind === 'where') this.#tellHome(from, ask, session);
    else if (ask.kind === 'forget') this.#forget(from, ask, session);
    else if (ask.kind === 'offer') this.#offered(from, ask, session);
    else if (ask.kind === 'pull') this.#pull(from, ask, session);
  }

  #answer(
    from: string,
    ask: Ask,
    answer: Partial<Answer>,
    entries: readonly MovedEntry[] = [],
  ): void {
    const head = { kind: 'none', re: ask.n, client: ask.client, ...answer } as const;
    this.#parts.roaming.tell(from, ANSWER_TOPIC, encodeFrame(head, entries));
  }

  /** Here its messages belong elsewhere from now on, whoever has it. */
  #moved(from: string, { client, epoch }: Ask, session: Session | null): void {
    const { roaming } = this.#parts;
    if (session === null || session.roam === null) roaming.tellMoved(client, from, epoch);
    else if (session.roam.epoch < epoch) roaming.redirectOwn(session, from, epoch);
  }

  /** Behind what it says is all that it had said of the session before. */
  #again({ client, epoch, to }: Ask, session: Session | null): void {
    const { roaming } = this.#parts;
    if (to !== undefined) roaming.sayAgain(client, session?.durable ? session : null, to, epoch);
  }

  #absent(from: string, ask: Ask, session: Session | null): void {
    const { roaming } = this.#parts;
    if (ask.kind === 'where' && roaming.comesBefore(ask.client, ask.epoch, from)) {
      this.#answer(from, ask, { kind: 'wait' });
      return;
    }
    // One that ends with its connection: the client is somewhere else.
    if (session !== null) session.owner?.close('session_taken_over');
    const gone = this.#gone.get(ask.client);
    if (gone === undefined || gone.to === from) this.#answer(from, ask, { kind: 'none' });
    else this.#answer(from, ask, { kind: 'moved', to: gone.to, epoch: gone.epoch });
  }

  /** Whoever asks does not have it, whatever was given there. */
  #tellHome(from: string, ask: Ask, { roam }: Session): void {
    const { own } = this.#parts.roaming;
    const leaving = roam?.leaving ?? null;
    const isHere = leaving === null || leaving.to === from;
    const epoch = (isHere ? roam?.epoch : leaving.epoch) ?? 0;
    this.#answer(from, ask, { kind: 'moved', to: isHere ? own : leaving.to, epoch });
  }

  #forget(from: string, ask: Ask, session: Session): void {
    const { roaming, counters } = this.#parts;
    const { roam, clientId } = session;
    if (roam === null || roam.leaving?.to !== from || roam.born !== ask.born) {
      this.#answer(from, ask, { kind: 'none' });
      return;
    }
    if (ask.epoch < roam.leaving.epoch) {
      // Of an earlier stay there, and late: its client was here since.
      this.#answer(from, ask, { kind: 'wait' });
      return;
    }
    if (!this.#isEmptied(session)) {
      // Its client was here since all of it was fetched.
      this.#answer(from, ask, { kind: 'wait', more: true });
      return;
    }
    this.#gone.delete(clientId);
    this.#gone.set(clientId, { to: from, epoch: ask.epoch });
    for (const oldest of this.#gone.keys()) {
      if (this.#gone.size <= GONE_MAX) break;
      this.#gone.delete(oldest);
    }
    counters.left++;
    roaming.whenDurable(roaming.forget(session), (failed) => {
      if (!failed) this.#answer(from, ask, { kind: 'none' });
    });
  }

  /** It has something of the session, which this region has come to have without it. */
  #offered(from: string, ask: Ask, session: Session): void {
    if (session.roam?.leaving?.to !== from) this.#parts.reclaim(session, from);
    this.#answer(from, ask, { kind: 'wait' });
  }

  /** It goes on to a third region; what this one has of the queue of whoever asks stays with it. */
  #pointOn(from: string, ask: Ask, session: Session): void {
    const { roaming } = this.#parts;
    const roam = session.roam!;
    const { to, epoch } = roam.leaving!;
    const source = roam.sourceOf(from);
    let ticket = roaming.pending(session);
    if (source !== null && ask.epoch > epoch) {
      // What that region still has is its own again.
      roam.dropSource(source);
      ticket = roaming.save(session);
    }
    roaming.whenDurable(ticket, (failed) => {
      if (!failed) {
        this.#answer(from, ask, { kind: 'moved', to, epoch, taken: takenBy(session, from) });
      }
    });
  }

  #pull(from: string, ask: Ask, session: Session): void {
    const { roaming } = this.#parts;
    const leaving = session.roam?.leaving ?? null;
    if (leaving === null || leaving.to === from) this.#parts.isAsked(session);
    if (leaving !== null && leaving.to !== from) {
      // What that one has taken of the queue only it knows.
      this.#pointOn(from, ask, session);
      return;
    }
    if (isNewer(session, from, ask.epoch)) {
      this.#answer(from, ask, { kind: 'newer', to: roaming.own, epoch: session.roam!.epoch });
      if (leaving === null) this.#parts.reclaim(session, from);
      return;
    }
    let ticket = roaming.pending(session);
    if (leaving === null || leaving.epoch < ask.epoch) {
      ticket = roaming.letGo(session, from, ask.epoch);
    }
    if (session.ended) {
      this.#absent(from, ask, null);
      return;
    }
    const roam = session.roam!;
    const source = roam.sourceOf(from);
    if (source !== null) {
      // What that region still has is its own again.
      roam.dropSource(source);
      ticket = Math.max(ticket, roaming.save(session));
    }
    if (!roaming.isInboundSettled(session)) {
      this.#answer(from, ask, { kind: 'wait' });
      return;
    }
    roaming.whenDurable(ticket, (failed) => {
      if (failed || session.ended || session.roam?.leaving?.to !== from) return;
      if (ask.isFirst === true) this.#handOver(from, ask, session);
      else this.#page(from, ask, session);
    });
  }

  #handOver(from: string, ask: Ask, session: Session): void {
    const { born, turn } = session.roam!;
    const given = takenBy(session, from);
    const record = handedRecord(session);
    const inboundIds = [...(session.inboundIds ?? [])];
    this.#answer(from, ask, {
      kind: 'session',
      born,
      turn,
      record,
      inboundIds,
      taken: given,
    });
  }

  #page(from: string, ask: Ask, session: Session): void {
    const { roaming, counters } = this.#parts;
    const { born } = session.roam!;
    const had = ask.born === born ? (ask.had ?? 0) : 0;
    roaming.readPage(session, had, PAGE_BYTES, from, (entries, more, isAll) => {
      const { roam } = session;
      if (roam === null) return;
      counters.handedOver += entries.length;
      const isLast = !more && this.#isEmptied(session);
      const taken = takenBy(session, from);
      const { epoch } = roam;
      const page = { kind: 'page', born, epoch, more, isLast, taken } as const;
      this.#answer(from, ask, page, entries);
      // Behind the last of what waits: so it stays in order with what comes over the link from here on.
      if (ask.cuts === true && isAll) roaming.redirectOwn(session, from, ask.epoch);
    });
  }

  /** Nothing that is published anywhere comes here for it any more. */
  #isEmptied({ roam }: Session): boolean {
    const { links, roaming } = this.#parts;
    if (roam === null || roam.sources.length > 0) return false;
    if (!roam.isOver(roaming.own)) return false;
    for (const origin of links.regions()) if (!roam.isOver(origin)) return false;
    return true;
  }
}

/** How far this region had come with the queue of the one that asks. */
function takenBy({ roam }: Session, region: string): HandedSession['taken'] {
  const taken = roam?.takenOf(region) ?? null;
  return taken === null ? null : { born: taken.born, had: taken.had };
}
