/**
 * What an MQTT reason code means, in words for a person: messages of ClientError, the output of
 * `causeway pub/sub/rr`, and health answers. It must not decide anything.
 */
import { ReasonCode } from '../wire/reason-code.ts';

const TEXTS: readonly (readonly [code: number, text: string])[] = [
  [ReasonCode.SUCCESS, 'success'],
  [ReasonCode.GRANTED_QOS_1, 'granted QoS 1'],
  [ReasonCode.GRANTED_QOS_2, 'granted QoS 2'],
  [ReasonCode.DISCONNECT_WITH_WILL_MESSAGE, 'disconnect with will message'],
  [ReasonCode.NO_MATCHING_SUBSCRIBERS, 'no matching subscribers'],
  [ReasonCode.NO_SUBSCRIPTION_EXISTED, 'no such subscription existed'],
  [ReasonCode.CONTINUE_AUTHENTICATION, 'continue authentication'],
  [ReasonCode.RE_AUTHENTICATE, 're-authenticate'],
  [ReasonCode.UNSPECIFIED_ERROR, 'unspecified error'],
  [ReasonCode.MALFORMED_PACKET, 'malformed packet'],
  [ReasonCode.PROTOCOL_ERROR, 'protocol error'],
  [ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, 'implementation specific error'],
  [ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, 'protocol version not supported'],
  [ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, 'client identifier not valid'],
  [ReasonCode.BAD_USER_NAME_OR_PASSWORD, 'bad user name or password'],
  [ReasonCode.NOT_AUTHORIZED, 'not authorized'],
  [ReasonCode.SERVER_UNAVAILABLE, 'server unavailable'],
  [ReasonCode.SERVER_BUSY, 'server busy'],
  [ReasonCode.BANNED, 'banned'],
  [ReasonCode.SERVER_SHUTTING_DOWN, 'server shutting down'],
  [ReasonCode.BAD_AUTHENTICATION_METHOD, 'authentication method not supported'],
  [ReasonCode.KEEP_ALIVE_TIMEOUT, 'keep alive timeout'],
  [ReasonCode.SESSION_TAKEN_OVER, 'session taken over by another connection'],
  [ReasonCode.TOPIC_FILTER_INVALID, 'topic filter invalid'],
  [ReasonCode.TOPIC_NAME_INVALID, 'topic name invalid'],
  [ReasonCode.PACKET_IDENTIFIER_IN_USE, 'packet identifier in use'],
  [ReasonCode.PACKET_IDENTIFIER_NOT_FOUND, 'packet identifier not found'],
  [ReasonCode.RECEIVE_MAXIMUM_EXCEEDED, 'receive maximum exceeded'],
  [ReasonCode.TOPIC_ALIAS_INVALID, 'topic alias invalid'],
  [ReasonCode.PACKET_TOO_LARGE, 'packet too large'],
  [ReasonCode.MESSAGE_RATE_TOO_HIGH, 'message rate too high'],
  [ReasonCode.QUOTA_EXCEEDED, 'quota exceeded'],
  [ReasonCode.ADMINISTRATIVE_ACTION, 'ended by an administrator'],
  [ReasonCode.PAYLOAD_FORMAT_INVALID, 'payload format invalid'],
  [ReasonCode.RETAIN_NOT_SUPPORTED, 'retain not supported'],
  [ReasonCode.QOS_NOT_SUPPORTED, 'QoS not supported'],
  [ReasonCode.USE_ANOTHER_SERVER, 'use another server'],
  [ReasonCode.SERVER_MOVED, 'server moved'],
  [ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, 'shared subscriptions not supported'],
  [ReasonCode.CONNECTION_RATE_EXCEEDED, 'connection rate exceeded'],
  [ReasonCode.MAXIMUM_CONNECT_TIME, 'maximum connect time reached'],
  [ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, 'subscription identifiers not supported'],
  [ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED, 'wildcard subscriptions not supported'],
];

const BY_CODE: ReadonlyMap<number, string> = new Map(TEXTS);

/** `not authorized (0x87)`; a code without a name is said as its number. */
export function reasonText(code: number): string {
  const hex = `0x${code.toString(16).padStart(2, '0')}`;
  const text = BY_CODE.get(code);
  return text === undefined ? `reason code ${hex}` : `${text} (${hex})`;
}
