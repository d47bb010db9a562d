/** DISCONNECT from a client [MQTT5-3.14]. */
import { decodeDisconnect } from '../../wire/disconnect.ts';
import { ProtocolError } from '../../wire/protocol-error.ts';
import { ReasonCode } from '../../wire/reason-code.ts';
import type { Connection } from '../connection.ts';

export function handleDisconnect(
  connection: Connection,
  buffer: Buffer,
  bodyStart: number,
  bodyEnd: number,
): void {
  const { core } = connection.services;
  const session = connection.session!;
  const packet = decodeDisconnect(connection.version, buffer, bodyStart, bodyEnd, {
    userPropertiesMax: core.limits.userPropertiesMax,
    filtersMax: core.limits.filtersPerPacketMax,
  });
  if (packet.sessionExpiryIntervalS >= 0) {
    if (session.expiryIntervalS === 0 && packet.sessionExpiryIntervalS > 0) {
      // [MQTT5-3.14.2-2]
      throw new ProtocolError(ReasonCode.PROTOCOL_ERROR, 'session expiry was 0 in CONNECT');
    }
    session.expiryIntervalS = Math.min(
      packet.sessionExpiryIntervalS,
      core.limits.sessionExpiryMaxS,
    );
  }
  // [MQTT5-3.14.4-3]: only a normal goodbye cancels the will.
  connection.close(
    packet.reasonCode === ReasonCode.NORMAL_DISCONNECTION
      ? 'client_disconnect'
      : 'client_disconnect_with_will',
  );
}
