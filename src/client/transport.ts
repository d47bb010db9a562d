/**
 * What a connection needs of a socket, whatever kind it is, and what it is told. Implemented by
 * `socket-transport.ts` and `ws-transport.ts`, chosen by `open-transport.ts`.
 */

export interface TlsOptions {
  /** PEM of the authorities to trust instead of the system's. */
  readonly ca?: string | Buffer | undefined;
  /** PEM of the client certificate and its key. */
  readonly cert?: string | Buffer | undefined;
  readonly key?: string | Buffer | undefined;
  readonly passphrase?: string | undefined;
  /** True: the server's certificate is not checked. For tests on one's own machine. */
  readonly insecure?: boolean | undefined;
  /** Name to ask for and to check, when it is not the host of the URL. */
  readonly serverName?: string | undefined;
  /**
   * Application protocol to ask for, `mqtt` at brokers that share a port with HTTPS. Not asked for
   * unless said: a server that knows others only would refuse.
   */
  readonly alpnProtocol?: string | undefined;
}

export interface Transport {
  write(bytes: Buffer): void;
  /** Bytes given to `write` that the kernel has not taken yet. */
  unsentBytes(): number;
  pause(): void;
  resume(): void;
  /** Sends what is unsent, then closes. */
  end(): void;
  destroy(): void;
}

/** What a transport tells its connection. */
export interface TransportHandler {
  onOpen(): void;
  onBytes(chunk: Buffer): void;
  /** `unsentBytes` came down to 0. */
  onDrained(): void;
  /** Called once, whatever happened; null when the other side just closed. */
  onClosed(error: Error | null): void;
}
