/**
 * Appends that were acknowledged lately, to be written again when another server has taken over, as it
 * may lack the latest of them (ADR 0014, hard case 12). Bounded by age and bytes.
 */
import { Ring } from '../../util/ring.ts';
import type { AppendLane, WaitingAppend } from './append-lane.ts';

interface Recent {
  readonly lane: AppendLane;
  readonly append: WaitingAppend;
  readonly atMs: number;
}

export class RecentAppends {
  readonly #ageMsMax: number;
  readonly #bytesMax: number;
  readonly #recent: Ring<Recent> = new Ring();
  #bytes = 0;

  constructor(ageMsMax: number, bytesMax: number) {
    this.#ageMsMax = ageMsMax;
    this.#bytesMax = bytesMax;
  }

  get length(): number {
    return this.#recent.length;
  }

  add(lane: AppendLane, append: WaitingAppend, nowMs: number): void {
    if (this.#ageMsMax === 0) return;
    this.#recent.push({ lane, append, atMs: nowMs });
    this.#bytes += append.value.length;
    this.trim(nowMs);
  }

  trim(nowMs: number): void {
    for (;;) {
      const oldest = this.#recent.at(0);
      if (oldest === undefined) return;
      if (oldest.atMs >= nowMs - this.#ageMsMax && this.#bytes <= this.#bytesMax) return;
      this.#recent.shift();
      this.#bytes -= oldest.append.value.length;
    }
  }

  /** Takes all, by session and in their order. */
  take(nowMs: number): Map<AppendLane, WaitingAppend[]> {
    this.trim(nowMs);
    const bySession = new Map<AppendLane, WaitingAppend[]>();
    while (this.#recent.length > 0) {
      const { lane, append } = this.#recent.shift()!;
      const appends = bySession.get(lane);
      if (appends === undefined) bySession.set(lane, [append]);
      else appends.push(append);
    }
    this.#bytes = 0;
    return bySession;
  }
}
