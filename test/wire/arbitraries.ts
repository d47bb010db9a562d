/**
 * Random well-formed packets of every type and version, for fast-check. Property blocks that are
 * forwarded as bytes are built here by hand, so that no encoder under test takes part.
 */
import { Buffer } from 'node:buffer';
import fc, { type Arbitrary } from 'fast-check';
import type { ConnackPacket } from '../../src/wire/connack.ts';
import type { ConnectPacket, WillPacket } from '../../src/wire/connect.ts';
import { PacketType } from '../../src/wire/packet-type.ts';
import type { UserProperty } from '../../src/wire/properties.ts';
import type { ProtocolVersion } from '../../src/wire/protocol-version.ts';
import {
  isAckReasonCodeAllowed,
  isReasonCodeAllowed,
  type Sender,
} from '../../src/wire/reason-code.ts';
import type { AckName, Packet, PlainPublish } from './decode-packet.ts';

export interface Sent {
  version: ProtocolVersion;
  sender: Sender;
  packet: Packet;
}

export const versionArb: Arbitrary<ProtocolVersion> = fc.constantFrom(3, 4, 5);

/** Text a packet may carry: any Unicode but U+0000, short ASCII often, now and then long. */
export const textArb: Arbitrary<string> = fc
  .oneof(
    { weight: 5, arbitrary: fc.string({ unit: 'grapheme-ascii', maxLength: 20 }) },
    { weight: 3, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }) },
    { weight: 1, arbitrary: fc.string({ unit: 'grapheme', minLength: 100, maxLength: 200 }) },
    { weight: 1, arbitrary: fc.constantFrom('__proto__', '\uFEFF', '\u{10FFFF}', '\uFFFF', '/') },
  )
  .map((text) => text.replaceAll('\0', ''));

