/**
 * Names that clients choose, as keys of a bounded map: exact for the first `keysMax` of a period, then
 * folded into a few shared ones. The seed keeps an attacker from aiming at somebody's key.
 */
import { hash } from 'node:crypto';
import type { Clock } from '../core/ports.ts';

/** Longer names are kept as their hash. */
const KEY_LENGTH_MAX = 64;
const SHARED_KEYS = 1024;

export class BoundedKeys {
  readonly #clock: Clock;
  readonly #seed: string;
  readonly #keysMax: number;
  readonly #periodMs: number;
  /** Of this period and of the one before: a record begun late in that one still lives. */
  #current: Set<string> = new Set();
  #previous: Set<string> = new Set();
  #endsMs: number;

  constructor(clock: Clock, seed: string, keysMax: number, periodMs: number) {
    this.#clock = clock;
    this.#seed = seed;
    this.#keysMax = keysMax;
    this.#periodMs = periodMs;
    this.#endsMs = clock.monotonicMs() + periodMs;
  }

  /** The key under which `name` is counted. */
  keyOf(name: string): string {
    this.#turn();
    // The first letter keeps the three sorts apart.
    // Long names are the same on every node, shared keys are each node's own.
    const exact = name.length <= KEY_LENGTH_MAX ? `n${name}` : `h${digestOf(name)}`;
    if (this.#current.has(exact)) return exact;
    if (!this.#previous.has(exact) && this.#current.size + this.#previous.size >= this.#keysMax) {
      const hashed = digestOf(this.#seed + name);
      return `s${this.#seed}${Number.parseInt(hashed.slice(0, 8), 16) % SHARED_KEYS}`;
    }
    this.#previous.delete(exact);
    this.#current.add(exact);
    return exact;
  }

  #turn(): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < this.#endsMs) return;
    this.#previous = nowMs < this.#endsMs + this.#periodMs ? this.#current : new Set();
    this.#current = new Set();
    this.#endsMs = nowMs + this.#periodMs;
  }
}

function digestOf(text: string): string {
  return hash('sha256', text, 'hex').slice(0, 40);
}
