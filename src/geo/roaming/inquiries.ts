/**
 * What regions ask of each other about pages that were given by one and perhaps taken by the other (docs/adr/0023).
 * Who is in doubt asks the region it has given them to, wherever the session is by now; who is about to forget a
 * session tells those whose queues it has taken something of. Each pair settles this by itself, so no region
 * waits for what a third one has to find out. Keeps nothing of its own that a start would not find in the sessions.
 */
import type { Roaming } from '../../core/roaming.ts';
import type { Taken } from '../../core/roaming-record.ts';
import type { Session } from '../../core/session.ts';
import type { Answer, Ask } from './frame.ts';

export interface InquiriesParts {
  readonly roaming: Roaming;
  /** Asks another region; '': its link is down. */
  readonly ask: (region: string, ask: Omit<Ask, 'n'>, taken: (answer: Answer) => void) => string;
  /** That question is not to be answered any more. */
  readonly giveUp: (n: string) => void;
}

interface Inquiry {
  isClosing: boolean;
  /** By what is asked, and where. */
  readonly asked: Map<string, { n: string; dueMs: number }>;
}

const TICK_MS = 50;
const AGAIN_MS = 250;
const ANSWER_MS = 3000;

export class Inquiries {
  readonly #parts: InquiriesParts;
  readonly #inquiries: Map<string, Inquiry> = new Map();
  #tickedMs = 0;

  constructor(parts: InquiriesParts) {
    this.#parts = parts;
  }

  /** It is in doubt, or may be. */
  add(session: Session): void {
    if (session.roam?.doubts.isEmpty === false) this.#of(session.clientId);
  }

  /** It is to be forgotten: what it has taken has to be known where it was taken from. */
  close(session: Session): void {
    this.#of(session.clientId).isClosing = true;
  }

  #of(clientId: string): Inquiry {
    const known = this.#inquiries.get(clientId);
    if (known !== undefined) return known;
    const inquiry: Inquiry = { isClosing: false, asked: new Map() };
    this.#inquiries.set(clientId, inquiry);
    return inquiry;
  }

  tick(nowMs: number): void {
    if (nowMs - this.#tickedMs < TICK_MS) return;
    this.#tickedMs = nowMs;
    for (const [clientId, inquiry] of this.#inquiries) {
      const session = this.#parts.roaming.session(clientId);
      const roam = session?.roam ?? null;
      // Its client has come back: nothing is forgotten.
      if (roam !== null && roam.leaving === null) inquiry.isClosing = false;
      const isOver = roam === null || (roam.doubts.isEmpty && !inquiry.isClosing);
      if (session === null || session.ended || isOver) {
        this.#inquiries.delete(clientId);
        continue;
      }
      for (const { region } of roam.doubts.all) this.#inquire(inquiry, session, region, nowMs);
      if (!inquiry.isClosing) continue;
      for (const taken of roam.taken.values()) this.#close(inquiry, session, taken, nowMs);
    }
  }

  #inquire(inquiry: Inquiry, session: Session, region: string, nowMs: number): void {
    const { roaming } = this.#parts;
    const doubt = session.roam!.doubts.of(region);
    if (doubt === null) return;
    const { epoch, born } = session.roam!;
    const ask = { kind: 'took', client: session.clientId, epoch, born } as const;
    this.#ask(inquiry, region, ask, nowMs, ({ kind, taken }) => {
      const { roam } = session;
      if (kind === 'wait' || session.ended || !roam!.doubts.has(doubt)) return;
      roaming.resolveDoubt(session, region, taken?.born === roam!.born ? taken.had : 0);
    });
  }

  #close(inquiry: Inquiry, session: Session, taken: Taken, nowMs: number): void {
    const { roaming } = this.#parts;
    const { region, born, had } = taken;
    // Who it goes to takes the rest, and knows.
    if (region === session.roam!.leaving?.to) return;
    const { epoch } = session.roam!;
    const ask = { kind: 'closed', client: session.clientId, epoch, born, had } as const;
    this.#ask(inquiry, region, ask, nowMs, ({ kind }) => {
      const { roam } = session;
      if (kind === 'wait' || session.ended || roam!.taken.get(region) !== taken) return;
      roam!.taken.delete(region);
      roaming.save(session);
    });
  }

  #ask(
    { asked }: Inquiry,
    region: string,
    ask: Omit<Ask, 'n'>,
    nowMs: number,
    answered: (answer: Answer) => void,
  ): void {
    const key = `${ask.kind} ${region}`;
    const open = asked.get(key);
    if (open !== undefined) {
      if (nowMs < open.dueMs) return;
      this.#parts.giveUp(open.n);
    }
    const n = this.#parts.ask(region, ask, (answer) => {
      const again = asked.get(key);
      if (again?.n === n) again.dueMs = this.#tickedMs + AGAIN_MS;
      answered(answer);
    });
    asked.set(key, { n, dueMs: nowMs + (n === '' ? AGAIN_MS : ANSWER_MS) });
  }
}
