/**
 * The blob of one topic in Cassandra (docs/adr/0021). The topic is its key, the microseconds of its
 * version are the cell's timestamp; the writer stands in front of everything that differs, as Cassandra
 * takes the larger bytes when two writers meet in one microsecond.
 *
 *   0      format, 1
 *   1..4   writer, high byte first
 *   5      QoS (2 bits), RETAIN as published, cleared, has expiry, has properties, has a source
 *   then   expiry (wall-clock ms), lengths of properties and source, both, and the payload to the end
 */
import { Message } from '../../core/message.ts';
import type { Principal } from '../../core/principal.ts';
import { CLEARED, type RetainedVersion } from '../../core/retained-version.ts';
import { EMPTY_BUFFER } from '../../util/bytes.ts';
import { RecordDamage } from '../embedded/damage.ts';
import { MessageMemory } from '../embedded/message-codec.ts';
import { Cursor, VARINT_BYTES_MAX, writeVarint } from '../embedded/varint.ts';

const FORMAT = 1;
const HEADER_BYTES = 6;
const QOS_BITS = 0x03;
const WAS_RETAIN = 0x04;
const IS_CLEAR = 0x08;
const HAS_EXPIRY = 0x10;
const HAS_PROPERTIES = 0x20;
const HAS_SOURCE = 0x40;
const KNOWN_BITS = 0x7f;
const SOURCES_MAX = 256;

/** What was kept of a topic: a message, or that it was cleared. */
export interface RetainedRecord {
  readonly message: Message | null;
  readonly version: RetainedVersion;
}

/** `message` null: cleared. */
export function encodeRecord(message: Message | null, { writer }: RetainedVersion): Buffer {
  if (message === null) return header(Buffer.alloc(HEADER_BYTES), writer, IS_CLEAR);
  const { payload, properties, expiresAtMs, source, qos } = message;
  const from = source === null ? EMPTY_BUFFER : sourceBytes(source);
  const bytesMax =
    HEADER_BYTES + 3 * VARINT_BYTES_MAX + properties.length + from.length + payload.length;
  const out = Buffer.allocUnsafe(bytesMax);
  const flags =
    qos |
    (message.retain ? WAS_RETAIN : 0) |
    (expiresAtMs > 0 ? HAS_EXPIRY : 0) |
    (properties.length > 0 ? HAS_PROPERTIES : 0) |
    (from.length > 0 ? HAS_SOURCE : 0);
  header(out, writer, flags);
  let pos = HEADER_BYTES;
  if (expiresAtMs > 0) pos = writeVarint(out, pos, Math.floor(expiresAtMs));
  if (properties.length > 0) pos = writeVarint(out, pos, properties.length);
  if (from.length > 0) pos = writeVarint(out, pos, from.length);
  for (const part of [properties, from, payload]) {
    out.set(part, pos);
    pos += part.length;
  }
  return out.subarray(0, pos);
}

function header(out: Buffer, writer: number, flags: number): Buffer {
  out[0] = FORMAT;
  out.writeUInt32BE(writer % CLEARED, 1);
  out[5] = flags;
  return out;
}

function sourceBytes({ clientId, identity, tenant }: Principal): Buffer {
  return Buffer.from(JSON.stringify([clientId, identity, tenant]));
}

/**
 * What messages that are read one after the other share: one object for each publisher, and pieces of
 * memory, where a buffer of its own for each would cost more than the bytes.
 */
export class RecordMemory {
  readonly bodies: MessageMemory = new MessageMemory();
  readonly #known: Map<string, Principal> = new Map();

  get sources(): number {
    return this.#known.size;
  }

  /** Throws RecordDamage. */
  sourceOf(bytes: Buffer): Principal {
    const text = bytes.toString('utf8');
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    const source = parseSource(text);
    // Of too many publishers to remember, sharing brings little.
    if (this.#known.size >= SOURCES_MAX) this.#known.clear();
    this.#known.set(text, source);
    return source;
  }
}

/** `timeUs`: the cell's timestamp. Throws RecordDamage. */
export function decodeRecord(
  topic: string,
  record: Buffer,
  timeUs: number,
  memory: RecordMemory = new RecordMemory(),
): RetainedRecord {
  const cursor = new Cursor(record, 0, record.length);
  const format = cursor.u8();
  if (format !== FORMAT) throw new RecordDamage(`format ${format} of a retained record is unknown`);
  const writer = cursor.bytes(4).readUInt32BE(0);
  const flags = cursor.u8();
  if ((flags & ~KNOWN_BITS) !== 0 || (flags & QOS_BITS) === 3) {
    throw new RecordDamage('a retained record has unknown flags');
  }
  if ((flags & IS_CLEAR) !== 0)
    return { message: null, version: { timeUs, writer: writer + CLEARED } };
  const expiresAtMs = (flags & HAS_EXPIRY) === 0 ? 0 : cursor.varint();
  const propertyBytes = (flags & HAS_PROPERTIES) === 0 ? 0 : cursor.varint();
  const fromBytes = (flags & HAS_SOURCE) === 0 ? 0 : cursor.varint();
  // A copy: the bytes are part of a page that nobody else needs.
  const properties = propertyBytes === 0 ? EMPTY_BUFFER : Buffer.from(cursor.bytes(propertyBytes));
  const source = fromBytes === 0 ? null : memory.sourceOf(cursor.bytes(fromBytes));
  if (cursor.atEnd) throw new RecordDamage('a retained record has neither payload nor clear');
  const payload = cursor.bytes(cursor.end - cursor.pos);
  const payloadAt = 2 + Buffer.byteLength(topic, 'utf8');
  const slab = memory.bodies.take(payloadAt + payload.length);
  const { start } = memory.bodies;
  slab.writeUInt16BE(payloadAt - 2, start);
  slab.write(topic, start + 2, 'utf8');
  slab.set(payload, start + payloadAt);
  const message = new Message(
    0,
    topic,
    slab,
    start,
    start + payloadAt,
    start + payloadAt + payload.length,
    properties,
    (flags & QOS_BITS) as 0 | 1 | 2,
    (flags & WAS_RETAIN) !== 0,
    expiresAtMs,
  );
  message.source = source;
  message.version = { timeUs, writer };
  return { message, version: message.version };
}

function parseSource(text: string): Principal {
  try {
    const parsed = JSON.parse(text) as unknown;
    if (Array.isArray(parsed)) {
      const [clientId, identity, tenant] = parsed as unknown[];
      const isKnown = identity === null || typeof identity === 'string';
      if (typeof clientId === 'string' && isKnown && typeof tenant === 'string') {
        return { clientId, identity, tenant };
      }
    }
  } catch {
    // Said below.
  }
  throw new RecordDamage('source of a retained record is none');
}
