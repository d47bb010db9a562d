/**
 * Answers to clients that wait until a row has what they are about, for a moment (docs/adr/0023). Used by
 * cassandra-directory.ts, which writes the rows; knows none of them.
 */
import type { Awaited } from '../../core/awaited.ts';

export interface RowWait {
  readonly untilMs: number;
  /** Null: it waits no more. */
  awaited: Awaited | null;
}

const NOBODY: readonly RowWait[] = [];

export class AwaitedRows {
  /** By client identifier: those whose row is not being written yet as they want it. */
  readonly #open: Map<string, RowWait[]> = new Map();
  /** In the order in which their time is over. */
  readonly #all: RowWait[] = [];

  add(clientId: string, awaited: Awaited, untilMs: number): void {
    awaited.unsafeCount++;
    const wait: RowWait = { untilMs, awaited };
    this.#all.push(wait);
    const open = this.#open.get(clientId);
    if (open === undefined) this.#open.set(clientId, [wait]);
    else open.push(wait);
  }

  has(clientId: string): boolean {
    return this.#open.has(clientId);
  }

  /** The row is being written as it is now. Whoever waits for that. */
  begun(clientId: string): readonly RowWait[] {
    const waits = this.#open.get(clientId) ?? NOBODY;
    this.#open.delete(clientId);
    return waits;
  }

  /** How many have waited in vain. */
  expire(nowMs: number): number {
    let count = 0;
    while (this.#all[0] !== undefined && this.#all[0].untilMs <= nowMs) {
      const wait = this.#all.shift()!;
      if (wait.awaited === null) continue;
      count++;
      settle(wait);
    }
    if (this.#all.length === 0) this.#open.clear();
    return count;
  }

  stop(): void {
    this.expire(Number.POSITIVE_INFINITY);
  }
}

export function settle(wait: RowWait): void {
  const { awaited } = wait;
  if (awaited === null) return;
  wait.awaited = null;
  awaited.unsafeCount--;
  if (awaited.unsafeCount === 0) awaited.waiter?.messageSafe();
}
