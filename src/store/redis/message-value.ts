/**
 * A single message as a value in Redis: the will of a session, or an inbound QoS 2 message whose fan-out
 * is not known to be done (ADR 0013). A will's `expiresAtMs` is an interval, as in `WillRecord`.
 */
import type { Message } from '../../core/message.ts';
import {
  MessageMemory,
  messageBytesMax,
  readMessage,
  writeMessage,
} from '../embedded/message-codec.ts';
import { SEAL_BYTES, seal } from '../embedded/seal.ts';
import { openVersioned } from './record-version.ts';

const VERSION = 1;

export function encodeMessage(message: Message): Buffer {
  const out = Buffer.allocUnsafeSlow(1 + messageBytesMax(message) + SEAL_BYTES);
  out[0] = VERSION;
  return out.subarray(0, seal(out, 0, writeMessage(out, 1, message, 0)));
}

/** Throws RecordDamage, or NewerRecord. */
export function decodeMessage(value: Buffer): Message {
  const cursor = openVersioned(value, VERSION);
  const message = readMessage(cursor, 0, new MessageMemory());
  cursor.expectEnd();
  return message;
}
