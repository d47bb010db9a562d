/**
 * Questions to decision sources that nobody waits for: is each subscription still allowed, after a
 * reload or at a resume? There may be very many at once, so few are under way at one time, connections
 * take turns, and while a packet waits for an answer they stand back. One line for all connections.
 */

import { FairLine } from '../util/fair-line.ts';
import type { Turns } from './slices.ts';

/** Under way at one time: next to nothing of what a service is asked at once otherwise. */
const AT_ONCE_MAX = 4;
/** While a packet waits; not none, or a busy broker would never find out. */
const BESIDE_LIVE_MAX = 1;
/** Begun in one turn of the loop: answers may be there at once. */
const PER_TURN_MAX = 64;

export class AskLine {
  readonly #turns: Turns;
  /** As many as there are subscriptions, at the most: each is in it once. */
  readonly #line = new FairLine<() => Promise<void>>(Number.POSITIVE_INFINITY);
  #running = 0;
  #live = 0;
  #begun = 0;
  #isTurnDue = false;

  constructor(turns: Turns) {
    this.#turns = turns;
  }

  get waiting(): number {
    return this.#line.length;
  }

  /** `ask` never rejects. */
  later(clientId: string, ask: () => Promise<void>): void {
    this.#line.push(clientId, ask);
    this.#advance();
  }

  /** For a packet that waits: at once. */
  async live<Answer>(ask: () => Promise<Answer>): Promise<Answer> {
    this.#live++;
    try {
      return await ask();
    } finally {
      this.#live--;
      this.#advance();
    }
  }

  #advance(): void {
    while (this.#running < (this.#live > 0 ? BESIDE_LIVE_MAX : AT_ONCE_MAX)) {
      if (this.#begun >= PER_TURN_MAX) return;
      const ask = this.#line.shift();
      if (ask === undefined) return;
      this.#begun++;
      this.#running++;
      this.#countTurn();
      const ended = (): void => {
        this.#running--;
        this.#advance();
      };
      ask().then(ended, ended);
    }
  }

  #countTurn(): void {
    if (this.#isTurnDue) return;
    this.#isTurnDue = true;
    this.#turns.nextTurn(() => {
      this.#isTurnDue = false;
      this.#begun = 0;
      this.#advance();
    });
  }
}
