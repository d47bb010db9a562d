/**
 * Cuts the bytes of one connection into frames: in place where a whole frame is in the chunk, else from
 * a private buffer that grows with what has arrived, never with what a length field promises. Throws
 * LinkDamage for a frame that is larger than allowed. Knows lengths and types, not what is in a frame.
 */
import { readU32 } from '../../util/bytes.ts';
import { LinkDamage } from './link-damage.ts';

/** Takes one frame: buffer[start, end) is its body. */
export interface FrameSink {
  /** False: nothing more is wanted of this connection. */
  frame(type: number, buffer: Buffer, start: number, end: number): boolean;
}

const LENGTH_BYTES = 4;
const PARTIAL_BYTES = 4096;

export class FrameSplitter {
  /** Largest value of a length field; may be raised while the connection lives. */
  frameBytesMax: number;
  #partial: Buffer | null = null;
  #fill = 0;

  constructor(frameBytesMax: number) {
    this.frameBytesMax = frameBytesMax;
  }

  /** Bytes of a frame that is not whole yet. */
  get pendingBytes(): number {
    return this.#fill;
  }

  feed(buffer: Buffer, start: number, end: number, sink: FrameSink): void {
    let pos = start;
    while (this.#fill > 0) {
      const needed = this.#fill < LENGTH_BYTES ? LENGTH_BYTES : this.#frameEnd(this.#partial!, 0);
      if (this.#fill < needed) {
        const taken = Math.min(needed - this.#fill, end - pos);
        this.#keep(buffer, pos, pos + taken, needed);
        pos += taken;
        if (this.#fill < needed) return;
        // The length is known only now.
        if (needed === LENGTH_BYTES) continue;
      }
      const whole = this.#partial!;
      this.#partial = null;
      this.#fill = 0;
      if (!sink.frame(whole[LENGTH_BYTES]!, whole, LENGTH_BYTES + 1, needed)) return;
    }
    while (end - pos >= LENGTH_BYTES) {
      const frameEnd = this.#frameEnd(buffer, pos);
      if (frameEnd > end) break;
      if (!sink.frame(buffer[pos + LENGTH_BYTES]!, buffer, pos + LENGTH_BYTES + 1, frameEnd))
        return;
      pos = frameEnd;
    }
    if (pos < end) this.#keep(buffer, pos, end, 0);
  }

  #frameEnd(buffer: Buffer, at: number): number {
    const bytes = readU32(buffer, at);
    if (bytes === 0) throw new LinkDamage('a frame is empty');
    if (bytes > this.frameBytesMax) throw new LinkDamage('a frame is too large');
    return at + LENGTH_BYTES + bytes;
  }

  /** Puts bytes behind those that wait; `needed`: what the frame takes, when that is known. */
  #keep(buffer: Buffer, start: number, end: number, needed: number): void {
    const fill = this.#fill + (end - start);
    let partial = this.#partial;
    if (partial === null || partial.length < fill) {
      // At most twice what has arrived, and no more than the frame.
      const doubled = Math.max(fill, PARTIAL_BYTES, this.#fill * 2);
      const grown = Buffer.allocUnsafeSlow(
        needed > LENGTH_BYTES ? Math.max(fill, Math.min(doubled, needed)) : doubled,
      );
      if (partial !== null) partial.copy(grown, 0, 0, this.#fill);
      this.#partial = grown;
      partial = grown;
    }
    buffer.copy(partial, this.#fill, start, end);
    this.#fill = fill;
  }
}