export const topicNameArb: Arbitrary<string> = textArb
  .map((text) => text.replaceAll(/[+#]/g, ''))
  .filter((text) => text !== '');

export const binaryArb: Arbitrary<Buffer> = fc
  .uint8Array({ maxLength: 40 })
  .map((data) => Buffer.from(data));

export const userPropertiesArb: Arbitrary<UserProperty[]> = fc.array(fc.tuple(textArb, textArb), {
  maxLength: 4,
});

const u16Arb = fc.oneof(fc.constantFrom(1, 255, 256, 65_535), fc.integer({ min: 1, max: 65_535 }));
const u32Arb = fc.oneof(
  fc.constantFrom(1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff),
  fc.integer({ min: 1, max: 0xffff_ffff }),
);
const subscriptionIdArb = fc.oneof(
  fc.constantFrom(1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455),
  fc.integer({ min: 1, max: 268_435_455 }),
);
const qosArb: Arbitrary<0 | 1 | 2> = fc.constantFrom(0, 1, 2);

function orNull<T>(arbitrary: Arbitrary<T>): Arbitrary<T | null> {
  return fc.option(arbitrary, { nil: null });
}

function record<T>(fields: { [K in keyof T]: Arbitrary<T[K]> }): Arbitrary<T> {
  return fc.record(fields, { noNullPrototype: true }) as Arbitrary<T>;
}

function codesOf(allowed: (code: number) => boolean): Arbitrary<number> {
  const codes = Array.from({ length: 256 }, (_, code) => code).filter(allowed);
  return fc.constantFrom(...codes);
}

function field(data: string | Buffer): Buffer {
  const content = Buffer.from(data);
  const prefix = Buffer.alloc(2);
  prefix.writeUInt16BE(content.length);
  return Buffer.concat([prefix, content]);
}

/** Bytes of properties a PUBLISH forwards unchanged, in any order. */
export const forwardedPropertiesArb: Arbitrary<Buffer> = fc
  .tuple(
    fc.array(fc.constantFrom(0, 1), { maxLength: 1 }),
    fc.array(textArb, { maxLength: 1 }),
    fc.array(topicNameArb, { maxLength: 1 }),
    fc.array(binaryArb, { maxLength: 1 }),
    userPropertiesArb,
  )
  .map(([payloadFormat, contentType, responseTopic, correlationData, userProperties]) => [
    ...payloadFormat.map((value) => Buffer.from([0x01, value])),
    ...contentType.map((text) => Buffer.concat([Buffer.from([0x03]), field(text)])),
    ...responseTopic.map((topic) => Buffer.concat([Buffer.from([0x08]), field(topic)])),
    ...correlationData.map((data) => Buffer.concat([Buffer.from([0x09]), field(data)])),
    ...userProperties.map(([name, value]) =>
      Buffer.concat([Buffer.from([0x26]), field(name), field(value)]),
    ),
  ])
  .chain((properties) => fc.shuffledSubarray(properties, { minLength: properties.length }))
  .map((properties) => Buffer.concat(properties));

function willArb(version: ProtocolVersion): Arbitrary<WillPacket> {
  const isNew = version === 5;
  return record<WillPacket>({
    topic: topicNameArb,
    payload: binaryArb,
    qos: qosArb,
    retain: fc.boolean(),
    delayIntervalS: isNew ? fc.oneof(fc.constant(0), u32Arb) : fc.constant(0),
    messageExpiryS: isNew ? fc.oneof(fc.constantFrom(-1, 0), u32Arb) : fc.constant(-1),
    properties: isNew ? forwardedPropertiesArb : fc.constant(Buffer.alloc(0)),
  });
}

export function connectArb(version: ProtocolVersion): Arbitrary<ConnectPacket> {
  const isNew = version === 5;
  const only = <T>(arbitrary: Arbitrary<T>, otherwise: T): Arbitrary<T> =>
    isNew ? arbitrary : fc.constant(otherwise);
  return record<ConnectPacket>({
    protocolVersion: fc.constant(version),
    cleanStart: fc.boolean(),
    keepAliveS: fc.oneof(fc.constant(0), u16Arb),
    clientId: textArb,
    username: orNull(textArb),
    password: orNull(binaryArb),
    will: orNull(willArb(version)),
    sessionExpiryIntervalS: only(fc.oneof(fc.constant(0), u32Arb), 0),
    receiveMaximum: only(u16Arb, 65_535),
    maximumPacketSize: only(fc.oneof(fc.constant(0), u32Arb), 0),
    topicAliasMaximum: only(fc.oneof(fc.constant(0), u16Arb), 0),
    requestResponseInformation: only(fc.boolean(), false),
    requestProblemInformation: only(fc.boolean(), true),
    userProperties: only(userPropertiesArb, []),
    authenticationMethod: only(orNull(textArb), null),
    authenticationData: only(orNull(binaryArb), null),
  }).map((packet) => {
    if (packet.authenticationMethod === null) packet.authenticationData = null;
    if (isNew) return packet;
    if (packet.username === null) packet.password = null;
    packet.sessionExpiryIntervalS = packet.cleanStart ? 0 : 0xffff_ffff;
    return packet;
  });
}

function connackArb(version: ProtocolVersion): Arbitrary<ConnackPacket> {
  if (version !== 5) {
    return record<ConnackPacket>({
      sessionPresent: fc.boolean(),
      reasonCode: fc.constantFrom(0, 0x84, 0x85, 0x86, 0x87, 0x88),
    }).map((packet) => {
      packet.sessionPresent &&= packet.reasonCode === 0 && version === 4;
      return packet;
    });
  }
  return fc
    .record(
      {
        sessionPresent: fc.boolean(),
        reasonCode: codesOf((code) => isReasonCodeAllowed(PacketType.CONNACK, code, 'server')),
        sessionExpiryIntervalS: fc.oneof(fc.constant(0), u32Arb),
        receiveMaximum: u16Arb,
        maximumQos: fc.constantFrom(0, 1),
        retainAvailable: fc.boolean(),
        maximumPacketSize: u32Arb,
        assignedClientId: textArb,
        topicAliasMaximum: fc.oneof(fc.constant(0), u16Arb),
        reasonString: textArb,
        userProperties: userPropertiesArb.filter((pairs) => pairs.length > 0),
        wildcardSubscriptionAvailable: fc.boolean(),
        subscriptionIdentifiersAvailable: fc.boolean(),
        sharedSubscriptionAvailable: fc.boolean(),
        serverKeepAliveS: fc.oneof(fc.constant(0), u16Arb),
        responseInformation: textArb,
        serverReference: textArb,
        authenticationMethod: textArb,
        authenticationData: binaryArb,
      },
      { noNullPrototype: true, requiredKeys: ['sessionPresent', 'reasonCode'] },
    )
    .map((fields) => {
      const packet = fields as ConnackPacket;
      packet.sessionPresent &&= packet.reasonCode === 0;
      if (packet.authenticationMethod === undefined) delete packet.authenticationData;
      return packet;
    });
}

export function publishArb(version: ProtocolVersion, sender: Sender): Arbitrary<PlainPublish> {
  const isNew = version === 5;
  return record<PlainPublish>({
    qos: qosArb,
    retain: fc.boolean(),
    dup: fc.boolean(),
    packetId: u16Arb,
    topic: topicNameArb,
    payload: fc.oneof(
      binaryArb,
      fc.integer({ min: 100, max: 20_000 }).map((length) => Buffer.alloc(length, 'x')),
    ),
    messageExpiryS: isNew ? fc.oneof(fc.constantFrom(-1, 0), u32Arb) : fc.constant(-1),
    topicAlias: isNew ? fc.oneof(fc.constant(0), u16Arb) : fc.constant(0),
    subscriptionIds:
      isNew && sender === 'server'
        ? fc.array(subscriptionIdArb, { maxLength: 3 })
        : fc.constant([]),
    properties: isNew ? forwardedPropertiesArb : fc.constant(Buffer.alloc(0)),
  }).chain((packet) => {
    packet.dup &&= packet.qos > 0;
    if (packet.qos === 0) packet.packetId = 0;
    const aliased = { ...packet, topic: '' };
    return packet.topicAlias === 0 ? fc.constant(packet) : fc.constantFrom(packet, aliased);
  });
}

function ackArb(version: ProtocolVersion): Arbitrary<Packet> {
  const names: AckName[] = ['PUBACK', 'PUBREC', 'PUBREL', 'PUBCOMP'];
  return fc.constantFrom(...names).chain((type) => {
    const isNew = version === 5;
    return record({
      packetId: u16Arb,
      reasonCode: isNew
        ? codesOf((code) => isAckReasonCodeAllowed(PacketType[type], code))
        : fc.constant(0),
      reasonString: isNew ? orNull(textArb) : fc.constant(null),
      userProperties: isNew ? userPropertiesArb : fc.constant([]),
    }).map((packet): Packet => ({ type, packet }));
  });
}

function answerArb(version: ProtocolVersion, type: 'SUBACK' | 'UNSUBACK'): Arbitrary<Packet> {
  const isNew = version === 5;
  const newCodes = codesOf((code) => isReasonCodeAllowed(PacketType[type], code, 'server'));
  const codes = isNew ? newCodes : fc.constantFrom(0, 1, 2, 0x80);
  const reasonCodes: Arbitrary<readonly number[]> =
    isNew || type === 'SUBACK'
      ? fc.array(codes, { minLength: 1, maxLength: 6 })
      : fc.constant<number[]>([]);
  return record({
    packetId: u16Arb,
    reasonCodes,
    reasonString: isNew ? orNull(textArb) : fc.constant(null),
    userProperties: isNew ? userPropertiesArb : fc.constant([]),
  }).map((packet): Packet => ({ type, packet }));
}

function subscribeArb(version: ProtocolVersion): Arbitrary<Packet> {
  const isNew = version === 5;
  const flag = isNew ? fc.boolean() : fc.constant(false);
  const subscription = record({
    filter: textArb,
    qos: qosArb,
    noLocal: flag,
    retainAsPublished: flag,
    retainHandling: isNew ? qosArb : fc.constant<0>(0),
  }).map((filter) => ({ ...filter, noLocal: filter.noLocal && !filter.filter.startsWith('$') }));
  return record({
    packetId: u16Arb,
    subscriptionId: isNew ? fc.oneof(fc.constant(0), subscriptionIdArb) : fc.constant(0),
    userProperties: isNew ? userPropertiesArb : fc.constant([]),
    subscriptions: fc.array(subscription, { minLength: 1, maxLength: 5 }),
  }).map((packet): Packet => ({ type: 'SUBSCRIBE', packet }));
}

function unsubscribeArb(version: ProtocolVersion): Arbitrary<Packet> {
  return record({
    packetId: u16Arb,
    userProperties: version === 5 ? userPropertiesArb : fc.constant([]),
    filters: fc.array(textArb, { minLength: 1, maxLength: 5 }),
  }).map((packet): Packet => ({ type: 'UNSUBSCRIBE', packet }));
}

function disconnectArb(version: ProtocolVersion, sender: Sender): Arbitrary<Packet> {
  const only = <T>(arbitrary: Arbitrary<T>, otherwise: T): Arbitrary<T> =>
    version === 5 ? arbitrary : fc.constant(otherwise);
  const expiry = fc.oneof(fc.constantFrom(-1, 0), u32Arb);
  return record({
    reasonCode: only(
      codesOf((code) => isReasonCodeAllowed(PacketType.DISCONNECT, code, sender)),
      0,
    ),
    sessionExpiryIntervalS: sender === 'client' ? only(expiry, -1) : fc.constant(-1),
    reasonString: only(orNull(textArb), null),
    userProperties: only(userPropertiesArb, []),
    serverReference: only(orNull(textArb), null),
  }).map((packet): Packet => ({ type: 'DISCONNECT', packet }));
}

function authArb(sender: Sender): Arbitrary<Packet> {
  return record({
    reasonCode: codesOf((code) => isReasonCodeAllowed(PacketType.AUTH, code, sender)),
    authenticationMethod: textArb,
    authenticationData: orNull(binaryArb),
    reasonString: orNull(textArb),
    userProperties: userPropertiesArb,
  }).map((packet): Packet => ({ type: 'AUTH', packet }));
}

function packetsOf(version: ProtocolVersion, sender: Sender): Arbitrary<Packet> {
  const both = [
    publishArb(version, sender).map((packet): Packet => ({ type: 'PUBLISH', packet })),
    ackArb(version),
    disconnectArb(version, sender),
    ...(version === 5 ? [authArb(sender)] : []),
  ];
  if (sender === 'client') {
    return fc.oneof(
      connectArb(version).map((packet): Packet => ({ type: 'CONNECT', packet })),
      subscribeArb(version),
      unsubscribeArb(version),
      fc.constant<Packet>({ type: 'PINGREQ', packet: null }),
      ...both,
    );
  }
  return fc.oneof(
    connackArb(version).map((packet): Packet => ({ type: 'CONNACK', packet })),
    answerArb(version, 'SUBACK'),
    answerArb(version, 'UNSUBACK'),
    fc.constant<Packet>({ type: 'PINGRESP', packet: null }),
    ...both,
  );
}

/** A packet of any type with the version and side that make it valid. */
export const sentArb: Arbitrary<Sent> = fc
  .tuple(versionArb, fc.constantFrom<Sender>('client', 'server'))
  .chain(([version, sender]) =>
    packetsOf(version, sender).map((packet) => ({ version, sender, packet })),
  );
