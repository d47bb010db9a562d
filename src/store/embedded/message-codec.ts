/**
 * One message as bytes, as it stands in blocks, runs, retained and will records. The body is copied
 * as a whole: topic field and payload already lie in one buffer.
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

/** Body and properties of the message are views of the cursor's buffer. */
export function readMessage(cursor: Cursor, previousSequence: number): Message {
  const flags = cursor.u8();
  const qos = flags & QOS_BITS;
  if (qos === 3 || (flags & ~KNOWN_BITS) !== 0) throw new RecordDamage('message flags are unknown');
  const distance = cursor.varint();
  const sequence = (flags & SEQUENCE_FOLLOWS) !== 0 ? previousSequence + distance : distance;
  const expiresAtMs = (flags & EXPIRES) !== 0 ? cursor.varint() : 0;
  const bodyBytes = cursor.varint();
  const propertyBytes = (flags & HAS_PROPERTIES) !== 0 ? cursor.varint() : 0;
  const body = cursor.bytes(bodyBytes);
  const properties = propertyBytes > 0 ? cursor.bytes(propertyBytes) : EMPTY_BUFFER;
  const payloadStart = bodyBytes < 2 ? bodyBytes + 1 : 2 + readU16(body, 0);
  if (payloadStart > bodyBytes) throw new RecordDamage('topic is longer than the message');
  return new Message(
    sequence,
    body.utf8Slice(2, payloadStart),
    body,
    0,
    payloadStart,
    bodyBytes,
    properties,
    qos as 0 | 1 | 2,
    (flags & RETAIN) !== 0,
    expiresAtMs,
  );
}
