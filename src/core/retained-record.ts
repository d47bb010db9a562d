/**
 * A retained message as bytes in a slab: what a Message has besides its body, and the body, which messages
 * made from it share. Only in memory; `retained.ts` writes and reads it.
 *
 *   0      QoS (2 bits), RETAIN as published, and which of the following there are
 *   1      sequence (f64)
 *   9      expiry (f64); microseconds (f64) and writer (u40) of the version; properties and source, each
 *          behind its length (a byte, or from 255 on that and a u32); then the body: topic field and payload
 */
import { EMPTY_BUFFER, readU16, readU32, writeU32 } from '../util/bytes.ts';
import { Message } from './message.ts';
import type { Principal } from './principal.ts';
import type { Publication } from './publication.ts';
import type { RetainedVersion } from './retained-version.ts';

const QOS_BITS = 0x03;
const WAS_RETAIN = 0x04;
const HAS_EXPIRY = 0x08;
const HAS_VERSION = 0x10;
const HAS_PROPERTIES = 0x20;
const HAS_SOURCE = 0x40;
/** One byte is one character of the topic. */
const IS_ASCII = 0x80;

const VERSION_BYTES = 13;
const TWO_32 = 2 ** 32;
/** Lengths from here on take four bytes more. */
const LONG = 0xff;

export class RetainedRecords {
  /** Of the source encoded last: who retains one message often retains many. */
  #source: Principal | null = null;
  #sourceBytes: Buffer = EMPTY_BUFFER;

