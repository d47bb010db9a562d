/**
 * Cuts the byte stream of one connection into packets. A packet that arrives whole is handed out as a
 * view of its chunk; one that does not is gathered in a buffer that grows with what really came, so
 * an announced length alone costs nothing. Used by `connection.ts`.
 */
import { packetEnd } from '../wire/framing.ts';

/** Takes the packet buf[start, end); the bytes may be overwritten when it returns. */
export type PacketTaker = (buf: Buffer, start: number, end: number) => void;

const GROWTH_BYTES_MIN = 4096;

export class PacketSplitter {
  readonly #packetBytesMax: number;
  readonly #take: PacketTaker;
  /** Start of a packet whose end has not come; `#have` bytes of it are filled. */
  #partial: Buffer | null = null;
  #have = 0;
  /** Length of that packet, or -1 while its fixed header is incomplete. */
  #needed = -1;

  constructor(packetBytesMax: number, take: PacketTaker) {
    this.#packetBytesMax = packetBytesMax;
    this.#take = take;
  }

  /** Throws ProtocolError for a bad or too large fixed header, and whatever `take` throws. */
  push(chunk: Buffer): void {
    let pos = 0;
    while (pos < chunk.length) {
      if (this.#partial !== null) {
        pos = this.#fill(chunk, pos);
        continue;
      }
      const end = packetEnd(chunk, pos, chunk.length, this.#packetBytesMax);
      if (end === -1 || end > chunk.length) {
        this.#begin(chunk, pos, end === -1 ? -1 : end - pos);
        return;
      }
      this.#take(chunk, pos, end);
      pos = end;
    }
  }

  #begin(chunk: Buffer, pos: number, needed: number): void {
    const rest = chunk.length - pos;
    this.#partial = Buffer.allocUnsafe(Math.max(GROWTH_BYTES_MIN, rest));
    chunk.copy(this.#partial, 0, pos);
    this.#have = rest;
    this.#needed = needed;
  }

  /** Adds to the gathered packet, hands it out when complete; returns the position after. */
  #fill(chunk: Buffer, pos: number): number {
    let partial = this.#partial!;
    // One byte at a time until the length is known, as the header may be cut anywhere.
    const wanted = this.#needed === -1 ? 1 : this.#needed - this.#have;
    const taken = Math.min(wanted, chunk.length - pos);
    if (this.#have + taken > partial.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#have + taken, partial.length * 2));
      partial.copy(larger, 0, 0, this.#have);
      this.#partial = partial = larger;
    }
    chunk.copy(partial, this.#have, pos, pos + taken);
    this.#have += taken;
    if (this.#needed === -1) {
      this.#needed = packetEnd(partial, 0, this.#have, this.#packetBytesMax);
    }
    if (this.#needed === this.#have) {
      this.#partial = null;
      this.#have = 0;
      const end = this.#needed;
      this.#needed = -1;
      this.#take(partial, 0, end);
    }
    return pos + taken;
  }
}
