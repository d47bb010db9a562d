/**
 * The checksum at the end of every stored record. LevelDB's own checksums are not verified on reads
 * and say nothing about one record; with ours a damaged record is known before it is decoded.
 */
import { crc32 } from 'node:zlib';
import { readU32, writeU32 } from '../../util/bytes.ts';
import { RecordDamage } from './damage.ts';
import { Cursor } from './varint.ts';

export const SEAL_BYTES = 4;

/** Appends the checksum of out[start, pos) and returns the position after it. */
export function seal(out: Buffer, start: number, pos: number): number {
  return writeU32(out, pos, crc32(out.subarray(start, pos)));
}

/** Where the content of a sealed record ends; throws RecordDamage when the checksum is wrong. */
export function checkSeal(value: Buffer): number {
  const end = value.length - SEAL_BYTES;
  if (end < 0) throw new RecordDamage('record is shorter than its checksum');
  if (crc32(value.subarray(0, end)) !== readU32(value, end)) {
    throw new RecordDamage('checksum does not match');
  }
  return end;
}

/** A cursor over the content of a sealed record. */
export function openSealed(value: Buffer): Cursor {
  return new Cursor(value, 0, checkSeal(value));
}
