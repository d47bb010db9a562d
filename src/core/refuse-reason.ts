/**
 * Why a CONNECT is refused: one closed set of names that the client (as a reason code), the log, the
 * metric `causeway_connects_refused_total{reason}` and the docs share.
 */
import { ReasonCode } from '../wire/reason-code.ts';

export interface RefuseSpec {
  /** MQTT 5 reason code of the CONNACK; 3.x clients get what comes nearest [MQTT5-3.2.2.2]. */
  readonly reasonCode: number;
  readonly help: string;
}

const refuse = (reasonCode: number, help: string): RefuseSpec => ({ reasonCode, help });

/** Every reason; the table below must have each. */
export type RefuseReason =
  | 'malformed'
  | 'protocol_version'
  | 'client_id_invalid'
  | 'will_topic_invalid'
  | 'will_not_authorized'
  | 'bad_credentials'
  | 'not_authorized'
  | 'identity_mismatch'
  | 'authentication_method'
  | 'authentication_failed'
  | 'authentication_unavailable'
  | 'authentication_busy'
  | 'banned'
  | 'flapping'
  | 'login_blocked'
  | 'connect_rate'
  | 'connections_quota'
  | 'sessions_max'
  | 'store_failed'
  | 'session_unavailable'
  | 'draining'
  | 'another_server'
  | 'server_moved'
  | 'server_shutting_down';

export const refuseTable: { readonly [reason in RefuseReason]: RefuseSpec } = {
  malformed: refuse(ReasonCode.MALFORMED_PACKET, 'The CONNECT could not be decoded.'),
  protocol_version: refuse(
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    'The protocol version is none of 3.1, 3.1.1 and 5.',
  ),
  client_id_invalid: refuse(
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
    'The client identifier is missing, too long, or not the one the credentials allow.',
  ),
  will_topic_invalid: refuse(
    ReasonCode.TOPIC_NAME_INVALID,
    'The topic of the will is not allowed.',
  ),
  will_not_authorized: refuse(
    ReasonCode.NOT_AUTHORIZED,
    'The client may not publish to the topic of its will.',
  ),
  bad_credentials: refuse(
    ReasonCode.BAD_USER_NAME_OR_PASSWORD,
    'User name, password, token or certificate did not prove who the client is.',
  ),
  not_authorized: refuse(
    ReasonCode.NOT_AUTHORIZED,
    'No credentials were given where they are asked for, or the client may not connect here.',
  ),
  identity_mismatch: refuse(
    ReasonCode.NOT_AUTHORIZED,
    'The session of this client identifier belongs to another user.',
  ),
  authentication_method: refuse(
    ReasonCode.BAD_AUTHENTICATION_METHOD,
    'The authentication method is not offered here.',
  ),
  authentication_failed: refuse(
    ReasonCode.NOT_AUTHORIZED,
    'The exchange of an enhanced authentication did not prove who the client is.',
  ),
  authentication_unavailable: refuse(
    ReasonCode.SERVER_UNAVAILABLE,
    'What decides about the credentials did not answer or answered nonsense: nobody is let in.',
  ),
  authentication_busy: refuse(
    ReasonCode.SERVER_BUSY,
    'Too many logins wait to be checked; try again.',
  ),
  banned: refuse(ReasonCode.BANNED, 'Client identifier, user, address or certificate is banned.'),
  flapping: refuse(ReasonCode.BANNED, 'The client came and went too often in a short time.'),
  login_blocked: refuse(
    ReasonCode.CONNECTION_RATE_EXCEEDED,
    'Too many failed logins from this address; it has to wait.',
  ),
  connect_rate: refuse(ReasonCode.CONNECTION_RATE_EXCEEDED, 'More connects than a quota allows.'),
  connections_quota: refuse(
    ReasonCode.QUOTA_EXCEEDED,
    'More connections at one time than connectionsMax or a quota allows.',
  ),
  sessions_max: refuse(ReasonCode.QUOTA_EXCEEDED, 'More sessions than sessionsMax.'),
  draining: refuse(
    ReasonCode.USE_ANOTHER_SERVER,
    'The node is being emptied before it stops: another one takes the client.',
  ),
  another_server: refuse(
    ReasonCode.USE_ANOTHER_SERVER,
    'Another region or node should serve the client now: the Server Reference says which.',
  ),
  server_moved: refuse(
    ReasonCode.SERVER_MOVED,
    'Another region serves the client from now on: the Server Reference says which.',
  ),
  session_unavailable: refuse(
    ReasonCode.SERVER_UNAVAILABLE,
    'Who owns the session could not be found out: Redis does not answer, or this node was cut off.',
  ),
  store_failed: refuse(ReasonCode.SERVER_UNAVAILABLE, 'The store could not keep the session.'),
  server_shutting_down: refuse(ReasonCode.SERVER_UNAVAILABLE, 'The broker is about to stop.'),
};

export const refuseReasons: readonly RefuseReason[] = Object.keys(refuseTable) as RefuseReason[];
