/**
 * Records of sessions that end and of retained messages, as a commit writes them. Runs and bodies are
 * `commit-writer.ts`.
 */
import { Message } from '../../core/message.ts';
import type { Principal } from '../../core/principal.ts';
import type { RetainedVersion } from '../../core/retained-version.ts';
import { EMPTY_BUFFER } from '../../util/bytes.ts';
import { RecordDamage } from './damage.ts';
import type { Batch } from './database.ts';
import { numberKey, Prefix, retainedKey } from './keys.ts';
import { type MessageMemory, messageBytesMax, readMessage, writeMessage } from './message-codec.ts';
import { checkSeal, openSealed, SEAL_BYTES, seal } from './seal.ts';
import { encodeNumbers } from './session-codec.ts';
import type { StoredSession } from './stored-session.ts';
import { type Cursor, VARINT_BYTES_MAX, writeVarint } from './varint.ts';

/** The session is gone at once; its runs are swept behind commits. */
export function writeDoom(batch: Batch, session: StoredSession): void {
  batch.put(numberKey(Prefix.DOOMED, session.serial), encodeNumbers([], 0));
  batch.del(numberKey(Prefix.SESSION, session.serial));
  batch.del(numberKey(Prefix.INBOUND, session.serial));
  batch.del(numberKey(Prefix.TAIL, session.serial));
}

/** What is kept of a topic: the message, the version of its tombstone, or nothing. */
export type RetainedState = Message | RetainedVersion | null;

const SOURCES_MAX = 256;

/** A tombstone and not a message, whose first byte has no such bit. */
const TOMBSTONE = 0x40;

/** The message, behind it who published it and its version; or a tombstone. */
export function writeRetained(batch: Batch, topic: string, message: RetainedState): void {
  const key = retainedKey(topic);
  if (message === null) {
    batch.del(key);
    return;
  }
  if (!(message instanceof Message)) {
    batch.put(key, tombstoneRecord(message));
    return;
  }
  const source = sourceBytes(message.source);
  const { version } = message;
  const bytesMax = messageBytesMax(message) + 3 * VARINT_BYTES_MAX + source.length + SEAL_BYTES;
  const out = Buffer.allocUnsafe(bytesMax);
  let pos = writeMessage(out, 0, message, 0);
  if (source.length > 0 || version !== null) {
    pos = writeVarint(out, pos, source.length);
    pos += source.copy(out, pos);
  }
  if (version !== null) {
    pos = writeVarint(out, pos, version.timeUs);
    pos = writeVarint(out, pos, version.writer);
  }
  batch.put(key, out.subarray(0, seal(out, 0, pos)));
}

function tombstoneRecord({ timeUs, writer }: RetainedVersion): Buffer {
  const out = Buffer.allocUnsafe(1 + 2 * VARINT_BYTES_MAX + SEAL_BYTES);
  out[0] = TOMBSTONE;
  const pos = writeVarint(out, writeVarint(out, 1, timeUs), writer);
  return out.subarray(0, seal(out, 0, pos));
}

type StoredSource = readonly [clientId: string, identity: string | null, tenant: string];

/** Of the last source written: whoever retains one message often retains many. */
let lastSource: { readonly source: Principal; readonly bytes: Buffer } | null = null;

function sourceBytes(source: Principal | null): Buffer {
  if (source === null) return EMPTY_BUFFER;
  if (lastSource?.source !== source) {
    const stored: StoredSource = [source.clientId, source.identity, source.tenant];
    lastSource = { source, bytes: Buffer.from(JSON.stringify(stored)) };
  }
  return lastSource.bytes;
}

/** `sources`: by their bytes, so that the messages of one client share one object. */
export function readRetained(
  value: Buffer,
  memory: MessageMemory,
  sources: Map<string, Principal>,
): Message | RetainedVersion {
  const cursor = openSealed(value);
  if (value[cursor.pos] === TOMBSTONE) return readTombstone(cursor);
  const message = readMessage(cursor, 0, memory);
  // Records of the first release end here.
  if (!cursor.atEnd) {
    message.source = readSource(cursor.bytes(cursor.varint()).toString('utf8'), sources);
  }
  // Those of a node alone end here.
  if (!cursor.atEnd) message.version = { timeUs: cursor.varint(), writer: cursor.varint() };
  cursor.expectEnd();
  return message;
}

function readTombstone(cursor: Cursor): RetainedVersion {
  cursor.u8();
  const version = { timeUs: cursor.varint(), writer: cursor.varint() };
  cursor.expectEnd();
  return version;
}

function readSource(text: string, sources: Map<string, Principal>): Principal | null {
  if (text === '') return null;
  let source = sources.get(text);
  if (source === undefined) {
    source = parseSource(text);
    // Of a million publishers with one message each, remembering brings little and takes much.
    if (sources.size >= SOURCES_MAX) sources.clear();
    sources.set(text, source);
  }
  return source;
}

function parseSource(text: string): Principal {
  try {
    const [clientId, identity, tenant] = JSON.parse(text) as StoredSource;
    return { clientId, identity, tenant };
  } catch {
    throw new RecordDamage('source of a retained message is no JSON');
  }
}

/** What another room keeps, as it is stored. */
export function sealedNote(value: Buffer): Buffer {
  const out = Buffer.allocUnsafe(value.length + SEAL_BYTES);
  value.copy(out);
  seal(out, 0, value.length);
  return out;
}

/** Throws RecordDamage. */
export function openedNote(record: Buffer): Buffer {
  return record.subarray(0, checkSeal(record));
}
