/**
 * A bounded cursor over one packet's bytes for the decoders of rare packets. Every read checks the
 * end and throws ProtocolError 0x81 beyond it; the hot decoders (PUBLISH, acks) do without it.
 */
import type { Buffer } from 'node:buffer';
import { readU16, readU32 } from '../util/bytes.ts';
import { malformedPacket } from './protocol-error.ts';
import { readBinary, readString } from './utf8.ts';
import { readVarint, varintSize } from './varint.ts';

export class Reader {
  readonly buf: Buffer;
  pos: number;
  end: number;

  constructor(buf: Buffer, start: number, end: number) {
    this.buf = buf;
    this.pos = start;
    this.end = end;
  }

  get remaining(): number {
    return this.end - this.pos;
  }

  u8(): number {
    return this.buf[this.#take(1)]!;
  }

  u16(): number {
    return readU16(this.buf, this.#take(2));
  }

  u32(): number {
    return readU32(this.buf, this.#take(4));
  }

  varint(): number {
    const value = readVarint(this.buf, this.pos, this.end);
    this.pos += varintSize(value);
    return value;
  }

  string(): string {
    const text = readString(this.buf, this.pos, this.end);
    this.pos += 2 + readU16(this.buf, this.pos);
    return text;
  }

  /** A copy: it outlives the read buffer. */
  binary(): Buffer {
    const bytes = readBinary(this.buf, this.pos, this.end);
    this.pos += 2 + bytes.length;
    return bytes;
  }

  /** A packet ends where its fields do. */
  expectEnd(): void {
    if (this.pos !== this.end) {
      throw malformedPacket('bytes after the end of the packet');
    }
  }

  #take(byteCount: number): number {
    const pos = this.pos;
    if (this.end - pos < byteCount) {
      throw malformedPacket('packet is cut off');
    }
    this.pos = pos + byteCount;
    return pos;
  }
}
