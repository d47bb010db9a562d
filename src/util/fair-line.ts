/**
 * A bounded waiting line that is fair between parties: they are served in turn, each in its own order,
 * and when the line is full the party with the most in it loses its oldest. So a flood of one address
 * does not keep the others out.
 */

export class FairLine<T> {
  readonly #lengthMax: number;
  /** In the order of their turns. */
  readonly #queues: Map<string, Set<T>> = new Map();
  #length = 0;

  constructor(lengthMax: number) {
    this.#lengthMax = lengthMax;
  }

  get length(): number {
    return this.#length;
  }

  /** Adds an item; answers with the one that has to go for it (which may be itself), or null. */
  push(party: string, item: T): T | null {
    let leaves: T | null = null;
    if (this.#length >= this.#lengthMax) {
      leaves = this.#makeRoom(party);
      if (leaves === null) return item;
    }
    const queue = this.#queues.get(party);
    if (queue === undefined) this.#queues.set(party, new Set([item]));
    else queue.add(item);
    this.#length += 1;
    return leaves;
  }

  /** The next one whose turn it is. */
  shift(): T | undefined {
    const turn = this.#queues.entries().next();
    if (turn.done === true) return undefined;
    const [party, queue] = turn.value;
    const item = queue.values().next().value as T;
    this.remove(party, item);
    if (queue.size > 0) {
      this.#queues.delete(party);
      this.#queues.set(party, queue);
    }
    return item;
  }

  /** False: it is not in the line. */
  remove(party: string, item: T): boolean {
    const queue = this.#queues.get(party);
    if (queue === undefined || !queue.delete(item)) return false;
    this.#length -= 1;
    if (queue.size === 0) this.#queues.delete(party);
    return true;
  }

  /** Takes one from whoever has most, the newcomer counted; null: nobody has more than he. */
  #makeRoom(newcomer: string): T | null {
    let longest: string | null = null;
    let most = this.#queues.get(newcomer)?.size ?? 0;
    if (most > 0) longest = newcomer;
    // With one in the line each, whoever comes last has to go.
    most = Math.max(most, 1);
    for (const [party, queue] of this.#queues) {
      if (queue.size <= most) continue;
      most = queue.size;
      longest = party;
    }
    if (longest === null) return null;
    const oldest = this.#queues.get(longest)?.values().next().value as T;
    this.remove(longest, oldest);
    return oldest;
  }
}
