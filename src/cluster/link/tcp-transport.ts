/**
 * Peer links over TCP or TLS (docs/adr/0012): the one file of this room with sockets and timers; the
 * links themselves hear only of LinkSocket. With TLS both sides show certificates of the cluster's
 * authority; whose name is on them does not matter, since addresses of members come and go. Made by app/.
 */
import net from 'node:net';
import tls from 'node:tls';
import type { LinkSocket, LinkSocketEvents, LinkTransport } from '../ports.ts';

/** PEM texts. */
export interface PeerTls {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface TcpTransportOptions {
  readonly host: string;
  /** 0: a free one. */
  readonly port: number;
  readonly tls: PeerTls | null;
  /** For TCP and TLS together. */
  readonly connectTimeoutMs: number;
}

export interface PeerEndpoint {
  readonly host: string;
  readonly port: number;
}

const KEEPALIVE_MS = 10_000;
/** How long what was written before `close` may take to leave. */
const LINGER_MS = 1000;
/** Accepted at a time, proven or not; members are few. */
const CONNECTIONS_MAX = 1024;
const BACKLOG = 512;
const REFUSED = 'ECONNREFUSED';

/** `host:port`, or `[address]:port` for IPv6; null: it is neither. */
export function parseEndpoint(text: string): PeerEndpoint | null {
  const colon = text.lastIndexOf(':');
  if (colon < 1) return null;
  const digits = text.slice(colon + 1);
  let host = text.slice(0, colon);
  if (host.startsWith('[') && host.endsWith(']')) host = host.slice(1, -1);
  else if (host.includes(':')) return null;
  const port = Number(digits);
  if (host === '' || !/^[1-9][0-9]{0,4}$/.test(digits) || port > 65_535) return null;
  return { host, port };
}

export class TcpTransport implements LinkTransport {
  readonly #options: TcpTransportOptions;
  readonly #server: net.Server;
  readonly #sockets: Set<TcpSocket> = new Set();
  #context: tls.SecureContext | null;
  #accepted: ((socket: LinkSocket) => LinkSocketEvents) | null = null;

  /** Throws when the certificate, key or authority cannot be used. */
  constructor(options: TcpTransportOptions) {
    this.#options = options;
    const material = options.tls;
    this.#context = material === null ? null : contextOf(material);
    if (material === null) {
      this.#server = net.createServer({ noDelay: true }, (socket) => this.#take(socket));
    } else {
      const { ca, cert, key } = material;
      const server = tls.createServer(
        {
          ca,
          cert,
          key,
          minVersion: 'TLSv1.3',
          requestCert: true,
          rejectUnauthorized: true,
          handshakeTimeout: options.connectTimeoutMs,
          noDelay: true,
        },
        (socket) => this.#take(socket),
      );
      // A failed handshake is the business of whoever began it.
      server.on('tlsClientError', (_error, socket) => socket.destroy());
      this.#server = server;
    }
    this.#server.maxConnections = CONNECTIONS_MAX;
  }

  /** Binds; `done` gets the address with the port that was given. */
  open(done: (error: Error | null, endpoint: PeerEndpoint | null) => void): void {
    const { host, port } = this.#options;
    const server = this.#server;
    server.once('error', (error) => done(error, null));
    server.listen({ host, port, backlog: BACKLOG }, () => {
      server.removeAllListeners('error');
      // Out of file descriptors, say: whoever was not accepted dials again.
      server.on('error', () => {});
      const address = server.address() as net.AddressInfo;
      done(null, { host: address.address, port: address.port });
    });
  }

  /** Stops listening and closes every connection; what was written still leaves, for a second. */
  close(done: () => void): void {
    for (const socket of [...this.#sockets]) socket.close();
    if (!this.#server.listening) {
      done();
      return;
    }
    this.#server.close(() => done());
  }

  /** Certificates for connections from now on; throws when they cannot be used. TLS stays TLS. */
  renew(material: PeerTls): void {
    const context = contextOf(material);
    if (!(this.#server instanceof tls.Server)) throw new Error('peer links are without TLS');
    this.#context = context;
    this.#server.setSecureContext({ ...material, minVersion: 'TLSv1.3' });
  }

  // ------------------------------------------------------------------------------ LinkTransport

  listen(accepted: (socket: LinkSocket) => LinkSocketEvents): void {
    this.#accepted = accepted;
  }

  dial(address: string, events: LinkSocketEvents): LinkSocket {
    const endpoint = parseEndpoint(address);
    if (endpoint === null) return new NoSocket(events, 'its address is none');
    const { host, port } = endpoint;
    const secureContext = this.#context;
    const socket =
      secureContext === null
        ? net.connect({ host, port, noDelay: true })
        : tls.connect({
            host,
            port,
            secureContext,
            rejectUnauthorized: true,
            // The chain is the identity: names on certificates of members are not looked at.
            checkServerIdentity: () => undefined,
            minVersion: 'TLSv1.3',
          });
    const link = new TcpSocket(socket, this.#sockets);
    link.hear(events);
    link.expect(
      secureContext === null ? 'connect' : 'secureConnect',
      this.#options.connectTimeoutMs,
    );
    return link;
  }

  #take(socket: net.Socket): void {
    const accepted = this.#accepted;
    if (accepted === null) {
      socket.destroy();
      return;
    }
    const link = new TcpSocket(socket, this.#sockets);
    link.hear(accepted(link));
  }
}

function contextOf(material: PeerTls): tls.SecureContext {
  return tls.createSecureContext({ ...material, minVersion: 'TLSv1.3' });
}

class TcpSocket implements LinkSocket {
  readonly #socket: net.Socket;
  readonly #all: Set<TcpSocket>;
  #events: LinkSocketEvents | null = null;
  #timer: NodeJS.Timeout | null = null;
  #why = 'ended by the other side';
  #isClosed = false;

  constructor(socket: net.Socket, all: Set<TcpSocket>) {
    this.#socket = socket;
    this.#all = all;
    all.add(this);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_MS);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#why = error.code ?? error.message;
    });
    socket.on('close', () => this.#gone());
  }

  hear(events: LinkSocketEvents): void {
    this.#events = events;
    const socket = this.#socket;
    socket.on('data', (chunk: Buffer) => {
      if (!this.#isClosed) events.bytes(chunk, 0, chunk.length);
    });
    socket.on('drain', () => {
      if (!this.#isClosed) events.drained();
    });
  }

  /** It is open with this event, or closed when it does not come in time. */
  expect(event: 'connect' | 'secureConnect', withinMs: number): void {
    this.#timer = setTimeout(() => {
      this.#why = 'timed out';
      this.#socket.destroy();
    }, withinMs);
    this.#socket.once(event, () => {
      this.#clearTimer();
      if (!this.#isClosed) this.#events!.opened();
    });
  }

  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  write(buffer: Buffer): void {
    if (!this.#isClosed) this.#socket.write(buffer);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#clearTimer();
    const socket = this.#socket;
    if (socket.connecting) {
      socket.destroy();
      return;
    }
    socket.destroySoon();
    this.#timer = setTimeout(() => socket.destroy(), LINGER_MS);
  }

  #gone(): void {
    this.#all.delete(this);
    this.#clearTimer();
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#events?.closed(this.#why, this.#why === REFUSED);
  }

  #clearTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}

/** A dial that cannot be tried. */
class NoSocket implements LinkSocket {
  readonly unsentBytes = 0;
  #timer: NodeJS.Timeout | null;

  constructor(events: LinkSocketEvents, why: string) {
    this.#timer = setTimeout(() => {
      this.#timer = null;
      events.closed(why, false);
    }, 0);
  }

  write(): void {}

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}
