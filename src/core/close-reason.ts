/**
 * Why a connection ends: one closed set of names that the client (as an MQTT 5 reason code), the log,
 * the metric `causeway_connections_closed_total{reason}` and the docs share.
 */
import { ReasonCode } from '../wire/reason-code.ts';

export interface CloseSpec {
  /** MQTT 5 reason code sent in DISCONNECT (or CONNACK), or -1: nothing is sent. */
  readonly reasonCode: number;
  /** The will is published (after its delay). */
  readonly publishesWill: boolean;
  readonly help: string;
}

const close = (reasonCode: number, publishesWill: boolean, help: string): CloseSpec => ({
  reasonCode,
  publishesWill,
  help,
});

/** Every reason; the table below must have each. */
export type CloseReason =
  | 'client_disconnect'
  | 'client_disconnect_with_will'
  | 'socket_closed'
  | 'socket_error'
  | 'connect_timeout'
  | 'not_connect'
  | 'connect_refused'
  | 'malformed_packet'
  | 'protocol_error'
  | 'packet_too_large'
  | 'receive_maximum'
  | 'topic_alias_invalid'
  | 'topic_name_invalid'
  | 'keep_alive_timeout'
  | 'session_taken_over'
  | 'server_shutting_down'
  | 'draining'
  | 'node_fenced'
  | 'admin_disconnect'
  | 'not_authorized'
  | 'rights_revoked'
  | 'credentials_expired'
  | 'banned'
  | 'session_ended'
  | 'message_rate'
  | 'quota_exceeded'
  | 'queue_overflow'
  | 'outbox_stalled'
  | 'store_failed'
  | 'internal_error';

export const closeTable: { readonly [reason in CloseReason]: CloseSpec } = {
  client_disconnect: close(-1, false, 'The client sent DISCONNECT.'),
  client_disconnect_with_will: close(
    -1,
    true,
    'The client sent DISCONNECT 0x04 or another reason.',
  ),
  socket_closed: close(-1, true, 'The socket ended without a DISCONNECT.'),
  socket_error: close(-1, true, 'The socket failed.'),
  connect_timeout: close(-1, false, 'No CONNECT was accepted within connectTimeoutMs.'),
  not_connect: close(-1, false, 'The first packet was not a CONNECT.'),
  connect_refused: close(-1, false, 'The CONNECT was answered with an error.'),
  malformed_packet: close(ReasonCode.MALFORMED_PACKET, true, 'A packet could not be decoded.'),
  protocol_error: close(ReasonCode.PROTOCOL_ERROR, true, 'A packet broke a rule of the protocol.'),
  packet_too_large: close(ReasonCode.PACKET_TOO_LARGE, true, 'A packet was over packetBytesMax.'),
  receive_maximum: close(
    ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
    true,
    'More QoS 1 and 2 messages were open than receiveMaximum.',
  ),
  topic_alias_invalid: close(
    ReasonCode.TOPIC_ALIAS_INVALID,
    true,
    'A topic alias was 0, unknown or over topicAliasMax.',
  ),
  topic_name_invalid: close(ReasonCode.TOPIC_NAME_INVALID, true, 'A topic name was not allowed.'),
  keep_alive_timeout: close(
    ReasonCode.KEEP_ALIVE_TIMEOUT,
    true,
    'No packet came within 1.5 times the keep alive.',
  ),
  session_taken_over: close(
    ReasonCode.SESSION_TAKEN_OVER,
    true,
    'Another connection came with the same client identifier.',
  ),
  server_shutting_down: close(
    ReasonCode.SERVER_SHUTTING_DOWN,
    true,
    'The broker was told to stop.',
  ),
  draining: close(
    ReasonCode.USE_ANOTHER_SERVER,
    true,
    'The node is being emptied before it stops: connect again, to the server that is named.',
  ),
  node_fenced: close(
    ReasonCode.USE_ANOTHER_SERVER,
    false,
    'The node was cut off from its datacenter, which goes on without it: connect again, elsewhere.',
  ),
  admin_disconnect: close(
    ReasonCode.ADMINISTRATIVE_ACTION,
    true,
    'An operator ended the connection.',
  ),
  not_authorized: close(ReasonCode.NOT_AUTHORIZED, true, 'The client may not go on.'),
  rights_revoked: close(
    ReasonCode.NOT_AUTHORIZED,
    true,
    'Rules changed, and a subscription or the user of the connection is no longer allowed.',
  ),
  credentials_expired: close(
    ReasonCode.MAXIMUM_CONNECT_TIME,
    true,
    'The token or certificate of the connection expired.',
  ),
  banned: close(
    ReasonCode.ADMINISTRATIVE_ACTION,
    true,
    'Client identifier, user, address or certificate was banned.',
  ),
  session_ended: close(ReasonCode.ADMINISTRATIVE_ACTION, true, 'An operator removed the session.'),
  message_rate: close(
    ReasonCode.MESSAGE_RATE_TOO_HIGH,
    true,
    'The client published more than a quota with `action: disconnect` allows.',
  ),
  quota_exceeded: close(ReasonCode.QUOTA_EXCEEDED, true, 'A limit of the client was reached.'),
  queue_overflow: close(
    ReasonCode.QUOTA_EXCEEDED,
    true,
    'The session queue was full and queueOverflow is disconnect.',
  ),
  outbox_stalled: close(
    ReasonCode.QUOTA_EXCEEDED,
    true,
    'The client took no byte for outboxStallMs.',
  ),
  store_failed: close(
    ReasonCode.UNSPECIFIED_ERROR,
    true,
    'A 3.1.1 publish could not be stored; closing is the only way to say so.',
  ),
  internal_error: close(
    ReasonCode.UNSPECIFIED_ERROR,
    true,
    'The broker failed while it handled this connection; the log has the cause.',
  ),
};
