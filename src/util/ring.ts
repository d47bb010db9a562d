/**
 * A queue in a circular array: push and shift without moving elements. It grows by doubling; one that a
 * backlog has made large gives its memory back when it is empty again.
 */

const CAPACITY = 8;
/** Steady traffic empties a queue all the time: only more than this is worth giving back. */
const KEPT_CAPACITY_MAX = 1024;

export class Ring<T> {
  #items: (T | undefined)[];
  #head = 0;
  length = 0;

  /** `capacity` is a power of two. */
  constructor(capacity: number = CAPACITY) {
    this.#items = new Array(capacity).fill(undefined);
  }

  push(item: T): void {
    if (this.length === this.#items.length) this.#grow();
    this.#items[(this.#head + this.length) & (this.#items.length - 1)] = item;
    this.length++;
  }

  /** Puts an item before all others. */
  unshift(item: T): void {
    if (this.length === this.#items.length) this.#grow();
    this.#head = (this.#head - 1) & (this.#items.length - 1);
    this.#items[this.#head] = item;
    this.length++;
  }

  shift(): T | undefined {
    if (this.length === 0) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#items.length - 1);
    if (--this.length === 0 && this.#items.length > KEPT_CAPACITY_MAX) this.#reset();
    return item;
  }

  /** The item `index` places from the head. */
  at(index: number): T | undefined {
    if (index >= this.length) return undefined;
    return this.#items[(this.#head + index) & (this.#items.length - 1)];
  }

  /** Takes out the item at `index`; those before it move, so it is cheap near the head. */
  remove(index: number): void {
    if (index >= this.length) return;
    const mask = this.#items.length - 1;
    for (let i = index; i > 0; i--) {
      this.#items[(this.#head + i) & mask] = this.#items[(this.#head + i - 1) & mask];
    }
    this.shift();
  }

  /** Items it has memory for. */
  get capacity(): number {
    return this.#items.length;
  }

  #reset(): void {
    this.#items = new Array(CAPACITY).fill(undefined);
    this.#head = 0;
  }

  #grow(): void {
    const items: (T | undefined)[] = new Array(this.#items.length * 2).fill(undefined);
    for (let i = 0; i < this.length; i++) {
      items[i] = this.#items[(this.#head + i) & (this.#items.length - 1)];
    }
    this.#items = items;
    this.#head = 0;
  }
}
