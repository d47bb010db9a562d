/**
 * Frames with messages: PUBLISH, GROUP_PUBLISH, RETAINED, RETAINED_PAGE. A publication is encoded once,
 * from the read buffer it is in, into the frame that all peers share; the other side copies it once, into
 * memory its receivers may keep. A message on a link is flags, sequence, remaining expiry in ms, and then
 * what MQTT 5 puts behind the fixed header of a QoS 0 PUBLISH: so the decoder of MQTT checks it.
 */
import type { RetainedVersion } from '../../core/cluster-ports.ts';
import { LinkProperties, markBytes } from '../../core/link-properties.ts';
import { Message } from '../../core/message.ts';
import type { Principal } from '../../core/principal.ts';
import type { Publication } from '../../core/publication.ts';
import type { RegionMark } from '../../core/region-mark.ts';
import { CLEARED } from '../../core/retained-version.ts';
import { copyBytes, writeU32 } from '../../util/bytes.ts';
import { ProtocolError } from '../../wire/protocol-error.ts';
import { decodePublish, PublishView, topicText } from '../../wire/publish.ts';
import { isValidTopicName } from '../../wire/topic.ts';
import { varintSize, writeVarint } from '../../wire/varint.ts';
import { FrameType } from '../ports.ts';
import { FrameReader } from './frame-reader.ts';
import { FRAME_HEADER_BYTES, FrameWriter, writeHeader, writeU53 } from './frame-writer.ts';
import { LinkDamage } from './link-damage.ts';

/** A retained message, or that there is none any more. */
export interface RetainedChange {
  readonly topic: string;
  readonly version: RetainedVersion;
  /** Null: cleared. Has `version` and `source` when decoded. */
  readonly message: Message | null;
}

export interface RetainedPage {
  readonly changes: readonly RetainedChange[];
  /** What to ask for next; null: this was the last page. */
  readonly cursor: string | null;
}

const QOS_BITS = 3;
const RETAIN = 4;
const HAS_EXPIRY = 8;
/** Its properties begin with what links between regions tell of it. */
const IS_MARKED = 16;
const KNOWN_FLAGS = QOS_BITS | RETAIN | HAS_EXPIRY | IS_MARKED;
/** Its publisher's node has counted them. */
const USER_PROPERTIES_MAX = Number.MAX_SAFE_INTEGER;
/** First byte of a QoS 0 PUBLISH. */
const PUBLISH_QOS_0 = 0x30;

/** A message in a queue keeps at most this much memory of others alive. */
const SLAB_BYTES = 16 * 1024;

const viewOfMessage = new PublishView();
const decoded = new PublishView();
const linkProperties = new LinkProperties();
let slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
let slabFill = 0;

// ---------------------------------------------------------------------------------- encoding

/** `wallMs`: now. */
export function encodePublish(publication: Publication, wallMs: number): Buffer {
  const { view, expiresAtMs } = publication;
  const mark = markBytes(publication.mark);
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + messageBytes(view, expiresAtMs, mark));
  writeMessage(frame, FRAME_HEADER_BYTES, view, publication.sequence, expiresAtMs, wallMs, mark);
  return writeHeader(frame, FrameType.PUBLISH);
}

export function encodeGroupPublish(
  publication: Publication,
  group: string,
  filter: string,
  wallMs: number,
): Buffer {
  const { view, expiresAtMs } = publication;
  const groupBytes = Buffer.byteLength(group, 'utf8');
  const filterBytes = Buffer.byteLength(filter, 'utf8');
  const bytes = FRAME_HEADER_BYTES + 8 + groupBytes + filterBytes;
  const frame = Buffer.allocUnsafe(bytes + messageBytes(view, expiresAtMs));
  let pos = writeU32(frame, FRAME_HEADER_BYTES, groupBytes);
  pos += frame.write(group, pos, 'utf8');
  pos = writeU32(frame, pos, filterBytes);
  pos += frame.write(filter, pos, 'utf8');
  writeMessage(frame, pos, view, publication.sequence, expiresAtMs, wallMs);
  return writeHeader(frame, FrameType.GROUP_PUBLISH);
}

