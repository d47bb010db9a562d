/**
 * Builds MQTT packets byte by byte for the conformance tests, right or wrong ones.
 * Called by the conformance client and the tests. It must not know src/: a codec that
 * checks itself would hide its own mistakes.
 */

/** 3 is MQTT 3.1 (MQIsdp), 4 is MQTT 3.1.1, 5 is MQTT 5. */
export type ProtocolVersion = 3 | 4 | 5;

export type PropertyValue = number | string | Buffer | readonly [string | Buffer, string | Buffer];
export type Property = readonly [name: PropertyName, value: PropertyValue];

export type PropertyKind = 'byte' | 'u16' | 'u32' | 'varint' | 'string' | 'binary' | 'pair';

export type PropertyName =
  | 'payloadFormatIndicator'
  | 'messageExpiryInterval'
  | 'contentType'
  | 'responseTopic'
  | 'correlationData'
  | 'subscriptionIdentifier'
  | 'sessionExpiryInterval'
  | 'assignedClientIdentifier'
  | 'serverKeepAlive'
  | 'authenticationMethod'
  | 'authenticationData'
  | 'requestProblemInformation'
  | 'willDelayInterval'
  | 'requestResponseInformation'
  | 'responseInformation'
  | 'serverReference'
  | 'reasonString'
  | 'receiveMaximum'
  | 'topicAliasMaximum'
  | 'topicAlias'
  | 'maximumQos'
  | 'retainAvailable'
  | 'userProperty'
  | 'maximumPacketSize'
  | 'wildcardSubscriptionAvailable'
  | 'subscriptionIdentifierAvailable'
  | 'sharedSubscriptionAvailable';

/** Identifier, type, and the packets each MQTT 5 property may travel in (section 2.2.2.2). */
export const PROPERTIES: Readonly<
  Record<PropertyName, readonly [id: number, kind: PropertyKind, packets: string]>
> = {
  payloadFormatIndicator: [0x01, 'byte', 'PUBLISH WILL'],
  messageExpiryInterval: [0x02, 'u32', 'PUBLISH WILL'],
  contentType: [0x03, 'string', 'PUBLISH WILL'],
  responseTopic: [0x08, 'string', 'PUBLISH WILL'],
  correlationData: [0x09, 'binary', 'PUBLISH WILL'],
  subscriptionIdentifier: [0x0b, 'varint', 'PUBLISH SUBSCRIBE'],
  sessionExpiryInterval: [0x11, 'u32', 'CONNECT CONNACK DISCONNECT'],
  assignedClientIdentifier: [0x12, 'string', 'CONNACK'],
  serverKeepAlive: [0x13, 'u16', 'CONNACK'],
  authenticationMethod: [0x15, 'string', 'CONNECT CONNACK AUTH'],
  authenticationData: [0x16, 'binary', 'CONNECT CONNACK AUTH'],
  requestProblemInformation: [0x17, 'byte', 'CONNECT'],
  willDelayInterval: [0x18, 'u32', 'WILL'],
  requestResponseInformation: [0x19, 'byte', 'CONNECT'],
  responseInformation: [0x1a, 'string', 'CONNACK'],
  serverReference: [0x1c, 'string', 'CONNACK DISCONNECT'],
  reasonString: [
    0x1f,
    'string',
    'CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT AUTH',
  ],
  receiveMaximum: [0x21, 'u16', 'CONNECT CONNACK'],
  topicAliasMaximum: [0x22, 'u16', 'CONNECT CONNACK'],
  topicAlias: [0x23, 'u16', 'PUBLISH'],
  maximumQos: [0x24, 'byte', 'CONNACK'],
  retainAvailable: [0x25, 'byte', 'CONNACK'],
  userProperty: [
    0x26,
    'pair',
    'CONNECT CONNACK PUBLISH WILL PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE ' +
      'UNSUBACK DISCONNECT AUTH',
  ],
  maximumPacketSize: [0x27, 'u32', 'CONNECT CONNACK'],
  wildcardSubscriptionAvailable: [0x28, 'byte', 'CONNACK'],
  subscriptionIdentifierAvailable: [0x29, 'byte', 'CONNACK'],
  sharedSubscriptionAvailable: [0x2a, 'byte', 'CONNACK'],
};

