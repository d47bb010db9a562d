/**
 * One message as bytes, as it stands in blocks, runs, retained and will records. The body is copied
 * as a whole: topic field and payload already lie next to one another.
 */
import { Message } from '../../core/message.ts';
import { copyRange, EMPTY_BUFFER, readU16 } from '../../util/bytes.ts';
import { RecordDamage } from './damage.ts';
import { type Cursor, VARINT_BYTES_MAX, writeVarint } from './varint.ts';

const QOS_BITS = 0x03;
const RETAIN = 0x04;
const EXPIRES = 0x08;
const HAS_PROPERTIES = 0x10;
/** The sequence is given as distance from the message before, not absolutely. */
const SEQUENCE_FOLLOWS = 0x20;
const KNOWN_BITS = 0x3f;

/** One message that is kept keeps at most this much of others alive. */
const SLAB_BYTES = 8 * 1024;
const HEADER_BYTES_MAX = 1 + 4 * VARINT_BYTES_MAX;

/** Room `writeMessage` may need. */
export function messageBytesMax(message: Message): number {
  return HEADER_BYTES_MAX + message.bytes;
}

/** `previousSequence`: of the message written before this one in the same record, or 0. */
export function writeMessage(
  out: Buffer,
  start: number,
  message: Message,
  previousSequence: number,
): number {
  const { propertyBytes, expiresAtMs, sequence, slab, bodyStart, bodyEnd } = message;
  const follows = sequence >= previousSequence;
  let pos = start;
  out[pos++] =
    message.qos |
    (message.retain ? RETAIN : 0) |
    (expiresAtMs > 0 ? EXPIRES : 0) |
    (propertyBytes > 0 ? HAS_PROPERTIES : 0) |
    (follows ? SEQUENCE_FOLLOWS : 0);
  pos = writeVarint(out, pos, follows ? sequence - previousSequence : sequence);
  if (expiresAtMs > 0) pos = writeVarint(out, pos, expiresAtMs);
  pos = writeVarint(out, pos, bodyEnd - bodyStart);
  if (propertyBytes > 0) pos = writeVarint(out, pos, propertyBytes);
  // Properties mostly lie behind the body.
  const { propertyEnd } = message;
  pos = copyRange(out, pos, slab, bodyStart, propertyEnd);
  if (propertyBytes > propertyEnd - bodyEnd) {
    pos = copyRange(out, pos, message.propertyBuffer, 0, propertyBytes);
  }
  return pos;
}

interface Header {
  readonly flags: number;
  readonly sequence: number;
  readonly expiresAtMs: number;
  readonly bodyBytes: number;
  readonly propertyBytes: number;
}

function readHeader(cursor: Cursor, previousSequence: number): Header {
  const flags = cursor.u8();
  if ((flags & QOS_BITS) === 3 || (flags & ~KNOWN_BITS) !== 0) {
    throw new RecordDamage('message flags are unknown');
  }
  const distance = cursor.varint();
  const sequence = (flags & SEQUENCE_FOLLOWS) !== 0 ? previousSequence + distance : distance;
  const expiresAtMs = (flags & EXPIRES) !== 0 ? cursor.varint() : 0;
  const bodyBytes = cursor.varint();
  const propertyBytes = (flags & HAS_PROPERTIES) !== 0 ? cursor.varint() : 0;
  return { flags, sequence, expiresAtMs, bodyBytes, propertyBytes };
}

/** Where the payload begins; throws when the topic does not fit the body. */
function payloadStartOf(body: Buffer, bodyBytes: number): number {
  const payloadStart = bodyBytes < 2 ? bodyBytes + 1 : 2 + readU16(body, 0);
  if (payloadStart > bodyBytes) throw new RecordDamage('topic is longer than the message');
  return payloadStart;
}

/** Walks over a message and returns its sequence. */
export function skipMessage(cursor: Cursor, previousSequence: number): number {
  const { sequence, bodyBytes, propertyBytes } = readHeader(cursor, previousSequence);
  payloadStartOf(cursor.bytes(bodyBytes), bodyBytes);
  cursor.bytes(propertyBytes);
  return sequence;
}

/**
 * Memory for messages that are read back: small ones share pieces of it, so that a message in a
 * subscriber's window keeps neither its record alive nor a buffer object of its own.
 */
export class MessageMemory {
  #slab: Buffer = EMPTY_BUFFER;
  #fill = 0;
  /** Where the last `take` begins in what it returned. */
  start = 0;

  take(byteCount: number): Buffer {
    if (byteCount > SLAB_BYTES / 4) {
      this.start = 0;
      return Buffer.allocUnsafeSlow(byteCount);
    }
    if (this.#fill + byteCount > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#fill = 0;
    }
    this.start = this.#fill;
    this.#fill += byteCount;
    return this.#slab;
  }
}

/** The message keeps nothing of the record alive. */
export function readMessage(
  cursor: Cursor,
  previousSequence: number,
  memory: MessageMemory,
): Message {
  const { flags, sequence, expiresAtMs, bodyBytes, propertyBytes } = readHeader(
    cursor,
    previousSequence,
  );
  const record = cursor.bytes(bodyBytes + propertyBytes);
  const payloadStart = payloadStartOf(record, bodyBytes);
  const slab = memory.take(record.length);
  const { start } = memory;
  const end = copyRange(slab, start, record, 0, record.length);
  return new Message(
    sequence,
    record.utf8Slice(2, payloadStart),
    slab,
    start,
    start + payloadStart,
    start + bodyBytes,
    EMPTY_BUFFER,
    (flags & QOS_BITS) as 0 | 1 | 2,
    (flags & RETAIN) !== 0,
    expiresAtMs,
    end,
  );
}
