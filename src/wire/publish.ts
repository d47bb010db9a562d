/**
 * PUBLISH, the packet everything is measured by: decoded in place into a reusable view (no copy, no
 * string, no allocation) and encoded from the same view. Data plane. It knows no topic aliases'
 * meaning and no sessions; the topic's text is checked by `topicText` when the caller has not seen
 * the same bytes before.
 */
import { Buffer } from 'node:buffer';
import { copyRange, EMPTY_BUFFER, readU16, readU32, writeU16, writeU32 } from '../util/bytes.ts';
import { PropertyId, propertyEnd } from './properties.ts';
import { malformedPacket, ProtocolError, protocolViolation } from './protocol-error.ts';
import type { ProtocolVersion } from './protocol-version.ts';
import { ReasonCode } from './reason-code.ts';
import { isValidTopicName } from './topic.ts';
import { checkText, decodeText, fieldEnd } from './utf8.ts';
import { readVarint, varintSize, writeVarint } from './varint.ts';

/** A PUBLISH as ranges of buffers. One object is used again and again. */
export class PublishView {
  qos: 0 | 1 | 2 = 0;
  retain = false;
  dup = false;
  /** 0 for QoS 0. */
  packetId = 0;
  /** Topic field with its length prefix; an empty topic (alias) is two zero bytes. */
  topicBuffer: Buffer = EMPTY_BUFFER;
  topicStart = 0;
  topicEnd = 0;
  payloadBuffer: Buffer = EMPTY_BUFFER;
  payloadStart = 0;
  payloadEnd = 0;
  /** MQTT 5 properties that are forwarded unchanged, in order, without length prefix. */
  propertyBuffer: Buffer = EMPTY_BUFFER;
  propertyStart = 0;
  propertyEnd = 0;
  /** Message expiry interval; -1: none. */
  messageExpiryS = -1;
  /** Topic alias; 0: none. */
  topicAlias = 0;
  /** Subscription identifiers: only in packets a server sends, so only a client sees them. */
  subscriptionIds: number[] | null = null;
}

/**
 * Decodes buf[bodyStart, bodyEnd) as a PUBLISH. `fromServer` allows subscription identifiers. The
 * topic's characters are not looked at here. Throws ProtocolError.
 */
export function decodePublish(
  view: PublishView,
  version: ProtocolVersion,
  firstByte: number,
  buf: Buffer,
  bodyStart: number,
  bodyEnd: number,
  userPropertiesMax: number,
  fromServer = false,
): void {
  const qos = (firstByte >> 1) & 3;
  // [MQTT5-3.3.1-4]
  if (qos === 3) throw malformedPacket('QoS 3 does not exist');
  view.qos = qos as 0 | 1 | 2;
  view.retain = (firstByte & 1) !== 0;
  view.dup = (firstByte & 8) !== 0;
  // [MQTT5-3.3.1-2]
  if (view.dup && qos === 0) throw malformedPacket('DUP is set on QoS 0');

  if (bodyEnd - bodyStart < 2) throw malformedPacket('topic is cut off');
  let pos = bodyStart + 2 + ((buf[bodyStart]! << 8) | buf[bodyStart + 1]!);
  if (pos > bodyEnd) throw malformedPacket('topic is longer than the packet');
  view.topicBuffer = buf;
  view.topicStart = bodyStart;
  view.topicEnd = pos;

  if (qos === 0) {
    view.packetId = 0;
  } else {
    if (bodyEnd - pos < 2) throw malformedPacket('packet identifier is cut off');
    view.packetId = (buf[pos]! << 8) | buf[pos + 1]!;
    pos += 2;
    // [MQTT5-2.2.1-3]
    if (view.packetId === 0) throw malformedPacket('packet identifier is 0');
  }
  view.messageExpiryS = -1;
  view.topicAlias = 0;
  // Only servers send them: a broker's view never has any.
  if (fromServer) view.subscriptionIds = null;
  view.propertyBuffer = buf;
  if (version === 5) {
    if (pos < bodyEnd && buf[pos] === 0) {
      pos++;
      view.propertyStart = pos;
      view.propertyEnd = pos;
    } else {
      pos = decodePublishProperties(view, buf, pos, bodyEnd, userPropertiesMax, fromServer);
    }
  } else {
    view.propertyStart = pos;
    view.propertyEnd = pos;
  }
  view.payloadBuffer = buf;
  view.payloadStart = pos;
  view.payloadEnd = bodyEnd;
}

