/**
 * The TLS handshake of one listener, for MQTT itself or for the WebSocket stage behind it. Its
 * tls.Server never listens: it is fed with accepted sockets, so that a PROXY header can come first
 * and a reload is a new server for new connections. Control plane.
 */
import type { Socket } from 'node:net';
import {
  createServer,
  type TlsOptions as NodeTlsOptions,
  type Server,
  type TLSSocket,
} from 'node:tls';
import type { Arrival } from './arrival.ts';
import { peerCertificate } from './peer-certificate.ts';
import type { Stage, StageHost } from './stage.ts';

export class TlsStage implements Stage {
  readonly #server: Server;
  readonly #host: Pick<StageHost, 'failed'>;
  readonly #leftInHandshake: string;
  /** Node does not link the TLS socket it makes to the socket it was given; their endpoints do. */
  readonly #arrivals: Map<string, Arrival> = new Map();

  /** `next` gets the arrivals whose handshake is done. */
  constructor(
    material: NodeTlsOptions,
    handshakeTimeoutMs: number,
    host: Pick<StageHost, 'failed'>,
    next: Stage,
  ) {
    this.#host = host;
    // Node ends the connection of an unverified certificate without an event that says so.
    this.#leftInHandshake = material.rejectUnauthorized
      ? 'ended within the TLS handshake: the client left, or tls.caFile does not verify its certificate'
      : 'the client left within the TLS handshake';
    this.#server = createServer({ ...material, handshakeTimeout: handshakeTimeoutMs });
    this.#server.on('tlsClientError', (error: Error, socket: TLSSocket) => {
      const arrival = this.#release(socket);
      if (arrival !== null) host.failed(arrival, `TLS handshake failed: ${error.message}`);
      socket.destroy();
    });
    this.#server.on('secureConnection', (socket) => {
      const arrival = this.#release(socket);
      if (arrival === null) {
        socket.destroy();
        return;
      }
      socket.disableRenegotiation();
      arrival.stream = socket;
      arrival.certificate = peerCertificate(socket);
      next.take(arrival);
    });
  }

  take(arrival: Arrival): void {
    const { socket } = arrival;
    const key = endpointKey(socket);
    this.#arrivals.set(key, arrival);
    socket.prependOnceListener('close', () => {
      if (this.#arrivals.get(key) !== arrival) return;
      this.#arrivals.delete(key);
      this.#host.failed(arrival, this.#leftInHandshake);
    });
    this.#server.emit('connection', socket);
  }

  /** The arrival whose connection this TLS socket carries; null when it has gone. */
  #release(socket: TLSSocket): Arrival | null {
    const key = endpointKey(socket);
    const arrival = this.#arrivals.get(key) ?? null;
    this.#arrivals.delete(key);
    return arrival;
  }
}

/** Both ends of a TCP connection: the same for a socket and for the TLS socket around it. */
function endpointKey(socket: Socket): string {
  return `${socket.remoteAddress}|${socket.remotePort}|${socket.localAddress}|${socket.localPort}`;
}
