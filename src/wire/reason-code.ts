/**
 * MQTT 5 reason codes, which packet may carry which, and their MQTT 3.1.1 CONNACK equivalents.
 * The broker thinks in these codes for every protocol version; encoders translate for version 3.x.
 */
import { PacketType } from './packet-type.ts';

/** MQTT 5 §2.4. 0x00 has three names there; all three are kept. */
export const ReasonCode = {
  SUCCESS: 0x00,
  NORMAL_DISCONNECTION: 0x00,
  GRANTED_QOS_0: 0x00,
  GRANTED_QOS_1: 0x01,
  GRANTED_QOS_2: 0x02,
  DISCONNECT_WITH_WILL_MESSAGE: 0x04,
  NO_MATCHING_SUBSCRIBERS: 0x10,
  NO_SUBSCRIPTION_EXISTED: 0x11,
  CONTINUE_AUTHENTICATION: 0x18,
  RE_AUTHENTICATE: 0x19,
  UNSPECIFIED_ERROR: 0x80,
  MALFORMED_PACKET: 0x81,
  PROTOCOL_ERROR: 0x82,
  IMPLEMENTATION_SPECIFIC_ERROR: 0x83,
  UNSUPPORTED_PROTOCOL_VERSION: 0x84,
  CLIENT_IDENTIFIER_NOT_VALID: 0x85,
  BAD_USER_NAME_OR_PASSWORD: 0x86,
  NOT_AUTHORIZED: 0x87,
  SERVER_UNAVAILABLE: 0x88,
  SERVER_BUSY: 0x89,
  BANNED: 0x8a,
  SERVER_SHUTTING_DOWN: 0x8b,
  BAD_AUTHENTICATION_METHOD: 0x8c,
  KEEP_ALIVE_TIMEOUT: 0x8d,
  SESSION_TAKEN_OVER: 0x8e,
  TOPIC_FILTER_INVALID: 0x8f,
  TOPIC_NAME_INVALID: 0x90,
  PACKET_IDENTIFIER_IN_USE: 0x91,
  PACKET_IDENTIFIER_NOT_FOUND: 0x92,
  RECEIVE_MAXIMUM_EXCEEDED: 0x93,
  TOPIC_ALIAS_INVALID: 0x94,
  PACKET_TOO_LARGE: 0x95,
  MESSAGE_RATE_TOO_HIGH: 0x96,
  QUOTA_EXCEEDED: 0x97,
  ADMINISTRATIVE_ACTION: 0x98,
  PAYLOAD_FORMAT_INVALID: 0x99,
  RETAIN_NOT_SUPPORTED: 0x9a,
  QOS_NOT_SUPPORTED: 0x9b,
  USE_ANOTHER_SERVER: 0x9c,
  SERVER_MOVED: 0x9d,
  SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: 0x9e,
  CONNECTION_RATE_EXCEEDED: 0x9f,
  MAXIMUM_CONNECT_TIME: 0xa0,
  SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED: 0xa1,
  WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED: 0xa2,
} as const;

const NAMES = new Map<number, string>();
for (const [name, code] of Object.entries(ReasonCode)) {
  if (!NAMES.has(code)) NAMES.set(code, name);
}

/** Name for logs and metrics, such as MALFORMED_PACKET; unknown codes as hex. */
export function reasonName(code: number): string {
  return NAMES.get(code) ?? `0x${code.toString(16).padStart(2, '0')}`;
}

/** Who sent a packet: DISCONNECT and AUTH allow each side different codes. */
export type Sender = 'client' | 'server';

const CLIENT_DISCONNECT: readonly number[] = [
  0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
];
const SERVER_DISCONNECT: readonly number[] = [
  0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96,
  0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
];

const PUBLISH_OUTCOME: readonly number[] = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const RELEASE_OUTCOME: readonly number[] = [0x00, 0x92];

/** One flag byte per (packet type, code): 1 a client may send it, 2 a server may. */
const ALLOWED = new Uint8Array(16 * 256);

