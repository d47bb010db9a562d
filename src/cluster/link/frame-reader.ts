/**
 * A bounded cursor over the body of one frame. Whatever does not fit throws LinkDamage, before anything
 * is allocated for it. Bytes behind the fields that are known are left alone: a later minor version may
 * have put more there.
 */
import { isUtf8 } from 'node:buffer';
import { copyBytes, readU16, readU32 } from '../../util/bytes.ts';
import { LinkDamage } from './link-damage.ts';

const TWO_32 = 2 ** 32;

export class FrameReader {
  readonly buffer: Buffer;
  pos: number;
  readonly end: number;

  constructor(buffer: Buffer, start: number, end: number) {
    this.buffer = buffer;
    this.pos = start;
    this.end = end;
  }

  get remaining(): number {
    return this.end - this.pos;
  }

  u8(): number {
    return this.buffer[this.take(1)]!;
  }

  u16(): number {
    return readU16(this.buffer, this.take(2));
  }

  u32(): number {
    return readU32(this.buffer, this.take(4));
  }

  u53(): number {
    const at = this.take(8);
    const high = readU32(this.buffer, at);
    if (high >= 2 ** 21) throw new LinkDamage('a number is larger than 53 bits');
    return high * TWO_32 + readU32(this.buffer, at + 4);
  }

  f64(): number {
    const value = this.buffer.readDoubleBE(this.take(8));
    if (!Number.isFinite(value)) throw new LinkDamage('a number is not finite');
    return value;
  }

  bool(): boolean {
    const value = this.u8();
    if (value > 1) throw new LinkDamage('a truth value is neither 0 nor 1');
    return value === 1;
  }

  /** One of 0 to `max`. */
  choice(max: number): number {
    const value = this.u8();
    if (value > max) throw new LinkDamage('a value is none of those that are known');
    return value;
  }

  text(): string {
    const bytes = this.u32();
    const at = this.take(bytes);
    if (!isUtf8(this.buffer.subarray(at, at + bytes))) {
      throw new LinkDamage('a text is not UTF-8');
    }
    return this.buffer.utf8Slice(at, at + bytes);
  }

  textOrNull(): string | null {
    return this.bool() ? this.text() : null;
  }

  /** A copy: it outlives the read buffer. */
  bytes(): Buffer {
    const bytes = this.u32();
    const at = this.take(bytes);
    return copyBytes(this.buffer, at, at + bytes);
  }

  /** The length of a list whose items take at least `itemBytesMin` each. */
  count(itemBytesMin: number): number {
    const count = this.u32();
    if (count * itemBytesMin > this.remaining) throw new LinkDamage('a list is cut off');
    return count;
  }

  /** Where the next `byteCount` bytes begin. */
  take(byteCount: number): number {
    const pos = this.pos;
    if (this.end - pos < byteCount) throw new LinkDamage('a frame is cut off');
    this.pos = pos + byteCount;
    return pos;
  }
}
