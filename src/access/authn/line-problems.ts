/**
 * What is wrong with a file of one user per line: every place at once, as far as anybody wants to read
 * that, and one AccessError of it. Used by the files of passwords and of pre-shared keys.
 */
import { AccessError, type AccessProblem } from '../access-error.ts';

/** What is wrong with one line; `column` from 1. */
export interface LineProblem {
  readonly column: number;
  readonly message: string;
}

/** A wrong file is wrong in every line. */
const SHOWN_MAX = 50;

export class LineProblems {
  readonly #file: string;
  readonly #shown: AccessProblem[] = [];
  #found = 0;

  constructor(file: string) {
    this.#file = file;
  }

  report(line: number, { column, message }: LineProblem): void {
    this.#found += 1;
    if (this.#found > SHOWN_MAX) return;
    this.#shown.push({ where: `${this.#file}:${line}:${column}`, message });
  }

  /** Throws an AccessError when there were any. */
  check(): void {
    if (this.#found === 0) return;
    const left = this.#found - this.#shown.length;
    const more = { where: this.#file, message: `and ${left} more errors` };
    throw new AccessError(left === 0 ? this.#shown : [...this.#shown, more]);
  }
}
