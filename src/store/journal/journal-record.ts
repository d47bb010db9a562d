/**
 * One append as the journal stores it and sends it to a peer: for which session, under whose name and
 * number, the value. Whoever has it can append it: the queue drops what it had (docs/adr/0017).
 *
 *   version · client id · sid · writer · sequence · value · checksum
 */
import { RecordDamage } from '../embedded/damage.ts';
import { openSealed, SEAL_BYTES, seal } from '../embedded/seal.ts';
import { Cursor, VARINT_BYTES_MAX, writeVarint } from '../embedded/varint.ts';

const VERSION = 1;
/** First letter of the writer of a change to packet ids (store/redis/inbound-change.ts). */
export const INBOUND_MARK: number = 0x69;

export interface JournalRecord {
  readonly clientId: string;
  readonly sid: string;
  readonly writer: string;
  readonly seq: number;
  /** As the queue has it. */
  readonly value: Buffer;
}

export function encodeRecord({ clientId, sid, writer, seq, value }: JournalRecord): Buffer {
  const texts = [clientId, sid, writer];
  let bytes = 1 + 5 * VARINT_BYTES_MAX + value.length + SEAL_BYTES;
  for (const text of texts) bytes += Buffer.byteLength(text);
  const out = Buffer.allocUnsafe(bytes);
  out[0] = VERSION;
  let pos = 1;
  for (const text of texts) {
    const length = Buffer.byteLength(text);
    pos = writeVarint(out, pos, length);
    pos += out.write(text, pos, 'utf8');
  }
  pos = writeVarint(out, pos, seq);
  pos = writeVarint(out, pos, value.length);
  pos += value.copy(out, pos);
  return out.subarray(0, seal(out, 0, pos));
}

/**
 * Whose packet ids it changes; null: it is an append. Only looks: whether it is damaged is found when it
 * is decoded.
 */
export function publisherOf(bytes: Buffer): string | null {
  const cursor = new Cursor(bytes, 1, bytes.length);
  try {
    const clientId = cursor.string();
    cursor.bytes(cursor.varint());
    return cursor.bytes(cursor.varint())[0] === INBOUND_MARK ? clientId : null;
  } catch {
    return null;
  }
}

/** Throws RecordDamage. The value is a view. */
export function decodeRecord(bytes: Buffer): JournalRecord {
  const cursor = openSealed(bytes);
  if (cursor.u8() !== VERSION) throw new RecordDamage('a newer release wrote it');
  const clientId = cursor.string();
  const sid = cursor.string();
  const writer = cursor.string();
  const seq = cursor.varint();
  const value = cursor.bytes(cursor.varint());
  cursor.expectEnd();
  return { clientId, sid, writer, seq, value };
}
