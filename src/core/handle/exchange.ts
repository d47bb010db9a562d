/**
 * Enhanced authentication [MQTT5-4.12]: steps between the client's AUTH packets and the gate until it decides, at a
 * CONNECT or anew. Used by connect.ts and auth.ts, which act on the decision.
 */
import { encodeAuth } from '../../wire/auth.ts';
import type { ConnectPacket } from '../../wire/connect.ts';
import { PacketType } from '../../wire/packet-type.ts';
import { ReasonCode } from '../../wire/reason-code.ts';
import { type Connection, Hold } from '../connection.ts';
import type { AuthAnswer, ConnectDecision, ConnectRequest } from '../ports.ts';
import { refuse } from './refusal.ts';

/** The method of a CONNECT; nobody decides when it is not known here. */
export function beginExchange(
  connection: Connection,
  packet: ConnectPacket,
  request: ConnectRequest,
  method: string,
  done: (decision: ConnectDecision) => void,
): void {
  const exchange = connection.services.core.gate?.enhanced?.begin(method, request) ?? null;
  if (exchange === null) {
    refuse(connection, 'authentication_method');
    return;
  }
  connection.authenticationMethod = method;
  connection.exchange = exchange;
  stepExchange(connection, packet.authenticationData, done);
}

/** One step of the exchange under way; AUTH packets of the client lead to the next. */
export function stepExchange(
  connection: Connection,
  data: Buffer | null,
  done: (decision: ConnectDecision) => void,
): void {
  connection.hold(Hold.DECISION);
  connection.exchange!.step(data, (answer: AuthAnswer) => {
    if (connection.closed) {
      if (answer.kind === 'decided') answer.decision.client?.closed();
      return;
    }
    if (answer.kind === 'continue') {
      connection.onAuthData = (next) => stepExchange(connection, next, done);
      connection.send(
        PacketType.AUTH,
        encodeAuth({
          reasonCode: ReasonCode.CONTINUE_AUTHENTICATION,
          authenticationMethod: connection.authenticationMethod,
          authenticationData: answer.data,
        }),
      );
    } else {
      connection.onAuthData = null;
      connection.exchange = null;
      done(answer.decision);
    }
    connection.release(Hold.DECISION);
  });
}
