/**
 * The TLS handshake of one listener, for MQTT itself or for the WebSocket stage behind it. Its
 * tls.Server never listens: it is fed with accepted sockets, so that a PROXY header can come first
 * and a reload is a new server for new connections. Control plane.
 */
import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import type { Arrival } from './arrival.ts';
import { peerCertificate } from './peer-certificate.ts';
import type { Stage, StageHost } from './stage.ts';
import type { TlsMaterial } from './tls-material.ts';
import type { PskHandshakes } from './tls-psk.ts';

const LEFT = 'the client left within the TLS handshake';

export class TlsStage implements Stage {
  readonly #server: Server;
  readonly #host: Pick<StageHost, 'failed'>;
  readonly #psk: PskHandshakes | null;
  /** Node does not link the TLS socket it makes to the socket it was given; their endpoints do. */
  readonly #arrivals: Map<string, Arrival> = new Map();
  /** Closed within the handshake, for a moment: their endpoints are gone. */
  readonly #closed: Map<Socket, Arrival> = new Map();

  /** `next` gets the arrivals whose handshake is done. */
  constructor(
    material: Pick<TlsMaterial, 'context' | 'psk'>,
    handshakeTimeoutMs: number,
    host: Pick<StageHost, 'failed'>,
    next: Stage,
  ) {
    this.#host = host;
    this.#psk = material.psk;
    this.#server = createServer({ ...material.context, handshakeTimeout: handshakeTimeoutMs });
    this.#server.on('tlsClientError', (error: Error, socket: TLSSocket) => {
      const arrival = this.#release(socket);
      if (arrival !== null) host.failed(arrival, this.#explain(error, socket));
      socket.destroy();
    });
    this.#server.on('secureConnection', (socket) => {
      const arrival = this.#release(socket);
      if (arrival === null) {
        socket.destroy();
        return;
      }
      const refusal = revocationProblem(socket);
      if (refusal !== null) {
        host.failed(arrival, refusal);
        socket.destroy();
        return;
      }
      socket.disableRenegotiation();
      arrival.stream = socket;
      arrival.certificate = peerCertificate(socket);
      arrival.pskIdentity = this.#psk?.identityOf(socket) ?? null;
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
      this.#tellClosed(arrival);
    });
    this.#server.emit('connection', socket);
  }

  /** An unverified certificate is told after the close, with the TLS socket; a client that left never. */
  #tellClosed(arrival: Arrival): void {
    this.#closed.set(arrival.socket, arrival);
    arrival.isStageTelling = true;
    setTimeout(() => {
      if (this.#closed.delete(arrival.socket)) this.#host.failed(arrival, LEFT);
    }, 0);
  }

  /** The arrival whose connection this TLS socket carries; null when it has gone. */
  #release(socket: TLSSocket): Arrival | null {
    const key = endpointKey(socket);
    const arrival = this.#arrivals.get(key) ?? null;
    this.#arrivals.delete(key);
    if (arrival !== null) return arrival;
    // Undocumented, but only for the words in the log: without it they are less exact.
    const { _parent: inner } = socket as TLSSocket & { _parent?: Socket };
    const closed = inner === undefined ? null : (this.#closed.get(inner) ?? null);
    if (closed !== null) this.#closed.delete(closed.socket);
    return closed;
  }

  #explain(error: Error, socket: TLSSocket): string {
    const code = authorizationCode(socket);
    if (code !== null) return problemOf(code);
    if ((error as NodeJS.ErrnoException).code === 'ECONNRESET') return LEFT;
    const psk = this.#psk?.wasUnknown(socket) ? '; the PSK identity is not known' : '';
    return `TLS handshake failed: ${error.message}${psk}`;
  }
}

/** What OpenSSL found wrong with the client's certificate, or null. */
function authorizationCode(socket: TLSSocket): string | null {
  // The types say Error; it is the code.
  const code: unknown = socket.authorizationError;
  return typeof code === 'string' ? code : null;
}

function problemOf(code: string): string {
  if (code === 'CERT_REVOKED') return 'the client certificate is revoked (CERT_REVOKED)';
  if (code.includes('CRL'))
    return `tls.crlFile does not say whether the client certificate is revoked (${code})`;
  return `the client certificate is not verified by tls.caFile (${code})`;
}

/**
 * Where certificates are optional, one that cannot be verified counts as none; but who shows one that
 * is revoked, or may be, is refused.
 */
function revocationProblem(socket: TLSSocket): string | null {
  const code = authorizationCode(socket);
  if (code === null) return null;
  return code === 'CERT_REVOKED' || code.includes('CRL') ? problemOf(code) : null;
}

/** Both ends of a TCP connection: the same for a socket and for the TLS socket around it. */
function endpointKey(socket: Socket): string {
  return `${socket.remoteAddress}|${socket.remotePort}|${socket.localAddress}|${socket.localPort}`;
}
