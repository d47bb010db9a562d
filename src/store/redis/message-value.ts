/**
 * A single message as a value in Redis: the will of a session, or an inbound QoS 2 message whose fan-out
 * is not known to be done (ADR 0013). A will's `expiresAtMs` is an interval, as in `WillRecord`.
 */
import type { Message } from '../../core/message.ts';
import type { GroupChoices } from '../../core/shared-append.ts';
import {
  MessageMemory,
  messageBytesMax,
  readMessage,
  writeMessage,
} from '../embedded/message-codec.ts';
import { SEAL_BYTES, seal } from '../embedded/seal.ts';
import { VARINT_BYTES_MAX, writeVarint } from '../embedded/varint.ts';
import { openVersioned } from './record-version.ts';

const VERSION = 1;
/** A pending message with the version it was retained under behind it; without one it is as before. */
const RETAINED_VERSION = 2;

export function encodeMessage(message: Message): Buffer {
  const out = Buffer.allocUnsafeSlow(1 + messageBytesMax(message) + SEAL_BYTES);
  out[0] = VERSION;
  return out.subarray(0, seal(out, 0, writeMessage(out, 1, message, 0)));
}

/** An inbound QoS 2 message, and behind it the members of shared subscriptions it was given to. */
export function encodePending(message: Message, choices: GroupChoices): Buffer {
  const texts: Buffer[] = [];
  for (const [filter, clientId] of choices) texts.push(Buffer.from(filter), Buffer.from(clientId));
  let bytesMax = 1 + messageBytesMax(message) + 3 * VARINT_BYTES_MAX + SEAL_BYTES;
  for (const text of texts) bytesMax += VARINT_BYTES_MAX + text.length;
  const out = Buffer.allocUnsafeSlow(bytesMax);
  const { version } = message;
  out[0] = version === null ? VERSION : RETAINED_VERSION;
  let pos = writeVarint(out, writeMessage(out, 1, message, 0), choices.size);
  for (const text of texts) {
    pos = writeVarint(out, pos, text.length);
    pos += text.copy(out, pos);
  }
  if (version !== null) {
    pos = writeVarint(out, pos, version.timeUs);
    pos = writeVarint(out, pos, version.writer);
  }
  return out.subarray(0, seal(out, 0, pos));
}

/** Throws RecordDamage, or NewerRecord. */
export function decodePending(value: Buffer): { message: Message; choices: GroupChoices } {
  const cursor = openVersioned(value, RETAINED_VERSION, VERSION);
  const message = readMessage(cursor, 0, new MessageMemory());
  const choices = new Map<string, string>();
  const text = (): string => cursor.bytes(cursor.varint()).toString('utf8');
  for (let left = cursor.varint(); left > 0; left--) choices.set(text(), text());
  if (!cursor.atEnd) message.version = { timeUs: cursor.varint(), writer: cursor.varint() };
  cursor.expectEnd();
  return { message, choices };
}

/** Throws RecordDamage, or NewerRecord. */
export function decodeMessage(value: Buffer): Message {
  const cursor = openVersioned(value, VERSION);
  const message = readMessage(cursor, 0, new MessageMemory());
  cursor.expectEnd();
  return message;
}
