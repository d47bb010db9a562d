/**
 * One message in a session's queue in Redis as bytes (ADR 0013): how it is to be delivered, who named
 * it, the message. Redis never looks inside.
 *
 *   version · flags · subscription ids · shared filter · writer · sequence · time · message · checksum
 *
 * What a client knows from another region has its packet identifier behind the message and a version of its
 * own: an older release leaves it where it is for one that can read it.
 */
import { type QueueEntry, SentEntry, storedEntry } from '../../core/queue-entry.ts';
import { OWN_IDENTITY, type SharedAppend } from '../../core/shared-append.ts';
import { RecordDamage } from '../embedded/damage.ts';
import {
  type MessageMemory,
  messageBytesMax,
  readMessage,
  writeMessage,
} from '../embedded/message-codec.ts';
import { SEAL_BYTES, seal } from '../embedded/seal.ts';
import { type Cursor, VARINT_BYTES_MAX, writeVarint } from '../embedded/varint.ts';
import { openVersioned } from './record-version.ts';

const VERSION = 1;
/** With a packet identifier. */
const SENT_VERSION = 2;

const QOS_BITS = 0x03;
const RETAIN = 0x04;
const HAS_IDS = 0x08;
const HAS_SHARED_FILTER = 0x10;
/** The writer is hex digits (an incarnation, a sid) and stands here as half as many bytes. */
const WRITER_IS_HEX = 0x20;
const HAS_TIME = 0x40;
/** Of `SENT_VERSION`: PUBREC had come. */
const WAS_RELEASED = 0x80;
const KNOWN_BITS = 0x7f;

const PACKET_ID_MAX = 0xffff;

/** Who appended a message and under which number; what happened to it can be traced by that. */
export interface EntryIdentity {
  /** An incarnation, or the sid of a publisher's session. */
  readonly writer: string;
  readonly sequence: number;
}

export interface StoredEntry {
  readonly entry: QueueEntry;
  readonly identity: EntryIdentity;
}

/** `queuedAtMs` 0: nobody asks for the age of the queue. */
export function encodeEntry(append: SharedAppend, incarnation: string, queuedAtMs: number): Buffer {
  const { message, subscriptionIds: ids, sharedFilter, identity, sentAs } = append;
  const writer = identity.publisherSid ?? incarnation;
  const isHex = isHexText(writer);
  const writerBytes = isHex ? writer.length / 2 : Buffer.byteLength(writer);
  const filterBytes = sharedFilter === null ? 0 : Buffer.byteLength(sharedFilter);
  const idCount = ids === null ? 0 : ids.length;
  const out = Buffer.allocUnsafe(
    2 +
      (idCount + (sentAs === null ? 5 : 6)) * VARINT_BYTES_MAX +
      filterBytes +
      writerBytes +
      messageBytesMax(message) +
      SEAL_BYTES,
  );
  out[0] = sentAs === null ? VERSION : SENT_VERSION;
  out[1] =
    append.qos |
    (append.retain ? RETAIN : 0) |
    (ids === null ? 0 : HAS_IDS) |
    (sharedFilter === null ? 0 : HAS_SHARED_FILTER) |
    (isHex ? WRITER_IS_HEX : 0) |
    (queuedAtMs > 0 ? HAS_TIME : 0) |
    (sentAs?.isReleased === true ? WAS_RELEASED : 0);
  let pos = 2;
  if (ids !== null) {
    pos = writeVarint(out, pos, idCount);
    for (let i = 0; i < idCount; i++) pos = writeVarint(out, pos, ids[i]!);
  }
  if (sharedFilter !== null) {
    pos = writeVarint(out, pos, filterBytes);
    pos += out.write(sharedFilter, pos, 'utf8');
  }
  pos = writeVarint(out, pos, writerBytes);
  pos += out.write(writer, pos, isHex ? 'hex' : 'utf8');
  pos = writeVarint(out, pos, identity === OWN_IDENTITY ? message.sequence : sequenceOf(append));
  if (queuedAtMs > 0) pos = writeVarint(out, pos, queuedAtMs);
  pos = writeMessage(out, pos, message, 0);
  if (sentAs !== null) pos = writeVarint(out, pos, sentAs.packetId);
  return out.subarray(0, seal(out, 0, pos));
}

function sequenceOf({ identity, message }: SharedAppend): number {
  return identity.publisherSid === null ? message.sequence : identity.publisherSeq;
}

/** Throws RecordDamage, or NewerRecord. The entry keeps nothing of `value` alive. */
export function decodeEntry(value: Buffer, seq: number, memory: MessageMemory): StoredEntry {
  const cursor = openVersioned(value, SENT_VERSION, VERSION);
  const isSent = value[0] === SENT_VERSION;
  const flags = cursor.u8();
  const qos = flags & QOS_BITS;
  const isReleased = (flags & ~KNOWN_BITS) !== 0;
  if ((qos !== 1 && qos !== 2) || (isReleased && (!isSent || qos !== 2))) {
    throw new RecordDamage('entry flags are unknown');
  }
  const ids = (flags & HAS_IDS) === 0 ? null : readIds(cursor);
  const sharedFilter = (flags & HAS_SHARED_FILTER) === 0 ? null : cursor.string();
  const writerBytes = cursor.bytes(cursor.varint());
  const writer = writerBytes.toString((flags & WRITER_IS_HEX) === 0 ? 'utf8' : 'hex');
  const sequence = cursor.varint();
  const queuedAtMs = (flags & HAS_TIME) === 0 ? 0 : cursor.varint();
  const message = readMessage(cursor, 0, memory);
  const packetId = isSent ? cursor.varint() : 0;
  cursor.expectEnd();
  if (isSent && (packetId < 1 || packetId > PACKET_ID_MAX)) {
    throw new RecordDamage('no packet identifier is like that');
  }
  const retain = (flags & RETAIN) !== 0;
  const entry: QueueEntry = isSent
    ? new SentEntry(seq, message, qos, retain, ids, { packetId, isReleased })
    : storedEntry(seq, message, qos, retain, ids, queuedAtMs);
  entry.sharedFilter = sharedFilter;
  return { entry, identity: { writer, sequence } };
}

function readIds(cursor: Cursor): number[] {
  const count = cursor.varint();
  if (count > cursor.end - cursor.pos) throw new RecordDamage('more subscription ids than bytes');
  const ids: number[] = [];
  for (let i = 0; i < count; i++) ids.push(cursor.varint());
  return ids;
}

function isHexText(text: string): boolean {
  if (text.length === 0 || text.length % 2 !== 0) return false;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    const isDigit = unit >= 0x30 && unit <= 0x39;
    if (!isDigit && (unit < 0x61 || unit > 0x66)) return false;
  }
  return true;
}
