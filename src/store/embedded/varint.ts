/**
 * Variable-length integers up to 2^53 - 1, seven bits a byte, as all stored records use them. MQTT's
 * own (wire/varint.ts) ends at 28 bits. Writers have made room for VARINT_BYTES_MAX.
 */
import { RecordDamage } from './damage.ts';

export const VARINT_BYTES_MAX = 8;

/** Writes `value` (an integer, 0..2^53-1) and returns the position after it. */
export function writeVarint(out: Buffer, pos: number, value: number): number {
  let rest = value;
  // Bit operations are exact below 2^31 only.
  while (rest > 0x7fff_ffff) {
    out[pos++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  while (rest >= 0x80) {
    out[pos++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  out[pos] = rest;
  return pos + 1;
}

/** A bounded walk over one record; every read throws RecordDamage beyond the end. */
export class Cursor {
  readonly buffer: Buffer;
  pos: number;
  readonly end: number;

  constructor(buffer: Buffer, pos: number, end: number) {
    this.buffer = buffer;
    this.pos = pos;
    this.end = end;
  }

  u8(): number {
    if (this.pos >= this.end) throw new RecordDamage('record is cut off');
    return this.buffer[this.pos++]!;
  }

  varint(): number {
    const first = this.u8();
    if (first < 0x80) return first;
    let value = first & 0x7f;
    let factor = 128;
    for (let i = 1; i < VARINT_BYTES_MAX; i++) {
      const byte = this.u8();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) throw new RecordDamage('integer is out of range');
        return value;
      }
      factor *= 128;
    }
    throw new RecordDamage('integer is too long');
  }

  /** Goes on behind the next bytes, and returns where they begin. */
  skip(byteCount: number): number {
    const start = this.pos;
    if (byteCount > this.end - start) throw new RecordDamage('record is cut off');
    this.pos = start + byteCount;
    return start;
  }

  /** A view of the next bytes, not a copy. */
  bytes(byteCount: number): Buffer {
    const start = this.skip(byteCount);
    return this.buffer.subarray(start, this.pos);
  }

  string(): string {
    const start = this.skip(this.varint());
    return this.buffer.utf8Slice(start, this.pos);
  }

  get atEnd(): boolean {
    return this.pos === this.end;
  }

  expectEnd(): void {
    if (this.pos !== this.end) throw new RecordDamage('bytes after the end of the record');
  }
}