function allow(type: number, flags: number, codes: readonly number[]): void {
  for (const code of codes) ALLOWED[(type << 8) | code] = ALLOWED[(type << 8) | code]! | flags;
}

allow(
  PacketType.CONNACK,
  2,
  [
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97,
    0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
  ],
);
allow(PacketType.PUBACK, 3, PUBLISH_OUTCOME);
allow(PacketType.PUBREC, 3, PUBLISH_OUTCOME);
allow(PacketType.PUBREL, 3, RELEASE_OUTCOME);
allow(PacketType.PUBCOMP, 3, RELEASE_OUTCOME);
allow(
  PacketType.SUBACK,
  2,
  [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2],
);
allow(PacketType.UNSUBACK, 2, [0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91]);
allow(PacketType.DISCONNECT, 1, CLIENT_DISCONNECT);
allow(PacketType.DISCONNECT, 2, SERVER_DISCONNECT);
allow(PacketType.AUTH, 1, [0x18, 0x19]);
allow(PacketType.AUTH, 2, [0x00, 0x18]);

/** Whether MQTT 5 lets this sender put this reason code into this packet. */
export function isReasonCodeAllowed(type: number, code: number, sender: Sender): boolean {
  return (ALLOWED[(type << 8) | code]! & (sender === 'client' ? 1 : 2)) !== 0;
}

/** The same for the four acknowledgements, where both sides share one list. */
export function isAckReasonCodeAllowed(type: number, code: number): boolean {
  return ALLOWED[(type << 8) | code] !== 0;
}

/** MQTT 3.1.1 CONNACK return codes by v5 reason. 0 here means: 3.1.1 has none that applies. */
const RETURN_CODES = new Uint8Array(256);
RETURN_CODES[ReasonCode.UNSUPPORTED_PROTOCOL_VERSION] = 1;
RETURN_CODES[ReasonCode.CLIENT_IDENTIFIER_NOT_VALID] = 2;
RETURN_CODES[ReasonCode.UNSPECIFIED_ERROR] = 3;
RETURN_CODES[ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR] = 3;
RETURN_CODES[ReasonCode.SERVER_UNAVAILABLE] = 3;
RETURN_CODES[ReasonCode.SERVER_BUSY] = 3;
RETURN_CODES[ReasonCode.SERVER_SHUTTING_DOWN] = 3;
RETURN_CODES[ReasonCode.QUOTA_EXCEEDED] = 3;
RETURN_CODES[ReasonCode.USE_ANOTHER_SERVER] = 3;
RETURN_CODES[ReasonCode.SERVER_MOVED] = 3;
RETURN_CODES[ReasonCode.CONNECTION_RATE_EXCEEDED] = 3;
RETURN_CODES[ReasonCode.BAD_USER_NAME_OR_PASSWORD] = 4;
RETURN_CODES[ReasonCode.BAD_AUTHENTICATION_METHOD] = 4;
RETURN_CODES[ReasonCode.NOT_AUTHORIZED] = 5;
RETURN_CODES[ReasonCode.BANNED] = 5;

/**
 * Whether MQTT 3.1.1 has a return code for this refusal. When it has none the connection is closed
 * without a CONNACK. [MQTT311-3.2.2-6]
 */
export function hasConnackReturnCode(reasonCode: number): boolean {
  return RETURN_CODES[reasonCode] !== 0;
}

/** The MQTT 3.1.1 return code (1..5) of a refusal; 3, server unavailable, where none applies. */
export function connackReturnCode(reasonCode: number): number {
  return RETURN_CODES[reasonCode] || 3;
}

const REASONS_BY_RETURN_CODE: readonly number[] = [
  ReasonCode.SUCCESS,
  ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
  ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
  ReasonCode.SERVER_UNAVAILABLE,
  ReasonCode.BAD_USER_NAME_OR_PASSWORD,
  ReasonCode.NOT_AUTHORIZED,
];

/** The v5 reason of a 3.1.1 CONNACK return code, or -1 when the code is reserved. */
export function reasonOfReturnCode(returnCode: number): number {
  return REASONS_BY_RETURN_CODE[returnCode] ?? -1;
}
