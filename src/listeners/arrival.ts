/**
 * A socket between accept and the first MQTT byte: while its PROXY header, TLS and WebSocket
 * handshakes run. Bounded in time and, by its listener, in number. Control plane: one per connection.
 */
import type { Socket } from 'node:net';
import { normalizeIpAddress } from '../util/ip-address.ts';

export class Arrival {
  readonly socket: Socket;
  readonly key: string;
  /** The client's, as the socket says until a PROXY header knows better. */
  remoteAddress: string;
  remotePort: number;
  #timer: NodeJS.Timeout;
  readonly #onTimeout: () => void;

  /** `onTimeout` is called once when the handshakes take longer than `timeoutMs`. */
  constructor(socket: Socket, timeoutMs: number, onTimeout: () => void) {
    this.socket = socket;
    this.key = endpointKey(socket);
    this.remoteAddress = normalizeIpAddress(socket.remoteAddress ?? '');
    this.remotePort = socket.remotePort ?? 0;
    this.#onTimeout = onTimeout;
    this.#timer = setTimeout(onTimeout, timeoutMs);
  }

  /** Replaces the time that is left. */
  limit(timeoutMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#onTimeout, timeoutMs);
  }

  /** The handshakes are over, one way or the other. */
  settle(): void {
    clearTimeout(this.#timer);
  }
}

/**
 * Both ends of a TCP connection: the same for the socket that was accepted and for the TLS socket
 * around it, which Node does not link to each other.
 */
export function endpointKey(socket: Socket): string {
  return `${socket.remoteAddress}|${socket.remotePort}|${socket.localAddress}|${socket.localPort}`;
}
