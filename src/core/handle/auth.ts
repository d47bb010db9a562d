/** AUTH from a client [MQTT5-3.15]: the next step of an exchange, or re-authentication. */
import { decodeAuth, encodeAuth } from '../../wire/auth.ts';
import { PacketType } from '../../wire/packet-type.ts';
import { ProtocolError } from '../../wire/protocol-error.ts';
import { ReasonCode } from '../../wire/reason-code.ts';
import { type Connection, Phase } from '../connection.ts';
import { connectRequest } from './connect.ts';
import { stepExchange } from './exchange.ts';

export function handleAuth(
  connection: Connection,
  buffer: Buffer,
  bodyStart: number,
  bodyEnd: number,
): void {
  const { core } = connection.services;
  const packet = decodeAuth(buffer, bodyStart, bodyEnd, {
    userPropertiesMax: core.limits.userPropertiesMax,
    filtersMax: core.limits.filtersPerPacketMax,
  });
  if (
    connection.authenticationMethod === null ||
    packet.authenticationMethod !== connection.authenticationMethod
  ) {
    // [MQTT5-4.12.0-5] [MQTT5-4.12.0-6]
    throw new ProtocolError(ReasonCode.PROTOCOL_ERROR, 'AUTH without or with another method');
  }
  if (packet.reasonCode === ReasonCode.CONTINUE_AUTHENTICATION) {
    const onAuthData = connection.onAuthData;
    if (onAuthData === null) {
      throw new ProtocolError(ReasonCode.PROTOCOL_ERROR, 'AUTH without an exchange');
    }
    connection.onAuthData = null;
    onAuthData(packet.authenticationData);
    return;
  }
  if (connection.phase !== Phase.OPEN || connection.exchange !== null) {
    throw new ProtocolError(ReasonCode.PROTOCOL_ERROR, 'AUTH 0x19 during an exchange');
  }
  reauthenticate(connection, connection.authenticationMethod, packet.authenticationData);
}

/** [MQTT5-4.12.1]: the connection goes on with the rights it has until the exchange is decided. */
function reauthenticate(connection: Connection, method: string, data: Buffer | null): void {
  const enhanced = connection.services.core.gate?.enhanced ?? null;
  const exchange = enhanced?.begin(method, connectRequest(connection, null));
  if (!exchange) {
    connection.close('not_authorized');
    return;
  }
  connection.exchange = exchange;
  stepExchange(connection, data, (decision) => {
    if (decision.refusal !== null || decision.identity !== connection.identity) {
      decision.client?.closed();
      connection.close('not_authorized');
      return;
    }
    connection.gate?.closed();
    connection.setGate(decision.client);
    const { sessions } = connection.services;
    if (connection.session !== null) {
      sessions.grant(connection.session, decision.client);
      const revoked = sessions.revokeDenied(connection.session);
      if (revoked > 0 && connection.services.core.revokedSubscription === 'disconnect') {
        connection.close('rights_revoked', 'subscriptions are no longer allowed');
        return;
      }
    }
    connection.send(
      PacketType.AUTH,
      encodeAuth({
        reasonCode: ReasonCode.SUCCESS,
        authenticationMethod: method,
        authenticationData: decision.authenticationData ?? null,
      }),
    );
  });
}
