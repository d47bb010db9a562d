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

/** Of the message that is being read: thousands are read in one go. */
const header = { flags: 0, sequence: 0, expiresAtMs: 0, bodyBytes: 0, propertyBytes: 0 };

function readHeader(cursor: Cursor, previousSequence: number): void {
  const flags = cursor.u8();
  if ((flags & QOS_BITS) === 3 || (flags & ~KNOWN_BITS) !== 0) {
    throw new RecordDamage('message flags are unknown');
  }
  const distance = cursor.varint();
  header.flags = flags;
  header.sequence = (flags & SEQUENCE_FOLLOWS) !== 0 ? previousSequence + distance : distance;
  header.expiresAtMs = (flags & EXPIRES) !== 0 ? cursor.varint() : 0;
  header.bodyBytes = cursor.varint();
  header.propertyBytes = (flags & HAS_PROPERTIES) !== 0 ? cursor.varint() : 0;
}

/** Where the payload begins in a body; throws when the topic does not fit the body. */
function payloadStartOf(buffer: Buffer, bodyStart: number, bodyBytes: number): number {
  const payloadStart = bodyBytes < 2 ? bodyBytes + 1 : 2 + readU16(buffer, bodyStart);
  if (payloadStart > bodyBytes) throw new RecordDamage('topic is longer than the message');
  return payloadStart;
}

/** Walks over a message and returns its sequence. */
export function skipMessage(cursor: Cursor, previousSequence: number): number {
  readHeader(cursor, previousSequence);
  const { sequence, bodyBytes, propertyBytes } = header;
  payloadStartOf(cursor.buffer, cursor.skip(bodyBytes), bodyBytes);
  cursor.skip(propertyBytes);
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
  /** Of the last message; those of one publisher follow each other. Its bytes lie in the slab of then. */
  #topic = '';
  #topicSlab: Buffer = EMPTY_BUFFER;
  #topicStart = 0;
  #topicEnd = 0;

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

  /** What is taken last has this topic, which begins there. */
  tookTopic(topic: string, slab: Buffer, start: number, end: number): void {
    // A large message has a slab of its own, which this must not keep alive.
    if (slab !== this.#slab) return;
    this.#topic = topic;
    this.#topicSlab = slab;
    this.#topicStart = start;
    this.#topicEnd = end;
  }

  /** The text of these bytes; the same string as before, if they are the same. */
  topicIn(record: Buffer, start: number, end: number): string {
    const bytes = this.#topicEnd - this.#topicStart;
    if (bytes !== end - start) return record.utf8Slice(start, end);
    const known = this.#topicSlab;
    for (let i = 0; i < bytes; i++) {
      if (known[this.#topicStart + i] !== record[start + i]) return record.utf8Slice(start, end);
    }
    return this.#topic;
  }
}

/** The message keeps nothing of the record alive. */
export function readMessage(
  cursor: Cursor,
  previousSequence: number,
  memory: MessageMemory,
): Message {
  readHeader(cursor, previousSequence);
  const { flags, sequence, expiresAtMs, bodyBytes, propertyBytes } = header;
  const bytes = bodyBytes + propertyBytes;
  const record = cursor.buffer;
  const at = cursor.skip(bytes);
  const payloadStart = payloadStartOf(record, at, bodyBytes);
  const topic = memory.topicIn(record, at + 2, at + payloadStart);
  const slab = memory.take(bytes);
  const { start } = memory;
  const end = copyRange(slab, start, record, at, at + bytes);
  memory.tookTopic(topic, slab, start + 2, start + payloadStart);
  return new Message(
    sequence,
    topic,
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
