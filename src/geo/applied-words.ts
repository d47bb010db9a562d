/**
 * Words of other regions about sessions that move, in their places among the messages of links: one counts
 * at once, and may be kept only when all that was published before it is noted, as a next holder judges
 * what is not by what is kept (docs/adr/0023). Used by `arrival-line.ts`; knows no word by its content.
 */
import { Ring } from '../util/ring.ts';

/** Has a word count from now on; `earlier` calls back when it may be kept, `ended` is told that it is. */
export type SayWord = (
  earlier: (then: (failed: boolean) => void) => void,
  ended: (isTaken: boolean) => void,
) => void;

/** Of a word that is kept with, or behind, all that was before it. */
export function atOnce(then: (failed: boolean) => void): void {
  then(false);
}

/** Messages between two words that are published and not ended. */
export interface Stretch {
  open: number;
}

interface Word {
  /** What was published since the word before. */
  readonly before: Stretch;
  /** Something before it comes again, and so does it. */
  isFailed: boolean;
  mayKeep: ((failed: boolean) => void) | null;
  isEnded: boolean;
  readonly done: (failed: boolean) => void;
}

export class AppliedWords {
  #stretch: Stretch = { open: 0 };
  readonly #words: Ring<Word> = new Ring();
  /** Of the first of them all is noted that was before. */
  #ready = 0;

  /** A message is published; what is given back is for its end. */
  begin(): Stretch {
    this.#stretch.open++;
    return this.#stretch;
  }

  end(stretch: Stretch, failed: boolean): void {
    stretch.open--;
    if (this.#words.length === 0) return;
    if (failed) this.#fail((word) => word.before === stretch);
    this.#goOn();
  }

  /** `done`: it is kept, and so are all before it; or it is to come again. */
  add(say: SayWord, done: (failed: boolean) => void): void {
    const before = this.#stretch;
    const word: Word = { before, isFailed: false, mayKeep: null, isEnded: false, done };
    this.#stretch = { open: 0 };
    this.#words.push(word);
    say(
      (then) => {
        word.mayKeep = then;
        this.#goOn();
      },
      (isTaken) => {
        word.isEnded = true;
        // One that says the same again has nothing to keep, and hangs on the one before.
        if (!isTaken) this.#fail((one) => one === word);
        this.#goOn();
      },
    );
  }

  /** The first such word and all behind it. */
  #fail(isFirst: (word: Word) => boolean): void {
    let hasFailed = false;
    for (let index = 0; index < this.#words.length; index++) {
      const word = this.#words.at(index)!;
      hasFailed ||= isFirst(word);
      if (hasFailed) word.isFailed = true;
    }
  }

  #goOn(): void {
    for (;;) {
      const next = this.#words.at(this.#ready);
      if (next === undefined || next.before.open > 0) break;
      if (next.mayKeep === null && !next.isEnded) break;
      this.#ready++;
      next.mayKeep?.(next.isFailed);
    }
    for (;;) {
      const first = this.#words.at(0);
      if (first === undefined || this.#ready === 0 || !first.isEnded) return;
      this.#words.shift();
      this.#ready--;
      first.done(first.isFailed);
    }
  }
}