export const PACKET_TYPES = [
  'RESERVED',
  'CONNECT',
  'CONNACK',
  'PUBLISH',
  'PUBACK',
  'PUBREC',
  'PUBREL',
  'PUBCOMP',
  'SUBSCRIBE',
  'SUBACK',
  'UNSUBSCRIBE',
  'UNSUBACK',
  'PINGREQ',
  'PINGRESP',
  'DISCONNECT',
  'AUTH',
] as const;
export type PacketType = (typeof PACKET_TYPES)[number];

export function u16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    bytes.push(rest > 0 ? low | 0x80 : low);
  } while (rest > 0);
  return Buffer.from(bytes);
}

/** Two bytes of length and the data: UTF-8 strings and binary data look alike. */
export function prefixed(data: string | Buffer): Buffer {
  const bytes = typeof data === 'string' ? Buffer.from(data, 'utf8') : data;
  return Buffer.concat([u16(bytes.length), bytes]);
}

/** A whole packet from its first byte and what follows the remaining length. */
export function packet(firstByte: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([firstByte]), varint(body.length), body]);
}

/** One property as bytes, identifier included, without the length of the whole section. */
export function propertyBytes([name, value]: Property): Buffer {
  const [id, kind] = PROPERTIES[name];
  return Buffer.concat([Buffer.from([id]), valueBytes(kind, value)]);
}

function valueBytes(kind: PropertyKind, value: PropertyValue): Buffer {
  if (kind === 'pair') {
    if (typeof value !== 'object' || Buffer.isBuffer(value)) throw new Error('pair expected');
    return Buffer.concat([prefixed(value[0]), prefixed(value[1])]);
  }
  if (kind === 'string' || kind === 'binary') {
    if (typeof value === 'string' || Buffer.isBuffer(value)) return prefixed(value);
    throw new Error('string or bytes expected');
  }
  if (typeof value !== 'number') throw new Error('number expected');
  if (kind === 'byte') return Buffer.from([value]);
  if (kind === 'u16') return u16(value);
  return kind === 'u32' ? u32(value) : varint(value);
}

/** The property section: its length and the properties in the order given. */
export function properties(list: readonly Property[] = []): Buffer {
  const bytes = Buffer.concat(list.map(propertyBytes));
  return Buffer.concat([varint(bytes.length), bytes]);
}

export interface WillFields {
  readonly topic: string | Buffer;
  readonly payload?: string | Buffer;
  readonly qos?: number;
  readonly retain?: boolean;
  readonly properties?: readonly Property[];
}

export interface ConnectFields {
  readonly version: ProtocolVersion;
  readonly clientId: string | Buffer;
  readonly clean?: boolean;
  readonly keepAliveSec?: number;
  readonly properties?: readonly Property[];
  readonly will?: WillFields;
  readonly username?: string | Buffer;
  readonly password?: string | Buffer;
  /** Overrides for packets that are wrong on purpose. */
  readonly protocolName?: string | Buffer;
  readonly protocolLevel?: number;
  readonly connectFlags?: number;
  readonly firstByte?: number;
}

export function connectFlags(fields: ConnectFields): number {
  const { will } = fields;
  return (
    (fields.username === undefined ? 0 : 0x80) |
    (fields.password === undefined ? 0 : 0x40) |
    (will?.retain === true ? 0x20 : 0) |
    ((will?.qos ?? 0) << 3) |
    (will === undefined ? 0 : 0x04) |
    (fields.clean === false ? 0 : 0x02)
  );
}

export function connect(fields: ConnectFields): Buffer {
  const v5 = fields.version === 5;
  const parts: Buffer[] = [
    prefixed(fields.protocolName ?? (fields.version === 3 ? 'MQIsdp' : 'MQTT')),
    Buffer.from([
      fields.protocolLevel ?? fields.version,
      fields.connectFlags ?? connectFlags(fields),
    ]),
    u16(fields.keepAliveSec ?? 60),
  ];
  if (v5) parts.push(properties(fields.properties));
  parts.push(prefixed(fields.clientId));
  if (fields.will !== undefined) {
    if (v5) parts.push(properties(fields.will.properties));
    parts.push(prefixed(fields.will.topic), prefixed(fields.will.payload ?? 'will'));
  }
  if (fields.username !== undefined) parts.push(prefixed(fields.username));
  if (fields.password !== undefined) parts.push(prefixed(fields.password));
  return packet(fields.firstByte ?? 0x10, ...parts);
}