function decodePublishProperties(
  view: PublishView,
  buf: Buffer,
  start: number,
  packetEnd: number,
  userPropertiesMax: number,
  fromServer: boolean,
): number {
  const byteCount = readVarint(buf, start, packetEnd);
  const first = start + varintSize(byteCount);
  const end = first + byteCount;
  if (end > packetEnd) throw malformedPacket('properties are longer than the packet');
  let seen = 0;
  let userProperties = 0;
  let forwarded = 0;

  for (let pos = first; pos < end; ) {
    const id = buf[pos]!;
    if (id !== PropertyId.USER_PROPERTY && id !== PropertyId.SUBSCRIPTION_IDENTIFIER) {
      if (id < 64) {
        const bit = id < 32 ? 1 << id : 1 << (id - 32 + 16);
        if ((seen & bit) !== 0) throw protocolViolation('property is repeated');
        seen |= bit;
      }
    }
    const value = pos + 1;
    let next = value;
    let isForwarded = true;
    switch (id) {
      case PropertyId.PAYLOAD_FORMAT_INDICATOR:
        next = value + 1;
        if (next > end) throw malformedPacket('property is cut off');
        if (buf[value]! > 1) throw protocolViolation('payload format indicator is not 0 or 1');
        break;
      case PropertyId.MESSAGE_EXPIRY_INTERVAL:
        next = value + 4;
        if (next > end) throw malformedPacket('property is cut off');
        view.messageExpiryS = readU32(buf, value);
        isForwarded = false;
        break;
      case PropertyId.TOPIC_ALIAS:
        next = value + 2;
        if (next > end) throw malformedPacket('property is cut off');
        view.topicAlias = readU16(buf, value);
        // [MQTT5-3.3.2-8]
        if (view.topicAlias === 0) {
          throw new ProtocolError(ReasonCode.TOPIC_ALIAS_INVALID, 'topic alias is 0');
        }
        isForwarded = false;
        break;
      case PropertyId.RESPONSE_TOPIC: {
        next = fieldEnd(buf, value, end);
        // [MQTT5-3.3.2-13] [MQTT5-3.3.2-14]
        if (!isValidTopicName(decodeText(buf, value + 2, next))) {
          throw protocolViolation('response topic is not a topic name');
        }
        break;
      }
      case PropertyId.CONTENT_TYPE:
        // [MQTT5-3.3.2-19]
        next = fieldEnd(buf, value, end);
        checkText(buf, value + 2, next);
        break;
      case PropertyId.CORRELATION_DATA:
        next = fieldEnd(buf, value, end);
        break;
      case PropertyId.USER_PROPERTY: {
        const nameEnd = fieldEnd(buf, value, end);
        next = fieldEnd(buf, nameEnd, end);
        checkText(buf, value + 2, nameEnd);
        checkText(buf, nameEnd + 2, next);
        if (++userProperties > userPropertiesMax) {
          throw new ProtocolError(ReasonCode.QUOTA_EXCEEDED, 'too many user properties');
        }
        break;
      }
      case PropertyId.SUBSCRIPTION_IDENTIFIER: {
        // [MQTT5-3.3.4-6]: a client must not send one.
        if (!fromServer) throw protocolViolation('a client sent a subscription identifier');
        const subscriptionId = readVarint(buf, value, end);
        if (subscriptionId === 0) throw protocolViolation('subscription identifier is 0');
        next = value + varintSize(subscriptionId);
        view.subscriptionIds ??= [];
        view.subscriptionIds.push(subscriptionId);
        isForwarded = false;
        break;
      }
      default:
        throw malformedPacket('property is not allowed in PUBLISH');
    }
    if (isForwarded) forwarded += next - pos;
    pos = next;
  }

  if (forwarded === byteCount) {
    view.propertyStart = first;
    view.propertyEnd = end;
  } else if (forwarded === 0) {
    view.propertyStart = first;
    view.propertyEnd = first;
  } else {
    const kept = forwardedProperties(buf, first, end, forwarded);
    view.propertyBuffer = kept;
    view.propertyStart = 0;
    view.propertyEnd = forwarded;
  }
  return end;
}

