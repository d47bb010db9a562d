/**
 * Records of sessions that end and of retained messages, as a commit writes them. Runs and bodies are
 * `commit-writer.ts`.
 */
import type { Message } from '../../core/message.ts';
import { numberKey, Prefix, retainedKey } from './keys.ts';
import { messageBytesMax, writeMessage } from './message-codec.ts';
import type { Database } from './run-reader.ts';
import { SEAL_BYTES, seal } from './seal.ts';
import { encodeNumbers } from './session-codec.ts';
import type { StoredSession } from './stored-session.ts';

type Batch = ReturnType<Database['batch']>;

/** The session is gone at once; its runs are swept behind commits. */
export function writeDoom(batch: Batch, session: StoredSession): void {
  batch.put(numberKey(Prefix.DOOMED, session.serial), encodeNumbers([], 0));
  batch.del(numberKey(Prefix.SESSION, session.serial));
  batch.del(numberKey(Prefix.INBOUND, session.serial));
  batch.del(numberKey(Prefix.TAIL, session.serial));
}

/** Null: there is none any more. */
export function writeRetained(batch: Batch, topic: string, message: Message | null): void {
  const key = retainedKey(topic);
  if (message === null) {
    batch.del(key);
    return;
  }
  const out = Buffer.allocUnsafe(messageBytesMax(message) + SEAL_BYTES);
  const end = seal(out, 0, writeMessage(out, 0, message, 0));
  batch.put(key, out.subarray(0, end));
}
