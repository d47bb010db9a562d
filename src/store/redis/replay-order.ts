/**
 * What journals have handed over and Redis has not answered, in its order: some of it must not be written
 * before all that came earlier is. Used by journal-replay.ts.
 */
import { Ring } from '../../util/ring.ts';

interface Later {
  readonly number: number;
  readonly task: () => void;
}

export class ReplayOrder {
  /** Numbers that are not answered, in their order. */
  readonly #open: Set<number> = new Set();
  readonly #later: Ring<Later> = new Ring();
  #next = 0;

  /** Something is handed over; the function is called when it is answered. */
  begin(): () => void {
    const number = this.#next++;
    this.#open.add(number);
    return () => {
      this.#open.delete(number);
      this.#release();
    };
  }

  /** Calls back when all that was handed over so far is answered. */
  afterAll(task: () => void): void {
    if (this.#open.size === 0) task();
    else this.#later.push({ number: this.#next, task });
  }

  #release(): void {
    for (let first = this.#later.at(0); first !== undefined; first = this.#later.at(0)) {
      for (const oldest of this.#open) {
        if (oldest < first.number) return;
        break;
      }
      this.#later.shift();
      first.task();
    }
  }
}
