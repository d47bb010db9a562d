/**
 * One message as bytes, as it stands in blocks, runs, retained and will records. The body is copied
 * as a whole: topic field and payload already lie next to one another.
 */
import { Message } from '../../core/message.ts';
import { EMPTY_BUFFER, readU16 } from '../../util/bytes.ts';
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
  const { properties, expiresAtMs, sequence } = message;
  const bodyBytes = message.bodyEnd - message.bodyStart;
  const follows = sequence >= previousSequence;
  let pos = start;
  out[pos++] =
    message.qos |
    (message.retain ? RETAIN : 0) |
    (expiresAtMs > 0 ? EXPIRES : 0) |
    (properties.length > 0 ? HAS_PROPERTIES : 0) |
    (follows ? SEQUENCE_FOLLOWS : 0);
  pos = writeVarint(out, pos, follows ? sequence - previousSequence : sequence);
  if (expiresAtMs > 0) pos = writeVarint(out, pos, expiresAtMs);
  pos = writeVarint(out, pos, bodyBytes);
  if (properties.length > 0) pos = writeVarint(out, pos, properties.length);
  pos += message.slab.copy(out, pos, message.bodyStart, message.bodyEnd);
  if (properties.length > 0) {
    out.set(properties, pos);
    pos += properties.length;
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
function payloadStartOf(body: Buffer): number {
  const payloadStart = body.length < 2 ? body.length + 1 : 2 + readU16(body, 0);
  if (payloadStart > body.length) throw new RecordDamage('topic is longer than the message');
  return payloadStart;
}

/** Walks over a message and returns its sequence. */
export function skipMessage(cursor: Cursor, previousSequence: number): number {
  const { sequence, bodyBytes, propertyBytes } = readHeader(cursor, previousSequence);
  payloadStartOf(cursor.bytes(bodyBytes));
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
  const body = cursor.bytes(bodyBytes);
  const properties = propertyBytes > 0 ? Buffer.from(cursor.bytes(propertyBytes)) : EMPTY_BUFFER;
  const payloadStart = payloadStartOf(body);
  const slab = memory.take(bodyBytes);
  const { start } = memory;
  body.copy(slab, start);
  return new Message(
    sequence,
    body.utf8Slice(2, payloadStart),
    slab,
    start,
    start + payloadStart,
    start + bodyBytes,
    properties,
    (flags & QOS_BITS) as 0 | 1 | 2,
    (flags & RETAIN) !== 0,
    expiresAtMs,
  );
}
