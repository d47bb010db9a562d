/**
 * What was sent to a broker that may send it back: each message is known again once, by topic and payload,
 * for as long as there is room and it is young. Used by `bridge.ts` where no-local is not to be had.
 */
import { createHash } from 'node:crypto';

const NAMES_MAX = 20_000;
const AGE_MAX_MS = 60_000;

export class EchoSet {
  readonly #nowMs: () => number;
  /** By name, when each was sent: oldest first. */
  readonly #sent: Map<string, number[]> = new Map();
  #count = 0;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  get size(): number {
    return this.#count;
  }

  add(topic: string, payload: Buffer): void {
    const name = nameOf(topic, payload);
    const times = this.#sent.get(name) ?? [];
    // The last that was sent is the last that goes.
    this.#sent.delete(name);
    this.#sent.set(name, times);
    times.push(this.#nowMs());
    this.#count++;
    while (this.#count > NAMES_MAX) {
      const [oldest, of] = this.#sent.entries().next().value!;
      this.#sent.delete(oldest);
      this.#count -= of.length;
    }
  }

  /** It was sent, and has not come back before. */
  take(topic: string, payload: Buffer): boolean {
    const name = nameOf(topic, payload);
    const times = this.#sent.get(name);
    if (times === undefined) return false;
    const oldestMs = this.#nowMs() - AGE_MAX_MS;
    while (times.length > 0 && times[0]! < oldestMs) {
      times.shift();
      this.#count--;
    }
    const isEcho = times.shift() !== undefined;
    if (isEcho) this.#count--;
    if (times.length === 0) this.#sent.delete(name);
    return isEcho;
  }
}

function nameOf(topic: string, payload: Buffer): string {
  return createHash('sha1').update(`${topic}\0`).update(payload).digest('latin1');
}
