/**
 * Text of topics that have come before, found by their bytes: over a link the same topics come again and
 * again, and a string of each costs more than the rest of its packet. Used by `connection.ts` where
 * messages are handed over as they come. Bounded: a topic takes the place of another with its hash.
 */
import { copyRange } from '../util/bytes.ts';
import type { PublishView } from '../wire/publish.ts';
import { topicText } from '../wire/publish.ts';

const SLOTS = 256;
const BYTES_MAX = 64;

export class TopicCache {
  readonly #bytes: Buffer = Buffer.alloc(SLOTS * BYTES_MAX);
  readonly #lengths: Uint8Array = new Uint8Array(SLOTS);
  readonly #texts: string[] = new Array(SLOTS).fill('');

  /** As `topicText` says it, and throws. */
  of(view: PublishView): string {
    const { topicBuffer, topicEnd } = view;
    const start = view.topicStart + 2;
    const length = topicEnd - start;
    if (length === 0 || length > BYTES_MAX) return topicText(view);
    let hash = length;
    for (let i = start; i < topicEnd; i++) hash = (Math.imul(hash, 31) + topicBuffer[i]!) | 0;
    const slot = (hash ^ (hash >>> 8) ^ (hash >>> 16)) & (SLOTS - 1);
    if (this.#has(slot, topicBuffer, start, length)) return this.#texts[slot]!;
    const text = topicText(view);
    copyRange(this.#bytes, slot * BYTES_MAX, topicBuffer, start, topicEnd);
    this.#lengths[slot] = length;
    this.#texts[slot] = text;
    return text;
  }

  #has(slot: number, buffer: Buffer, start: number, length: number): boolean {
    if (this.#lengths[slot] !== length) return false;
    const bytes = this.#bytes;
    const from = slot * BYTES_MAX;
    for (let i = 0; i < length; i++) if (bytes[from + i] !== buffer[start + i]) return false;
    return true;
  }
}