/** Copies a decoded property block without expiry, alias and subscription ids, order kept. */
function forwardedProperties(buf: Buffer, first: number, end: number, bytes: number): Buffer {
  const kept = Buffer.allocUnsafe(bytes);
  let out = 0;
  for (let pos = first; pos < end; ) {
    const next = propertyEnd(buf, pos, end);
    const id = buf[pos]!;
    if (
      id !== PropertyId.MESSAGE_EXPIRY_INTERVAL &&
      id !== PropertyId.TOPIC_ALIAS &&
      id !== PropertyId.SUBSCRIPTION_IDENTIFIER
    ) {
      buf.copy(kept, out, pos, next);
      out += next - pos;
    }
    pos = next;
  }
  return kept;
}

/** The topic's text, strictly checked; throws 0x81 for bad UTF-8 and 0x90 for wildcards or ''. */
export function topicText(view: PublishView): string {
  const text = decodeText(view.topicBuffer, view.topicStart + 2, view.topicEnd);
  // [MQTT5-3.3.2-2] [MQTT5-4.7.3-1]
  if (!isValidTopicName(text)) {
    throw new ProtocolError(ReasonCode.TOPIC_NAME_INVALID, 'topic name is empty or has wildcards');
  }
  return text;
}

/** Bytes of the MQTT 5 properties `writePublish` will write, without their length prefix. */
function propertyBytes(
  view: PublishView,
  expiryS: number,
  topicAlias: number,
  subscriptionIds: readonly number[] | null,
): number {
  let bytes = view.propertyEnd - view.propertyStart;
  if (expiryS >= 0) bytes += 5;
  if (topicAlias > 0) bytes += 3;
  if (subscriptionIds !== null) {
    for (const id of subscriptionIds) bytes += 1 + varintSize(id);
  }
  return bytes;
}

/** Remaining length of the PUBLISH that `writePublish` will write. `topicBytes` as sent. */
export function publishRemaining(
  view: PublishView,
  version: ProtocolVersion,
  qos: number,
  topicBytes: number,
  expiryS: number,
  topicAlias: number,
  subscriptionIds: readonly number[] | null,
): number {
  let remaining = 2 + topicBytes + (view.payloadEnd - view.payloadStart);
  if (qos > 0) remaining += 2;
  if (version === 5) {
    const properties = propertyBytes(view, expiryS, topicAlias, subscriptionIds);
    remaining += varintSize(properties) + properties;
  }
  return remaining;
}

/**
 * Writes a PUBLISH at out[pos] and returns the position after it; `remaining` comes from
 * `publishRemaining` with the same arguments. With `sendTopic` false the topic is empty and the
 * alias says it.
 */
export function writePublish(
  out: Buffer,
  start: number,
  view: PublishView,
  version: ProtocolVersion,
  firstByte: number,
  packetId: number,
  remaining: number,
  expiryS: number,
  topicAlias: number,
  subscriptionIds: readonly number[] | null,
  sendTopic: boolean,
): number {
  let pos = start;
  out[pos++] = firstByte;
  if (remaining < 128) out[pos++] = remaining;
  else pos = writeVarint(out, pos, remaining);
  pos = sendTopic
    ? copyRange(out, pos, view.topicBuffer, view.topicStart, view.topicEnd)
    : writeU16(out, pos, 0);
  if ((firstByte & 6) !== 0) {
    out[pos++] = packetId >>> 8;
    out[pos++] = packetId;
  }
  if (version === 5) {
    pos = writeVarint(out, pos, propertyBytes(view, expiryS, topicAlias, subscriptionIds));
    if (expiryS >= 0) {
      out[pos++] = PropertyId.MESSAGE_EXPIRY_INTERVAL;
      pos = writeU32(out, pos, expiryS);
    }
    if (topicAlias > 0) {
      out[pos++] = PropertyId.TOPIC_ALIAS;
      pos = writeU16(out, pos, topicAlias);
    }
    if (subscriptionIds !== null) {
      for (const id of subscriptionIds) {
        out[pos++] = PropertyId.SUBSCRIPTION_IDENTIFIER;
        pos = writeVarint(out, pos, id);
      }
    }
    pos = copyRange(out, pos, view.propertyBuffer, view.propertyStart, view.propertyEnd);
  }
  return copyRange(out, pos, view.payloadBuffer, view.payloadStart, view.payloadEnd);
}
