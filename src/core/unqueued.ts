/**
 * Messages that a journal has and no queue yet, by who published them: they were acknowledged, so their
 * client may go on, but whoever takes its session next must find them in the queues (DESIGN P5). Held by
 * tenure.ts; there is an entry only while there are such messages.
 */

interface OfClient {
  count: number;
  readonly waiting: (() => void)[];
}

export class Unqueued {
  readonly #clients: Map<string, OfClient> = new Map();

  kept(clientId: string): void {
    const of = this.#clients.get(clientId);
    if (of === undefined) this.#clients.set(clientId, { count: 1, waiting: [] });
    else of.count++;
  }

  queued(clientId: string): void {
    const of = this.#clients.get(clientId);
    if (of === undefined) return;
    of.count--;
    if (of.count > 0) return;
    this.#clients.delete(clientId);
    for (const task of of.waiting) task();
  }

  /** At once when nothing of the client is waited for. */
  whenQueued(clientId: string, task: () => void): void {
    const of = this.#clients.get(clientId);
    if (of === undefined) task();
    else of.waiting.push(task);
  }
}
