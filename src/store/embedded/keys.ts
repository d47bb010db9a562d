/**
 * Keys of the store. One byte says what the record is; numbers follow as 48 bits big-endian, so that
 * records of one session lie together and in queue order.
 *
 *   v                    schema version and mark of a complete store
 *   n                    next number not reserved yet (blocks, session serials)
 *   s serial             session record
 *   h serial             highest queue position given, once no run holds it
 *   i serial             packet ids of inbound QoS 2 messages
 *   d serial             session deleted, its runs not yet all removed
 *   q serial lastSeq 0   run: entries of one session written by one commit
 *   q serial lastSeq 1   progress of that run: what of it is settled or released
 *   b serial lastSeq     bodies only that run refers to, when too large to be in it
 *   m block              bodies several runs refer to
 *   c block              how many runs still refer to it, once that is fewer than were written
 *   r topic              retained message
 *   x key                a damaged record, under its old key
 *   p                    written to see whether the disk takes writes again
 */

export const Prefix = {
  VERSION: 0x76,
  NUMBERS: 0x6e,
  SESSION: 0x73,
  TAIL: 0x68,
  INBOUND: 0x69,
  DOOMED: 0x64,
  RUN: 0x71,
  BODIES: 0x62,
  BLOCK: 0x6d,
  COUNT: 0x63,
  RETAINED: 0x72,
  QUARANTINE: 0x78,
  PROBE: 0x70,
} as const;

export type KeyPrefix = (typeof Prefix)[keyof typeof Prefix];

export const RUN_PART = 0;
export const PROGRESS_PART = 1;

const RUN_KEY_BYTES = 14;

function writeU48(out: Buffer, pos: number, value: number): void {
  const high = Math.floor(value / 0x1_0000_0000);
  out[pos] = high >>> 8;
  out[pos + 1] = high;
  out[pos + 2] = value >>> 24;
  out[pos + 3] = value >>> 16;
  out[pos + 4] = value >>> 8;
  out[pos + 5] = value;
}

export function plainKey(prefix: KeyPrefix): Buffer {
  return Buffer.from([prefix]);
}

/** Key of what has one number: a session's record, a block. */
export function numberKey(prefix: KeyPrefix, value: number): Buffer {
  const key = Buffer.allocUnsafe(7);
  key[0] = prefix;
  writeU48(key, 1, value);
  return key;
}

export function runKey(serial: number, lastSeq: number, part: number): Buffer {
  const key = Buffer.allocUnsafe(RUN_KEY_BYTES);
  key[0] = Prefix.RUN;
  writeU48(key, 1, serial);
  writeU48(key, 7, lastSeq);
  key[13] = part;
  return key;
}

export function bodiesKey(serial: number, lastSeq: number): Buffer {
  const key = Buffer.allocUnsafe(13);
  key[0] = Prefix.BODIES;
  writeU48(key, 1, serial);
  writeU48(key, 7, lastSeq);
  return key;
}

export function retainedKey(topic: string): Buffer {
  const key = Buffer.allocUnsafe(1 + Buffer.byteLength(topic, 'utf8'));
  key[0] = Prefix.RETAINED;
  key.write(topic, 1, 'utf8');
  return key;
}

export function quarantineKey(key: Buffer): Buffer {
  return Buffer.concat([plainKey(Prefix.QUARANTINE), key]);
}

/** The first key after all keys that begin with `prefix`. */
export function afterPrefix(prefix: KeyPrefix): Buffer {
  return Buffer.from([prefix + 1]);
}

/** The number in a key of `numberKey`; -1 when the key has another length. */
export function numberOfKey(key: Buffer): number {
  return key.length === 7 ? key.readUIntBE(1, 6) : -1;
}

export function isRunKey(key: Buffer): boolean {
  return key.length === RUN_KEY_BYTES && key[0] === Prefix.RUN;
}

export function serialOfRunKey(key: Buffer): number {
  return key.readUIntBE(1, 6);
}

export function lastSeqOfRunKey(key: Buffer): number {
  return key.readUIntBE(7, 6);
}

export function partOfRunKey(key: Buffer): number {
  return key[13]!;
}
