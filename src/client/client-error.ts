/**
 * Every way our client fails, as one closed set of codes. Thrown (as promise rejections) or handed
 * to `onDisconnected`; the message is meant for a person. Callers decide by `code`, and by
 * `reasonCode` when the server said one.
 */
import { reasonText } from './reason-text.ts';

/** Code and what it means; docs/guides/clients.md shows this table and a test compares them. */
export const clientErrorTable = {
  invalid_argument: 'A URL, topic, filter or property is not one MQTT can carry.',
  connect_failed: 'The socket, TLS or WebSocket could not be opened.',
  connect_timeout: 'No CONNACK came in time.',
  refused: 'The server answered CONNECT with an error.',
  closed_by_server: 'The server sent DISCONNECT.',
  connection_lost: 'The connection ended without a DISCONNECT.',
  keep_alive_timeout: 'The server did not answer a PINGREQ in time.',
  protocol_error: 'The server sent bytes that MQTT does not allow.',
  handler_failed: 'The message handler failed; the message stays unacknowledged.',
  not_connected: 'There is no connection, and the client does not reconnect.',
  request_timeout: 'SUBACK or UNSUBACK did not come in time.',
  publish_refused: 'PUBACK or PUBREC carried an error.',
  subscribe_refused: 'SUBACK carried an error for this filter.',
  unsubscribe_refused: 'UNSUBACK carried an error for this filter.',
  not_supported: 'The server said in CONNACK that it cannot do this.',
  packet_too_large: 'The packet is over the Maximum Packet Size of the server.',
  queue_full: 'The client holds as many unsent and unacknowledged messages as it may.',
  session_lost: 'The server lost the session during a QoS 2 exchange; it may have the message.',
  closed: 'The client was closed before this was done.',
} as const;

export type ClientErrorCode = keyof typeof clientErrorTable;

export interface ClientErrorDetails {
  /** MQTT 5 reason code the server gave (3.1.1 return codes are translated); -1: none. */
  readonly reasonCode?: number;
  readonly reasonString?: string | null | undefined;
  readonly serverReference?: string | null | undefined;
  readonly cause?: unknown;
}

export class ClientError extends Error {
  readonly code: ClientErrorCode;
  readonly reasonCode: number;
  readonly reasonString: string | null;
  readonly serverReference: string | null;

  constructor(code: ClientErrorCode, message: string, details: ClientErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'ClientError';
    this.code = code;
    this.reasonCode = details.reasonCode ?? -1;
    this.reasonString = details.reasonString ?? null;
    this.serverReference = details.serverReference ?? null;
  }
}

/** An error the server expressed as a reason code: `publish refused: quota exceeded (0x97)`. */
export function reasonError(
  code: ClientErrorCode,
  what: string,
  reasonCode: number,
  details: Omit<ClientErrorDetails, 'reasonCode'> = {},
): ClientError {
  let message = `${what}: ${reasonText(reasonCode)}`;
  if (details.reasonString) message += `, "${printable(details.reasonString)}"`;
  if (details.serverReference) message += `, server: ${printable(details.serverReference)}`;
  return new ClientError(code, message, { ...details, reasonCode });
}

/** What a server says goes to terminals and logs: one line, no control characters, bounded. */
function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?').slice(0, 256);
}
