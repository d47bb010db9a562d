/**
 * Messages of a connection that is gone, read from it and not safe yet: whoever takes its session next
 * must not go on before they are (DESIGN P5, hard case 11). Made when the connection ends.
 */
import type { Message } from './message.ts';

export class Lingering {
  #count: number;
  readonly #waiting: (() => void)[] = [];

  constructor(messages: readonly Message[]) {
    this.#count = messages.length;
    // Nobody else waits for them any more: their acks went with the connection.
    for (const message of messages) {
      message.waiter = { messageSafe: () => this.#settled() };
    }
  }

  get isOver(): boolean {
    return this.#count === 0;
  }

  /** At once when nothing lingers. */
  whenOver(task: () => void): void {
    if (this.isOver) task();
    else this.#waiting.push(task);
  }

  #settled(): void {
    this.#count--;
    if (this.#count > 0) return;
    for (const task of this.#waiting.splice(0)) task();
  }
}