export function encodeRetained(change: RetainedChange, wallMs: number): Buffer {
  const writer = new FrameWriter();
  writeRetained(writer, change, wallMs);
  return writer.finish(FrameType.RETAINED);
}

export function encodeRetainedPage(page: RetainedPage, wallMs: number): Buffer {
  const writer = new FrameWriter();
  writer.textOrNull(page.cursor);
  writer.u32(page.changes.length);
  for (const change of page.changes) writeRetained(writer, change, wallMs);
  return writer.finish(FrameType.RETAINED_PAGE);
}

function writeRetained(writer: FrameWriter, change: RetainedChange, wallMs: number): void {
  const { version, message } = change;
  writer.u53(version.timeUs);
  writer.u32(version.writer % CLEARED);
  writer.bool(message !== null);
  if (message === null) {
    writer.text(change.topic);
    return;
  }
  const { source } = message;
  writer.bool(source !== null);
  if (source !== null) {
    writer.text(source.clientId);
    writer.textOrNull(source.identity);
    writer.text(source.tenant);
  }
  const view = setView(message);
  const bytes = messageBytes(view, message.expiresAtMs);
  writer.u32(bytes);
  const at = writer.skip(bytes);
  writeMessage(writer.area, at, view, message.sequence, message.expiresAtMs, wallMs);
}

function setView(message: Message): PublishView {
  const view = viewOfMessage;
  view.qos = message.qos;
  view.retain = message.retain;
  view.topicBuffer = message.slab;
  view.topicStart = message.bodyStart;
  view.topicEnd = message.payloadStart;
  view.payloadBuffer = message.slab;
  view.payloadStart = message.payloadStart;
  view.payloadEnd = message.bodyEnd;
  view.propertyBuffer = message.propertyBuffer;
  view.propertyStart = message.propertyStart;
  view.propertyEnd = view.propertyStart + message.propertyBytes;
  return view;
}

function messageBytes(view: PublishView, expiresAtMs: number, mark: Buffer | null = null): number {
  const propertyBytes = view.propertyEnd - view.propertyStart + (mark?.length ?? 0);
  return (
    (expiresAtMs === 0 ? 9 : 17) +
    (view.topicEnd - view.topicStart) +
    varintSize(propertyBytes) +
    propertyBytes +
    (view.payloadEnd - view.payloadStart)
  );
}

function writeMessage(
  out: Buffer,
  start: number,
  view: PublishView,
  sequence: number,
  expiresAtMs: number,
  wallMs: number,
  mark: Buffer | null = null,
): void {
  const propertyBytes = view.propertyEnd - view.propertyStart + (mark?.length ?? 0);
  let pos = start;
  out[pos] = view.qos | (view.retain ? RETAIN : 0) | (expiresAtMs === 0 ? 0 : HAS_EXPIRY);
  if (mark !== null) out[pos]! |= IS_MARKED;
  pos++;
  pos = writeU53(out, pos, sequence);
  if (expiresAtMs !== 0) pos = writeU53(out, pos, Math.max(0, Math.floor(expiresAtMs - wallMs)));
  pos += view.topicBuffer.copy(out, pos, view.topicStart, view.topicEnd);
  pos = writeVarint(out, pos, propertyBytes);
  if (mark !== null) pos += mark.copy(out, pos);
  if (propertyBytes > 0) {
    pos += view.propertyBuffer.copy(out, pos, view.propertyStart, view.propertyEnd);
  }
  view.payloadBuffer.copy(out, pos, view.payloadStart, view.payloadEnd);
}

// ---------------------------------------------------------------------------------- decoding

export function decodePublished(
  buffer: Buffer,
  start: number,
  end: number,
  wallMs: number,
): Message {
  return readMessage(new FrameReader(buffer, start, end), wallMs, false);
}

export interface GroupPublished {
  readonly group: string;
  readonly filter: string;
  readonly message: Message;
}

export function decodeGroupPublished(
  buffer: Buffer,
  start: number,
  end: number,
  wallMs: number,
): GroupPublished {
  const reader = new FrameReader(buffer, start, end);
  const group = reader.text();
  const filter = reader.text();
  return { group, filter, message: readMessage(reader, wallMs, false) };
}

