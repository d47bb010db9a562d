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
  /** It is to be forgotten, once all know how far it had come with their queues. */
  readonly close: (session: Session) => void;
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
    else if (ask.kind === 'took') this.#took(from, ask, session);
    else if (ask.kind === 'closed') this.#closed(from, ask, session);
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
    else if (session.roam.epoch < epoch) {
      // Who has come to have it since has not heard that.
      if (session.roam.saidOf(roaming.own) >= epoch) {
        roaming.sayAgain(client, session, from, epoch);
      } else roaming.redirectOwn(session, from, epoch);
    }
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
    else {
      const { to, epoch } = gone;
      this.#answer(from, ask, { kind: 'moved', to, epoch, taken: null });
    }
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
    if (!this.#isEmptied(session) || roam.lastSeq !== session.tailSeq) {
      // Its client was here since all of it was fetched, or what a third region had has come.
      this.#answer(from, ask, { kind: 'wait', more: true });
      return;
    }
    const { taken } = roam;
    // Who is in doubt about what was given here has nobody else to ask.
    if (taken.size > (taken.has(from) ? 1 : 0)) {
      this.#parts.close(session);
      this.#answer(from, ask, { kind: 'wait' });
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

  /** Whoever asks is in doubt about what it has given to this region. */
  #took(from: string, ask: Ask, session: Session): void {
    const { roaming } = this.#parts;
    if (session.roam?.sourceOf(from)) {
      // It says so with what it asks for.
      this.#answer(from, ask, { kind: 'wait' });
      return;
    }
    roaming.whenDurable(roaming.save(session), (failed) => {
      if (failed) return;
      roaming.whenTaken(session, () => {
        if (session.ended || session.roam?.sourceOf(from)) return;
        this.#answer(from, ask, { kind: 'took', taken: takenBy(session, from) });
      });
    });
  }

  /** Whoever asks is about to forget how far it has come with the queue here. */
  #closed(from: string, ask: Ask, session: Session): void {
    const { roaming } = this.#parts;
    const { roam } = session;
    if (roam === null || roam.born !== ask.born) {
      this.#answer(from, ask, { kind: 'none' });
      return;
    }
    const ticket = roaming.closeTaken(session, from, ask.had ?? 0);
    if (roam.doubts.of(from) !== null) {
      this.#answer(from, ask, { kind: 'wait' });
      return;
    }
    roaming.whenDurable(ticket, (failed) => {
      if (!failed) this.#answer(from, ask, { kind: 'none' });
    });
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
      if (failed) return;
      roaming.whenTaken(session, () => {
        const known = roam.sourceOf(from) === null ? { taken: takenBy(session, from) } : {};
        this.#answer(from, ask, { kind: 'moved', to, epoch, ...known });
      });
    });
  }

  #pull(from: string, ask: Ask, session: Session): void {
    const { roaming } = this.#parts;
    const leaving = session.roam?.leaving ?? null;
    const isForOther = leaving !== null && leaving.to !== from;
    if (!isForOther) this.#parts.isAsked(session);
    // Whatever was given there before, it has that much of it, and asks anew.
    if (ask.isFirst !== true && session.roam !== null) {
      roaming.resolveDoubt(session, from, hadOf(ask, session));
    }
    if (isForOther && (ask.isFirst === true || ask.epoch <= leaving.epoch)) {
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
    const isOpen = ask.isFirst !== true && roam.doubts.of(from) !== null;
    if (isOpen || !roaming.isInboundSettled(session)) {
      this.#answer(from, ask, { kind: 'wait' });
      return;
    }
    roaming.whenDurable(ticket, (failed) => {
      if (failed) return;
      roaming.whenTaken(session, () => {
        if (session.ended || session.roam?.leaving?.to !== from) return;
        if (ask.isFirst === true) this.#handOver(from, ask, session);
        else this.#page(from, ask, session);
      });
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
    const { born, doubts } = session.roam!;
    const had = hadOf(ask, session);
    // What turns out to be here after all comes behind what is read now.
    const isSure = doubts.isEmpty;
    roaming.readPage(session, had, PAGE_BYTES, from, (entries, more, isAll) => {
      const { roam } = session;
      if (roam === null) return;
      counters.handedOver += entries.length;
      const isLast = !more && isSure && this.#isEmptied(session);
      if (isLast) roam.lastSeq = session.tailSeq;
      const taken = takenBy(session, from);
      const { epoch } = roam;
      const unheard = more || isLast ? [] : this.#unheardOf(session);
      const page = { kind: 'page', born, epoch, more, isLast, taken, unheard } as const;
      this.#answer(from, ask, page, entries);
      // Behind the last of what waits: so it stays in order with what comes over the link from here on.
      if (ask.cuts === true && isAll) roaming.redirectOwn(session, from, ask.epoch);
    });
  }

  /** Nothing that is published anywhere comes here for it any more. */
  #isEmptied(session: Session): boolean {
    const { roaming } = this.#parts;
    const { roam } = session;
    if (roam === null || roam.sources.length > 0 || !roam.doubts.isEmpty) return false;
    return roam.isOver(roaming.own) && this.#unheardOf(session).length === 0;
  }

  #unheardOf({ roam }: Session): readonly string[] {
    return [...this.#parts.links.regions()].filter((origin) => !roam!.isOver(origin));
  }
}

/** How far the region that asks has come with this queue. */
function hadOf(ask: Ask, { roam }: Session): number {
  return ask.born === roam?.born ? (ask.had ?? 0) : 0;
}

/** How far this region had come with the queue of the one that asks. */
function takenBy({ roam }: Session, region: string): HandedSession['taken'] {
  const taken = roam?.takenOf(region) ?? null;
  return taken === null ? null : { born: taken.born, had: taken.had };
}
