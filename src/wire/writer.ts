/**
 * Builds one packet of unknown size: the encoders of rare packets append fields, `finish` puts the
 * fixed header in front and hands out an exact copy. One scratch area serves all of them, because
 * encoding is synchronous and never nests; PUBLISH and the short acks are written without it.
 */
import assert from 'node:assert';
import { Buffer } from 'node:buffer';
import { writeU16, writeU32 } from '../util/bytes.ts';
import { FIXED_HEADER_BYTES_MAX } from './framing.ts';
import { FIELD_BYTES_MAX } from './utf8.ts';
import { VARINT_MAX, varintSize, writeVarint } from './varint.ts';

const SCRATCH_BYTES = 16_384;

/** Shared by all writers and never grown itself; a large packet gets an area of its own. */
const scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);

export class Writer {
  #area: Buffer = scratch;
  #pos = FIXED_HEADER_BYTES_MAX;

  u8(value: number): void {
    this.#reserve(1);
    this.#area[this.#pos++] = value;
  }

  u16(value: number): void {
    this.#reserve(2);
    this.#pos = writeU16(this.#area, this.#pos, value);
  }

  u32(value: number): void {
    this.#reserve(4);
    this.#pos = writeU32(this.#area, this.#pos, value);
  }

  varint(value: number): void {
    assert(value >= 0 && value <= VARINT_MAX);
    this.#reserve(4);
    this.#pos = writeVarint(this.#area, this.#pos, value);
  }

  string(text: string): void {
    const byteCount = Buffer.byteLength(text, 'utf8');
    assert(byteCount <= FIELD_BYTES_MAX, 'string is too long for MQTT');
    this.u16(byteCount);
    this.#reserve(byteCount);
    this.#area.write(text, this.#pos, byteCount, 'utf8');
    this.#pos += byteCount;
  }

  binary(bytes: Buffer): void {
    assert(bytes.length <= FIELD_BYTES_MAX, 'binary data is too long for MQTT');
    this.u16(bytes.length);
    this.bytes(bytes);
  }

  bytes(bytes: Buffer): void {
    this.#reserve(bytes.length);
    bytes.copy(this.#area, this.#pos);
    this.#pos += bytes.length;
  }

  /** Opens a block whose length goes before it as a varint; give the result to `endBlock`. */
  beginBlock(): number {
    this.u8(0);
    return this.#pos;
  }

  endBlock(blockStart: number): void {
    const byteCount = this.#pos - blockStart;
    assert(byteCount <= VARINT_MAX);
    const more = varintSize(byteCount) - 1;
    if (more > 0) {
      this.#reserve(more);
      this.#area.copyWithin(blockStart + more, blockStart, this.#pos);
      this.#pos += more;
    }
    writeVarint(this.#area, blockStart - 1, byteCount);
  }

  /** The whole packet, fixed header in front, in a buffer of its own. */
  finish(firstByte: number): Buffer {
    const bodyBytes = this.#pos - FIXED_HEADER_BYTES_MAX;
    assert(bodyBytes <= VARINT_MAX, 'packet is too long for MQTT');
    const start = FIXED_HEADER_BYTES_MAX - 1 - varintSize(bodyBytes);
    this.#area[start] = firstByte;
    writeVarint(this.#area, start + 1, bodyBytes);
    const packet = Buffer.allocUnsafe(this.#pos - start);
    this.#area.copy(packet, 0, start, this.#pos);
    return packet;
  }

  #reserve(byteCount: number): void {
    const needed = this.#pos + byteCount;
    if (needed <= this.#area.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#area.length * 2));
    this.#area.copy(larger, 0, 0, this.#pos);
    this.#area = larger;
  }
}
