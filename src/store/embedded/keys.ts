/**
 * Keys of the store. One byte says what the record is; numbers follow as 48 bits big-endian, so that
 * records of one session lie together and in queue order. Keys of runs are text, eight digits of six
 * bits a number, and say what a start has to know of a run: a million of them are read as strings in
 * a third of the time that buffers take, and no value is looked at.
 *
 *   v                    schema version and mark of a complete store
 *   n                    next number not reserved yet (blocks, session serials)
 *   s serial             session record
 *   h serial             highest queue position given, once no run holds it
 *   i serial             packet ids of inbound QoS 2 messages
 *   d serial             session deleted, its runs not yet all removed
 *   q serial lastSeq 0 count.bytes.span
 *                        run: entries of one session written by one commit
 *   q serial lastSeq 1   progress of that run: what of it is settled or released
 *   b serial lastSeq     bodies only that run refers to, when too large to be in it
 *   m block              bodies several runs refer to
 *   c block              how many runs still refer to it, once that is fewer than were written
 *   r topic              retained message, or the tombstone of one
 *   u topic              what is kept of the topic is not confirmed by its record elsewhere
 *   k key                what another room keeps, committed with what it belongs to
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
  MARK: 0x75,
  NOTE: 0x6b,
  QUARANTINE: 0x78,
  PROBE: 0x70,
} as const;

export type KeyPrefix = (typeof Prefix)[keyof typeof Prefix];

const RUN_PART = 0x30;
const PROGRESS_PART = 0x31;
/** Kind, serial, position, part. */
const RUN_KEY_BYTES = 18;
/** Digits in the order of their bytes. */
const DIGITS = '-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz';
/** Above every digit. */
const AFTER_DIGITS = '~';
const DIGIT_OF = digitTable();
const SEPARATOR = 0x2e;

function digitTable(): Uint8Array {
  const table = new Uint8Array(256).fill(0xff);
  for (let i = 0; i < DIGITS.length; i++) table[DIGITS.charCodeAt(i)] = i;
  return table;
}

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

/** What the key of a run says. */
export interface RunBounds {
  readonly firstSeq: number;
  readonly lastSeq: number;
  /** Entries; positions between them may be missing. */
  readonly count: number;
  /** Sum of `Message.bytes` over the entries. */
  readonly bytes: number;
}

export function runKey(serial: number, run: RunBounds): Buffer {
  const { firstSeq, lastSeq, count, bytes } = run;
  const bounds = `${digits(count)}.${digits(bytes)}.${digits(lastSeq - firstSeq)}`;
  return Buffer.from(`${queuePrefix(serial)}${eightDigits(lastSeq)}0${bounds}`, 'latin1');
}

export function progressKey(serial: number, lastSeq: number): Buffer {
  return Buffer.from(`${queuePrefix(serial)}${eightDigits(lastSeq)}1`, 'latin1');
}

/** Keys from the first run on that ends at or after a position, and their end. */
export function runRange(serial: number, fromSeq: number): { gte: Buffer; lt: Buffer } {
  const prefix = queuePrefix(serial);
  return {
    gte: Buffer.from(prefix + eightDigits(fromSeq), 'latin1'),
    lt: Buffer.from(prefix + AFTER_DIGITS, 'latin1'),
  };
}

function queuePrefix(serial: number): string {
  return `q${eightDigits(serial)}`;
}

function eightDigits(value: number): string {
  const high = Math.floor(value / 0x100_0000);
  const low = value % 0x100_0000;
  return fourDigits(high) + fourDigits(low);
}

function fourDigits(value: number): string {
  return (
    DIGITS[value >>> 18]! +
    DIGITS[(value >>> 12) & 63]! +
    DIGITS[(value >>> 6) & 63]! +
    DIGITS[value & 63]!
  );
}

/** As many digits as the value needs. */
function digits(value: number): string {
  let rest = value;
  let text = '';
  do {
    text = DIGITS[rest % 64]! + text;
    rest = Math.floor(rest / 64);
  } while (rest > 0);
  return text;
}

/** One key of a run or its progress after the other, without an object for each. */
export class RunKeyView implements RunBounds {
  isProgress = false;
  serial = 0;
  lastSeq = 0;
  firstSeq = 0;
  count = 0;
  bytes = 0;
  #text = '';
  #pos = 0;

  /** False: it is not such a key. */
  parse(text: string): boolean {
    this.#text = text;
    if (text.length < RUN_KEY_BYTES) return false;
    this.serial = this.#number(1, 9);
    this.lastSeq = this.#number(9, 17);
    const part = text.charCodeAt(17);
    this.isProgress = part === PROGRESS_PART;
    if (this.serial < 0 || this.lastSeq < 0) return false;
    if (this.isProgress) return text.length === RUN_KEY_BYTES;
    this.#pos = RUN_KEY_BYTES;
    this.count = this.#next();
    this.bytes = this.#next();
    const span = this.#next();
    this.firstSeq = this.lastSeq - span;
    return part === RUN_PART && this.count > 0 && this.bytes >= 0 && span >= 0;
  }

  parseBytes(key: Buffer): boolean {
    return this.parse(key.latin1Slice(0, key.length));
  }

  /** The number that ends at the next separator or the end; -1: there is none. */
  #next(): number {
    const text = this.#text;
    const start = this.#pos;
    let end = start;
    while (end < text.length && text.charCodeAt(end) !== SEPARATOR) end++;
    this.#pos = end + 1;
    return start < end ? this.#number(start, end) : -1;
  }

  #number(start: number, end: number): number {
    let value = 0;
    for (let i = start; i < end; i++) {
      const digit = DIGIT_OF[this.#text.charCodeAt(i)]!;
      if (digit === undefined || digit > 63) return -1;
      value = value * 64 + digit;
    }
    return value;
  }
}

export function bodiesKey(serial: number, lastSeq: number): Buffer {
  const key = Buffer.allocUnsafe(13);
  key[0] = Prefix.BODIES;
  writeU48(key, 1, serial);
  writeU48(key, 7, lastSeq);
  return key;
}

export function retainedKey(topic: string): Buffer {
  return topicKey(Prefix.RETAINED, topic);
}

export function markKey(topic: string): Buffer {
  return topicKey(Prefix.MARK, topic);
}

export function noteKey(key: string): Buffer {
  return topicKey(Prefix.NOTE, key);
}

function topicKey(prefix: KeyPrefix, topic: string): Buffer {
  const key = Buffer.allocUnsafe(1 + Buffer.byteLength(topic, 'utf8'));
  key[0] = prefix;
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
