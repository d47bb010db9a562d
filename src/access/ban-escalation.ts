/**
 * Counts what happens too often per key and says for how long the key is to be kept out: doubling each
 * time, forgotten in quiet times. Used by flapping detection and login blocking. Memory is bounded: the
 * key that was quiet for longest goes first.
 *
 * Own code instead of rate-limiter-flexible: its memory limiter answers through a promise (the CONNECTs
 * of one read would all pass before the first is counted), holds a timer per key, and has no bound on
 * keys; time is not handed in.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../core/ports.ts';

export interface EscalationOptions {
  /** Events within the window that are still in order. */
  readonly eventsMax: number;
  readonly windowS: number;
  readonly blockS: number;
  readonly blockMaxS: number;
}

export interface Block {
  readonly durationMs: number;
  /** How often it was doubled. */
  readonly step: number;
}

interface Tally {
  events: number;
  windowEndMs: number;
  /** Doublings the next block begins with. */
  step: number;
  /** From when on quiet counts. */
  quietSinceMs: number;
}

/** Longer keys are kept as a digest, so that `keysMax` bounds bytes too. */
const KEY_CHARACTERS_MAX = 128;
const DOUBLINGS_MAX = 40;

export class Escalation {
  readonly #clock: Clock;
  readonly #keysMax: number;
  #options: EscalationOptions;
  /** Most quiet first. */
  readonly #tallies = new Map<string, Tally>();

  constructor(options: EscalationOptions, clock: Clock, keysMax: number) {
    this.#options = options;
    this.#clock = clock;
    this.#keysMax = keysMax;
  }

  /** Other terms from now on; what was counted stays. */
  revise(options: EscalationOptions): void {
    this.#options = options;
  }

  /** Keys that are remembered. */
  get size(): number {
    return this.#tallies.size;
  }

  /** One more event; not null: that was one too many. */
  count(key: string): Block | null {
    const { eventsMax, windowS } = this.#options;
    const nowMs = this.#clock.monotonicMs();
    const tally = this.#touch(shortKey(key), nowMs);
    if (nowMs >= tally.windowEndMs) {
      tally.events = 0;
      tally.windowEndMs = nowMs + windowS * 1000;
    }
    tally.events++;
    return tally.events <= eventsMax ? null : this.#block(tally, nowMs);
  }

  /** Too many somewhere else: as if the last of them had been counted here. */
  block(key: string): Block {
    const nowMs = this.#clock.monotonicMs();
    return this.#block(this.#touch(shortKey(key), nowMs), nowMs);
  }

  /** Events of the window under way. */
  eventsOf(key: string): number {
    return this.#tallies.get(shortKey(key))?.events ?? 0;
  }

  #block(tally: Tally, nowMs: number): Block {
    this.#calmDown(tally, nowMs);
    const step = tally.step;
    const durationMs = this.#durationMs(step);
    tally.events = 0;
    tally.windowEndMs = 0;
    tally.step = Math.min(step + 1, DOUBLINGS_MAX);
    tally.quietSinceMs = nowMs + durationMs;
    return { durationMs, step };
  }

  /** It went well this time: the window begins anew, the doublings stay. */
  forgive(key: string): void {
    const tally = this.#tallies.get(shortKey(key));
    if (tally !== undefined) tally.events = 0;
  }

  forget(key: string): void {
    this.#tallies.delete(shortKey(key));
  }

  /** After a restart: a block that is still in force, which ends in `leftMs`. */
  restore(key: string, step: number, leftMs: number): void {
    const nowMs = this.#clock.monotonicMs();
    const tally = this.#touch(shortKey(key), nowMs);
    tally.step = Math.min(step + 1, DOUBLINGS_MAX);
    tally.quietSinceMs = nowMs + leftMs;
  }

  #touch(key: string, nowMs: number): Tally {
    let tally = this.#tallies.get(key);
    if (tally === undefined) {
      this.#makeRoom(nowMs);
      tally = { events: 0, windowEndMs: 0, step: 0, quietSinceMs: nowMs };
    } else {
      this.#tallies.delete(key);
    }
    this.#tallies.set(key, tally);
    return tally;
  }

  /** Forgets a few that mean nothing any more, and in any case one when it is full. */
  #makeRoom(nowMs: number): void {
    let looked = 0;
    for (const [key, tally] of this.#tallies) {
      if (looked >= 2) break;
      looked++;
      this.#calmDown(tally, nowMs);
      const isIdle = nowMs >= tally.windowEndMs && tally.step === 0;
      if (!isIdle && this.#tallies.size < this.#keysMax) break;
      this.#tallies.delete(key);
    }
  }

  /** One doubling is forgotten per quiet time as long as the block it led to. */
  #calmDown(tally: Tally, nowMs: number): void {
    while (tally.step > 0) {
      const neededMs = this.#durationMs(tally.step - 1);
      if (nowMs - tally.quietSinceMs < neededMs) return;
      tally.quietSinceMs += neededMs;
      tally.step--;
    }
  }

  #durationMs(step: number): number {
    const { blockS, blockMaxS } = this.#options;
    return Math.min(blockS * 2 ** step, Math.max(blockS, blockMaxS)) * 1000;
  }
}

function shortKey(key: string): string {
  if (key.length <= KEY_CHARACTERS_MAX) return key;
  return createHash('sha256').update(key).digest('base64');
}
