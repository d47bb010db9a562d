/**
 * MQTT's variable byte integer (MQTT 5 §1.5.5): seven bits a byte, four bytes at most.
 * Reading is strict about the shortest form, so `varintSize(value)` is also the number of bytes
 * that were read. The fixed header is read by framing.ts, which must cope with incomplete input.
 */
import type { Buffer } from 'node:buffer';
import { malformedPacket } from './protocol-error.ts';

export const VARINT_MAX = 268_435_455;

/** Bytes the shortest encoding of `value` takes. */
export function varintSize(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  return value < 0x20_0000 ? 3 : 4;
}

/** The value at `pos`; throws 0x81 when cut off by `end`, too long, or not in shortest form. */
export function readVarint(buf: Buffer, pos: number, end: number): number {
  if (pos >= end) throw malformedPacket('variable byte integer is cut off');
  const first = buf[pos]!;
  if (first < 0x80) return first;
  let value = first & 0x7f;
  for (let shift = 7; shift <= 21; shift += 7) {
    if (++pos >= end) throw malformedPacket('variable byte integer is cut off');
    const byte = buf[pos]!;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      // [MQTT5-1.5.5-1] the shortest form is required; a zero last byte adds nothing.
      if (byte === 0) throw malformedPacket('variable byte integer is not in its shortest form');
      return value;
    }
  }
  throw malformedPacket('variable byte integer is longer than four bytes');
}

/** Writes `value` (0..VARINT_MAX) and returns the position after it. */
export function writeVarint(out: Buffer, pos: number, value: number): number {
  while (value >= 0x80) {
    out[pos++] = (value & 0x7f) | 0x80;
    value >>>= 7;
  }
  out[pos] = value;
  return pos + 1;
}
