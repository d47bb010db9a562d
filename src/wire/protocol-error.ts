/**
 * The only thing a decoder of this folder throws: what the sender did wrong, as an MQTT 5 reason
 * code. The connection that caught it answers with that code (or closes) and blames the sender.
 */
import { ReasonCode } from './reason-code.ts';

/** A packet that breaks the protocol. It carries no stack: hostile bytes must stay cheap. */
export class ProtocolError extends Error {
  readonly reasonCode: number;

  constructor(reasonCode: number, message: string) {
    const stackTraceLimit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(message);
    Error.stackTraceLimit = stackTraceLimit;
    this.name = 'ProtocolError';
    this.reasonCode = reasonCode;
  }
}

/** 0x81: the bytes cannot be parsed as the specification lays them out. */
export function malformedPacket(message: string): ProtocolError {
  return new ProtocolError(ReasonCode.MALFORMED_PACKET, message);
}

/** 0x82: the bytes parse, and hold what the protocol does not allow. */
export function protocolViolation(message: string): ProtocolError {
  return new ProtocolError(ReasonCode.PROTOCOL_ERROR, message);
}
