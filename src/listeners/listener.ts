/**
 * What a listener is to the rest of the broker: its options (config collects them), its state
 * (metrics and the operator's door read it) and its life (app starts, reloads and stops it).
 * Interfaces only; `create-listener.ts` makes one.
 */
import type { ListenerInfo, ListenerLimits, PeerCertificate } from '../core/ports.ts';
import type { PskLookup } from './tls-psk.ts';

export interface TlsOptions {
  /** PEM: the certificate, then its intermediates. May be absent where `pskLookup` is given. */
  readonly certFile?: string | undefined;
  /** PEM, not encrypted. */
  readonly keyFile?: string | undefined;
  /** PEM: the authorities that client certificates must come from. */
  readonly caFile?: string | undefined;
  /**
   * PEM: what those authorities have revoked, one list by each certificate of `caFile`. A client
   * certificate on it, or one whose list has expired, is refused in the handshake, also where
   * certificates are optional.
   */
  readonly crlFile?: string | undefined;
  /**
   * `required`: no connection without a certificate signed by `caFile`. `optional`: it is asked for,
   * and one that cannot be verified counts as none.
   */
  readonly clientCertificate: 'none' | 'optional' | 'required';
  /**
   * Clients may prove a pre-shared key instead; not with `clientCertificate: required`. There are no
   * resumed sessions then. What it answers counts for the handshakes that follow.
   */
  readonly pskLookup?: PskLookup | undefined;
  readonly minVersion?: 'TLSv1.2' | 'TLSv1.3' | undefined;
  /** OpenSSL's list; default: Node's, with those for pre-shared keys where they are used. */
  readonly ciphers?: string | undefined;
}

export interface WebSocketOptions {
  /** Instead of a path in the URL; default `/mqtt`. */
  readonly path?: string | undefined;
  /**
   * Origins of web pages that may connect, for example `https://app.example.com`; `*` stands for any
   * page. Clients that are no browsers send no Origin and are not concerned. null: only pages of
   * this machine (`localhost`, loopback addresses) and pages served from the IP address they connect
   * to. A page served under a host name is never let in unasked, not even the broker's own: a hostile
   * page can point its own name at any broker (DNS rebinding).
   */
  readonly allowedOrigins: readonly string[] | null;
}

export interface ProxyProtocolOptions {
  /**
   * Addresses or networks (CIDR) of the load balancers in front. From them the header is required;
   * everybody else is refused, as anyone could claim any address otherwise.
   */
  readonly trustedAddresses: readonly string[];
}

export interface ListenerOptions {
  /** For logs and metrics; default: the URL. */
  readonly name?: string | undefined;
  /** `mqtt://host:port`, `mqtts://host:port`, `ws://host:port/path`, `wss://…`, `unix:/path`. */
  readonly url: string;
  /** Required for mqtts and wss, refused for the others. */
  readonly tls?: TlsOptions | undefined;
  /** For ws and wss only; without it the URL's path (default `/mqtt`) and the secure Origin rule. */
  readonly websocket?: WebSocketOptions | undefined;
  /** Not for Unix sockets. */
  readonly proxyProtocol?: ProxyProtocolOptions | undefined;
  /** Permissions of the socket file of a Unix listener; default 0o660. */
  readonly unixMode?: number | undefined;
  /**
   * Overrides for connections of this listener. WebSocket messages are held whole until they are
   * complete; `packetBytesMax` bounds them too, so hand in the effective value for ws and wss.
   */
  readonly limits: ListenerLimits;
  /** ws and wss: bytes a client may send before its CONNECT is answered; default: the limit's. */
  readonly connectBytesMax?: number | undefined;
  /** Connections the kernel may hold until they are accepted; default 4096. */
  readonly backlog?: number | undefined;
  /** From the accepted socket to the end of PROXY header, TLS and WebSocket handshakes. */
  readonly handshakeTimeoutMs: number;
  /** Sockets at one time that are still in those handshakes; default 10 000. */
  readonly handshakesMax?: number | undefined;
}

/** Plain integers that the metrics page reads; they only rise. */
export interface ListenerCounters {
  /** Sockets taken from the kernel. */
  accepted: number;
  /** Sockets closed because the broker took no more, or too many were in handshakes. */
  refused: number;
  /** PROXY headers, TLS and WebSocket handshakes that failed or took too long. */
  handshakesFailed: number;
  /** Connections that came around the trusted proxies. */
  untrusted: number;
  /** Accepts that failed (no descriptor or memory left). */
  acceptErrors: number;
}

export interface Listener {
  /** Replaced by a new object when a reload changes the limits; old connections keep the old one. */
  readonly info: ListenerInfo;
  /** The URL with the port the kernel gave. */
  readonly address: string;
  /** Open sockets, those still in handshakes included. */
  readonly connections: number;
  readonly counters: Readonly<ListenerCounters>;
  /** Resolves when connections are accepted. */
  start(): Promise<void>;
  /**
   * Applies new certificates, authorities, TLS settings, origins, proxies and limits to connections
   * made from now on; nobody is dropped. When something is wrong it throws and all stays as it was.
   */
  reload(options: ListenerOptions): Promise<void>;
  /**
   * Whether the listener's revocation lists name this certificate: after a reload, for those who were
   * connected before.
   */
  isRevoked(certificate: PeerCertificate): boolean;
  /** Stops accepting and ends unfinished handshakes; connections are the broker's to close. */
  stop(): Promise<void>;
}
