/**
 * Byte helpers for code that parses in place from a reused read buffer.
 * Whatever outlives the chunk it came in must be copied with these.
 */
import { Buffer } from 'node:buffer';

declare global {
  /** Every Node Buffer has these; the types leave them out. toString() without argument checks. */
  // biome-ignore lint/suspicious/noRedeclare: it widens the global type, which the import is
  interface Buffer {
    latin1Slice(start: number, end: number): string;
    utf8Slice(start: number, end: number): string;
  }
}

/** The one empty buffer; nothing can be written into it. */
export const EMPTY_BUFFER: Buffer = Buffer.alloc(0);

/**
 * An own copy of buf[start, end). Not from Node's pool: a small copy that lives as long as a
 * session (a will, a password) would otherwise keep a whole pool slab alive.
 */
export function copyBytes(buf: Buffer, start: number, end: number): Buffer {
  if (start === end) return EMPTY_BUFFER;
  const copy = Buffer.allocUnsafeSlow(end - start);
  buf.copy(copy, 0, start, end);
  return copy;
}

/** Below this a loop is as fast as the native copy (measured: 16 bytes 49 against 56 ns). */
const LOOP_BYTES_MAX = 16;

/** Copies from[start, end) to out[pos…] and returns the position after it. */
export function copyRange(
  out: Buffer,
  pos: number,
  from: Buffer,
  start: number,
  end: number,
): number {
  const bytes = end - start;
  if (bytes <= LOOP_BYTES_MAX) {
    for (let i = 0; i < bytes; i++) out[pos + i] = from[start + i]!;
  } else {
    from.copy(out, pos, start, end);
  }
  return pos + bytes;
}

/** Big-endian 16 bits. The caller has checked that both bytes are there. */
export function readU16(buf: Buffer, pos: number): number {
  return (buf[pos]! << 8) | buf[pos + 1]!;
}

/** Big-endian 32 bits, unsigned. The caller has checked that all four bytes are there. */
export function readU32(buf: Buffer, pos: number): number {
  return ((buf[pos]! << 24) | (buf[pos + 1]! << 16) | (buf[pos + 2]! << 8) | buf[pos + 3]!) >>> 0;
}

/** Writes big-endian 16 bits and returns the position after them. */
export function writeU16(out: Buffer, pos: number, value: number): number {
  out[pos] = value >>> 8;
  out[pos + 1] = value;
  return pos + 2;
}

/** Writes big-endian 32 bits and returns the position after them. */
export function writeU32(out: Buffer, pos: number, value: number): number {
  out[pos] = value >>> 24;
  out[pos + 1] = value >>> 16;
  out[pos + 2] = value >>> 8;
  out[pos + 3] = value;
  return pos + 4;
}
