/**
 * Which positions of an owned queue are settled, and what of that Redis has to be told: everything up to
 * one position, and single ones beyond it. State only; owner-lane.ts sends it.
 */
export class SettledPositions {
  /** Everything up to here is settled; -1: not known, then each position is told by itself. */
  #upTo = -1;
  #sentUpTo = -1;
  /** Redis has said that it has done it. */
  #confirmedUpTo = -1;
  /** Settled beyond `#upTo`. */
  readonly #ahead: Set<number> = new Set();
  /** Of those, the ones not sent. */
  #marks: number[] = [];
  #released: number[] = [];
  /** Under way. */
  #releasing: readonly number[] = [];

  /** As Redis has it: `head` is the position of the last removed. */
  begin(head: number, settledBeyond: readonly number[]): void {
    this.#upTo = head;
    this.#sentUpTo = head;
    this.#confirmedUpTo = head;
    for (const seq of settledBeyond) this.#ahead.add(seq);
    this.#absorb();
  }

  /** False: it was settled before. */
  settle(seq: number): boolean {
    if (this.has(seq)) return false;
    if (this.#upTo >= 0 && seq === this.#upTo + 1) {
      this.#upTo = seq;
      this.#absorb();
    } else {
      this.#ahead.add(seq);
      this.#marks.push(seq);
    }
    return true;
  }

  release(seq: number): void {
    this.#released.push(seq);
  }

  /** PUBREC came; Redis may not know yet. */
  isReleased(seq: number): boolean {
    return this.#released.includes(seq) || this.#releasing.includes(seq);
  }

  has(seq: number): boolean {
    return seq <= this.#upTo || this.#ahead.has(seq);
  }

  /** Redis says that everything up to here is gone. */
  learn(head: number): void {
    if (head <= this.#upTo) return;
    this.#upTo = head;
    if (head > this.#sentUpTo) this.#sentUpTo = head;
    if (head > this.#confirmedUpTo) this.#confirmedUpTo = head;
    for (const seq of this.#ahead) if (seq <= head) this.#ahead.delete(seq);
    this.#absorb();
  }

  get hasNews(): boolean {
    return this.#upTo > this.#sentUpTo || this.#marks.length > 0 || this.#released.length > 0;
  }

  /** What Redis is to be told now. */
  take(): SettleNews {
    const { upTo } = this;
    const marks = this.#marks.filter((seq) => seq > upTo);
    const released = this.#released.filter((seq) => !this.has(seq));
    this.#marks = [];
    this.#released = [];
    this.#releasing = released;
    this.#sentUpTo = this.#upTo;
    return { upTo, marks, released };
  }

  /** It was not done, or nobody knows. */
  undo(news: SettleNews): void {
    this.#sentUpTo = this.#confirmedUpTo;
    this.#marks = [...news.marks, ...this.#marks];
    this.#released = [...news.released, ...this.#released];
    this.#releasing = [];
  }

  confirm({ upTo }: SettleNews): void {
    if (upTo > this.#confirmedUpTo) this.#confirmedUpTo = upTo;
    this.#releasing = [];
  }

  /** For Redis: 0 when it is not known. */
  get upTo(): number {
    return Math.max(0, this.#upTo);
  }

  #absorb(): void {
    while (this.#ahead.delete(this.#upTo + 1)) this.#upTo++;
  }
}

export interface SettleNews {
  readonly upTo: number;
  readonly marks: readonly number[];
  readonly released: readonly number[];
}
