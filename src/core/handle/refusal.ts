/**
 * How a CONNECT is refused, or sent elsewhere: the CONNACK that says so in the words of the client's version, and
 * the end of the socket behind it. Why is for connect.ts to know; each reason has its row in refuse-reason.ts.
 */
import { encodeConnack } from '../../wire/connack.ts';
import type { ProtocolError } from '../../wire/protocol-error.ts';
import { hasConnackReturnCode, ReasonCode } from '../../wire/reason-code.ts';
import type { Connection } from '../connection.ts';
import type { Elsewhere } from '../ports.ts';
import { type RefuseReason, refuseTable } from '../refuse-reason.ts';

export function refuseMalformed(
  connection: Connection,
  error: ProtocolError,
  version: number,
): void {
  // [MQTT311-3.1.2-2]; a version we do not know is answered in the form of 3.1.1.
  if (error.reasonCode === ReasonCode.UNSUPPORTED_PROTOCOL_VERSION) {
    connection.version = 4;
    refuse(connection, 'protocol_version');
    return;
  }
  if (version === 5) {
    connection.version = 5;
    connection.refuse('malformed', connack(connection, error.reasonCode, error.message));
    return;
  }
  // [MQTT311-4.8.0-1]: 3.x closes without a word on what it cannot decode.
  if (version === 3 || version === 4) connection.version = version;
  if (error.reasonCode === ReasonCode.CLIENT_IDENTIFIER_NOT_VALID) {
    refuse(connection, 'client_id_invalid');
  } else {
    connection.refuse('malformed', null);
  }
}

export function refuse(connection: Connection, reason: RefuseReason, reasonString?: string): void {
  connection.refuse(reason, connack(connection, refuseTable[reason].reasonCode, reasonString));
}

/** Who may connect, but should do so elsewhere, is told where [MQTT5-4.11]. */
export function isSteered(connection: Connection): boolean {
  const { steering } = connection.services.core;
  if (steering === null || connection.listener.isOwn === true) return false;
  const { clientId, version, sink } = connection;
  return isSentTo(connection, steering.elsewhere(clientId, version, sink.remoteAddress));
}

/** Whose session is in another region may be told to go there instead of having it moved. */
export function isSentHome(connection: Connection, region: string): boolean {
  const { clientId, version, services } = connection;
  const elsewhere = services.core.steering?.homeOf(clientId, version, region) ?? null;
  return isSentTo(connection, elsewhere);
}

function isSentTo(connection: Connection, elsewhere: Elsewhere | null): boolean {
  if (elsewhere === null) return false;
  const reason = elsewhere.isForGood ? 'server_moved' : 'another_server';
  const { reasonCode } = refuseTable[reason];
  const { serverReference } = elsewhere;
  connection.refuse(reason, connack(connection, reasonCode, undefined, serverReference));
  return true;
}

/** The CONNACK of a refusal; null where 3.x has no word for it. */
function connack(
  connection: Connection,
  reasonCode: number,
  reasonString?: string,
  serverReference: string | null = connection.services.core.serverReference,
): Buffer | null {
  if (connection.version !== 5 && !hasConnackReturnCode(reasonCode)) return null;
  const bytes = encodeConnack(connection.version, {
    sessionPresent: false,
    reasonCode,
    reasonString: connection.wantsProblemInformation ? reasonString : undefined,
    // [MQTT5-3.2.2-21]
    serverReference:
      reasonCode === ReasonCode.USE_ANOTHER_SERVER || reasonCode === ReasonCode.SERVER_MOVED
        ? (serverReference ?? undefined)
        : undefined,
  });
  // [MQTT5-3.2.2-19]: what explains goes when the packet would be too large for the client.
  if (bytes.length <= connection.outlet.packetBytesMax) return bytes;
  return encodeConnack(connection.version, { sessionPresent: false, reasonCode });
}

/** Another identity has the session, or nobody could say who has it. */
export function refuseTaken(connection: Connection, kind: 'foreign' | 'unavailable'): void {
  if (connection.closed) return;
  refuse(connection, kind === 'foreign' ? 'identity_mismatch' : 'session_unavailable');
}