  /** To be called before `write` of the same message. */
  bytesOf(message: Message): number {
    const { properties, source } = message;
    if (source !== null && source !== this.#source) {
      this.#source = source;
      this.#sourceBytes = encodeSource(source);
    }
    return (
      9 +
      (message.expiresAtMs === 0 ? 0 : 8) +
      (message.version === null ? 0 : VERSION_BYTES) +
      (properties.length === 0 ? 0 : blockBytes(properties.length)) +
      (source === null ? 0 : blockBytes(this.#sourceBytes.length)) +
      (message.bodyEnd - message.bodyStart)
    );
  }

  write(out: Buffer, start: number, message: Message): void {
    const { bodyStart, payloadStart, expiresAtMs, version, properties, source } = message;
    out[start] =
      message.qos |
      (message.retain ? WAS_RETAIN : 0) |
      (expiresAtMs === 0 ? 0 : HAS_EXPIRY) |
      (version === null ? 0 : HAS_VERSION) |
      (properties.length === 0 ? 0 : HAS_PROPERTIES) |
      (source === null ? 0 : HAS_SOURCE) |
      (payloadStart - bodyStart - 2 === message.topic.length ? IS_ASCII : 0);
    let pos = out.writeDoubleLE(message.sequence, start + 1);
    if (expiresAtMs !== 0) pos = out.writeDoubleLE(expiresAtMs, pos);
    if (version !== null) {
      pos = out.writeDoubleLE(version.timeUs, pos);
      out[pos++] = version.writer / TWO_32;
      pos = writeU32(out, pos, version.writer % TWO_32);
    }
    if (properties.length !== 0) pos = writeBlock(out, pos, properties);
    if (source !== null) pos = writeBlock(out, pos, this.#sourceBytes);
    message.slab.copy(out, pos, bodyStart, message.bodyEnd);
  }
}

/** With its length before it. */
function blockBytes(bytes: number): number {
  return bytes < LONG ? 1 + bytes : 5 + bytes;
}

function writeLength(out: Buffer, pos: number, length: number): number {
  if (length < LONG) {
    out[pos] = length;
    return pos + 1;
  }
  out[pos] = LONG;
  return writeU32(out, pos + 1, length);
}

function writeBlock(out: Buffer, pos: number, bytes: Buffer): number {
  const start = writeLength(out, pos, bytes.length);
  return start + bytes.copy(out, start);
}

/** Where a block begins whose length is at `pos`. */
function blockStart(slab: Buffer, pos: number): number {
  return slab[pos] === LONG ? pos + 5 : pos + 1;
}

/** Where it ends. */
function blockEnd(slab: Buffer, pos: number): number {
  const length = slab[pos]!;
  return length === LONG ? pos + 5 + readU32(slab, pos + 1) : pos + 1 + length;
}

/** `Message.bytes` of it. */
export function retainedRecordBytes(slab: Buffer, start: number, end: number): number {
  const flags = slab[start]!;
  let pos = start + 9;
  let propertyBytes = 0;
  if ((flags & HAS_EXPIRY) !== 0) pos += 8;
  if ((flags & HAS_VERSION) !== 0) pos += VERSION_BYTES;
  if ((flags & HAS_PROPERTIES) !== 0) {
    const propertyStart = blockStart(slab, pos);
    pos = blockEnd(slab, pos);
    propertyBytes = pos - propertyStart;
  }
  if ((flags & HAS_SOURCE) !== 0) pos = blockEnd(slab, pos);
  return end - pos + propertyBytes;
}

/** The message keeps the whole slab alive, and copies nothing but the topic. */
export function readRetainedRecord(slab: Buffer, start: number, end: number): Message {
  const flags = slab[start]!;
  let pos = start + 9;
  let expiresAtMs = 0;
  let version: RetainedVersion | null = null;
  let properties = EMPTY_BUFFER;
  let source: Principal | null = null;
  if ((flags & HAS_EXPIRY) !== 0) {
    expiresAtMs = slab.readDoubleLE(pos);
    pos += 8;
  }
  if ((flags & HAS_VERSION) !== 0) {
    const writer = slab[pos + 8]! * TWO_32 + readU32(slab, pos + 9);
    version = { timeUs: slab.readDoubleLE(pos), writer };
    pos += VERSION_BYTES;
  }
  if ((flags & HAS_PROPERTIES) !== 0) {
    const propertyEnd = blockEnd(slab, pos);
    properties = slab.subarray(blockStart(slab, pos), propertyEnd);
    pos = propertyEnd;
  }
  if ((flags & HAS_SOURCE) !== 0) {
    source = decodeSource(slab, pos);
    pos = blockEnd(slab, pos);
  }
  const bodyStart = pos;
  const payloadStart = bodyStart + 2 + readU16(slab, bodyStart);
  const message = new Message(
    slab.readDoubleLE(start + 1),
    (flags & IS_ASCII) !== 0
      ? slab.latin1Slice(bodyStart + 2, payloadStart)
      : slab.utf8Slice(bodyStart + 2, payloadStart),
    slab,
    bodyStart,
    payloadStart,
    end,
    properties,
    (flags & QOS_BITS) as 0 | 1 | 2,
    (flags & WAS_RETAIN) !== 0,
    expiresAtMs,
  );
  message.source = source;
  message.version = version;
  return message;
}

/** The same for whoever forwards it at once: no object is made. The caller has begun the publication. */
export function showRetainedRecord(
  publication: Publication,
  slab: Buffer,
  start: number,
  end: number,
): void {
  const { view } = publication;
  const flags = slab[start]!;
  let pos = start + 9;
  publication.expiresAtMs = 0;
  publication.wireVersion = 0;
  view.propertyBuffer = slab;
  view.propertyStart = 0;
  view.propertyEnd = 0;
  if ((flags & HAS_EXPIRY) !== 0) {
    publication.expiresAtMs = slab.readDoubleLE(pos);
    pos += 8;
  }
  if ((flags & HAS_VERSION) !== 0) pos += VERSION_BYTES;
  if ((flags & HAS_PROPERTIES) !== 0) {
    view.propertyStart = blockStart(slab, pos);
    pos = blockEnd(slab, pos);
    view.propertyEnd = pos;
  }
  if ((flags & HAS_SOURCE) !== 0) pos = blockEnd(slab, pos);
  const payloadStart = pos + 2 + readU16(slab, pos);
  publication.topicFromView();
  view.qos = (flags & QOS_BITS) as 0 | 1 | 2;
  view.retain = (flags & WAS_RETAIN) !== 0;
  view.dup = false;
  view.packetId = 0;
  view.topicAlias = 0;
  view.topicBuffer = slab;
  view.topicStart = pos;
  view.topicEnd = payloadStart;
  view.payloadBuffer = slab;
  view.payloadStart = payloadStart;
  view.payloadEnd = end;
}

/** Who published it; null: nobody whose rights count. */
export function retainedRecordSource(slab: Buffer, start: number): Principal | null {
  const flags = slab[start]!;
  if ((flags & HAS_SOURCE) === 0) return null;
  let pos = start + 9;
  if ((flags & HAS_EXPIRY) !== 0) pos += 8;
  if ((flags & HAS_VERSION) !== 0) pos += VERSION_BYTES;
  if ((flags & HAS_PROPERTIES) !== 0) pos = blockEnd(slab, pos);
  return decodeSource(slab, pos);
}

/** Client id and tenant, as blocks; a byte that says whether there is an identity, and that to the end. */
function encodeSource({ clientId, tenant, identity }: Principal): Buffer {
  const clientIdBytes = Buffer.byteLength(clientId);
  const tenantBytes = Buffer.byteLength(tenant);
  const identityBytes = identity === null ? 0 : Buffer.byteLength(identity);
  const out = Buffer.allocUnsafe(
    blockBytes(clientIdBytes) + blockBytes(tenantBytes) + 1 + identityBytes,
  );
  let pos = writeLength(out, 0, clientIdBytes);
  pos += out.write(clientId, pos);
  pos = writeLength(out, pos, tenantBytes);
  pos += out.write(tenant, pos);
  out[pos++] = identity === null ? 0 : 1;
  if (identity !== null) out.write(identity, pos);
  return out;
}

/** Of a block whose length is at `pos`. */
function decodeSource(slab: Buffer, pos: number): Principal {
  const end = blockEnd(slab, pos);
  const client = blockStart(slab, pos);
  const tenantAt = blockEnd(slab, client);
  const clientId = slab.utf8Slice(blockStart(slab, client), tenantAt);
  const identityAt = blockEnd(slab, tenantAt);
  const tenantStart = blockStart(slab, tenantAt);
  const tenant = tenantStart === identityAt ? '' : slab.utf8Slice(tenantStart, identityAt);
  if (slab[identityAt] === 0) return { clientId, identity: null, tenant };
  return { clientId, identity: slab.utf8Slice(identityAt + 1, end), tenant };
}
