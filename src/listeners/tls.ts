/**
 * The TLS handshake of one listener. Its tls.Server never listens: it is fed with accepted sockets,
 * so that a PROXY header can come first and a reload is a new server for new connections.
 */
import {
  createServer,
  type TlsOptions as NodeTlsOptions,
  type Server,
  type TLSSocket,
} from 'node:tls';
import type { Log } from '../core/ports.ts';
import type { Arrival } from './arrival.ts';
import { peerCertificate } from './peer-certificate.ts';
import type { Stage, StageHost } from './stage.ts';
import { StreamSink } from './stream-sink.ts';

export class TlsStage implements Stage {
  readonly #server: Server;

  constructor(material: NodeTlsOptions, handshakeTimeoutMs: number, host: StageHost, log: Log) {
    this.#server = createServer({ ...material, handshakeTimeout: handshakeTimeoutMs });
    watchHandshakes(this.#server, host);
    this.#server.on('secureConnection', (socket) => {
      const arrival = host.arrivalOf(socket);
      if (arrival === null) {
        socket.destroy();
        return;
      }
      socket.disableRenegotiation();
      host.arrived(
        arrival,
        new StreamSink(socket, {
          remoteAddress: arrival.remoteAddress,
          remotePort: arrival.remotePort,
          certificate: peerCertificate(socket),
          copiesWrites: true,
          log,
        }),
      );
    });
  }

  take(arrival: Arrival): void {
    this.#server.emit('connection', arrival.socket);
  }
}

/** Reports failed TLS handshakes; for plain TLS and for https servers. */
export function watchHandshakes(server: Server, host: StageHost): void {
  server.on('tlsClientError', (error: Error, socket: TLSSocket) => {
    const arrival = socket.destroyed ? null : host.arrivalOf(socket);
    host.failed(arrival, `TLS handshake failed: ${error.message}`, socket.remoteAddress ?? '');
    socket.destroy();
  });
}
