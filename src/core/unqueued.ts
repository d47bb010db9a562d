/**
 * Messages that a journal has and no queue yet, by who published them: they were acknowledged, so their
 * client may go on, but whoever takes its session next must find them in the queues (DESIGN P5). Held by
 * tenure.ts; there is an entry only while there are such messages.
 */

/**
 * Whoever opens a session asks its owner before within this time of Redis: longer ago, and what was promised
 * was there before it was opened.
 */
const LATELY_MS = 60_000;
const LATELY_MAX = 100_000;

interface OfClient {
  count: number;
  readonly waiting: (() => void)[];
}

export class Unqueued {
  readonly #clients: Map<string, OfClient> = new Map();

  /** By client id, oldest first: a change to packet ids was only in a journal then (monotonic ms). */
  readonly #promised: Map<string, number> = new Map();

  promised(clientId: string, nowMs: number): void {
    const promised = this.#promised;
    promised.delete(clientId);
    promised.set(clientId, nowMs);
    for (const [oldest, atMs] of promised) {
      if (promised.size <= LATELY_MAX && nowMs - atMs < LATELY_MS) break;
      promised.delete(oldest);
    }
  }

  hadPromised(clientId: string, nowMs: number): boolean {
    const atMs = this.#promised.get(clientId);
    return atMs !== undefined && nowMs - atMs < LATELY_MS;
  }

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
