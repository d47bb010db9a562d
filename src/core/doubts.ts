/**
 * Which stretches of a queue were given to regions that have not said how much of it they have (docs/adr/0023):
 * one behind the other, all of them behind what is safe elsewhere. State only. Data plane.
 */
import type { Doubt } from './roaming-record.ts';

export class Doubts {
  #all: readonly Doubt[];

  constructor(all: readonly Doubt[] = []) {
    this.#all = all;
  }

  get all(): readonly Doubt[] {
    return this.#all;
  }

  get isEmpty(): boolean {
    return this.#all.length === 0;
  }

  /** The first about that region; null: there is none. */
  of(region: string): Doubt | null {
    return this.#all.find((doubt) => doubt.region === region) ?? null;
  }

  has(doubt: Doubt): boolean {
    return this.#all.includes(doubt);
  }

  /** Whether the entry at a position may be elsewhere. */
  covers(seq: number): boolean {
    return this.#all.some(({ fromSeq, upTo }) => seq >= fromSeq && seq <= upTo);
  }

  add(doubt: Doubt): void {
    this.#all = [...this.#all, doubt];
  }

  drop(doubt: Doubt): void {
    this.#all = this.#all.filter((one) => one !== doubt);
  }
}