export interface PublishFields {
  readonly version: ProtocolVersion;
  readonly topic: string | Buffer;
  readonly payload?: string | Buffer;
  readonly qos?: number;
  readonly retain?: boolean;
  readonly dup?: boolean;
  readonly packetId?: number;
  readonly properties?: readonly Property[];
}

export function publish(fields: PublishFields): Buffer {
  const qos = fields.qos ?? 0;
  const first =
    0x30 | (fields.dup === true ? 8 : 0) | (qos << 1) | (fields.retain === true ? 1 : 0);
  const parts: Buffer[] = [prefixed(fields.topic)];
  if (qos > 0) parts.push(u16(fields.packetId ?? 1));
  if (fields.version === 5) parts.push(properties(fields.properties));
  parts.push(Buffer.from(fields.payload ?? ''));
  return packet(first, ...parts);
}

export type AckType = 'PUBACK' | 'PUBREC' | 'PUBREL' | 'PUBCOMP';
const ACK_FIRST_BYTE: Record<AckType, number> = {
  PUBACK: 0x40,
  PUBREC: 0x50,
  PUBREL: 0x62,
  PUBCOMP: 0x70,
};

/** An acknowledgement; without a reason code it is the two-byte form all versions share. */
export function ack(
  type: AckType,
  packetId: number,
  reasonCode?: number,
  list?: readonly Property[],
): Buffer {
  const parts: Buffer[] = [u16(packetId)];
  if (reasonCode !== undefined) parts.push(Buffer.from([reasonCode]));
  if (list !== undefined) parts.push(properties(list));
  return packet(ACK_FIRST_BYTE[type], ...parts);
}

export interface Subscription {
  readonly filter: string | Buffer;
  readonly qos?: number;
  readonly noLocal?: boolean;
  readonly retainAsPublished?: boolean;
  readonly retainHandling?: number;
  /** The whole options byte, for wrong ones. */
  readonly options?: number;
}

export interface SubscribeFields {
  readonly version: ProtocolVersion;
  readonly packetId: number;
  readonly subscriptions: readonly Subscription[];
  readonly properties?: readonly Property[];
  readonly firstByte?: number;
}

export function subscribe(fields: SubscribeFields): Buffer {
  const parts: Buffer[] = [u16(fields.packetId)];
  if (fields.version === 5) parts.push(properties(fields.properties));
  for (const one of fields.subscriptions) {
    const options =
      one.options ??
      (one.qos ?? 0) |
        (one.noLocal === true ? 4 : 0) |
        (one.retainAsPublished === true ? 8 : 0) |
        ((one.retainHandling ?? 0) << 4);
    parts.push(prefixed(one.filter), Buffer.from([options]));
  }
  return packet(fields.firstByte ?? 0x82, ...parts);
}

export interface UnsubscribeFields {
  readonly version: ProtocolVersion;
  readonly packetId: number;
  readonly filters: readonly (string | Buffer)[];
  readonly properties?: readonly Property[];
  readonly firstByte?: number;
}

export function unsubscribe(fields: UnsubscribeFields): Buffer {
  const parts: Buffer[] = [u16(fields.packetId)];
  if (fields.version === 5) parts.push(properties(fields.properties));
  for (const filter of fields.filters) parts.push(prefixed(filter));
  return packet(fields.firstByte ?? 0xa2, ...parts);
}

export const PINGREQ: Buffer = Buffer.from([0xc0, 0]);

/** Without a reason code: the empty form, valid in every version. */
export function disconnect(reasonCode?: number, list?: readonly Property[]): Buffer {
  const parts: Buffer[] = [];
  if (reasonCode !== undefined) parts.push(Buffer.from([reasonCode]));
  if (list !== undefined) parts.push(properties(list));
  return packet(0xe0, ...parts);
}

export function auth(reasonCode: number, list: readonly Property[]): Buffer {
  return packet(0xf0, Buffer.from([reasonCode]), properties(list));
}
