/**
 * A socket between accept and the first MQTT byte: while its PROXY header, TLS and WebSocket
 * handshakes run. Bounded in time and, by its listener, in number. Control plane: one per connection.
 */
import type { Socket } from 'node:net';
import type { PeerCertificate } from '../core/ports.ts';
import { normalizeIpAddress } from '../util/ip-address.ts';

export class Arrival {
  /** As accepted. */
  readonly socket: Socket;
  /** What carries the client's bytes: `socket`, or the TLS socket around it. */
  stream: Socket;
  /** Set by the TLS stage. */
  certificate: PeerCertificate | null = null;
  /** Set by the TLS stage: the pre-shared key the client proved to have. */
  pskIdentity: string | null = null;
  /** The client's, as the socket says until a PROXY header knows better. */
  remoteAddress: string;
  remotePort: number;
  /** It was refused; what is left is to let the client read why. */
  hasFailed = false;
  /** It ended, and a stage hears why in a moment: what it says goes first. */
  isStageTelling = false;
  #timer: NodeJS.Timeout;
  readonly #onTimeout: () => void;

  /** `onTimeout` is called when the handshakes take longer than `timeoutMs`. */
  constructor(socket: Socket, timeoutMs: number, onTimeout: () => void) {
    this.socket = socket;
    this.stream = socket;
    this.remoteAddress = normalizeIpAddress(socket.remoteAddress ?? '');
    this.remotePort = socket.remotePort ?? 0;
    this.#onTimeout = onTimeout;
    this.#timer = setTimeout(onTimeout, timeoutMs);
  }

  get isEncrypted(): boolean {
    return this.stream !== this.socket;
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
