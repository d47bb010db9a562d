/**
 * Data plane: the socket side of one MQTT connection over WebSocket. Frame borders mean nothing to
 * MQTT [MQTT5-6.0.0-3]: each binary message is passed on as bytes, each flush leaves as one binary
 * message. Text is refused [MQTT5-6.0.0-1].
 */
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type { ByteHandler, Log, PeerCertificate } from '../core/ports.ts';
import type { OpenableSink } from './stage.ts';

const OPEN = 0;
const ENDING = 1;
const CLOSED = 2;

const CLOSE_NORMAL = 1000;
const CLOSE_UNSUPPORTED_DATA = 1003;

export interface WebSocketSinkOptions {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly certificate: PeerCertificate | null;
  /** TLS below: it may read the bytes after `write` returned. */
  readonly copiesWrites: boolean;
  readonly log: Log;
}

export class WebSocketSink implements OpenableSink {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly certificate: PeerCertificate | null;
  readonly #webSocket: WebSocket;
  readonly #stream: Duplex;
  readonly #copiesWrites: boolean;
  readonly #log: Log;
  #handler: ByteHandler | null = null;
  #phase = OPEN;
  #isOwingDrained = false;
  #error: Error | null = null;
  #lingerTimer: NodeJS.Timeout | null = null;
  readonly #onWritten = (): void => {
    if (!this.#isOwingDrained || this.#webSocket.bufferedAmount !== 0) return;
    this.#isOwingDrained = false;
    if (this.#phase === OPEN) this.#handler?.onDrained();
  };

  /** `stream` is the socket below the WebSocket. */
  constructor(webSocket: WebSocket, stream: Duplex, options: WebSocketSinkOptions) {
    this.remoteAddress = options.remoteAddress;
    this.remotePort = options.remotePort;
    this.certificate = options.certificate;
    this.#copiesWrites = options.copiesWrites;
    this.#log = options.log;
    this.#webSocket = webSocket;
    this.#stream = stream;
    webSocket.binaryType = 'nodebuffer';
    // Nothing is read before the broker has taken the connection.
    webSocket.pause();
    webSocket.on('message', (data, isBinary) => this.#received(data as Buffer, isBinary));
    webSocket.on('error', (error) => {
      if (this.#phase === OPEN) this.#error ??= error;
    });
    webSocket.on('close', () => this.#closed());
  }

  open(handler: ByteHandler): void {
    this.#handler = handler;
    this.#webSocket.resume();
  }

  write(buffer: Buffer, start: number, end: number): boolean {
    if (this.#phase !== OPEN || this.#webSocket.readyState !== this.#webSocket.OPEN) return true;
    const bytes = buffer.subarray(start, end);
    this.#webSocket.send(
      this.#copiesWrites ? Buffer.from(bytes) : bytes,
      { binary: true, compress: false },
      this.#onWritten,
    );
    if (this.#stream.writableLength === 0) return true;
    this.#isOwingDrained = true;
    return this.#copiesWrites;
  }

  unsentBytes(): number {
    return this.#isOwingDrained ? this.#webSocket.bufferedAmount : 0;
  }

  pause(): void {
    if (this.#phase === OPEN) this.#webSocket.pause();
  }

  resume(): void {
    if (this.#phase === OPEN) this.#webSocket.resume();
  }

  end(lingerMs: number): void {
    if (this.#phase !== OPEN) return;
    this.#phase = ENDING;
    this.#finish(CLOSE_NORMAL, '', lingerMs);
  }

  destroy(): void {
    if (this.#phase === OPEN) this.#phase = ENDING;
    this.#webSocket.terminate();
  }

  #received(data: Buffer, isBinary: boolean): void {
    if (this.#phase !== OPEN) return;
    if (!isBinary) {
      this.#error = new Error('text frame: MQTT needs binary frames');
      this.#phase = ENDING;
      this.#finish(CLOSE_UNSUPPORTED_DATA, 'MQTT needs binary frames', LINGER_MS);
      return;
    }
    try {
      this.#handler?.onBytes(data, 0, data.length);
    } catch (error) {
      this.#log.error(
        { err: error, remoteAddress: this.remoteAddress },
        'connection handler failed',
      );
      this.#error = error instanceof Error ? error : new Error('connection handler failed');
      this.destroy();
    }
  }

  /** Sends the closing frame and reads on until the client's has come. */
  #finish(code: number, reason: string, lingerMs: number): void {
    this.#webSocket.resume();
    this.#webSocket.close(code, reason);
    this.#lingerTimer = setTimeout(() => this.#webSocket.terminate(), lingerMs);
  }

  #closed(): void {
    if (this.#phase === CLOSED) return;
    this.#phase = CLOSED;
    if (this.#lingerTimer !== null) clearTimeout(this.#lingerTimer);
    const handler = this.#handler;
    this.#handler = null;
    handler?.onClosed(this.#error);
  }
}

/** For closing frames that the broker did not ask for. */
const LINGER_MS = 1000;
