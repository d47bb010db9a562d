/**
 * SUBSCRIBE. Only what makes the packet unreadable is thrown: whether each filter is well-formed
 * and allowed is answered per filter in SUBACK, so the broker asks `isValidTopicFilter` itself.
 */
import type { Buffer } from 'node:buffer';
import type { DecodeLimits } from './decode-limits.ts';
import { DECODE_LIMITS_DEFAULT } from './decode-limits.ts';
import { PacketType } from './packet-type.ts';
import type { UserProperty } from './properties.ts';
import { decodeProperties, encodeProperties, NO_USER_PROPERTIES } from './properties.ts';
import { malformedPacket, ProtocolError, protocolViolation } from './protocol-error.ts';
import type { ProtocolVersion } from './protocol-version.ts';
import { Reader } from './reader.ts';
import { ReasonCode } from './reason-code.ts';
import { isSharedFilter } from './topic.ts';
import { Writer } from './writer.ts';

export interface SubscribeFilter {
  filter: string;
  qos: 0 | 1 | 2;
  noLocal: boolean;
  retainAsPublished: boolean;
  retainHandling: 0 | 1 | 2;
}

export interface SubscribePacket {
  packetId: number;
  /** 0 when the client gave none. */
  subscriptionId: number;
  userProperties: readonly UserProperty[];
  subscriptions: SubscribeFilter[];
}

const OPTION_NO_LOCAL = 0x04;
const OPTION_RETAIN_AS_PUBLISHED = 0x08;
const RETAIN_HANDLING_SHIFT = 4;

/** Reads the body of a SUBSCRIBE. Throws 0x97 beyond `limits.filtersMax`. */
export function decodeSubscribe(
  version: ProtocolVersion,
  buf: Buffer,
  start: number,
  end: number,
  limits: DecodeLimits = DECODE_LIMITS_DEFAULT,
): SubscribePacket {
  const reader = new Reader(buf, start, end);
  const packetId = reader.u16();
  if (packetId === 0) throw malformedPacket('packet identifier is 0');
  let subscriptionId = 0;
  let userProperties = NO_USER_PROPERTIES;
  if (version === 5) {
    const values = decodeProperties(reader, PacketType.SUBSCRIBE, limits);
    subscriptionId = values.subscriptionIds[0] ?? 0;
    userProperties = values.userProperties;
  }
  // [MQTT5-3.8.3-2] [MQTT311-3.8.3-3]
  if (reader.remaining === 0) throw protocolViolation('SUBSCRIBE without topic filters');
  const subscriptions: SubscribeFilter[] = [];
  while (reader.remaining > 0) {
    if (subscriptions.length >= limits.filtersMax) {
      throw new ProtocolError(ReasonCode.QUOTA_EXCEEDED, 'too many topic filters');
    }
    subscriptions.push(readSubscription(reader, version));
  }
  return { packetId, subscriptionId, userProperties, subscriptions };
}

function readSubscription(reader: Reader, version: ProtocolVersion): SubscribeFilter {
  const filter = reader.string();
  const options = reader.u8();
  const qos = options & 3;
  if (version !== 5) {
    // [MQTT311-3.8.3-4]
    if (qos === 3) throw malformedPacket('requested QoS is 3');
    // MQTT 3.1 leaves these bits to the client.
    if (version === 4 && options > 3)
      throw malformedPacket('reserved bits of requested QoS are set');
    return {
      filter,
      qos: qos as 0 | 1 | 2,
      noLocal: false,
      retainAsPublished: false,
      retainHandling: 0,
    };
  }
  // [MQTT5-3.8.3-5]
  if (options > 0x3f) throw malformedPacket('reserved bits of subscription options are set');
  if (qos === 3) throw protocolViolation('maximum QoS is 3');
  const retainHandling = options >> RETAIN_HANDLING_SHIFT;
  if (retainHandling === 3) throw protocolViolation('retain handling is 3');
  const noLocal = (options & OPTION_NO_LOCAL) !== 0;
  // [MQTT5-3.8.3-4]
  if (noLocal && isSharedFilter(filter)) {
    throw protocolViolation('no local on a shared subscription');
  }
  return {
    filter,
    qos: qos as 0 | 1 | 2,
    noLocal,
    retainAsPublished: (options & OPTION_RETAIN_AS_PUBLISHED) !== 0,
    retainHandling: retainHandling as 0 | 1 | 2,
  };
}

/** The whole packet, as a client sends it. */
export function encodeSubscribe(version: ProtocolVersion, packet: SubscribePacket): Buffer {
  const writer = new Writer();
  writer.u16(packet.packetId);
  if (version === 5) {
    encodeProperties(writer, PacketType.SUBSCRIBE, {
      subscriptionIds: packet.subscriptionId === 0 ? [] : [packet.subscriptionId],
      userProperties: packet.userProperties,
    });
  }
  for (const subscription of packet.subscriptions) {
    writer.string(subscription.filter);
    let options: number = subscription.qos;
    if (version === 5) {
      if (subscription.noLocal) options |= OPTION_NO_LOCAL;
      if (subscription.retainAsPublished) options |= OPTION_RETAIN_AS_PUBLISHED;
      options |= subscription.retainHandling << RETAIN_HANDLING_SHIFT;
    }
    writer.u8(options);
  }
  // [MQTT5-3.8.1-1]
  return writer.finish((PacketType.SUBSCRIBE << 4) | 0x02);
}
