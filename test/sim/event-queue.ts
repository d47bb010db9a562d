/**
 * What is to happen, by virtual time: a binary heap for the simulation's kernel. Events within the same
 * slot of time come out in an order that the seed decides, since nothing in the world promises one.
 */
import type { SimNode } from './sim-node.ts';

export interface SimEvent {
  /** Virtual ms. */
  dueMs: number;
  /** Whose turn it is; null: the world's. */
  readonly node: SimNode | null;
  /** Null: called off. */
  task: (() => void) | null;
}

const DRAWS = 2 ** 20;

export class EventQueue {
  readonly #slotsPerMs: number;
  /** Slot and a random draw in one number, so that comparing costs one comparison. */
  readonly #keys: number[] = [];
  readonly #events: SimEvent[] = [];

  constructor(slotMs: number) {
    this.#slotsPerMs = 1 / slotMs;
  }

  get size(): number {
    return this.#events.length;
  }

  /** When the next event is due, about; Infinity: there is none. */
  get nextMs(): number {
    return this.#events[0]?.dueMs ?? Number.POSITIVE_INFINITY;
  }

  /** `draw` in [0, 1) decides the order within a slot. */
  push(event: SimEvent, draw: number): void {
    const keys = this.#keys;
    const events = this.#events;
    const key = Math.floor(event.dueMs * this.#slotsPerMs) * DRAWS + Math.floor(draw * DRAWS);
    let at = keys.length;
    keys.push(key);
    events.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (keys[parent]! <= key) break;
      keys[at] = keys[parent]!;
      events[at] = events[parent]!;
      at = parent;
    }
    keys[at] = key;
    events[at] = event;
  }

  pop(): SimEvent | undefined {
    const keys = this.#keys;
    const events = this.#events;
    const first = events[0];
    const key = keys.pop();
    const last = events.pop();
    const size = keys.length;
    if (size === 0 || key === undefined || last === undefined) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && keys[child + 1]! < keys[child]!) child++;
      if (keys[child]! >= key) break;
      keys[at] = keys[child]!;
      events[at] = events[child]!;
      at = child;
    }
    keys[at] = key;
    events[at] = last;
    return first;
  }
}
