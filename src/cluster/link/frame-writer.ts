/**
 * Builds one frame of a peer link (docs/adr/0012): fields are appended, `finish` hands out length, type
 * and body in an exact buffer. Encoding is synchronous and never nests, so all writers share one scratch
 * area; frames with messages know their size and are written without it (message-codec.ts).
 */
import assert from 'node:assert';
import { writeU32 } from '../../util/bytes.ts';

/** u32 length of what follows, u8 type. */
export const FRAME_HEADER_BYTES = 5;

const SCRATCH_BYTES = 64 * 1024;
const TWO_32 = 2 ** 32;

/** Never grown itself; a large frame gets an area of its own. */
const scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);

/** Writes an integer of up to 53 bits as 64, big endian, and returns the position after it. */
export function writeU53(out: Buffer, pos: number, value: number): number {
  const high = Math.floor(value / TWO_32);
  return writeU32(out, writeU32(out, pos, high), value - high * TWO_32);
}

/** Fills in length and type of a frame that is complete but for these. */
export function writeHeader(frame: Buffer, type: number): Buffer {
  writeU32(frame, 0, frame.length - 4);
  frame[4] = type;
  return frame;
}

export class FrameWriter {
  #area: Buffer = scratch;
  #pos = FRAME_HEADER_BYTES;

  u8(value: number): void {
    this.#reserve(1);
    this.#area[this.#pos++] = value;
  }

  u16(value: number): void {
    this.#reserve(2);
    this.#area[this.#pos++] = value >>> 8;
    this.#area[this.#pos++] = value;
  }

  u32(value: number): void {
    assert(value >= 0 && value < TWO_32);
    this.#reserve(4);
    this.#pos = writeU32(this.#area, this.#pos, value);
  }

  u53(value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0);
    this.#reserve(8);
    this.#pos = writeU53(this.#area, this.#pos, value);
  }

  f64(value: number): void {
    assert(Number.isFinite(value));
    this.#reserve(8);
    this.#pos = this.#area.writeDoubleBE(value, this.#pos);
  }

  bool(value: boolean): void {
    this.u8(value ? 1 : 0);
  }

  text(value: string): void {
    // No UTF-16 unit takes more than three bytes.
    this.#reserve(4 + value.length * 3);
    const bytes = this.#area.write(value, this.#pos + 4, 'utf8');
    this.#pos = writeU32(this.#area, this.#pos, bytes) + bytes;
  }

  /** A byte that says whether there is one, then the text. */
  textOrNull(value: string | null): void {
    this.bool(value !== null);
    if (value !== null) this.text(value);
  }

  bytes(value: Buffer): void {
    this.u32(value.length);
    this.#reserve(value.length);
    value.copy(this.#area, this.#pos);
    this.#pos += value.length;
  }

  /** Room for so many bytes that the caller writes into `area`, from the position returned. */
  skip(byteCount: number): number {
    this.#reserve(byteCount);
    const pos = this.#pos;
    this.#pos += byteCount;
    return pos;
  }

  get area(): Buffer {
    return this.#area;
  }

  /** The whole frame in a buffer of its own. */
  finish(type: number): Buffer {
    const frame = Buffer.allocUnsafe(this.#pos);
    this.#area.copy(frame, 0, 0, this.#pos);
    return writeHeader(frame, type);
  }

  #reserve(byteCount: number): void {
    const needed = this.#pos + byteCount;
    if (needed <= this.#area.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#area.length * 2));
    this.#area.copy(larger, 0, 0, this.#pos);
    this.#area = larger;
  }
}

/** A frame that is all in its type. */
export function emptyFrame(type: number): Buffer {
  return writeHeader(Buffer.allocUnsafe(FRAME_HEADER_BYTES), type);
}