export function decodeRetained(
  buffer: Buffer,
  start: number,
  end: number,
  wallMs: number,
): RetainedChange {
  return readRetained(new FrameReader(buffer, start, end), wallMs);
}

export function decodeRetainedPage(
  buffer: Buffer,
  start: number,
  end: number,
  wallMs: number,
): RetainedPage {
  const reader = new FrameReader(buffer, start, end);
  const cursor = reader.textOrNull();
  const count = reader.count(RETAINED_BYTES_MIN);
  const changes: RetainedChange[] = [];
  for (let i = 0; i < count; i++) changes.push(readRetained(reader, wallMs));
  return { changes, cursor };
}

/** Version, kind, a text without characters. */
const RETAINED_BYTES_MIN = 17;

function readRetained(reader: FrameReader, wallMs: number): RetainedChange {
  const timeUs = reader.u53();
  const writer = reader.u32();
  if (!reader.bool()) {
    const topic = reader.text();
    if (!isValidTopicName(topic)) throw new LinkDamage('a topic is none');
    return { topic, version: { timeUs, writer: writer + CLEARED }, message: null };
  }
  const source: Principal | null = reader.bool()
    ? { clientId: reader.text(), identity: reader.textOrNull(), tenant: reader.text() }
    : null;
  const bytes = reader.u32();
  const at = reader.take(bytes);
  const message = readMessage(new FrameReader(reader.buffer, at, at + bytes), wallMs, true);
  message.source = source;
  const version = { timeUs, writer };
  message.version = version;
  return { topic: message.topic, version, message };
}

/** Everything the reader has left. `exact`: kept long, so in memory of its own. */
function readMessage(reader: FrameReader, wallMs: number, exact: boolean): Message {
  const flags = reader.u8();
  const qos = flags & QOS_BITS;
  if ((flags & ~KNOWN_FLAGS) !== 0 || qos === 3)
    throw new LinkDamage('a message has unknown flags');
  const sequence = reader.u53();
  // Expired on the way is not the same as never.
  const expiresAtMs = (flags & HAS_EXPIRY) === 0 ? 0 : Math.max(1, wallMs + reader.u53());
  const { buffer, pos, end } = reader;
  const view = decoded;
  let topic: string;
  try {
    decodePublish(view, 5, PUBLISH_QOS_0, buffer, pos, end, USER_PROPERTIES_MAX);
    topic = topicText(view);
  } catch (error) {
    if (error instanceof ProtocolError) throw new LinkDamage(`a message: ${error.message}`);
    throw error;
  }
  const topicBytes = view.topicEnd - view.topicStart;
  const bytes = topicBytes + (view.payloadEnd - view.payloadStart);
  let body: Buffer;
  let start = 0;
  if (exact || bytes > SLAB_BYTES / 4) {
    body = Buffer.allocUnsafeSlow(bytes);
  } else {
    if (slabFill + bytes > SLAB_BYTES) {
      slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      slabFill = 0;
    }
    body = slab;
    start = slabFill;
    slabFill += bytes;
  }
  const payloadStart = start + topicBytes;
  buffer.copy(body, start, view.topicStart, view.topicEnd);
  buffer.copy(body, payloadStart, view.payloadStart, view.payloadEnd);
  const mark = (flags & IS_MARKED) === 0 ? null : takeMark(view);
  const properties = copyBytes(view.propertyBuffer, view.propertyStart, view.propertyEnd);
  const message = new Message(
    sequence,
    topic,
    body,
    start,
    payloadStart,
    start + bytes,
    properties,
    qos as 0 | 1 | 2,
    (flags & RETAIN) !== 0,
    expiresAtMs,
  );
  message.mark = mark;
  return message;
}

/** What links tell of it; the view is left with its own properties. */
function takeMark(view: PublishView): RegionMark {
  const read = linkProperties;
  if (!read.read(view.propertyBuffer, view.propertyStart, view.propertyEnd)) {
    throw new LinkDamage('a message has no mark');
  }
  view.propertyStart = read.end;
  const { id, path } = read.origin();
  return { origin: { id, path }, version: read.version };
}
